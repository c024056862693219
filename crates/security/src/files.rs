//! The bytes of the three files, read together. Knows no PEM; never logs a byte.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{Config, Error, Result};

pub(crate) const CA: &str = "ca-path";
pub(crate) const CERT: &str = "cert-path";
pub(crate) const KEY: &str = "key-path";

/// A system's whole bundle of authorities has a quarter of this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the files held.
#[derive(PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) ca: Vec<u8>,
    pub(crate) cert: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Files {
    /// Reads all three.
    pub(crate) fn read(config: &Config) -> Result<Files> {
        Ok(Files {
            ca: read(CA, &config.ca_path)?,
            cert: read(CERT, &config.cert_path)?,
            key: read(KEY, &config.key_path)?,
        })
    }
}

/// Whether users other than owner and group may read the key.
pub(crate) fn is_open_to_others(path: &str) -> bool {
    const READ_BY_OTHERS: u32 = 0o004;
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & READ_BY_OTHERS != 0)
}

fn read(key: &'static str, path: &str) -> Result<Vec<u8>> {
    let failed = |reason: String| Error::Read {
        key,
        path: PathBuf::from(path),
        reason,
    };
    let io = |error: std::io::Error| failed(error.to_string());
    // Opening a pipe would wait for its other end.
    if !fs::metadata(Path::new(path)).map_err(io)?.is_file() {
        return Err(failed("not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(format!("more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
