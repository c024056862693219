//! What is measured: servers as child processes with data of their own, and libraries in this one.

mod etcd;
mod keyspace;
mod local;
mod modes;
mod ready;
mod redis;
mod store;
mod tikv;

pub(crate) use etcd::{Etcd, put as etcd_put};
pub(crate) use keyspace::{KEYS, Keyspace, VALUE_BYTES, key};
pub(crate) use local::{PlainFile, RaftLog, Rocks};
pub(crate) use modes::{etcd_get, etcd_set_unchanged};
pub(crate) use redis::{Fsync, Redis};
pub(crate) use store::{Pending, Store, bytes_of_thread};
pub(crate) use tikv::Tikv;
