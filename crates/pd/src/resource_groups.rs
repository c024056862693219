//! Resource groups: names for shares of a cluster's capacity. They are kept as messages in the
//! revisioned store, where SQL servers and stores watch them. No IO.
//!
//! There is always a group `default`, also before anybody has stored it.

use kvproto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
use kvproto::resource_manager::{GroupMode, ResourceGroup};
use protobuf::Message as _;

use crate::change::Change;
use crate::etcd::{EtcdChange, EtcdState};
use crate::gc::NULL_KEYSPACE;
use crate::{Error, Result};

/// The group of everybody who names none.
const DEFAULT: &str = "default";
const SETTINGS: &str = "resource_group/settings/";
const KEYSPACE_SETTINGS: &str = "resource_group/keyspace/settings/";
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 32;
/// The most urgent priority.
const PRIORITY_MAX: u32 = 16;
/// The priority in the middle.
const PRIORITY_MEDIUM: u32 = 8;
/// Tokens a second that stand for no limit.
const UNLIMITED: u64 = i32::MAX.unsigned_abs() as u64;

/// Whether a group is new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It must not exist.
    Add,
    /// It must exist.
    Modify,
}

/// The groups of a keyspace by name.
pub fn list(etcd: &EtcdState, keyspace_id: u32) -> Result<Vec<ResourceGroup>> {
    let mut range = RangeRequest::default();
    let prefix = prefix_of(keyspace_id);
    range.set_key(prefix.clone().into_bytes());
    // '0' follows '/'.
    let mut end = prefix.trim_end_matches('/').as_bytes().to_vec();
    end.push(b'0');
    range.set_range_end(end);
    let mut groups = Vec::new();
    for kv in etcd.range(&range)?.get_kvs() {
        groups.push(parse(kv.get_key(), kv.get_value())?);
    }
    if !groups.iter().any(|group| group.get_name() == DEFAULT) {
        groups.push(default_group(keyspace_id));
    }
    groups.sort_by(|a, b| a.get_name().cmp(b.get_name()));
    Ok(groups)
}

/// A group by name.
pub fn get(etcd: &EtcdState, keyspace_id: u32, name: &str) -> Result<ResourceGroup> {
    let key = key_of(keyspace_id, name);
    match etcd.get(&key) {
        Some(kv) => parse(&key, kv.get_value()),
        None if name == DEFAULT => Ok(default_group(keyspace_id)),
        None => Err(missing(name)),
    }
}

/// Stores a group.
pub fn plan_put(
    etcd: &EtcdState,
    keyspace_id: u32,
    mut group: ResourceGroup,
    put: Put,
) -> Result<Vec<Change>> {
    check(&group)?;
    let name = group.get_name().to_owned();
    match (put, get(etcd, keyspace_id, &name)) {
        (Put::Add, Ok(_)) => {
            let text = format!("resource group {name:?} already exists");
            return Err(Error::Duplicated(text));
        }
        (Put::Modify, Err(error)) => return Err(error),
        (Put::Add, Err(_)) | (Put::Modify, Ok(_)) => {}
    }
    // What was consumed is a figure of the moment, not a setting.
    group.clear_RUStats();
    let value = group
        .write_to_bytes()
        .map_err(|error| Error::InvalidValue(error.to_string()))?;
    let mut request = PutRequest::default();
    request.set_key(key_of(keyspace_id, &name));
    request.set_value(value);
    Ok(wrapped(etcd.plan_put(&request)?.0))
}

/// Deletes a group.
pub fn plan_delete(etcd: &EtcdState, keyspace_id: u32, name: &str) -> Result<Vec<Change>> {
    if name == DEFAULT {
        let text = format!("resource group {DEFAULT:?} cannot be deleted");
        return Err(Error::Refused(text));
    }
    get(etcd, keyspace_id, name)?;
    let mut request = DeleteRangeRequest::default();
    request.set_key(key_of(keyspace_id, name));
    Ok(wrapped(etcd.plan_delete_range(&request)?.0))
}

fn wrapped(changes: Vec<EtcdChange>) -> Vec<Change> {
    changes.into_iter().map(Change::Etcd).collect()
}

fn default_group(keyspace_id: u32) -> ResourceGroup {
    let mut group = ResourceGroup::default();
    group.set_name(DEFAULT.to_owned());
    group.set_mode(GroupMode::RUMode);
    group.set_priority(PRIORITY_MEDIUM);
    let settings = group.mut_r_u_settings().mut_r_u().mut_settings();
    settings.set_fill_rate(UNLIMITED);
    settings.set_burst_limit(-1);
    if keyspace_id != NULL_KEYSPACE {
        group.mut_keyspace_id().set_value(keyspace_id);
    }
    group
}

fn check(group: &ResourceGroup) -> Result<()> {
    let name = group.get_name();
    let refuse = |text: String| Err(Error::InvalidValue(text));
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('/') {
        return refuse(format!(
            "names of resource groups have 1 to {NAME_BYTES_MAX} bytes and no '/'"
        ));
    }
    if group.get_priority() > PRIORITY_MAX {
        return refuse(format!(
            "priority of resource group {name:?} is {}, allowed are 0 to {PRIORITY_MAX}",
            group.get_priority()
        ));
    }
    if group.get_mode() != GroupMode::RUMode || !group.get_r_u_settings().has_r_u() {
        return refuse(format!(
            "resource group {name:?} must have request units as its measure"
        ));
    }
    Ok(())
}

