//! Metrics of a node, under TiKV's series names. Nodes that share a process share them.

pub mod reference;

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{IntGaugeVec, register_int_gauge_vec};

/// Space of the store: `capacity`, `available` and `used`.
pub(crate) static STORE_SIZE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "tikv_store_size_bytes",
        "Space of the store, as the placement driver is told",
        &["type"]
    )
    .unwrap_or_else(|error| panic!("a metric is registered twice: {error}"))
});

/// Every metric that a node can expose, its own and those of the crates below.
pub fn all() -> Vec<&'static dyn Collector> {
    let own: Vec<&'static dyn Collector> = vec![&*STORE_SIZE];
    [
        own,
        kv::metrics::all(),
        storage::metrics::all(),
        gc::metrics::all(),
        service::metrics::all(),
        pd::metrics::all(),
    ]
    .concat()
}

/// Sets one of the kinds of [`STORE_SIZE`].
pub(crate) fn store_size(kind: &str, bytes: u64) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    STORE_SIZE.with_label_values(&[kind]).set(bytes);
}
