//! Why a node does not start, or stops.

use std::path::PathBuf;

use api_version::ApiVersion;

use crate::config::Problem;

/// The result of starting or running a node.
pub type Result<T> = std::result::Result<T, Error>;

/// A node that could not be started or went down.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Values in the configuration that cannot be used; all of them.
    #[error("invalid configuration:{}", lines(.0))]
    Config(Vec<Problem>),
    /// The configuration file cannot be read.
    #[error("cannot read configuration file {}: {error}", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The configuration file cannot be written.
    #[error("cannot write configuration file {}: {error}", path.display())]
    WriteConfig {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The certificates cannot be used.
    #[error("security: {0}")]
    Security(#[from] security::Error),
    /// The data directory cannot be used.
    #[error("data directory {}: {reason}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("{what}: cannot listen on {addr}: {error}")]
    Bind {
        /// The key of the configuration.
        what: &'static str,
        /// The address.
        addr: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A thread, an event loop or a pool cannot be started.
    #[error("cannot start threads: {0}")]
    Thread(std::io::Error),
    /// gRPC refused to start.
    #[error("gRPC: {0}")]
    Grpc(String),
    /// The engine refused or failed.
    #[error("engine: {0}")]
    Engine(#[from] engine_traits::Error),
    /// The region cannot be read.
    #[error("region: {0}")]
    Kv(#[from] kv::Error),
    /// The placement driver refused or cannot be reached.
    #[error("placement driver: {0}")]
    Pd(#[from] pd_client::Error),
    /// The embedded placement driver did not start.
    #[error("embedded placement driver: {0}")]
    EmbeddedPd(String),
    /// The data belongs to another cluster.
    #[error(
        "the data directory belongs to cluster {stored}, but the placement driver to cluster {pd}; \
         use the placement driver of cluster {stored}, or another data directory"
    )]
    ClusterIdMismatch {
        /// The cluster id on disk.
        stored: u64,
        /// The cluster id of the placement driver.
        pd: u64,
    },
    /// The data is in another format than the configuration says.
    #[error(
        "the data directory is in format {stored:?}, and the configuration (storage.api-version, \
         storage.enable-ttl) asks for {configured:?}; the format cannot be changed, because column \
         family {cf} holds data that the two keep differently; use another data directory, or the \
         configuration of format {stored:?}"
    )]
    FormatMismatch {
        /// The format on disk.
        stored: ApiVersion,
        /// The format of the configuration.
        configured: ApiVersion,
        /// The first column family with such data.
        cf: &'static str,
    },
    /// The engine holds data without an identity.
    #[error("the engine has no store identity, but column family {cf} is not empty")]
    NotEmpty {
        /// The first column family that is not empty.
        cf: &'static str,
    },
    /// The store holds no region of the cluster.
    #[error(
        "store {store_id} holds no region of cluster {cluster_id}, which another store has \
         bootstrapped; without replication a second store cannot join a cluster"
    )]
    NoRegion {
        /// This store.
        store_id: u64,
        /// The cluster.
        cluster_id: u64,
    },
    /// A record of the store's own cannot be understood.
    #[error("local state under key {}: {detail}", hex(key))]
    LocalState {
        /// The key.
        key: Vec<u8>,
        /// What is wrong.
        detail: String,
    },
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
