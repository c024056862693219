//! Keyspaces by name and id. Only `DEFAULT` exists so far: it comes with the first region.

use std::collections::BTreeMap;

use kvproto::keyspacepb::{KeyspaceMeta, KeyspaceState};

use crate::{Error, Result};

/// The keyspace that always exists.
pub const DEFAULT_NAME: &str = "DEFAULT";
/// Its id.
pub const DEFAULT_ID: u32 = 0;
/// Entries of one answer when the request sets no limit.
const PAGE_MAX: usize = 1000;

/// The keyspace `DEFAULT`, created now.
pub fn default_keyspace(unix_seconds: i64) -> KeyspaceMeta {
    let mut meta = KeyspaceMeta::default();
    // An explicit 0: the field belongs to a oneof, so clients see that it is set.
    meta.set_id(DEFAULT_ID);
    meta.set_name(DEFAULT_NAME.to_owned());
    meta.set_state(KeyspaceState::ENABLED);
    meta.set_created_at(unix_seconds);
    meta.set_state_changed_at(unix_seconds);
    meta
}

/// See the module.
#[derive(Debug, Default)]
pub struct Keyspaces {
    by_id: BTreeMap<u32, KeyspaceMeta>,
}

impl Keyspaces {
    /// The keyspace of this id.
    pub fn by_id(&self, id: u32) -> Result<&KeyspaceMeta> {
        self.by_id
            .get(&id)
            .ok_or_else(|| Error::EntryNotFound(format!("keyspace with id {id} does not exist")))
    }

    /// The keyspace of this name.
    pub fn by_name(&self, name: &str) -> Result<&KeyspaceMeta> {
        self.by_id
            .values()
            .find(|meta| meta.get_name() == name)
            .ok_or_else(|| Error::EntryNotFound(format!("keyspace {name:?} does not exist")))
    }

    /// Keyspaces from this id on, at most `limit` of them when it is above 0.
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

    /// A keyspace is on disk so.
    pub(crate) fn put(&mut self, meta: KeyspaceMeta) {
        self.by_id.insert(meta.get_id(), meta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_found_by_name_and_id_and_others_are_not() {
        let mut keyspaces = Keyspaces::default();
        assert!(keyspaces.by_name(DEFAULT_NAME).is_err());
        keyspaces.put(default_keyspace(77));
        let meta = keyspaces.by_name("DEFAULT").unwrap();
        assert!(meta.has_id() && meta.get_id() == 0 && meta.get_created_at() == 77);
        assert_eq!(keyspaces.by_id(0).unwrap(), meta);
        assert!(matches!(
            keyspaces.by_name("default"),
            Err(Error::EntryNotFound(_))
        ));
        assert!(matches!(keyspaces.by_id(1), Err(Error::EntryNotFound(_))));
        assert_eq!(keyspaces.page(0, 0).count(), 1);
        assert_eq!(keyspaces.page(1, 5).count(), 0);
    }
}
