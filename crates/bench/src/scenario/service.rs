//! The server as a whole: idle, crowded, overloaded; and its placement driver.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::line::{Line, Target};
use super::loads;
use crate::compare::Repeats;
use crate::lab::{Lab, summary};
use crate::load::{OpenLoop, OpenSample, closed_loop, open_loop};
use crate::sample::Sample;
use crate::target::Tikv;

/// Streams of timestamps.
const TSO_STREAMS: usize = 8;
/// Timestamps of one request: a client under load asks for up to ten thousand.
const TSO_BATCH: u32 = 256;
/// Requests in flight when the capacity is sought.
const CAPACITY_IN_FLIGHT: usize = 64;
/// How long the server may work on a request of the overload, its waiting included.
const MAX_EXECUTION: Duration = Duration::from_secs(1);
/// When an answer of the overload is of no use any more.
const PATIENCE: Duration = Duration::from_secs(2);

/// The memory of a server that has been left alone for `settle`, or up to three times as long while
/// it still changes.
fn settled_bytes(tikv: &Tikv, settle: Duration) -> anyhow::Result<u64> {
    let begin = Instant::now();
    let mut last = tikv.resident_bytes()?;
    loop {
        // Being left alone is what is measured. The loop ends at three times `settle` at the latest.
        std::thread::sleep(settle / 5);
        let now = tikv.resident_bytes()?;
        let calm = now.abs_diff(last) <= last / 200;
        if (calm && begin.elapsed() >= settle) || begin.elapsed() >= 3 * settle {
            return Ok(now);
        }
        last = now;
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

pub(super) fn idle_server(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "idle-server";
    const MIB: f64 = 1024.0 * 1024.0;
    let settle = lab.settings.settle;
    let (mut sizes, mut times) = (Vec::new(), Vec::new());
    for _ in 0..lab.settings.starts {
        let (tokio, env) = (&lab.tokio, &lab.env);
        let (bytes, ready) = lab.progress.during(
            "idle-server: start",
            || {
                let tikv = Tikv::start(tokio, env)?;
                Ok((settled_bytes(&tikv, settle)?, tikv.ready_after()))
            },
            |(bytes, ready)| {
                let mib = *bytes as f64 / MIB;
                format!(
                    "{mib:.0} MiB, ready after {:.0} ms",
                    ready.as_secs_f64() * 1e3
                )
            },
        )?;
        sizes.push(bytes as f64 / MIB);
        times.push(ready.as_secs_f64() * 1e3);
    }
    let of = format!("median of {} starts", times.len());
    Ok(vec![
        Line::new(SCENARIO, "resident memory of an idle standalone server")
            .value(median(sizes).context("no starts")?, "MiB")
            .target(Target::AtMost(80.0))
            .remark(of.clone()),
        Line::new(SCENARIO, "time from the start until ready")
            .value(median(times).context("no starts")?, "ms")
            .target(Target::AtMost(700.0))
            .remark(of),
    ])
}

pub(super) fn idle_connections(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "idle-connections";
    let (count, settle) = (lab.settings.idle_connections, lab.settings.settle);
    let (tokio, env) = (&lab.tokio, &lab.env);
    let kib = lab.progress.during(
        &format!("{SCENARIO}: open {count}"),
        || {
            let tikv = Tikv::start(tokio, env)?;
            // What the first connections allocate once is not the cost of a connection.
            let first: Vec<_> = (0..8)
                .map(|_| tikv.connection(env))
                .collect::<anyhow::Result<_>>()?;
            let before = settled_bytes(&tikv, settle)?;
            let idle: Vec<_> = (0..count)
                .map(|_| tikv.connection(env))
                .collect::<anyhow::Result<_>>()?;
            let after = settled_bytes(&tikv, settle)?;
            drop((first, idle));
            Ok(after.saturating_sub(before) as f64 / 1024.0 / count.max(1) as f64)
        },
        |kib| format!("{kib:.1} KiB each"),
    )?;
    Ok(vec![
        Line::new(
            SCENARIO,
            format!("memory of each of {count} idle connections"),
        )
        .value(kib, "KiB")
        .target(Target::AtMost(64.0))
        .remark("each has carried one request"),
    ])
}

pub(super) fn tso(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "tso";
    let tikv = lab.tikv()?;
    let load = loads::timestamps(&tikv, TSO_STREAMS, TSO_BATCH);
    let per_core = |sample: &Sample| {
        let cpu = sample.server_cpu_us.unwrap_or_default() / 1e6;
        sample.items as f64 / cpu.max(f64::MIN_POSITIVE) / 1e6
    };
    let first = per_core(&lab.once(SCENARIO, &load, "A1")?);
    let second = per_core(&lab.once(SCENARIO, &load, "A2")?);
    let what = format!("timestamps a second and core, {TSO_BATCH} a request");
    Ok(vec![
        Line::new(SCENARIO, what)
            .repeats(Repeats::mean([first, second]), "million")
            .target(Target::AtLeast(1.0)),
    ])
}

/// A B B A by hand, since B depends on what A found.
pub(super) fn overload(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "overload";
    let mut lines = Vec::new();
    // Of the shorter ones more are refused, and client and server share the processors: that line has the
    // price of a refusal in it, the other hardly.
    for rows in [1_000, 10_000] {
        let first = capacity(lab, SCENARIO, rows, "A1")?;
        let rate = 2.0 * first.ops_per_second();
        let one = overloaded(lab, SCENARIO, rows, ("B1", rate))?;
        let two = overloaded(lab, SCENARIO, rows, ("B2", rate))?;
        let last = capacity(lab, SCENARIO, rows, "A2")?;
        let rates = [one.goodput(), two.goodput()];
        let peaks = [first.ops_per_second(), last.ops_per_second()];
        let per_cpu = [&one, &two].map(|open| open.goodput() / cpu_share(&open.sample));
        let peaks_per_cpu = [&first, &last].map(|peak| peak.ops_per_second() / cpu_share(peak));
        let what = format!(
            "useful answers at twice the capacity, over the peak (KvScan that reads {rows} rows)"
        );
        let line = Line::new(SCENARIO, what)
            .repeats(Repeats::ratio(rates, peaks), "")
            .target(Target::AtLeast(0.9))
            .remark(format!(
                "useful: right and within {PATIENCE:?}; the server is told to give up after \
                 {MAX_EXECUTION:?}"
            ));
        lines.push(line);
        let what = format!("the same by processor time of the server alone ({rows} rows)");
        lines.push(
            Line::new(SCENARIO, what)
                .repeats(Repeats::ratio(per_cpu, peaks_per_cpu), "")
                .remark("without the generator's part in what is refused"),
        );
    }
    Ok(lines)
}

/// Processors that the server was using on average.
fn cpu_share(sample: &Sample) -> f64 {
    let used_us = sample.server_cpu_us.unwrap_or_default();
    used_us / 1e6 / sample.seconds.max(f64::MIN_POSITIVE)
}

fn max_execution_ms() -> u64 {
    u64::try_from(MAX_EXECUTION.as_millis()).unwrap_or(u64::MAX)
}

fn capacity(
    lab: &mut Lab,
    scenario: &'static str,
    rows: u64,
    place: &str,
) -> anyhow::Result<Sample> {
    let tikv = lab.tikv()?;
    let load = crate::lab::Load::new(
        format!("KvScan of {rows}, {CAPACITY_IN_FLIGHT} in flight"),
        |timing| {
            let op = loads::sampled_scan(&tikv, rows, max_execution_ms());
            let server = Some(tikv.pid());
            closed_loop(&tikv.connections, CAPACITY_IN_FLIGHT, timing, server, op)
        },
    );
    lab.once(scenario, &load, place)
}

fn overloaded(
    lab: &mut Lab,
    scenario: &'static str,
    rows: u64,
    (place, rate): (&str, f64),
) -> anyhow::Result<OpenSample> {
    let tikv = lab.tikv()?;
    let mut timing = lab.settings.timing;
    // The queues must have filled before it counts.
    timing.warmup = timing.warmup.max(PATIENCE);
    let plan = OpenLoop {
        rate,
        patience: PATIENCE,
        timing,
        server: Some(tikv.pid()),
    };
    let name = format!("KvScan of {rows}, {rate:.0} a second asked for");
    let open = lab.progress.during(
        &format!("{scenario}: twice the capacity {place}"),
        || {
            let op = loads::sampled_scan(&tikv, rows, max_execution_ms());
            open_loop(&tikv.connections, plan, op)
        },
        |open| {
            let refused = open.sample.errors;
            format!(
                "{:>9.0}/s useful, {refused} refused; {}",
                open.goodput(),
                summary(&open.sample)
            )
        },
    )?;
    lab.record(scenario, &name, place, &open.sample);
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
