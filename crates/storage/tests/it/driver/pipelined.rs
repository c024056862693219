//! The calls of pipelined DML.

use api_version::KvFormat;
use engine_mem::MemEngine;
use kvproto::kvrpcpb;
use storage::{Flush, Result};
use txn_types::Key;

use super::parse::Call;
use super::requests::{assertion_level, lines, mutation, ok, pairs};
use super::show;
use super::world::{World, tracker};

impl<F: KvFormat> World<MemEngine, F> {
    pub(super) fn pipelined_call(&self, call: &Call) -> Option<Result<Vec<String>>> {
        Some(match call.name.as_str() {
            "flush" => self.txn::<Flush, _>(self.flush(call), |locks| {
                if locks.is_empty() {
                    return ok();
                }
                let locked = |lock| format!("KeyIsLocked {}", show::lock_info(lock));
                lines(locks.iter().map(locked).collect())
            }),
            "buffer-batch-get" => {
                let keys = call.keys("keys");
                let keys = keys.iter().map(|key| Key::from_raw(key)).collect();
                let start = call.ts("start");
                let read = self
                    .storage
                    .buffer_batch_get(self.context(), keys, start, tracker());
                self.run(read)
                    .map(|found| pairs(found.into_iter().map(Ok).collect()))
            }
            _ => return None,
        })
    }

    fn flush(&self, call: &Call) -> kvrpcpb::FlushRequest {
        let mut req = kvrpcpb::FlushRequest::default();
        let mut ctx = self.context();
        ctx.set_txn_source(call.number("source"));
        req.set_context(ctx);
        req.set_start_ts(call.number("start"));
        req.set_primary_key(call.bytes("primary"));
        req.set_generation(call.number("generation"));
        req.set_lock_ttl(call.text("ttl").map_or(3000, |_| call.number("ttl")));
        req.set_assertion_level(assertion_level(call));
        for line in &call.lines {
            let line = Call::parse(line, Vec::new());
            req.mut_mutations().push(mutation(&line));
        }
        req
    }
}
