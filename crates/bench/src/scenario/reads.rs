//! Reads of cached values.

use super::line::{Line, Target};
use super::loads;
use crate::lab::{Lab, Load};
use crate::load::{Batched, RedisCommand};
use crate::sample::Sample;

/// Unary requests in flight.
const UNARY: usize = 64;
/// Requests in flight through BatchCommands, and connections to Redis.
const BATCHED: usize = 128;
/// Scans in flight: enough for every core, few enough that none waits long.
const SCANS: usize = 4;

pub(super) fn kv_get(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    let tikv = lab.tikv()?;
    against_empty(lab, "kv-get", "KvGet", &loads::kv_get(&tikv, UNARY))
}

pub(super) fn raw_get(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    let tikv = lab.tikv()?;
    against_empty(lab, "raw-get", "RawGet", &loads::raw_get(&tikv, UNARY))
}

fn against_empty(
    lab: &mut Lab,
    scenario: &'static str,
    what: &str,
    load: &Load<'_>,
) -> anyhow::Result<Vec<Line>> {
    let tikv = lab.tikv()?;
    let empty = loads::empty_rpc(&tikv, UNARY);
    let ratio = lab
        .abba(scenario, load, &empty)?
        .ratio(Sample::ops_per_second);
    let what = format!("unary {what} over an empty RPC, {UNARY} in flight");
    Ok(vec![
        Line::new(scenario, what)
            .repeats(ratio, "")
            .target(Target::AtLeast(0.70)),
    ])
}

pub(super) fn batch_kv_get(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    let tikv = lab.tikv()?;
    let unary = loads::kv_get(&tikv, UNARY);
    against_unary(lab, "batch-kv-get", "KvGet", Batched::KvGet, &unary)
}

pub(super) fn batch_raw_get(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    let tikv = lab.tikv()?;
    let unary = loads::raw_get(&tikv, UNARY);
    against_unary(lab, "batch-raw-get", "RawGet", Batched::RawGet, &unary)
}

fn against_unary(
    lab: &mut Lab,
    scenario: &'static str,
    what: &str,
    kind: Batched,
    unary: &Load<'_>,
) -> anyhow::Result<Vec<Line>> {
    let tikv = lab.tikv()?;
    let batched = loads::batched(&tikv, BATCHED, kind);
    let ratio = lab
        .abba(scenario, &batched, unary)?
        .ratio(Sample::ops_per_second);
    let what = format!("{what} through BatchCommands, {BATCHED} in flight, over unary");
    Ok(vec![
        Line::new(scenario, what)
            .repeats(ratio, "")
            .target(Target::AtLeast(4.0)),
    ])
}

pub(super) fn batch_redis(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "batch-redis";
    let what = format!(
        "RawGet through BatchCommands over Redis GET without pipelining, {BATCHED} in flight"
    );
    let line = Line::new(SCENARIO, what).target(Target::AtLeast(0.6));
    let Some(redis) = lab.redis()? else {
        return Ok(vec![line.remark("redis-server is not installed")]);
    };
    let tikv = lab.tikv()?;
    let batched = loads::batched(&tikv, BATCHED, Batched::RawGet);
    let get = loads::redis(&redis, BATCHED, RedisCommand::Get);
    let ratio = lab
        .abba(SCENARIO, &batched, &get)?
        .ratio(Sample::ops_per_second);
    Ok(vec![line.repeats(ratio, "")])
}

pub(super) fn kv_scan(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    const SCENARIO: &str = "kv-scan";
    let (tikv, rocks) = (lab.tikv()?, lab.rocks()?);
    let scan = loads::kv_scan(&tikv, SCANS);
    let iterator = loads::rocks_scan(&rocks, 1);
    let abba = lab.abba(SCENARIO, &scan, &iterator)?;
    let rows = abba.ratio(Sample::items_per_second);
    let per_core = abba.ratio(rows_per_cpu_second);
    Ok(vec![
        Line::new(
            SCENARIO,
            "rows a second of KvScan (1,000 rows) over a bare iterator",
        )
        .repeats(rows, "")
        .target(Target::AtLeast(0.5)),
        Line::new(SCENARIO, "the same by processor time of the server alone").repeats(per_core, ""),
    ])
}

/// Rows for each second of processor time of the server, or of the load where there is none.
fn rows_per_cpu_second(sample: &Sample) -> f64 {
    let spent = sample.server_cpu_us.unwrap_or(sample.client_cpu_us);
    sample.items as f64 / (spent / 1e6).max(f64::MIN_POSITIVE)
}
