//! Batches, under a stepper: an oracle that only goes forward, slow, failing and lying ones.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::FutureExt as _;
use futures::future::join_all;
use runtime::Stepper;

use super::*;

/// An oracle as the placement driver's: every range is above all earlier ones.
#[derive(Clone, Default)]
struct Oracle {
    last: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    silent: Arc<AtomicBool>,
    failing: Arc<AtomicBool>,
}

impl Oracle {
    fn source(&self, runtime: &Runtime) -> TsoSource {
        let (oracle, timer) = (self.clone(), runtime.timer.clone());
        Arc::new(move |count| {
            oracle.asked.fetch_add(1, Ordering::SeqCst);
            let (oracle, timer) = (oracle.clone(), timer.clone());
            async move {
                timer.sleep(Duration::from_millis(1)).await;
                if oracle.silent.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                if oracle.failing.load(Ordering::SeqCst) {
                    return Err("away".to_owned());
                }
                let count = u64::from(count);
                let before = oracle.last.fetch_add(count + 7, Ordering::SeqCst);
                Ok(TimeStamp::from(before + count + 7))
            }
            .boxed()
        })
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

fn provider(stepper: &Stepper, oracle: &Oracle) -> CausalTs {
    let runtime = stepper.runtime();
    CausalTs::new(oracle.source(&runtime), &runtime)
}

fn take(stepper: &Stepper, provider: &CausalTs) -> Result<u64> {
    Ok(stepper.block_on(provider.next())?.into_inner())
}

#[test]
fn they_rise_over_batches_and_restarts() {
    let (stepper, oracle) = (Stepper::new(1), Oracle::default());
    let mut last = 0;
    for _ in 0..3 {
        let provider = provider(&stepper, &oracle);
        for n in 0..5 * u64::from(BATCH_MAX) {
            let ts = take(&stepper, &provider).unwrap();
            assert!(ts > last, "{ts} after {last}");
            last = ts;
            if n % 1000 == 0 {
                stepper.advance(Duration::from_millis(1));
            }
        }
    }
    // Batches grew with the load: far fewer than of the smallest size.
    assert!(
        oracle.asked() < 3 * 5 * 8192 / 128 / 4,
        "{}",
        oracle.asked()
    );
}

#[test]
fn concurrent_callers_never_share_one() {
    for seed in 0..20 {
        let (stepper, oracle) = (Stepper::new(seed), Oracle::default());
        let provider = provider(&stepper, &oracle);
        let callers = (0..8).map(|_| {
            let provider = provider.clone();
            async move {
                let mut own = Vec::new();
                for _ in 0..200 {
                    own.push(provider.next().await.unwrap());
                }
                assert!(own.is_sorted());
                own
            }
        });
        let all: Vec<TimeStamp> = stepper.block_on(join_all(callers)).concat();
        let distinct: BTreeSet<TimeStamp> = all.iter().copied().collect();
        assert_eq!(distinct.len(), 1600, "seed {seed}");
    }
}

#[test]
fn an_old_batch_is_renewed_in_use_and_never_used_when_too_old() {
    let (stepper, oracle) = (Stepper::new(2), Oracle::default());
    let provider = provider(&stepper, &oracle);
    take(&stepper, &provider).unwrap();
    assert_eq!(oracle.asked(), 1);
    stepper.advance(RENEW_AFTER / 2);
    take(&stepper, &provider).unwrap();
    assert_eq!(oracle.asked(), 1, "still fresh");
    // Idle stores ask for nothing.
    stepper.advance(USABLE_MAX / 2);
    assert_eq!(oracle.asked(), 1);
    // Older than it should be: the batch serves while the next is fetched.
    let before = take(&stepper, &provider).unwrap();
    assert_eq!(before, 7 + 3);
    stepper.advance(Duration::from_millis(2));
    assert_eq!(oracle.asked(), 2);
    assert!(take(&stepper, &provider).unwrap() > 128 + 7);
    // Too old to be used at all.
    oracle.failing.store(true, Ordering::SeqCst);
    stepper.advance(USABLE_MAX);
    let error = take(&stepper, &provider).unwrap_err().to_string();
    assert!(error.contains("away"), "{error}");
}

#[test]
fn a_driver_that_is_away_for_a_moment_stops_nobody() {
    let (stepper, oracle) = (Stepper::new(3), Oracle::default());
    let provider = provider(&stepper, &oracle);
    let mut last = take(&stepper, &provider).unwrap();
    oracle.failing.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        stepper.advance(RENEW_AFTER);
        let ts = take(&stepper, &provider).unwrap();
        assert!(ts > last);
        last = ts;
    }
    oracle.failing.store(false, Ordering::SeqCst);
    stepper.advance(USABLE_MAX);
    assert!(take(&stepper, &provider).unwrap() > last);
}

#[test]
fn silence_ends_in_an_error_and_the_next_call_asks_again() {
    let (stepper, oracle) = (Stepper::new(4), Oracle::default());
    let provider = provider(&stepper, &oracle);
    oracle.silent.store(true, Ordering::SeqCst);
    let error = take(&stepper, &provider).unwrap_err().to_string();
    assert!(error.contains("no answer in 5 s"), "{error}");
    oracle.silent.store(false, Ordering::SeqCst);
    take(&stepper, &provider).unwrap();
}

#[test]
fn an_oracle_that_goes_back_is_not_believed() {
    let stepper = Stepper::new(5);
    let answers = Arc::new(Mutex::new(vec![10_000u64, 30_000, 20_000, 20_100]));
    let source: TsoSource = {
        let answers = answers.clone();
        Arc::new(move |_| {
            let next = answers.lock().pop().unwrap();
            futures::future::ready(Ok(TimeStamp::from(next))).boxed()
        })
    };
    let provider = CausalTs::new(source, &stepper.runtime());
    assert_eq!(take(&stepper, &provider).unwrap(), 20_100 - 127);
    // Lower, and overlapping, are refused; higher is taken.
    provider.flush();
    assert!(take(&stepper, &provider).is_err());
    assert_eq!(take(&stepper, &provider).unwrap(), 30_000 - 127);
    provider.flush();
    assert!(take(&stepper, &provider).is_err());
}

#[test]
fn nothing_from_before_a_flush_is_used_after_it() {
    let (stepper, oracle) = (Stepper::new(6), Oracle::default());
    let provider = provider(&stepper, &oracle);
    take(&stepper, &provider).unwrap();
    provider.flush();
    // As if another leader had used the oracle meanwhile.
    oracle.last.fetch_add(1_000_000, Ordering::SeqCst);
    assert!(take(&stepper, &provider).unwrap() > 1_000_000);

    // A batch that was asked for before the flush and comes after it counts for nothing.
    let ends = provider.clone();
    let waiting = provider.next();
    provider.flush();
    let waiting = futures::future::join(waiting, async move {
        ends.flush();
    });
    let (ts, ()) = stepper.block_on(waiting);
    assert!(ts.unwrap().into_inner() > 1_000_000);
    assert_eq!(oracle.asked(), 4);
}
