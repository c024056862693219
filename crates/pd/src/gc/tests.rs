//! Tests of the safe points, as short histories.

use super::*;

const TS: u64 = 1_000_000;

fn at(seconds: i64) -> Moment {
    Moment { ts: TS, seconds }
}

pub(super) fn apply(gc: &mut GcState, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::GcPoints(scope, points) => gc.set_points(scope, points),
            Change::BarrierPut(place, id, barrier) => gc.put_barrier(place, id, barrier),
            Change::BarrierDelete(place, id) => gc.delete_barrier(place, &id),
            other => panic!("{other:?} is no change of safe points"),
        }
    }
}

fn update(gc: &mut GcState, target: u64, seconds: i64) -> u64 {
    let (changes, reached) = gc
        .plan_update(NULL_KEYSPACE, target, None, at(seconds))
        .unwrap();
    apply(gc, changes);
    assert_eq!(points(gc).gc, reached);
    reached
}

fn points(gc: &GcState) -> Points {
    gc.points(NULL_KEYSPACE)
}

fn service(
    gc: &mut GcState,
    id: &str,
    ttl: i64,
    ts: u64,
    seconds: i64,
) -> Result<(String, i64, u64)> {
    let update = ServiceUpdate {
        service_id: id,
        ttl,
        safe_point: ts,
    };
    let (changes, reply) = gc.plan_service_update(NULL_KEYSPACE, update, None, at(seconds))?;
    apply(gc, changes);
    Ok((reply.service_id, reply.ttl, reply.safe_point))
}

fn advance(gc: &mut GcState, scope: u32, target: u64, limit: Option<Limit>) -> Result<Advanced> {
    let (changes, advanced) = gc.plan_advance_txn(scope, target, limit, at(100))?;
    apply(gc, changes);
    Ok(advanced)
}

fn barrier(gc: &mut GcState, place: Place, id: &str, ts: u64, ttl: i64) -> Result<Barrier> {
    let (changes, barrier) = gc.plan_set_barrier(place, id, ts, ttl, at(100))?;
    apply(gc, changes);
    Ok(barrier)
}

fn reply(id: &str, ttl: i64, safe_point: u64) -> Result<(String, i64, u64)> {
    Ok((id.to_owned(), ttl, safe_point))
}

#[test]
fn the_legacy_call_moves_both_points_forward_only() {
    let mut gc = GcState::default();
    for (target, reached) in [
        (0, 0),
        (100, 100),
        (50, 100),
        (0, 100),
        (101, 101),
        (TS, TS),
    ] {
        assert_eq!(update(&mut gc, target, 0), reached);
        assert_eq!(points(&gc).txn, reached);
    }
    let (changes, _) = gc.plan_update(NULL_KEYSPACE, 5, None, at(0)).unwrap();
    assert_eq!(changes, []);
}

#[test]
fn points_of_the_future_are_refused() {
    let mut gc = GcState::default();
    for target in [TS + 1, u64::MAX] {
        assert!(gc.plan_update(NULL_KEYSPACE, target, None, at(0)).is_err());
        assert!(service(&mut gc, GC_WORKER, FOREVER, target, 0).is_err());
    }
}

#[test]
fn barriers_hold_both_points_until_they_run_out_or_are_taken_away() {
    let mut gc = GcState::default();
    let none = reply(GC_WORKER, FOREVER, 0);
    assert_eq!(service(&mut gc, "br", 10, 50, 100), none);
    assert_eq!(service(&mut gc, "cdc", FOREVER, 70, 100), none);
    assert_eq!(update(&mut gc, 90, 109), 50);
    // br ran out at 110, cdc never does.
    assert_eq!(update(&mut gc, 90, 110), 70);
    assert_eq!(points(&gc).txn, 70);
    assert_eq!(
        service(&mut gc, "cdc", 0, 0, 110),
        reply(GC_WORKER, FOREVER, 70)
    );
    assert_eq!(update(&mut gc, 90, 110), 90);
}

#[test]
fn a_barrier_that_ran_out_never_comes_back() {
    let mut gc = GcState::default();
    service(&mut gc, "br", 10, 50, 100).unwrap();
    assert_eq!(update(&mut gc, 60, 200), 60);
    // Even when the clock is behind again.
    assert_eq!(update(&mut gc, 70, 100), 70);
}

