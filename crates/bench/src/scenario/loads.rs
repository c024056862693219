//! The loads that scenarios compare, each by name.

use std::rc::Rc;
use std::sync::Arc;

use anyhow::ensure;
use futures::future::{Either, ready};
use futures::{Future, FutureExt as _, TryFutureExt as _};
use grpcio::{Client, ClientUnaryReceiver};
use kvproto::etcdserverpb::KvClient;
use kvproto::healthpb::{HealthCheckRequest, HealthClient};
use kvproto::tikvpb::TikvClient;

use crate::lab::Load;
use crate::load::{self, Batched, RedisCommand};
use crate::random::Random;
use crate::target::{self, Etcd, Keyspace, PlainFile, RaftLog, Redis, Rocks, Tikv, key};

/// The answer of a call, whether or not it could be sent.
pub(crate) fn answer<T: Send + Unpin + 'static>(
    sent: grpcio::Result<ClientUnaryReceiver<T>>,
) -> impl Future<Output = anyhow::Result<T>> + Send + 'static {
    match sent {
        Ok(receiver) => Either::Left(receiver.map_err(anyhow::Error::from)),
        Err(error) => Either::Right(ready(Err(anyhow::Error::from(error)))),
    }
}

/// The stub of worker `number`.
pub(crate) fn of<C>(stubs: &[C], number: usize) -> &C {
    &stubs[number % stubs.len()]
}

pub(crate) fn empty_rpc(tikv: &Rc<Tikv>, in_flight: usize) -> Load<'static> {
    let tikv = tikv.clone();
    Load::new(format!("empty RPC, {in_flight} in flight"), move |timing| {
        let stubs = tikv.connections.stubs(HealthClient::new);
        let op = move |number, _: &mut _| {
            let sent = of(&stubs, number).check_async(&HealthCheckRequest::default());
            answer(sent).map_ok(|_| 1)
        };
        load::closed_loop(&tikv.connections, in_flight, timing, Some(tikv.pid()), op)
    })
}

pub(crate) fn raw_get(tikv: &Rc<Tikv>, in_flight: usize) -> Load<'static> {
    let tikv = tikv.clone();
    Load::new(format!("RawGet, {in_flight} in flight"), move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let keyspace = tikv.keyspace.clone();
        let op = move |number, random: &mut _| {
            let sent = of(&stubs, number).raw_get_async(&keyspace.raw_get(random));
            answer(sent).map(|answer| load::check_raw_get(&answer?))
        };
        load::closed_loop(&tikv.connections, in_flight, timing, Some(tikv.pid()), op)
    })
}

pub(crate) fn kv_get(tikv: &Rc<Tikv>, in_flight: usize) -> Load<'static> {
    let tikv = tikv.clone();
    Load::new(format!("KvGet, {in_flight} in flight"), move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let keyspace = tikv.keyspace.clone();
        let op = move |number, random: &mut _| {
            let sent = of(&stubs, number).kv_get_async(&keyspace.kv_get(random));
            answer(sent).map(|answer| load::check_kv_get(&answer?))
        };
        load::closed_loop(&tikv.connections, in_flight, timing, Some(tikv.pid()), op)
    })
}

/// Reads of the newest version of the first `count` keys of a family.
pub(crate) fn kv_get_family(
    tikv: &Rc<Tikv>,
    (prefix, count): (u8, u64),
    in_flight: usize,
) -> Load<'static> {
    let tikv = tikv.clone();
    let name = format!("KvGet of the newest version, {in_flight} in flight");
    Load::new(name, move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let keyspace = tikv.keyspace.clone();
        let op = move |number, random: &mut Random| {
            let mut request = keyspace.get_latest(key(prefix, random.below(count)));
            // Our own timestamps may lie below the safe point.
            request.set_version(u64::MAX);
            let sent = of(&stubs, number).kv_get_async(&request);
            answer(sent).map(|answer| load::check_kv_get(&answer?))
        };
        load::closed_loop(&tikv.connections, in_flight, timing, Some(tikv.pid()), op)
    })
}

