//! Keyspaces by name and id: how they come to be and change. No IO.
//!
//! `DEFAULT` comes with the first region and stays. A keyspace is never removed, its last state is
//! a tombstone, so ids and names are never given twice.

use std::collections::{BTreeMap, HashMap};

use kvproto::keyspacepb::{KeyspaceMeta, KeyspaceState};

use crate::change::Change;
use crate::{Error, Result};

/// The keyspace that always exists.
pub const DEFAULT_NAME: &str = "DEFAULT";
/// Its id.
pub const DEFAULT_ID: u32 = 0;
/// The highest id of a new keyspace. Ids have 24 bits, and the last two are others'.
pub const ID_MAX: u32 = (1 << 24) - 3;
/// Entries of one answer when the request sets no limit.
const PAGE_MAX: usize = 1000;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;
/// Entries of a keyspace's configuration.
const CONFIG_ENTRIES_MAX: usize = 256;
/// Bytes of a keyspace's configuration, keys and values.
const CONFIG_BYTES_MAX: usize = 64 << 10;
/// The entry that says who collects its garbage.
const GC_MANAGEMENT: &str = "gc_management_type";
/// The value of [`GC_MANAGEMENT`] for a keyspace with safe points of its own.
const GC_OWN: &str = "keyspace_level";

/// A change of a configuration: the key, and its new value or none to remove it.
pub type ConfigChange = (String, Option<String>);

/// The keyspace `DEFAULT`, created now.
pub fn default_keyspace(unix_seconds: i64) -> KeyspaceMeta {
    new_keyspace(DEFAULT_ID, DEFAULT_NAME, unix_seconds)
}

/// Whether a keyspace has safe points of its own.
pub fn has_own_gc(meta: &KeyspaceMeta) -> bool {
    meta.get_config()
        .get(GC_MANAGEMENT)
        .is_some_and(|value| value == GC_OWN)
}

fn new_keyspace(id: u32, name: &str, unix_seconds: i64) -> KeyspaceMeta {
    let mut meta = KeyspaceMeta::default();
    // Also when it is 0: the field belongs to a oneof, so clients see that it is set.
    meta.set_id(id);
    meta.set_name(name.to_owned());
    meta.set_state(KeyspaceState::ENABLED);
    meta.set_created_at(unix_seconds);
    meta.set_state_changed_at(unix_seconds);
    meta
}

/// See the module.
#[derive(Debug, Default)]
pub struct Keyspaces {
    by_id: BTreeMap<u32, KeyspaceMeta>,
    by_name: HashMap<String, u32>,
    /// When each keyspace changed last, counted in changes of this run, and its id.
    by_change: BTreeMap<u64, u32>,
    changes: HashMap<u32, u64>,
    last_change: u64,
}

/// Reading.
impl Keyspaces {
    /// The keyspace of this id.
    pub fn by_id(&self, id: u32) -> Result<&KeyspaceMeta> {
        self.by_id
            .get(&id)
            .ok_or_else(|| Error::EntryNotFound(format!("keyspace with id {id} does not exist")))
    }

    /// The keyspace of this name.
    pub fn by_name(&self, name: &str) -> Result<&KeyspaceMeta> {
        self.by_name
            .get(name)
            .and_then(|id| self.by_id.get(id))
            .ok_or_else(|| Error::EntryNotFound(format!("keyspace {name:?} does not exist")))
    }

    /// Keyspaces from this id on, at most `limit` of them when it is above 0, and never more than
    /// a thousand.
    pub fn page(&self, start_id: u32, limit: u32) -> impl Iterator<Item = &KeyspaceMeta> {
        let limit = match usize::try_from(limit) {
            Ok(limit) if limit > 0 => limit.min(PAGE_MAX),
            _ => PAGE_MAX,
        };
        self.by_id
            .range(start_id..)
            .map(|(_, meta)| meta)
            .take(limit)
    }

    /// Every keyspace by id.
    pub fn iter(&self) -> impl Iterator<Item = &KeyspaceMeta> {
        self.by_id.values()
    }

    /// Keyspaces that changed after `cursor`, at most a thousand, and the cursor to ask with next.
    /// Begin with 0. A keyspace that changed twice in between comes once, as it is now, so nothing
    /// has to be kept for whoever asks late.
    pub fn changed_after(&self, cursor: u64) -> (Vec<KeyspaceMeta>, u64) {
        let mut next = cursor;
        let changed = self.by_change.range(cursor.saturating_add(1)..);
        let metas = changed.take(PAGE_MAX).filter_map(|(change, id)| {
            next = *change;
            self.by_id.get(id).cloned()
        });
        (metas.collect(), next)
    }
}

