//! Watches the room on the disk, and stops writes before the disk does.
//!
//! A part of the disk is kept in reserve: for what flushes, compactions and the placement driver still
//! write, and for what empties the disk. When less than the reserve is left, new data is refused; at half of it
//! nearly everything is. Writes are taken again as soon as there is a little more than the reserve. Nothing is
//! reserved by a file: an idle node takes no space for it.
//!
//! [`Watermarks`] is the plain decision; the loop around it reads the disk each second, which is short against
//! the time that it takes to write half a reserve.

use std::path::PathBuf;
use std::time::Duration;

use engine_traits::KvEngine;
use kv::{DiskStatus, LocalEngine};
use runtime::{Runtime, Shutdown};

use crate::sys;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A small disk keeps one part in so many, whatever is configured.
const SMALLEST_SHARE: u64 = 10;
/// Writes are taken again when there is the reserve and one part of it in so many.
const SLACK: u64 = 8;

/// When writes stop and when they begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watermarks {
    reserve: u64,
}

impl Watermarks {
    fn new(reserve: u64, capacity: u64) -> Watermarks {
        Watermarks {
            reserve: reserve.min(capacity / SMALLEST_SHARE),
        }
    }

    /// The status after `before` when so much is available. It falls at once and rises with some slack, so that a
    /// disk at the mark does not change it with every file.
    fn next(self, before: DiskStatus, available: u64) -> DiskStatus {
        let Watermarks { reserve } = self;
        let at = |available: u64| {
            if available < reserve / 2 {
                DiskStatus::Full
            } else if available < reserve {
                DiskStatus::AlmostFull
            } else {
                DiskStatus::Normal
            }
        };
        let (worse, better) = (at(available), at(available.saturating_sub(reserve / SLACK)));
        if worse >= before {
            worse
        } else {
            better.min(before)
        }
    }
}

/// Everything that the watch needs.
pub(crate) struct DiskWatch<E: KvEngine> {
    /// Who is told.
    pub(crate) local: LocalEngine<E>,
    /// The directory whose file system holds the data.
    pub(crate) data_dir: PathBuf,
    /// Space that the store may use; 0 for all of the disk.
    pub(crate) capacity: u64,
    /// `storage.reserve-space`; 0 for none.
    pub(crate) reserve: u64,
    /// Timers and tasks.
    pub(crate) runtime: Runtime,
    /// Ends the watch.
    pub(crate) shutdown: Shutdown,
}

impl<E: KvEngine> DiskWatch<E> {
    /// Looks once, then goes on in the background.
    pub(crate) fn start(self) {
        if self.reserve == 0 {
            return;
        }
        self.look();
        let spawner = self.runtime.spawner.clone();
        drop(spawner.spawn(self.run()));
    }

    async fn run(self) {
        loop {
            let sleep = self.runtime.timer.sleep(INTERVAL);
            let stop = self.shutdown.wait();
            futures::pin_mut!(sleep, stop);
            let _ = futures::future::select(sleep, stop).await;
            if self.shutdown.is_triggered() {
                return;
            }
            self.look();
        }
    }

    fn look(&self) {
        let space = match sys::disk_space(&self.data_dir) {
            Ok(space) => space,
            Err(error) => {
                // What was known last stays in force.
                tracing::warn!(%error, "space of the data directory is unknown");
                return;
            }
        };
        let (capacity, available) = match self.capacity {
            0 => (space.capacity, space.available),
            set => {
                let capacity = set.min(space.capacity);
                let used = self.local.kv_engine().disk_usage().unwrap_or(0);
                let left = capacity.saturating_sub(used);
                (capacity, left.min(space.available))
            }
        };
        let marks = Watermarks::new(self.reserve, capacity);
        let before = self.local.disk_status();
        let status = marks.next(before, available);
        if status == before {
            return;
        }
        self.local.set_disk_status(status);
        let reserve = marks.reserve;
        match status {
            DiskStatus::Normal => {
                tracing::info!(
                    available,
                    reserve,
                    "the disk has room again, writes are taken"
                );
            }
            DiskStatus::AlmostFull => {
                tracing::warn!(
                    available,
                    reserve,
                    "the disk is almost full, new data is refused"
                );
            }
            DiskStatus::Full => {
                tracing::warn!(available, reserve, "the disk is full, writes are refused");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn it_falls_at_once_and_rises_with_slack() {
        let marks = Watermarks::new(80 * MIB, 1000 * MIB);
        let mut status = DiskStatus::Normal;
        for (available, expected) in [
            (100, DiskStatus::Normal),
            (80, DiskStatus::Normal),
            (79, DiskStatus::AlmostFull),
            (85, DiskStatus::AlmostFull),
            (90, DiskStatus::Normal),
            (39, DiskStatus::Full),
            (45, DiskStatus::Full),
            (50, DiskStatus::AlmostFull),
            (0, DiskStatus::Full),
            (1000, DiskStatus::Normal),
        ] {
            status = marks.next(status, available * MIB);
            assert_eq!(status, expected, "at {available} MiB");
        }
    }

    #[test]
    fn a_small_disk_keeps_a_tenth() {
        assert_eq!(Watermarks::new(2048 * MIB, 100 * MIB).reserve, 10 * MIB);
        assert_eq!(
            Watermarks::new(2048 * MIB, 100_000 * MIB).reserve,
            2048 * MIB
        );
        // None at all: nothing is ever full.
        let none = Watermarks::new(0, 100 * MIB);
        assert_eq!(none.next(DiskStatus::Normal, 0), DiskStatus::Normal);
    }
}
