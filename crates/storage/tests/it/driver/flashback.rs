//! Flashbacks in the scripts: `prepare-flashback version= start= [from=] [to=]`, `flashback … commit=`, and the state of
//! the region alone: `region-flashback start=`, `region-finish start=`, `region`.

use api_version::KvFormat;
use engine_mem::MemEngine;
use engine_traits::{Cf, Peekable};
use kv::{Engine, LocalRegion};
use kvproto::{kvrpcpb, metapb, raft_serverpb};
use protobuf::Message;
use storage::txn::commands::{Flashback, PrepareFlashback};
use storage::{Config, Result};

use super::parse::Call;
use super::world::{World, local_region, tracker};

type Lines = Vec<String>;

impl<F: KvFormat> World<MemEngine, F> {
    /// What a process finds that starts after this one was killed.
    pub(crate) fn killed(&self, seed: u64) -> Self {
        Self::in_format(self.engine.crash_torn(seed), seed, &Config::default())
    }

    pub(crate) fn prepare_request(
        &self,
        (start, version): (u64, u64),
    ) -> kvrpcpb::PrepareFlashbackToVersionRequest {
        let mut req = kvrpcpb::PrepareFlashbackToVersionRequest::default();
        req.set_context(self.context());
        req.set_start_ts(start);
        req.set_version(version);
        req
    }

    pub(crate) fn flashback_request(
        &self,
        (start, version): (u64, u64),
        commit: u64,
    ) -> kvrpcpb::FlashbackToVersionRequest {
        let mut req = kvrpcpb::FlashbackToVersionRequest::default();
        req.set_context(self.context());
        req.set_start_ts(start);
        req.set_version(version);
        req.set_commit_ts(commit);
        req
    }

    pub(super) fn flashback_call(&self, call: &Call) -> Option<Result<Lines>> {
        let verbs = [
            "prepare-flashback",
            "flashback",
            "region-flashback",
            "region-finish",
            "region",
        ];
        if !verbs.contains(&call.name.as_str()) {
            return None;
        }
        let start_ts = call.ts("start");
        let at = (start_ts.into_inner(), call.number("version"));
        let engine = self.storage.engine();
        let done = |result: kv::Result<()>| result.map_err(storage::Error::from);
        let result = match call.name.as_str() {
            "prepare-flashback" => {
                let mut req = self.prepare_request(at);
                req.set_start_key(call.bytes("from"));
                req.set_end_key(call.bytes("to"));
                PrepareFlashback::try_from(req).and_then(|command| {
                    self.run(self.storage.sched_txn_command(command, tracker()))
                })
            }
            "flashback" => {
                let mut req = self.flashback_request(at, call.number("commit"));
                req.set_start_key(call.bytes("from"));
                req.set_end_key(call.bytes("to"));
                Flashback::try_from(req).and_then(|command| {
                    self.run(self.storage.sched_txn_command(command, tracker()))
                })
            }
            "region-flashback" => {
                done(self.run(engine.prepare_flashback(self.context(), start_ts)))
            }
            "region-finish" => done(self.run(engine.finish_flashback(self.context(), start_ts))),
            _ => {
                let region = engine.region_now();
                let state = match region.get_flashback_start_ts() {
                    0 => "open".to_owned(),
                    start_ts => format!("in flashback start={start_ts}"),
                };
                return Some(Ok(vec![state]));
            }
        };
        Some(result.map(|()| vec!["ok".to_owned()]))
    }
}

/// The region as the engine holds it, or as it is in the beginning.
pub(super) fn stored_region(engine: &impl Peekable) -> LocalRegion {
    let fresh = local_region();
    let key = keys::region_state_key(fresh.region.get_id());
    let region: Option<metapb::Region> = engine.get(Cf::Raft, &key).unwrap().map(|bytes| {
        let mut state = raft_serverpb::RegionLocalState::default();
        state.merge_from_bytes(&bytes).unwrap();
        state.take_region()
    });
    LocalRegion {
        region: region.unwrap_or(fresh.region),
        ..fresh
    }
}
