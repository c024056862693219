//! What is refused, with which error, and that a refused write leaves nothing behind.

use std::num::NonZeroU64;
use std::time::Duration;

use engine_mem::MemEngine;
use engine_traits::Cf;
use futures::{FutureExt, StreamExt};
use kv::{Config, Engine, Error, Snapshot, SnapshotContext, Subscribed, WriteEvent};
use runtime::Stepper;
use txn_types::TimeStamp;

use crate::fixture::{put, region, region_error, start};

#[test]
fn a_context_for_another_region_is_refused_for_reads_and_writes() {
    let stepper = Stepper::new(1);
    let fixture = start(MemEngine::new(), &stepper.runtime(), Config::default());
    stepper.block_on(async {
        let mut ctx = region().context();
        ctx.mut_region_epoch().set_version(9);
        let snapshot = fixture
            .local
            .async_snapshot(SnapshotContext::new(ctx.clone()))
            .await;
        let Err(Error::Region(error)) = snapshot else {
            panic!("a snapshot was given")
        };
        assert_eq!(
            error.get_epoch_not_match().get_current_regions(),
            [region().region]
        );
        let error = region_error(kv::write(&fixture.local, ctx, put("k", "v")).await);
        assert_eq!(
            error.get_epoch_not_match().get_current_regions(),
            [region().region]
        );
        assert_eq!(fixture.get(Cf::Default, "k").await, None);
    });
}

#[test]
fn a_write_decided_on_in_another_term_is_stale() {
    let stepper = Stepper::new(2);
    let fixture = start(MemEngine::new(), &stepper.runtime(), Config::default());
    stepper.block_on(async {
        let ctx = SnapshotContext::new(region().context());
        let term = fixture.local.async_snapshot(ctx).await.unwrap().term();
        let mut data = put("k", "v");
        data.term = term;
        fixture.write(data.clone()).await.unwrap();
        data.term = NonZeroU64::new(term.unwrap().get() - 1);
        assert!(region_error(fixture.write(data).await).has_stale_command());
    });
}

#[test]
fn a_write_past_its_deadline_is_not_begun() {
    let stepper = Stepper::new(3);
    let runtime = stepper.runtime();
    let fixture = start(MemEngine::new(), &runtime, Config::default());
    let mut data = put("k", "v");
    data.deadline = Some(runtime.clock.now() + Duration::from_millis(10));
    // Admitted in time, but the writer comes late: time moves before it may take a step.
    let events = fixture.start_write(data.clone(), Subscribed::default());
    stepper.virtual_clock().advance(Duration::from_millis(10));
    let told: Vec<_> = stepper.block_on(events.collect());
    assert!(
        matches!(
            told[..],
            [WriteEvent::Finished(Err(Error::DeadlineExceeded))]
        ),
        "{told:?}"
    );
    assert_eq!(fixture.local.stats().expired, 1);
    // Too late already when it comes.
    let late = stepper.block_on(fixture.write(data));
    assert!(matches!(late, Err(Error::DeadlineExceeded)), "{late:?}");
    assert_eq!(stepper.block_on(fixture.get(Cf::Default, "k")), None);
}

