//! Everything that stands ready while scenarios run, and the record of their runs.
//!
//! What is measured is started when a scenario first needs it and kept for those after it.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use grpcio::Environment;
use tokio::runtime::Runtime;

use crate::client;
use crate::compare::Abba;
use crate::procfs;
use crate::progress::Progress;
use crate::sample::Sample;
use crate::scenario::Run;
use crate::target::{Fsync, Redis, Rocks, Tikv};
use crate::window::Timing;

/// How long everything takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of each run.
    pub timing: Timing,
    /// How often a server is started to see how long that takes.
    pub starts: usize,
    /// Idle connections that are opened.
    pub idle_connections: usize,
    /// Locks in memory, and requests that wait for them.
    pub locks: u64,
    /// How long a server is left alone, at least, before its memory is looked at.
    pub settle: Duration,
}

impl Settings {
    /// Good figures, in less than twenty minutes for all scenarios.
    pub const DEFAULT: Settings = Settings {
        timing: Timing {
            warmup: Duration::from_secs(2),
            window: Duration::from_secs(8),
        },
        starts: 5,
        idle_connections: 1000,
        locks: 100_000,
        settle: Duration::from_secs(4),
    };
    /// A first impression, in less than five minutes for all scenarios.
    pub const QUICK: Settings = Settings {
        timing: Timing {
            warmup: Duration::from_millis(500),
            window: Duration::from_millis(1500),
        },
        starts: 3,
        idle_connections: 1000,
        locks: 100_000,
        settle: Duration::from_secs(3),
    };
    /// No figures at all: whether everything works.
    pub const SMOKE: Settings = Settings {
        timing: Timing {
            warmup: Duration::from_millis(20),
            // A debug build on a busy machine must end something in it.
            window: Duration::from_millis(200),
        },
        starts: 1,
        idle_connections: 200,
        locks: 10_000,
        settle: Duration::from_millis(200),
    };
}

/// Where the programs of others are; none where they are not installed.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// `etcd`.
    pub etcd: Option<PathBuf>,
    /// `redis-server`.
    pub redis: Option<PathBuf>,
}

/// See the module.
pub struct Lab {
    pub(crate) settings: Settings,
    pub(crate) programs: Programs,
    pub(crate) progress: Progress,
    pub(crate) env: Arc<Environment>,
    pub(crate) tokio: Runtime,
    tikv: Option<Rc<Tikv>>,
    redis: Option<Rc<Redis>>,
    rocks: Option<Arc<Rocks>>,
    runs: Vec<Run>,
}

/// Something that can be run again and again.
pub(crate) struct Load<'a> {
    pub(crate) name: String,
    pub(crate) run: Box<dyn Fn(Timing) -> anyhow::Result<Sample> + 'a>,
}

impl<'a> Load<'a> {
    pub(crate) fn new(
        name: impl Into<String>,
        run: impl Fn(Timing) -> anyhow::Result<Sample> + 'a,
    ) -> Load<'a> {
        Load {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

impl Lab {
    /// An empty one. Servers put their data below the directory for temporary files (`TMPDIR`),
    /// which must be on a disk for synced writes to mean anything.
    pub fn new(settings: Settings, programs: Programs, progress: Progress) -> anyhow::Result<Lab> {
        procfs::raise_file_limit();
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("an event loop")?;
        Ok(Lab {
            settings,
            programs,
            progress,
            env: client::environment(),
            tokio,
            tikv: None,
            redis: None,
            rocks: None,
            runs: Vec::new(),
        })
    }

    /// Every run so far, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Our server, loaded with data.
    pub(crate) fn tikv(&mut self) -> anyhow::Result<Rc<Tikv>> {
        if let Some(tikv) = &self.tikv {
            return Ok(tikv.clone());
        }
        let (tokio, env) = (&self.tokio, &self.env);
        let tikv = self.progress.during(
            "start tikv-server and load it",
            || Tikv::start_loaded(tokio, env),
            |tikv| format!("pid {}", tikv.pid()),
        )?;
        Ok(self.tikv.insert(Rc::new(tikv)).clone())
    }

    /// Redis without a log of writes, loaded with data; nothing where it is not installed.
    pub(crate) fn redis(&mut self) -> anyhow::Result<Option<Rc<Redis>>> {
        if self.redis.is_none()
            && let Some(program) = &self.programs.redis
        {
            let redis = Redis::start(program, Fsync::Never, &self.tokio)?;
            self.redis = Some(Rc::new(redis));
        }
        Ok(self.redis.clone())
    }

    /// RocksDB in this process, loaded with data.
    pub(crate) fn rocks(&mut self) -> anyhow::Result<Arc<Rocks>> {
        if let Some(rocks) = &self.rocks {
            return Ok(rocks.clone());
        }
        Ok(self.rocks.insert(Arc::new(Rocks::open()?)).clone())
    }

    /// Runs a load once. It must not fail.
    pub(crate) fn once(
        &mut self,
        scenario: &'static str,
        load: &Load<'_>,
        place: &str,
    ) -> anyhow::Result<Sample> {
        let what = format!("{scenario}: {} {place}", load.name);
        let timing = self.settings.timing;
        let sample = self
            .progress
            .during(&what, || (load.run)(timing)?.clean(), summary)
            .with_context(|| what.clone())?;
        self.record(scenario, &load.name, place, &sample);
        Ok(sample)
    }

    /// Runs two loads in the order A B B A.
    pub(crate) fn abba(
        &mut self,
        scenario: &'static str,
        a: &Load<'_>,
        b: &Load<'_>,
    ) -> anyhow::Result<Abba> {
        let first = self.once(scenario, a, "A1")?;
        let second = self.once(scenario, b, "B1")?;
        let third = self.once(scenario, b, "B2")?;
        let fourth = self.once(scenario, a, "A2")?;
        Ok(Abba {
            a: [first, fourth],
            b: [second, third],
        })
    }

    /// Keeps a run for the report.
    pub(crate) fn record(
        &mut self,
        scenario: &'static str,
        load: &str,
        place: &str,
        sample: &Sample,
    ) {
        self.runs.push(Run {
            scenario: scenario.to_owned(),
            load: load.to_owned(),
            place: place.to_owned(),
            sample: sample.clone(),
        });
    }
}

/// A run in a few words.
pub(crate) fn summary(sample: &Sample) -> String {
    format!(
        "{:>9.0}/s  p99 {:.0} µs",
        sample.ops_per_second(),
        sample.latency_us.p99
    )
}
