//! Runs the metadata's state machine: one writer task, any number of readers, group commit.
//!
//! 1. A mutation is a job for the writer task, the only one that changes the state. Jobs wait in a
//!    queue bounded by bytes; the writer takes whatever has gathered there.
//! 2. Job after job of such a group plans under the read lock, on a state that holds the changes of
//!    the jobs before it, and its changes are applied at once under the write lock.
//! 3. What the group wants on disk is then written as one atomic batch, with no lock held. It is
//!    synced if any of it is promised to somebody; the shape of regions alone is not, because
//!    their leaders report it again.
//! 4. Only then the callers are answered, those that were refused too: what they were refused for
//!    may be a change of this group.
//!
//! So the state may be ahead of the disk by one group. A reader whose answer must not be taken back
//! uses [`Cluster::read_durable`], which waits for the group that it saw.
//!
//! When a write fails, nothing is known about the disk: the fatal handler is called, and should it
//! return, the writer is gone: no further mutation is taken.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::{Either, select};
use parking_lot::RwLock;
use runtime::{ByteQueue, Clock, JoinHandle, PushError, Runtime, Shutdown, Timer};
use tokio::sync::watch;

use crate::change::{Change, Durability};
use crate::etcd::EtcdLimits;
use crate::meta_store::{MetaBatch, MetaStore};
use crate::metrics::{METADATA_GROUP_JOBS, METADATA_WRITE_SECONDS};
use crate::state::PdState;
use crate::{Error, FatalHandler, Result};

/// Bytes of mutations that may wait at once.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// What a waiting mutation costs beside its request.
const JOB_BYTES: usize = 512;
/// Mutations of one group.
const GROUP_JOBS_MAX: usize = 1024;

type Job = Box<dyn FnOnce(&mut Writer, &mut Group) + Send>;

/// Called when a group is on disk, or not.
type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// The metadata, shared by cloning.
#[derive(Clone)]
pub(crate) struct Cluster {
    shared: Arc<RwLock<Shared>>,
    jobs: ByteQueue<Job>,
    durable: watch::Receiver<u64>,
}

struct Shared {
    state: PdState,
    /// The number of the last group that put something promised into the state.
    applied: u64,
}

/// How long a write waits before it is tried again on a full disk.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// What the writer task works with.
struct Writer {
    shared: Arc<RwLock<Shared>>,
    jobs: ByteQueue<Job>,
    store: Arc<dyn MetaStore>,
    clock: Clock,
    timer: Timer,
    on_fatal: FatalHandler,
    /// The number of the last group with promises that is on disk.
    durable: watch::Sender<u64>,
}

/// What a group of jobs has come to.
struct Group {
    number: u64,
    batch: MetaBatch,
    durability: Durability,
    done: Vec<Done>,
}

impl Cluster {
    /// Loads the state and starts the writer task, which ends with `stop`, after the group that is
    /// under way.
    pub(crate) fn start(
        store: Arc<dyn MetaStore>,
        etcd_limits: EtcdLimits,
        on_fatal: FatalHandler,
        runtime: &Runtime,
        stop: Shutdown,
    ) -> Result<(Cluster, JoinHandle<()>)> {
        let mut state = PdState::load(&*store)?;
        state.etcd_mut().set_limits(etcd_limits);
        state.etcd_mut().begin(runtime.clock.now());
        let shared = Arc::new(RwLock::new(Shared { state, applied: 0 }));
        let jobs = ByteQueue::new(QUEUE_BYTES_MAX);
        let (durable, seen) = watch::channel(0);
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            jobs: jobs.clone(),
            store,
            clock: runtime.clock.clone(),
            timer: runtime.timer.clone(),
            on_fatal,
            durable,
        };
        let task = runtime.spawner.spawn_dedicated("pd-meta", async move {
            let queue = writer.jobs.clone();
            let mut gathered = Vec::new();
            loop {
                let next = Box::pin(queue.pop_all(&mut gathered));
                let Either::Left((Ok(()), _)) = select(next, stop.wait()).await else {
                    return;
                };
                let mut rest = gathered.drain(..).peekable();
                while rest.peek().is_some() {
                    let jobs = rest.by_ref().take(GROUP_JOBS_MAX);
                    if writer.run(jobs, &stop).await.is_err() {
                        return;
                    }
                }
            }
        });
        let cluster = Cluster {
            shared,
            jobs,
            durable: seen,
        };
        Ok((cluster, task))
    }

    /// Looks at the state, which may be ahead of the disk: for what its owners report again, like
    /// stores and regions.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&PdState) -> R) -> R {
        look(&self.shared.read().state)
    }

    /// Looks at the state, when there is a first region.
    pub(crate) fn read_bootstrapped<R>(
        &self,
        look: impl FnOnce(&PdState) -> Result<R>,
    ) -> Result<R> {
        self.read(|state| {
            state.check_bootstrapped()?;
            look(state)
        })
    }

    /// Looks at the state and waits until what it saw is on disk.
    pub(crate) async fn read_durable<R>(
        &self,
        look: impl FnOnce(&PdState) -> Result<R>,
    ) -> Result<R> {
        let (outcome, applied) = {
            let shared = self.shared.read();
            (look(&shared.state), shared.applied)
        };
        let mut durable = self.durable.clone();
        let reached = durable.wait_for(|number| *number >= applied).await;
        reached.map_err(|_| Error::Stopped)?;
        outcome
    }

    /// Waits until another group than those that `seen` knows of is on disk. Fails when there will
    /// be none any more.
    pub(crate) async fn next_group(seen: &mut watch::Receiver<u64>) -> Result<()> {
        seen.changed().await.map_err(|_| Error::Stopped)
    }

    /// For [`Cluster::next_group`]: knows of all groups so far.
    pub(crate) fn groups(&self) -> watch::Receiver<u64> {
        let mut groups = self.durable.clone();
        groups.mark_unchanged();
        groups
    }

    /// Sets other limits for the revisioned store. They are settings, not state: nothing is written.
    pub(crate) fn set_etcd_limits(&self, limits: EtcdLimits) {
        self.shared.write().state.etcd_mut().set_limits(limits);
    }

    /// Plans a change, makes it durable, and returns what the plan answers.
    pub(crate) async fn mutate<R: Send + 'static>(
        &self,
        plan: impl FnOnce(&PdState) -> Result<(Vec<Change>, R)> + Send + 'static,
    ) -> Result<R> {
        self.mutate_sized(0, plan).await
    }

    /// Like [`Cluster::mutate`] for a plan that holds a request of `bytes`.
    pub(crate) async fn mutate_sized<R: Send + 'static>(
        &self,
        bytes: usize,
        plan: impl FnOnce(&PdState) -> Result<(Vec<Change>, R)> + Send + 'static,
    ) -> Result<R> {
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move |writer, group| {
            let planned = writer.plan(plan, group);
            // A caller that went away does not undo what was done.
            let done = move |written: Result<()>| drop(answer.send(written.and(planned)));
            group.done.push(Box::new(done));
        });
        match self.jobs.push(job, bytes.saturating_add(JOB_BYTES)) {
            Ok(()) => outcome.await.unwrap_or(Err(Error::Stopped)),
            Err(PushError::Full(_)) => Err(Error::Busy),
            Err(PushError::Closed(_)) => Err(Error::Stopped),
        }
    }
}

