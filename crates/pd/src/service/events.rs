//! Following one range of the revisioned store, for the streams that are about a single range.

use futures::future::{Either, select};
use tokio::sync::watch;

use super::Shared;
use crate::cluster::Cluster;
use crate::etcd::{EventBatch, Interest};
use crate::{Error, Result};

/// Bytes of events that a stream reads at once. A client that does not read keeps them in memory several times: as
/// events, as a message, in gRPC's buffers; and it may have a thousand streams.
pub(super) const ROUND_BYTES: usize = 64 << 10;

/// A position in history. Nothing is queued: it reads on when its stream is ready for more.
pub(super) struct Follower {
    interest: Interest,
    next: i64,
    groups: watch::Receiver<u64>,
}

impl Follower {
    /// From this revision on; 0 and below stands for what comes next.
    pub(super) async fn new(shared: &Shared, interest: Interest, from: i64) -> Result<Follower> {
        // Known before the first look, so that no group is missed.
        let groups = shared.cluster.groups();
        let next = match from {
            1.. => from,
            _ => shared.read_etcd(|etcd| Ok(etcd.revision() + 1)).await?,
        };
        Ok(Follower {
            interest,
            next,
            groups,
        })
    }

    /// Waits for events, and the revision of the store by then. Fails with
    /// [`EtcdError::Compacted`](crate::etcd::EtcdError::Compacted) when history is gone.
    pub(super) async fn next(&mut self, shared: &Shared) -> Result<(EventBatch, i64)> {
        loop {
            let (interest, next) = (&self.interest, self.next);
            let look = |etcd: &crate::etcd::EtcdState| {
                Ok((etcd.events(interest, next, ROUND_BYTES)?, etcd.revision()))
            };
            let (batch, revision) = shared.read_etcd(look).await?;
            self.next = batch.next_revision;
            if !batch.events.is_empty() {
                return Ok((batch, revision));
            }
            if self.next <= revision {
                continue;
            }
            let news = Box::pin(Cluster::next_group(&mut self.groups));
            match select(news, shared.stop.wait()).await {
                Either::Left((news, _)) => news?,
                Either::Right(_) => return Err(Error::Stopped),
            }
        }
    }
}
