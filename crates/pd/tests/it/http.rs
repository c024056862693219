//! The HTTP paths, as a script of requests and answers: `testdata/http.txt`.
//!
//! A block is `METHOD path` and perhaps a body, a line `----`, and the answer; an empty line ends
//! it. What differs from run to run stands as `<...>`. `BLESS=1` writes the answers of this build.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use kvproto::pdpb;
use serde_json::Value;

use crate::world::{World, heartbeat, region};

/// Sends a request on a connection of its own; the answer is its status and body.
pub(crate) fn request(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: pd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    exchange(address, (head + body).as_bytes())
}

/// Sends bytes and reads until the server closes.
pub(crate) fn exchange(address: &str, bytes: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or(0), body.to_owned())
}

/// Replaces what no two runs have in common.
fn normalize(world: &World, value: &mut Value) {
    const TIMES: [&str; 8] = [
        "start_timestamp",
        "last_heartbeat",
        "last_heartbeat_ts",
        "start_ts",
        "uptime",
        "created_at",
        "state_changed_at",
        "raft_bootstrap_time",
    ];
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| normalize(world, value)),
        Value::Object(entries) => {
            for (name, value) in entries.iter_mut() {
                if TIMES.contains(&name.as_str()) && value != 0 {
                    *value = "<time>".into();
                } else if name == "member_id" {
                    *value = "<member>".into();
                } else {
                    normalize(world, value);
                }
            }
        }
        Value::String(text) => {
            *text = text
                .replace(&world.address, "<address>")
                .replace("127.0.0.1:0", "<listen>");
        }
        Value::Number(number) if number.as_u64() == Some(world.cluster_id) => {
            *value = "<cluster>".into();
        }
        _ => {}
    }
}

fn replay(world: &World, script: &str) -> String {
    let mut out = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(out, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if lines.next_if_eq(&"----").is_some() {
            while lines.next_if(|line| !line.is_empty()).is_some() {}
        }
        let mut words = line.splitn(3, ' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let (status, body) = request(&world.address, method, path, words.next().unwrap_or(""));
        writeln!(out, "----\n{status}").unwrap();
        match serde_json::from_str::<Value>(&body) {
            Ok(mut value) => {
                normalize(world, &mut value);
                writeln!(out, "{}", serde_json::to_string_pretty(&value).unwrap()).unwrap();
            }
            Err(_) if body.is_empty() => {}
            Err(_) => writeln!(out, "{body}").unwrap(),
        }
    }
    out
}

fn reported_cluster() -> World {
    let world = World::bootstrapped();
    let mut stats = pdpb::StoreHeartbeatRequest::default();
    stats.set_header(world.header());
    stats.mut_stats().set_store_id(1);
    stats.mut_stats().set_capacity(100 << 30);
    stats.mut_stats().set_available(99 << 30);
    let response = world.pd.store_heartbeat(&stats).unwrap();
    assert!(!response.get_header().has_error());
    let mut split = heartbeat(region(3, "", "m", 2), 5);
    split.set_header(world.header());
    split.set_approximate_size(20 << 20);
    split.set_approximate_keys(1000);
    crate::streams::report_region(&world, split);
    let mut rest = heartbeat(region(2, "m", "", 2), 5);
    rest.set_header(world.header());
    crate::streams::report_region(&world, rest);
    world
}

#[test]
fn paths_answer_as_recorded() {
    let world = reported_cluster();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/http.txt");
    let recorded = std::fs::read_to_string(&path).unwrap();
    let answered = replay(&world, &recorded);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, answered).unwrap();
    } else {
        assert_eq!(recorded, answered);
    }
}

#[test]
fn before_the_first_region_the_cluster_says_so() {
    let world = World::new();
    for path in [
        "/pd/api/v1/regions",
        "/pd/api/v1/stores",
        "/pd/api/v2/keyspaces",
    ] {
        let (status, body) = request(&world.address, "GET", path, "");
        assert_eq!(
            (status, body.as_str()),
            (500, "\"cluster is not bootstrapped\"")
        );
    }
    let (status, body) = request(&world.address, "GET", "/pd/api/v1/cluster/status", "");
    assert_eq!(status, 200);
    assert!(body.contains("\"is_initialized\": false"), "{body}");
    assert_eq!(
        request(&world.address, "GET", "/pd/api/v1/members", "").0,
        200
    );
}

#[test]
fn timestamps_and_ids_go_on_above_what_a_restore_needs() {
    let mut world = World::bootstrapped();
    let reset = |world: &World, tso: u64, force: bool| {
        let body = format!("{{\"tso\":\"{tso}\",\"force-use-larger\":{force}}}");
        request(&world.address, "POST", "/pd/api/v1/admin/reset-ts", &body).0
    };
    let now = crate::streams::timestamp(&world);
    let (hour, week) = (3_600_000 << 18, (7 * 24 * 3_600_000) << 18);
    assert_eq!(reset(&world, now - 1, false), 403);
    assert_eq!(reset(&world, now + week, false), 403);
    assert_eq!(reset(&world, now + hour, false), 200);
    let later = crate::streams::timestamp(&world);
    assert!(later > now + hour);
    assert_eq!(reset(&world, now, true), 200);
    assert_eq!(reset(&world, later + week, true), 200);
    assert!(crate::streams::timestamp(&world) > later + week);
    assert_eq!(reset(&world, u64::MAX, true), 403);
    world.restart();
    assert!(crate::streams::timestamp(&world) > later + week);

    let raise = |world: &World, id: &str| {
        let body = format!("{{\"id\":\"{id}\"}}");
        request(
            &world.address,
            "POST",
            "/pd/api/v1/admin/base-alloc-id",
            &body,
        )
        .0
    };
    assert_eq!(raise(&world, "1000000"), 200);
    assert_eq!(raise(&world, "5"), 200);
    assert_eq!(raise(&world, &u64::MAX.to_string()), 400);
    let mut alloc = pdpb::AllocIDRequest::default();
    alloc.set_header(world.header());
    assert_eq!(world.pd.alloc_id(&alloc).unwrap().get_id(), 1_000_001);
}

#[test]
fn settings_survive_and_those_for_a_while_end() {
    let mut world = World::bootstrapped();
    let post =
        |world: &World, path: &str, body: &str| request(&world.address, "POST", path, body).0;
    let read = |world: &World, name: &str| {
        let (_, body) = request(&world.address, "GET", "/pd/api/v1/config/schedule", "");
        serde_json::from_str::<Value>(&body).unwrap()[name].clone()
    };
    let limit = "{\"merge-schedule-limit\": 0, \"schedule.region-schedule-limit\": 7}";
    assert_eq!(post(&world, "/pd/api/v1/config", limit), 200);
    let pause = "{\"schedule.merge-schedule-limit\": 99}";
    assert_eq!(post(&world, "/pd/api/v1/config?ttlSecond=1000", pause), 200);
    assert_eq!(read(&world, "merge-schedule-limit"), 99);
    world.restart();
    assert_eq!(read(&world, "merge-schedule-limit"), 99);
    assert_eq!(read(&world, "region-schedule-limit"), 7);
    assert_eq!(post(&world, "/pd/api/v1/config?ttlSecond=0", pause), 200);
    assert_eq!(read(&world, "merge-schedule-limit"), 0);
}
