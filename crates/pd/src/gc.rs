//! Safe points of garbage collection and the barriers that hold them back. No IO, no clock.
//!
//! Every *scope* has two points, `gc <= txn`: nobody may begin a transaction below `txn`; below
//! `gc` old versions may be gone. One scope is that of all keyspaces that do not ask for their own,
//! the null keyspace. What holds `txn` back:
//!
//! - barriers of the scope and global ones, which services set with a time to live. A barrier that
//!   ran out is deleted when `txn` is advanced next, and never comes back to life;
//! - a [`Limit`] from outside: transactions that run.
//!
//! Whoever collects garbage moves the points. As long as nobody has *claimed* that, the placement
//! driver does it itself; see `gc_worker`.

use std::collections::BTreeMap;

use crate::change::Change;
use crate::{Error, Result};

/// The service that advances the points through the barrier call.
pub const GC_WORKER: &str = "gc_worker";
/// The service whose barrier holds for all keyspaces, when it is set in the null keyspace.
pub const NATIVE_BR: &str = "native_br";
/// The time to live, in seconds, that means for ever.
pub const FOREVER: i64 = i64::MAX;
/// The scope of everything that has no garbage collection of its own.
pub const NULL_KEYSPACE: u32 = u32::MAX;

/// Bytes of a service's name.
const SERVICE_ID_BYTES_MAX: usize = 256;
/// Barriers at a time in one place.
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
    fn new(ts: u64, ttl: i64, now: Moment) -> Barrier {
        Barrier {
            ts,
            expires_at: now.seconds.saturating_add(ttl),
        }
    }

    fn is_live(&self, now_seconds: i64) -> bool {
        self.expires_at > now_seconds
    }

    /// The seconds that it still has.
    pub fn remaining(&self, now_seconds: i64) -> i64 {
        if self.expires_at == FOREVER {
            FOREVER
        } else {
            self.expires_at.saturating_sub(now_seconds)
        }
    }
}

/// Where a barrier stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// In one scope.
    Scope(u32),
    /// Before every scope.
    Global,
}

/// The moment of a request, by the timestamps' clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The highest timestamp handed out so far.
    pub ts: u64,
    /// Its seconds.
    pub seconds: i64,
}

/// What beside barriers `txn` must not pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    /// The timestamp that it may reach.
    pub ts: u64,
    /// Whose it is, for people.
    pub owner: String,
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

/// How a point moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advanced {
    /// Where it was.
    pub old: u64,
    /// Where it is.
    pub new: u64,
    /// What kept it from its target, in words; empty when nothing did.
    pub blocker: String,
}

/// The points of a scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Points {
    /// Below it, no transaction may begin.
    pub txn: u64,
    /// Below it, old versions may be gone.
    pub gc: u64,
}

type Barriers = BTreeMap<String, Barrier>;

/// See the module.
#[derive(Debug, Default)]
pub struct GcState {
    /// Scopes whose points ever moved.
    points: BTreeMap<u32, Points>,
    /// Never an empty map.
    barriers: BTreeMap<Place, Barriers>,
    claimed: bool,
}

/// How far `txn` gets and what stops it.
struct Advance {
    reached: u64,
    blocker: Option<Blocker>,
    changes: Vec<Change>,
}

enum Blocker {
    Barrier(String, Barrier),
    Limit(Limit),
}

impl Blocker {
    fn ts(&self) -> u64 {
        match self {
            Blocker::Barrier(_, barrier) => barrier.ts,
            Blocker::Limit(limit) => limit.ts,
        }
    }

    fn describe(&self) -> String {
        match self {
            Blocker::Barrier(id, barrier) => format!("gc barrier {id:?} at {}", barrier.ts),
            Blocker::Limit(limit) => format!("{} at {}", limit.owner, limit.ts),
        }
    }
}

/// Reading.
impl GcState {
    /// The points of a scope.
    pub fn points(&self, scope: u32) -> Points {
        self.points.get(&scope).copied().unwrap_or_default()
    }

    /// The barriers of a place that hold something back.
    pub fn live_barriers(
        &self,
        place: Place,
        now: Moment,
    ) -> impl Iterator<Item = (&str, &Barrier)> {
        self.barriers
            .get(&place)
            .into_iter()
            .flatten()
            .filter(move |(_, barrier)| barrier.is_live(now.seconds))
            .map(|(id, barrier)| (id.as_str(), barrier))
    }

    /// Whether somebody else than the placement driver moves the points of the null keyspace.
    pub fn is_claimed(&self) -> bool {
        self.claimed
    }
}

/// Planning.
impl GcState {
    /// Moves both points as near to `target` as barriers and limit allow. A target behind changes
    /// nothing. The answer is the GC safe point in force afterwards.
    pub fn plan_update(
        &self,
        scope: u32,
        target: u64,
        limit: Option<Limit>,
        now: Moment,
    ) -> Result<(Vec<Change>, u64)> {
        check_not_in_future(target, now)?;
        let points = self.points(scope);
        let advance = self.advance(scope, target.max(points.txn), limit, now);
        let gc = points.gc.max(target.min(advance.reached));
        let mut changes = advance.changes;
        let txn = advance.reached;
        changes.extend(moved(scope, points, Points { txn, gc }));
        Ok((changes, gc))
    }

