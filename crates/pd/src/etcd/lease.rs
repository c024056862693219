//! Leases: who ends when, and which keys end with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use runtime::Instant;

use super::change::{EtcdChange, KeyWrite, Position};
use super::error::{EtcdError, EtcdResult};
use super::store::EtcdState;

/// The longest time to live that the protocol knows, in seconds.
const TTL_MAX: i64 = 9_000_000_000;
/// The shortest: below it nobody could keep a lease alive over a network.
const TTL_MIN: i64 = 1;
/// Leases that end in one step, so that a step stays short.
const EXPIRE_AT_ONCE: usize = 128;

/// A promise to delete keys when nobody gives a sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Seconds it lives without a sign of life.
    pub ttl: i64,
    /// When it ends.
    pub expires_at: Instant,
    /// The keys that end with it.
    keys: BTreeSet<Arc<[u8]>>,
}

impl Lease {
    /// Its keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// Whole seconds that it has left, rounded up: it never seems to be over before it is.
    pub fn remaining(&self, now: Instant) -> i64 {
        let left = self.expires_at - now;
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.expires_at <= now
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Leases {
    leases: BTreeMap<i64, Lease>,
    by_end: BTreeSet<(Instant, i64)>,
    by_key: BTreeMap<Arc<[u8]>, i64>,
}

impl Leases {
    /// The lease of this id, also when its time is over but its keys are still there.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// The lease of this id that lives now.
    pub fn live(&self, id: i64, now: Instant) -> Option<&Lease> {
        self.get(id).filter(|lease| !lease.is_over(now))
    }

    /// The ids of all leases.
    pub fn ids(&self) -> impl Iterator<Item = i64> {
        self.leases.keys().copied()
    }

    /// When the next lease ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.by_end.first().map(|(at, _)| *at)
    }

    pub(super) fn begin(&mut self, now: Instant) {
        let all: Vec<(i64, i64)> = self.leases.iter().map(|(id, l)| (*id, l.ttl)).collect();
        for (id, ttl) in all {
            self.renew(id, end_of(ttl, now));
        }
    }

    pub(super) fn grant(&mut self, id: i64, ttl: i64, expires_at: Instant) {
        self.revoke(id);
        self.by_end.insert((expires_at, id));
        let keys = BTreeSet::new();
        let lease = Lease {
            ttl,
            expires_at,
            keys,
        };
        self.leases.insert(id, lease);
    }

    pub(super) fn revoke(&mut self, id: i64) {
        if let Some(lease) = self.leases.remove(&id) {
            self.by_end.remove(&(lease.expires_at, id));
            for key in lease.keys {
                self.by_key.remove(&key);
            }
        }
    }

    pub(super) fn renew(&mut self, id: i64, expires_at: Instant) {
        if let Some(lease) = self.leases.get_mut(&id) {
            self.by_end.remove(&(lease.expires_at, id));
            lease.expires_at = expires_at;
            self.by_end.insert((expires_at, id));
        }
    }

    /// From now on the key belongs to this lease, or to none if the id is 0 or unknown.
    pub(super) fn attach(&mut self, key: &Arc<[u8]>, id: i64) {
        if let Some(old) = self.by_key.remove(key)
            && let Some(lease) = self.leases.get_mut(&old)
        {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.insert(Arc::clone(key));
            self.by_key.insert(Arc::clone(key), id);
        }
    }
}

impl EtcdState {
    /// A new lease. `id` is the caller's choice: the client's, or a random one.
    pub fn plan_lease_grant(
        &self,
        id: i64,
        ttl: i64,
        now: Instant,
    ) -> EtcdResult<(Vec<EtcdChange>, i64)> {
        if ttl > TTL_MAX {
            return Err(EtcdError::LeaseTtlTooLarge);
        }
        if id == 0 || self.leases.get(id).is_some() {
            return Err(EtcdError::LeaseExists);
        }
        if self.leases.leases.len() >= self.limits.leases_max {
            return Err(EtcdError::TooManyRequests);
        }
        let ttl = ttl.max(TTL_MIN);
        let expires_at = end_of(ttl, now);
        let grant = EtcdChange::LeaseGrant {
            id,
            ttl,
            expires_at,
        };
        Ok((vec![grant], ttl))
    }

    /// A lease ends at once, with its keys.
    pub fn plan_lease_revoke(&self, id: i64) -> EtcdResult<Vec<EtcdChange>> {
        let lease = self.leases.get(id).ok_or(EtcdError::LeaseNotFound)?;
        Ok(end_lease(id, lease, self.revision + 1))
    }

    /// A lease has a sign of life; the answer is its time to live.
    pub fn plan_lease_renew(&self, id: i64, now: Instant) -> EtcdResult<(Vec<EtcdChange>, i64)> {
        let lease = self.leases.live(id, now).ok_or(EtcdError::LeaseNotFound)?;
        let expires_at = end_of(lease.ttl, now);
        Ok((vec![EtcdChange::LeaseRenew { id, expires_at }], lease.ttl))
    }

    /// Leases whose time is over end; more of them may be left for the next call.
    pub fn plan_lease_expire(&self, now: Instant) -> Vec<EtcdChange> {
        let mut revision = self.revision;
        let mut changes = Vec::new();
        let over = self.leases.by_end.iter();
        for (_, id) in over.take_while(|(at, _)| *at <= now).take(EXPIRE_AT_ONCE) {
            let Some(lease) = self.leases.get(*id) else {
                continue;
            };
            changes.extend(end_lease(*id, lease, revision + 1));
            revision += i64::from(!lease.keys.is_empty());
        }
        changes
    }
}

/// The changes that end a lease: its keys go, all in one revision.
fn end_lease(id: i64, lease: &Lease, revision: i64) -> Vec<EtcdChange> {
    let deletes = (0..).zip(lease.keys()).map(|(sub, key)| {
        let position = Position { revision, sub };
        EtcdChange::Write(position, KeyWrite::Delete(key.to_vec()))
    });
    deletes.chain([EtcdChange::LeaseRevoke(id)]).collect()
}

fn end_of(ttl: i64, now: Instant) -> Instant {
    now + Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}