impl Writer {
    /// One group, from planning to the answers. An error is the end: the disk has failed, or the
    /// node stops while the disk is full.
    async fn run(&mut self, jobs: impl Iterator<Item = Job>, stop: &Shutdown) -> Result<()> {
        let mut group = Group {
            number: *self.durable.borrow() + 1,
            batch: MetaBatch::default(),
            durability: Durability::Memory,
            done: Vec::new(),
        };
        for job in jobs {
            job(self, &mut group);
        }
        METADATA_GROUP_JOBS.observe(group.done.len() as f64);
        let Group {
            number,
            batch,
            durability,
            done,
        } = group;
        let mut written = self.write(number, &batch, durability);
        // Memory is ahead of the disk already, and nobody is answered: waiting for room is all right.
        while let Err(Error::Store(engine_traits::Error::NoSpace(_))) = written {
            let pause = Box::pin(self.timer.sleep(FULL_DISK_PAUSE));
            if let Either::Left(_) = select(stop.wait(), pause).await {
                break;
            }
            written = self.write(number, &batch, durability);
        }
        for done in done {
            done(written.clone());
        }
        written
    }

    fn plan<R>(
        &mut self,
        plan: impl FnOnce(&PdState) -> Result<(Vec<Change>, R)>,
        group: &mut Group,
    ) -> Result<R> {
        let (changes, answer) = plan(&self.shared.read().state)?;
        if changes.is_empty() {
            return Ok(answer);
        }
        // A change that cannot be encoded must not take half of a plan with it.
        let mut batch = MetaBatch::default();
        let mut durability = Durability::Memory;
        for change in &changes {
            change.encode(&mut batch)?;
            durability = durability.max(change.durability());
        }
        group.batch.append(batch);
        group.durability = group.durability.max(durability);
        let mut shared = self.shared.write();
        if durability == Durability::Promised {
            shared.applied = group.number;
        }
        for change in changes {
            shared.state.apply(change);
        }
        Ok(answer)
    }

    fn write(&self, number: u64, batch: &MetaBatch, durability: Durability) -> Result<()> {
        let started = self.clock.now();
        let written = match durability {
            Durability::Memory => return Ok(()),
            Durability::Repeated => self.store.write_later(batch.clone()),
            Durability::Promised => self.store.write(batch.clone()),
        };
        if let Err(error @ Error::Store(engine_traits::Error::NoSpace(_))) = written {
            tracing::warn!(%error, "the disk has no room for metadata");
            return Err(error);
        }
        if let Err(error) = written {
            (self.on_fatal)(&format!("metadata cannot be written: {error}"));
            return Err(error);
        }
        METADATA_WRITE_SECONDS.observe((self.clock.now() - started).as_secs_f64());
        if durability == Durability::Promised {
            self.durable.send_replace(number);
        }
        Ok(())
    }
}

impl Drop for Writer {
    /// Whoever waits in the queue hears that nobody will take the job.
    fn drop(&mut self) {
        self.jobs.close();
        let mut rest = Vec::new();
        let _ = self.jobs.pop_all(&mut rest).now_or_never();
    }
}

#[cfg(test)]
mod tests;
