//! Being asked to stop in the middle: the servers that were started go first, and then the process.
//! Must never: end a process that is no child of this one.

use std::{io, thread};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::procfs;

/// What shells say of a process that a signal ended, less the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// From now on SIGINT and SIGTERM end what this process has started, and then the process itself. Directories
/// of the servers are left.
pub fn end_children_when_asked() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let ender = move || {
        if let Some(signal) = signals.forever().next() {
            for child in procfs::children(std::process::id()) {
                end(child);
            }
            signal_hook::low_level::exit(ENDED_BY_SIGNAL + signal);
        }
    };
    thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(ender)?;
    Ok(())
}

fn end(child: u32) {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Errors say that it is gone already, which is what was wanted.
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
}
