//! Garbage collection of a node: the safe point of the placement driver on one side, the engine on the other.
//!
//! The safe point is asked for once before the node serves: after a restart nobody may read below what was collected
//! before it. If the placement driver does not answer, the start goes on, as it can only be out of reach for a moment:
//! it has given timestamps just before.
//!
//! Must never: collect at a safe point of its own making.

use std::sync::Arc;
use std::time::Duration;

use api_version::KvFormat;
use concurrency_manager::ConcurrencyManager;
use engine_traits::{Cf, KvEngine};
use gc::{Collector, Data, Settings};
use kv::LocalEngine;
use pd_client::PdClient;
use runtime::{JoinHandle, Runtime, ShutdownTrigger, shutdown_pair};

use crate::Result;

/// How long a stop waits for a step or a compaction that is under way.
const END_MAX: Duration = Duration::from_secs(10);

/// A running collector.
pub(crate) struct GarbageCollection {
    settings: Settings,
    trigger: ShutdownTrigger,
    running: JoinHandle<()>,
}

/// Lets readers know the safe point as it is now.
pub(crate) async fn know_safe_point(pd: &dyn PdClient, concurrency: &ConcurrencyManager) {
    match pd.get_gc_safe_point().await {
        Ok(ts) => {
            concurrency.safe_point().advance(ts);
        }
        Err(error) => tracing::warn!(%error, "the safe point of garbage collection is not known"),
    }
}

impl GarbageCollection {
    /// Starts it on the data of `local`, which is in format `F`.
    pub(crate) fn start<E: KvEngine, F: KvFormat>(
        config: &gc::Config,
        local: &LocalEngine<E>,
        concurrency: &ConcurrencyManager,
        pd: Arc<dyn PdClient>,
        runtime: &Runtime,
    ) -> Result<Self> {
        let safe_point = concurrency.safe_point().clone();
        if config.enable_compaction_filter && serves_transactions::<F>() {
            local.filter_compactions(Cf::Write, gc::write_filter(safe_point.clone()))?;
        }
        let settings = Settings::new(config);
        let engine = local.kv_engine().clone();
        let data = data::<F>();
        let collector = Collector::new(engine, safe_point, settings.clone(), data, runtime);
        let (trigger, stop) = shutdown_pair();
        let source = move || pd.get_gc_safe_point();
        let running = runtime
            .spawner
            .spawn_dedicated("gc-worker", collector.run(source, stop));
        Ok(GarbageCollection {
            settings,
            trigger,
            running,
        })
    }

    /// Takes changes of the configuration.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Stops it, and waits until it has let go of the engine.
    pub(crate) async fn stop(self, runtime: &Runtime) {
        let GarbageCollection {
            trigger, running, ..
        } = self;
        trigger.trigger();
        if runtime.timer.timeout(END_MAX, running).await.is_err() {
            tracing::warn!("garbage collection is still at work");
        }
    }
}

/// A store of raw values that expire serves no transactions: what its column families hold is its clients' business.
fn serves_transactions<F: KvFormat>() -> bool {
    !F::IS_TTL_ENABLED || F::HAS_VERSIONS
}

fn data<F: KvFormat>() -> &'static [Data] {
    match (serves_transactions::<F>(), F::HAS_VERSIONS) {
        (true, true) => &[Data::Transactions, Data::RawVersions],
        (true, false) => &[Data::Transactions],
        (false, _) => &[],
    }
}
