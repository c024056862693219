//! The streams on which a store reports: region heartbeats and buckets.
//!
//! Each has one task. A broken stream is opened again on the connection of that moment; every new
//! heartbeat stream begins with the newest report of each region. Buckets are hints: those that
//! were under way are not repeated, the next report replaces them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::{SinkExt as _, StreamExt as _, pin_mut};
use grpcio::WriteFlags;

use crate::Result;
use crate::connection::Connection;
use crate::rpc_client::Inner;

/// A stream that lived this long was healthy: the wait before the next one starts over.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Starts both tasks. They end when the client is closed.
pub(crate) fn spawn(inner: &Arc<Inner>) {
    let heartbeats = Arc::clone(inner);
    drop(inner.runtime.spawner.spawn(async move {
        keep_streaming(&heartbeats, "RegionHeartbeat", run_heartbeats).await;
    }));
    let buckets = Arc::clone(inner);
    drop(inner.runtime.spawner.spawn(async move {
        keep_streaming(&buckets, "ReportBuckets", run_buckets).await;
    }));
}

/// Runs one stream after the other until the client is closed. `run` lasts as long as its stream.
pub(crate) async fn keep_streaming(
    inner: &Inner,
    name: &'static str,
    run: impl AsyncFn(&Inner, &Connection) -> grpcio::Result<()>,
) {
    let mut wait = inner.config.retry_interval;
    loop {
        let connection = inner.connection();
        let started = inner.runtime.clock.now();
        let Ok(outcome) = inner.unless_closed(run(inner, &connection)).await else {
            return;
        };
        if inner.runtime.clock.now() - started > HEALTHY_AFTER {
            wait = inner.config.retry_interval;
        }
        let reason = outcome.map_or_else(|error| error.to_string(), |()| "closed".to_owned());
        tracing::info!(stream = name, reason = %reason, "stream to placement driver ended");
        if pause_and_reconnect(inner, connection.generation, wait)
            .await
            .is_err()
        {
            return;
        }
        wait = (wait * 2).min(inner.config.retry_interval_max);
    }
}

/// Fails only when the client is closed: whatever else is wrong shows again on the next stream.
async fn pause_and_reconnect(inner: &Inner, generation: u64, wait: Duration) -> Result<()> {
    inner.unless_closed(inner.runtime.timer.sleep(wait)).await?;
    if let Err(error) = inner.reconnect(generation).await {
        if inner.closed.is_triggered() {
            return Err(error);
        }
        tracing::warn!(error = %error, "placement driver not reachable");
    }
    Ok(())
}

async fn run_heartbeats(inner: &Inner, connection: &Connection) -> grpcio::Result<()> {
    let (mut sink, mut responses) = connection.pd.region_heartbeat()?;
    inner.outbox.lock().restart();
    let send = async {
        loop {
            loop {
                let Some(heartbeat) = inner.outbox.lock().next() else {
                    break;
                };
                sink.send((heartbeat, WriteFlags::default())).await?;
            }
            inner.outbox_bell.wait().await;
        }
    };
    let receive = async {
        while let Some(response) = responses.next().await {
            let response = response?;
            if response.get_header().has_error() {
                let error = response.get_header().get_error();
                tracing::info!(
                    region_id = response.get_region_id(),
                    error = error.get_message(),
                    "region heartbeat refused"
                );
                continue;
            }
            // Keep-alive answers concern no region.
            if response.get_region_id() == 0 {
                continue;
            }
            let handler = inner.region_handler.lock().clone();
            if let Some(handler) = handler {
                handler(response);
            }
        }
        Ok(())
    };
    first_of(send, receive).await
}

async fn run_buckets(inner: &Inner, connection: &Connection) -> grpcio::Result<()> {
    let (mut sink, receiver) = connection.pd.report_buckets()?;
    let send = async {
        loop {
            loop {
                let next = inner.buckets.waiting.lock().pop_first();
                let Some((_, request)) = next else {
                    break;
                };
                sink.send((request, WriteFlags::default())).await?;
            }
            inner.buckets.bell.wait().await;
        }
    };
    let receive = async { receiver.await.map(drop) };
    first_of(send, receive).await
}

/// The output of whichever direction of a stream ends first.
pub(crate) async fn first_of(
    send: impl Future<Output = grpcio::Result<()>>,
    receive: impl Future<Output = grpcio::Result<()>>,
) -> grpcio::Result<()> {
    pin_mut!(send, receive);
    match select(send, receive).await {
        Either::Left((outcome, _)) | Either::Right((outcome, _)) => outcome,
    }
}