#[test]
fn a_full_queue_is_busy_and_empties() {
    let stepper = Stepper::new(4);
    let config = Config {
        max_pending_bytes: 100,
        max_group_bytes: 50,
        max_write_bytes: 100,
    };
    let fixture = start(MemEngine::new(), &stepper.runtime(), config);
    // Ten bytes each with the encoded key.
    let writes: Vec<_> = (0..12)
        .map(|n| fixture.start_write(put(&n.to_string(), "v"), Subscribed::default()))
        .collect();
    assert!(fixture.local.stats().pending_bytes <= 100);
    let results: Vec<_> = writes
        .into_iter()
        .map(|mut events| stepper.block_on(events.next()).unwrap())
        .collect();
    let mut busy = 0;
    for event in results {
        match event {
            WriteEvent::Finished(Ok(())) => {}
            WriteEvent::Finished(Err(Error::Region(error))) => {
                assert!(!error.get_server_is_busy().get_reason().is_empty());
                busy += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(busy, 2);
    stepper.run_until_stalled();
    assert_eq!(fixture.local.stats().pending_bytes, 0);
    assert_eq!(fixture.local.stats().groups, 2);
    stepper.block_on(fixture.write(put("after", "v"))).unwrap();
}

#[test]
fn a_write_above_the_limit_of_one_entry_is_refused() {
    let stepper = Stepper::new(5);
    let config = Config {
        max_write_bytes: 1000,
        ..Config::default()
    };
    let fixture = start(MemEngine::new(), &stepper.runtime(), config);
    let large = put("k", &"v".repeat(1000));
    let error = region_error(stepper.block_on(fixture.write(large)));
    assert_eq!(error.get_raft_entry_too_large().get_region_id(), 2);
    assert_eq!(error.get_raft_entry_too_large().get_entry_size(), 1009);
}

#[test]
fn a_closed_engine_finishes_what_it_admitted_and_refuses_the_rest() {
    let stepper = Stepper::new(6);
    let engine = MemEngine::new();
    let fixture = start(engine.clone(), &stepper.runtime(), Config::default());
    let admitted = fixture.start_write(put("a", "1"), Subscribed::default());
    let closed = fixture.local.close();
    let refused = stepper.block_on(fixture.write(put("b", "1")));
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
    stepper.block_on(closed);
    assert!(fixture.local.close().now_or_never().is_some());
    let told: Vec<_> = stepper.block_on(admitted.collect());
    assert!(
        matches!(told[..], [WriteEvent::Finished(Ok(()))]),
        "{told:?}"
    );
    let ctx = SnapshotContext::new(region().context());
    let snapshot = stepper.block_on(fixture.local.async_snapshot(ctx));
    assert!(matches!(snapshot, Err(Error::Closed)));
    assert_eq!(engine.unsynced_batches(), 0);
}

#[test]
fn writes_after_the_runtime_stopped_are_answered() {
    let stepper = Stepper::new(7);
    let runtime = stepper.runtime();
    let fixture = start(MemEngine::new(), &runtime, Config::default());
    let mut admitted = fixture.start_write(put("a", "1"), Subscribed::default());
    runtime.shutdown();
    // Whether the writer got to it or not, nobody waits for ever.
    assert!(matches!(
        admitted.next().now_or_never(),
        Some(Some(WriteEvent::Finished(_)))
    ));
    let refused = fixture.write(put("b", "1")).now_or_never().unwrap();
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
}

#[test]
fn settings_are_validated_as_a_whole() {
    assert!(Config::default().validate().is_empty());
    let wrong = Config {
        max_pending_bytes: 0,
        max_group_bytes: 0,
        max_write_bytes: 5,
    };
    let problems = wrong.validate();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("max-group-bytes"))
    );
}

#[test]
fn a_disk_that_fills_up_refuses_new_data_and_serves_reads() {
    let stepper = Stepper::new(8);
    let fixture = start(MemEngine::new(), &stepper.runtime(), Config::default());
    stepper.block_on(fixture.write(put("k", "1"))).unwrap();
    fixture.local.set_disk_status(kv::DiskStatus::AlmostFull);
    let error = region_error(stepper.block_on(fixture.write(put("k", "2"))));
    assert_eq!(error.get_disk_full().get_store_id(), [1]);
    let mut ctx = region().context();
    ctx.set_disk_full_opt(kvproto::kvrpcpb::DiskFullOpt::AllowedOnAlmostFull);
    stepper
        .block_on(kv::write(&fixture.local, ctx.clone(), put("k", "3")))
        .unwrap();
    fixture.local.set_disk_status(kv::DiskStatus::Full);
    let refused = stepper.block_on(kv::write(&fixture.local, ctx, put("k", "4")));
    assert!(region_error(refused).has_disk_full());
    assert_eq!(
        stepper.block_on(fixture.get(Cf::Default, "k")).unwrap(),
        b"3"
    );
    fixture.local.set_disk_status(kv::DiskStatus::Normal);
    stepper.block_on(fixture.write(put("k", "5"))).unwrap();
}

#[test]
fn the_limits_of_writes_change_while_it_runs() {
    let stepper = Stepper::new(5);
    let config = Config {
        max_pending_bytes: 100,
        max_group_bytes: 50,
        max_write_bytes: 20,
    };
    let fixture = start(MemEngine::new(), &stepper.runtime(), config);
    let large = || put("k", &"v".repeat(50));
    let refused = |result: Result<(), Error>| match result {
        Err(Error::Region(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = refused(stepper.block_on(fixture.write(large())));
    assert!(error.has_raft_entry_too_large(), "{error:?}");
    fixture.local.set_write_limits(200, 10);
    stepper.block_on(fixture.write(large())).unwrap();
    // One that is as large as it may be is never too much by itself.
    let largest = put("k", &"v".repeat(150));
    stepper.block_on(fixture.write(largest)).unwrap();
    fixture.local.set_write_limits(20, 100);
    let error = refused(stepper.block_on(fixture.write(large())));
    assert!(error.has_raft_entry_too_large(), "{error:?}");
}

/// As far as one store goes, which answers no ReadIndex: a read of a replica that was routed by another range of the
/// region, from before a split or a merge, is refused on both ways in instead of being answered from what is here.
#[test]
fn trap_30_read_index_during_split_or_merge() {
    let stepper = Stepper::new(1);
    let fixture = start(MemEngine::new(), &stepper.runtime(), Config::default());
    stepper.block_on(async {
        for (version, served) in [(0, false), (1, true), (2, false)] {
            let mut ctx = region().context();
            ctx.set_replica_read(true);
            ctx.mut_region_epoch().set_version(version);
            let at_once = fixture
                .local
                .memory_snapshot(&ctx, TimeStamp::new(10), None)
                .unwrap();
            let taken = fixture
                .local
                .async_snapshot(SnapshotContext::new(ctx))
                .await;
            for answer in [at_once.map(drop), taken.map(drop)] {
                match answer {
                    Ok(()) => assert!(served, "version {version}"),
                    Err(Error::Region(error)) => {
                        assert!(!served && error.has_epoch_not_match(), "{error:?}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
}
