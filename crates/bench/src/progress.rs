//! What the person at the terminal sees while it runs: one line for each run.
//!
//! On a terminal the line of the present run counts the seconds; elsewhere a line appears when its
//! run is over.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the line changes.
const TICK: Duration = Duration::from_millis(200);

/// Tells the progress on standard error.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    shown: Shown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Ticking,
    Lines,
    Nothing,
}

impl Progress {
    /// As standard error allows.
    pub fn of_stderr() -> Progress {
        let shown = if std::io::stderr().is_terminal() {
            Shown::Ticking
        } else {
            Shown::Lines
        };
        Progress { shown }
    }

    /// Says nothing, for tests.
    pub fn silent() -> Progress {
        Progress {
            shown: Shown::Nothing,
        }
    }

    /// A line by itself.
    pub fn say(&self, text: &str) {
        if self.shown != Shown::Nothing {
            // A terminal that is gone is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Does `work` under the name `what`; `outcome` says in a few words what came of it.
    pub(crate) fn during<T>(
        &self,
        what: &str,
        work: impl FnOnce() -> anyhow::Result<T>,
        outcome: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        let started = Instant::now();
        let ticker = (self.shown == Shown::Ticking).then(|| Ticker::start(what.to_owned()));
        let result = work();
        drop(ticker);
        let seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(done) => self.say(&format!("  {what:<44} {seconds:5.1} s  {}", outcome(done))),
            Err(_) => self.say(&format!("  {what:<44} {seconds:5.1} s  failed")),
        }
        result
    }
}

struct Ticker {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(what: String) -> Ticker {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let started = Instant::now();
        let thread = std::thread::Builder::new()
            .name("bench-progress".to_owned())
            .spawn(move || {
                while !seen.load(Ordering::Relaxed) {
                    let seconds = started.elapsed().as_secs_f64();
                    let _ = write!(std::io::stderr(), "\r  {what:<44} {seconds:5.1} s ");
                    let _ = std::io::stderr().flush();
                    std::thread::park_timeout(TICK);
                }
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            });
        Ticker {
            over,
            thread: thread.ok(),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_once_and_its_failure_passed_on() {
        let progress = Progress::silent();
        let done = progress.during("x", || Ok(7), |seven| seven.to_string());
        assert_eq!(done.unwrap(), 7);
        let failed = progress.during("x", || anyhow::bail!("no"), |(): &()| String::new());
        assert!(failed.is_err());
    }
}
