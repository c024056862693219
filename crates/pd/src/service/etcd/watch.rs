//! `etcdserverpb.Watch`: many watchers on one stream.
//!
//! A watcher is a position in history. Nothing is queued for it: when something has become durable,
//! or the client is ready for more, the stream reads on from there. So a client that does not read
//! holds one batch, and one that falls behind the compaction hears so and is cancelled.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use grpcio::{DuplexSink, RequestStream, RpcContext, RpcStatus, WriteFlags};
use kvproto::etcdserverpb::{
    Watch, WatchCreateRequest, WatchCreateRequest_FilterType, WatchRequest,
    WatchRequest_oneof_request_union, WatchResponse,
};
use kvproto::mvccpb::Event;

use super::super::events::ROUND_BYTES;
use super::super::streams::malformed;
use super::super::{Service, Shared};
use super::status_of;
use crate::cluster::Cluster;
use crate::etcd::{EtcdError, EventBatch, Interest, KeyRange, event_bytes};
use crate::{Error, Result};

/// The id that stands for no watcher.
const NO_WATCHER: i64 = -1;
/// Watchers of one stream.
const WATCHERS_MAX: usize = 10_000;
/// Bytes of the keys of all watchers of one stream.
const INTEREST_BYTES_MAX: usize = 16 << 20;
/// A response is cut here when the watcher can put the pieces together.
const FRAGMENT_BYTES: usize = 2 << 20;
/// How often a watcher that wants to hears how far it is, when it hears nothing else.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

impl Watch for Service {
    fn watch(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<WatchRequest>,
        sink: DuplexSink<WatchResponse>,
    ) {
        let service = self.clone();
        ctx.spawn(async move { serve(&service.shared, stream, sink).await });
    }
}

struct Watcher {
    interest: Interest,
    interest_bytes: usize,
    /// Where it reads on.
    next: i64,
    progress: bool,
    /// Whether it heard something since the last round of progress.
    heard: bool,
    fragment: bool,
}

/// Why a stream ends.
enum End {
    Failed(Error),
    /// With this status.
    Refused(RpcStatus),
    /// The client or its connection is gone.
    Gone,
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        End::Failed(error)
    }
}

impl From<grpcio::Error> for End {
    fn from(error: grpcio::Error) -> End {
        malformed(&error).map_or(End::Gone, End::Refused)
    }
}

async fn serve(
    shared: &Shared,
    mut stream: RequestStream<WatchRequest>,
    sink: DuplexSink<WatchResponse>,
) {
    let mut watching = Watching {
        shared,
        sink,
        watchers: BTreeMap::new(),
        next_id: 0,
    };
    // Also when the client reads nothing and everything waits for it.
    let outcome = tokio::select! {
        biased;
        () = shared.stop.wait() => Err(End::Failed(Error::Stopped)),
        outcome = watching.run(&mut stream) => outcome,
    };
    let sent = match outcome {
        Ok(()) => watching.sink.close().await,
        Err(End::Failed(error)) => watching.sink.fail(status_of(&error)).await,
        Err(End::Refused(status)) => watching.sink.fail(status).await,
        Err(End::Gone) => return,
    };
    if let Err(error) = sent {
        tracing::debug!(error = %error, "watch ended without its client");
    }
}

struct Watching<'a> {
    shared: &'a Shared,
    sink: DuplexSink<WatchResponse>,
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
}

