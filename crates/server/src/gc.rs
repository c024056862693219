//! Garbage collection of a node: the safe point of the placement driver on one side, the engine on the other.
//!
//! The safe point is asked for once before the node serves, and without an answer it does not start: after a restart
//! nobody may read below what was collected before it.
//!
//! A store of raw values that expire (API V1 with a time to live) has no versions. There it gives back the space of
//! what has expired instead.
//!
//! Must never: collect at a safe point of its own making.

use std::sync::Arc;
use std::time::Duration;

use api_version::KvFormat;
use concurrency_manager::ConcurrencyManager;
use engine_traits::{Cf, KvEngine};
use gc::{Collector, Data, Expirer, Settings};
use kv::LocalEngine;
use pd_client::PdClient;
use runtime::{JoinHandle, Runtime, ShutdownTrigger, shutdown_pair};

use crate::Result;
use crate::config::Config;

/// How long a stop waits for a step or a compaction that is under way.
const END_MAX: Duration = Duration::from_secs(10);

/// A running collector.
pub(crate) struct GarbageCollection {
    settings: Settings,
    trigger: ShutdownTrigger,
    running: JoinHandle<()>,
}

/// Lets readers know the safe point as it is now.
pub(crate) async fn know_safe_point(
    pd: &dyn PdClient,
    concurrency: &ConcurrencyManager,
) -> Result<()> {
    let safe_point = pd.get_gc_safe_point().await?;
    concurrency.safe_point().advance(safe_point);
    Ok(())
}

impl GarbageCollection {
    /// Starts it on the data of `local`, which is in format `F`.
    pub(crate) fn start<E: KvEngine, F: KvFormat>(
        config: &Config,
        local: &LocalEngine<E>,
        concurrency: &ConcurrencyManager,
        pd: Arc<dyn PdClient>,
        runtime: &Runtime,
    ) -> Result<Self> {
        let safe_point = concurrency.safe_point().clone();
        if config.gc.enable_compaction_filter && serves_transactions::<F>() {
            local.filter_compactions(Cf::Write, gc::write_filter(safe_point.clone()))?;
        }
        let settings = Settings::new(&config.gc);
        let engine = local.kv_engine().clone();
        let (trigger, stop) = shutdown_pair();
        let running = if let Some(data) = data::<F>() {
            let data = (local.region().region.get_id(), data);
            let collector = Collector::new(engine, safe_point, settings.clone(), data, runtime);
            let source = move || pd.get_gc_safe_point();
            let run = collector.run(source, stop);
            runtime.spawner.spawn_dedicated("gc-worker", run)
        } else {
            let interval = config.storage.ttl_check_poll_interval.0;
            let expirer = Expirer::<_, F>::new(engine, settings.clone(), interval, runtime);
            runtime
                .spawner
                .spawn_dedicated("ttl-checker", expirer.run(stop))
        };
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

/// What a collector walks over; `None` where there are no versions.
fn data<F: KvFormat>() -> Option<&'static [Data]> {
    match (serves_transactions::<F>(), F::HAS_VERSIONS) {
        (true, true) => Some(&[Data::Transactions, Data::RawVersions]),
        (true, false) => Some(&[Data::Transactions]),
        (false, _) => None,
    }
}
