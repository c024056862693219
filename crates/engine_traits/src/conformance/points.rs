//! Point reads and writes: presence, absence, column families, odd keys.

use super::{write, write_with};
use crate::{Cf, KvEngine, ReadOptions, WriteBatch, WriteOptions};

pub(super) fn run<E: KvEngine>(make: &impl Fn() -> E) {
    reads_what_was_written(&make());
    column_families_are_apart(&make());
    odd_keys_and_values(&make());
    without_write_ahead_log(&make());
    sync_without_log_is_refused(&make());
}

fn reads_what_was_written<E: KvEngine>(engine: &E) {
    assert_eq!(engine.get(Cf::Default, b"k").unwrap(), None);
    write(engine, |batch| batch.put(Cf::Default, b"k", b"v1"));
    assert_eq!(engine.get(Cf::Default, b"k").unwrap().unwrap(), b"v1");
    write(engine, |batch| batch.put(Cf::Default, b"k", b"v2"));
    assert_eq!(engine.get(Cf::Default, b"k").unwrap().unwrap(), b"v2");
    let opts = ReadOptions {
        fill_cache: false,
        ..ReadOptions::default()
    };
    assert_eq!(
        engine
            .get_with(Cf::Default, b"k", &opts, <[u8]>::len)
            .unwrap(),
        Some(2)
    );
    assert_eq!(engine.get(Cf::Default, b"").unwrap(), None);
    assert_eq!(engine.get(Cf::Default, b"k\0").unwrap(), None);
    write(engine, |batch| batch.delete(Cf::Default, b"k"));
    assert_eq!(engine.get(Cf::Default, b"k").unwrap(), None);
    write(engine, |batch| batch.delete(Cf::Default, b"never there"));
}

fn column_families_are_apart<E: KvEngine>(engine: &E) {
    for cf in Cf::ALL {
        write(engine, |batch| batch.put(cf, b"k", cf.name().as_bytes()));
    }
    write(engine, |batch| batch.delete(Cf::Lock, b"k"));
    for cf in Cf::ALL {
        let expected = (cf != Cf::Lock).then(|| cf.name().as_bytes().to_vec());
        assert_eq!(engine.get(cf, b"k").unwrap(), expected, "{cf}");
    }
}

fn odd_keys_and_values<E: KvEngine>(engine: &E) {
    let long = vec![0xff; 64 << 10];
    let large = vec![7; 3 << 20];
    let cases: [(&[u8], &[u8]); 5] = [
        (b"", b"empty key"),
        (b"empty value", b""),
        (b"\0", b"\0\0"),
        (&long, b"l"),
        (b"m", &large),
    ];
    for (key, value) in cases {
        write(engine, |batch| batch.put(Cf::Write, key, value));
    }
    for (key, value) in cases {
        assert_eq!(engine.get(Cf::Write, key).unwrap().as_deref(), Some(value));
    }
    assert_eq!(super::scan_all(engine, Cf::Write).len(), cases.len());
}

fn without_write_ahead_log<E: KvEngine>(engine: &E) {
    let opts = WriteOptions {
        sync: false,
        disable_wal: true,
    };
    write_with(engine, &opts, |batch| batch.put(Cf::Raft, b"k", b"v"));
    assert_eq!(engine.get(Cf::Raft, b"k").unwrap().unwrap(), b"v");
}

fn sync_without_log_is_refused<E: KvEngine>(engine: &E) {
    let mut batch = engine.write_batch();
    batch.put(Cf::Default, b"k", b"v");
    let opts = WriteOptions {
        sync: true,
        disable_wal: true,
    };
    let error = engine.write(batch, &opts).unwrap_err();
    assert!(
        matches!(error, crate::Error::InvalidArgument(_)),
        "{error:?}"
    );
    assert_eq!(engine.get(Cf::Default, b"k").unwrap(), None);
}
