//! Settings of a local engine.

/// Bounds of a [`LocalEngine`](crate::LocalEngine).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Bytes of writes that may wait or be under way at once; beyond, writers are told that the
    /// server is busy. Raise it for many concurrent large writes. Default 100 MiB.
    pub max_pending_bytes: usize,
    /// Bytes of writes that share one sync. More makes bursts cheaper and the single write of a
    /// burst slower. Default 4 MiB.
    pub max_group_bytes: usize,
    /// Bytes of one write; a larger one is refused as a Raft log would refuse it. Default 8 MiB.
    pub max_write_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_pending_bytes: 100 << 20,
            max_group_bytes: 4 << 20,
            max_write_bytes: 8 << 20,
        }
    }
}

impl Config {
    /// Everything that is wrong, one sentence each; empty when all is well.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("max-pending-bytes", self.max_pending_bytes),
            ("max-group-bytes", self.max_group_bytes),
            ("max-write-bytes", self.max_write_bytes),
        ] {
            if value == 0 {
                problems.push(format!("{name} is 0, it must be at least 1"));
            }
        }
        if self.max_pending_bytes < self.max_write_bytes {
            problems.push(format!(
                "max-pending-bytes is {}, it must be at least max-write-bytes, {}",
                self.max_pending_bytes, self.max_write_bytes
            ));
        }
        problems
    }
}
