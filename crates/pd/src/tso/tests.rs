//! Tests of the oracle: tables, and histories with clock jumps, crashes and lost writes.

use engine_mem::MemEngine;
use proptest::prelude::*;

use super::*;
use crate::meta_store::{EngineMetaStore, MetaBatch, MetaStore as _, number_value, parse_number};

fn started(now_ms: u64) -> Tso {
    let mut tso = Tso::new(0);
    let write = tso.start(now_ms).unwrap();
    tso.persisted(write);
    tso
}

fn granted(tso: &mut Tso, count: u32) -> Timestamp {
    match tso.allocate(count) {
        Allocation::Granted(timestamp) => timestamp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_handed_out_before_a_bound_is_on_disk() {
    let mut tso = Tso::new(5_000);
    assert_eq!(tso.allocate(1), Allocation::NotStarted);
    let write = tso.tick(1_000).unwrap();
    assert_eq!(write.bound, 5_001 + BOUND_AHEAD_MS);
    assert_eq!(tso.allocate(1), Allocation::NotStarted);
    tso.persisted(write);
    let first = granted(&mut tso, 1);
    assert_eq!(
        first,
        Timestamp {
            physical: 5_001,
            logical: 1
        }
    );
}

#[test]
fn the_answer_is_the_last_of_its_range() {
    let mut tso = started(1_000);
    assert_eq!(granted(&mut tso, 1).logical, 1);
    assert_eq!(granted(&mut tso, 10).logical, 11);
    assert_eq!(granted(&mut tso, 1).logical, 12);
    assert_eq!(granted(&mut tso, 1).to_u64(), (1_000 << 18) + 13);
}

#[test]
fn many_requests_are_granted_in_their_order() {
    let mut tso = started(1_000);
    let mut all = Vec::new();
    assert_eq!(tso.allocate_each(&[], &mut all), None);
    assert_eq!(tso.allocate_each(&[3, 1, 10_000], &mut all), None);
    let logical: Vec<u64> = all.iter().map(|last| last.logical).collect();
    assert_eq!(logical, [3, 4, 10_004]);
    // What comes before the refused one holds, what comes after is not tried.
    let refused = tso.allocate_each(&[1, u32::MAX, 1], &mut all);
    assert_eq!(refused, Some(Allocation::TooMany));
    assert_eq!(all.len(), 4);
    assert_eq!(granted(&mut tso, 1).logical, 10_006);
    // As many as all milliseconds up to the bound hold, and then no more.
    let mut ends = Vec::new();
    let counts = vec![10_000; 200_000];
    let refused = tso.allocate_each(&counts, &mut ends);
    assert_eq!(refused, Some(Allocation::Exhausted));
    assert!(
        ends.windows(2)
            .all(|pair| pair[1].to_u64() >= pair[0].to_u64() + 10_000)
    );
}

#[test]
fn ticks_follow_the_clock_forward_only() {
    let mut tso = started(1_000);
    for (now, physical) in [
        (1_000, 1_000),
        (1_001, 1_000), // not more than the guard ahead
        (1_002, 1_002),
        (500, 1_002), // stepped back
        (1_003, 1_002),
        (3_000, 3_000),
    ] {
        assert_eq!(tso.tick(now), None);
        assert_eq!(tso.current().physical, physical, "clock {now}");
    }
}

#[test]
fn a_clock_that_stands_still_is_helped_along_at_half_the_counter() {
    let mut tso = started(1_000);
    let half = u32::try_from(LOGICAL_END / 2).unwrap();
    granted(&mut tso, half);
    assert_eq!(tso.tick(1_000), None);
    assert_eq!(tso.current().physical, 1_000);
    granted(&mut tso, 1);
    assert_eq!(tso.tick(1_000), None);
    assert_eq!(
        tso.current(),
        Timestamp {
            physical: 1_001,
            logical: 0
        }
    );
}

#[test]
fn overflow_takes_the_next_millisecond_only_below_the_bound() {
    let mut tso = started(1_000);
    let most = u32::try_from(LOGICAL_END - 1).unwrap();
    let mut last = 0;
    let mut milliseconds = 0;
    loop {
        match tso.allocate(most) {
            Allocation::Granted(timestamp) => {
                assert!(timestamp.to_u64() - u64::from(most) >= last);
                last = timestamp.to_u64();
                milliseconds += 1;
            }
            other => {
                assert_eq!(other, Allocation::Exhausted);
                break;
            }
        }
    }
    // All that the bound allows without a write, and not one more.
    assert_eq!(milliseconds, BOUND_AHEAD_MS - GUARD_MS);
    // The tick asks for a new bound; what it brings is above everything so far.
    let write = tso.tick(0).unwrap();
    assert_eq!(tso.allocate(1), Allocation::Exhausted);
    tso.persisted(write);
    assert!(granted(&mut tso, 1).to_u64() > last);
    assert_eq!(tso.allocate(most + 1), Allocation::TooMany);
    assert_eq!(tso.allocate(u32::MAX), Allocation::TooMany);
}

#[test]
fn requests_may_overtake_a_bound_under_way() {
    let mut tso = started(1_000);
    let write = tso.tick(1_000 + BOUND_AHEAD_MS).unwrap();
    let most = u32::try_from(LOGICAL_END - 1).unwrap();
    let mut last = 0;
    for _ in 0..100 {
        last = granted(&mut tso, most).to_u64();
    }
    tso.persisted(write);
    assert!(granted(&mut tso, 1).to_u64() > last);
}

#[test]
fn time_ends_before_the_format_does() {
    let mut tso = started(u64::MAX);
    let last = granted(&mut tso, 1);
    assert!(last.physical < 1 << 46);
    assert_eq!(tso.tick(u64::MAX), None);
    assert!(Tso::new((1 << 46) - 1).start(0).is_none());
}

/// What happens in a history.
#[derive(Clone, Debug)]
enum Event {
    /// The clock moves by this many milliseconds.
    Clock(i64),
    Allocate(u32),
    Tick(Write),
    /// The process dies and starts again on what the disk holds.
    Crash,
}

/// What becomes of a tick's write.
#[derive(Clone, Copy, Debug)]
enum Write {
    /// It reaches the disk and the oracle hears of it, after some requests.
    Done { requests_meanwhile: u32 },
    /// It reaches the disk, then the process dies.
    DoneThenCrash,
    /// The process dies before it reaches the disk.
    Lost,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let write = prop_oneof![
        6 => (0u32..4).prop_map(|requests_meanwhile| Write::Done { requests_meanwhile }),
        1 => Just(Write::DoneThenCrash),
        1 => Just(Write::Lost),
    ];
    let event = prop_oneof![
        3 => (0i64..100).prop_map(Event::Clock),
        1 => (-100_000i64..100_000).prop_map(Event::Clock),
        1 => prop_oneof![Just(i64::MIN / 4), Just(i64::MAX / 4)].prop_map(Event::Clock),
        6 => (1u32..300).prop_map(Event::Allocate),
        3 => (100_000u32..262_144).prop_map(Event::Allocate),
        4 => write.prop_map(Event::Tick),
        1 => Just(Event::Crash),
    ];
    proptest::collection::vec(event, 1..200)
}

/// An oracle on a disk, with a witness of everything it ever handed out.
struct World {
    engine: MemEngine,
    tso: Tso,
    now_ms: i64,
    highest: u64,
}

impl World {
    fn new() -> World {
        let mut world = World {
            engine: MemEngine::new(),
            tso: Tso::new(0),
            now_ms: 1_700_000_000_000,
            highest: 0,
        };
        world.restart();
        world
    }

    fn now(&self) -> u64 {
        u64::try_from(self.now_ms).unwrap_or(0)
    }

    fn write(&self, write: BoundWrite) {
        let mut batch = MetaBatch::default();
        batch.put(b"bound".to_vec(), number_value(write.bound));
        EngineMetaStore::new(self.engine.clone())
            .write(batch)
            .unwrap();
    }

    fn restart(&mut self) {
        self.engine = self.engine.crash();
        let saved = EngineMetaStore::new(self.engine.clone())
            .get(b"bound")
            .unwrap();
        let saved = saved.map_or(0, |value| parse_number(b"bound", &value).unwrap());
        self.tso = Tso::new(saved);
        // Only a clock at the end of time runs out of bounds.
        if let Some(write) = self.tso.start(self.now()) {
            self.write(write);
            self.tso.persisted(write);
        }
    }

    fn allocate(&mut self, count: u32) {
        if let Allocation::Granted(last) = self.tso.allocate(count) {
            let first = last.to_u64() - u64::from(count) + 1;
            assert!(first > self.highest, "{first} after {}", self.highest);
            self.highest = last.to_u64();
        }
    }

    fn tick(&mut self, fate: Write) {
        let now = self.now();
        let Some(write) = self.tso.tick(now) else {
            return;
        };
        match fate {
            Write::Done { requests_meanwhile } => {
                self.write(write);
                for _ in 0..requests_meanwhile {
                    self.allocate(200_000);
                }
                self.tso.persisted(write);
            }
            Write::DoneThenCrash => {
                self.write(write);
                self.restart();
            }
            Write::Lost => self.restart(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the clock, the disk and the process do, no timestamp comes twice or too low.
    #[test]
    fn timestamps_only_grow(history in events()) {
        let mut world = World::new();
        for event in history {
            match event {
                Event::Clock(by) => world.now_ms = world.now_ms.saturating_add(by),
                Event::Allocate(count) => world.allocate(count),
                Event::Tick(fate) => world.tick(fate),
                Event::Crash => world.restart(),
            }
        }
    }
}
