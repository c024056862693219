//! Random histories of safe points and barriers against a model that keeps plain lists and asks
//! them anew each time.

use proptest::prelude::*;

use super::tests::apply;
use super::*;

const SCOPES: [u32; 2] = [7, NULL_KEYSPACE];

#[derive(Clone, Debug)]
enum Step {
    /// Legacy: both points.
    Update(usize, u64),
    AdvanceTxn(usize, u64, Option<u64>),
    AdvanceGc(usize, u64),
    Set(Option<usize>, u8, u64, i64),
    Delete(Option<usize>, u8),
    Service(usize, u8, u64, i64),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let scope = 0..SCOPES.len();
    let place = prop::option::of(scope.clone());
    let (ts, id, ttl) = (0..60_u64, 0..4_u8, -1..6_i64);
    let limit = prop::option::of(ts.clone());
    prop_oneof![
        (scope.clone(), ts.clone()).prop_map(|(s, t)| Step::Update(s, t)),
        (scope.clone(), ts.clone(), limit).prop_map(|(s, t, l)| Step::AdvanceTxn(s, t, l)),
        (scope.clone(), ts.clone()).prop_map(|(s, t)| Step::AdvanceGc(s, t)),
        (place.clone(), id.clone(), ts.clone(), ttl.clone())
            .prop_map(|(p, i, t, l)| Step::Set(p, i, t, l)),
        (place, id.clone()).prop_map(|(p, i)| Step::Delete(p, i)),
        (scope, id, ts, ttl).prop_map(|(s, i, t, l)| Step::Service(s, i, t, l)),
        (1..4_i64).prop_map(Step::Pass),
    ]
}

/// The model: what is in force, nothing about how it is kept.
#[derive(Default)]
struct Model {
    points: Vec<(u32, Points)>,
    /// Where, whose, what, and until when.
    barriers: Vec<(Place, String, u64, i64)>,
    now: i64,
}

impl Model {
    fn points(&self, scope: u32) -> Points {
        let known = self.points.iter().find(|(known, _)| *known == scope);
        known.map(|(_, points)| *points).unwrap_or_default()
    }

    fn set(&mut self, scope: u32, points: Points) {
        self.points.retain(|(known, _)| *known != scope);
        self.points.push((scope, points));
    }

    /// How far txn may go, given where it is.
    fn allowed(&self, scope: u32, target: u64, limit: Option<u64>) -> u64 {
        let places = [Place::Scope(scope), Place::Global];
        let live = self.barriers.iter();
        let live = live.filter(|(place, _, _, end)| places.contains(place) && *end > self.now);
        let lowest = live.map(|(_, _, ts, _)| *ts).chain(limit).min();
        let allowed = target.min(lowest.unwrap_or(u64::MAX));
        allowed.max(self.points(scope).txn)
    }

    fn forget_expired(&mut self, scope: u32) {
        let (now, own) = (self.now, [Place::Scope(scope), Place::Global]);
        self.barriers
            .retain(|(place, _, _, end)| !own.contains(place) || *end > now);
    }

    fn put(&mut self, place: Place, id: &str, ts: u64, ttl: i64) {
        self.barriers
            .retain(|(known, other, _, _)| (*known, other.as_str()) != (place, id));
        if ttl > 0 {
            let end = self.now + ttl;
            self.barriers.push((place, id.to_owned(), ts, end));
        }
    }

    fn behind(&self, place: Place) -> u64 {
        match place {
            Place::Scope(scope) => self.points(scope).txn,
            Place::Global => SCOPES
                .iter()
                .map(|s| self.points(*s).txn)
                .max()
                .unwrap_or(0),
        }
    }
}

