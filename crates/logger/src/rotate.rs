//! A log file that is put aside when it is full, and files put aside that are removed when they are
//! too many or too old.
//!
//! 1. The file being written always has the name of the configuration. Putting it aside is one
//!    `rename` within its directory, then a new file is made. A process that dies in between leaves
//!    no current file, and the next start makes one: no line is lost, none stands in two files.
//! 2. A line is never divided: fullness is looked at before a line, and the line that fills a file
//!    still goes into it.
//! 3. A file that cannot be put aside is written on, and the attempt is repeated when it has grown
//!    again: a log that is too long is better than none.
//! 4. Only files whose names have exactly the form of a name given here are ever removed. A name
//!    tells its time in UTC, so that the order of names is the order of time, whatever the file
//!    system says about the files.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    setup::UnixMillis,
    sink::open_file,
    timestamp::{FILE_STAMP_LEN, FileStamp},
};

/// After a failed attempt the file may grow by this part of its limit before the next one.
const RETRY_PART: u64 = 16;
const MILLIS_PER_DAY: u64 = 86_400_000;

/// When log files are put aside, and which of those are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes after which a file is put aside; 0 for never.
    pub max_bytes: u64,
    /// Days for which files put aside are kept; 0 for ever.
    pub max_days: u64,
    /// How many files put aside are kept; 0 for all.
    pub max_backups: usize,
}

/// See the module.
pub(crate) struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// The size at which it is put aside.
    full_at: u64,
    rotation: Rotation,
    clock: UnixMillis,
}

impl RotatingFile {
    /// Opens `path` for appending and removes what is too old beside it.
    pub(crate) fn open(path: &Path, rotation: Rotation, clock: UnixMillis) -> io::Result<Self> {
        let file = open_file(path)?;
        let metadata = file.metadata()?;
        // A terminal or a pipe has no size and no name to give away.
        let full_at = match rotation.max_bytes {
            0 => u64::MAX,
            _ if !metadata.is_file() => u64::MAX,
            bytes => bytes,
        };
        let this = Self {
            path: path.to_owned(),
            file,
            size: metadata.len(),
            full_at,
            rotation,
            clock,
        };
        if full_at != u64::MAX {
            this.remove_old();
        }
        Ok(this)
    }

    fn rotate_if_full(&mut self) {
        if self.size < self.full_at {
            return;
        }
        match self.rotate() {
            Ok(()) => self.remove_old(),
            Err(_) => {
                let more = (self.rotation.max_bytes / RETRY_PART).max(1);
                self.full_at = self.size.saturating_add(more);
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut now = (self.clock)();
        let mut aside = self.aside(now);
        // Two files of one millisecond, or a clock that was put back: `rename` would replace one.
        while aside.try_exists()? {
            now += 1;
            aside = self.aside(now);
        }
        match fs::rename(&self.path, &aside) {
            Ok(()) => {}
            // Somebody moved it away: what is needed is a new one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Until the new file is there, lines go on into the one put aside.
        self.file = open_file(&self.path)?;
        self.size = self.file.metadata()?.len();
        self.full_at = self.rotation.max_bytes;
        Ok(())
    }

    /// The name under which the file is put aside: `tikv.log` becomes
    /// `tikv-2026-11-22T16-40-00.123.log`.
    fn aside(&self, now: u64) -> PathBuf {
        let (stem, extension) = self.name_parts();
        let name = format!("{stem}-{}{extension}", FileStamp(now));
        self.path.with_file_name(name)
    }

    /// The name before the time, and what follows it.
    fn name_parts(&self) -> (String, String) {
        let lossy = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
        let stem = self.path.file_stem().map(lossy).unwrap_or_default();
        let extension = self.path.extension().map(lossy);
        (
            stem,
            extension.map(|text| format!(".{text}")).unwrap_or_default(),
        )
    }

    /// Removes files put aside that are too old or too many. One that cannot be removed stays: the
    /// log has nobody to complain to.
    fn remove_old(&self) {
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        let (stem, extension) = self.name_parts();
        let mut aside: Vec<(String, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let stamp = stamp_of(name.to_str()?, &stem, &extension)?;
                Some((stamp.to_owned(), entry.path()))
            })
            .collect();
        aside.sort();
        let too_many = match self.rotation.max_backups {
            0 => 0,
            kept => aside.len().saturating_sub(kept),
        };
        let oldest = match self.rotation.max_days {
            0 => String::new(),
            days => {
                let age = days.saturating_mul(MILLIS_PER_DAY);
                FileStamp((self.clock)().saturating_sub(age)).to_string()
            }
        };
        for (position, (stamp, path)) in aside.iter().enumerate() {
            if position < too_many || *stamp < oldest {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The time in a file's name, if the name was given by this module.
fn stamp_of<'a>(name: &'a str, stem: &str, extension: &str) -> Option<&'a str> {
    let stamp = name
        .strip_prefix(stem)?
        .strip_prefix('-')?
        .strip_suffix(extension)?;
    const PATTERN: &[u8; FILE_STAMP_LEN] = b"0000-00-00T00-00-00.000";
    let fits = stamp.len() == FILE_STAMP_LEN
        && stamp
            .bytes()
            .zip(PATTERN)
            .all(|(byte, pattern)| match pattern {
                b'0' => byte.is_ascii_digit(),
                fixed => byte == *fixed,
            });
    fits.then_some(stamp)
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rotate_if_full();
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    /// As one piece, so that a file ends with a whole line.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        self.rotate_if_full();
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
