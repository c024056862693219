//! Waiting for the operator: SIGTERM and SIGINT ask for a stop, a second one forces it. And the very
//! end of the process.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The signals that stop a server, caught from the moment this exists.
#[derive(Debug)]
pub struct StopSignals(Signals);

impl StopSignals {
    /// Catches the signals. To be called before anybody can know that the server is ready: who is
    /// told so may ask it to stop at once, and must get an orderly stop.
    pub fn register() -> io::Result<StopSignals> {
        Signals::new([SIGINT, SIGTERM]).map(StopSignals)
    }

    /// Blocks until the process is asked to stop. From then on another SIGTERM or SIGINT ends the
    /// process at once, with status 1.
    pub fn wait(mut self) -> io::Result<&'static str> {
        let name = match self.0.forever().next() {
            Some(SIGINT) => "SIGINT",
            _ => "SIGTERM",
        };
        // Exits from inside the handler: whatever hangs, this does not.
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 1, armed())?;
        }
        Ok(name)
    }
}

fn armed() -> std::sync::Arc<std::sync::atomic::AtomicBool> {
    std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true))
}

/// Ends the process without running what C++ has registered for its end. Everything must be closed
/// and flushed before.
///
/// A thread that has used RocksDB and ends while the library's static objects are being destroyed
/// locks a mutex that is gone, and RocksDB aborts the process: an orderly stop would look like a
/// crash.
pub fn leave(status: i32) -> ! {
    signal_hook::low_level::exit(status)
}
