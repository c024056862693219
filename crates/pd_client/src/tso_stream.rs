//! The timestamp stream: drives the [`TsoBatcher`] over gRPC.
//!
//! The stream is opened when somebody asks first and kept. An answer that is overdue ends it:
//! a server that stopped without closing its connections must not hold timestamps back.

use std::sync::Arc;

use futures::channel::oneshot;
use futures::future::{Either, select};
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{RpcStatus, RpcStatusCode, WriteFlags};
use kvproto::pdpb;
use txn_types::TimeStamp;

use crate::connection::Connection;
use crate::reports::{first_of, keep_streaming};
use crate::rpc_client::Inner;
use crate::tso_batcher::{BATCH_TIMESTAMPS_MAX, Waiter};
use crate::{Error, Result};

const METHOD: &str = "Tso";

/// Starts the task. It ends when the client is closed, and nobody is left waiting then.
pub(crate) fn spawn(inner: &Arc<Inner>) {
    let inner = Arc::clone(inner);
    let spawner = inner.runtime.spawner.clone();
    drop(spawner.spawn(async move {
        keep_streaming(&inner, METHOD, run).await;
        inner.tso.lock().fail_all(&Error::Closed);
    }));
}

/// One caller's request; see [`PdClient::get_tso`](crate::PdClient::get_tso).
pub(crate) async fn get_tso(inner: Arc<Inner>, count: u32) -> Result<TimeStamp> {
    if count == 0 || count > BATCH_TIMESTAMPS_MAX {
        return Err(Error::BadResponse {
            method: METHOD,
            detail: format!(
                "{count} timestamps asked for, allowed are 1 to {BATCH_TIMESTAMPS_MAX}"
            ),
        });
    }
    let (deliver, answer) = oneshot::channel();
    if inner.tso.lock().push(Waiter { count, deliver }).is_err() {
        return Err(Error::Rpc {
            method: METHOD,
            detail: "too many callers wait for a timestamp".to_owned(),
        });
    }
    inner.tso_bell.ring();
    let patience = inner.config.request_timeout * (inner.config.leader_retries + 1);
    let timeout = inner.runtime.timer.sleep(patience);
    let waiting = inner.unless_closed(select(answer, Box::pin(timeout)));
    match waiting.await? {
        Either::Left((Ok(outcome), _)) => outcome,
        Either::Left((Err(_), _)) => Err(Error::Closed),
        Either::Right(_) => Err(Error::Timeout { method: METHOD }),
    }
}

async fn run(inner: &Inner, connection: &Connection) -> grpcio::Result<()> {
    while inner.tso.lock().is_idle() {
        inner.tso_bell.wait().await;
    }
    let outcome = stream(inner, connection).await;
    inner.tso.lock().on_stream_lost();
    inner.tso_bell.ring();
    outcome
}

async fn stream(inner: &Inner, connection: &Connection) -> grpcio::Result<()> {
    let (mut sink, mut responses) = connection.pd.tso()?;
    let send = async {
        loop {
            loop {
                let Some(count) = inner.tso.lock().next_batch() else {
                    break;
                };
                let mut request = pdpb::TsoRequest::default();
                request.set_header(inner.header());
                request.set_count(count);
                sink.send((request, WriteFlags::default())).await?;
            }
            inner.tso_bell.wait().await;
        }
    };
    let receive = async {
        while let Some(response) = responses.next().await {
            if let Err(error) = inner.tso.lock().on_response(&response?) {
                tracing::error!(error = %error, "timestamp stream broke the protocol");
                return Err(aborted(&error));
            }
            // A batch has ended, so another may begin.
            inner.tso_bell.ring();
        }
        Ok(())
    };
    let watch = async {
        loop {
            let before = inner.tso.lock().oldest_batch();
            inner
                .runtime
                .timer
                .sleep(inner.config.request_timeout)
                .await;
            let after = inner.tso.lock().oldest_batch();
            if before.is_some() && before == after {
                return Err(aborted(&Error::Timeout { method: METHOD }));
            }
        }
    };
    first_of(send, first_of(receive, watch)).await
}

fn aborted(error: &Error) -> grpcio::Error {
    grpcio::Error::RpcFailure(RpcStatus::with_message(
        RpcStatusCode::ABORTED,
        error.to_string(),
    ))
}
