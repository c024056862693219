//! What locks in memory take, and requests that wait for one.

use super::line::{Line, Target};
use crate::lab::Lab;
use crate::target::{Pending, Store, bytes_of_thread, key};

/// Bytes of one, at most.
const GOAL: f64 = 400.0;

/// The key that everybody wants, or one of its own for each.
#[derive(Clone, Copy)]
enum Keys {
    One,
    Own,
}

impl Keys {
    fn key(self, number: u64) -> Vec<u8> {
        match self {
            Keys::One => key(b'l', 0),
            Keys::Own => key(b'l', number),
        }
    }
}

/// Locks every key in memory; the bytes of each lock.
fn hold_all(store: &Store, keys: Keys, count: u64) -> anyhow::Result<Option<f64>> {
    let before = bytes_of_thread();
    for number in 0..count {
        store.run(store.lock(&keys.key(number), 1)?)?;
    }
    Ok(each(before, bytes_of_thread(), count, 0))
}

/// Lets one request wait for each; the bytes of each beside what its caller polls.
fn let_wait(store: &Store, keys: Keys, count: u64) -> anyhow::Result<Option<f64>> {
    let mut waiting: Vec<Pending> = Vec::with_capacity(usize::try_from(count)?);
    let before = bytes_of_thread();
    let mut polled = 0;
    for number in 0..count {
        let mut request = store.lock(&keys.key(number), 2 + number)?;
        polled += size_of_val(&*request) as u64;
        let answer = store.begin(&mut request);
        anyhow::ensure!(answer.is_none(), "{answer:?} for a key that is locked");
        waiting.push(request);
    }
    Ok(each(before, bytes_of_thread(), count, polled))
}

fn each(before: Option<u64>, after: Option<u64>, count: u64, beside: u64) -> Option<f64> {
    let taken = after?.saturating_sub(before?).saturating_sub(beside);
    Some(taken as f64 / count as f64)
}

pub(super) fn lock_memory(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "lock-memory";
    let locks = lab.settings.locks;
    let found = lab.progress.during(
        &format!("{SCENARIO}: lock {locks} keys, and wait"),
        || {
            let own = Store::new()?;
            let lock = hold_all(&own, Keys::Own, locks)?;
            let of_own = let_wait(&own, Keys::Own, locks)?;
            let one = Store::new()?;
            hold_all(&one, Keys::One, 1)?;
            Ok([lock, let_wait(&one, Keys::One, locks)?, of_own])
        },
        |found| format!("{found:.0?} bytes each"),
    )?;
    let [lock, of_one, of_own] = found;
    let line = |what: String, bytes: Option<f64>, remark: &str| {
        let line = Line::new(SCENARIO, what);
        match bytes {
            Some(bytes) => line.value(bytes, "bytes").remark(remark),
            None => line.remark("another allocator than the server's"),
        }
    };
    Ok(vec![
        line(
            format!("memory of each of {locks} pessimistic locks in memory"),
            lock,
            "keys of 16 bytes; as the allocator rounds",
        )
        .target(Target::AtMost(GOAL)),
        line(
            format!("memory of each of {locks} requests that wait for one lock"),
            of_one,
            "the first lock of its transaction; beside the call in which its client waits",
        )
        .target(Target::AtMost(GOAL)),
        line(
            format!("memory of each of {locks} requests that wait for a lock of their own"),
            of_own,
            "with a queue for each key",
        ),
    ])
}
