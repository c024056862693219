//! Iterators that stay within a prefix: what they find, where they end, what they refuse.

use super::{put_all, write};
use crate::{Cf, EngineIterator, Error, IterOptions, Iterable, KvEngine, WriteBatch};

const WITHIN_PREFIX: IterOptions = IterOptions {
    lower: None,
    upper: None,
    fill_cache: true,
    only_cached: false,
    key_only: false,
    max_skipped_internal: 0,
    within_prefix: true,
};

pub(super) fn run<E: KvEngine>(make: &impl Fn() -> E) {
    versions_of_one_key_after_the_other(&make());
    across_buffers_and_files(&make());
    others_see_everything(&make());
    what_is_refused(&make());
}

/// The keys that a seek and steps forward find.
fn found(iter: &mut impl EngineIterator, target: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut valid = iter.seek(target.as_bytes()).unwrap();
    while valid {
        assert!(iter.valid());
        found.push(String::from_utf8(iter.key().to_vec()).unwrap());
        valid = iter.next().unwrap();
    }
    assert!(!iter.valid());
    assert!(iter.key().is_empty());
    assert!(!iter.next().unwrap());
    found
}

fn versions_of_one_key_after_the_other<E: KvEngine>(engine: &E) {
    put_all(
        engine,
        Cf::Write,
        &["a:00000001", "a:00000005", "b:00000003", "d:00000001"],
    );
    let mut iter = engine.iter(Cf::Write, WITHIN_PREFIX).unwrap();
    let cases: [(&str, &[&str]); 8] = [
        ("a:00000000", &["a:00000001", "a:00000005"]),
        ("a:00000002", &["a:00000005"]),
        ("a:00000006", &[]),
        ("c:00000000", &[]),
        ("d:00000000", &["d:00000001"]),
        ("b:00000003", &["b:00000003"]),
        ("a:00000005", &["a:00000005"]),
        ("e:00000000", &[]),
    ];
    for (target, expected) in cases {
        assert_eq!(found(&mut iter, target), expected, "from {target}");
    }
    let opts = IterOptions {
        lower: Some(b"a:00000002".to_vec()),
        upper: Some(b"d".to_vec()),
        ..WITHIN_PREFIX
    };
    let mut iter = engine.iter(Cf::Write, opts).unwrap();
    assert_eq!(found(&mut iter, "a:00000000"), ["a:00000005"]);
    assert_eq!(found(&mut iter, "b:00000000"), ["b:00000003"]);
    assert_eq!(found(&mut iter, "d:00000000"), [""; 0]);
}

/// Versions of a key in several files and in memory, some deleted, some by a range: no filter hides one, and
/// none brings one back.
fn across_buffers_and_files<E: KvEngine>(engine: &E) {
    let versions = |part: u32| -> Vec<String> {
        (0..500)
            .filter(|user| user % (part + 1) == 0)
            .map(|user| format!("{user:04}:{part:08}"))
            .collect()
    };
    for part in 0..4 {
        let keys = versions(part);
        put_all(
            engine,
            Cf::Write,
            &keys.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        if part < 3 {
            engine.flush(&[Cf::Write]).unwrap();
        }
    }
    write(engine, |batch| {
        batch.delete(Cf::Write, b"0012:00000002");
        batch.delete_range(Cf::Write, b"0100", b"0200");
    });
    let snapshot = engine.snapshot();
    let mut iter = snapshot.iter(Cf::Write, WITHIN_PREFIX).unwrap();
    for user in (0..520_u32).rev() {
        let expected: Vec<String> = (0..4)
            .filter(|part| user < 500 && user % (part + 1) == 0)
            .filter(|part| !(100..200).contains(&user) && (user, *part) != (12, 2))
            .map(|part| format!("{user:04}:{part:08}"))
            .collect();
        assert_eq!(found(&mut iter, &format!("{user:04}:{:08}", 0)), expected);
    }
}

/// Filters by prefix hide nothing from iterators that do not stay within one.
fn others_see_everything<E: KvEngine>(engine: &E) {
    put_all(engine, Cf::Write, &["a:00000001", "c:00000001"]);
    engine.flush(&[Cf::Write]).unwrap();
    put_all(engine, Cf::Write, &["e:00000001"]);
    let mut iter = engine.iter(Cf::Write, IterOptions::default()).unwrap();
    for (target, expected) in [
        ("b:00000000", "c:00000001"),
        ("d:00000000", "e:00000001"),
        ("a:00000009", "c:00000001"),
    ] {
        assert!(iter.seek(target.as_bytes()).unwrap(), "from {target}");
        assert_eq!(iter.key(), expected.as_bytes());
    }
    assert!(iter.seek_for_prev(b"d:00000000").unwrap());
    assert_eq!(iter.key(), b"c:00000001");
}

fn what_is_refused<E: KvEngine>(engine: &E) {
    put_all(engine, Cf::Write, &["a:00000001"]);
    let refused = |outcome: crate::Result<bool>| match outcome {
        Err(Error::InvalidArgument(_)) => {}
        other => panic!("expected a refusal, got {other:?}"),
    };
    let mut iter = engine.iter(Cf::Write, WITHIN_PREFIX).unwrap();
    type Movement<I> = fn(&mut I) -> crate::Result<bool>;
    let movements: [Movement<E::Iter>; 4] = [
        |iter| iter.seek_to_first(),
        |iter| iter.seek_to_last(),
        |iter| iter.seek_for_prev(b"a:00000002"),
        |iter| iter.prev(),
    ];
    for movement in movements {
        assert!(iter.seek(b"a:00000000").unwrap());
        refused(movement(&mut iter));
        assert!(!iter.valid());
    }
    for cf in [Cf::Default, Cf::Lock, Cf::Raft] {
        assert!(matches!(
            engine.iter(cf, WITHIN_PREFIX),
            Err(Error::InvalidArgument(_))
        ));
    }
}
