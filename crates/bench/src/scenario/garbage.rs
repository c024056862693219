//! Old versions: what garbage collection gives back, and what it costs those who read meanwhile.
//!
//! It has a server of its own: what is collected in the one that all share would be refused to its readers.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::line::{Line, Target};
use super::loads;
use crate::compare::Repeats;
use crate::lab::Lab;
use crate::sample::Sample;
use crate::target::Tikv;

const SCENARIO: &str = "garbage";
/// Versions of each key.
const VERSIONS: u64 = 10;
/// Keys for each second of a run: so many that collecting takes about as long as a run.
const KEYS_PER_SECOND: f64 = 5_000.0;
/// A transaction of the load.
const BATCH: u64 = 1_000;
/// Readers while garbage is collected.
const READS: usize = 16;
/// A safe point is noticed at once.
const CONFIG: &str = "[gc]\npoll-interval = \"100ms\"\n[pd.embedded]\ngc-life-time = \"1d\"";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What did not change for so long has settled.
const SETTLED: Duration = Duration::from_secs(2);
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn garbage(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    let per_window = lab.settings.timing.window.as_secs_f64() * KEYS_PER_SECOND;
    // A whole number of transactions.
    let keys = (per_window as u64 / BATCH + 1) * BATCH;
    let (tikv, one_version) = loaded(lab, keys)?;
    let get = loads::kv_get_family(&tikv, (b'g', keys), READS);
    let before = lab.once(SCENARIO, &get, "B1")?;

    tikv.move_safe_point()?;
    let begun = until(|| Ok(removed(lab, &tikv)? > 0))?;
    let during = lab.once(SCENARIO, &get, "A1")?;
    let soon = removed(lab, &tikv)?;
    // The engine has dropped some by itself, while it merged files.
    let (collected, ended) = settled(|| removed(lab, &tikv))?;
    let took = ended.saturating_duration_since(begun);
    let (left, _) = settled(|| tikv.table_bytes())?;
    let after = lab.once(SCENARIO, &get, "B2")?;

    let p99 = |sample: &Sample| sample.latency_us.p99;
    let slower = Repeats::ratio([p99(&during); 2], [p99(&before), p99(&after)]);
    let share = if soon < collected { "all" } else { "part" };
    let what =
        format!("table files after {VERSIONS} versions a key were collected, over those of one");
    Ok(vec![
        Line::new(SCENARIO, what)
            .value(left as f64 / one_version.max(1) as f64, "")
            .target(Target::AtMost(1.3))
            .remark(format!("{keys} keys, values of 100 bytes and of 1 KiB in turn")),
        Line::new(
            SCENARIO,
            format!("99th percentile of KvGet while garbage is collected, over that without, {READS} in flight"),
        )
        .repeats(slower, "")
        .target(Target::AtMost(2.0))
        .remark(format!(
            "{collected} versions in {:.1} s, which was {share} of the run",
            took.as_secs_f64()
        )),
    ])
}

/// A server with all versions of `keys` keys, and the bytes of its table files when it had one of each.
fn loaded(lab: &Lab, keys: u64) -> anyhow::Result<(Rc<Tikv>, u64)> {
    let (tokio, env) = (&lab.tokio, &lab.env);
    lab.progress.during(
        "garbage: start a server and write all versions",
        || {
            let tikv = Tikv::start_with(tokio, env, CONFIG)?;
            tikv.write_version(0, keys, BATCH)?;
            // What was written stands in table files after a stop.
            let tikv = tikv.restarted(tokio, env)?;
            let (one_version, _) = settled(|| tikv.table_bytes())?;
            for version in 1..VERSIONS {
                tikv.write_version(version, keys, BATCH)?;
            }
            Ok((Rc::new(tikv.restarted(tokio, env)?), one_version))
        },
        |(_, bytes)| format!("{} KiB with one version a key", bytes >> 10),
    )
}

fn removed(lab: &Lab, tikv: &Tikv) -> anyhow::Result<u64> {
    tikv.removed_versions(&lab.tokio)
}

/// Waits. Returns when it came to be so.
fn until(mut reached: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<Instant> {
    let begin = Instant::now();
    while !reached()? {
        ensure!(begin.elapsed() < PATIENCE, "garbage is not collected");
        // Nothing tells of it.
        std::thread::sleep(LOOK);
    }
    Ok(Instant::now())
}

/// What `look` tells, once it does not change any more, and since when.
fn settled<T: PartialEq>(
    mut look: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Instant)> {
    let mut last = look()?;
    let mut since = Instant::now();
    until(|| {
        let now = look()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        Ok(since.elapsed() >= SETTLED)
    })?;
    Ok((last, since))
}
