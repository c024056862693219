//! What a snapshot shows, and how writes look in the engine below.

use engine_mem::MemEngine;
use engine_traits::{
    Cf, EngineIterator, Error, IterOptions, KvEngine, Peekable, WriteBatch, WriteOptions,
};
use futures::StreamExt;
use kv::{Config, Engine, Modify, Snapshot, SnapshotContext, Subscribed, WriteData, WriteEvent};
use runtime::Stepper;
use txn_types::TimeStamp;

use crate::fixture::{key, put, region, start};

#[test]
fn writes_carry_the_data_prefix_and_snapshots_hide_it() {
    let stepper = Stepper::new(1);
    let engine = MemEngine::new();
    let fixture = start(engine.clone(), &stepper.runtime(), Config::default());
    // Local state around the data must never show.
    let mut batch = engine.write_batch();
    batch.put(Cf::Default, b"\x01\x01", b"ident");
    batch.put(Cf::Default, b"{", b"beyond");
    engine.write(batch, &WriteOptions::SYNCED).unwrap();

    stepper.block_on(async {
        fixture.write(put("b", "2")).await.unwrap();
        fixture.write(put("a", "1")).await.unwrap();
        let encoded = keys::data_key(key("a").as_encoded());
        assert_eq!(engine.get(Cf::Default, &encoded).unwrap().unwrap(), b"1");

        let ctx = SnapshotContext::new(region().context());
        let snapshot = fixture.local.async_snapshot(ctx).await.unwrap();
        fixture.write(put("c", "3")).await.unwrap();
        let mut iter = snapshot.iter(Cf::Default, IterOptions::default()).unwrap();
        assert!(iter.seek_to_first().unwrap());
        assert_eq!(iter.key(), key("a").as_encoded());
        assert!(!iter.prev().unwrap());
        assert!(iter.seek(b"").unwrap());
        assert_eq!(iter.key(), key("a").as_encoded());
        assert!(iter.next().unwrap());
        assert_eq!(
            (iter.key(), iter.value()),
            (key("b").as_encoded(), &b"2"[..])
        );
        assert!(!iter.next().unwrap());
        assert_eq!(iter.key(), b"");
        assert!(iter.seek_for_prev(&[0xff; 20]).unwrap());
        assert_eq!(iter.key(), key("b").as_encoded());
        assert!(iter.seek_to_last().unwrap());
        assert_eq!(iter.key(), key("b").as_encoded());

        let bounds = IterOptions::between(key("a").into_encoded(), key("b").into_encoded());
        let mut iter = snapshot.iter(Cf::Default, bounds).unwrap();
        assert!(iter.seek_to_last().unwrap());
        assert_eq!(iter.key(), key("a").as_encoded());
    });
}

#[test]
fn a_write_is_applied_in_its_order_and_ranges_may_be_open() {
    let stepper = Stepper::new(2);
    let fixture = start(MemEngine::new(), &stepper.runtime(), Config::default());
    stepper.block_on(async {
        let ops = vec![
            Modify::Put(Cf::Default, key("a"), b"1".to_vec()),
            Modify::Put(Cf::Write, key("a"), b"1".to_vec()),
            Modify::Delete(Cf::Default, key("a")),
            Modify::Put(Cf::Default, key("b"), b"1".to_vec()),
            Modify::Put(Cf::Default, key("c"), b"1".to_vec()),
            Modify::DeleteRange(Cf::Default, key("b"), key("c")),
        ];
        fixture.write(WriteData::new(ops)).await.unwrap();
        assert_eq!(fixture.get(Cf::Default, "a").await, None);
        assert_eq!(fixture.get(Cf::Write, "a").await.unwrap(), b"1");
        assert_eq!(fixture.get(Cf::Default, "b").await, None);
        assert_eq!(fixture.get(Cf::Default, "c").await.unwrap(), b"1");
        let rest = Modify::DeleteRange(Cf::Default, key("b"), txn_types::Key::from_encoded(vec![]));
        fixture.write(WriteData::new(vec![rest])).await.unwrap();
        assert_eq!(fixture.get(Cf::Default, "c").await, None);
        assert_eq!(fixture.get(Cf::Write, "a").await.unwrap(), b"1");
    });
}

#[test]
fn only_subscribed_stages_are_told_and_the_end_always() {
    let stepper = Stepper::new(3);
    let fixture = start(MemEngine::new(), &stepper.runtime(), Config::default());
    for (proposed, committed) in [(false, false), (true, false), (false, true), (true, true)] {
        let subscribed = Subscribed {
            proposed,
            committed,
        };
        let events = fixture.start_write(put("k", "v"), subscribed);
        let told: Vec<_> = stepper.block_on(events.collect());
        let names: Vec<_> = told
            .iter()
            .map(|event| match event {
                WriteEvent::Proposed => "proposed",
                WriteEvent::Committed => "committed",
                WriteEvent::Finished(result) => {
                    assert!(result.is_ok());
                    "finished"
                }
            })
            .collect();
        let mut expected = vec!["proposed", "committed", "finished"];
        expected.retain(|name| match *name {
            "proposed" => proposed,
            "committed" => committed,
            _ => true,
        });
        assert_eq!(names, expected);
    }
}

#[test]
fn an_iterator_over_memory_that_moved_too_often_is_nowhere() {
    let stepper = Stepper::new(3);
    let fixture = start(MemEngine::new(), &stepper.runtime(), Config::default());
    stepper.block_on(async {
        for name in ["a", "b"] {
            fixture.write(put(name, "1")).await.unwrap();
        }
    });
    let view = fixture
        .local
        .memory_snapshot(&region().context(), TimeStamp::zero(), None);
    let snapshot = view.unwrap().unwrap();
    let mut iter = snapshot.iter(Cf::Default, IterOptions::default()).unwrap();
    let stopped = (0..1_000).find_map(|_| iter.seek_to_first().err());
    assert_eq!(stopped, Some(Error::NotCached));
    assert!(!iter.valid(), "at {:?}", iter.key());
}
