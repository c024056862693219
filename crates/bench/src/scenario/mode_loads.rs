//! The loads of the other ways to write.

use std::rc::Rc;
use std::sync::Arc;

use anyhow::{bail, ensure};
use futures::FutureExt as _;
use kvproto::etcdserverpb::KvClient;
use kvproto::kvrpcpb::{PessimisticLockRequest, PessimisticLockResponse, PrewriteResponse};
use kvproto::tikvpb::TikvClient;

use super::loads::{answer, of};
use crate::client::Connections;
use crate::lab::Load;
use crate::load::{self, check_kv_get};
use crate::random::Random;
use crate::target::{Etcd, Keyspace, Tikv, etcd_get, etcd_set_unchanged, key};

/// How long a client waits for the key that everybody wants.
const WAIT_MS: i64 = 10_000;
/// The counter of everybody.
const COUNTER: &[u8] = b"h000000000000000";

fn check_prewritten(answer: &PrewriteResponse) -> anyhow::Result<()> {
    let refused = answer.has_region_error() || !answer.get_errors().is_empty();
    ensure!(!refused, "KvPrewrite: {answer:?}");
    Ok(())
}

pub(crate) fn one_phase(tikv: &Rc<Tikv>, in_flight: usize) -> Load<'static> {
    let tikv = tikv.clone();
    let name = format!("one phase, {in_flight} in flight");
    Load::new(name, move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let keyspace = tikv.keyspace.clone();
        let op = move |number, random: &mut Random| {
            let request = keyspace.one_phase(key(b'o', random.next()));
            let sent = of(&stubs, number).kv_prewrite_async(&request);
            answer(sent).map(|answer| {
                let answer = answer?;
                check_prewritten(&answer)?;
                ensure!(answer.get_one_pc_commit_ts() > 0, "not in one phase");
                Ok(1)
            })
        };
        load::closed_loop(&tikv.connections, in_flight, timing, Some(tikv.pid()), op)
    })
}

/// Neighbouring keys that nobody else has.
fn some_keys(random: &mut Random, count: u64) -> Vec<Vec<u8>> {
    let first = random.next();
    (0..count)
        .map(|number| key(b'a', first.wrapping_add(number)))
        .collect()
}

/// Commits behind the client's back, as clients do with what they need not wait for.
fn commit_behind(
    connections: &Connections,
    number: usize,
    client: &TikvClient,
    request: kvproto::kvrpcpb::CommitRequest,
) {
    if let Ok(sent) = client.kv_commit_async(&request) {
        connections.spawn(number, sent.map(drop));
    }
}

pub(crate) fn async_commit(tikv: &Rc<Tikv>, keys: u64) -> Load<'static> {
    let tikv = tikv.clone();
    let name = format!("async commit of {keys} keys, 1 in flight");
    Load::new(name, move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let (keyspace, connections) = (tikv.keyspace.clone(), tikv.connections.clone());
        let op = move |number, random: &mut Random| {
            let keys = some_keys(random, keys);
            let start_ts = keyspace.timestamp();
            let sent = of(&stubs, number)
                .kv_prewrite_async(&keyspace.async_commit(keys.clone(), start_ts));
            let (stubs, keyspace) = (stubs.clone(), keyspace.clone());
            let connections = connections.clone();
            answer(sent).map(move |answer| {
                let answer = answer?;
                check_prewritten(&answer)?;
                let commit_ts = answer.get_min_commit_ts();
                ensure!(commit_ts > 0, "not asynchronous");
                let commit = keyspace.commit(keys, start_ts, commit_ts);
                commit_behind(&connections, number, of(&stubs, number), commit);
                Ok(1)
            })
        };
        load::closed_loop(&tikv.connections, 1, timing, Some(tikv.pid()), op)
    })
}

