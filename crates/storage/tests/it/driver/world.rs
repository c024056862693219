//! One storage, its engine and its stepper.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api_version::{ApiV1, ApiVersion, KvFormat};
use concurrency_manager::ConcurrencyManager;
use engine_mem::MemEngine;
use engine_traits::{
    Cf, EngineIterator, IterOptions, Iterable, KvEngine, WriteBatch, WriteOptions,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use kv::{Engine, LocalEngine, LocalRegion, SnapshotContext};
use kvproto::kvrpcpb;
use lock_manager::{Detector, DetectorLimits};
use runtime::Stepper;
use storage::{CausalTs, Config, Storage, TsoSource, expiry_filter};
use tracker::TrackerHandle;
use txn_types::{Key, TimeStamp};

use super::flashback::stored_region;
use super::show;

/// A storage of format `F` over an engine `K` with everything below it, on one thread and one seed.
pub(crate) struct World<K: KvEngine = MemEngine, F: KvFormat = ApiV1> {
    pub(crate) stepper: Stepper,
    pub(crate) engine: K,
    pub(crate) storage: Storage<LocalEngine<K>, Detector, F>,
    pub(crate) region: LocalRegion,
    /// Lock requests of a script that wait, by name.
    pub(super) pending: RefCell<Vec<(String, BoxFuture<'static, Vec<String>>)>>,
}

impl World<MemEngine> {
    /// An empty store.
    pub(crate) fn new(seed: u64) -> Self {
        Self::over(MemEngine::new(), seed, &Config::default())
    }
}

impl<K: KvEngine> World<K> {
    /// A store over an engine.
    pub(crate) fn over(engine: K, seed: u64, config: &Config) -> Self {
        Self::in_format(engine, seed, config)
    }
}

impl<K: KvEngine, F: KvFormat> World<K, F> {
    /// A store of any format over an engine.
    pub(crate) fn in_format(engine: K, seed: u64, config: &Config) -> Self {
        let stepper = Stepper::new(seed);
        let runtime = stepper.runtime();
        let region = stored_region(&engine);
        let local = LocalEngine::new(
            engine.clone(),
            region.clone(),
            &runtime,
            kv::Config::default(),
            Arc::new(|reason: &str| panic!("the engine failed: {reason}")),
        );
        if let Some(filter) = expiry_filter::<F>(&stepper.clock()) {
            local.filter_compactions(Cf::Default, filter).unwrap();
        }
        let pool = |name: &str| yatp::Builder::new(name).threads(2).build_stepped(&stepper);
        let mut storage = Storage::new(
            local,
            detector(&runtime),
            ConcurrencyManager::new(TimeStamp::zero()),
            &runtime,
            pool("read"),
            pool("sched"),
            config,
        );
        if F::HAS_VERSIONS {
            storage = storage.with_causal_ts(CausalTs::new(oracle(), &runtime));
        }
        Self {
            stepper,
            engine,
            storage,
            region,
            pending: RefCell::default(),
        }
    }

    /// An envelope that passes every check.
    pub(crate) fn context(&self) -> kvrpcpb::Context {
        let mut ctx = self.region.context();
        // Clients know nothing of time to live.
        if F::TAG == ApiVersion::V2 {
            ctx.set_api_version(kvrpcpb::APIVersion::V2);
        }
        ctx
    }

    /// Runs a future to its end.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.stepper.block_on(future)
    }

    /// Begins with a future now, as a server does, and goes on with it whenever the world runs.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let task = self.stepper.runtime().spawner.spawn(future);
        task.map(|ended| ended.expect("a task of this test"))
            .boxed()
    }

    /// Writes below the storage.
    pub(crate) fn put(&self, cf: Cf, key: &Key, value: &[u8]) {
        let mut batch = self.engine.write_batch();
        batch.put(cf, &keys::data_key(key.as_encoded()), value);
        self.engine.write(batch, &WriteOptions::SYNCED).unwrap();
    }
}

impl<F: KvFormat> World<MemEngine, F> {
    /// Everything that is stored, key by key, or about one key.
    pub(crate) fn show(&self, only: Option<&str>) -> Vec<String> {
        let mut out = Vec::new();
        for key in self.user_keys() {
            let raw = key.to_raw().unwrap();
            if only.is_some_and(|only| only.as_bytes() != raw) {
                continue;
            }
            let snapshot = SnapshotContext {
                flashback: true,
                ..SnapshotContext::new(self.context())
            };
            let snapshot = self
                .run(self.storage.engine().async_snapshot(snapshot))
                .unwrap();
            let info = mvcc::mvcc_info(&snapshot, &key, &mut mvcc::Statistics::default()).unwrap();
            out.push(show::bytes(&raw));
            out.extend(
                show::info(&info)
                    .into_iter()
                    .map(|line| format!("  {line}")),
            );
        }
        if out.is_empty() {
            vec!["nothing".to_owned()]
        } else {
            out
        }
    }

    /// How many entries each column family has.
    pub(crate) fn count(&self) -> Vec<String> {
        let entries = Cf::DATA.map(|cf| format!("{cf}={}", self.entries(cf).len()));
        vec![entries.join(" ")]
    }

    /// The stored keys of a column family, without the data prefix.
    fn entries(&self, cf: Cf) -> Vec<Vec<u8>> {
        let mut iter = self.engine.iter(cf, IterOptions::default()).unwrap();
        let mut keys = Vec::new();
        let mut valid = iter.seek_to_first().unwrap();
        while valid {
            keys.push(keys::origin_key(iter.key()).unwrap().to_vec());
            valid = iter.next().unwrap();
        }
        keys
    }

    /// Every transactional user key that has a lock, a record or a value.
    fn user_keys(&self) -> BTreeSet<Key> {
        let locks = self.entries(Cf::Lock).into_iter().map(Key::from_encoded);
        let versioned = [Cf::Write, Cf::Default]
            .into_iter()
            .flat_map(|cf| self.entries(cf));
        let versioned = versioned.filter_map(|key| Key::from_encoded(key).truncate_ts().ok());
        locks.chain(versioned).collect()
    }
}

/// A timestamp oracle that counts.
fn oracle() -> TsoSource {
    let last = AtomicU64::new(0);
    Arc::new(move |count| {
        let count = u64::from(count);
        let last = last.fetch_add(count, Ordering::SeqCst) + count;
        futures::future::ready(Ok(TimeStamp::new(last))).boxed()
    })
}

/// The whole key space as one region.
pub(crate) fn local_region() -> LocalRegion {
    LocalRegion::all_keys(2, 1, 3)
}

/// A fresh account, for calls whose cost nobody looks at.
pub(crate) fn tracker() -> TrackerHandle {
    TrackerHandle::default()
}

/// The detector of the only store.
pub(crate) fn detector(runtime: &runtime::Runtime) -> Detector {
    let limits = DetectorLimits {
        wait_ttl: Duration::from_secs(1),
        max_graph_bytes: 64 << 20,
        max_queued: 1,
    };
    Detector::alone(limits, runtime)
}
