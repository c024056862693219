//! Garbage collection where it meets the rest of the state: which scope a keyspace belongs to, what
//! running transactions allow, and the copy of the safe point that clients read through etcd.

use kvproto::etcdserverpb::{PutRequest, RangeRequest};

use super::PdState;
use crate::change::Change;
use crate::gc::{
    Advanced, Barrier, Limit, Moment, NULL_KEYSPACE, Place, Points, ServiceReply, ServiceUpdate,
};
use crate::keyspaces::has_own_gc;
use crate::{Error, Result};

/// Below it SQL servers publish the start of their oldest transaction, as decimal text.
const MIN_START_TS: &str = "/tidb/server/minstartts/";
/// Clients poll it: the txn safe point as decimal text.
const SAVED_SAFE_POINT: &str = "/tidb/store/gcworker/saved_safe_point";
/// Ids of keyspaces have 24 bits. Above, a number means the null keyspace.
const KEYSPACE_ID_MAX: u32 = (1 << 24) - 1;

/// Who asks, which decides what becomes of keyspaces that have no garbage collection of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// A user of snapshots: is served by the null keyspace.
    User,
    /// Who moves the points: has no business there.
    Collector,
}

impl PdState {
    /// The scope that stands for a keyspace; none is the null keyspace.
    pub fn gc_scope(&self, keyspace_id: Option<u32>, caller: Caller) -> Result<u32> {
        let id = match keyspace_id {
            Some(id) if id <= KEYSPACE_ID_MAX => id,
            _ => return Ok(NULL_KEYSPACE),
        };
        let keyspace = self.keyspaces.by_id(id)?;
        match caller {
            _ if has_own_gc(keyspace) => Ok(id),
            Caller::User => Ok(NULL_KEYSPACE),
            Caller::Collector => Err(Error::Refused(format!(
                "keyspace {id} has no garbage collection of its own"
            ))),
        }
    }

    /// See [`GcState::plan_update`](crate::gc::GcState::plan_update).
    pub fn plan_gc_update(
        &self,
        scope: u32,
        target: u64,
        now: Moment,
    ) -> Result<(Vec<Change>, u64)> {
        let limit = self.min_start_ts(scope);
        let (changes, reached) = self.gc.plan_update(scope, target, limit, now)?;
        Ok((self.with_copy(changes), reached))
    }

    /// See [`GcState::plan_advance_txn`](crate::gc::GcState::plan_advance_txn).
    pub fn plan_gc_advance_txn(
        &self,
        scope: u32,
        target: u64,
        now: Moment,
    ) -> Result<(Vec<Change>, Advanced)> {
        let limit = self.min_start_ts(scope);
        let (changes, advanced) = self.gc.plan_advance_txn(scope, target, limit, now)?;
        Ok((self.with_copy(changes), advanced))
    }

    /// See [`GcState::plan_service_update`](crate::gc::GcState::plan_service_update).
    pub fn plan_gc_service(
        &self,
        scope: u32,
        update: ServiceUpdate<'_>,
        now: Moment,
    ) -> Result<(Vec<Change>, ServiceReply)> {
        let limit = self.min_start_ts(scope);
        let (changes, reply) = self.gc.plan_service_update(scope, update, limit, now)?;
        Ok((self.with_copy(changes), reply))
    }

    /// See [`GcState::plan_delete_barrier`](crate::gc::GcState::plan_delete_barrier). For whoever
    /// knows a service by its name only: its barrier may stand before every scope.
    pub fn plan_gc_delete_service(&self, id: &str) -> Result<(Vec<Change>, Option<Barrier>)> {
        let (mut changes, scoped) = self
            .gc
            .plan_delete_barrier(Place::Scope(NULL_KEYSPACE), id)?;
        let (more, global) = self.gc.plan_delete_barrier(Place::Global, id)?;
        changes.extend(more);
        Ok((changes, scoped.or(global)))
    }

