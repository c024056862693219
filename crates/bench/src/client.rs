//! Connections to a gRPC server, cheap enough that the server is what is measured.
//!
//! A worker is a future that grpcio polls on the thread of its connection's completion queue: no
//! thread is crossed between an answer and the next request. Two queues keep two cores busy; more
//! connections than queues spread the server's work over its own threads.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use grpcio::{Channel, ChannelBuilder, Client, Environment};

/// How many messages one answer may take: a scan of a thousand rows is larger than gRPC's default.
const MESSAGE_BYTES_MAX: i32 = 64 << 20;
/// Connections to each server, as many as client-go opens.
pub(crate) const CONNECTIONS: usize = 4;
/// Completion queues, each with a thread.
const QUEUES: usize = 1;

/// Threads that connections run on.
pub(crate) fn environment() -> Arc<Environment> {
    Arc::new(
        grpcio::EnvBuilder::new()
            .cq_count(QUEUES)
            .name_prefix("bench-client")
            .build(),
    )
}

/// One TCP connection of its own, also where several lead to the same address.
pub(crate) fn connect(env: &Arc<Environment>, address: &str) -> Channel {
    ChannelBuilder::new(env.clone())
        .use_local_subchannel_pool(true)
        .max_receive_message_len(MESSAGE_BYTES_MAX)
        .max_send_message_len(MESSAGE_BYTES_MAX)
        .initial_reconnect_backoff(Duration::from_millis(50))
        .connect(address)
}

/// Some connections to one server.
#[derive(Clone)]
pub(crate) struct Connections {
    clients: Vec<Client>,
}

impl Connections {
    pub(crate) fn open(env: &Arc<Environment>, address: &str, count: usize) -> Connections {
        let clients = (0..count.max(1))
            .map(|_| Client::new(connect(env, address)))
            .collect();
        Connections { clients }
    }

    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// The connection of worker `number`.
    pub(crate) fn channel(&self, number: usize) -> Channel {
        self.client(number).channel().clone()
    }

    /// Stubs over every connection, made by `stub`; worker `n` takes number `n % count`.
    pub(crate) fn stubs<C>(&self, stub: impl Fn(Channel) -> C) -> Arc<Vec<C>> {
        let channels = self.clients.iter().map(|client| client.channel().clone());
        Arc::new(channels.map(stub).collect())
    }

    /// Runs `work` on the thread of connection `number`.
    pub(crate) fn spawn(&self, number: usize, work: impl Future<Output = ()> + Send + 'static) {
        self.client(number).spawn(work);
    }

    fn client(&self, number: usize) -> &Client {
        &self.clients[number % self.clients.len()]
    }
}
