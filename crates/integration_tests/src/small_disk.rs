//! A file system of a few megabytes, in memory, that a test can fill up.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::tikv_server::data_dir;

/// Mounted as the data directory of a server's home. Dropping it removes everything; it must live longer than
/// the server.
#[derive(Debug)]
pub struct SmallDisk {
    home: PathBuf,
}

impl SmallDisk {
    /// Makes a home whose data directory has `mib` megabytes. `None` where the user may not mount.
    pub fn mount(mib: u64) -> anyhow::Result<Option<(SmallDisk, TempDir)>> {
        let home = TempDir::with_prefix("tikv-test-").context("create a directory")?;
        let data = data_dir(home.path());
        fs::create_dir(&data).context("create the data directory")?;
        let output = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mib}m,mode=700"),
                "tmpfs",
            ])
            .arg(&data)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                let disk = SmallDisk {
                    home: home.path().to_owned(),
                };
                Ok(Some((disk, home)))
            }
            // Not even the program, or not the right to it.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn filler(&self) -> PathBuf {
        data_dir(&self.home).join("somebody-else's")
    }

    /// Somebody else takes what is left, to the last byte.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.filler()).context("create the filler")?;
        let block = vec![0xa5; 64 << 10];
        for size in [64 << 10, 4096] {
            while file.write_all(&block[..size]).is_ok() {}
        }
        let taken = file.metadata()?.len();
        ensure!(taken > 0, "there was nothing left to take");
        Ok(())
    }

    /// And gives it back.
    pub fn empty(&self) -> anyhow::Result<()> {
        fs::remove_file(self.filler()).context("remove the filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&data_dir(&self.home));
        // The home's owner could not remove what was mounted.
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn unmount(path: &Path) {
    // A process that is still being torn down may hold it for a moment: lazily, then.
    let _ = Command::new("umount").arg("-l").arg(path).output();
}