/// Planning.
impl Keyspaces {
    /// A new keyspace.
    pub fn plan_create(
        &self,
        name: &str,
        config: Vec<(String, String)>,
        unix_seconds: i64,
    ) -> Result<(Vec<Change>, KeyspaceMeta)> {
        check_name(name)?;
        if self.by_name.contains_key(name) {
            return Err(Error::Duplicated(format!(
                "keyspace {name:?} already exists"
            )));
        }
        let last = self.by_id.keys().next_back().copied();
        let id = last.map_or(DEFAULT_ID + 1, |id| id + 1);
        if id > ID_MAX {
            return Err(Error::Refused("all keyspace ids are used up".to_owned()));
        }
        let mut meta = new_keyspace(id, name, unix_seconds);
        meta.mut_config().extend(config);
        check_config(&meta)?;
        Ok((vec![put(&meta)], meta))
    }

    /// A keyspace goes from one state to the next, or stays where it is.
    pub fn plan_state(
        &self,
        id: u32,
        state: KeyspaceState,
        unix_seconds: i64,
    ) -> Result<(Vec<Change>, KeyspaceMeta)> {
        let mut meta = self.by_id(id)?.clone();
        if id == DEFAULT_ID {
            let text = format!("keyspace {DEFAULT_NAME} keeps its state");
            return Err(Error::Refused(text));
        }
        let from = meta.get_state();
        if from == state {
            return Ok((Vec::new(), meta));
        }
        if !may_become(from, state) {
            return Err(Error::Refused(format!(
                "keyspace {:?} cannot go from {from:?} to {state:?}",
                meta.get_name()
            )));
        }
        meta.set_state(state);
        meta.set_state_changed_at(unix_seconds);
        Ok((vec![put(&meta)], meta))
    }

    /// Entries of a configuration change, all or none.
    pub fn plan_config(
        &self,
        name: &str,
        config: Vec<ConfigChange>,
    ) -> Result<(Vec<Change>, KeyspaceMeta)> {
        let mut meta = self.by_name(name)?.clone();
        if !matches!(
            meta.get_state(),
            KeyspaceState::ENABLED | KeyspaceState::DISABLED
        ) {
            return Err(Error::Refused(format!(
                "keyspace {name:?} is {:?}: its configuration stays",
                meta.get_state()
            )));
        }
        let own_gc = has_own_gc(&meta);
        for (key, value) in config {
            match value {
                Some(value) => meta.mut_config().insert(key, value),
                None => meta.mut_config().remove(&key),
            };
        }
        check_config(&meta)?;
        // Its safe points would jump back to where they were before, or appear out of nothing.
        if own_gc != has_own_gc(&meta) {
            return Err(Error::Refused(format!(
                "{GC_MANAGEMENT} of keyspace {name:?} cannot change"
            )));
        }
        Ok((vec![put(&meta)], meta))
    }

    /// A keyspace is decided so.
    pub(crate) fn put(&mut self, meta: KeyspaceMeta) {
        let id = meta.get_id();
        self.last_change += 1;
        if let Some(before) = self.changes.insert(id, self.last_change) {
            self.by_change.remove(&before);
        }
        self.by_change.insert(self.last_change, id);
        self.by_name.insert(meta.get_name().to_owned(), id);
        self.by_id.insert(id, meta);
    }
}

fn put(meta: &KeyspaceMeta) -> Change {
    Change::KeyspacePut(Box::new(meta.clone()))
}

fn may_become(from: KeyspaceState, to: KeyspaceState) -> bool {
    use KeyspaceState::{ARCHIVED, DISABLED, ENABLED, TOMBSTONE};
    matches!(
        (from, to),
        (ENABLED, DISABLED) | (DISABLED, ENABLED | ARCHIVED) | (ARCHIVED, TOMBSTONE)
    )
}

fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        return Err(Error::InvalidValue(format!(
            "keyspace names have 1 to {NAME_BYTES_MAX} letters, digits, '-' and '_'"
        )));
    }
    Ok(())
}

fn check_config(meta: &KeyspaceMeta) -> Result<()> {
    let config = meta.get_config();
    let bytes: usize = config
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if config.len() > CONFIG_ENTRIES_MAX || bytes > CONFIG_BYTES_MAX {
        return Err(Error::InvalidValue(format!(
            "the configuration of a keyspace has at most {CONFIG_ENTRIES_MAX} entries \
             and {CONFIG_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
