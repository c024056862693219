//! A storage over an engine in memory, driven one step at a time, and the scripts' view of it.

mod flashback;
mod parse;
mod pessimistic;
mod pipelined;
mod requests;
mod show;
mod world;

pub(crate) use parse::Call;
pub(crate) use world::{World, local_region, tracker};
