//! A bounded number of places for connections. Who takes a place when none is free may push out the
//! one who has been there longest. It knows nothing of what connections are.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// See the module.
pub(crate) struct Places {
    taken: Arc<Mutex<Taken>>,
    max: usize,
}

#[derive(Default)]
struct Taken {
    /// The number given last.
    next: u64,
    /// By age.
    tasks: BTreeMap<u64, AbortHandle>,
}

/// A place. It is free again when this is dropped.
pub(crate) struct Place {
    taken: Arc<Mutex<Taken>>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.lock().tasks.remove(&self.number);
    }
}

impl Places {
    /// So many places.
    pub(crate) fn new(max: usize) -> Places {
        Places {
            taken: Arc::default(),
            max,
        }
    }

    /// Runs a task that begins with a place. When none is free, the task that took its place first
    /// is dropped.
    pub(crate) fn occupy<F>(&self, task: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let oldest = {
            let mut taken = self.taken.lock();
            if taken.tasks.len() >= self.max {
                taken.tasks.pop_first()
            } else {
                None
            }
        };
        if let Some((_, oldest)) = oldest {
            oldest.abort();
        }
        self.start(task);
    }

    /// Runs a task that begins with a place, if one is free.
    pub(crate) fn occupy_free<F>(&self, task: impl FnOnce(Place) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let free = self.taken.lock().tasks.len() < self.max;
        if free {
            self.start(task);
        }
        free
    }

    fn start<F>(&self, task: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let number = {
            let mut taken = self.taken.lock();
            taken.next += 1;
            taken.next
        };
        let task = task(Place {
            taken: Arc::clone(&self.taken),
            number,
        });
        // Its end waits for the lock, so it cannot leave before it has come.
        let mut taken = self.taken.lock();
        let handle = tokio::spawn(task).abort_handle();
        taken.tasks.insert(number, handle);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_oldest_leaves_for_a_newcomer_unless_it_is_protected() {
        let places = Places::new(2);
        let mut ends = Vec::new();
        for _ in 0..3 {
            let (held, end) = oneshot::channel::<()>();
            places.occupy(move |place| async move {
                let _held = (held, place);
                std::future::pending::<()>().await;
            });
            ends.push(end);
        }
        assert!((&mut ends[0]).await.is_err(), "the first was dropped");
        assert!((&mut ends[1]).now_or_never().is_none());
        assert!((&mut ends[2]).now_or_never().is_none());
        assert!(!places.occupy_free(|_| async {}));
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_task_ends() {
        let places = Places::new(1);
        for _ in 0..3 {
            let (done, end) = oneshot::channel::<()>();
            assert!(places.occupy_free(|place| async move {
                drop(place);
                let _ = done.send(());
            }));
            assert!(end.await.is_ok());
        }
    }
}
