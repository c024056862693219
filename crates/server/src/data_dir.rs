//! The data directory: its layout, and the lock that keeps a second server out.
//!
//! The lock is an advisory file lock on `LOCK`, which the system releases when the process ends,
//! however it ends. The file says who holds it. A directory that is made here belongs to the server's
//! user alone; the mode of one that was there is its owner's choice, and only remarked upon.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Nobody but the server's user has business in its files.
const DIRECTORY_MODE: u32 = 0o700;
/// What users other than owner and group may do.
const OTHERS: u32 = 0o007;

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
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(path)
            .map_err(|error| refused(format!("cannot create: {error}")))?;
        let path = path
            .canonicalize()
            .map_err(|error| refused(error.to_string()))?;
        let mode = path
            .metadata()
            .map_or(0, |found| found.permissions().mode());
        if mode & OTHERS != 0 {
            let mode = format!("{:o}", mode & 0o777);
            tracing::warn!(
                path = %path.display(),
                mode,
                "every user of this machine can reach into the data directory"
            );
        }
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
    fn what_is_made_is_for_the_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        drop(DataDir::open(&path).unwrap());
        for made in ["a", "a/b"] {
            let mode = dir
                .path()
                .join(made)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700, "{made}");
        }
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::open(file.path()).unwrap_err().to_string();
        assert!(error.contains("cannot create"), "{error}");
    }
}
