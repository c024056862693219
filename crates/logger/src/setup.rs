//! Putting the log in place: for the process, or for a scope in a test. Owns the handle through
//! which the level changes.

use std::{
    io::{self, Write},
    panic,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tracing::Dispatch;
use tracing_subscriber::{Registry, layer::SubscriberExt as _, reload};

use crate::{
    config::{Config, Level},
    layer::{Gate, LineLayer},
    redact::set_redact_mode,
    rotate::{RotatingFile, Rotation},
    sink::Sink,
};

/// Where lines get their time: milliseconds since the Unix epoch.
pub type UnixMillis = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Why the log was not put in place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be made or written.
    #[error("cannot open log file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This process has its log already.
    #[error("the log of this process is set up already")]
    AlreadySet,
}

/// Result of putting the log in place.
pub type Result<T> = std::result::Result<T, Error>;

/// Holds the log. Dropping it flushes; the log goes on.
pub struct Guard {
    sinks: Vec<Arc<Sink>>,
    filter: reload::Handle<Gate, Registry>,
    level: Mutex<Level>,
}

impl Guard {
    /// The level in force.
    #[must_use]
    pub fn level(&self) -> Level {
        *self.level.lock()
    }

    /// Changes the level, at once and for all threads. A log that was not put in place for the
    /// process must be the calling thread's default: `tracing` asks that one which events are
    /// wanted now.
    pub fn set_level(&self, level: Level) {
        let mut current = self.level.lock();
        // Fails only when the subscriber is gone, and with it everything that could be filtered.
        if self.filter.reload(Gate(level.filter())).is_ok() {
            *current = level;
        }
    }

    /// Lines that could not be written.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.lost()).sum()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for sink in &self.sinks {
            sink.flush();
        }
    }
}

/// Puts the log of this process in place, with the redaction mode. Once: nodes that share a process
/// share its log.
pub fn init(config: Config) -> Result<Guard> {
    let clock: UnixMillis = Arc::new(system_unix_millis);
    let open = |path: &Path| open(path, config.rotation, &clock);
    let output = match &config.file {
        Some(path) => open(path)?,
        None => Box::new(io::stderr()),
    };
    let slow = config.slow_file.as_deref().map(open).transpose()?;
    let (dispatch, guard) = scoped_with(&config, output, slow, clock.clone());
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| Error::AlreadySet)?;
    set_redact_mode(config.redact);
    Ok(guard)
}

fn open(path: &Path, rotation: Rotation, clock: &UnixMillis) -> Result<Output> {
    match RotatingFile::open(path, rotation, clock.clone()) {
        Ok(file) => Ok(Box::new(file)),
        Err(source) => Err(Error::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The same log on any output and time, not put in place: tests and embedders choose the scope, for
/// example with `tracing::dispatcher::with_default`. Of `config`, the files and the redaction mode,
/// which is the process's, are not looked at.
#[must_use]
pub fn scoped(
    config: &Config,
    output: Box<dyn Write + Send>,
    clock: UnixMillis,
) -> (Dispatch, Guard) {
    scoped_with(config, output, None, clock)
}

type Output = Box<dyn Write + Send>;

fn scoped_with(
    config: &Config,
    output: Output,
    slow: Option<Output>,
    clock: UnixMillis,
) -> (Dispatch, Guard) {
    let sink = Arc::new(Sink::new(output));
    let slow = slow.map(|output| Arc::new(Sink::new(output)));
    let (filter, handle) = reload::Layer::new(Gate(config.level.filter()));
    let sinks = [Some(sink.clone()), slow.clone()];
    let lines = LineLayer {
        format: config.format,
        clock,
        sink,
        slow,
    };
    let subscriber = Registry::default().with(filter).with(lines);
    let guard = Guard {
        sinks: sinks.into_iter().flatten().collect(),
        filter: handle,
        level: Mutex::new(config.level),
    };
    (Dispatch::new(subscriber), guard)
}

/// Lets panics of this process go to the log, as errors; without a log they go where they went
/// before. For binaries: a panic hook is the process's, not a library's.
pub fn log_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !tracing::dispatcher::has_been_set() {
            before(info);
            return;
        }
        let thread = std::thread::current();
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("(panic without a message)");
        // Captured only when RUST_BACKTRACE asks for it.
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(
            thread = thread.name().unwrap_or(""),
            location,
            error = message,
            %backtrace,
            "thread panicked"
        );
    }));
}

#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "on the ground floor beside `runtime`, which it may not use; a line's time steers nothing, and whoever \
              needs it repeatable passes a clock to `scoped`"
)]
fn system_unix_millis() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
