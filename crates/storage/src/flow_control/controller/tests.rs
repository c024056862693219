//! Pressure in, permission out: tables of engine figures, and what the controller makes of them.

use online_config::ReadableSize;
use runtime::VirtualClock;

use engine_traits::CfPressure;

use super::*;
use crate::flow_control::bucket::Bucket;

const MIB: f64 = 1024.0 * 1024.0;
const TICK: Duration = Duration::from_millis(10);

fn bears() -> Backlog {
    Backlog {
        immutable_mem_tables: 4,
        level0_files: 32,
        pending_compaction_bytes: 3 << 39,
    }
}

/// `backlog` in the write column family, nothing in the others.
fn pressure(backlog: Backlog) -> WritePressure {
    let of = |cf| CfPressure {
        cf,
        backlog: if cf == Cf::Write {
            backlog
        } else {
            Backlog::default()
        },
        limit: bears(),
        mem_table_bytes: 32 << 20,
    };
    WritePressure {
        cfs: Cf::DATA.map(of),
        held_back: HeldBack::Free,
    }
}

fn mem_tables(immutable_mem_tables: u64) -> WritePressure {
    pressure(Backlog {
        immutable_mem_tables,
        ..Backlog::default()
    })
}

fn level0(level0_files: u64) -> WritePressure {
    pressure(Backlog {
        level0_files,
        ..Backlog::default()
    })
}

fn pending(gib: u64) -> WritePressure {
    pressure(Backlog {
        pending_compaction_bytes: gib << 30,
        ..Backlog::default()
    })
}

/// A controller that has seen 100 MiB/s for a while.
fn warm(config: FlowControlConfig) -> (Controller, VirtualClock) {
    let time = VirtualClock::new();
    let mut controller = Controller::new(config);
    for _ in 0..100 {
        time.advance(Duration::from_millis(100));
        let verdict = controller.look(time.now(), &mem_tables(0), 10 << 20);
        assert_eq!(verdict, Verdict::Free);
    }
    assert!((controller.flow() / MIB - 100.0).abs() < 1.0);
    (controller, time)
}

/// The rate for each backlog, in MiB/s, when the flow until then was 100 MiB/s.
fn first_rate(pressure: &WritePressure) -> Option<(u64, Cause)> {
    let (mut controller, time) = warm(FlowControlConfig::default());
    time.advance(Duration::from_millis(100));
    match controller.look(time.now(), pressure, 10 << 20) {
        Verdict::Free => None,
        Verdict::Rate(rate, cause) | Verdict::Refuse(rate, cause) => {
            Some(((rate / MIB).round() as u64, cause))
        }
    }
}

#[test]
fn the_worse_the_slower() {
    let rate = |pressure| first_rate(&pressure).map(|(rate, _)| rate);
    // Half of four buffers, because the engine stops with fewer than the configuration would wait for.
    assert_eq!(
        [0, 1, 2, 3, 4].map(|n| rate(mem_tables(n))),
        [None, None, Some(83), Some(17), Some(2)]
    );
    assert_eq!(
        [19, 20, 24, 28, 32, 99].map(|n| rate(level0(n))),
        [None, Some(100), Some(50), Some(2), Some(2), Some(2)]
    );
    let slow = [191, 192, 500, 1023].map(|gib| rate(pending(gib)));
    assert_eq!(slow, [None, Some(141), Some(70), Some(2)]);
    let (_, cause) = first_rate(&level0(20)).unwrap();
    assert_eq!(cause, Cause::Level0Files(Cf::Write));
}

#[test]
fn an_engine_that_holds_writers_back_slows_them_down_whatever_the_figures() {
    let mut slowed = mem_tables(0);
    slowed.held_back = HeldBack::Slowed;
    assert_eq!(first_rate(&slowed), Some((2, Cause::Engine)));
}

#[test]
fn beyond_the_hard_limit_nothing_new_is_taken() {
    let (mut controller, time) = warm(FlowControlConfig::default());
    time.advance(TICK);
    let verdict = controller.look(time.now(), &pending(1024), 0);
    assert!(matches!(
        verdict,
        Verdict::Refuse(_, Cause::PendingCompaction(Cf::Write))
    ));
    time.advance(TICK);
    let verdict = controller.look(time.now(), &pending(1023), 0);
    assert!(matches!(verdict, Verdict::Rate(..)), "{verdict:?}");
}

#[test]
fn writers_are_free_a_second_after_the_last_backlog() {
    let (mut controller, time) = warm(FlowControlConfig::default());
    let mut look = |n, ms| {
        time.advance(Duration::from_millis(ms));
        controller.look(time.now(), &mem_tables(n), 0) == Verdict::Free
    };
    assert!(look(1, 100), "one is not enough to begin");
    assert!(!look(2, 100));
    assert!(!look(1, 100));
    assert!(!look(1, 900), "the calm begins with the first quiet look");
    assert!(!look(2, 50));
    assert!(!look(1, 50));
    assert!(look(1, 1000));
}

#[test]
fn it_can_be_turned_off_and_never_stands_still() {
    let (mut controller, time) = warm(FlowControlConfig::default());
    let mut rate = f64::MAX;
    // Nobody writes for an hour, and the backlog stays.
    for _ in 0..36_000 {
        time.advance(Duration::from_millis(100));
        let Verdict::Rate(now, _) = controller.look(time.now(), &level0(31), 0) else {
            panic!("not held back");
        };
        rate = now;
    }
    assert_eq!(rate, RATE_MIN);
    controller.reconfigure(FlowControlConfig {
        enable: false,
        ..FlowControlConfig::default()
    });
    let verdict = controller.look(time.now(), &pending(2000), 0);
    assert_eq!(verdict, Verdict::Free);
}

