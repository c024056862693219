//! Starting tasks, on either driver. Owns the choice between the two and nothing else.

use std::{future::Future, sync::Arc};

use crate::{
    join::JoinHandle,
    stepper::{Group, Stepper},
    threads::Threads,
};

/// Starts tasks. Cheap to clone.
#[derive(Clone)]
pub struct Spawner(Driver);

#[derive(Clone)]
enum Driver {
    Threads(Arc<Threads>),
    Stepped(Arc<Group>),
}

impl Spawner {
    pub(crate) fn threads(threads: Arc<Threads>) -> Self {
        Self(Driver::Threads(threads))
    }

    pub(crate) fn stepped(group: Arc<Group>) -> Self {
        Self(Driver::Stepped(group))
    }

    /// Runs `future` on the background threads. It must not block. After shutdown it is dropped and
    /// the handle says that it was cancelled.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        match &self.0 {
            Driver::Threads(threads) => threads.spawn(future),
            Driver::Stepped(group) => group.spawn(future),
        }
    }

    /// Runs `future` on a thread of its own, named `name`: it may block on the disk. Under the
    /// stepper it is a task like any other.
    pub fn spawn_dedicated<F>(&self, name: &str, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        match &self.0 {
            Driver::Threads(threads) => threads.spawn_dedicated(name, future),
            Driver::Stepped(group) => group.spawn(future),
        }
    }

    pub(crate) fn stepper(&self) -> Option<Stepper> {
        match &self.0 {
            Driver::Threads(_) => None,
            Driver::Stepped(group) => Some(group.stepper().clone()),
        }
    }

    pub(crate) fn shutdown(&self) {
        match &self.0 {
            Driver::Threads(threads) => threads.shutdown(),
            Driver::Stepped(group) => group.shutdown(),
        }
    }
}
