//! Space of expired values comes back though nobody writes, and what lives stays.

use std::sync::Arc;
use std::time::Duration;

use api_version::{ApiV1Ttl, KvFormat, RawValue};
use engine_mem::MemEngine;
use engine_traits::{Cf, CompactionFilter, KvEngine, Peekable, Verdict, WriteBatch, WriteOptions};
use gc::{Config, Expirer, Settings};
use runtime::{Stepper, shutdown_pair};

const HOUR: Duration = Duration::from_secs(3600);

fn put(engine: &MemEngine, key: &[u8], expire_ts: Option<u64>) {
    let mut batch = engine.write_batch();
    let value = RawValue {
        expire_ts,
        ..RawValue::new(&b"value"[..])
    };
    batch.put(Cf::Default, key, &ApiV1Ttl::encode_raw_value(value));
    engine.write(batch, &WriteOptions::SYNCED).unwrap();
}

#[test]
fn what_has_expired_gives_its_space_back_though_nobody_writes() {
    let stepper = Stepper::new(1);
    let runtime = stepper.runtime();
    let engine = MemEngine::new();
    // As `storage` has it.
    let clock = runtime.clock.clone();
    let filter = move || -> CompactionFilter {
        let now = clock.unix_millis() / 1000;
        Box::new(move |_, stored| {
            let value = ApiV1Ttl::decode_raw_value(stored).unwrap();
            if value.is_visible(now) {
                Verdict::Keep
            } else {
                Verdict::Remove
            }
        })
    };
    let factory = Arc::new(filter);
    engine.filter_compactions(Cf::Default, factory).unwrap();

    let now = runtime.clock.unix_millis() / 1000;
    for n in 0..100u8 {
        // Every fourth expires in half an hour, every fourth in three hours and a half.
        let expire_ts = match n % 4 {
            0 => Some(now + 1800),
            1 => Some(now + 3 * 3600 + 1800),
            _ => None,
        };
        put(&engine, &[b'z', n], expire_ts);
    }
    let config = Config {
        batch_keys: 7,
        ..Config::default()
    };
    let (stop, stopped) = shutdown_pair();
    let settings = Settings::new(&config);
    let expirer = Expirer::<_, ApiV1Ttl>::new(engine.clone(), settings, HOUR, &runtime);
    drop(runtime.spawner.spawn(expirer.run(stopped)));

    let stored = || {
        let is_there = |n: &u8| engine.get(Cf::Default, &[b'z', *n]).unwrap().is_some();
        (0..100u8).filter(is_there).count()
    };
    let pass = |time| {
        stepper.advance(time);
        stepper.run_until_stalled();
    };
    pass(HOUR / 2);
    assert_eq!(stored(), 100, "it has not looked yet");
    pass(HOUR / 2 + Duration::from_secs(60));
    assert_eq!(stored(), 75);
    pass(2 * HOUR);
    assert_eq!(stored(), 75);
    pass(HOUR);
    assert_eq!(stored(), 50, "it remembers when the next expire");
    stop.trigger();
    stepper.run_until_stalled();
}
