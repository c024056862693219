//! Kinds of load: what is kept in flight, and how.
//!
//! A load knows nothing of ratios and goals; a scenario puts two of them side by side.

mod batched;
mod closed;
mod open;
mod redis;
mod rows;
mod stream;
mod threads;
mod tso;

pub(crate) use batched::{Batched, batched, check_kv_get, check_raw_get, check_raw_put};
pub(crate) use closed::{closed_loop, closed_loop_with_rest};
pub(crate) use open::{OpenLoop, OpenSample, open_loop};
pub(crate) use redis::{RedisCommand, encode, exchange, redis};
pub(crate) use rows::scan_rows;
pub(crate) use threads::threads;
pub(crate) use tso::timestamps;
