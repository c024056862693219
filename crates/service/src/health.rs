//! `grpc.health.v1.Health` over `kvproto::healthpb`.
//!
//! One [`HealthService`] is shared by everybody who registers it and by whoever changes a status.
//! `Check` of an unknown service answers `NOT_FOUND`, `Watch` answers `SERVICE_UNKNOWN` and goes on
//! watching, as the protocol of the health check says. A watcher holds one status, never a queue.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures::channel::oneshot;
use futures::future::{self, Either};
use futures::{SinkExt as _, TryFutureExt as _};
use grpcio::{RpcContext, RpcStatus, RpcStatusCode, ServerStreamingSink, UnarySink, WriteFlags};
use kvproto::healthpb::{
    Health, HealthCheckRequest, HealthCheckResponse, HealthCheckResponse_ServingStatus,
};
use parking_lot::Mutex;

/// Whether a service can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServingStatus {
    /// Requests are answered.
    Serving,
    /// The process lives, but does not (or no longer) answer requests.
    NotServing,
}

impl From<ServingStatus> for HealthCheckResponse_ServingStatus {
    fn from(status: ServingStatus) -> Self {
        match status {
            ServingStatus::Serving => HealthCheckResponse_ServingStatus::SERVING,
            ServingStatus::NotServing => HealthCheckResponse_ServingStatus::NOT_SERVING,
        }
    }
}

#[derive(Default)]
struct Board {
    /// By service name; the whole server is "".
    statuses: HashMap<String, ServingStatus>,
    /// Grows with every change; a watcher waits for it to pass the one that it last told.
    revision: u64,
    /// Woken, and dropped, at the next change.
    waiting: Vec<oneshot::Sender<()>>,
    /// After a shutdown nothing serves any more and watchers end.
    closed: bool,
}

/// The statuses, and the gRPC service that tells them.
#[derive(Clone, Default)]
pub struct HealthService {
    board: Arc<Mutex<Board>>,
}

impl HealthService {
    /// A board on which nothing is written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes the status of `service`; "" is the server as a whole.
    pub fn set(&self, service: &str, status: ServingStatus) {
        let waiting = {
            let mut board = self.board.lock();
            if board.closed || board.statuses.get(service) == Some(&status) {
                return;
            }
            board.statuses.insert(service.to_owned(), status);
            board.revision += 1;
            std::mem::take(&mut board.waiting)
        };
        wake(waiting);
    }

    /// Says NOT_SERVING for everything, for good, and ends all watchers.
    pub fn shutdown(&self) {
        let waiting = {
            let mut board = self.board.lock();
            board.closed = true;
            board.revision += 1;
            for status in board.statuses.values_mut() {
                *status = ServingStatus::NotServing;
            }
            std::mem::take(&mut board.waiting)
        };
        wake(waiting);
    }

    /// The status of `service`, if it has one.
    pub fn get(&self, service: &str) -> Option<ServingStatus> {
        self.board.lock().statuses.get(service).copied()
    }

    /// Resolves when something changed after `seen`; returns what the board says then.
    async fn changed(&self, service: &str, seen: Option<u64>) -> Observed {
        loop {
            let woken = {
                let mut board = self.board.lock();
                if seen != Some(board.revision) || board.closed {
                    return Observed {
                        status: board.statuses.get(service).copied(),
                        revision: board.revision,
                        closed: board.closed,
                    };
                }
                board.waiting.retain(|waiter| !waiter.is_canceled());
                let (waker, woken) = oneshot::channel();
                board.waiting.push(waker);
                woken
            };
            // A dropped sender is a change as well.
            let _ = woken.await;
        }
    }
}

struct Observed {
    status: Option<ServingStatus>,
    revision: u64,
    closed: bool,
}

fn wake(waiting: Vec<oneshot::Sender<()>>) {
    for waiter in waiting {
        // The watcher may have gone.
        let _ = waiter.send(());
    }
}

fn response(status: Option<ServingStatus>) -> HealthCheckResponse {
    let mut response = HealthCheckResponse::default();
    response.set_status(status.map_or(
        HealthCheckResponse_ServingStatus::SERVICE_UNKNOWN,
        Into::into,
    ));
    response
}

impl Health for HealthService {
    fn check(
        &mut self,
        ctx: RpcContext<'_>,
        req: HealthCheckRequest,
        sink: UnarySink<HealthCheckResponse>,
    ) {
        let sent = match self.get(req.get_service()) {
            Some(status) => sink.success(response(Some(status))),
            None => sink.fail(RpcStatus::with_message(
                RpcStatusCode::NOT_FOUND,
                format!("unknown service {:?}", req.get_service()),
            )),
        };
        ctx.spawn(sent.map_err(|_| ()).unwrap_or_else(|()| ()));
    }

    fn watch(
        &mut self,
        ctx: RpcContext<'_>,
        req: HealthCheckRequest,
        mut sink: ServerStreamingSink<HealthCheckResponse>,
    ) {
        let health = self.clone();
        ctx.spawn(async move {
            let mut told: Option<Option<ServingStatus>> = None;
            let mut seen = None;
            loop {
                // A watcher whose client left must not stay until the next change.
                let left = future::poll_fn(|cx| match sink.poll_ready_unpin(cx) {
                    Poll::Ready(Err(_)) => Poll::Ready(()),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                });
                let changed = pin!(health.changed(req.get_service(), seen));
                let now = match future::select(changed, left).await {
                    Either::Left((now, _)) => now,
                    Either::Right(((), _)) => return,
                };
                seen = Some(now.revision);
                if told != Some(now.status) {
                    told = Some(now.status);
                    let message = (response(now.status), WriteFlags::default());
                    if sink.send(message).await.is_err() {
                        return;
                    }
                }
                if now.closed {
                    let _ = sink.close().await;
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn a_watcher_sees_changes_and_the_end() {
        let health = HealthService::new();
        let first = block_on(health.changed("", None));
        assert_eq!(first.status, None);
        let seen = Some(first.revision);
        assert!(health.changed("", seen).now_or_never().is_none());

        health.set("", ServingStatus::Serving);
        let second = block_on(health.changed("", seen));
        assert_eq!(second.status, Some(ServingStatus::Serving));
        health.set("", ServingStatus::Serving);
        assert!(
            health
                .changed("", Some(second.revision))
                .now_or_never()
                .is_none()
        );

        health.shutdown();
        let last = block_on(health.changed("", Some(second.revision)));
        assert!(last.closed);
        assert_eq!(last.status, Some(ServingStatus::NotServing));
        health.set("", ServingStatus::Serving);
        assert_eq!(health.get(""), Some(ServingStatus::NotServing));
    }

    #[test]
    fn waiters_that_left_are_forgotten() {
        let health = HealthService::new();
        for _ in 0..100 {
            assert!(health.changed("", Some(0)).now_or_never().is_none());
        }
        assert!(health.board.lock().waiting.len() <= 1);
    }
}