    /// Moves `txn` as near to `target` as barriers and limit allow.
    pub fn plan_advance_txn(
        &self,
        scope: u32,
        target: u64,
        limit: Option<Limit>,
        now: Moment,
    ) -> Result<(Vec<Change>, Advanced)> {
        let (changes, advanced, _) = self.plan_txn(scope, target, limit, now)?;
        Ok((changes, advanced))
    }

    /// Moves `gc` to `target`, which `txn` has to have reached.
    pub fn plan_advance_gc(&self, scope: u32, target: u64) -> Result<(Vec<Change>, Advanced)> {
        let points = self.points(scope);
        if target < points.gc {
            return Err(Error::Refused(format!(
                "trying to decrease the gc safe point from {} to {target}",
                points.gc
            )));
        }
        if target > points.txn {
            return Err(Error::Refused(format!(
                "trying to move the gc safe point to {target}, beyond the txn safe point {}",
                points.txn
            )));
        }
        let to = Points {
            gc: target,
            ..points
        };
        let advanced = Advanced {
            old: points.gc,
            new: target,
            blocker: String::new(),
        };
        Ok((moved(scope, points, to).into_iter().collect(), advanced))
    }

    /// Sets a barrier or renews it.
    pub fn plan_set_barrier(
        &self,
        place: Place,
        id: &str,
        ts: u64,
        ttl: i64,
        now: Moment,
    ) -> Result<(Vec<Change>, Barrier)> {
        self.check_barrier(place, id)?;
        if ttl <= 0 {
            return Err(Error::Refused(format!(
                "ttl of gc barrier {id:?} must be positive, got {ttl}"
            )));
        }
        let txn = self.txn_behind(place);
        if ts < txn {
            return Err(Error::Refused(format!(
                "trying to set gc barrier {id:?} at {ts}, behind the txn safe point {txn}"
            )));
        }
        let barrier = Barrier::new(ts, ttl, now);
        Ok((
            vec![Change::BarrierPut(place, id.to_owned(), barrier)],
            barrier,
        ))
    }

    /// Takes a barrier away; the answer is what it was, if there was one.
    pub fn plan_delete_barrier(
        &self,
        place: Place,
        id: &str,
    ) -> Result<(Vec<Change>, Option<Barrier>)> {
        check_id(id)?;
        let barrier = self.barriers.get(&place).and_then(|all| all.get(id));
        let change = barrier.map(|_| Change::BarrierDelete(place, id.to_owned()));
        Ok((change.into_iter().collect(), barrier.copied()))
    }

    /// A service's call: the worker advances, everybody else sets a barrier or, with a time to
    /// live of 0 or less, takes it away.
    pub fn plan_service_update(
        &self,
        scope: u32,
        update: ServiceUpdate<'_>,
        limit: Option<Limit>,
        now: Moment,
    ) -> Result<(Vec<Change>, ServiceReply)> {
        let ServiceUpdate {
            service_id,
            ttl,
            safe_point,
        } = update;
        if service_id == GC_WORKER {
            return self.plan_worker(scope, ttl, safe_point, limit, now);
        }
        let place = if service_id == NATIVE_BR && scope == NULL_KEYSPACE {
            Place::Global
        } else {
            Place::Scope(scope)
        };
        let changes = if ttl <= 0 {
            self.plan_delete_barrier(place, service_id)?.0
        } else {
            self.check_barrier(place, service_id)?;
            // One behind the point is not stored: the caller sees that from the reply.
            let fits = safe_point >= self.txn_behind(place);
            let barrier = Barrier::new(safe_point, ttl, now);
            fits.then(|| Change::BarrierPut(place, service_id.to_owned(), barrier))
                .into_iter()
                .collect()
        };
        let reply = ServiceReply {
            service_id: GC_WORKER.to_owned(),
            ttl: FOREVER,
            safe_point: self.points(scope).txn,
        };
        Ok((changes, reply))
    }

    fn plan_worker(
        &self,
        scope: u32,
        ttl: i64,
        target: u64,
        limit: Option<Limit>,
        now: Moment,
    ) -> Result<(Vec<Change>, ServiceReply)> {
        if ttl != FOREVER {
            return Err(Error::Refused(format!(
                "ttl of {GC_WORKER} must be {FOREVER}, got {ttl}"
            )));
        }
        let (changes, advanced, blocker) = self.plan_txn(scope, target, limit, now)?;
        let (service_id, ttl) = match blocker {
            Some(Blocker::Barrier(id, barrier)) => (id, barrier.remaining(now.seconds)),
            Some(Blocker::Limit(limit)) => (limit.owner, FOREVER),
            None => (GC_WORKER.to_owned(), FOREVER),
        };
        let reply = ServiceReply {
            service_id,
            ttl,
            safe_point: advanced.new,
        };
        Ok((changes, reply))
    }

