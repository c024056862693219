//! Waiting for the operator: SIGTERM and SIGINT ask for a stop, a second one forces it.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Blocks until the process is asked to stop. From then on another SIGTERM or SIGINT ends the process
/// at once, with status 1.
pub fn wait_for_stop() -> io::Result<&'static str> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let name = match signals.forever().next() {
        Some(SIGINT) => "SIGINT",
        _ => "SIGTERM",
    };
    // Exits from inside the handler: whatever hangs, this does not.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, armed())?;
    }
    Ok(name)
}

fn armed() -> std::sync::Arc<std::sync::atomic::AtomicBool> {
    std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true))
}
