//! The placement driver alone: flags, log, one server, signals. Everything else is in the `pd` crate.
#![doc = include_str!("../README.md")]

mod settings;

use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use clap::Parser as _;
use engine_rocks::{CfConfig, RocksEngine};
use engine_traits::{Cf, KvEngine as _};
use online_config::ReadableSize;
use runtime::Runtime;
use security::Security;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::settings::{Flags, Settings};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Small when idle, like `tikv-server`: freed memory goes back to the system after two seconds, by a thread of
/// jemalloc's own. Without it nothing goes back until somebody allocates again.
// SAFETY: jemalloc declares this name, weakly, as a `const char *` that the program may define; nobody else does. It
// reads a C string under it at its start and never writes: the bytes are static and end with a zero, and a reference to
// an array is a thin pointer to its first byte.
#[allow(unsafe_code, non_upper_case_globals)]
#[cfg_attr(not(target_vendor = "apple"), unsafe(export_name = "malloc_conf"))]
#[cfg_attr(target_vendor = "apple", unsafe(export_name = "_rjem_malloc_conf"))]
pub static malloc_conf: &[u8; 70] =
    b"background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0,narenas:4\0";

fn main() {
    let status = match run(Flags::parse()) {
        Ok(()) => 0,
        Err(error) => {
            // For the person at the terminal, beside the log.
            let text = format!("pd-server: {error:#}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
            1
        }
    };
    // Everything is closed. What C++ has registered for the end of a process must not run: a thread
    // that has used RocksDB and ends meanwhile locks a mutex that is gone, and RocksDB aborts.
    signal_hook::low_level::exit(status)
}

fn run(flags: Flags) -> anyhow::Result<()> {
    let (settings, warnings) = Settings::from_flags(flags)?;
    let _log = logger::init(settings.logger()).context("cannot open the log")?;
    logger::log_panics();
    for warning in warnings {
        tracing::warn!(reason = %warning, "odd configuration file");
    }
    let pd_config = settings.pd_config(Security::new(settings.security())?);
    pd_config.validate()?;
    // Registered before anything is open: a signal that comes early stops what follows at once.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle signals")?;

    let path = settings.data_dir.join("meta");
    // Metadata names keys: nobody else's business.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.data_dir)
        .with_context(|| format!("data directory {}", settings.data_dir.display()))?;
    let engine = RocksEngine::open(&path, &engine_config())?;
    let runtime = Runtime::system("pd", 1).context("cannot start threads")?;
    let server = pd::Server::start(pd_config, engine.clone(), &runtime)?;

    let signal = match signals.forever().next() {
        Some(SIGINT) => "SIGINT",
        _ => "SIGTERM",
    };
    tracing::info!(signal, "stopping");
    // Whatever hangs from here on, a second signal ends the process.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(
            signal,
            1,
            Arc::new(AtomicBool::new(true)),
        )?;
    }
    drop(server);
    runtime.shutdown();
    engine
        .flush(&[Cf::Default])
        .context("cannot flush the metadata")?;
    Ok(())
}

/// Metadata is small: so are its buffers and caches.
fn engine_config() -> engine_rocks::Config {
    let small = CfConfig {
        write_buffer_size: ReadableSize::mb(4),
        max_write_buffer_number: 2,
        target_file_size_base: ReadableSize::mb(4),
        max_bytes_for_level_base: ReadableSize::mb(16),
        ..CfConfig::default()
    };
    engine_rocks::Config {
        max_background_jobs: 2,
        max_open_files: 64,
        max_total_wal_size: ReadableSize::mb(8),
        block_cache_size: ReadableSize::mb(8),
        defaultcf: small.clone(),
        writecf: small.clone(),
        lockcf: small.clone(),
        raftcf: small,
        ..engine_rocks::Config::default()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_engine_takes_its_settings() {
        assert_eq!(super::engine_config().validate(), Vec::<String>::new());
    }
}
