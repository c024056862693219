//! Random raw histories against a map from keys to values and their ends, in every format, on both engines.
//!
//! Time moves between the calls, compactions come at any moment, and after each call the store and the map must
//! agree. Keys are few, so that they are overwritten, deleted and expire again and again, and some have a history long
//! enough that scans seek.

use std::collections::BTreeMap;
use std::time::Duration;

use api_version::{ApiV1, ApiV1Ttl, ApiV2, KvFormat};
use engine_mem::MemEngine;
use engine_rocks::RocksEngine;
use engine_traits::{Cf, KvEngine};
use kvproto::kvrpcpb::{ChecksumAlgorithm, KeyRange};
use runtime::Rng;
use storage::{CasRequest, Checksum, Config, RawKvPair, RawScanRequest, Storage};

use crate::driver::{World, tracker};

const STEPS: usize = 400;

/// Values of a store, and the second at which each is gone.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>);

impl Model {
    fn put(&mut self, key: &[u8], value: &[u8], ttl: u64, now: u64) {
        let end = (ttl != 0).then(|| now.saturating_add(ttl));
        self.0.insert(key.to_vec(), (value.to_vec(), end));
    }

    /// What readers see at this second.
    fn alive(&self, now: u64) -> BTreeMap<&[u8], (&[u8], Option<u64>)> {
        self.0
            .iter()
            .filter(|(_, (_, end))| end.is_none_or(|end| end > now))
            .map(|(key, (value, end))| (key.as_slice(), (value.as_slice(), *end)))
            .collect()
    }

    fn get(&self, key: &[u8], now: u64) -> Option<Vec<u8>> {
        self.alive(now).get(key).map(|(value, _)| value.to_vec())
    }

    fn scan(&self, request: &RawScanRequest, now: u64) -> Vec<RawKvPair> {
        let alive = self.alive(now);
        let value = |value: &[u8]| {
            if request.key_only {
                Vec::new()
            } else {
                value.to_vec()
            }
        };
        let pairs = alive.iter().map(|(key, (v, _))| (key.to_vec(), value(v)));
        let end = request.end.as_deref();
        if request.reverse {
            let inside = |key: &[u8]| {
                (request.start.is_empty() || key < &request.start[..])
                    && end.is_none_or(|end| key >= end)
            };
            let pairs = pairs.rev().filter(|(key, _)| inside(key));
            pairs.take(request.limit).collect()
        } else {
            let inside = |key: &[u8]| key >= &request.start[..] && end.is_none_or(|end| key < end);
            let pairs = pairs.filter(|(key, _)| inside(key));
            pairs.take(request.limit).collect()
        }
    }
}

struct History<K: KvEngine, F: KvFormat> {
    world: World<K, F>,
    rng: Rng,
    model: Model,
    written: u64,
}

impl<K: KvEngine, F: KvFormat> History<K, F> {
    fn now(&self) -> u64 {
        self.world.stepper.clock().unix_millis() / 1000
    }

    fn storage(&self) -> &Storage<kv::LocalEngine<K>, lock_manager::Detector, F> {
        &self.world.storage
    }

    /// Keys where one is the beginning of another, and of two keyspaces.
    fn key(&self) -> Vec<u8> {
        const NAMES: [&[u8]; 7] = [b"", b"a", b"aa", b"aaaaaaaa", b"aaaaaaaab", b"b", b"\xff\0"];
        let name = NAMES[self.rng.below(7) as usize];
        [b"r\0\0", &[self.rng.below(2) as u8][..], name].concat()
    }

    fn value(&mut self) -> Vec<u8> {
        self.written += 1;
        match self.rng.below(5) {
            0 => Vec::new(),
            _ => format!("value {}", self.written).into_bytes(),
        }
    }

    fn ttl(&self) -> u64 {
        match self.rng.below(4) {
            _ if !F::IS_TTL_ENABLED => 0,
            0 | 1 => 0,
            2 => self.rng.below(4) + 1,
            _ => u64::MAX,
        }
    }

    fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let (a, b) = match self.rng.below(4) {
            0 => (b"r".to_vec(), b"s".to_vec()),
            _ => (self.key(), self.key()),
        };
        if a < b { (a, b) } else { (b, a) }
    }

    fn scan_request(&self) -> RawScanRequest {
        let (low, high) = self.bounds();
        let reverse = self.rng.below(2) == 0;
        let (start, end) = if reverse { (high, low) } else { (low, high) };
        RawScanRequest {
            start,
            end: Some(end),
            limit: self.rng.below(6) as usize,
            key_only: self.rng.below(4) == 0,
            reverse,
        }
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..=4 => self.put(),
            5 => self.batch_put(),
            6 => self.delete(),
            7 => self.delete_range(),
            8 | 9 => self.swap(),
            10 => {
                let pause = Duration::from_millis(self.rng.below(2500));
                self.world.stepper.advance(pause);
            }
            11 => self.compact(),
            12 => self.overwrite_often(),
            _ => {}
        }
        self.read();
    }

    fn put(&mut self) {
        let (key, value, ttl, now) = (self.key(), self.value(), self.ttl(), self.now());
        self.model.put(&key, &value, ttl, now);
        let (ctx, pair) = (self.world.context(), (key, value));
        let put = self
            .storage()
            .raw_put(ctx, String::new(), pair, ttl, tracker());
        self.world.run(put).unwrap();
    }

    fn overwrite_often(&mut self) {
        let key = self.key();
        for _ in 0..12 {
            let (value, ttl, now) = (self.value(), self.ttl(), self.now());
            self.model.put(&key, &value, ttl, now);
            let (ctx, pair) = (self.world.context(), (key.clone(), value));
            let put = self
                .storage()
                .raw_put(ctx, String::new(), pair, ttl, tracker());
            self.world.run(put).unwrap();
        }
    }

    fn batch_put(&mut self) {
        let now = self.now();
        let pairs: Vec<RawKvPair> = (0..self.rng.below(5))
            .map(|_| (self.key(), self.value()))
            .collect();
        let ttls: Vec<u64> = match self.rng.below(3) {
            0 => Vec::new(),
            1 => vec![self.ttl()],
            _ => pairs.iter().map(|_| self.ttl()).collect(),
        };
        for (at, (key, value)) in pairs.iter().enumerate() {
            let ttl = match &ttls[..] {
                [] => 0,
                [all] => *all,
                each => each[at],
            };
            self.model.put(key, value, ttl, now);
        }
        let ctx = self.world.context();
        let put = self
            .storage()
            .raw_batch_put(ctx, String::new(), pairs, ttls, tracker());
        self.world.run(put).unwrap();
    }

    fn delete(&mut self) {
        let keys: Vec<Vec<u8>> = (0..self.rng.below(3)).map(|_| self.key()).collect();
        for key in &keys {
            self.model.0.remove(key);
        }
        let ctx = self.world.context();
        let delete = self
            .storage()
            .raw_batch_delete(ctx, String::new(), keys, tracker());
        self.world.run(delete).unwrap();
    }

    fn delete_range(&mut self) {
        let (start, end) = self.bounds();
        self.model.0.retain(|key, _| *key < start || *key >= end);
        let ctx = self.world.context();
        let delete = self
            .storage()
            .raw_delete_range(ctx, String::new(), start, end, tracker());
        self.world.run(delete).unwrap();
    }

    fn swap(&mut self) {
        let (key, value, ttl, now) = (self.key(), self.value(), self.ttl(), self.now());
        let before = self.model.get(&key, now);
        let expected = match self.rng.below(3) {
            0 => Some(b"another".to_vec()),
            _ => before.clone(),
        };
        let delete = self.rng.below(3) == 0;
        if expected == before {
            if delete {
                self.model.0.remove(&key);
            } else {
                self.model.put(&key, &value, ttl, now);
            }
        }
        let succeeds = expected == before;
        let request = CasRequest {
            key,
            expected,
            value,
            ttl,
            delete,
        };
        let ctx = self.world.context();
        let swap = self
            .storage()
            .raw_compare_and_swap(ctx, String::new(), request, tracker());
        let result = self.world.run(swap).unwrap();
        assert_eq!((result.previous, result.succeed), (before, succeeds));
    }

    fn compact(&mut self) {
        self.world.engine.flush(&Cf::DATA).unwrap();
        let compacted = self.world.engine.compact_range(Cf::Default, None, None);
        compacted.unwrap();
    }

    /// One read of every kind.
    fn read(&mut self) {
        let (key, now) = (self.key(), self.now());
        let (ctx, cf, storage) = (self.world.context(), String::new(), self.storage());
        let run = |what: &str| format!("{what} of {key:?} at {now}");
        let get = storage.raw_get(ctx.clone(), cf.clone(), key.clone(), tracker());
        assert_eq!(
            self.world.run(get).unwrap(),
            self.model.get(&key, now),
            "{}",
            run("get")
        );

        if F::IS_TTL_ENABLED {
            let ttl = storage.raw_get_key_ttl(ctx.clone(), cf.clone(), key.clone(), tracker());
            let alive = self.model.alive(now);
            let expected = alive
                .get(&key[..])
                .map(|(_, end)| end.map_or(0, |end| end - now));
            assert_eq!(self.world.run(ttl).unwrap(), expected, "{}", run("ttl"));
        }

        let scans: Vec<RawScanRequest> = (0..2).map(|_| self.scan_request()).collect();
        let expected: Vec<Vec<RawKvPair>> = scans
            .iter()
            .map(|scan| self.model.scan(scan, now))
            .collect();
        for (scan, expected) in scans.iter().zip(&expected) {
            let found = storage.raw_scan(ctx.clone(), cf.clone(), scan.clone(), tracker());
            assert_eq!(&self.world.run(found).unwrap(), expected, "{scan:?}");
        }
        let found = storage.raw_batch_scan(ctx.clone(), cf.clone(), scans, tracker());
        assert_eq!(self.world.run(found).unwrap(), expected.concat());

        let keys: Vec<Vec<u8>> = (0..3).map(|_| self.key()).collect();
        let expected: Vec<RawKvPair> = keys
            .iter()
            .filter_map(|key| Some((key.clone(), self.model.get(key, now)?)))
            .collect();
        let found = storage.raw_batch_get(ctx.clone(), cf, keys, tracker());
        assert_eq!(self.world.run(found).unwrap(), expected);

        let mut range = KeyRange::default();
        range.set_start_key(b"r".to_vec());
        range.set_end_key(b"s".to_vec());
        let algorithm = ChecksumAlgorithm::Crc64_Xor;
        let sum = storage.raw_checksum(ctx, algorithm, vec![range], tracker());
        let sum: Checksum = self.world.run(sum).unwrap();
        let alive = self.model.alive(now);
        let bytes = alive
            .iter()
            .map(|(key, (value, _))| key.len() + value.len());
        assert_eq!(
            (sum.total_kvs, sum.total_bytes),
            (alive.len() as u64, bytes.sum::<usize>() as u64)
        );
    }
}

