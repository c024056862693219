//! A state with the disk below it, as the writer task runs it.

use engine_mem::MemEngine;

use crate::etcd::{EtcdChange, EtcdLimits, EtcdState};
use crate::meta_store::{EngineMetaStore, MetaBatch, MetaStore as _};

pub(super) struct Disk {
    engine: MemEngine,
    pub(super) state: EtcdState,
    pub(super) limits: EtcdLimits,
}

impl Disk {
    pub(super) fn new(limits: EtcdLimits) -> Disk {
        Disk {
            engine: MemEngine::new(),
            state: EtcdState::new(limits),
            limits,
        }
    }

    /// One request's changes: on disk, then in memory.
    pub(super) fn commit(&mut self, changes: Vec<EtcdChange>) {
        let mut batch = MetaBatch::default();
        for change in &changes {
            change.encode(&mut batch).unwrap();
        }
        if !batch.is_empty() {
            let store = EngineMetaStore::new(self.engine.clone());
            store.write(batch).unwrap();
        }
        for change in changes {
            self.state.apply(change);
        }
    }

    /// The machine stops and starts again: what was not synced is lost.
    pub(super) fn crash(&mut self, now: runtime::Instant) {
        self.engine = self.engine.crash();
        let store = EngineMetaStore::new(self.engine.clone());
        let mut state = EtcdState::new(self.limits);
        for (key, value) in store.scan(b"").unwrap() {
            let change = EtcdChange::decode(&key, &value).unwrap().unwrap();
            state.apply(change);
        }
        state.begin(now);
        self.state = state;
    }

    pub(super) fn records(&self) -> usize {
        let store = EngineMetaStore::new(self.engine.clone());
        store.scan(b"etcd/log/").unwrap().len()
    }
}
