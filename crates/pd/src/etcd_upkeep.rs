//! What the revisioned store needs from time to time: leases that are over end, history that has
//! outgrown its bounds is compacted. The decisions are the store's; this only asks in time.

use std::time::Duration;

use runtime::{Instant, Runtime, Shutdown};

use crate::change::Change;
use crate::cluster::Cluster;
use crate::etcd::{EtcdChange, EtcdResult, EtcdState};
use crate::{Error, Result};

/// How long to wait when too much is under way already.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Runs until `stop`, or until the metadata's writer is gone.
pub(crate) async fn run(cluster: Cluster, runtime: Runtime, stop: Shutdown) {
    let mut groups = cluster.groups();
    loop {
        let now = runtime.clock.now();
        let (due, next_end) = cluster.read(|state| {
            let etcd = state.etcd();
            (etcd.compaction_due(), etcd.leases().next_end())
        });
        let outcome = if let Some(revision) = due {
            change(&cluster, move |etcd| etcd.plan_compact(revision)).await
        } else if next_end.is_some_and(|end| end <= now) {
            change(&cluster, move |etcd| Ok(etcd.plan_lease_expire(now))).await
        } else {
            let wait = runtime.timer.sleep_until(next_end.unwrap_or(Instant::MAX));
            tokio::select! {
                biased;
                () = stop.wait() => return,
                () = wait => Ok(()),
                group = Cluster::next_group(&mut groups) => group,
            }
        };
        match outcome {
            // A client was faster; the next look tells what is left.
            Ok(()) | Err(Error::Etcd(_)) => {}
            Err(Error::Busy) => runtime.timer.sleep(BUSY_PAUSE).await,
            Err(_) => return,
        }
    }
}

async fn change(
    cluster: &Cluster,
    plan: impl FnOnce(&EtcdState) -> EtcdResult<Vec<EtcdChange>> + Send + 'static,
) -> Result<()> {
    let plan = move |state: &crate::state::PdState| {
        let changes = plan(state.etcd())?;
        Ok((changes.into_iter().map(Change::Etcd).collect(), ()))
    };
    cluster.mutate(plan).await
}