/// An engine with one column family: buffers are flushed at one speed, and files merged at another, many at a time.
struct Plant {
    mem_table_bytes: f64,
    flush_rate: f64,
    merge_rate: f64,
    unflushed: f64,
    level0: f64,
    merging: Option<f64>,
}

impl Plant {
    fn step(&mut self, written: f64, passed: Duration) {
        let passed = passed.as_secs_f64();
        self.unflushed += written;
        // Only full buffers are flushed.
        let full = (self.unflushed / self.mem_table_bytes).floor() * self.mem_table_bytes;
        let flushed = (self.flush_rate * passed).min(full);
        self.unflushed -= flushed;
        self.level0 += flushed;
        // A merge takes all files there are, and they go when it ends.
        if let Some(left) = &mut self.merging {
            *left -= self.merge_rate * passed;
            if *left <= 0.0 {
                self.merging = None;
            }
        } else if self.files() >= 4 {
            self.merging = Some(self.level0);
            self.level0 = 0.0;
        }
    }

    fn files(&self) -> u64 {
        ((self.level0 + self.merging.map_or(0.0, |left| left.max(0.0))) / self.mem_table_bytes)
            as u64
    }

    fn pressure(&self) -> WritePressure {
        pressure(Backlog {
            immutable_mem_tables: (self.unflushed / self.mem_table_bytes) as u64,
            level0_files: self.files(),
            pending_compaction_bytes: 0,
        })
    }
}

/// What writers that could do `demand` MiB/s got done in three minutes, as a share of what the engine can do, and how often
/// the engine had more than it bears once flow control knew it.
fn overload(flush: f64, merge: f64, demand: f64, config: FlowControlConfig) -> (f64, u64) {
    let time = VirtualClock::new();
    let mut controller = Controller::new(config);
    let mut plant = Plant {
        mem_table_bytes: 32.0 * MIB,
        flush_rate: flush * MIB,
        merge_rate: merge * MIB,
        unflushed: 0.0,
        level0: 0.0,
        merging: None,
    };
    let mut bucket: Option<Bucket> = None;
    let (mut written, mut since, mut stalls) = (0.0, 0.0, 0);
    const STEPS: u64 = 18_000;
    const WARM_UP: u64 = 500;
    for step in 0..STEPS {
        time.advance(TICK);
        let wanted = demand * MIB * TICK.as_secs_f64();
        let limit = bears();
        let Backlog {
            immutable_mem_tables,
            level0_files,
            ..
        } = plant.pressure().cfs[2].backlog;
        let stalled = immutable_mem_tables >= limit.immutable_mem_tables
            || level0_files >= limit.level0_files;
        let passes = match &mut bucket {
            _ if stalled => false,
            None => true,
            Some(bucket) => bucket.wait(bucket.turn(), time.now()).is_zero(),
        };
        let done = if passes { wanted } else { 0.0 };
        if let (true, Some(bucket)) = (passes, &mut bucket) {
            bucket.take(wanted as usize);
        }
        since += done;
        if step >= WARM_UP {
            written += done;
            stalls += u64::from(stalled);
        }
        plant.step(done, TICK);
        if step % 10 == 0 || since >= 16.0 * MIB {
            let verdict = controller.look(time.now(), &plant.pressure(), since as u64);
            since = 0.0;
            bucket = match (verdict, bucket) {
                (Verdict::Free, _) => None,
                (Verdict::Rate(rate, _) | Verdict::Refuse(rate, _), None) => {
                    Some(Bucket::new(rate, time.now()))
                }
                (Verdict::Rate(rate, _) | Verdict::Refuse(rate, _), Some(mut bucket)) => {
                    bucket.set_rate(rate, time.now());
                    Some(bucket)
                }
            };
        }
    }
    let seconds = TICK.as_secs_f64() * (STEPS - WARM_UP) as f64;
    (written / MIB / seconds / flush.min(merge), stalls)
}

#[test]
fn at_twice_the_capacity_of_the_engine_nine_tenths_are_of_use_and_it_never_stalls() {
    for (flush, merge) in [
        (50.0_f64, 200.0_f64),
        (200.0, 400.0),
        (400.0, 1000.0),
        (200.0, 60.0),
        (400.0, 100.0),
    ] {
        for times in [1.5_f64, 2.0, 4.0] {
            let demand = flush.min(merge) * times;
            let (goodput, stalls) = overload(flush, merge, demand, FlowControlConfig::default());
            println!("{flush} {merge} x{times}: {goodput:.3} {stalls}");
            assert!(goodput >= 0.9, "{flush} {merge} x{times}: {goodput}");
            assert_eq!(stalls, 0, "{flush} {merge} x{times}");
            let off = FlowControlConfig {
                enable: false,
                ..FlowControlConfig::default()
            };
            let (_, stalls) = overload(flush, merge, demand, off);
            assert!(stalls > 100, "{flush} {merge} x{times}: {stalls}");
        }
    }
}

#[test]
fn below_the_capacity_nobody_is_held_back() {
    let (goodput, _) = overload(100.0, 100.0, 80.0, FlowControlConfig::default());
    assert!((0.79..0.81).contains(&goodput), "{goodput}");
}

#[test]
fn a_threshold_that_is_lower_counts() {
    let config = FlowControlConfig {
        memtables_threshold: 1,
        soft_pending_compaction_bytes_limit: ReadableSize::gb(1),
        hard_pending_compaction_bytes_limit: ReadableSize::gb(2),
        ..FlowControlConfig::default()
    };
    for pressure in [mem_tables(1), pending(1)] {
        let (mut controller, time) = warm(config.clone());
        time.advance(TICK);
        let verdict = controller.look(time.now(), &pressure, 0);
        assert!(matches!(verdict, Verdict::Rate(..)), "{verdict:?}");
    }
}
