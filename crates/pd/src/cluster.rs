//! Runs the metadata's state machine: one writer task, any number of readers.
//!
//! 1. A mutation is a job for the writer task, the only one that changes the state.
//! 2. The job plans under the read lock, so readers go on.
//! 3. Durable changes are written and synced with no lock held. What was planned stays true
//!    meanwhile, because nobody else changes anything.
//! 4. The changes are applied under the write lock, and only then the caller is answered.
//!
//! When a write fails, nothing is known about the disk: the fatal handler is called, and should it
//! return, no further mutation is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use futures::channel::{mpsc, oneshot};
use futures::future::{Either, select};
use parking_lot::RwLock;
use runtime::{Clock, JoinHandle, Runtime, Shutdown};

use crate::change::Change;
use crate::meta_store::{MetaBatch, MetaStore};
use crate::metrics::METADATA_WRITE_SECONDS;
use crate::state::PdState;
use crate::{Error, FatalHandler, Result};

/// Mutations that may wait at once.
const JOBS_MAX: usize = 16 * 1024;

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// The metadata, shared by cloning.
#[derive(Clone)]
pub(crate) struct Cluster {
    state: Arc<RwLock<PdState>>,
    jobs: mpsc::UnboundedSender<Job>,
    waiting: Arc<AtomicUsize>,
}

/// What the writer task works with.
struct Writer {
    state: Arc<RwLock<PdState>>,
    store: Arc<dyn MetaStore>,
    clock: Clock,
    on_fatal: FatalHandler,
    failed: bool,
}

impl Cluster {
    /// Loads the state and starts the writer task, which ends with `stop`, after the job that is
    /// under way.
    pub(crate) fn start(
        store: Arc<dyn MetaStore>,
        on_fatal: FatalHandler,
        runtime: &Runtime,
        stop: Shutdown,
    ) -> Result<(Cluster, JoinHandle<()>)> {
        let state = Arc::new(RwLock::new(PdState::load(&*store)?));
        let (jobs, mut queue) = mpsc::unbounded::<Job>();
        let mut writer = Writer {
            state: Arc::clone(&state),
            store,
            clock: runtime.clock.clone(),
            on_fatal,
            failed: false,
        };
        let task = runtime.spawner.spawn_dedicated("pd-meta", async move {
            while let Either::Left((Some(job), _)) = select(queue.next(), stop.wait()).await {
                job(&mut writer);
            }
        });
        let cluster = Cluster {
            state,
            jobs,
            waiting: Arc::default(),
        };
        Ok((cluster, task))
    }

    /// Looks at the state.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&PdState) -> R) -> R {
        look(&self.state.read())
    }

    /// Looks at the state, when there is a first region.
    pub(crate) fn read_bootstrapped<R>(
        &self,
        look: impl FnOnce(&PdState) -> Result<R>,
    ) -> Result<R> {
        let state = self.state.read();
        state.check_bootstrapped()?;
        look(&state)
    }

    /// Plans a change, makes it durable, applies it, and returns what the plan answers.
    pub(crate) async fn mutate<R: Send + 'static>(
        &self,
        plan: impl FnOnce(&PdState) -> Result<(Vec<Change>, R)> + Send + 'static,
    ) -> Result<R> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= JOBS_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::Busy);
        }
        let (answer, outcome) = oneshot::channel();
        let waiting = Arc::clone(&self.waiting);
        let job: Job = Box::new(move |writer| {
            waiting.fetch_sub(1, Ordering::Relaxed);
            // A caller that went away does not undo what was done.
            let _ = answer.send(writer.run(plan));
        });
        self.jobs.unbounded_send(job).map_err(|_| Error::Stopped)?;
        outcome.await.unwrap_or(Err(Error::Stopped))
    }
}

impl Writer {
    fn run<R>(&mut self, plan: impl FnOnce(&PdState) -> Result<(Vec<Change>, R)>) -> Result<R> {
        if self.failed {
            return Err(Error::Stopped);
        }
        let (changes, answer) = plan(&self.state.read())?;
        let mut batch = MetaBatch::default();
        for change in &changes {
            change.encode(&mut batch)?;
        }
        if !batch.is_empty() {
            self.write(batch)?;
        }
        if !changes.is_empty() {
            let mut state = self.state.write();
            for change in changes {
                state.apply(change);
            }
        }
        Ok(answer)
    }

    fn write(&mut self, batch: MetaBatch) -> Result<()> {
        let started = self.clock.now();
        if let Err(error) = self.store.write(batch) {
            self.failed = true;
            (self.on_fatal)(&format!("metadata cannot be written: {error}"));
            return Err(error);
        }
        METADATA_WRITE_SECONDS.observe((self.clock.now() - started).as_secs_f64());
        Ok(())
    }
}
