//! The changes of the revisioned store and their form on disk.
//!
//! One write is one record under `etcd/log/` + revision + place in the transaction, both
//! big-endian, so that reading in key order replays history. All records of a transaction are in
//! one batch.

use kvproto::mvccpb::{Event, Event_EventType, KeyValue};
use protobuf::Message as _;
use runtime::Instant;

use crate::meta_store::{MetaBatch, damaged, number_value, parse_number};
use crate::{Error, Result};

/// Everything of the revisioned store is below this.
const TOPIC: &[u8] = b"etcd/";
const COMPACTED: &[u8] = b"etcd/compacted";
const LEASE: &[u8] = b"etcd/lease/";
const LOG: &[u8] = b"etcd/log/";

/// Where a write stands in history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The transaction.
    pub revision: i64,
    /// The place in it.
    pub sub: u32,
}

/// What happens to one key.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyWrite {
    /// It gets this value; all fields are set.
    Put(KeyValue),
    /// It is gone.
    Delete(Vec<u8>),
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum EtcdChange {
    /// One key changes. Durable.
    Write(Position, KeyWrite),
    /// History before `revision` is gone. Durable.
    Compact {
        /// The earliest revision that can be read from now on.
        revision: i64,
        /// The revision of the store; it must not be lost when all its records are.
        current: i64,
        /// The records that nobody can read any more.
        dropped: Vec<Position>,
    },
    /// A lease exists. Durable, though not when it ends.
    LeaseGrant {
        /// Its id.
        id: i64,
        /// Seconds it lives without a sign of life.
        ttl: i64,
        /// When it ends.
        expires_at: Instant,
    },
    /// A lease is gone. Durable.
    LeaseRevoke(i64),
    /// A lease has a sign of life. In memory.
    LeaseRenew {
        /// Its id.
        id: i64,
        /// When it ends now.
        expires_at: Instant,
    },
}

impl EtcdChange {
    /// Adds what has to be on disk, if anything.
    pub fn encode(&self, batch: &mut MetaBatch) -> Result<()> {
        match self {
            EtcdChange::Write(position, write) => {
                let value = event_of(write)
                    .write_to_bytes()
                    .map_err(|error| Error::Refused(format!("cannot be stored: {error}")))?;
                batch.put(record_key(*position), value);
            }
            EtcdChange::Compact {
                revision,
                current,
                dropped,
            } => {
                let pair = [revision, current].map(|number| number_value(number.cast_unsigned()));
                batch.put(COMPACTED.to_vec(), pair.concat());
                for position in dropped {
                    batch.delete(record_key(*position));
                }
            }
            EtcdChange::LeaseGrant { id, ttl, .. } => {
                batch.put(lease_key(*id), number_value(ttl.cast_unsigned()));
            }
            EtcdChange::LeaseRevoke(id) => batch.delete(lease_key(*id)),
            EtcdChange::LeaseRenew { .. } => {}
        }
        Ok(())
    }

    /// The change that put this entry on disk; none for entries of other topics. Leases end never
    /// until [`EtcdState::begin`](super::EtcdState::begin) tells them the time.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Option<EtcdChange>> {
        if !key.starts_with(TOPIC) {
            return Ok(None);
        }
        let bad = |detail: &str| damaged(key, detail.to_owned());
        let number = |bytes: &[u8]| match parse_number(key, bytes)?.cast_signed() {
            number if number < 0 => Err(bad("a number is negative")),
            number => Ok(number),
        };
        let change = if key == COMPACTED {
            let (revision, current) = value.split_at_checked(8).ok_or_else(|| bad("too short"))?;
            EtcdChange::Compact {
                revision: number(revision)?,
                current: number(current)?,
                dropped: Vec::new(),
            }
        } else if let Some(id) = key.strip_prefix(LEASE) {
            EtcdChange::LeaseGrant {
                id: parse_number(key, id)?.cast_signed(),
                ttl: number(value)?,
                expires_at: Instant::MAX,
            }
        } else if let Some(position) = key.strip_prefix(LOG) {
            let (revision, sub) = position.split_at_checked(8).ok_or_else(|| bad("bad key"))?;
            let sub = sub.try_into().map_err(|_| bad("bad key"))?;
            let position = Position {
                revision: number(revision)?,
                sub: u32::from_be_bytes(sub),
            };
            let mut event =
                Event::parse_from_bytes(value).map_err(|error| bad(&error.to_string()))?;
            let mut kv = event.take_kv();
            EtcdChange::Write(
                position,
                match event.get_field_type() {
                    Event_EventType::PUT => KeyWrite::Put(kv),
                    Event_EventType::DELETE => KeyWrite::Delete(kv.take_key()),
                },
            )
        } else {
            return Err(bad("unknown"));
        };
        Ok(Some(change))
    }
}

fn event_of(write: &KeyWrite) -> Event {
    let mut event = Event::default();
    match write {
        KeyWrite::Put(kv) => {
            event.set_field_type(Event_EventType::PUT);
            event.set_kv(kv.clone());
        }
        KeyWrite::Delete(key) => {
            event.set_field_type(Event_EventType::DELETE);
            event.mut_kv().set_key(key.clone());
        }
    }
    event
}

fn record_key(position: Position) -> Vec<u8> {
    let revision = position.revision.to_be_bytes();
    [LOG, &revision, &position.sub.to_be_bytes()].concat()
}

fn lease_key(id: i64) -> Vec<u8> {
    [LEASE, &id.to_be_bytes()].concat()
}
