//! A storage over the engine in memory, in this process and on one thread: what its parts take can be told to the byte.
//! Must never: be used to measure time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api_version::ApiV1;
use concurrency_manager::ConcurrencyManager;
use engine_mem::MemEngine;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kv::in_memory_locks::LockTableLimits;
use kv::{LocalEngine, LocalRegion};
use kvproto::kvrpcpb::{Mutation, Op, PessimisticLockRequest};
use lock_manager::{Detector, DetectorLimits};
use online_config::{ReadableDuration, ReadableSize};
use runtime::Stepper;
use storage::{AcquirePessimisticLock, Config, PessimisticLocked, Storage};
use tikv_jemalloc_ctl::thread::{allocatedp, deallocatedp};
use tracker::TrackerHandle;
use txn_types::TimeStamp;

/// More than all locks and waiting requests of a measurement take.
const ROOM: usize = 1 << 30;

/// A lock request that has no answer yet.
pub(crate) type Pending = BoxFuture<'static, storage::Result<PessimisticLocked>>;

/// See the module.
pub(crate) struct Store {
    stepper: Stepper,
    storage: Storage<LocalEngine<MemEngine>, Detector, ApiV1>,
    region: LocalRegion,
    /// Of all requests: an account belongs to the call.
    tracker: TrackerHandle,
}

/// Bytes that this thread has asked for and not given back, as the allocator rounds them. `None` in a program with
/// another allocator.
pub(crate) fn bytes_of_thread() -> Option<u64> {
    let allocated = allocatedp::read().ok()?.get();
    let given_back = deallocatedp::read().ok()?.get();
    (allocated > 0).then(|| allocated.wrapping_sub(given_back))
}

impl Store {
    /// An empty store, with room for all locks in memory.
    pub(crate) fn new() -> anyhow::Result<Store> {
        let stepper = Stepper::new(1);
        let runtime = stepper.runtime();
        let region = LocalRegion::all_keys(2, 1, 3);
        let on_failure = Arc::new(|reason: &str| panic!("the engine in memory failed: {reason}"));
        let config = kv::Config::default();
        let engine = MemEngine::new();
        let local = LocalEngine::new(engine, region.clone(), &runtime, config, on_failure);
        local.set_memory_lock_limits(LockTableLimits {
            region_bytes: ROOM,
            store_bytes: ROOM,
        });
        let limits = DetectorLimits {
            wait_ttl: Duration::from_secs(1),
            max_graph_bytes: ROOM,
            max_queued: 1,
        };
        let pool = |name: &str| yatp::Builder::new(name).threads(1).build_stepped(&stepper);
        let storage = Storage::new(
            local,
            Detector::alone(limits, &runtime),
            ConcurrencyManager::new(TimeStamp::zero()),
            &runtime,
            pool("read"),
            pool("sched"),
            &Config::default(),
        );
        storage.set_pessimistic_txn(&lock_manager::Config {
            wait_for_lock_timeout: ReadableDuration::secs(3600),
            wait_memory_limit: ReadableSize(ROOM as u64),
            ..lock_manager::Config::default()
        });
        Ok(Store {
            stepper,
            storage,
            region,
            tracker: TrackerHandle::default(),
        })
    }

    /// Asks for the lock of `key`.
    pub(crate) fn lock(&self, key: &[u8], start_ts: u64) -> anyhow::Result<Pending> {
        let mut request = PessimisticLockRequest::default();
        request.set_context(self.region.context());
        request.set_start_version(start_ts);
        request.set_for_update_ts(start_ts);
        request.set_primary_lock(key.to_vec());
        request.set_lock_ttl(3000);
        // The detector of deadlocks keeps account of its own of those who hold locks already.
        request.set_is_first_lock(true);
        let mut mutation = Mutation::default();
        mutation.set_op(Op::PessimisticLock);
        mutation.set_key(key.to_vec());
        request.mut_mutations().push(mutation);
        let command = AcquirePessimisticLock::try_from(request)?;
        let asked = self
            .storage
            .sched_txn_command(command, self.tracker.clone());
        Ok(asked.boxed())
    }

    /// Polls a request for the first time, and runs what it starts.
    pub(crate) fn begin(
        &self,
        pending: &mut Pending,
    ) -> Option<storage::Result<PessimisticLocked>> {
        let answer = pending.now_or_never();
        self.stepper.run_until_stalled();
        answer
    }

    /// Runs a request to its end.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.stepper.block_on(future)
    }
}