pub(crate) fn two_phases(tikv: &Rc<Tikv>, keys: u64) -> Load<'static> {
    let tikv = tikv.clone();
    let name = format!("two phases of {keys} keys, 1 in flight");
    Load::new(name, move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let (keyspace, connections) = (tikv.keyspace.clone(), tikv.connections.clone());
        let op = move |number, random: &mut Random| {
            let keys = some_keys(random, keys);
            let (stubs, keyspace) = (stubs.clone(), keyspace.clone());
            let connections = connections.clone();
            async move {
                let client = of(&stubs, number);
                let start_ts = keyspace.timestamp();
                let prewrite = keyspace.prewrite(keys.clone(), start_ts);
                check_prewritten(&answer(client.kv_prewrite_async(&prewrite)).await?)?;
                let commit_ts = keyspace.timestamp();
                let (primary, secondaries) = keys.split_at(1);
                let commit = keyspace.commit(primary.to_vec(), start_ts, commit_ts);
                let committed = answer(client.kv_commit_async(&commit)).await?;
                let refused = committed.has_region_error() || committed.has_error();
                ensure!(!refused, "KvCommit: {committed:?}");
                let rest = keyspace.commit(secondaries.to_vec(), start_ts, commit_ts);
                commit_behind(&connections, number, client, rest);
                Ok(1)
            }
        };
        load::closed_loop(&tikv.connections, 1, timing, Some(tikv.pid()), op)
    })
}

fn check_locked(answer: &PessimisticLockResponse) -> anyhow::Result<()> {
    let refused = answer.has_region_error() || !answer.get_errors().is_empty();
    ensure!(!refused, "KvPessimisticLock: {answer:?}");
    Ok(())
}

pub(crate) fn pessimistic_lock(tikv: &Rc<Tikv>) -> Load<'static> {
    let tikv = tikv.clone();
    Load::new("KvPessimisticLock, 1 in flight", move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let keyspace = tikv.keyspace.clone();
        let op = move |number, random: &mut Random| {
            let client = of(&stubs, number).clone();
            let keyspace = keyspace.clone();
            let lock =
                keyspace.pessimistic_lock(keyspace.any_key(random), keyspace.timestamp(), -1);
            async move {
                check_locked(&answer(client.kv_pessimistic_lock_async(&lock)).await?)?;
                let rollback = keyspace.pessimistic_rollback(&lock);
                let given_up = async move {
                    // A lock that stayed would show in the next one on that key.
                    let _ = answer(client.kv_pessimistic_rollback_async(&rollback)).await;
                };
                Ok((1, given_up))
            }
        };
        load::closed_loop_with_rest(&tikv.connections, 1, timing, Some(tikv.pid()), op)
    })
}

/// The counter after one more.
fn incremented(value: &[u8]) -> anyhow::Result<Vec<u8>> {
    let before: u64 = match value {
        b"" => 0,
        value => std::str::from_utf8(value)?.parse()?,
    };
    Ok((before + 1).to_string().into_bytes())
}

/// A lock on the counter, however often it takes; the value that it had.
async fn lock_counter(
    client: &TikvClient,
    keyspace: &Keyspace,
) -> anyhow::Result<(PessimisticLockRequest, Vec<u8>)> {
    let start_ts = keyspace.timestamp();
    loop {
        let lock = keyspace.pessimistic_lock(COUNTER.to_vec(), start_ts, WAIT_MS);
        let mut locked = answer(client.kv_pessimistic_lock_async(&lock)).await?;
        let conflict = locked.get_errors().iter().any(|error| error.has_conflict());
        if conflict {
            continue;
        }
        check_locked(&locked)?;
        let value = locked.take_values().into_iter().next().unwrap_or_default();
        return Ok((lock, value));
    }
}

