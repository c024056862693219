//! What a process and a directory take from the machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, interval};

/// Memory that nobody needs is given back within seconds; on a busy machine they are longer.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(30);

/// Memory of a process that is resident now.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmRSS")
}

/// The most memory of a process that was ever resident.
pub fn peak_resident_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmHWM")
}

/// Waits until so much of a process is resident, or less. An answer comes before the end of its call, that of a
/// connection later still, and the allocator waits before it gives anything back.
pub(crate) async fn until_resident_below(pid: u32, bytes_max: u64) -> anyhow::Result<()> {
    let patience = Instant::now() + GIVEN_BACK_WITHIN;
    let mut ticks = interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        let bytes = resident_bytes(pid)?;
        if bytes <= bytes_max {
            return Ok(());
        }
        ensure!(
            Instant::now() < patience,
            "{} MiB are still resident, allowed are {} MiB",
            bytes >> 20,
            bytes_max >> 20
        );
    }
}

fn status_bytes(pid: u32, name: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .with_context(|| format!("no {name} in {path}"))?;
    let kib: u64 = line
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .with_context(|| format!("parse {name}"))?;
    Ok(kib * 1024)
}

/// Bytes that the blocks of everything below `path` occupy on disk: files that were extended ahead
/// count in full, holes do not.
pub fn allocated_bytes(path: &Path) -> anyhow::Result<u64> {
    /// The unit of `st_blocks`, whatever the file system's block size is.
    const BLOCK: u64 = 512;
    let metadata = match fs::symlink_metadata(path) {
        // A running server deletes files while we walk.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        other => other.with_context(|| format!("stat {}", path.display()))?,
    };
    let mut bytes = metadata.blocks() * BLOCK;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            bytes += allocated_bytes(&entry?.path())?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_resident() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100 * 1024);
        assert!(resident_bytes(u32::MAX).is_err());
        let pid = std::process::id();
        assert!(peak_resident_bytes(pid).unwrap() >= resident_bytes(pid).unwrap() / 2);
    }

    #[test]
    fn directories_are_counted_with_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let empty = allocated_bytes(dir.path()).unwrap();
        fs::create_dir(dir.path().join("inner")).unwrap();
        fs::write(dir.path().join("inner/file"), vec![1; 100_000]).unwrap();
        assert!(allocated_bytes(dir.path()).unwrap() >= empty + 100_000);
        assert_eq!(allocated_bytes(&dir.path().join("missing")).unwrap(), 0);
    }
}
