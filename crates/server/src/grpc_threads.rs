//! The threads that gRPC runs on: one environment for everything in a node.
//! Must never: be ended before the calls on them are.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc;
use grpcio::{EnvBuilder, Environment};
use runtime::Runtime;

/// How long a stop waits for threads that hold the engine.
const THREADS_END_MAX: Duration = Duration::from_secs(5);

/// The gRPC threads of a node, for its server, the embedded placement driver and the client of it.
///
/// They are one environment because in gRPC whoever has nothing to do polls for the sockets of all: with
/// several, most events are found by a thread that must wake another. Their end can be awaited: until
/// then they may hold an engine.
pub(crate) struct GrpcThreads {
    env: Arc<Environment>,
    ended: mpsc::Receiver<()>,
}

impl GrpcThreads {
    pub(crate) fn new(count: usize) -> GrpcThreads {
        // Each thread holds the closure, and with it the sender, until it is over.
        let (held, ended) = mpsc::channel::<()>(0);
        let env = EnvBuilder::new()
            .name_prefix("grpc")
            .cq_count(count)
            .before_stop(move || {
                let _ = &held;
            })
            .build();
        GrpcThreads {
            env: Arc::new(env),
            ended,
        }
    }

    pub(crate) fn env(&self) -> Arc<Environment> {
        self.env.clone()
    }

    pub(crate) async fn end(self, runtime: &Runtime) {
        let GrpcThreads { env, ended } = self;
        drop(env);
        let all = ended.for_each(|()| std::future::ready(()));
        if runtime.timer.timeout(THREADS_END_MAX, all).await.is_err() {
            tracing::warn!("gRPC threads are still at work");
        }
    }
}