pub(crate) fn increments(tikv: &Rc<Tikv>, clients: usize) -> Load<'static> {
    let tikv = tikv.clone();
    let name = format!("{clients} clients that lock and increment one key");
    Load::new(name, move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let keyspace = tikv.keyspace.clone();
        let op = move |number, _: &mut Random| {
            let (client, keyspace) = (of(&stubs, number).clone(), keyspace.clone());
            async move {
                let (lock, value) = lock_counter(&client, &keyspace).await?;
                let set = keyspace.set_locked(&lock, incremented(&value)?);
                let set = answer(client.kv_prewrite_async(&set)).await?;
                check_prewritten(&set)?;
                ensure!(set.get_one_pc_commit_ts() > 0, "not in one phase");
                Ok(1)
            }
        };
        load::closed_loop(&tikv.connections, clients, timing, Some(tikv.pid()), op)
    })
}

pub(crate) fn etcd_increments(etcd: &Rc<Etcd>, clients: usize) -> Load<'static> {
    let etcd = etcd.clone();
    let name = format!("{clients} clients of etcd that compare and swap one key");
    Load::new(name, move |timing| {
        let stubs: Arc<Vec<KvClient>> = etcd.connections.stubs(KvClient::new);
        let op = move |number, _: &mut Random| {
            let client = of(&stubs, number).clone();
            async move {
                loop {
                    let found = answer(client.range_async(&etcd_get(COUNTER))).await?;
                    let (revision, value) = match found.get_kvs() {
                        [pair] => (pair.get_mod_revision(), pair.get_value()),
                        _ => (0, &b""[..]),
                    };
                    let swap = etcd_set_unchanged(COUNTER, revision, incremented(value)?);
                    let swapped = answer(client.txn_async(&swap)).await?;
                    if swapped.get_succeeded() {
                        return Ok(1);
                    }
                }
            }
        };
        load::closed_loop(&etcd.connections, clients, timing, Some(etcd.pid()), op)
    })
}

/// What a key was to the transactions that were rolled back on it.
#[derive(Clone, Copy)]
pub(crate) enum RolledBack {
    /// One of many: the rollback need not be remembered once a later one is there.
    Secondary,
    /// The one that decides.
    Primary,
}

impl RolledBack {
    pub(crate) fn word(self) -> &'static str {
        match self {
            RolledBack::Secondary => "secondary",
            RolledBack::Primary => "primary",
        }
    }
}

/// Writes two keys, and rolls `count` transactions back on the first.
pub(crate) fn prepare_rolled_back(
    tikv: &Tikv,
    how: RolledBack,
    count: u64,
) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let client = TikvClient::new(tikv.connections.channel(0));
    let keyspace = &tikv.keyspace;
    let crowded = [b"crowded-", how.word().as_bytes()].concat();
    let plain = [b"plain-", how.word().as_bytes()].concat();
    for key in [&crowded, &plain] {
        check_prewritten(&client.kv_prewrite(&keyspace.one_phase(key.clone()))?)?;
    }
    for _ in 0..count {
        let start_ts = keyspace.timestamp();
        let refused = match how {
            RolledBack::Secondary => {
                let request = keyspace.rollback(crowded.clone(), start_ts);
                let answer = client.kv_batch_rollback(&request)?;
                answer.has_region_error() || answer.has_error()
            }
            RolledBack::Primary => {
                let answer = client.kv_cleanup(&keyspace.cleanup(crowded.clone(), start_ts))?;
                answer.has_region_error() || answer.has_error()
            }
        };
        if refused {
            bail!("a rollback was refused");
        }
    }
    Ok((crowded, plain))
}

pub(crate) fn get_one(tikv: &Rc<Tikv>, key: &[u8], what: &str) -> Load<'static> {
    let (tikv, key) = (tikv.clone(), key.to_vec());
    let name = format!("KvGet of one key, rolled back: {what}, 1 in flight");
    Load::new(name, move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let (keyspace, key) = (tikv.keyspace.clone(), key.clone());
        let op = move |number, _: &mut Random| {
            let sent = of(&stubs, number).kv_get_async(&keyspace.get_latest(key.clone()));
            answer(sent).map(|answer| check_kv_get(&answer?))
        };
        load::closed_loop(&tikv.connections, 1, timing, Some(tikv.pid()), op)
    })
}
