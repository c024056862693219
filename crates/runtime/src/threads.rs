//! The production driver: a few background threads with one queue, a timer thread, and a thread for
//! each dedicated task. For control work; requests run in `yatp` pools. Must never run a task after
//! `shutdown` returned.

#![expect(
    clippy::disallowed_methods,
    reason = "this driver is where threads of the runtime come from"
)]

use std::{
    collections::VecDeque,
    future::Future,
    io,
    sync::Arc,
    thread::{self, JoinHandle as ThreadHandle},
};

use parking_lot::{Condvar, Mutex};

use crate::{
    join::{JoinError, JoinHandle, observed},
    task::{RunOutcome, Schedule, Task, TaskSet},
    timer::TimerQueue,
};

/// Which threads a task belongs to.
enum Home {
    /// The background threads.
    Shared(Arc<Threads>),
    /// Its own thread, parked here while the task waits.
    Dedicated {
        threads: Arc<Threads>,
        parking: Parking,
    },
}

#[derive(Default)]
struct Parking {
    wanted: Mutex<bool>,
    changed: Condvar,
}

impl Parking {
    fn unpark(&self) {
        *self.wanted.lock() = true;
        self.changed.notify_one();
    }

    fn park(&self) {
        let mut wanted = self.wanted.lock();
        while !*wanted {
            self.changed.wait(&mut wanted);
        }
        *wanted = false;
    }
}

impl Schedule for Home {
    fn schedule(task: Arc<Task<Self>>) {
        match &task.executor {
            Self::Shared(threads) => {
                let threads = threads.clone();
                threads.enqueue(task);
            }
            Self::Dedicated { parking, .. } => parking.unpark(),
        }
    }

    fn finished(task: &Task<Self>) {
        match &task.executor {
            Self::Shared(threads) => threads.tasks.remove(task.id()),
            Self::Dedicated { threads, parking } => {
                // The thread finds the task done and ends.
                parking.unpark();
                threads.tasks.remove(task.id());
            }
        }
    }
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<Task<Home>>>,
    stopped: bool,
}

/// Threads of one runtime.
pub(crate) struct Threads {
    queue: Mutex<Queue>,
    available: Condvar,
    tasks: TaskSet<Home>,
    timers: Arc<TimerQueue>,
    background: Mutex<Vec<ThreadHandle<()>>>,
    dedicated: Mutex<Vec<ThreadHandle<()>>>,
}

impl Threads {
    /// Starts `count` background threads (at least one) and the timer thread.
    pub(crate) fn start(
        name: &str,
        count: usize,
        timers: Arc<TimerQueue>,
    ) -> io::Result<Arc<Self>> {
        let threads = Arc::new(Self {
            queue: Mutex::default(),
            available: Condvar::new(),
            tasks: TaskSet::default(),
            timers,
            background: Mutex::default(),
            dedicated: Mutex::default(),
        });
        let started = threads.start_all(name, count.max(1));
        if started.is_err() {
            threads.shutdown();
        }
        started.map(|()| threads)
    }

    fn start_all(self: &Arc<Self>, name: &str, count: usize) -> io::Result<()> {
        let mut handles = self.background.lock();
        let timers = self.timers.clone();
        handles.push(
            thread::Builder::new()
                .name(format!("{name}-timer"))
                .spawn(move || timers.run())?,
        );
        for i in 0..count {
            let threads = self.clone();
            handles.push(
                thread::Builder::new()
                    .name(format!("{name}-{i}"))
                    .spawn(move || threads.background_loop())?,
            );
        }
        Ok(())
    }

    pub(crate) fn spawn<F>(self: &Arc<Self>, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (future, result) = observed(future);
        let task = Task::new(self.tasks.next_id(), Home::Shared(self.clone()), future);
        if self.tasks.insert(&task) {
            self.enqueue(task.clone());
        }
        JoinHandle::new(result, Some(task))
    }

    pub(crate) fn spawn_dedicated<F>(
        self: &Arc<Self>,
        name: &str,
        future: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (future, result) = observed(future);
        let home = Home::Dedicated {
            threads: self.clone(),
            parking: Parking::default(),
        };
        let task = Task::new(self.tasks.next_id(), home, future);
        // Held over the start: shutdown either finds the thread in the list, or the task set closed
        // before.
        let mut dedicated = self.dedicated.lock();
        if !self.tasks.insert(&task) {
            return JoinHandle::new(result, Some(task));
        }
        let runner = task.clone();
        match thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || dedicated_loop(&runner))
        {
            Ok(handle) => {
                dedicated.retain(|thread| !thread.is_finished());
                dedicated.push(handle);
                JoinHandle::new(result, Some(task))
            }
            Err(error) => {
                drop(dedicated);
                task.cancel();
                JoinHandle::failed(JoinError::NotStarted(error.to_string()))
            }
        }
    }

    fn enqueue(&self, task: Arc<Task<Home>>) {
        let mut queue = self.queue.lock();
        if queue.stopped {
            // Shutdown cancels it through the task set. It is dropped here outside the lock, for it
            // may be the last.
            drop(queue);
            drop(task);
            return;
        }
        queue.ready.push_back(task);
        drop(queue);
        self.available.notify_one();
    }

    fn background_loop(&self) {
        loop {
            let task = {
                let mut queue = self.queue.lock();
                loop {
                    if queue.stopped {
                        return;
                    }
                    match queue.ready.pop_front() {
                        Some(task) => break task,
                        None => self.available.wait(&mut queue),
                    }
                }
            };
            // A panic that nobody awaits was already told by the process's panic hook.
            if task.run() == RunOutcome::Woken {
                self.enqueue(task);
            }
        }
    }

    /// Stops: refuses new tasks, lets running polls end, drops every other future (the oldest
    /// first), joins all threads but the caller's.
    pub(crate) fn shutdown(&self) {
        self.tasks.close();
        let ready = {
            let mut queue = self.queue.lock();
            queue.stopped = true;
            std::mem::take(&mut queue.ready)
        };
        self.available.notify_all();
        self.timers.stop();
        join_all(&self.background);
        self.tasks.cancel_all();
        drop(ready);
        join_all(&self.dedicated);
    }
}

fn dedicated_loop(task: &Arc<Task<Home>>) {
    let Home::Dedicated { parking, .. } = &task.executor else {
        return;
    };
    loop {
        match task.run() {
            RunOutcome::Woken => {}
            RunOutcome::Waiting => parking.park(),
            RunOutcome::Finished | RunOutcome::Panicked(_) => return,
        }
    }
}

fn join_all(threads: &Mutex<Vec<ThreadHandle<()>>>) {
    let threads = std::mem::take(&mut *threads.lock());
    for handle in threads {
        if handle.thread().id() != thread::current().id() {
            // Tasks cannot panic a thread: nothing to hear from the result.
            let _ = handle.join();
        }
    }
}
