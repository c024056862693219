#![doc = include_str!("../README.md")]

pub mod binaries;
pub mod history;
mod http;
mod pd_server;
mod ports;
mod process;
mod resources;
mod tikv_server;

pub use http::{Response, get};
pub use pd_server::PdServer;
pub use ports::free_address;
pub use process::Process;
pub use resources::{allocated_bytes, resident_bytes};
pub use tikv_server::{ServerBuilder, TikvServer};