#[test]
fn a_barrier_behind_the_point_is_not_stored() {
    let mut gc = GcState::default();
    update(&mut gc, 60, 0);
    let behind = reply(GC_WORKER, FOREVER, 60);
    assert_eq!(service(&mut gc, "br", 10, 59, 0), behind);
    assert_eq!(update(&mut gc, 100, 0), 100);
    // At the point it is.
    service(&mut gc, "br", 10, 100, 0).unwrap();
    assert_eq!(update(&mut gc, 120, 0), 100);
    // Taking away what is not there is fine.
    assert_eq!(
        service(&mut gc, "nobody", -1, 0, 0),
        reply(GC_WORKER, FOREVER, 100)
    );
}

#[test]
fn the_worker_moves_the_first_point_and_learns_who_blocks_it() {
    let mut gc = GcState::default();
    assert_eq!(
        service(&mut gc, GC_WORKER, FOREVER, 40, 0),
        reply(GC_WORKER, FOREVER, 40)
    );
    assert_eq!(points(&gc), Points { txn: 40, gc: 0 });
    service(&mut gc, "br", 30, 60, 100).unwrap();
    service(&mut gc, "cdc", FOREVER, 55, 100).unwrap();
    assert_eq!(
        service(&mut gc, GC_WORKER, FOREVER, 50, 110),
        reply(GC_WORKER, FOREVER, 50)
    );
    assert_eq!(
        service(&mut gc, GC_WORKER, FOREVER, 80, 110),
        reply("cdc", FOREVER, 55)
    );
    service(&mut gc, "cdc", 0, 0, 110).unwrap();
    assert_eq!(
        service(&mut gc, GC_WORKER, FOREVER, 80, 110),
        reply("br", 20, 60)
    );
    assert!(service(&mut gc, GC_WORKER, FOREVER, 59, 110).is_err());
    assert!(service(&mut gc, GC_WORKER, 3600, 80, 110).is_err());
    assert_eq!(points(&gc).gc, 0);
}

#[test]
fn names_and_numbers_of_barriers_are_bounded() {
    let mut gc = GcState::default();
    assert!(service(&mut gc, "", 10, 50, 0).is_err());
    assert!(service(&mut gc, &"x".repeat(257), 10, 50, 0).is_err());
    for n in 0..BARRIERS_MAX {
        gc.put_barrier(
            Place::Scope(NULL_KEYSPACE),
            n.to_string(),
            Barrier {
                ts: 1,
                expires_at: 5,
            },
        );
    }
    assert!(service(&mut gc, "one more", 10, 50, 0).is_err());
    assert!(service(&mut gc, "0", 10, 50, 0).is_ok());
    assert!(service(&mut gc, "one more", 0, 0, 0).is_ok());
    assert!(service(&mut gc, "0", i64::MAX - 1, 50, i64::MAX - 1).is_ok());
}

