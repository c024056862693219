//! Errors of RocksDB as errors of the traits.

use std::path::Path;

use engine_traits::Error;
use rocksdb::ErrorKind;

/// An error of a read, a write or upkeep.
pub(crate) fn from_rocks(error: &rocksdb::Error) -> Error {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => Error::Corruption(text),
        // The binding does not tell the subcode of a status, but the text begins with its name.
        ErrorKind::IOError if text.contains("No space left on device") => Error::NoSpace(text),
        ErrorKind::IOError => Error::Io(text),
        ErrorKind::InvalidArgument => Error::InvalidArgument(text),
        // RocksDB says "incomplete" only where a limit of the caller stopped it, of which there are two.
        ErrorKind::Incomplete if text.contains("internal keys skipped") => Error::TooManySkipped,
        ErrorKind::Incomplete => Error::NotCached,
        _ => Error::Engine(text),
    }
}

/// An error of opening: who holds the directory, or what is wrong with it.
pub(crate) fn from_open(path: &Path, error: &rocksdb::Error) -> Error {
    let text = error.to_string();
    // The lock file is `LOCK`. Of this process: "lock hold by current process", of another: the
    // system's refusal of fcntl under "While lock file".
    if text.contains("lock hold by current process")
        || (text.contains("While lock file") && text.contains("temporarily unavailable"))
    {
        return Error::Locked {
            path: path.to_owned(),
            detail: text,
        };
    }
    from_rocks(error)
}
