//! Tests of the safe points, as short histories.

use super::*;

const TS: u64 = 1_000_000;

fn at(seconds: i64) -> Moment {
    Moment { ts: TS, seconds }
}

fn apply(gc: &mut GcState, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::GcPoints {
                txn_safe_point,
                gc_safe_point,
            } => gc.set_points(txn_safe_point, gc_safe_point),
            Change::BarrierPut(id, barrier) => gc.put_barrier(id, barrier),
            Change::BarrierDelete(id) => gc.delete_barrier(&id),
            other => panic!("{other:?} is no change of safe points"),
        }
    }
}

fn update(gc: &mut GcState, target: u64, seconds: i64) -> u64 {
    let (changes, reached) = gc.plan_update(target, at(seconds)).unwrap();
    apply(gc, changes);
    assert_eq!(gc.gc_safe_point(), reached);
    reached
}

fn service(
    gc: &mut GcState,
    id: &str,
    ttl: i64,
    ts: u64,
    seconds: i64,
) -> Result<(String, i64, u64)> {
    let (changes, reply) = gc.plan_service_update(id, ttl, ts, at(seconds))?;
    apply(gc, changes);
    Ok((reply.service_id, reply.ttl, reply.safe_point))
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
        assert_eq!(gc.txn_safe_point(), reached);
    }
    let (changes, _) = gc.plan_update(5, at(0)).unwrap();
    assert_eq!(changes, []);
}

#[test]
fn points_of_the_future_are_refused() {
    let mut gc = GcState::default();
    for target in [TS + 1, u64::MAX] {
        assert!(gc.plan_update(target, at(0)).is_err());
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
    assert_eq!(gc.txn_safe_point(), 70);
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
    assert_eq!((gc.txn_safe_point(), gc.gc_safe_point()), (40, 0));
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
    assert_eq!(gc.gc_safe_point(), 0);
}

#[test]
fn names_and_numbers_of_barriers_are_bounded() {
    let mut gc = GcState::default();
    assert!(service(&mut gc, "", 10, 50, 0).is_err());
    assert!(service(&mut gc, &"x".repeat(257), 10, 50, 0).is_err());
    for n in 0..BARRIERS_MAX {
        gc.put_barrier(
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
