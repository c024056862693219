//! The deterministic driver: one thread, one seed, virtual time. Everything that can run stands in
//! one list; the seed decides what runs next, and time stands still while anything can run. The
//! same seed and the same program give the same order of steps ([`Stepper::trace_hash`] proves it);
//! another seed explores another order.
//!
//! Time moves only in [`Stepper::advance`] and, when nothing can run, in [`Stepper::block_on`].
//! Wakers may be called from other threads, but then the order is theirs. Must never start a thread
//! or read a real clock.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    Runtime,
    join::{JoinHandle, observed},
    rng::Rng,
    spawner::Spawner,
    task::{RunOutcome, Schedule, Task, TaskSet},
    time::{Clock, Instant, VirtualClock},
    timer::{Timer, TimerQueue},
};

/// So many steps at one virtual instant are a livelock, not work.
const LIVELOCK_STEPS: u64 = 10_000_000;

/// Trace number of the future that [`Stepper::block_on`] drives. Tasks count from 1.
const MAIN: u64 = 0;

/// Something that can take a step: a task of this driver or of a pool that it drives.
pub trait Runnable: Send + Sync {
    /// Takes one step.
    fn run_once(self: Arc<Self>);
    /// Its number in the trace, the same in each run of a seed.
    fn trace_id(&self) -> u64;
}

/// The driver. Clones are the same driver.
#[derive(Clone)]
pub struct Stepper {
    core: Arc<Core>,
}

struct Core {
    seed: u64,
    time: VirtualClock,
    timers: Arc<TimerQueue>,
    /// Draws what runs next; separate from what tasks draw.
    choices: Rng,
    /// Seeds the random streams of the runtimes.
    streams: Rng,
    last_id: AtomicU64,
    ready: Mutex<Vec<Arc<dyn Runnable>>>,
    trace: Mutex<Trace>,
    panics: Mutex<Vec<String>>,
}

struct Trace {
    steps: u64,
    hash: u64,
    /// Steps since time last moved.
    steps_now: u64,
}

