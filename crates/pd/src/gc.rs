//! Safe points of garbage collection and the barriers that hold them back. No IO, no clock.
//!
//! Two points, `gc <= txn`: nobody may begin a transaction below `txn`; below `gc` old versions
//! may be gone. Services set *barriers* with a time to live, and `txn` never passes a live one. A
//! barrier that ran out is deleted when `txn` is advanced next, and never comes back to life.

use std::collections::BTreeMap;

use crate::change::Change;
use crate::{Error, Result};

/// The service that advances the points through the barrier call.
pub const GC_WORKER: &str = "gc_worker";
/// The time to live, in seconds, that means for ever.
const FOREVER: i64 = i64::MAX;

/// Bytes of a service's name.
const SERVICE_ID_BYTES_MAX: usize = 256;
/// Barriers at a time.
const BARRIERS_MAX: usize = 10_000;

/// What a service holds back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Barrier {
    /// The timestamp that `txn` may reach, but not pass.
    pub ts: u64,
    /// Seconds since the epoch of the timestamps; [`FOREVER`] is never.
    pub expires_at: i64,
}

impl Barrier {
    fn is_live(&self, now_seconds: i64) -> bool {
        self.expires_at > now_seconds
    }

    fn remaining(&self, now_seconds: i64) -> i64 {
        if self.expires_at == FOREVER {
            FOREVER
        } else {
            self.expires_at.saturating_sub(now_seconds)
        }
    }
}

/// The moment of a request, by the timestamps' clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The highest timestamp handed out so far.
    pub ts: u64,
    /// Its seconds.
    pub seconds: i64,
}

/// The answer to a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceReply {
    /// Who determines the safe point.
    pub service_id: String,
    /// How long that service still holds it, in seconds.
    pub ttl: i64,
    /// The safe point reached.
    pub safe_point: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct GcState {
    txn_safe_point: u64,
    gc_safe_point: u64,
    barriers: BTreeMap<String, Barrier>,
}

/// How far `txn` gets and what stops it.
struct Advance {
    reached: u64,
    blocker: Option<(String, Barrier)>,
    changes: Vec<Change>,
}

impl GcState {
    /// Below this, old versions may be gone.
    pub fn gc_safe_point(&self) -> u64 {
        self.gc_safe_point
    }

    /// Below this, no transaction may begin.
    pub fn txn_safe_point(&self) -> u64 {
        self.txn_safe_point
    }

    /// Moves both points as near to `target` as barriers allow. A target behind changes nothing.
    /// The answer is the GC safe point in force afterwards.
    pub fn plan_update(&self, target: u64, now: Moment) -> Result<(Vec<Change>, u64)> {
        check_not_in_future(target, now)?;
        let advance = self.advance(target.max(self.txn_safe_point), now);
        let gc_safe_point = self.gc_safe_point.max(target.min(advance.reached));
        let mut changes = advance.changes;
        if gc_safe_point != self.gc_safe_point || advance.reached != self.txn_safe_point {
            changes.push(Change::GcPoints {
                txn_safe_point: advance.reached,
                gc_safe_point,
            });
        }
        Ok((changes, gc_safe_point))
    }

    /// A service's call: the worker advances, everybody else sets a barrier or, with a time to
    /// live of 0 or less, takes it away.
    pub fn plan_service_update(
        &self,
        service_id: &str,
        ttl: i64,
        safe_point: u64,
        now: Moment,
    ) -> Result<(Vec<Change>, ServiceReply)> {
        match service_id {
            "" => Err(Error::Refused("service id must not be empty".to_owned())),
            GC_WORKER => self.plan_worker(ttl, safe_point, now),
            _ if service_id.len() > SERVICE_ID_BYTES_MAX => Err(Error::Refused(format!(
                "service id has {} bytes, allowed are {SERVICE_ID_BYTES_MAX}",
                service_id.len()
            ))),
            _ if self.barriers.len() >= BARRIERS_MAX
                && ttl > 0
                && !self.barriers.contains_key(service_id) =>
            {
                Err(Error::Refused(format!(
                    "there are {BARRIERS_MAX} service safe points already"
                )))
            }
            _ => Ok(self.plan_barrier(service_id, ttl, safe_point, now)),
        }
    }

