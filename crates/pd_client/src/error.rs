//! What can go wrong between a store and the placement driver, by what the store can do about it.

use kvproto::pdpb::ErrorType;

/// The result of a call to the placement driver.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The settings cannot work, whatever the network does.
    #[error("pd client settings: {0}")]
    Config(String),
    /// No endpoint led to a leader within the time allowed. Worth retrying later.
    #[error("no placement driver leader reachable through {endpoints:?}: {detail}")]
    Unreachable {
        /// Where it was looked for.
        endpoints: Vec<String>,
        /// What the last endpoint that was tried said.
        detail: String,
    },
    /// An endpoint belongs to another cluster. Never retried: it is a mistake in the settings.
    #[error("{endpoint} belongs to cluster {got}, but this client to cluster {expected}")]
    ClusterIdMismatch {
        /// The endpoint that disagrees.
        endpoint: String,
        /// The cluster of this client.
        expected: u64,
        /// The cluster of the endpoint.
        got: u64,
    },
    /// The transport failed, or the server refused the call with a status. Retries are used up.
    #[error("{method}: {detail}")]
    Rpc {
        /// The call.
        method: &'static str,
        /// The transport's words.
        detail: String,
    },
    /// No answer in time. The call may or may not have taken effect.
    #[error("{method}: no answer in time")]
    Timeout {
        /// The call.
        method: &'static str,
    },
    /// The cluster has no first region yet.
    #[error("the cluster is not bootstrapped")]
    NotBootstrapped,
    /// Somebody else created the first region. A client whose own attempt was retried after a
    /// lost answer sees this too: compare the region of the empty key with what was prepared.
    #[error("the cluster is already bootstrapped")]
    AlreadyBootstrapped,
    /// This store was removed from the cluster for good.
    #[error("store is tombstone: {0}")]
    StoreTombstone(String),
    /// The versions of store and cluster do not go together.
    #[error("incompatible version: {0}")]
    IncompatibleVersion(String),
    /// The region is not known.
    #[error("region not found: {0}")]
    RegionNotFound(String),
    /// A keyspace of that name or id does not exist.
    #[error("entry not found: {0}")]
    EntryNotFound(String),
    /// The placement driver refused for any other reason.
    #[error("{method}: refused ({kind:?}): {message}")]
    Refused {
        /// The call.
        method: &'static str,
        /// Its class.
        kind: ErrorType,
        /// Its words.
        message: String,
    },
    /// The answer breaks the protocol.
    #[error("{method}: bad response: {detail}")]
    BadResponse {
        /// The call.
        method: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A timestamp was not above an earlier one. Whoever sees this must not go on.
    #[error("timestamp went back: {last} was followed by {got}")]
    TsoRegressed {
        /// The highest timestamp before.
        last: u64,
        /// The one that came.
        got: u64,
    },
    /// The client was closed.
    #[error("the pd client is closed")]
    Closed,
}

impl Error {
    /// The error that a response header carries.
    pub(crate) fn from_header(method: &'static str, error: &kvproto::pdpb::Error) -> Error {
        let message = error.get_message().to_owned();
        match error.get_field_type() {
            ErrorType::NOT_BOOTSTRAPPED => Error::NotBootstrapped,
            ErrorType::ALREADY_BOOTSTRAPPED => Error::AlreadyBootstrapped,
            ErrorType::STORE_TOMBSTONE => Error::StoreTombstone(message),
            ErrorType::INCOMPATIBLE_VERSION => Error::IncompatibleVersion(message),
            ErrorType::REGION_NOT_FOUND => Error::RegionNotFound(message),
            ErrorType::ENTRY_NOT_FOUND => Error::EntryNotFound(message),
            kind => Error::Refused {
                method,
                kind,
                message,
            },
        }
    }
}
