//! The public face of the crate: what it exports. See the README above for what holds.
#![doc = include_str!("../README.md")]

mod config;
mod error;
mod files;
mod grpc;
mod handle;
mod http;
mod material;
mod names;

pub use config::{Config, ConfigProblem};
pub use error::{Error, Result};
pub use handle::Security;
pub use http::{Accepted, ClientCertificate, HttpAcceptor, HttpVersions, Peer};
pub use names::{AllowList, PeerNames};
