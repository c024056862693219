//! Random versions of raw keys: what anybody reads from the safe point on stays the same after every step and crash.

use std::collections::BTreeMap;

use api_version::{ApiV2, KvFormat, RawValue};
use engine_mem::MemEngine;
use engine_traits::{Cf, KvEngine, Peekable, WriteBatch, WriteOptions};
use gc::{Data, Pass};
use proptest::prelude::*;
use txn_types::TimeStamp;

const LAST: u64 = 12;
const NOW: u64 = 1000;

#[derive(Clone, Copy, Debug)]
enum Version {
    Lives,
    Expired,
    ExpiresLater,
    Deleted,
}

/// By key and timestamp.
type Versions = BTreeMap<(u8, u64), Version>;

fn stored(version: Version) -> Vec<u8> {
    let value = RawValue::new(&b"v"[..]);
    ApiV2::encode_raw_value(match version {
        Version::Lives => value,
        Version::Expired => RawValue {
            expire_ts: Some(NOW),
            ..value
        },
        Version::ExpiresLater => RawValue {
            expire_ts: Some(NOW + 1),
            ..value
        },
        Version::Deleted => RawValue {
            is_delete: true,
            user_value: b"",
            expire_ts: None,
        },
    })
}

fn key(user: u8, ts: u64) -> Vec<u8> {
    let key = ApiV2::encode_raw_key(&[b'r', user], Some(TimeStamp::new(ts)));
    keys::data_key(key.as_encoded())
}

/// When the value was written that a read of `user` at `ts` finds.
fn read(engine: &MemEngine, user: u8, ts: u64, now: u64) -> Option<u64> {
    let newest = (1..=ts.min(LAST)).rev().find_map(|ts| {
        let value = engine.get(Cf::Default, &key(user, ts)).unwrap()?;
        Some((ts, value))
    });
    let (ts, value) = newest?;
    let value = ApiV2::decode_raw_value(&value).unwrap();
    value.is_visible(now).then_some(ts)
}

/// A version of the safe point itself stays, so what is just below it decides what reads there find.
fn all_reads(engine: &MemEngine, safe_point: u64) -> Vec<Option<u64>> {
    let mut found = Vec::new();
    for user in 0..3 {
        for ts in safe_point.saturating_sub(1)..=LAST {
            for now in [NOW, NOW + 1] {
                found.push(read(engine, user, ts, now));
            }
        }
    }
    found
}

fn versions() -> impl Strategy<Value = Versions> {
    let version = prop_oneof![
        3 => Just(Version::Lives),
        1 => Just(Version::Expired),
        1 => Just(Version::ExpiresLater),
        1 => Just(Version::Deleted),
    ];
    prop::collection::btree_map((0u8..3, 1..=LAST), version, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn reads_of_raw_keys_from_the_safe_point_on_stay_the_same(
        versions in versions(),
        safe_point in 1..=LAST + 2,
        steps in 0usize..4,
        torn: u64,
    ) {
        let engine = MemEngine::new();
        let mut batch = engine.write_batch();
        for ((user, ts), version) in &versions {
            batch.put(Cf::Default, &key(*user, *ts), &stored(*version));
        }
        engine.write(batch, &WriteOptions::SYNCED).unwrap();
        let before = all_reads(&engine, safe_point);
        let ts = TimeStamp::new(safe_point);
        let mut pass = Pass::new(engine.clone(), Data::RawVersions, ts, NOW);
        for _ in 0..steps {
            let is_done = pass.step(1).unwrap().is_done;
            prop_assert_eq!(all_reads(&engine, safe_point), before.clone());
            if is_done {
                break;
            }
        }
        let survivor = engine.crash_torn(torn);
        prop_assert_eq!(all_reads(&survivor, safe_point), before.clone());
        let mut pass = Pass::new(survivor.clone(), Data::RawVersions, ts, NOW);
        while !pass.step(2).unwrap().is_done {}
        prop_assert_eq!(all_reads(&survivor, safe_point), before);
        // One version of a key is left below the safe point, and that is one that reads find.
        for user in 0..3 {
            let below: Vec<u64> = (1..safe_point.min(LAST + 1))
                .filter(|ts| survivor.get(Cf::Default, &key(user, *ts)).unwrap().is_some())
                .collect();
            prop_assert!(below.len() <= 1, "{below:?}");
            let found = below.iter().all(|ts| read(&survivor, user, *ts, NOW).is_some());
            prop_assert!(found, "{below:?}");
        }
    }
}