impl Watching<'_> {
    async fn run(
        &mut self,
        stream: &mut RequestStream<WatchRequest>,
    ) -> std::result::Result<(), End> {
        // Known before the first look, so that no group is missed.
        let mut groups = self.shared.cluster.groups();
        let timer = &self.shared.runtime.timer;
        let mut progress = timer.sleep(PROGRESS_INTERVAL);
        loop {
            self.deliver().await?;
            tokio::select! {
                biased;
                request = stream.next() => match request {
                    Some(request) => self.take(request?).await?,
                    None => return Ok(()),
                },
                group = Cluster::next_group(&mut groups) => group?,
                () = &mut progress => {
                    progress = timer.sleep(PROGRESS_INTERVAL);
                    self.report_progress().await?;
                }
            }
        }
    }

    async fn send(&mut self, response: WatchResponse) -> std::result::Result<(), End> {
        Ok(self.sink.send((response, WriteFlags::default())).await?)
    }

    fn response(&self, watch_id: i64, revision: i64) -> WatchResponse {
        let mut response = WatchResponse::default();
        response.set_header(self.shared.etcd_header(revision));
        response.set_watch_id(watch_id);
        response
    }

    /// Sends what has happened until every watcher is at the present.
    async fn deliver(&mut self) -> std::result::Result<(), End> {
        loop {
            let watchers = &self.watchers;
            let round = self.shared.read_etcd(|etcd| {
                let mut round = Vec::new();
                let mut bytes = 0;
                let behind = watchers
                    .iter()
                    .filter(|(_, one)| one.next <= etcd.revision());
                for (id, watcher) in behind {
                    let left = ROUND_BYTES.saturating_sub(bytes).max(1);
                    let batch = etcd.events(&watcher.interest, watcher.next, left);
                    if let Ok(batch) = &batch {
                        bytes += batch.events.iter().map(event_bytes).sum::<usize>();
                    }
                    round.push((*id, batch));
                    if bytes >= ROUND_BYTES {
                        break;
                    }
                }
                Ok((etcd.revision(), round))
            });
            let (revision, round) = round.await?;
            if round.is_empty() {
                return Ok(());
            }
            for (id, batch) in round {
                match batch {
                    Ok(batch) => self.send_batch(id, batch).await?,
                    Err(EtcdError::Compacted { compact_revision }) => {
                        self.watchers.remove(&id);
                        let mut response = self.response(id, revision);
                        response.set_canceled(true);
                        response.set_compact_revision(compact_revision);
                        let reason = EtcdError::Compacted { compact_revision };
                        response.set_cancel_reason(reason.to_string());
                        self.send(response).await?;
                    }
                    Err(error) => return Err(Error::from(error).into()),
                }
            }
        }
    }

    async fn send_batch(&mut self, id: i64, batch: EventBatch) -> std::result::Result<(), End> {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return Ok(());
        };
        watcher.next = batch.next_revision;
        if batch.events.is_empty() {
            return Ok(());
        }
        watcher.heard = true;
        let pieces = if watcher.fragment {
            fragments(batch.events)
        } else {
            vec![batch.events]
        };
        let last = pieces.len() - 1;
        for (at, events) in pieces.into_iter().enumerate() {
            let mut response = self.response(id, batch.next_revision - 1);
            response.set_events(events.into());
            response.set_fragment(at < last);
            self.send(response).await?;
        }
        Ok(())
    }

    async fn take(&mut self, request: WatchRequest) -> std::result::Result<(), End> {
        use WatchRequest_oneof_request_union as Kind;
        match request.request_union {
            Some(Kind::create_request(create)) => self.create(create).await,
            Some(Kind::cancel_request(cancel)) => {
                let id = cancel.get_watch_id();
                // One that is not there was cancelled by itself meanwhile, and the client told.
                if self.watchers.remove(&id).is_none() {
                    return Ok(());
                }
                let mut response = self.response(id, self.present().await?);
                response.set_canceled(true);
                self.send(response).await
            }
            Some(Kind::progress_request(_)) => {
                // Whatever happened up to this revision was sent when this is.
                let revision = self.present().await?;
                self.deliver().await?;
                self.send(self.response(NO_WATCHER, revision)).await
            }
            None => Ok(()),
        }
    }

    async fn present(&self) -> Result<i64> {
        self.shared.read_etcd(|etcd| Ok(etcd.revision())).await
    }

    async fn create(&mut self, create: WatchCreateRequest) -> std::result::Result<(), End> {
        let present = self.present().await?;
        match self.admit(&create) {
            Ok(mut watcher) => {
                let id = match create.get_watch_id() {
                    0 => self.free_id(),
                    id => id,
                };
                watcher.next = match create.get_start_revision() {
                    start if start > 0 => start,
                    _ => present + 1,
                };
                self.watchers.insert(id, watcher);
                let mut response = self.response(id, present);
                response.set_created(true);
                self.send(response).await
            }
            Err(reason) => {
                let mut response = self.response(NO_WATCHER, present);
                response.set_created(true);
                response.set_canceled(true);
                response.set_cancel_reason(reason.to_owned());
                self.send(response).await
            }
        }
    }

    /// A watcher for the request, or why there is none.
    fn admit(&self, create: &WatchCreateRequest) -> std::result::Result<Watcher, &'static str> {
        let id = create.get_watch_id();
        if id < 0 || (id > 0 && self.watchers.contains_key(&id)) {
            return Err("mvcc: duplicate watch ID provided on the WatchStream");
        }
        // The empty key is the smallest there is.
        let key = match create.get_key() {
            b"" => b"\0",
            key => key,
        };
        let keys = KeyRange::new(key, create.get_range_end());
        if keys.is_empty() {
            return Err("mvcc: watcher range is empty");
        }
        let interest_bytes = key.len() + create.get_range_end().len();
        let known_bytes: usize = self.watchers.values().map(|one| one.interest_bytes).sum();
        if self.watchers.len() >= WATCHERS_MAX || known_bytes + interest_bytes > INTEREST_BYTES_MAX
        {
            return Err("etcdserver: too many watchers");
        }
        let filtered = |kind| create.get_filters().contains(&kind);
        Ok(Watcher {
            interest: Interest {
                keys,
                puts: !filtered(WatchCreateRequest_FilterType::NOPUT),
                deletes: !filtered(WatchCreateRequest_FilterType::NODELETE),
                previous: create.get_prev_kv(),
            },
            interest_bytes,
            next: 0,
            progress: create.get_progress_notify(),
            heard: false,
            fragment: create.get_fragment(),
        })
    }

    fn free_id(&mut self) -> i64 {
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    async fn report_progress(&mut self) -> std::result::Result<(), End> {
        let mut silent = Vec::new();
        for (id, watcher) in &mut self.watchers {
            let heard = std::mem::take(&mut watcher.heard);
            if watcher.progress && !heard {
                silent.push((*id, watcher.next - 1));
            }
        }
        for (id, revision) in silent {
            // Everything until then was sent, so the watcher may go on from there.
            self.send(self.response(id, revision)).await?;
        }
        Ok(())
    }
}

/// The events in pieces of bounded size, each at least one event.
fn fragments(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut pieces = vec![Vec::new()];
    let mut bytes = 0;
    for event in events {
        let size = event_bytes(&event);
        if bytes + size > FRAGMENT_BYTES && bytes > 0 {
            pieces.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(piece) = pieces.last_mut() {
            piece.push(event);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_keep_order_and_are_bounded() {
        let event = |size: usize| {
            let mut event = Event::default();
            event.mut_kv().set_value(vec![0; size]);
            event
        };
        let sizes = [1 << 20, 1 << 20, 3 << 20, 10, 20];
        let pieces = fragments(sizes.map(event).to_vec());
        let shape: Vec<Vec<usize>> = pieces
            .iter()
            .map(|piece| {
                piece
                    .iter()
                    .map(|event| event.get_kv().get_value().len())
                    .collect()
            })
            .collect();
        assert_eq!(
            shape,
            [vec![1 << 20], vec![1 << 20], vec![3 << 20], vec![10, 20]]
        );
        assert_eq!(fragments(vec![event(5)]).len(), 1);
    }
}
