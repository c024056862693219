//! What a node tells of itself: configuration, identity, what is ready. Written by the start and
//! the stop of the node, read by its status server. It decides nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use kvproto::metapb;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::bootstrap::Identity;
use crate::online::ConfigController;

/// See the module.
pub(crate) struct NodeState {
    config: ConfigController,
    identity: Mutex<Option<Identity>>,
    /// The engine is open.
    pub(crate) engine: AtomicBool,
    /// The placement driver answers.
    pub(crate) pd: AtomicBool,
    /// Requests are answered.
    pub(crate) serving: AtomicBool,
}

impl NodeState {
    /// Of a node that has not begun to start.
    pub(crate) fn new(config: ConfigController) -> Self {
        NodeState {
            config,
            identity: Mutex::default(),
            engine: AtomicBool::default(),
            pd: AtomicBool::default(),
            serving: AtomicBool::default(),
        }
    }

    /// The configuration in force, and its changes.
    pub(crate) fn config(&self) -> &ConfigController {
        &self.config
    }

    /// The node knows what it is.
    pub(crate) fn set_identity(&self, identity: Identity) {
        *self.identity.lock() = Some(identity);
    }

    /// Facts for `/status`.
    pub(crate) fn status(&self) -> Value {
        let identity = self.identity.lock();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "compatible_version": crate::COMPATIBLE_VERSION,
            "cluster_id": identity.as_ref().map(|identity| identity.cluster_id),
            "store_id": identity.as_ref().map(|identity| identity.store_id),
        })
    }

    /// What is ready and what is not, for `/ready`.
    pub(crate) fn readiness(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("placement_driver", self.pd.load(Ordering::Relaxed)),
            ("engine", self.engine.load(Ordering::Relaxed)),
            ("serving", self.serving.load(Ordering::Relaxed)),
        ]
    }

    /// The region with this id, for `/region/{id}`.
    pub(crate) fn region(&self, id: u64) -> Option<Value> {
        let identity = self.identity.lock();
        let region = &identity.as_ref()?.region;
        (region.get_id() == id).then(|| json!({ "region_state": told(region) }))
    }
}

/// A region with TiKV's names for its parts, and its keys in hexadecimal.
fn told(region: &metapb::Region) -> Value {
    let hex = |key: &[u8]| -> String { key.iter().map(|byte| format!("{byte:02X}")).collect() };
    let peers: Vec<Value> = region
        .get_peers()
        .iter()
        .map(|peer| {
            json!({
                "id": peer.get_id(),
                "store_id": peer.get_store_id(),
                "role": format!("{:?}", peer.get_role()),
            })
        })
        .collect();
    json!({
        "id": region.get_id(),
        "start_key": hex(region.get_start_key()),
        "end_key": hex(region.get_end_key()),
        "epoch": {
            "conf_ver": region.get_region_epoch().get_conf_ver(),
            "version": region.get_region_epoch().get_version(),
        },
        "peers": peers,
    })
}
