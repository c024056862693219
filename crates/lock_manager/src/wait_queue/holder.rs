//! Who holds the lock of a key for which requests wait.
//! Must never: decide who gets it next.

use kvproto::kvrpcpb::LockInfo;
use txn_types::{LockValue, TimeStamp};

/// Who holds the lock that requests wait for.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// The lock as it would be stored: a fifth of what clients see of it.
    lock: Box<[u8]>,
    owners: Owners,
}

#[derive(Clone, Debug, PartialEq)]
enum Owners {
    One(TimeStamp),
    /// Of a lock that is shared.
    Many(Box<[TimeStamp]>),
}

impl Holder {
    /// The holder of `lock`.
    #[must_use]
    pub fn new(lock: &LockValue) -> Self {
        let owners = match lock {
            LockValue::Exclusive(lock) => Owners::One(lock.ts),
            LockValue::Shared(locks) => Owners::Many(locks.iter().map(|lock| lock.ts).collect()),
        };
        Holder {
            lock: lock.to_bytes().into_boxed_slice(),
            owners,
        }
    }

    /// The transactions that hold it: several when it is shared.
    #[must_use]
    pub fn owners(&self) -> &[TimeStamp] {
        match &self.owners {
            Owners::One(owner) => std::slice::from_ref(owner),
            Owners::Many(owners) => owners,
        }
    }

    /// The lock as clients see it, on the key whose raw form is given.
    #[must_use]
    pub fn lock_info(&self, raw_key: Vec<u8>) -> Box<LockInfo> {
        let lock = LockValue::parse(&self.lock)
            .unwrap_or_else(|error| panic!("a lock that was encoded here is broken: {error}"));
        Box::new(lock.into_lock_info(raw_key))
    }
}
