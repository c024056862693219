//! The etcd v3 subset that clients reach through the URLs of the placement driver, as one
//! revisioned state machine. No IO, no clock: a request is planned, its changes made durable, then
//! applied, as everything in [`state`](crate::state).
//!
//! 1. A *revision* counts transactions that wrote something. All writes of one transaction share
//!    it; a transaction that writes nothing has none of its own. An empty store is at revision 1.
//! 2. A key keeps its *versions*, the last of which may be a deletion. Reading at a revision finds
//!    the last version that is not newer.
//! 3. The *log* says which keys each revision wrote. A watch is a position in it: nothing is queued
//!    for a watcher, it reads on from where it was. Who reads too slowly meets the compaction.
//! 4. *Compaction* at a revision drops the versions that nobody can read from there on. Revisions
//!    from the compacted one on stay complete. It runs by itself when [`EtcdLimits`] say so.
//! 5. A *lease* deletes its keys when it runs out. How long it has left is kept in memory only:
//!    after a restart every lease has its whole time again, so none ends early.

mod change;
mod error;
mod events;
mod key_range;
mod lease;
mod range;
mod store;
mod txn;

pub use change::{EtcdChange, KeyWrite, Position};
pub use error::{EtcdError, EtcdResult};
pub(crate) use events::event_bytes;
pub use events::{EventBatch, Interest};
pub use key_range::{Bounds, KeyRange};
pub use lease::{Lease, Leases};
pub use store::{EtcdLimits, EtcdState};
pub(crate) use txn::txn_writes;

#[cfg(test)]
mod tests;
