//! The server: flags, log, one node, signals. Everything else is in the `server` crate.
#![doc = include_str!("../README.md")]

mod flags;
mod heap;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use server::config::{Config, Loaded};
use server::signal::StopSignals;
use server::{Error, NodeBuilder, signal};

use crate::flags::Flags;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Small when idle, C and C++ included, for which jemalloc is `malloc` (docs/adr/0012): freed memory goes back to the system after two seconds, by a thread of
/// jemalloc's own; few arenas, because a server with few threads needs no more. The heap can be
/// profiled, but is not until somebody asks (`heap`).
// SAFETY: jemalloc declares this name, weakly, as a `const char *` that the program may define; nobody else does. It
// reads a C string under it at its start and never writes: the bytes are static and end with a zero, and a reference to
// an array is a thin pointer to its first byte.
#[allow(unsafe_code, non_upper_case_globals)]
#[cfg_attr(not(target_vendor = "apple"), unsafe(export_name = "malloc_conf"))]
#[cfg_attr(target_vendor = "apple", unsafe(export_name = "_rjem_malloc_conf"))]
pub static malloc_conf: &[u8; 110] =
    b"background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0,narenas:4,\
tcache:true,prof:true,prof_active:false\0";

const SUCCESS: i32 = 0;
const FAILURE: i32 = 1;

fn main() {
    let status = run(Flags::parse()).unwrap_or_else(|error| {
        say(&mut std::io::stderr(), &format!("tikv-server: {error:#}"));
        FAILURE
    });
    signal::leave(status)
}

/// For the person at the terminal, beside the log. A terminal that is gone is no reason to fail.
fn say(to: &mut impl std::io::Write, text: &str) {
    let _ = writeln!(to, "{text}");
    let _ = to.flush();
}

/// An error is one that nobody has logged: the log is not there yet.
fn run(flags: Flags) -> anyhow::Result<i32> {
    let Loaded {
        mut config,
        warnings,
    } = match &flags.config {
        Some(path) => Config::from_file(path)
            .with_context(|| format!("configuration file {}", path.display()))?,
        None => Loaded {
            config: Config::default(),
            warnings: Vec::new(),
        },
    };
    let check_only = flags.config_check;
    let config_file = flags.config.clone();
    flags.apply(&mut config);
    let problems = config.validate();
    if !problems.is_empty() {
        return Err(Error::Config(problems).into());
    }
    if check_only {
        for warning in &warnings {
            say(&mut std::io::stderr(), &format!("tikv-server: {warning}"));
        }
        say(&mut std::io::stdout(), "the configuration is fine");
        return Ok(SUCCESS);
    }

    let log = logger::init(config.logger()).context("cannot open the log")?;
    let log = Arc::new(log);
    logger::log_panics();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let log_is_elsewhere = !config.log.file.filename.is_empty();
    if let Err(error) = serve(config, config_file, log) {
        tracing::error!(error = format!("{error:#}"), "the server stops");
        if log_is_elsewhere {
            say(&mut std::io::stderr(), &format!("tikv-server: {error:#}"));
        }
        return Ok(FAILURE);
    }
    Ok(SUCCESS)
}

fn serve(
    config: Config,
    config_file: Option<PathBuf>,
    log: Arc<logger::Guard>,
) -> anyhow::Result<()> {
    let stop_within = config.server.graceful_shutdown_timeout.0 + Duration::from_secs(1);
    let data_dir = config.storage.data_dir.clone();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        compatible_version = server::COMPATIBLE_VERSION,
        data_dir = %data_dir.display(),
        "starting"
    );
    let signals = StopSignals::register().context("cannot handle signals")?;
    let mut builder = NodeBuilder::new(config)
        .log(log)
        .heap_profiler(Arc::new(heap::Heap));
    if let Some(path) = config_file {
        builder = builder.config_file(path);
    }
    let node = builder.start()?;
    let addrs = node.addrs();
    tracing::info!(
        addr = addrs.advertised,
        status_addr = addrs.advertised_status,
        pd = addrs.pd.join(","),
        cluster_id = node.identity().cluster_id,
        store_id = node.identity().store_id,
        "ready"
    );
    say(
        &mut std::io::stdout(),
        &format!(
            "tikv-server is ready: connect clients to the placement driver at {}; data in {}",
            addrs.pd.join(","),
            data_dir.display()
        ),
    );
    let signal = signals.wait().context("cannot wait for signals")?;
    tracing::info!(signal, within = ?stop_within, "stopping; another signal forces it");
    futures::executor::block_on(node.shutdown());
    tracing::info!("stopped");
    Ok(())
}
