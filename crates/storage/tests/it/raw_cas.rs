//! Compare-and-swap against every raw writer, interleaved by many seeds.
//!
//! One swap (from `a` to `b`) meets one other writer on the same key. Whatever the order, the end must be what the
//! other writer left: either it came last, or it came first and the swap found another value than it expected. A swap
//! whose comparison and write are torn apart ends with `b`.

use futures::future::{BoxFuture, FutureExt, join, join_all};
use storage::{CasRequest, CasResult};

use crate::driver::{World, tracker};

const SEEDS: u64 = 60;

type Writer = fn(&World) -> BoxFuture<'static, ()>;

fn cas(
    world: &World,
    expected: Option<&[u8]>,
    value: &[u8],
) -> impl Future<Output = storage::Result<CasResult>> + Send + 'static + use<> {
    let request = CasRequest {
        key: b"k".to_vec(),
        expected: expected.map(<[u8]>::to_vec),
        value: value.to_vec(),
        ttl: 0,
        delete: false,
    };
    world
        .storage
        .raw_compare_and_swap(world.context(), String::new(), request, tracker())
}

fn get(world: &World) -> Option<Vec<u8>> {
    let read = world
        .storage
        .raw_get(world.context(), String::new(), b"k".to_vec(), tracker());
    world.run(read).unwrap()
}

fn meets(writer: Writer, left: Option<&[u8]>) {
    let mut swapped = 0;
    for seed in 0..SEEDS {
        let world = World::new(seed);
        assert!(world.run(cas(&world, None, b"a")).unwrap().succeed);
        let (swap, other) = (cas(&world, Some(b"a"), b"b"), writer(&world));
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

#[test]
fn swap_meets_put() {
    meets(
        |world| {
            let pair = (b"k".to_vec(), b"c".to_vec());
            let put = world
                .storage
                .raw_put(world.context(), String::new(), pair, 0, tracker());
            put.map(Result::unwrap).boxed()
        },
        Some(b"c"),
    );
}

#[test]
fn swap_meets_batch_put() {
    meets(
        |world| {
            let pairs = [b"j", b"k", b"l"]
                .map(|key| (key.to_vec(), b"c".to_vec()))
                .into();
            let (ctx, cf) = (world.context(), String::new());
            let put = world
                .storage
                .raw_batch_put(ctx, cf, pairs, Vec::new(), tracker());
            put.map(Result::unwrap).boxed()
        },
        Some(b"c"),
    );
}

#[test]
fn swap_meets_delete() {
    meets(
        |world| {
            let (ctx, cf) = (world.context(), String::new());
            let delete = world.storage.raw_delete(ctx, cf, b"k".to_vec(), tracker());
            delete.map(Result::unwrap).boxed()
        },
        None,
    );
}

#[test]
fn swap_meets_batch_delete() {
    meets(
        |world| {
            let (ctx, cf) = (world.context(), String::new());
            let keys = vec![b"k".to_vec(), b"z".to_vec()];
            let delete = world.storage.raw_batch_delete(ctx, cf, keys, tracker());
            delete.map(Result::unwrap).boxed()
        },
        None,
    );
}

#[test]
fn swap_meets_delete_range() {
    meets(
        |world| {
            let (ctx, cf) = (world.context(), String::new());
            let (start, end) = (b"a".to_vec(), b"z".to_vec());
            let delete = world
                .storage
                .raw_delete_range(ctx, cf, start, end, tracker());
            delete.map(Result::unwrap).boxed()
        },
        None,
    );
}

#[test]
fn of_two_swaps_from_one_value_one_succeeds() {
    for seed in 0..SEEDS {
        let world = World::new(seed);
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
fn no_increment_is_lost() {
    const CLIENTS: u64 = 5;
    const INCREMENTS: u64 = 8;
    for seed in 0..10 {
        let world = World::new(seed);
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

fn read_number(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}
