//! From what storage stands on to a storage in the format of the data.
//!
//! It is used once the data was found to be in that format: from then on compactions may drop what has
//! expired. It starts nothing of its own but the look of flow control at the engine; pools come from the node, which
//! stops them.

use std::sync::Arc;

use api_version::KvFormat;
use concurrency_manager::ConcurrencyManager;
use engine_traits::{Cf, KvEngine};
use futures::FutureExt as _;
use kv::LocalEngine;
use lock_manager::Detector;
use pd_client::PdClient;
use runtime::Runtime;
use storage::{CausalTs, Storage, TsoSource};
use yatp::Pool;

use crate::Result;

/// What storage stands on.
pub(crate) struct Below<E: KvEngine> {
    pub(crate) local: LocalEngine<E>,
    pub(crate) concurrency: ConcurrencyManager,
    /// Versions of raw keys come from here, where they have any.
    pub(crate) pd: Arc<dyn PdClient>,
    /// Finds transactions that wait for each other.
    pub(crate) detector: Detector,
}

impl<E: KvEngine> Below<E> {
    /// A storage in format `F`, which is that of the data.
    pub(crate) fn storage<F: KvFormat>(
        self,
        reads: Pool,
        commands: Pool,
        settings: &storage::Config,
        runtime: &Runtime,
    ) -> Result<Storage<LocalEngine<E>, Detector, F>> {
        if let Some(filter) = storage::expiry_filter::<F>(&runtime.clock) {
            self.local.filter_compactions(Cf::Default, filter)?;
        }
        let engine = self.local.kv_engine().clone();
        let storage = Storage::new(
            self.local,
            self.detector,
            self.concurrency,
            runtime,
            reads,
            commands,
            settings,
        );
        // It ends with the runtime, and holds the engine until then.
        let watch = storage.flow_control().clone();
        drop(
            runtime
                .spawner
                .spawn(watch.watch(move || engine.write_pressure())),
        );
        Ok(if F::HAS_VERSIONS {
            storage.with_causal_ts(CausalTs::new(timestamps_of(self.pd), runtime))
        } else {
            storage
        })
    }
}

fn timestamps_of(pd: Arc<dyn PdClient>) -> TsoSource {
    Arc::new(move |count| {
        let asked = pd.get_tso(count);
        async move { asked.await.map_err(|error| error.to_string()) }.boxed()
    })
}