fn agrees<K: KvEngine, F: KvFormat>(engine: K, seed: u64) {
    let world = World::<K, F>::in_format(engine, seed, &Config::default());
    let mut history = History {
        world,
        rng: Rng::from_seed(seed),
        model: Model::default(),
        written: 0,
    };
    for _ in 0..STEPS {
        history.step();
    }
}

fn agrees_in_memory<F: KvFormat>() {
    for seed in 0..12 {
        agrees::<_, F>(MemEngine::new(), seed);
    }
}

fn agrees_on_disk<F: KvFormat>() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..2 {
        let path = dir.path().join(seed.to_string());
        let engine = RocksEngine::open(path, &engine_rocks::Config::default()).unwrap();
        agrees::<_, F>(engine, seed);
    }
}

#[test]
fn v1_in_memory() {
    agrees_in_memory::<ApiV1>();
}

#[test]
fn v1ttl_in_memory() {
    agrees_in_memory::<ApiV1Ttl>();
}

#[test]
fn v2_in_memory() {
    agrees_in_memory::<ApiV2>();
}

#[test]
fn v1_on_disk() {
    agrees_on_disk::<ApiV1>();
}

#[test]
fn v1ttl_on_disk() {
    agrees_on_disk::<ApiV1Ttl>();
}

#[test]
fn v2_on_disk() {
    agrees_on_disk::<ApiV2>();
}

/// Space that expired values took is free after a compaction, in both formats that let them expire.
fn expired_values_leave<F: KvFormat>() {
    const VALUE: usize = 4096;
    let dir = tempfile::tempdir().unwrap();
    let engine = RocksEngine::open(dir.path(), &engine_rocks::Config::default()).unwrap();
    let world = World::<_, F>::in_format(engine.clone(), 1, &Config::default());
    let rng = Rng::from_seed(1);
    let put = |name: String, ttl| {
        let key = [b"r\0\0\0", name.as_bytes()].concat();
        let value: Vec<u8> = (0..VALUE).map(|_| rng.below(256) as u8).collect();
        let (ctx, pair) = (world.context(), (key, value));
        let put = world
            .storage
            .raw_put(ctx, String::new(), pair, ttl, tracker());
        world.run(put).unwrap();
    };
    let bytes = || -> u64 { engine.stats().cfs.iter().map(|cf| cf.live_file_bytes).sum() };
    for n in 0..200 {
        put(format!("dies {n}"), 5);
        put(format!("lives {n}"), 0);
    }
    engine.flush(&Cf::DATA).unwrap();
    engine.compact_range(Cf::Default, None, None).unwrap();
    let before = bytes();
    assert!(before > 400 * VALUE as u64, "{before}");
    world.stepper.advance(Duration::from_secs(5));
    engine.compact_range(Cf::Default, None, None).unwrap();
    let after = bytes();
    assert!(after < 210 * VALUE as u64, "{after} of {before}");
    assert!(after > 200 * VALUE as u64, "{after} of {before}");
}

#[test]
fn compaction_gives_the_space_of_expired_values_back() {
    expired_values_leave::<ApiV1Ttl>();
    expired_values_leave::<ApiV2>();
}