    fn plan_worker(
        &self,
        ttl: i64,
        safe_point: u64,
        now: Moment,
    ) -> Result<(Vec<Change>, ServiceReply)> {
        if ttl != FOREVER {
            return Err(Error::Refused(format!(
                "ttl of {GC_WORKER} must be {FOREVER}, got {ttl}"
            )));
        }
        if safe_point < self.txn_safe_point {
            return Err(Error::Refused(format!(
                "trying to decrease the txn safe point from {} to {safe_point}",
                self.txn_safe_point
            )));
        }
        check_not_in_future(safe_point, now)?;
        let advance = self.advance(safe_point, now);
        let mut changes = advance.changes;
        if advance.reached != self.txn_safe_point {
            changes.push(Change::GcPoints {
                txn_safe_point: advance.reached,
                gc_safe_point: self.gc_safe_point,
            });
        }
        let (service_id, ttl) = match advance.blocker {
            Some((id, barrier)) => (id, barrier.remaining(now.seconds)),
            None => (GC_WORKER.to_owned(), FOREVER),
        };
        let reply = ServiceReply {
            service_id,
            ttl,
            safe_point: advance.reached,
        };
        Ok((changes, reply))
    }

    /// A barrier behind the point is not stored: the caller sees that from the point in the reply.
    fn plan_barrier(
        &self,
        service_id: &str,
        ttl: i64,
        ts: u64,
        now: Moment,
    ) -> (Vec<Change>, ServiceReply) {
        let mut changes = Vec::new();
        if ttl <= 0 {
            if self.barriers.contains_key(service_id) {
                changes.push(Change::BarrierDelete(service_id.to_owned()));
            }
        } else if ts >= self.txn_safe_point {
            let barrier = Barrier {
                ts,
                expires_at: now.seconds.saturating_add(ttl),
            };
            changes.push(Change::BarrierPut(service_id.to_owned(), barrier));
        }
        let reply = ServiceReply {
            service_id: GC_WORKER.to_owned(),
            ttl: FOREVER,
            safe_point: self.txn_safe_point,
        };
        (changes, reply)
    }

    fn advance(&self, target: u64, now: Moment) -> Advance {
        let (live, expired): (Vec<_>, Vec<_>) = self
            .barriers
            .iter()
            .partition(|(_, barrier)| barrier.is_live(now.seconds));
        let blocker = live
            .into_iter()
            .filter(|(_, barrier)| barrier.ts < target)
            .min_by_key(|(_, barrier)| barrier.ts)
            .map(|(id, barrier)| (id.clone(), *barrier));
        let allowed = blocker.as_ref().map_or(target, |(_, barrier)| barrier.ts);
        Advance {
            reached: allowed.max(self.txn_safe_point),
            blocker,
            changes: expired
                .into_iter()
                .map(|(id, _)| Change::BarrierDelete(id.clone()))
                .collect(),
        }
    }

    /// The points are on disk so.
    pub(crate) fn set_points(&mut self, txn_safe_point: u64, gc_safe_point: u64) {
        assert!(gc_safe_point <= txn_safe_point, "gc never passes txn");
        assert!(
            gc_safe_point >= self.gc_safe_point && txn_safe_point >= self.txn_safe_point,
            "safe points only grow"
        );
        self.txn_safe_point = txn_safe_point;
        self.gc_safe_point = gc_safe_point;
    }

    /// A barrier is on disk so.
    pub(crate) fn put_barrier(&mut self, service_id: String, barrier: Barrier) {
        self.barriers.insert(service_id, barrier);
    }

    /// A barrier is gone from disk.
    pub(crate) fn delete_barrier(&mut self, service_id: &str) {
        self.barriers.remove(service_id);
    }
}

/// A point above every timestamp handed out would make every transaction to come too old.
fn check_not_in_future(target: u64, now: Moment) -> Result<()> {
    if target > now.ts {
        return Err(Error::Refused(format!(
            "safe point {target} is above the newest timestamp {}",
            now.ts
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