#[test]
fn the_two_points_advance_one_after_the_other() {
    let mut gc = GcState::default();
    assert!(gc.plan_advance_gc(7, 1).is_err(), "txn is still at 0");
    assert_eq!(advance(&mut gc, 7, 50, None).unwrap().new, 50);
    for (target, words) in [(51, "beyond the txn"), (u64::MAX, "beyond the txn")] {
        let text = gc.plan_advance_gc(7, target).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
    let (changes, advanced) = gc.plan_advance_gc(7, 40).unwrap();
    apply(&mut gc, changes);
    assert_eq!((advanced.old, advanced.new), (0, 40));
    let text = gc.plan_advance_gc(7, 39).unwrap_err().to_string();
    assert!(
        text.contains("decrease the gc safe point from 40"),
        "{text}"
    );
    assert_eq!(gc.plan_advance_gc(7, 40).unwrap().0, []);
    let text = advance(&mut gc, 7, 49, None).unwrap_err().to_string();
    assert!(
        text.contains("decrease the txn safe point from 50"),
        "{text}"
    );
    assert!(advance(&mut gc, 7, TS + 1, None).is_err());
    // Scopes know nothing of each other.
    assert_eq!(points(&gc), Points::default());
}

#[test]
fn the_lowest_of_all_that_holds_back_is_named() {
    let mut gc = GcState::default();
    let limit = |ts| {
        Some(Limit {
            ts,
            owner: "somebody".to_owned(),
        })
    };
    barrier(&mut gc, Place::Scope(7), "br", 30, 10).unwrap();
    barrier(&mut gc, Place::Global, "cdc", 40, FOREVER).unwrap();
    barrier(&mut gc, Place::Scope(8), "other", 1, FOREVER).unwrap();
    let blocked = advance(&mut gc, 7, 90, limit(20)).unwrap();
    assert_eq!(
        (blocked.new, blocked.blocker.as_str()),
        (20, "somebody at 20")
    );
    let blocked = advance(&mut gc, 7, 90, limit(95)).unwrap();
    assert_eq!(
        (blocked.new, blocked.blocker.as_str()),
        (30, "gc barrier \"br\" at 30")
    );
    apply(
        &mut gc,
        GcState::default()
            .plan_delete_barrier(Place::Scope(7), "br")
            .unwrap()
            .0,
    );
    let (changes, deleted) = gc.plan_delete_barrier(Place::Scope(7), "br").unwrap();
    apply(&mut gc, changes);
    assert_eq!(deleted.map(|barrier| barrier.ts), Some(30));
    let blocked = advance(&mut gc, 7, 90, None).unwrap();
    assert_eq!(
        (blocked.old, blocked.new, blocked.blocker.as_str()),
        (30, 40, "gc barrier \"cdc\" at 40")
    );
    // A limit behind the point holds it where it is.
    assert_eq!(advance(&mut gc, 7, 40, limit(3)).unwrap().new, 40);
    assert_eq!(advance(&mut gc, 7, 40, None).unwrap().blocker, "");
}

#[test]
fn barriers_are_checked() {
    let mut gc = GcState::default();
    advance(&mut gc, 7, 50, None).unwrap();
    for (place, id, ts, ttl, words) in [
        (Place::Scope(7), "", 60, 1, "must not be empty"),
        (Place::Scope(7), GC_WORKER, 60, 1, "is no id"),
        (Place::Scope(7), "a", 60, 0, "must be positive"),
        (Place::Scope(7), "a", 60, -1, "must be positive"),
        (Place::Scope(7), "a", 60, i64::MIN, "must be positive"),
        (Place::Scope(7), "a", 49, 1, "behind the txn safe point 50"),
        (Place::Global, "a", 49, 1, "behind the txn safe point 50"),
        (Place::Global, "", 60, 1, "must not be empty"),
    ] {
        let text = barrier(&mut gc, place, id, ts, ttl)
            .unwrap_err()
            .to_string();
        assert!(text.contains(words), "{text}");
    }
    assert!(gc.plan_delete_barrier(Place::Global, "").is_err());
    assert!(
        gc.plan_delete_barrier(Place::Global, &"x".repeat(257))
            .is_err()
    );
    barrier(&mut gc, Place::Scope(8), "a", 49, 1).unwrap();
    let forever = barrier(&mut gc, Place::Scope(7), "a", u64::MAX, FOREVER).unwrap();
    assert_eq!(forever.remaining(i64::MAX - 1), FOREVER);
    let live = |gc: &GcState, seconds| {
        let live = gc.live_barriers(Place::Scope(8), at(seconds));
        live.map(|(id, barrier)| (id.to_owned(), barrier.ts))
            .collect::<Vec<_>>()
    };
    assert_eq!(live(&gc, 100), [("a".to_owned(), 49)]);
    assert_eq!(live(&gc, 101), []);
}

#[test]
fn a_backup_of_everything_holds_every_keyspace_back() {
    let mut gc = GcState::default();
    service(&mut gc, NATIVE_BR, 100, 30, 100).unwrap();
    assert_eq!(advance(&mut gc, 7, 50, None).unwrap().new, 30);
    assert_eq!(advance(&mut gc, NULL_KEYSPACE, 50, None).unwrap().new, 30);
    // Within a keyspace it is a service like any other.
    let update = ServiceUpdate {
        service_id: NATIVE_BR,
        ttl: 0,
        safe_point: 0,
    };
    let (changes, _) = gc.plan_service_update(7, update, None, at(100)).unwrap();
    assert_eq!(changes, []);
    service(&mut gc, NATIVE_BR, 0, 0, 100).unwrap();
    assert_eq!(advance(&mut gc, 7, 50, None).unwrap().new, 50);
}
