//! The engine alone: batches, snapshots, ranges, durability, with nothing of a server around it.
//!
//! `cargo run -p engine_rocks --example engine_alone`

#![allow(clippy::print_stdout, reason = "a program that talks to people")]

use anyhow::ensure;
use engine_rocks::{Config, RocksEngine};
use engine_traits::{
    Cf, EngineIterator as _, IterOptions, Iterable, KvEngine, Peekable as _, WriteBatch as _,
    WriteOptions,
};

const USERS: u32 = 1000;

fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let engine = RocksEngine::open(directory.path().join("db"), &Config::default())?;

    // One batch is written whole or not at all, and is on the disk when the call returns.
    let mut batch = engine.write_batch();
    for user in 0..USERS {
        batch.put(Cf::Default, &key(user), b"new");
    }
    engine.write(batch, &WriteOptions::SYNCED)?;
    println!("wrote {USERS} users in one synced batch");

    // A snapshot sees one moment, whatever is written afterwards.
    let before = engine.snapshot();
    let mut batch = engine.write_batch();
    batch.put(Cf::Default, &key(7), b"seen");
    batch.delete_range(Cf::Default, &key(500), &key(USERS));
    engine.write(batch, &WriteOptions::SYNCED)?;
    ensure!(before.get(Cf::Default, &key(7))?.as_deref() == Some(&b"new"[..]));
    ensure!(engine.get(Cf::Default, &key(7))?.as_deref() == Some(&b"seen"[..]));
    let (then, now) = (count(&before)?, count(&engine)?);
    ensure!(then == USERS && now == 500, "{then} then, {now} now");
    println!("a snapshot still counts {then} users, the engine {now}");

    // Iterators run in both directions, within bounds.
    let mut newest = engine.iter(
        Cf::Default,
        IterOptions {
            upper: Some(key(10)),
            ..IterOptions::default()
        },
    )?;
    ensure!(newest.seek_to_last()? && newest.key() == key(9));
    ensure!(newest.prev()? && newest.key() == key(8));

    // What was synced is there after a restart.
    drop((before, newest, engine));
    let engine = RocksEngine::open(directory.path().join("db"), &Config::default())?;
    let after = count(&engine)?;
    ensure!(after == 500, "{after} users after the restart");
    println!(
        "after a restart: {after} users, {} bytes on disk",
        engine.disk_usage()?
    );
    Ok(())
}

fn key(user: u32) -> Vec<u8> {
    format!("user/{user:06}").into_bytes()
}

fn count(view: &impl Iterable) -> anyhow::Result<u32> {
    let mut users = view.iter(Cf::Default, IterOptions::default())?;
    let mut count = 0;
    let mut valid = users.seek(b"user/")?;
    while valid && users.key().starts_with(b"user/") {
        count += 1;
        valid = users.next()?;
    }
    Ok(count)
}