    /// The placement driver's own run begins: `txn` of the null keyspace moves towards `target`, as
    /// far as barriers, running transactions and what stores report as resolved allow. The answer
    /// is where it stands, if the other point is behind: up to there locks have to be resolved.
    /// Changes nothing once somebody else has claimed garbage collection.
    pub fn plan_gc_begin(&self, target: u64, now: Moment) -> Result<(Vec<Change>, Option<u64>)> {
        let points = self.gc.points(NULL_KEYSPACE);
        if self.gc.is_claimed() || !self.is_bootstrapped() {
            return Ok((Vec::new(), None));
        }
        let mut changes = Vec::new();
        let mut reached = points.txn;
        if target > points.txn {
            let resolved = self.stores.min_resolved_ts();
            let resolved = (resolved > 0).then(|| Limit {
                ts: resolved,
                owner: "the stores' min resolved ts".to_owned(),
            });
            let limits = [self.min_start_ts(NULL_KEYSPACE), resolved];
            let limit = limits.into_iter().flatten().min_by_key(|limit| limit.ts);
            let planned = self
                .gc
                .plan_advance_txn(NULL_KEYSPACE, target, limit, now)?;
            changes = self.with_copy(planned.0);
            reached = planned.1.new;
        }
        Ok((changes, (reached > points.gc).then_some(reached)))
    }

    /// That run ends: no lock at or before `resolved` is left, and `gc` follows. Changes nothing
    /// if somebody else has claimed garbage collection meanwhile.
    pub fn plan_gc_end(&self, resolved: u64) -> Result<(Vec<Change>, Points)> {
        let points = self.gc.points(NULL_KEYSPACE);
        if self.gc.is_claimed() || resolved <= points.gc {
            return Ok((Vec::new(), points));
        }
        let (changes, advanced) = self.gc.plan_advance_gc(NULL_KEYSPACE, resolved)?;
        let gc = advanced.new;
        Ok((changes, Points { gc, ..points }))
    }

    /// The start of the oldest transaction of SQL servers. One that cannot be read holds everything
    /// back, because it may be any.
    fn min_start_ts(&self, scope: u32) -> Option<Limit> {
        let prefix = scoped_path(scope, MIN_START_TS).into_bytes();
        let mut request = RangeRequest::default();
        let mut end = prefix.clone();
        // The prefix ends with a slash, so its successor is one more.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        request.set_key(prefix);
        request.set_range_end(end);
        let Ok(found) = self.etcd.range(&request) else {
            let owner = format!("unreadable keys below {MIN_START_TS:?}");
            return Some(Limit { ts: 0, owner });
        };
        let limits = found.get_kvs().iter().map(|kv| {
            let text = std::str::from_utf8(kv.get_value()).ok();
            let key = kv.get_key().escape_ascii();
            match text.and_then(|text| text.trim().parse().ok()) {
                Some(ts) => Limit {
                    ts,
                    owner: format!("min start ts {key}"),
                },
                None => Limit {
                    ts: 0,
                    owner: format!("unreadable min start ts {key}"),
                },
            }
        });
        limits.min_by_key(|limit| limit.ts)
    }

    /// Adds the copy of a txn safe point that moves. A store of keys that is full does not hold
    /// garbage collection back: an older copy only makes readers more careful.
    fn with_copy(&self, mut changes: Vec<Change>) -> Vec<Change> {
        let moved = changes.iter().find_map(|change| match change {
            Change::GcPoints(scope, to) if to.txn != self.gc.points(*scope).txn => {
                Some((*scope, to.txn))
            }
            _ => None,
        });
        let Some((scope, txn)) = moved else {
            return changes;
        };
        let mut request = PutRequest::default();
        request.set_key(scoped_path(scope, SAVED_SAFE_POINT).into_bytes());
        request.set_value(txn.to_string().into_bytes());
        match self.etcd.plan_put(&request) {
            Ok((copy, _)) => changes.extend(copy.into_iter().map(Change::Etcd)),
            Err(error) => tracing::warn!(%error, "the copy of the safe point stays behind"),
        }
        changes
    }
}

/// Where the keys of a keyspace stand.
fn scoped_path(scope: u32, path: &str) -> String {
    match scope {
        NULL_KEYSPACE => path.to_owned(),
        _ => format!("/keyspaces/tidb/{scope}{path}"),
    }
}