pub(crate) fn batched(tikv: &Rc<Tikv>, in_flight: usize, kind: Batched) -> Load<'static> {
    let tikv = tikv.clone();
    let name = match kind {
        Batched::RawGet => "RawGet",
        Batched::KvGet => "KvGet",
        Batched::RawPut => "RawPut",
    };
    let name = format!("{name} in BatchCommands, {in_flight} in flight");
    Load::new(name, move |timing| {
        let server = Some(tikv.pid());
        load::batched(
            &tikv.connections,
            in_flight,
            timing,
            server,
            &tikv.keyspace,
            kind,
        )
    })
}

pub(crate) fn kv_scan(tikv: &Rc<Tikv>, in_flight: usize) -> Load<'static> {
    let tikv = tikv.clone();
    Load::new(format!("KvScan, {in_flight} in flight"), move |timing| {
        let clients = tikv.connections.stubs(Client::new);
        let keyspace = tikv.keyspace.clone();
        let op = move |number, random: &mut _| {
            let sent = load::scan_rows(of(&clients, number), &keyspace.kv_scan(random));
            answer(sent).map(|answer| answer?.of_answer())
        };
        load::closed_loop(&tikv.connections, in_flight, timing, Some(tikv.pid()), op)
    })
}

/// A scan that is work for the server and none for the client.
pub(crate) fn sampled_scan(
    tikv: &Tikv,
    rows: u64,
    max_execution_ms: u64,
) -> impl Fn(
    usize,
    &mut crate::random::Random,
) -> futures::future::BoxFuture<'static, anyhow::Result<u64>>
+ Send
+ Sync
+ 'static
+ use<> {
    let stubs = tikv.connections.stubs(TikvClient::new);
    let keyspace = tikv.keyspace.clone();
    move |number, random| {
        let request = keyspace.kv_sample(random, rows, max_execution_ms);
        let sent = of(&stubs, number).kv_scan_async(&request);
        let checked = answer(sent).map(|answer| {
            let answer = answer?;
            ensure!(
                !answer.has_region_error() && !answer.has_error(),
                "{:?}",
                answer.get_region_error()
            );
            ensure!(!answer.get_pairs().is_empty(), "KvScan found nothing");
            Ok(1)
        });
        checked.boxed()
    }
}

pub(crate) fn raw_put(tikv: &Rc<Tikv>, in_flight: usize) -> Load<'static> {
    let tikv = tikv.clone();
    Load::new(format!("RawPut, {in_flight} in flight"), move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let keyspace = tikv.keyspace.clone();
        let op = move |number, random: &mut _| {
            let sent = of(&stubs, number).raw_put_async(&keyspace.raw_put(random));
            answer(sent).map(|answer| load::check_raw_put(&answer?))
        };
        load::closed_loop(&tikv.connections, in_flight, timing, Some(tikv.pid()), op)
    })
}

async fn transaction(
    stubs: Arc<Vec<TikvClient>>,
    number: usize,
    keyspace: Keyspace,
    key: Vec<u8>,
) -> anyhow::Result<u64> {
    let client = of(&stubs, number);
    let start_ts = keyspace.timestamp();
    let prewrite = keyspace.prewrite(vec![key.clone()], start_ts);
    let prewritten = answer(client.kv_prewrite_async(&prewrite)).await?;
    let refused = prewritten.has_region_error() || !prewritten.get_errors().is_empty();
    ensure!(!refused, "KvPrewrite: {prewritten:?}");
    let commit = keyspace.commit(vec![key], start_ts, keyspace.timestamp());
    let committed = answer(client.kv_commit_async(&commit)).await?;
    let refused = committed.has_region_error() || committed.has_error();
    ensure!(!refused, "KvCommit: {committed:?}");
    Ok(1)
}

