//! Tests of the keyspaces, as tables and short histories.

use test_case::test_case;

use super::*;

fn apply(keyspaces: &mut Keyspaces, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::KeyspacePut(meta) => keyspaces.put(*meta),
            other => panic!("{other:?} is no change of keyspaces"),
        }
    }
}

fn with_default() -> Keyspaces {
    let mut keyspaces = Keyspaces::default();
    keyspaces.put(default_keyspace(77));
    keyspaces
}

fn create(keyspaces: &mut Keyspaces, name: &str) -> u32 {
    let (changes, meta) = keyspaces.plan_create(name, Vec::new(), 5).unwrap();
    apply(keyspaces, changes);
    meta.get_id()
}

#[test]
fn the_default_is_found_by_name_and_id_and_others_are_not() {
    assert!(Keyspaces::default().by_name(DEFAULT_NAME).is_err());
    let keyspaces = with_default();
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

#[test]
fn new_keyspaces_have_new_ids_and_names() {
    let mut keyspaces = with_default();
    assert_eq!(create(&mut keyspaces, "a"), 1);
    assert_eq!(create(&mut keyspaces, "b"), 2);
    let again = keyspaces.plan_create("a", Vec::new(), 5);
    assert!(matches!(again, Err(Error::Duplicated(_))));
    let config = vec![("gc_management_type".to_owned(), "keyspace_level".to_owned())];
    let (changes, meta) = keyspaces.plan_create("c", config, 9).unwrap();
    apply(&mut keyspaces, changes);
    assert!(has_own_gc(&meta) && !has_own_gc(keyspaces.by_name("a").unwrap()));
    assert_eq!(keyspaces.by_name("c").unwrap(), &meta);
    let page: Vec<u32> = keyspaces.page(1, 2).map(KeyspaceMeta::get_id).collect();
    assert_eq!(page, [1, 2]);
    let mut last = default_keyspace(0);
    last.set_id(ID_MAX);
    last.set_name("last".to_owned());
    keyspaces.put(last);
    assert!(keyspaces.plan_create("more", Vec::new(), 9).is_err());
}

#[test_case(""; "empty")]
#[test_case(&"x".repeat(65); "long")]
#[test_case("a b"; "space")]
#[test_case("a/b"; "slash")]
#[test_case("\u{e9}"; "beyond ascii")]
fn bad_names_are_refused(name: &str) {
    let refused = with_default().plan_create(name, Vec::new(), 5);
    assert!(
        matches!(refused, Err(Error::InvalidValue(_))),
        "{refused:?}"
    );
}

#[test]
fn configurations_are_bounded_and_change_as_a_whole() {
    let mut keyspaces = with_default();
    let many = (0..257).map(|n| (n.to_string(), String::new())).collect();
    let large = vec![("k".to_owned(), "v".repeat(64 << 10))];
    for config in [many, large] {
        let refused = keyspaces.plan_create("a", config, 5);
        assert!(matches!(refused, Err(Error::InvalidValue(_))));
    }
    create(&mut keyspaces, "a");
    let set = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    let (changes, meta) = keyspaces
        .plan_config("a", vec![set("x", "1"), set("y", "2")])
        .unwrap();
    apply(&mut keyspaces, changes);
    assert_eq!(meta.get_config().len(), 2);
    let (changes, meta) = keyspaces
        .plan_config("a", vec![("x".to_owned(), None), ("none".to_owned(), None)])
        .unwrap();
    apply(&mut keyspaces, changes);
    assert_eq!(meta.get_config().get("y").map(String::as_str), Some("2"));
    assert_eq!(meta.get_config().len(), 1);
    let own = keyspaces.plan_config("a", vec![set("gc_management_type", "keyspace_level")]);
    assert!(own.unwrap_err().to_string().contains("cannot change"));
    assert!(keyspaces.plan_config("b", Vec::new()).is_err());
}

#[test]
fn states_follow_their_order() {
    use KeyspaceState::{ARCHIVED, DISABLED, ENABLED, TOMBSTONE};
    let all = [ENABLED, DISABLED, ARCHIVED, TOMBSTONE];
    let allowed = [
        (ENABLED, DISABLED),
        (DISABLED, ENABLED),
        (DISABLED, ARCHIVED),
        (ARCHIVED, TOMBSTONE),
    ];
    let mut keyspaces = with_default();
    let id = create(&mut keyspaces, "a");
    for from in all {
        for to in all {
            let mut meta = keyspaces.by_id(id).unwrap().clone();
            meta.set_state(from);
            keyspaces.put(meta);
            let planned = keyspaces.plan_state(id, to, 9);
            let expected = from == to || allowed.contains(&(from, to));
            assert_eq!(planned.is_ok(), expected, "{from:?} to {to:?}");
            if let Ok((changes, meta)) = planned {
                assert_eq!(changes.is_empty(), from == to);
                assert_eq!(meta.get_state(), to);
                assert_eq!(meta.get_state_changed_at() == 9, from != to);
            }
        }
    }
    // The last state of all: its configuration stays, too.
    assert!(keyspaces.plan_config("a", Vec::new()).is_err());
    assert!(keyspaces.plan_state(DEFAULT_ID, DISABLED, 9).is_err());
    for unknown in [77, u32::MAX] {
        let planned = keyspaces.plan_state(unknown, DISABLED, 9);
        assert!(matches!(planned, Err(Error::EntryNotFound(_))));
    }
}

#[test]
fn watchers_hear_the_latest_of_each_keyspace() {
    let mut keyspaces = with_default();
    let names = |metas: &[KeyspaceMeta]| {
        let names = metas.iter().map(|meta| meta.get_name().to_owned());
        names.collect::<Vec<_>>()
    };
    let (all, cursor) = keyspaces.changed_after(0);
    assert_eq!(names(&all), ["DEFAULT"]);
    assert_eq!(keyspaces.changed_after(cursor), (Vec::new(), cursor));
    let id = create(&mut keyspaces, "a");
    create(&mut keyspaces, "b");
    for state in [KeyspaceState::DISABLED, KeyspaceState::ENABLED] {
        let (changes, _) = keyspaces.plan_state(id, state, 9).unwrap();
        apply(&mut keyspaces, changes);
    }
    let (changed, cursor) = keyspaces.changed_after(cursor);
    assert_eq!(names(&changed), ["b", "a"]);
    assert_eq!(keyspaces.changed_after(cursor).0, []);
    // Whoever is far behind reads on in pieces.
    for n in 0..1500 {
        create(&mut keyspaces, &format!("k{n}"));
    }
    let (first, cursor) = keyspaces.changed_after(cursor);
    let (second, _) = keyspaces.changed_after(cursor);
    assert_eq!((first.len(), second.len()), (1000, 500));
    assert_eq!(keyspaces.changed_after(u64::MAX).0, []);
}
