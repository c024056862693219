//! The scenarios: each puts a figure beside its goal.
//!
//! The goals are those of the project's plan, "Speed and size"; all are ratios within one run of one
//! machine, or sizes. A scenario that needs a program that is not installed says so in its line.

mod garbage;
mod latency;
mod line;
mod loads;
mod lock_memory;
mod mode_loads;
mod modes;
mod reads;
mod service;
mod writes;

use anyhow::Context;

use crate::lab::Lab;
pub use line::{Line, Run, Target, Verdict};

/// Something that can be asked for by name.
pub struct Scenario {
    /// Its name on the command line and in the report.
    pub name: &'static str,
    /// What it finds out.
    pub about: &'static str,
    run: fn(&mut Lab) -> anyhow::Result<Vec<Line>>,
}

/// All scenarios in the order in which they run: what starts on an empty machine, then reads, then
/// what changes the data.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "idle-server",
        about: "memory of an idle standalone server, and the time until it is ready",
        run: service::idle_server,
    },
    Scenario {
        name: "idle-connections",
        about: "memory that idle connections cost",
        run: service::idle_connections,
    },
    Scenario {
        name: "kv-get",
        about: "KvGet of cached values against an empty RPC",
        run: reads::kv_get,
    },
    Scenario {
        name: "raw-get",
        about: "RawGet of cached values against an empty RPC",
        run: reads::raw_get,
    },
    Scenario {
        name: "batch-kv-get",
        about: "KvGet through BatchCommands against unary KvGet",
        run: reads::batch_kv_get,
    },
    Scenario {
        name: "batch-raw-get",
        about: "RawGet through BatchCommands against unary RawGet",
        run: reads::batch_raw_get,
    },
    Scenario {
        name: "batch-redis",
        about: "RawGet through BatchCommands against Redis GET",
        run: reads::batch_redis,
    },
    Scenario {
        name: "kv-scan",
        about: "KvScan of 1,000 rows against a bare RocksDB iterator",
        run: reads::kv_scan,
    },
    Scenario {
        name: "tso",
        about: "timestamps of the placement driver, in batches",
        run: service::tso,
    },
    Scenario {
        name: "overload",
        about: "useful answers when twice as much is asked for as can be done",
        run: service::overload,
    },
    Scenario {
        name: "latency",
        about: "latencies at half of the capacity, in an open loop",
        run: latency::latency,
    },
    Scenario {
        name: "raw-put-group",
        about: "synced RawPuts per fsync",
        run: writes::raw_put_group,
    },
    Scenario {
        name: "raw-put-etcd",
        about: "synced RawPut against etcd",
        run: writes::raw_put_etcd,
    },
    Scenario {
        name: "raw-put-single",
        about: "one RawPut at a time against fdatasync",
        run: writes::raw_put_single,
    },
    Scenario {
        name: "txn",
        about: "optimistic transaction on one key against RawPut",
        run: writes::txn,
    },
    Scenario {
        name: "one-phase",
        about: "transaction on one key in one phase against RawPut",
        run: modes::one_phase,
    },
    Scenario {
        name: "async-commit",
        about: "latency of async commit against two phases",
        run: modes::async_commit,
    },
    Scenario {
        name: "pessimistic-lock",
        about: "latency of a pessimistic lock against a point get",
        run: modes::pessimistic_lock,
    },
    Scenario {
        name: "one-hot-key",
        about: "clients that increment one key, against etcd",
        run: modes::one_hot_key,
    },
    Scenario {
        name: "rolled-back",
        about: "a point get among transactions that were rolled back",
        run: modes::rolled_back,
    },
    Scenario {
        name: "garbage",
        about: "space and latencies when old versions are collected",
        run: garbage::garbage,
    },
    Scenario {
        name: "lock-memory",
        about: "memory of locks, and of those who wait for one",
        run: lock_memory::lock_memory,
    },
    Scenario {
        name: "floors",
        about: "what RocksDB, raft-engine and Redis do by themselves, without a goal",
        run: writes::floors,
    },
];

/// Runs the scenario called `name`.
pub fn run_scenario(lab: &mut Lab, name: &str) -> anyhow::Result<Vec<Line>> {
    let scenario = SCENARIOS
        .iter()
        .find(|scenario| scenario.name == name)
        .with_context(|| format!("there is no scenario {name}"))?;
    lab.progress
        .say(&format!("{}: {}", scenario.name, scenario.about));
    (scenario.run)(lab)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct() {
        let names: HashSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
    }
}