fn prefix_of(keyspace_id: u32) -> String {
    match keyspace_id {
        NULL_KEYSPACE => SETTINGS.to_owned(),
        _ => format!("{KEYSPACE_SETTINGS}{keyspace_id}/"),
    }
}

fn key_of(keyspace_id: u32, name: &str) -> Vec<u8> {
    format!("{}{name}", prefix_of(keyspace_id)).into_bytes()
}

fn missing(name: &str) -> Error {
    Error::EntryNotFound(format!("resource group {name:?} does not exist"))
}

/// Others write these keys, too, so what stands there may be anything.
fn parse(key: &[u8], value: &[u8]) -> Result<ResourceGroup> {
    ResourceGroup::parse_from_bytes(value).map_err(|error| {
        Error::Refused(format!(
            "what is stored under {} is no resource group: {error}",
            key.escape_ascii()
        ))
    })
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    fn group(name: &str) -> ResourceGroup {
        let mut group = default_group(NULL_KEYSPACE);
        group.set_name(name.to_owned());
        group
    }

    fn apply(etcd: &mut EtcdState, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Etcd(change) => etcd.apply(change),
                other => panic!("{other:?} is no change of groups"),
            }
        }
    }

    fn names(etcd: &EtcdState, keyspace_id: u32) -> Vec<String> {
        let groups = list(etcd, keyspace_id).unwrap();
        groups
            .iter()
            .map(|group| group.get_name().to_owned())
            .collect()
    }

    #[test]
    fn groups_come_change_and_go_beside_the_default() {
        let mut etcd = EtcdState::default();
        assert_eq!(names(&etcd, NULL_KEYSPACE), ["default"]);
        let changes = plan_put(&etcd, NULL_KEYSPACE, group("a"), Put::Add).unwrap();
        apply(&mut etcd, changes);
        assert_eq!(names(&etcd, NULL_KEYSPACE), ["a", "default"]);
        assert_eq!(names(&etcd, 7), ["default"]);
        let again = plan_put(&etcd, NULL_KEYSPACE, group("a"), Put::Add);
        assert!(matches!(again, Err(Error::Duplicated(_))));
        let absent = plan_put(&etcd, NULL_KEYSPACE, group("b"), Put::Modify);
        assert!(matches!(absent, Err(Error::EntryNotFound(_))));
        let mut urgent = group("a");
        urgent.set_priority(16);
        urgent.mut_RUStats().set_r_r_u(5.0);
        let changes = plan_put(&etcd, NULL_KEYSPACE, urgent, Put::Modify).unwrap();
        apply(&mut etcd, changes);
        let stored = get(&etcd, NULL_KEYSPACE, "a").unwrap();
        assert_eq!((stored.get_priority(), stored.has_RUStats()), (16, false));
        // Where watchers look for it.
        assert!(etcd.get(b"resource_group/settings/a").is_some());
        let changes = plan_delete(&etcd, NULL_KEYSPACE, "a").unwrap();
        apply(&mut etcd, changes);
        assert!(matches!(
            plan_delete(&etcd, NULL_KEYSPACE, "a"),
            Err(Error::EntryNotFound(_))
        ));
        assert!(plan_delete(&etcd, NULL_KEYSPACE, "default").is_err());
        let changes = plan_put(&etcd, 7, group("default"), Put::Modify).unwrap();
        apply(&mut etcd, changes);
        assert_eq!(names(&etcd, 7), ["default"]);
        assert!(
            etcd.get(b"resource_group/keyspace/settings/7/default")
                .is_some()
        );
    }

    #[test_case(|g| g.set_name(String::new()), "names"; "no name")]
    #[test_case(|g| g.set_name("x".repeat(33)), "names"; "long name")]
    #[test_case(|g| g.set_name("a/b".to_owned()), "names"; "slash")]
    #[test_case(|g| g.set_priority(17), "priority"; "priority")]
    #[test_case(|g| g.set_mode(GroupMode::RawMode), "request units"; "raw mode")]
    #[test_case(|g| g.set_mode(GroupMode::Unknown), "request units"; "no mode")]
    #[test_case(|g| g.clear_r_u_settings(), "request units"; "no settings")]
    fn bad_groups_are_refused(spoil: fn(&mut ResourceGroup), words: &str) {
        let mut group = group("a");
        spoil(&mut group);
        let refused = plan_put(&EtcdState::default(), NULL_KEYSPACE, group, Put::Add);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn junk_under_its_keys_is_named() {
        let mut etcd = EtcdState::default();
        let mut request = PutRequest::default();
        request.set_key(b"resource_group/settings/a".to_vec());
        request.set_value(vec![0xff]);
        let changes = etcd.plan_put(&request).unwrap().0;
        apply(&mut etcd, wrapped(changes));
        let text = get(&etcd, NULL_KEYSPACE, "a").unwrap_err().to_string();
        assert!(text.contains("settings/a is no resource group"), "{text}");
        assert!(list(&etcd, NULL_KEYSPACE).is_err());
    }
}
