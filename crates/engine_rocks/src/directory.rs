//! What a directory holds before it is opened: nothing, an engine of ours, or something else.
//!
//! RocksDB would create its files beside anything, and would take over any database whose column
//! families it is told. So this looks first, and changes nothing.

use std::io::ErrorKind;
use std::path::Path;

use engine_traits::{Cf, Error, Result};
use rocksdb::{DBWithThreadMode, IteratorMode, Options, SingleThreaded};

use crate::error::from_open;

/// RocksDB's name of the file that names the valid manifest; it is written last at creation.
const CURRENT: &str = "CURRENT";

/// Fails unless the directory is absent, empty, half created by us, or an engine of ours.
pub(crate) fn check(path: &Path) -> Result<()> {
    let foreign = |detail: String| Error::ForeignDirectory {
        path: path.to_owned(),
        detail,
    };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(foreign("it is not a directory".into()));
        }
        Err(error) => return Err(io(path, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io(path, &error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    if !names.iter().any(|name| name == CURRENT) {
        // Creation that was interrupted leaves these and no data.
        if let Some(name) = names.iter().find(|name| is_data_file(name)) {
            return Err(Error::Corruption(format!(
                "{}: there is data, {name}, but the file {CURRENT} is missing",
                path.display()
            )));
        }
        return match names.iter().find(|name| !is_creation_file(name)) {
            Some(name) => Err(foreign(format!("it holds {name} and no database"))),
            None => Ok(()),
        };
    }
    check_column_families(path)
}

fn check_column_families(path: &Path) -> Result<()> {
    let foreign = |detail: String| Error::ForeignDirectory {
        path: path.to_owned(),
        detail,
    };
    let options = Options::default();
    let found = DBWithThreadMode::<SingleThreaded>::list_cf(&options, path)
        .map_err(|error| from_open(path, &error))?;
    let unknown: Vec<&str> = found
        .iter()
        .map(String::as_str)
        .filter(|name| Cf::from_name(name).is_none())
        .collect();
    if !unknown.is_empty() {
        return Err(foreign(format!(
            "unknown column families: {}",
            unknown.join(", ")
        )));
    }
    let missing: Vec<&str> = Cf::ALL
        .map(Cf::name)
        .into_iter()
        .filter(|name| !found.iter().any(|f| f == name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Column families are created one after another, and data comes only after all of them.
    if has_data(path, &found)? {
        return Err(foreign(format!(
            "a database with data and without the column families {}",
            missing.join(", ")
        )));
    }
    Ok(())
}

fn has_data(path: &Path, cfs: &[String]) -> Result<bool> {
    let options = Options::default();
    let db = DBWithThreadMode::<SingleThreaded>::open_cf_for_read_only(&options, path, cfs, false)
        .map_err(|error| from_open(path, &error))?;
    for name in cfs {
        if let Some(cf) = db.cf_handle(name)
            && let Some(entry) = db.iterator_cf(cf, IteratorMode::Start).next()
        {
            return entry.map(|_| true).map_err(|error| from_open(path, &error));
        }
    }
    Ok(false)
}

fn is_data_file(name: &str) -> bool {
    [".sst", ".log", ".blob"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

fn is_creation_file(name: &str) -> bool {
    matches!(name, "LOCK" | "LOG" | "IDENTITY" | "lost+found")
        || ["LOG.old.", "MANIFEST-", "OPTIONS-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        || name.ends_with(".dbtmp")
}

fn io(path: &Path, error: &std::io::Error) -> Error {
    Error::Io(format!("{}: {error}", path.display()))
}
