//! Compare-and-swap against every raw writer, interleaved by many seeds.
//!
//! One swap (from `a` to `b`) meets one other writer on the same key. Whatever the order, the end must be what the
//! other writer left: either it came last, or it came first and the swap found another value than it expected. A swap
//! whose comparison and write are torn apart ends with `b`.

use api_version::{ApiV1, ApiV1Ttl, ApiV2, KvFormat};
use engine_mem::MemEngine;
use futures::future::{BoxFuture, FutureExt, join, join_all};
use storage::{CasRequest, CasResult, Config};

use crate::driver::{World, tracker};

const SEEDS: u64 = 60;

/// A raw key in every format, and its neighbours.
const KEY: &[u8] = b"rk";
const BEFORE: &[u8] = b"rj";
const BEHIND: &[u8] = b"rl";

type Store<F> = World<MemEngine, F>;
type Writer<F> = fn(&Store<F>) -> BoxFuture<'static, ()>;

fn store<F: KvFormat>(seed: u64) -> Store<F> {
    World::in_format(MemEngine::new(), seed, &Config::default())
}

fn cas<F: KvFormat>(
    world: &Store<F>,
    expected: Option<&[u8]>,
    value: &[u8],
) -> impl Future<Output = storage::Result<CasResult>> + Send + 'static + use<F> {
    let request = CasRequest {
        key: KEY.to_vec(),
        expected: expected.map(<[u8]>::to_vec),
        value: value.to_vec(),
        ttl: 0,
        delete: false,
    };
    world
        .storage
        .raw_compare_and_swap(world.context(), String::new(), request, tracker())
}

fn get<F: KvFormat>(world: &Store<F>) -> Option<Vec<u8>> {
    let read = world
        .storage
        .raw_get(world.context(), String::new(), KEY.to_vec(), tracker());
    world.run(read).unwrap()
}

fn meets<F: KvFormat>(writer: Writer<F>, left: Option<&[u8]>) {
    let mut swapped = 0;
    for seed in 0..SEEDS {
        let world = store(seed);
        assert!(world.run(cas(&world, None, b"a")).unwrap().succeed);
        let (swap, other) = (cas(&world, Some(b"a"), b"b"), writer(&world));
        let (swap, other) = (world.start(swap), world.start(other));
        // The one that is asked first is not always the one that runs first.
        let (result, ()) = world.run(join(swap, other));
        swapped += u32::from(result.unwrap().succeed);
        assert_eq!(get(&world).as_deref(), left, "seed {seed}");
        assert_eq!(world.storage.scheduler().latches_in_use(), 0);
    }
    assert!(
        swapped > 0 && u64::from(swapped) < SEEDS,
        "both orders must occur: {swapped}"
    );
}

fn put<F: KvFormat>(world: &Store<F>) -> BoxFuture<'static, ()> {
    let pair = (KEY.to_vec(), b"c".to_vec());
    let put = world
        .storage
        .raw_put(world.context(), String::new(), pair, 0, tracker());
    put.map(Result::unwrap).boxed()
}

fn batch_put<F: KvFormat>(world: &Store<F>) -> BoxFuture<'static, ()> {
    let pairs = [BEFORE, KEY, BEHIND]
        .map(|key| (key.to_vec(), b"c".to_vec()))
        .into();
    let (ctx, cf) = (world.context(), String::new());
    let put = world
        .storage
        .raw_batch_put(ctx, cf, pairs, Vec::new(), tracker());
    put.map(Result::unwrap).boxed()
}

fn delete<F: KvFormat>(world: &Store<F>) -> BoxFuture<'static, ()> {
    let (ctx, cf) = (world.context(), String::new());
    let delete = world.storage.raw_delete(ctx, cf, KEY.to_vec(), tracker());
    delete.map(Result::unwrap).boxed()
}

fn batch_delete<F: KvFormat>(world: &Store<F>) -> BoxFuture<'static, ()> {
    let (ctx, cf) = (world.context(), String::new());
    let keys = vec![KEY.to_vec(), BEHIND.to_vec()];
    let delete = world.storage.raw_batch_delete(ctx, cf, keys, tracker());
    delete.map(Result::unwrap).boxed()
}

fn delete_range<F: KvFormat>(world: &Store<F>) -> BoxFuture<'static, ()> {
    let (ctx, cf) = (world.context(), String::new());
    let (start, end) = (BEFORE.to_vec(), BEHIND.to_vec());
    let delete = world
        .storage
        .raw_delete_range(ctx, cf, start, end, tracker());
    delete.map(Result::unwrap).boxed()
}

fn meets_every_writer<F: KvFormat>() {
    meets::<F>(put, Some(b"c"));
    meets::<F>(batch_put, Some(b"c"));
    meets::<F>(delete, None);
    meets::<F>(batch_delete, None);
    meets::<F>(delete_range, None);
}

#[test]
fn a_swap_meets_every_writer_in_v1() {
    meets_every_writer::<ApiV1>();
}

#[test]
fn a_swap_meets_every_writer_in_v1ttl() {
    meets_every_writer::<ApiV1Ttl>();
}

#[test]
fn a_swap_meets_every_writer_in_v2() {
    meets_every_writer::<ApiV2>();
}

fn one_of_two_swaps_succeeds<F: KvFormat>() {
    for seed in 0..SEEDS {
        let world = store::<F>(seed);
        assert!(world.run(cas(&world, None, b"a")).unwrap().succeed);
        let both = join(cas(&world, Some(b"a"), b"b"), cas(&world, Some(b"a"), b"c"));
        let (one, two) = world.run(both);
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one.succeed != two.succeed, "seed {seed}");
        let left = if one.succeed { b"b" } else { b"c" };
        assert_eq!(get(&world).as_deref(), Some(left.as_slice()));
        let loser = if one.succeed { two } else { one };
        assert_eq!(loser.previous.as_deref(), Some(left.as_slice()));
    }
}

#[test]
fn of_two_swaps_from_one_value_one_succeeds() {
    one_of_two_swaps_succeeds::<ApiV1>();
    one_of_two_swaps_succeeds::<ApiV2>();
}

fn every_increment_counts<F: KvFormat>() {
    const CLIENTS: u64 = 5;
    const INCREMENTS: u64 = 8;
    for seed in 0..10 {
        let world = store::<F>(seed);
        let counters = (0..CLIENTS).map(|_| async {
            let mut seen: Option<Vec<u8>> = None;
            let mut done = 0;
            while done < INCREMENTS {
                let next = seen.as_ref().map_or(0, |bytes| read_number(bytes)) + 1;
                let result = cas(&world, seen.as_deref(), next.to_string().as_bytes())
                    .await
                    .unwrap();
                if result.succeed {
                    done += 1;
                    seen = Some(next.to_string().into_bytes());
                } else {
                    seen = result.previous;
                }
            }
        });
        world.run(join_all(counters));
        assert_eq!(
            get(&world).map(|bytes| read_number(&bytes)),
            Some(CLIENTS * INCREMENTS)
        );
    }
}

#[test]
fn no_increment_is_lost() {
    every_increment_counts::<ApiV1>();
    every_increment_counts::<ApiV2>();
}

fn read_number(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}
