//! Iterators: positions, bounds, reversal, the edges of everything.

use super::{keys, put_all, scan};
use crate::{Cf, EngineIterator, IterOptions, KvEngine, WriteBatch};

pub(super) fn run<E: KvEngine>(make: &impl Fn() -> E) {
    empty_column_family(&make());
    let engine = make();
    put_all(&engine, Cf::Default, &["b", "d", "f", "h"]);
    seeks(&engine);
    seeks_for_prev(&engine);
    reversal(&engine);
    bounds(&engine);
    bounds_clamp_seeks(&engine);
    empty_bounds(&engine);
    key_only(&engine);
    over_deleted_entries(&make());
    many_entries_across_flushes(&make());
}

fn expect(iter: &impl EngineIterator, valid: bool, key: Option<&str>) {
    assert_eq!(valid, key.is_some(), "validity when expecting {key:?}");
    assert_eq!(iter.valid(), valid);
    if let Some(key) = key {
        assert_eq!(String::from_utf8_lossy(iter.key()), key);
        assert_eq!(
            String::from_utf8_lossy(iter.value()),
            format!("value of {key}")
        );
    } else {
        assert!(iter.key().is_empty());
        assert!(iter.value().is_empty());
    }
}

fn empty_column_family<E: KvEngine>(engine: &E) {
    put_all(engine, Cf::Lock, &["a"]);
    let mut iter = engine.iter(Cf::Default, IterOptions::default()).unwrap();
    assert!(!iter.valid());
    assert!(!iter.next().unwrap());
    assert!(!iter.prev().unwrap());
    assert!(!iter.seek_to_first().unwrap());
    assert!(!iter.seek_to_last().unwrap());
    assert!(!iter.seek(b"").unwrap());
    assert!(!iter.seek_for_prev(b"\xff").unwrap());
    assert!(!iter.valid());
}

fn seeks<E: KvEngine>(engine: &E) {
    let mut iter = engine.iter(Cf::Default, IterOptions::default()).unwrap();
    let cases = [
        ("", Some("b")),
        ("b", Some("b")),
        ("b\0", Some("d")),
        ("c", Some("d")),
        ("h", Some("h")),
        ("h\0", None),
        ("z", None),
    ];
    for (target, found) in cases {
        let valid = iter.seek(target.as_bytes()).unwrap();
        expect(&iter, valid, found);
    }
}

fn seeks_for_prev<E: KvEngine>(engine: &E) {
    let mut iter = engine.iter(Cf::Default, IterOptions::default()).unwrap();
    let cases = [
        ("", None),
        ("a", None),
        ("b", Some("b")),
        ("b\0", Some("b")),
        ("c", Some("b")),
        ("h", Some("h")),
        ("z", Some("h")),
    ];
    for (target, found) in cases {
        let valid = iter.seek_for_prev(target.as_bytes()).unwrap();
        expect(&iter, valid, found);
    }
}

fn reversal<E: KvEngine>(engine: &E) {
    let mut iter = engine.iter(Cf::Default, IterOptions::default()).unwrap();
    let valid = iter.seek(b"d").unwrap();
    expect(&iter, valid, Some("d"));
    let valid = iter.next().unwrap();
    expect(&iter, valid, Some("f"));
    let valid = iter.prev().unwrap();
    expect(&iter, valid, Some("d"));
    let valid = iter.prev().unwrap();
    expect(&iter, valid, Some("b"));
    let valid = iter.next().unwrap();
    expect(&iter, valid, Some("d"));
    let valid = iter.seek_to_last().unwrap();
    expect(&iter, valid, Some("h"));
    let valid = iter.next().unwrap();
    expect(&iter, valid, None);
    // What is off the end stays off the end.
    let valid = iter.prev().unwrap();
    expect(&iter, valid, None);
    let valid = iter.seek_to_first().unwrap();
    expect(&iter, valid, Some("b"));
    let valid = iter.prev().unwrap();
    expect(&iter, valid, None);
    let valid = iter.next().unwrap();
    expect(&iter, valid, None);
}

fn bounds<E: KvEngine>(engine: &E) {
    let within = |lower: Option<&str>, upper: Option<&str>| {
        let opts = IterOptions {
            lower: lower.map(|key| key.as_bytes().to_vec()),
            upper: upper.map(|key| key.as_bytes().to_vec()),
            ..IterOptions::default()
        };
        scan(engine, Cf::Default, opts)
    };
    assert_eq!(keys(&within(None, None)), ["b", "d", "f", "h"]);
    assert_eq!(keys(&within(Some("d"), None)), ["d", "f", "h"]);
    assert_eq!(keys(&within(Some("c"), None)), ["d", "f", "h"]);
    assert_eq!(keys(&within(None, Some("f"))), ["b", "d"]);
    assert_eq!(keys(&within(None, Some("f\0"))), ["b", "d", "f"]);
    assert_eq!(keys(&within(Some("d"), Some("f"))), ["d"]);
    assert_eq!(keys(&within(Some(""), Some("\x7f"))), ["b", "d", "f", "h"]);
    assert!(within(Some("d\0"), Some("f")).is_empty());
    assert!(within(Some("i"), None).is_empty());
    assert!(within(None, Some("b")).is_empty());
}

