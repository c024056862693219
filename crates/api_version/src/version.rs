//! Names of the formats.

use kvproto::kvrpcpb::APIVersion;

/// A format of keys and values. The names appear in errors that clients see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApiVersion {
    /// Keys and raw values as they are.
    #[default]
    V1,
    /// Raw values end with the second at which they expire.
    V1ttl,
    /// Keys name their kind and keyspace; raw data has versions.
    V2,
    /// Known to the wire only; no store speaks it.
    V3,
}

impl From<APIVersion> for ApiVersion {
    fn from(version: APIVersion) -> Self {
        match version {
            APIVersion::V1 => Self::V1,
            APIVersion::V1TTL => Self::V1ttl,
            APIVersion::V2 => Self::V2,
            APIVersion::V3 => Self::V3,
        }
    }
}

impl From<ApiVersion> for APIVersion {
    fn from(version: ApiVersion) -> Self {
        match version {
            ApiVersion::V1 => Self::V1,
            ApiVersion::V1ttl => Self::V1TTL,
            ApiVersion::V2 => Self::V2,
            ApiVersion::V3 => Self::V3,
        }
    }
}
