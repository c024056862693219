//! A run in three phases: warm up, measure, over.
//!
//! Workers go on through all three without a pause; only what ends while the window is open counts.
//! The processor time of both sides is read at the window's two edges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::procfs;
use crate::sample::{Percentiles, Recorder, Sample};

/// How long workers may take to end after the window has closed.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// How long a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Not counted: caches fill, connections open.
    pub warmup: Duration,
    /// Counted.
    pub window: Duration,
}

// Zero is the warm-up.
const OPEN: u8 = 1;
const OVER: u8 = 2;

/// The phase, as workers see it.
#[derive(Debug, Default)]
pub(crate) struct Window(AtomicU8);

impl Window {
    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OPEN
    }

    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }
}

/// What a worker holds. When it goes, its counts are handed in.
pub(crate) struct Worker {
    window: Arc<Window>,
    recorder: Recorder,
    hand_in: Sender<Recorder>,
}

impl Worker {
    /// Whether to begin another operation.
    pub(crate) fn goes_on(&self) -> bool {
        !self.window.is_over()
    }

    /// An operation that began at `started` is over.
    pub(crate) fn done(&mut self, started: Instant, outcome: anyhow::Result<u64>) {
        if !self.window.is_open() {
            // A load that cannot work at all must say why, even if it ends in the warm-up.
            if let Err(error) = outcome {
                self.recorder
                    .first_error
                    .get_or_insert_with(|| format!("{error:#}"));
            }
            return;
        }
        match outcome {
            Ok(items) => self.recorder.done(started.elapsed(), items),
            Err(error) => self.recorder.failed(&error),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Whoever waited for it may have given up.
        let _ = self.hand_in.send(self.recorder.clone());
    }
}

/// Makes the workers of one run.
pub(crate) struct Workers {
    window: Arc<Window>,
    hand_in: Sender<Recorder>,
}

impl Workers {
    pub(crate) fn worker(&self) -> Worker {
        Worker {
            window: self.window.clone(),
            recorder: Recorder::new(),
            hand_in: self.hand_in.clone(),
        }
    }
}

/// Processor time of both sides at one moment.
pub(crate) struct Meter {
    server: Option<u32>,
    at: Instant,
    server_cpu: Duration,
    client_cpu: Duration,
}

impl Meter {
    pub(crate) fn start(server: Option<u32>) -> anyhow::Result<Meter> {
        let server_cpu = server.map_or(Ok(Duration::ZERO), procfs::cpu_time)?;
        Ok(Meter {
            server,
            at: Instant::now(),
            server_cpu,
            client_cpu: procfs::cpu_time(std::process::id())?,
        })
    }

    /// A sample that has everything but the counts.
    pub(crate) fn stop(self) -> anyhow::Result<Sample> {
        let micros = |spent: Duration| spent.as_secs_f64() * 1e6;
        let seconds = self.at.elapsed().as_secs_f64();
        let server_cpu_us = match self.server {
            Some(pid) => Some(micros(
                procfs::cpu_time(pid)?.saturating_sub(self.server_cpu),
            )),
            None => None,
        };
        let client = procfs::cpu_time(std::process::id())?;
        Ok(Sample {
            seconds,
            server_cpu_us,
            client_cpu_us: micros(client.saturating_sub(self.client_cpu)),
            ..Sample::default()
        })
    }
}

impl Sample {
    pub(crate) fn with(self, recorder: Recorder) -> Sample {
        Sample {
            ops: recorder.ops,
            items: recorder.items,
            errors: recorder.errors,
            latency_us: Percentiles::of(&recorder.latencies),
            first_error: recorder.first_error,
            ..self
        }
    }
}

/// Runs what `start` starts. Each worker goes on while [`Worker::goes_on`] and then drops its handle.
pub(crate) fn measure(
    timing: Timing,
    server: Option<u32>,
    start: impl FnOnce(Workers) -> anyhow::Result<()>,
) -> anyhow::Result<Sample> {
    let window = Arc::new(Window::default());
    let (hand_in, handed_in) = channel();
    let started = start(Workers {
        window: window.clone(),
        hand_in,
    });
    if let Err(error) = started {
        window.0.store(OVER, Ordering::Relaxed);
        return Err(error);
    }
    // The workers work; this thread has nothing to do until the edges of the window.
    std::thread::sleep(timing.warmup);
    let meter = Meter::start(server)?;
    window.0.store(OPEN, Ordering::Relaxed);
    std::thread::sleep(timing.window);
    window.0.store(OVER, Ordering::Relaxed);
    let sample = meter.stop()?;
    Ok(sample.with(collect(&handed_in)?))
}

fn collect(handed_in: &Receiver<Recorder>) -> anyhow::Result<Recorder> {
    let mut all = Recorder::new();
    let deadline = Instant::now() + END_PATIENCE;
    loop {
        match handed_in.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(recorder) => all.merge(&recorder),
            Err(RecvTimeoutError::Disconnected) => return Ok(all),
            Err(RecvTimeoutError::Timeout) => {
                let reason = all.first_error.unwrap_or_default();
                bail!("operations did not end within {END_PATIENCE:?} {reason}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Timing = Timing {
        warmup: Duration::from_millis(5),
        window: Duration::from_millis(30),
    };

    #[test]
    fn only_what_ends_in_the_window_counts() {
        let sample = measure(SHORT, None, |workers| {
            let mut worker = workers.worker();
            worker.done(Instant::now(), Ok(1));
            std::thread::spawn(move || {
                while worker.goes_on() {
                    worker.done(Instant::now(), Ok(3));
                    std::thread::yield_now();
                }
                worker.done(Instant::now(), Ok(1));
            });
            Ok(())
        })
        .unwrap();
        assert!(sample.ops > 0);
        assert_eq!(sample.items, 3 * sample.ops);
        assert!(sample.seconds >= 0.03);
        assert_eq!(sample.server_cpu_us, None);
    }

    #[test]
    fn failures_are_counted_with_the_first_reason() {
        let sample = measure(SHORT, Some(std::process::id()), |workers| {
            let mut worker = workers.worker();
            std::thread::spawn(move || {
                while worker.goes_on() {
                    worker.done(Instant::now(), Err(anyhow::anyhow!("no")));
                    std::thread::yield_now();
                }
            });
            Ok(())
        })
        .unwrap();
        assert!(sample.errors > 0);
        assert!(sample.server_cpu_us.is_some());
        assert!(sample.clean().unwrap_err().to_string().ends_with("no"));
    }

    #[test]
    fn a_load_that_cannot_start_says_so() {
        let error = measure(SHORT, None, |_| bail!("no server")).unwrap_err();
        assert_eq!(error.to_string(), "no server");
    }
}
