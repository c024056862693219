//! The sections of the placement driver: where others are, and how the embedded one runs.
//!
//! It only says what is set and whether it can be served; the limits themselves are those of `pd`.

use online_config::{ReadableDuration, ReadableSize};
use serde::{Deserialize, Serialize};

use super::Problem;
use super::sections::{Empty, address, dialled, duration_within};

/// `[pd]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct PdConfig {
    /// Addresses of placement drivers, `host:port`; one that answers is enough. Empty: this server
    /// runs a placement driver of its own.
    pub endpoints: Vec<String>,
    /// The placement driver that this server runs when there are no `endpoints`.
    pub embedded: EmbeddedPdConfig,
}

/// `[pd.embedded]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct EmbeddedPdConfig {
    /// Where it listens.
    pub addr: String,
    /// The address that clients are told. Empty: `addr`.
    pub advertise_addr: String,
    /// How long old versions stay readable: the safe point of garbage collection is moved along
    /// this far behind the present, as long as no client (TiDB, or an application) moves it
    /// itself. `0s` leaves it to clients. Longer when transactions or backups read further back;
    /// at least 10 s, at most 10 years. Locks of dead transactions are resolved first; a
    /// transaction that lives longer holds the safe point back until it ends.
    pub gc_life_time: ReadableDuration,
    /// How often the safe point is moved. At least 10 s, at most 10 years.
    pub gc_run_interval: ReadableDuration,
    /// Takes garbage collection back, at the start, from a client that moved the safe point before.
    /// Such a client keeps it otherwise, even if it never comes again. Set it for one start, when
    /// that client is gone for good.
    pub gc_reclaim: bool,
    /// What its etcd may hold.
    pub etcd: EmbeddedEtcdConfig,
}

impl Default for EmbeddedPdConfig {
    fn default() -> Self {
        EmbeddedPdConfig {
            addr: "127.0.0.1:2379".to_owned(),
            advertise_addr: String::new(),
            gc_life_time: ReadableDuration::minutes(10),
            gc_run_interval: ReadableDuration::minutes(10),
            gc_reclaim: false,
            etcd: EmbeddedEtcdConfig::default(),
        }
    }
}

/// `[pd.embedded.etcd]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct EmbeddedEtcdConfig {
    /// Bytes of keys and values that exist; all of them are in memory. Beyond it a put is refused
    /// with `etcdserver: mvcc: database space exceeded`. More for a program that keeps its data
    /// here, 1 MiB to 8 GiB.
    pub quota_backend_bytes: ReadableSize,
    /// Bytes of values that were overwritten or deleted; beyond it the oldest are compacted, and a
    /// watch from before them is told so. More for watchers that stay away long, 1 MiB to 8 GiB.
    pub history_bytes: ReadableSize,
    /// Revisions that are kept; beyond it the oldest are compacted. 1,000 to 10,000,000.
    pub history_revisions: usize,
    /// Leases that may exist; beyond it grants are refused. Each session or election of a client
    /// holds one. 16 to 10,000,000.
    pub max_leases: usize,
    /// Operations in a transaction, in its compares and in either branch. 8 to 10,000.
    pub max_txn_ops: usize,
    /// Bytes of one answer; a range beyond it is refused and has to be read in parts. 1 MiB to
    /// 1 GiB, and not more than clients accept.
    pub max_response_bytes: ReadableSize,
}

impl Default for EmbeddedEtcdConfig {
    fn default() -> Self {
        let limits = pd::etcd::EtcdLimits::default();
        EmbeddedEtcdConfig {
            quota_backend_bytes: ReadableSize(limits.live_bytes_max as u64),
            history_bytes: ReadableSize(limits.history_bytes_max as u64),
            history_revisions: limits.history_revisions_max,
            max_leases: limits.leases_max,
            max_txn_ops: limits.txn_operations_max,
            max_response_bytes: ReadableSize(limits.response_bytes_max as u64),
        }
    }
}

impl EmbeddedEtcdConfig {
    /// The same for the placement driver.
    pub fn limits(&self) -> pd::etcd::EtcdLimits {
        let bytes = |size: ReadableSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        pd::etcd::EtcdLimits {
            live_bytes_max: bytes(self.quota_backend_bytes),
            history_bytes_max: bytes(self.history_bytes),
            history_revisions_max: self.history_revisions,
            leases_max: self.max_leases,
            txn_operations_max: self.max_txn_ops,
            response_bytes_max: bytes(self.max_response_bytes),
        }
    }

    fn validate(&self, problems: &mut Vec<Problem>) {
        for (field, value, least, most) in self.limits().problems() {
            let (key, is_size) = match field {
                "live_bytes_max" => ("quota-backend-bytes", true),
                "history_bytes_max" => ("history-bytes", true),
                "history_revisions_max" => ("history-revisions", false),
                "leases_max" => ("max-leases", false),
                "txn_operations_max" => ("max-txn-ops", false),
                _ => ("max-response-bytes", true),
            };
            let shown = |number: usize| {
                if is_size {
                    ReadableSize(number as u64).to_string()
                } else {
                    number.to_string()
                }
            };
            let allowed = format!("must be from {} to {}", shown(least), shown(most));
            let key = format!("pd.embedded.etcd.{key}");
            problems.push(Problem::new(&key, &shown(value), allowed));
        }
    }
}

impl PdConfig {
    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        for endpoint in &self.endpoints {
            let plain = endpoint.strip_prefix("http://").unwrap_or(endpoint);
            address(problems, "pd.endpoints", plain, Empty::Refused);
        }
        if !self.endpoints.is_empty() {
            return;
        }
        let embedded = &self.embedded;
        address(problems, "pd.embedded.addr", &embedded.addr, Empty::Refused);
        dialled(
            problems,
            "pd.embedded.advertise-addr",
            &embedded.advertise_addr,
            &embedded.addr,
        );
        let (low, high) = (pd::GC_TIME_MIN, pd::GC_TIME_MAX);
        let key = "pd.embedded.gc-life-time";
        if !embedded.gc_life_time.0.is_zero() {
            duration_within(problems, key, &embedded.gc_life_time, low, high);
        }
        let key = "pd.embedded.gc-run-interval";
        duration_within(problems, key, &embedded.gc_run_interval, low, high);
        embedded.etcd.validate(problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_etcd_has_its_bounds() {
        let none = EmbeddedEtcdConfig {
            quota_backend_bytes: ReadableSize(0),
            history_bytes: ReadableSize::gb(9),
            history_revisions: 0,
            max_leases: 0,
            max_txn_ops: usize::MAX,
            max_response_bytes: ReadableSize(1),
        };
        let mut problems = Vec::new();
        none.validate(&mut problems);
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "pd.embedded.etcd.quota-backend-bytes = 0KiB: must be from 1MiB to 8GiB",
                "pd.embedded.etcd.history-bytes = 9GiB: must be from 1MiB to 8GiB",
                "pd.embedded.etcd.history-revisions = 0: must be from 1000 to 10000000",
                "pd.embedded.etcd.max-leases = 0: must be from 16 to 10000000",
                "pd.embedded.etcd.max-txn-ops = 18446744073709551615: must be from 8 to 10000",
                "pd.embedded.etcd.max-response-bytes = 1B: must be from 1MiB to 1GiB",
            ]
        );
        let mut problems = Vec::new();
        EmbeddedEtcdConfig::default().validate(&mut problems);
        assert_eq!(problems, []);
    }
}
