//! The data directory: its layout, and the lock that keeps a second server out.
//!
//! The lock is an advisory file lock on `LOCK`, which the system releases when the process ends,
//! however it ends. The file says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A data directory in the hands of this server.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock as long as it is open.
    _lock: File,
}

impl DataDir {
    /// Creates the directory when it is not there, and takes its lock.
    pub fn open(path: &Path) -> Result<DataDir> {
        let refused = |reason: String| Error::DataDir {
            path: path.to_owned(),
            reason,
        };
        std::fs::create_dir_all(path)
            .map_err(|error| refused(format!("cannot create: {error}")))?;
        let path = path
            .canonicalize()
            .map_err(|error| refused(error.to_string()))?;
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path.join("LOCK"))
            .map_err(|error| refused(format!("cannot open LOCK: {error}")))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is only a hint for the reader of the message.
                let _ = lock.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another server".to_owned(),
                    pid => format!("another server (process {pid})"),
                };
                return Err(refused(format!("it is in use by {holder}")));
            }
            Err(TryLockError::Error(error)) => {
                return Err(refused(format!("cannot lock: {error}")));
            }
        }
        let noted = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        noted.map_err(|error| refused(format!("cannot write LOCK: {error}")))?;
        Ok(DataDir { path, _lock: lock })
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine of keys and values is.
    pub fn kv(&self) -> PathBuf {
        self.path.join("db")
    }

    /// Where the embedded placement driver is.
    pub fn pd(&self) -> PathBuf {
        self.path.join("pd")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let second = DataDir::open(&path).unwrap_err().to_string();
        let me = format!("in use by another server (process {})", std::process::id());
        assert!(second.contains(&me), "{second}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::open(file.path()).unwrap_err().to_string();
        assert!(error.contains("cannot create"), "{error}");
    }
}