    fn plan_txn(
        &self,
        scope: u32,
        target: u64,
        limit: Option<Limit>,
        now: Moment,
    ) -> Result<(Vec<Change>, Advanced, Option<Blocker>)> {
        let points = self.points(scope);
        if target < points.txn {
            return Err(Error::Refused(format!(
                "trying to decrease the txn safe point from {} to {target}",
                points.txn
            )));
        }
        check_not_in_future(target, now)?;
        let advance = self.advance(scope, target, limit, now);
        let to = Points {
            txn: advance.reached,
            ..points
        };
        let mut changes = advance.changes;
        changes.extend(moved(scope, points, to));
        let advanced = Advanced {
            old: points.txn,
            new: to.txn,
            blocker: advance
                .blocker
                .as_ref()
                .map_or_else(String::new, Blocker::describe),
        };
        Ok((changes, advanced, advance.blocker))
    }

    fn advance(&self, scope: u32, target: u64, limit: Option<Limit>, now: Moment) -> Advance {
        let mut blocker = limit.filter(|limit| limit.ts < target).map(Blocker::Limit);
        let mut changes = Vec::new();
        for place in [Place::Scope(scope), Place::Global] {
            for (id, barrier) in self.barriers.get(&place).into_iter().flatten() {
                if !barrier.is_live(now.seconds) {
                    changes.push(Change::BarrierDelete(place, id.clone()));
                } else if barrier.ts < blocker.as_ref().map_or(target, Blocker::ts) {
                    blocker = Some(Blocker::Barrier(id.clone(), *barrier));
                }
            }
        }
        let allowed = blocker.as_ref().map_or(target, Blocker::ts);
        let reached = allowed.max(self.points(scope).txn);
        Advance {
            reached,
            // What lies behind the point already keeps nobody from staying there.
            blocker: blocker.filter(|_| reached < target),
            changes,
        }
    }

    /// The point that a barrier of this place must not lie behind.
    fn txn_behind(&self, place: Place) -> u64 {
        match place {
            Place::Scope(scope) => self.points(scope).txn,
            Place::Global => {
                let all = self.points.values().map(|points| points.txn);
                all.max().unwrap_or_default()
            }
        }
    }

    fn check_barrier(&self, place: Place, id: &str) -> Result<()> {
        check_id(id)?;
        let known = self.barriers.get(&place);
        if known.is_some_and(|all| all.len() >= BARRIERS_MAX && !all.contains_key(id)) {
            return Err(Error::Refused(format!(
                "there are {BARRIERS_MAX} gc barriers already"
            )));
        }
        Ok(())
    }
}

/// A service's call.
#[derive(Clone, Copy, Debug)]
pub struct ServiceUpdate<'a> {
    /// Who calls.
    pub service_id: &'a str,
    /// For how long, in seconds.
    pub ttl: i64,
    /// What is asked for.
    pub safe_point: u64,
}

/// Applying.
impl GcState {
    /// The points are decided so.
    pub(crate) fn set_points(&mut self, scope: u32, to: Points) {
        let from = self.points(scope);
        assert!(to.gc <= to.txn, "gc never passes txn");
        assert!(
            to.gc >= from.gc && to.txn >= from.txn,
            "safe points only grow"
        );
        self.points.insert(scope, to);
    }

    /// A barrier is decided so.
    pub(crate) fn put_barrier(&mut self, place: Place, id: String, barrier: Barrier) {
        self.barriers.entry(place).or_default().insert(id, barrier);
    }

    /// A barrier is gone.
    pub(crate) fn delete_barrier(&mut self, place: Place, id: &str) {
        if let Some(all) = self.barriers.get_mut(&place) {
            all.remove(id);
            if all.is_empty() {
                self.barriers.remove(&place);
            }
        }
    }

    /// Who collects garbage.
    pub(crate) fn set_claimed(&mut self, claimed: bool) {
        self.claimed = claimed;
    }
}

fn moved(scope: u32, from: Points, to: Points) -> Option<Change> {
    (from != to).then_some(Change::GcPoints(scope, to))
}

fn check_id(id: &str) -> Result<()> {
    match id {
        "" => Err(Error::Refused("gc barrier id must not be empty".to_owned())),
        GC_WORKER => Err(Error::Refused(format!(
            "{GC_WORKER:?} is no id of a gc barrier"
        ))),
        _ if id.len() > SERVICE_ID_BYTES_MAX => Err(Error::Refused(format!(
            "gc barrier id has {} bytes, allowed are {SERVICE_ID_BYTES_MAX}",
            id.len()
        ))),
        _ => Ok(()),
    }
}

/// A point above every timestamp handed out would make every transaction come too late.
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
mod properties;
#[cfg(test)]
mod tests;
