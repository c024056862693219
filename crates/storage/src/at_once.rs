//! Gets that need no thread of the pool: what stands in memory is read where the request arrived.
//!
//! To hand a task to another thread and to be woken by its answer costs several times what reading a cached key does.
//! So a get is tried on the caller's thread first, on a view that neither reads files nor walks far; a get that needs
//! more goes to the pool as if nothing had been tried. A get that never enters the pool is not refused because the pool
//! is full.
//!
//! Must never: block, or do more than a bounded amount of work.

use std::future::{Future, ready};

use api_version::KvFormat;
use futures::future::Either;
use kv::Engine;
use lock_manager::LockManager;

use crate::get_runs::PointRead;
use crate::{Error, Result, Storage, metrics, statistics};

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// A get alone.
    pub(crate) fn get_one<R: PointRead<E, L, F>>(
        &self,
        read: R,
    ) -> impl Future<Output = Result<R::Output>> + Send + 'static + use<E, L, F, R> {
        match self.get_from_memory(&read) {
            Some(answer) => Either::Left(ready(answer)),
            None => Either::Right(self.get_in_pool(read)),
        }
    }

    /// The answer, if that takes neither time nor a file.
    fn get_from_memory<R: PointRead<E, L, F>>(&self, read: &R) -> Option<Result<R::Output>> {
        let clock = self.scheduler.clock();
        let begun = clock.now();
        let snapshot = match read.prepare(self) {
            Ok(()) => self
                .engine
                .memory_snapshot(read.ctx(), read.ts(), read.key())?
                .map_err(Error::from),
            Err(error) => Err(error),
        };
        let answer = snapshot.and_then(|snapshot| read.read(self, snapshot));
        match &answer {
            Err(error) if error.is_not_in_memory() => return None,
            Err(error) => error.log_damage(R::KIND),
            Ok(_) => {}
        }
        metrics::COMMAND_TOTAL.with_label_values(&[R::KIND]).inc();
        statistics::record_read(read.tracker(), begun, begun, clock.now());
        Some(answer)
    }
}
