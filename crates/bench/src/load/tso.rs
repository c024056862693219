//! Timestamps: streams on which many are asked for at once, as a busy client does.

use std::collections::VecDeque;

use anyhow::ensure;
use kvproto::pdpb;

use super::stream::{Conversation, converse};
use crate::client::Connections;
use crate::sample::Sample;
use crate::window::{Timing, measure};

struct Timestamps {
    cluster_id: u64,
    batch: u32,
    /// The server answers in the order of the requests.
    asked: VecDeque<usize>,
}

impl Conversation for Timestamps {
    /// One message asks for one batch, so the slots are asked for one by one.
    type Request = pdpb::TsoRequest;
    type Response = pdpb::TsoResponse;

    fn ask(&mut self, slots: &[usize]) -> pdpb::TsoRequest {
        self.asked.extend(slots);
        let mut request = pdpb::TsoRequest::default();
        request.mut_header().set_cluster_id(self.cluster_id);
        request.set_count(self.batch);
        request
    }

    fn read(
        &mut self,
        response: pdpb::TsoResponse,
        answered: &mut Vec<(usize, anyhow::Result<u64>)>,
    ) -> anyhow::Result<()> {
        let error = response.get_header().get_error();
        ensure!(
            error.get_message().is_empty() && response.get_count() == self.batch,
            "Tso: {response:?}"
        );
        answered.extend(
            self.asked
                .pop_front()
                .map(|slot| (slot, Ok(u64::from(self.batch)))),
        );
        Ok(())
    }
}

/// Keeps a request for `batch` timestamps in flight on each of `streams` streams.
pub(crate) fn timestamps(
    connections: &Connections,
    streams: usize,
    batch: u32,
    timing: Timing,
    server: Option<u32>,
    cluster_id: u64,
) -> anyhow::Result<Sample> {
    measure(timing, server, |workers| {
        for number in 0..streams {
            let client = pdpb::PdClient::new(connections.channel(number));
            let (sink, answers) = client.tso()?;
            let talk = Timestamps {
                cluster_id,
                batch,
                asked: VecDeque::new(),
            };
            let worker = workers.worker();
            connections.spawn(number, async move {
                converse(talk, 1, worker, sink, answers).await;
            });
        }
        Ok(())
    })
}
