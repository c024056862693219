//! What may still be written when the disk fills up.
//!
//! A disk that is full stops an engine in the middle of whatever it does, and leaves no room for what would
//! empty it. So somebody above watches the space and tells the engine, which refuses writes before the
//! disk does:
//!
//! 1. While the disk is *almost full*, writes that bring new data or locks are refused; what only ends
//!    transactions or removes data is let through, and so is whoever asks for it by `disk_full_opt`.
//! 2. Once it is *full*, only those go through that ask for that.
//! 3. Reads go on.
//!
//! Must never: look at the disk itself.

use std::sync::atomic::{AtomicU8, Ordering};

use engine_traits::Cf;
use kvproto::kvrpcpb::DiskFullOpt;

use crate::{Modify, Result, region_error};

/// How much room there is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum DiskStatus {
    /// Enough.
    #[default]
    Normal,
    /// The reserve is touched.
    AlmostFull,
    /// Half of the reserve is used up.
    Full,
}

/// The status as writers see it.
#[derive(Default)]
pub(crate) struct DiskGate(AtomicU8);

impl DiskGate {
    pub(crate) fn set(&self, status: DiskStatus) {
        self.0.store(status as u8, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> DiskStatus {
        match self.0.load(Ordering::Relaxed) {
            0 => DiskStatus::Normal,
            1 => DiskStatus::AlmostFull,
            _ => DiskStatus::Full,
        }
    }

    /// Refuses a write to `store_id` that there is no room for.
    pub(crate) fn check(
        &self,
        store_id: u64,
        asked: DiskFullOpt,
        modifies: &[Modify],
    ) -> Result<()> {
        let reason = match self.status() {
            DiskStatus::Normal => return Ok(()),
            DiskStatus::AlmostFull => {
                if asked != DiskFullOpt::NotAllowedOnFull || !modifies.iter().any(brings_data) {
                    return Ok(());
                }
                "the disk is almost full"
            }
            DiskStatus::Full => {
                if asked == DiskFullOpt::AllowedOnAlreadyFull {
                    return Ok(());
                }
                "the disk is full"
            }
        };
        Err(region_error::disk_full(store_id, reason).into())
    }
}

/// New values and locks. Records of commits and rollbacks take a lock or a value away.
fn brings_data(modify: &Modify) -> bool {
    matches!(modify, Modify::Put(Cf::Default | Cf::Lock, ..))
}

#[cfg(test)]
mod tests {
    use txn_types::Key;

    use super::*;
    use crate::Error;

    #[test]
    fn who_may_write() {
        use DiskFullOpt::{AllowedOnAlmostFull, AllowedOnAlreadyFull, NotAllowedOnFull};
        use DiskStatus::{AlmostFull, Full, Normal};

        let key = || Key::from_raw(b"k");
        let put = |cf| vec![Modify::Put(cf, key(), Vec::new())];
        let commit = vec![
            Modify::Delete(Cf::Lock, key()),
            Modify::Put(Cf::Write, key(), Vec::new()),
        ];
        let prewrite = [put(Cf::Lock), commit.clone()].concat();
        let removal = vec![
            Modify::Delete(Cf::Default, key()),
            Modify::DeleteRange(Cf::Write, key(), key()),
        ];
        let gate = DiskGate::default();
        for (status, asked, brings, ends) in [
            (Normal, NotAllowedOnFull, true, true),
            (AlmostFull, NotAllowedOnFull, false, true),
            (AlmostFull, AllowedOnAlmostFull, true, true),
            (AlmostFull, AllowedOnAlreadyFull, true, true),
            (Full, NotAllowedOnFull, false, false),
            (Full, AllowedOnAlmostFull, false, false),
            (Full, AllowedOnAlreadyFull, true, true),
        ] {
            gate.set(status);
            assert_eq!(gate.status(), status);
            for (modifies, allowed) in [
                (&put(Cf::Default), brings),
                (&prewrite, brings),
                (&commit, ends),
                (&removal, ends),
            ] {
                let checked = gate.check(7, asked, modifies);
                assert_eq!(
                    checked.is_ok(),
                    allowed,
                    "{status:?} {asked:?} {modifies:?}"
                );
                if let Err(error) = checked {
                    let Error::Region(error) = error else {
                        panic!("{error}");
                    };
                    assert_eq!(error.get_disk_full().get_store_id(), [7]);
                    assert!(error.get_disk_full().get_reason().contains("full"));
                }
            }
        }
    }
}
