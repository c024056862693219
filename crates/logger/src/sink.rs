//! Where lines go. One write a line, under a lock, unbuffered: lines never mix and none is lost in
//! a crash. A line that cannot be written is counted, for there is nowhere left to complain.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

/// Only the owner reads a log: it may hold keys.
const FILE_MODE: u32 = 0o600;

pub(crate) struct Sink {
    output: Mutex<Box<dyn Write + Send>>,
    lost: AtomicU64,
}

impl Sink {
    pub(crate) fn new(output: Box<dyn Write + Send>) -> Self {
        Self {
            output: Mutex::new(output),
            lost: AtomicU64::new(0),
        }
    }

    /// Writes a whole line.
    pub(crate) fn write(&self, line: &str) {
        if self.output.lock().write_all(line.as_bytes()).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands on what the output may have kept.
    pub(crate) fn flush(&self) {
        if self.output.lock().flush().is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Opens a log file for appending, with its directory and its mode.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)?;
    // The mode of `open` is for a new file, and subject to the process's mask.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}
