//! Writes that are on the disk when they are answered.

use std::rc::Rc;
use std::sync::Arc;

use anyhow::ensure;

use super::line::{Line, Target};
use super::loads;
use crate::compare::Repeats;
use crate::lab::Lab;
use crate::load::{Batched, RedisCommand};
use crate::sample::Sample;
use crate::target::{Etcd, Fsync, PlainFile, RaftLog, Redis};

/// Writes in flight.
const WRITES: usize = 256;

pub(super) fn raw_put_group(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "raw-put-group";
    let tikv = lab.tikv()?;
    let mut lines = Vec::new();
    for (how, put) in [
        (
            "through BatchCommands",
            loads::batched(&tikv, WRITES, Batched::RawPut),
        ),
        ("unary", loads::raw_put(&tikv, WRITES)),
    ] {
        let mut figures = [0.0; 2];
        for (figure, place) in figures.iter_mut().zip(["A1", "A2"]) {
            // Both counters run over the whole run, warm-up included.
            let (puts, syncs) = (tikv.raw_puts(&lab.tokio)?, tikv.log_syncs(&lab.tokio)?);
            lab.once(SCENARIO, &put, place)?;
            let puts = tikv.raw_puts(&lab.tokio)?.saturating_sub(puts);
            let syncs = tikv.log_syncs(&lab.tokio)?.saturating_sub(syncs);
            ensure!(
                puts > 0 && syncs > 0,
                "the server counts no RawPuts or no fsyncs"
            );
            *figure = puts as f64 / syncs as f64;
        }
        let what = format!("synced RawPuts per fsync, {how}, {WRITES} in flight");
        let line = Line::new(SCENARIO, what)
            .repeats(Repeats::mean(figures), "")
            .target(Target::AtLeast(30.0));
        lines.push(line);
    }
    Ok(lines)
}

pub(super) fn raw_put_etcd(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "raw-put-etcd";
    let line = |how: &str| {
        let what = format!("synced RawPut, {how}, over etcd Put, {WRITES} in flight");
        Line::new(SCENARIO, what).target(Target::AtLeast(2.0))
    };
    // Clients of TiKV batch; a unary RPC of gRPC's C core costs as much as all that etcd does.
    let (batched, unary) = (line("through BatchCommands"), line("unary"));
    let Some(program) = lab.programs.etcd.clone() else {
        let remark = "etcd is not installed";
        return Ok(vec![batched.remark(remark), unary.remark(remark)]);
    };
    let etcd = Rc::new(Etcd::start(&program, &lab.env)?);
    let tikv = lab.tikv()?;
    let other = loads::etcd_put(&etcd, WRITES);
    let mut lines = Vec::new();
    for (line, put) in [
        (batched, loads::batched(&tikv, WRITES, Batched::RawPut)),
        (unary, loads::raw_put(&tikv, WRITES)),
    ] {
        let ratio = lab
            .abba(SCENARIO, &put, &other)?
            .ratio(Sample::ops_per_second);
        lines.push(line.repeats(ratio, ""));
    }
    Ok(lines)
}

pub(super) fn raw_put_single(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "raw-put-single";
    let tikv = lab.tikv()?;
    let put = loads::raw_put(&tikv, 1);
    let sync = loads::fdatasync(&Arc::new(PlainFile::create()?));
    let abba = lab.abba(SCENARIO, &put, &sync)?;
    let empty = loads::empty_rpc(&tikv, 1);
    let empty = [
        lab.once(SCENARIO, &empty, "C1")?,
        lab.once(SCENARIO, &empty, "C2")?,
    ];
    let median =
        |runs: &[Sample; 2]| Repeats::mean([runs[0].latency_us.p50, runs[1].latency_us.p50]);
    let (put, sync, empty) = (median(&abba.a), median(&abba.b), median(&empty));
    let bound = sync.value * 1.25 + 200.0;
    let found = Repeats {
        value: put.value,
        noise: put.noise.max(sync.noise),
    };
    Ok(vec![
        Line::new(
            SCENARIO,
            "median latency of one RawPut at a time (goal: 1.25 fdatasync + 200 µs)",
        )
        .repeats(found, "µs")
        .target(Target::AtMost(bound))
        .remark(format!("fdatasync takes {:.0} µs", sync.value)),
        Line::new(SCENARIO, "median latency of one empty RPC at a time")
            .repeats(empty, "µs")
            .remark("the put's way to the server and back, without the put"),
    ])
}

pub(super) fn txn(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "txn";
    let tikv = lab.tikv()?;
    let txn = loads::txn(&tikv, WRITES);
    let put = loads::raw_put(&tikv, WRITES);
    let ratio = lab
        .abba(SCENARIO, &txn, &put)?
        .ratio(Sample::ops_per_second);
    let what = format!("transaction on one key (prewrite, commit) over RawPut, {WRITES} in flight");
    Ok(vec![
        Line::new(SCENARIO, what)
            .repeats(ratio, "")
            .target(Target::AtLeast(0.4)),
    ])
}

pub(super) fn floors(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "floors";
    let rocks = lab.rocks()?;
    let log = Arc::new(RaftLog::open(1)?);
    let file = Arc::new(PlainFile::create()?);
    let mut all = vec![
        loads::rocks_get(&rocks, 1),
        loads::rocks_put(&rocks, 1),
        loads::raft_append(&log, 1),
        loads::fdatasync(&file),
    ];
    if let Some(program) = lab.programs.redis.clone() {
        let synced = Rc::new(Redis::start(&program, Fsync::Always, &lab.tokio)?);
        all.push(loads::redis(&synced, WRITES, RedisCommand::Set));
    }
    let mut lines = Vec::new();
    for load in all {
        let sample = lab.once(SCENARIO, &load, "once")?;
        let median = format!("median {:.1} µs", sample.latency_us.p50);
        lines.push(
            Line::new(SCENARIO, load.name)
                .value(sample.ops_per_second(), "/s")
                .remark(median),
        );
    }
    Ok(lines)
}
