//! Latencies while the server has something to do but is not full: an open loop at half of what a
//! closed loop reached just before.

use std::rc::Rc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use kvproto::healthpb::{HealthCheckRequest, HealthClient};
use kvproto::tikvpb::TikvClient;

use super::line::Line;
use super::loads::{self, answer, of};
use crate::lab::{Lab, Load, summary};
use crate::load::{self, OpenLoop, open_loop};
use crate::random::Random;
use crate::target::Tikv;

const SCENARIO: &str = "latency";
/// Of the capacity.
const SHARE: f64 = 0.5;

type Op = Box<dyn Fn(usize, &mut Random) -> BoxFuture<'static, anyhow::Result<u64>>>;

pub(super) fn latency(lab: &mut Lab) -> anyhow::Result<Vec<Line>> {
    let tikv = lab.tikv()?;
    let all: [(&str, Load<'_>, Op); 4] = [
        ("empty RPC", loads::empty_rpc(&tikv, 64), empty_rpc(&tikv)),
        ("RawGet", loads::raw_get(&tikv, 64), raw_get(&tikv)),
        ("KvGet", loads::kv_get(&tikv, 64), kv_get(&tikv)),
        ("RawPut", loads::raw_put(&tikv, 256), raw_put(&tikv)),
    ];
    let mut lines = Vec::new();
    for (name, closed, op) in all {
        lines.push(one(lab, &tikv, name, &closed, op)?);
    }
    Ok(lines)
}

fn one(
    lab: &mut Lab,
    tikv: &Rc<Tikv>,
    name: &str,
    closed: &Load<'_>,
    op: Op,
) -> anyhow::Result<Line> {
    let capacity = lab.once(SCENARIO, closed, "capacity")?.ops_per_second();
    let plan = OpenLoop {
        rate: capacity * SHARE,
        patience: Duration::from_secs(10),
        timing: lab.settings.timing,
        server: Some(tikv.pid()),
    };
    let open = lab.progress.during(
        &format!("{SCENARIO}: {name} at {:.0} a second", plan.rate),
        || open_loop(&tikv.connections, plan, op),
        |open| summary(&open.sample),
    )?;
    let sample = open.sample.clean()?;
    let load = format!("{name}, {:.0} a second asked for", plan.rate);
    lab.record(SCENARIO, &load, "open", &sample);
    let found = sample.latency_us;
    Ok(Line::new(
        SCENARIO,
        format!("99th percentile of {name} at half of its capacity"),
    )
    .value(found.p99, "µs")
    .remark(format!(
        "median {:.0} µs, 99.9th {:.0} µs, {:.0} requests a second",
        found.p50, found.p999, plan.rate
    )))
}

fn empty_rpc(tikv: &Tikv) -> Op {
    let stubs = tikv.connections.stubs(HealthClient::new);
    Box::new(move |number, _| {
        let sent = of(&stubs, number).check_async(&HealthCheckRequest::default());
        answer(sent).map_ok(|_| 1).boxed()
    })
}

fn raw_get(tikv: &Tikv) -> Op {
    let stubs = tikv.connections.stubs(TikvClient::new);
    let keyspace = tikv.keyspace.clone();
    Box::new(move |number, random| {
        let sent = of(&stubs, number).raw_get_async(&keyspace.raw_get(random));
        answer(sent)
            .map(|answer| load::check_raw_get(&answer?))
            .boxed()
    })
}

fn kv_get(tikv: &Tikv) -> Op {
    let stubs = tikv.connections.stubs(TikvClient::new);
    let keyspace = tikv.keyspace.clone();
    Box::new(move |number, random| {
        let sent = of(&stubs, number).kv_get_async(&keyspace.kv_get(random));
        answer(sent)
            .map(|answer| load::check_kv_get(&answer?))
            .boxed()
    })
}

fn raw_put(tikv: &Tikv) -> Op {
    let stubs = tikv.connections.stubs(TikvClient::new);
    let keyspace = tikv.keyspace.clone();
    Box::new(move |number, random| {
        let sent = of(&stubs, number).raw_put_async(&keyspace.raw_put(random));
        answer(sent)
            .map(|answer| load::check_raw_put(&answer?))
            .boxed()
    })
}
