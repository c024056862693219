//! Ends what dead transactions left behind, before garbage collection counts on it.
//!
//! Below the safe point of garbage collection versions go that no lock may refer to any more. So
//! before that point moves to a target, every lock of a transaction that began at or before the
//! target is brought to its end, in every region, with the calls that any client would use:
//!
//! 1. Regions are walked in key order, as the placement driver knows them. A page of locks is asked
//!    for, then the one behind it. ([`walk`])
//! 2. The locks of a page are taken together by transaction. The *fate* of each is asked from its
//!    primary key: committed, rolled back, or alive. ([`fate`])
//! 3. Locks of ended transactions are committed or rolled back on exactly the keys of the page, so
//!    the costs grow with the number of locks, however many there are. ([`release`])
//! 4. A transaction that is alive, or whose fate nobody can tell, keeps its locks. It holds the
//!    point back below its start, and the run goes on with the others.
//! 5. A region in which anything was resolved is walked again. It is left behind only after a walk
//!    that met no lock but of those who hold the point back: so an answer that was lost, a region
//!    that split meanwhile or a store that resolves less than it says cannot leave a lock behind.
//!
//! A call that meets a region error or a silent store is repeated, after a look at who leads the
//! region by now, for half a minute. Then the run fails as a whole, and nothing was promised.
//!
//! It never decides by the clock of this machine, never waits for a transaction to end, and holds
//! one page of locks at a time.

mod attempts;
mod fate;
mod grpc;
mod page;
mod release;
mod stores;
mod walk;

use std::sync::Arc;

use runtime::Runtime;

use self::attempts::Caller;

/// Locks of one page: with keys of the usual 8 KiB at most, some megabytes.
const PAGE_LOCKS: u32 = 256;

/// Brings locks to their end; see the module.
pub(crate) struct LockResolver {
    caller: Caller,
    /// Locks of one page.
    page_locks: u32,
}

impl LockResolver {
    /// Reaches stores through `stores`.
    pub(crate) fn new(stores: Arc<dyn Stores>, runtime: &Runtime) -> LockResolver {
        LockResolver {
            caller: Caller::new(stores, runtime),
            page_locks: PAGE_LOCKS,
        }
    }
}

pub(crate) use self::fate::Holder;
pub(crate) use self::grpc::GrpcStores;
pub(crate) use self::stores::{Place, Stores};
pub(crate) use self::walk::Resolved;

#[cfg(test)]
pub(crate) mod tests;
