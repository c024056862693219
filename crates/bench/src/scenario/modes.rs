//! The other ways to write, and what is left of them: one phase, async commit, pessimistic locks, one key that everybody
//! wants, versions that were rolled back.

use std::rc::Rc;

use super::line::{Line, Target};
use super::{loads, mode_loads};
use crate::compare::Repeats;
use crate::lab::Lab;
use crate::sample::Sample;
use crate::target::Etcd;

/// Writes in flight.
const WRITES: usize = 256;
/// Keys of a transaction that is committed asynchronously.
const ASYNC_KEYS: u64 = 4;
/// Clients that want one key.
const CONTENDERS: usize = 64;
/// Transactions that were rolled back on one key.
const ROLLED_BACK: u64 = 10_000;

fn median(runs: &[Sample; 2]) -> [f64; 2] {
    [runs[0].latency_us.p50, runs[1].latency_us.p50]
}

pub(super) fn one_phase(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "one-phase";
    let tikv = lab.tikv()?;
    let one_phase = mode_loads::one_phase(&tikv, WRITES);
    let put = loads::raw_put(&tikv, WRITES);
    let ratio = lab
        .abba(SCENARIO, &one_phase, &put)?
        .ratio(Sample::ops_per_second);
    let what = format!("transaction on one key in one phase over RawPut, {WRITES} in flight");
    Ok(vec![
        Line::new(SCENARIO, what)
            .repeats(ratio, "")
            .target(Target::AtLeast(0.75)),
    ])
}

pub(super) fn async_commit(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "async-commit";
    let tikv = lab.tikv()?;
    let asynchronous = mode_loads::async_commit(&tikv, ASYNC_KEYS);
    let classic = mode_loads::two_phases(&tikv, ASYNC_KEYS);
    let abba = lab.abba(SCENARIO, &asynchronous, &classic)?;
    let ratio = Repeats::ratio(median(&abba.a), median(&abba.b));
    let what = format!(
        "median latency of a transaction on {ASYNC_KEYS} keys with async commit, over two phases"
    );
    Ok(vec![
        Line::new(SCENARIO, what)
            .repeats(ratio, "")
            .target(Target::AtMost(0.6))
            .remark("one client; what it need not wait for goes on behind it"),
    ])
}

pub(super) fn pessimistic_lock(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "pessimistic-lock";
    let tikv = lab.tikv()?;
    let lock = mode_loads::pessimistic_lock(&tikv);
    let get = loads::kv_get(&tikv, 1);
    let abba = lab.abba(SCENARIO, &lock, &get)?;
    let ratio = Repeats::ratio(median(&abba.a), median(&abba.b));
    Ok(vec![
        Line::new(
            SCENARIO,
            "median latency of a pessimistic lock in memory, over a point get",
        )
        .repeats(ratio, "")
        .target(Target::AtMost(1.3))
        .remark("one client, which gives each lock up before it takes the next"),
    ])
}

pub(super) fn one_hot_key(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "one-hot-key";
    let what = format!("{CONTENDERS} clients that increment one key, over etcd's compare-and-swap");
    let faster = Line::new(SCENARIO, what).target(Target::AtLeast(2.0));
    let fair = Line::new(
        SCENARIO,
        "the longest wait of any of them, over the median wait",
    )
    .target(Target::AtMost(20.0));
    let tikv = lab.tikv()?;
    let ours = mode_loads::increments(&tikv, CONTENDERS);
    let longest = |runs: &[Sample; 2]| {
        Repeats::ratio(runs.each_ref().map(|run| run.latency_us.max), median(runs))
    };
    let Some(program) = lab.programs.etcd.clone() else {
        let runs = [
            lab.once(SCENARIO, &ours, "A1")?,
            lab.once(SCENARIO, &ours, "A2")?,
        ];
        return Ok(vec![
            faster.remark("etcd is not installed"),
            fair.repeats(longest(&runs), ""),
        ]);
    };
    let etcd = Rc::new(Etcd::start(&program, &lab.env)?);
    let theirs = mode_loads::etcd_increments(&etcd, CONTENDERS);
    let abba = lab.abba(SCENARIO, &ours, &theirs)?;
    Ok(vec![
        faster.repeats(abba.ratio(Sample::ops_per_second), ""),
        fair.repeats(longest(&abba.a), "")
            .remark(format!("etcd's: {:.0}", longest(&abba.b).value)),
    ])
}

pub(super) fn rolled_back(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "rolled-back";
    let tikv = lab.tikv()?;
    let mut lines = Vec::new();
    for (how, target) in [
        (mode_loads::RolledBack::Secondary, Some(Target::AtMost(3.0))),
        (mode_loads::RolledBack::Primary, None),
    ] {
        let (crowded, plain) = mode_loads::prepare_rolled_back(&tikv, how, ROLLED_BACK)?;
        let among = mode_loads::get_one(&tikv, &crowded, how.word());
        let alone = mode_loads::get_one(&tikv, &plain, "nobody");
        let abba = lab.abba(SCENARIO, &among, &alone)?;
        let ratio = Repeats::ratio(median(&abba.a), median(&abba.b));
        let what = format!(
            "median latency of a point get of a key on which {ROLLED_BACK} transactions were rolled \
             back as {}, over one without",
            how.word()
        );
        let line = Line::new(SCENARIO, what).repeats(ratio, "");
        lines.push(match target {
            Some(target) => line.target(target),
            None => line.remark("each leaves a record that must stay until garbage collection"),
        });
    }
    Ok(lines)
}
