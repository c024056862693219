//! Crate root: the targets.
#![doc = include_str!("../README.md")]

mod allocated;
mod config;
mod etcd;
mod frames;
mod input;
mod keys;
mod raw_values;
mod records;

pub use config::config;
pub use etcd::etcd;
pub use frames::{frame_types, frames};
pub use keys::keys;
pub use raw_values::raw_values;
pub use records::{lock, write};

/// What libFuzzer and the replay of the corpus run.
pub struct Target {
    /// Its name, which is that of its program and of its corpus.
    pub name: &'static str,
    /// Panics when something that must always be true is not.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "config",
        run: config,
    },
    Target {
        name: "etcd",
        run: etcd,
    },
    Target {
        name: "frames",
        run: frames,
    },
    Target {
        name: "keys",
        run: keys,
    },
    Target {
        name: "lock",
        run: lock,
    },
    Target {
        name: "raw_values",
        run: raw_values,
    },
    Target {
        name: "write",
        run: write,
    },
];