impl Trace {
    /// FNV-1a over the numbers of what ran and when.
    fn record(&mut self, id: u64, now: Instant) {
        self.steps += 1;
        self.steps_now += 1;
        for byte in id
            .to_le_bytes()
            .into_iter()
            .chain(now.as_nanos().to_le_bytes())
        {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Stepper {
    /// A driver whose every choice follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let time = VirtualClock::new();
        let root = Rng::from_seed(seed);
        Self {
            core: Arc::new(Core {
                seed,
                timers: TimerQueue::new(time.clock()),
                time,
                choices: root.fork(),
                streams: root.fork(),
                last_id: AtomicU64::new(MAIN),
                ready: Mutex::default(),
                trace: Mutex::new(Trace {
                    steps: 0,
                    hash: 0xcbf2_9ce4_8422_2325,
                    steps_now: 0,
                }),
                panics: Mutex::default(),
            }),
        }
    }

    /// A runtime on this driver. Each call gives another: they share time, but each has its own
    /// tasks to shut down and its own random stream, as the nodes of a simulated cluster need.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        let group = Arc::new(Group {
            stepper: self.clone(),
            tasks: TaskSet::default(),
        });
        Runtime {
            clock: self.clock(),
            timer: Timer::new(self.core.timers.clone()),
            rng: self.core.streams.fork(),
            spawner: Spawner::stepped(group),
        }
    }

    /// The seed it was made from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.core.seed
    }

    /// Its time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.core.time.clock()
    }

    /// Its time, to let wall time jump.
    #[must_use]
    pub fn virtual_clock(&self) -> &VirtualClock {
        &self.core.time
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.core.trace.lock().steps
    }

    /// A digest of what ran, in which order, at which times.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.core.trace.lock().hash
    }

    /// A number for the next task or pool member, rising from 1.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.core.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lets `runnable` take one step some time: how pools put their tasks under this driver.
    pub fn push(&self, runnable: Arc<dyn Runnable>) {
        self.core.ready.lock().push(runnable);
    }

    /// Tells of a panic that nobody awaits. [`Stepper::block_on`] passes it on.
    pub fn record_panic(&self, message: String) {
        self.core.panics.lock().push(message);
    }

    /// Takes the panics that nobody awaited, so that [`Stepper::block_on`] does not pass them on.
    #[must_use]
    pub fn take_panics(&self) -> Vec<String> {
        std::mem::take(&mut self.core.panics.lock())
    }

    /// Runs one thing that can run. False when there is none. Time does not move.
    pub fn step(&self) -> bool {
        self.step_or_main(false) == Step::Task
    }

    /// Runs until nothing can run. Time does not move.
    ///
    /// # Panics
    /// When it does not come to rest within ten million steps.
    pub fn run_until_stalled(&self) {
        while self.step() {}
    }

    /// Moves time by `d`, stopping at each deadline on the way to run what it wakes.
    pub fn advance(&self, d: Duration) {
        let target = self.core.time.now() + d;
        self.run_until_stalled();
        while self
            .core
            .timers
            .next_deadline()
            .is_some_and(|at| at <= target)
        {
            self.jump_to_next_deadline();
            self.run_until_stalled();
        }
        self.move_time(target);
    }

    /// Drives `future` and everything else until it is ready. When nothing can run, time jumps to
    /// the next deadline.
    ///
    /// # Panics
    /// When nothing can run and no deadline is left, when steps go on for ever at one instant, and
    /// when a task panicked that nobody awaits; the message holds the seed.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let main = Arc::new(MainWaker(AtomicBool::new(true)));
        let waker = Waker::from(main.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            match self.step_or_main(main.0.load(Ordering::SeqCst)) {
                Step::Main => {
                    main.0.store(false, Ordering::SeqCst);
                    if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                        self.pass_on_panics();
                        return output;
                    }
                }
                Step::Task => self.pass_on_panics(),
                Step::None if self.core.timers.next_deadline().is_some() => {
                    self.jump_to_next_deadline();
                }
                Step::None => panic!(
                    "deadlock: nothing can run and no timer is set; {}",
                    self.facts()
                ),
            }
        }
    }

    /// Chooses among what is ready, and the main future if `main_ready`; runs it unless it is the
    /// main future.
    fn step_or_main(&self, main_ready: bool) -> Step {
        let chosen = {
            let mut ready = self.core.ready.lock();
            let count = ready.len() + usize::from(main_ready);
            if count == 0 {
                return Step::None;
            }
            // Below the length of a vector.
            let index = self.core.choices.below(count as u64) as usize;
            (index < ready.len()).then(|| ready.swap_remove(index))
        };
        let id = chosen.as_ref().map_or(MAIN, |runnable| runnable.trace_id());
        let steps_now = {
            let mut trace = self.core.trace.lock();
            trace.record(id, self.core.time.now());
            trace.steps_now
        };
        assert!(
            steps_now < LIVELOCK_STEPS,
            "livelock: time does not move; {}",
            self.facts()
        );
        match chosen {
            Some(runnable) => {
                runnable.run_once();
                Step::Task
            }
            None => Step::Main,
        }
    }

    fn jump_to_next_deadline(&self) {
        if let Some(at) = self.core.timers.next_deadline() {
            self.move_time(at);
            self.core.timers.fire();
        }
    }

    fn move_time(&self, to: Instant) {
        self.core.time.advance_to(to);
        self.core.trace.lock().steps_now = 0;
    }

    fn pass_on_panics(&self) {
        let panics = self.take_panics();
        assert!(
            panics.is_empty(),
            "task panicked: {}; {}",
            panics.join("; "),
            self.facts()
        );
    }

    fn facts(&self) -> String {
        format!(
            "seed {}, step {}, virtual time {:?}",
            self.core.seed,
            self.steps(),
            self.core.time.now()
        )
    }
}

/// What [`Stepper::step_or_main`] did.
#[derive(PartialEq, Eq)]
enum Step {
    None,
    Task,
    Main,
}

struct MainWaker(AtomicBool);

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Tasks of one runtime on a stepper.
pub(crate) struct Group {
    stepper: Stepper,
    tasks: TaskSet<Member>,
}

/// What a stepped task knows: its group, and its number in the trace.
struct Member {
    group: Arc<Group>,
}

impl Schedule for Member {
    fn schedule(task: Arc<Task<Self>>) {
        let stepper = task.executor.group.stepper.clone();
        stepper.push(task);
    }

    fn finished(task: &Task<Self>) {
        task.executor.group.tasks.remove(task.id());
    }
}

impl Runnable for Task<Member> {
    fn run_once(self: Arc<Self>) {
        match self.run() {
            RunOutcome::Woken => Member::schedule(self),
            RunOutcome::Panicked(message) => self.executor.group.stepper.record_panic(message),
            RunOutcome::Waiting | RunOutcome::Finished => {}
        }
    }

    fn trace_id(&self) -> u64 {
        self.id()
    }
}

impl Group {
    pub(crate) fn stepper(&self) -> &Stepper {
        &self.stepper
    }

    pub(crate) fn spawn<F>(self: &Arc<Self>, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (future, result) = observed(future);
        let task = Task::new(
            self.stepper.next_id(),
            Member {
                group: self.clone(),
            },
            future,
        );
        if self.tasks.insert(&task) {
            Member::schedule(task.clone());
        }
        JoinHandle::new(result, Some(task))
    }

    /// Refuses new tasks and drops all others, the oldest first.
    pub(crate) fn shutdown(&self) {
        self.tasks.close();
        self.tasks.cancel_all();
    }
}
