//! What the machine has: memory, processors, space on a disk.
//!
//! Read once at start-up, or for a report to the placement driver; never on the way of a request.

use std::path::Path;

/// Used when the machine does not say.
const FALLBACK_MEMORY: u64 = 4 << 30;

/// Memory that this process may use: the machine's, or less when its control group says so.
pub(crate) fn memory_total() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| meminfo(&text));
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let group = limits
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min();
    let total = machine.unwrap_or(FALLBACK_MEMORY);
    group.map_or(total, |group| group.min(total))
}

fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Processors that this process may use.
pub(crate) fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Space of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    /// All of it.
    pub(crate) capacity: u64,
    /// What an ordinary user may still write.
    pub(crate) available: u64,
}

/// The space of the file system that holds `path`.
pub(crate) fn disk_space(path: &Path) -> std::io::Result<DiskSpace> {
    let stats = rustix::fs::statvfs(path)?;
    let block = if stats.f_frsize == 0 {
        stats.f_bsize
    } else {
        stats.f_frsize
    };
    Ok(DiskSpace {
        capacity: stats.f_blocks.saturating_mul(block),
        available: stats.f_bavail.saturating_mul(block),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kib() {
        assert_eq!(
            meminfo("MemFree: 1 kB\nMemTotal:       2048 kB\n"),
            Some(2048 * 1024)
        );
        assert_eq!(meminfo("MemTotal: many kB\n"), None);
        assert_eq!(meminfo(""), None);
    }

    #[test]
    fn the_machine_has_something() {
        assert!(memory_total() > 0);
        assert!(cpu_count() > 0);
        let space = disk_space(Path::new("/")).unwrap();
        assert!(space.capacity >= space.available);
    }
}
