//! What a watch sees: the log from a revision on, as events of the keys it is interested in.

use kvproto::mvccpb::{Event, Event_EventType};

use super::error::{EtcdError, EtcdResult};
use super::key_range::KeyRange;
use super::store::{EtcdState, Found, Version, write_bytes};

/// What a watcher wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Of these keys.
    pub keys: KeyRange,
    /// When they are set.
    pub puts: bool,
    /// When they are deleted.
    pub deletes: bool,
    /// With what they were before.
    pub previous: bool,
}

/// Events of whole revisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventBatch {
    /// By revision, then in the order of the transaction.
    pub events: Vec<Event>,
    /// Where to read on.
    pub next_revision: i64,
}

impl EtcdState {
    /// Reads on from `from`, up to the present or until about `bytes_max` have come together. A
    /// revision is never torn apart.
    pub fn events(
        &self,
        interest: &Interest,
        from: i64,
        bytes_max: usize,
    ) -> EtcdResult<EventBatch> {
        if from < self.compacted {
            return Err(EtcdError::Compacted {
                compact_revision: self.compacted,
            });
        }
        let mut batch = EventBatch {
            events: Vec::new(),
            next_revision: from.max(self.revision + 1),
        };
        let mut bytes = 0;
        // At least one revision, or the reader would never get on.
        let bytes_max = bytes_max.max(1);
        let first = self.log.partition_point(|entry| entry.revision < from);
        for entry in self.log.range(first..) {
            if bytes >= bytes_max {
                batch.next_revision = entry.revision;
                break;
            }
            for key in entry.keys.iter().filter(|key| interest.keys.contains(key)) {
                if let Some(event) = self.event_at(interest, key, entry.revision) {
                    bytes += event_bytes(&event);
                    batch.events.push(event);
                }
            }
        }
        Ok(batch)
    }

    fn event_at(&self, interest: &Interest, key: &[u8], revision: i64) -> Option<Event> {
        let versions = self.keys.get(key)?;
        let at = versions.partition_point(|version| version.position.revision < revision);
        let version = versions.get(at)?;
        let previous = at.checked_sub(1).and_then(|before| versions.get(before));
        let mut event = Event::default();
        match Found::of_version(key, version) {
            Some(_) if !interest.puts => return None,
            Some(found) => {
                event.set_field_type(Event_EventType::PUT);
                event.set_kv(found.to_message());
            }
            None if !interest.deletes => return None,
            None => {
                event.set_field_type(Event_EventType::DELETE);
                event.mut_kv().set_key(key.to_vec());
                event.mut_kv().set_mod_revision(revision);
            }
        }
        if interest.previous
            && let Some(previous) = previous.and_then(|version: &Version| {
                // A version before the compaction may be there or not: the answer must not depend
                // on it.
                let readable = revision > self.compacted;
                Found::of_version(key, version).filter(|_| readable)
            })
        {
            event.set_prev_kv(previous.to_message());
        }
        Some(event)
    }
}

/// What an event weighs, roughly.
pub(crate) fn event_bytes(event: &Event) -> usize {
    let weigh =
        |kv: &kvproto::mvccpb::KeyValue| write_bytes(kv.get_key().len(), kv.get_value().len());
    weigh(event.get_kv()) + weigh(event.get_prev_kv())
}