fn bounds_clamp_seeks<E: KvEngine>(engine: &E) {
    let mut iter = engine
        .iter(Cf::Default, IterOptions::between("d", "h"))
        .unwrap();
    let valid = iter.seek(b"a").unwrap();
    expect(&iter, valid, Some("d"));
    let valid = iter.prev().unwrap();
    expect(&iter, valid, None);
    let valid = iter.seek(b"h").unwrap();
    expect(&iter, valid, None);
    let valid = iter.seek(b"z").unwrap();
    expect(&iter, valid, None);
    let valid = iter.seek_for_prev(b"z").unwrap();
    expect(&iter, valid, Some("f"));
    let valid = iter.next().unwrap();
    expect(&iter, valid, None);
    let valid = iter.seek_for_prev(b"h").unwrap();
    expect(&iter, valid, Some("f"));
    let valid = iter.seek_for_prev(b"c").unwrap();
    expect(&iter, valid, None);
    let valid = iter.seek_to_first().unwrap();
    expect(&iter, valid, Some("d"));
    let valid = iter.seek_to_last().unwrap();
    expect(&iter, valid, Some("f"));
}

fn empty_bounds<E: KvEngine>(engine: &E) {
    for (lower, upper) in [("d", "d"), ("f", "d"), ("", ""), ("z", "a")] {
        let mut iter = engine
            .iter(Cf::Default, IterOptions::between(lower, upper))
            .unwrap();
        for target in ["", "d", "e", "z"] {
            assert!(
                !iter.seek(target.as_bytes()).unwrap(),
                "[{lower}, {upper}) seek {target}"
            );
            assert!(!iter.seek_for_prev(target.as_bytes()).unwrap());
            assert!(!iter.next().unwrap());
        }
        assert!(!iter.seek_to_first().unwrap());
        assert!(!iter.seek_to_last().unwrap());
    }
}

fn key_only<E: KvEngine>(engine: &E) {
    let opts = IterOptions {
        key_only: true,
        fill_cache: false,
        ..IterOptions::default()
    };
    let mut iter = engine.iter(Cf::Default, opts).unwrap();
    let mut seen = Vec::new();
    let mut valid = iter.seek_to_first().unwrap();
    while valid {
        seen.push(String::from_utf8(iter.key().to_vec()).unwrap());
        valid = iter.next().unwrap();
    }
    assert_eq!(seen, ["b", "d", "f", "h"]);
}

fn over_deleted_entries<E: KvEngine>(engine: &E) {
    let names: Vec<String> = (0..200).map(|n| format!("k{n:03}")).collect();
    put_all(
        engine,
        Cf::Default,
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    super::write(engine, |batch| {
        for name in &names[1..199] {
            batch.delete(Cf::Default, name.as_bytes());
        }
    });
    let found = super::scan_all(engine, Cf::Default);
    assert_eq!(keys(&found), ["k000", "k199"]);

    // An engine may skip dead entries for free; one that counts them must say so, not lie.
    let opts = IterOptions {
        max_skipped_internal: 10,
        ..IterOptions::default()
    };
    let mut iter = engine.iter(Cf::Default, opts).unwrap();
    assert!(iter.seek_to_first().unwrap());
    match iter.next() {
        Ok(valid) => expect(&iter, valid, Some("k199")),
        Err(error) => {
            assert_eq!(error, crate::Error::TooManySkipped);
            assert!(!iter.valid());
            assert!(iter.seek(b"k199").unwrap());
        }
    }
}

fn many_entries_across_flushes<E: KvEngine>(engine: &E) {
    let names: Vec<String> = (0..1000).map(|n| format!("{n:04}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    for part in 0..4 {
        let keys: Vec<&str> = all.iter().copied().skip(part).step_by(4).collect();
        put_all(engine, Cf::Write, &keys);
        if part < 3 {
            engine.flush(&[Cf::Write]).unwrap();
        }
    }
    assert_eq!(keys(&super::scan_all(engine, Cf::Write)), all);
    let found = scan(engine, Cf::Write, IterOptions::between("0100", "0900"));
    assert_eq!(keys(&found), all[100..900]);
    let mut iter = engine.iter(Cf::Write, IterOptions::default()).unwrap();
    for start in (0..1000).step_by(97) {
        let valid = iter.seek(all[start].as_bytes()).unwrap();
        expect(&iter, valid, Some(all[start]));
        // Zigzag: three forward, two back, across whatever the engine reads ahead.
        let mut at = start;
        while at + 3 < all.len() && at < start + 90 {
            for step in [1_isize, 1, 1, -1, -1] {
                at = at.strict_add_signed(step);
                let valid = if step > 0 { iter.next() } else { iter.prev() }.unwrap();
                expect(&iter, valid, Some(all[at]));
            }
        }
    }
}
