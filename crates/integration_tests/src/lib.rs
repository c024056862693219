//! Crate root: what starts the programs and speaks to them. It must never use a crate of the workspace
//! below the wire: what it knows of a server it knows from outside.
#![doc = include_str!("../README.md")]

pub mod binaries;
pub mod history;
mod http;
mod pd_server;
mod ports;
mod process;
mod resources;
mod small_disk;
mod tikv_server;
mod tls;

pub use http::{Response, exchange, get, request};
pub use pd_server::PdServer;
pub use ports::free_address;
pub use process::Process;
pub use resources::{allocated_bytes, peak_resident_bytes, resident_bytes};
pub use small_disk::SmallDisk;
pub use tikv_server::{ServerBuilder, TikvServer};
pub use tls::Trust;