pub(crate) fn txn(tikv: &Rc<Tikv>, in_flight: usize) -> Load<'static> {
    let tikv = tikv.clone();
    let name = format!("prewrite and commit, {in_flight} in flight");
    Load::new(name, move |timing| {
        let stubs = tikv.connections.stubs(TikvClient::new);
        let keyspace = tikv.keyspace.clone();
        let op = move |number, random: &mut crate::random::Random| {
            // Nobody else has this key: conflicts are another subject.
            let key = key(b'w', random.next());
            transaction(stubs.clone(), number, keyspace.clone(), key)
        };
        load::closed_loop(&tikv.connections, in_flight, timing, Some(tikv.pid()), op)
    })
}

pub(crate) fn timestamps(tikv: &Rc<Tikv>, streams: usize, batch: u32) -> Load<'static> {
    let tikv = tikv.clone();
    let name = format!("Tso, {streams} streams, {batch} a request");
    Load::new(name, move |timing| {
        let server = Some(tikv.pid());
        load::timestamps(&tikv.pd, streams, batch, timing, server, tikv.cluster_id)
    })
}

pub(crate) fn redis(redis: &Rc<Redis>, in_flight: usize, command: RedisCommand) -> Load<'static> {
    let redis = redis.clone();
    let name = match command {
        RedisCommand::Get => "GET",
        RedisCommand::Set => "SET",
    };
    let name = format!("Redis {name}, {in_flight} connections");
    Load::new(name, move |timing| {
        load::redis(redis.address(), in_flight, timing, redis.pid(), command)
    })
}

pub(crate) fn etcd_put(etcd: &Rc<Etcd>, in_flight: usize) -> Load<'static> {
    let etcd = etcd.clone();
    Load::new(format!("etcd Put, {in_flight} in flight"), move |timing| {
        let stubs = etcd.connections.stubs(KvClient::new);
        let op = move |number, random: &mut _| {
            let sent = of(&stubs, number).put_async(&target::etcd_put(random));
            answer(sent).map_ok(|_| 1)
        };
        load::closed_loop(&etcd.connections, in_flight, timing, Some(etcd.pid()), op)
    })
}

pub(crate) fn rocks_get(rocks: &Arc<Rocks>, threads: usize) -> Load<'static> {
    let rocks = rocks.clone();
    Load::new(format!("RocksDB get, {threads} threads"), move |timing| {
        let rocks = rocks.clone();
        load::threads(threads, timing, move |_, random| rocks.get(random))
    })
}

pub(crate) fn rocks_scan(rocks: &Arc<Rocks>, threads: usize) -> Load<'static> {
    let rocks = rocks.clone();
    let name = format!("RocksDB iterator, {threads} threads");
    Load::new(name, move |timing| {
        let rocks = rocks.clone();
        load::threads(threads, timing, move |_, random| rocks.scan(random))
    })
}

pub(crate) fn rocks_put(rocks: &Arc<Rocks>, threads: usize) -> Load<'static> {
    let rocks = rocks.clone();
    let name = format!("RocksDB synced put, {threads} threads");
    Load::new(name, move |timing| {
        let rocks = rocks.clone();
        load::threads(threads, timing, move |_, random| rocks.put_synced(random))
    })
}

pub(crate) fn raft_append(log: &Arc<RaftLog>, threads: usize) -> Load<'static> {
    let log = log.clone();
    let name = format!("raft-engine synced append, {threads} threads");
    Load::new(name, move |timing| {
        let log = log.clone();
        load::threads(threads, timing, move |number, random| {
            log.append_synced(number, random)
        })
    })
}

pub(crate) fn fdatasync(file: &Arc<PlainFile>) -> Load<'static> {
    let file = file.clone();
    Load::new("append of 4 KiB and fdatasync", move |timing| {
        let file = file.clone();
        load::threads(1, timing, move |_, _| file.append_synced())
    })
}