/// Runs one step on both and compares what they say.
fn run(gc: &mut GcState, model: &mut Model, step: &Step) {
    let now = Moment {
        ts: 50,
        seconds: model.now,
    };
    let name = |id: u8| format!("service {id}");
    let place = |at: Option<usize>| at.map_or(Place::Global, |at| Place::Scope(SCOPES[at]));
    match *step {
        Step::Update(at, target) => {
            let scope = SCOPES[at];
            let planned = gc.plan_update(scope, target, None, now);
            assert_eq!(planned.is_ok(), target <= now.ts);
            let Ok((changes, reached)) = planned else {
                return;
            };
            apply(gc, changes);
            let txn = model.allowed(scope, target, None);
            let old = model.points(scope);
            let to = Points {
                txn,
                gc: old.gc.max(target.min(txn)),
            };
            model.set(scope, to);
            model.forget_expired(scope);
            assert_eq!(reached, to.gc);
        }
        Step::AdvanceTxn(at, target, limit) => {
            let scope = SCOPES[at];
            let old = model.points(scope);
            let owner = "limit".to_owned();
            let bound = limit.map(|ts| Limit { ts, owner });
            let planned = gc.plan_advance_txn(scope, target, bound, now);
            assert_eq!(planned.is_ok(), target >= old.txn && target <= now.ts);
            let Ok((changes, advanced)) = planned else {
                return;
            };
            apply(gc, changes);
            let txn = model.allowed(scope, target, limit);
            model.set(scope, Points { txn, ..old });
            model.forget_expired(scope);
            assert_eq!((advanced.old, advanced.new), (old.txn, txn));
            assert_eq!(advanced.blocker.is_empty(), txn == target);
        }
        Step::AdvanceGc(at, target) => {
            let scope = SCOPES[at];
            let old = model.points(scope);
            let planned = gc.plan_advance_gc(scope, target);
            assert_eq!(planned.is_ok(), target >= old.gc && target <= old.txn);
            let Ok((changes, _)) = planned else {
                return;
            };
            apply(gc, changes);
            model.set(scope, Points { gc: target, ..old });
        }
        Step::Set(at, id, ts, ttl) => {
            let planned = gc.plan_set_barrier(place(at), &name(id), ts, ttl, now);
            assert_eq!(planned.is_ok(), ttl > 0 && ts >= model.behind(place(at)));
            if let Ok((changes, _)) = planned {
                apply(gc, changes);
                model.put(place(at), &name(id), ts, ttl);
            }
        }
        Step::Delete(at, id) => {
            let (changes, _) = gc.plan_delete_barrier(place(at), &name(id)).unwrap();
            apply(gc, changes);
            model.put(place(at), &name(id), 0, 0);
        }
        Step::Service(at, id, safe_point, ttl) => {
            let scope = SCOPES[at];
            let service_id = &name(id);
            let update = ServiceUpdate {
                service_id,
                ttl,
                safe_point,
            };
            let (changes, reply) = gc.plan_service_update(scope, update, None, now).unwrap();
            apply(gc, changes);
            if ttl <= 0 || safe_point >= model.points(scope).txn {
                model.put(Place::Scope(scope), service_id, safe_point, ttl);
            }
            assert_eq!(reply.safe_point, model.points(scope).txn);
        }
        Step::Pass(seconds) => model.now += seconds,
    }
}

proptest! {
    #[test]
    fn points_never_go_back_nor_past_what_holds_them(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let (mut gc, mut model) = (GcState::default(), Model::default());
        for step in &steps {
            let before = SCOPES.map(|scope| gc.points(scope));
            run(&mut gc, &mut model, step);
            let now = Moment { ts: 50, seconds: model.now };
            for (scope, before) in SCOPES.into_iter().zip(before) {
                let after = gc.points(scope);
                prop_assert_eq!(after, model.points(scope));
                prop_assert!(after.gc <= after.txn);
                prop_assert!(after.gc >= before.gc && after.txn >= before.txn);
                if after.txn > before.txn {
                    for place in [Place::Scope(scope), Place::Global] {
                        for (id, barrier) in gc.live_barriers(place, now) {
                            prop_assert!(barrier.ts >= after.txn, "{id} was passed");
                        }
                    }
                }
            }
        }
    }
}
