//! Whatever bytes arrive for whatever live RPC or path: an answer or a clean refusal, no panic, no call that hangs,
//! and everybody else is served.
//!
//! The RPCs come from `rpc_table`, the messages from the schema: one in which every field is there is spoilt in a few
//! places, so that it gets past the first byte of the decoder and the check of the cluster id.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{
    CallOption, ChannelBuilder, Client, MethodType, RpcStatus, RpcStatusCode, WriteFlags,
};
use kvproto::pdpb;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use test_support::bytes_rpc::method;
use test_support::sample;
use test_support::spoil::spoil;
use test_support::varint::varint;

use crate::http::request;
use crate::world::World;

/// Panics on threads of the driver, whatever test provoked them.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            // The test runner names its threads after the tests, which have a path.
            if !thread.name().is_some_and(|name| name.contains("::")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(panic);
        }));
    });
}

struct Rpc {
    path: String,
    request: String,
    is_unary: bool,
}

/// Every RPC that is answered.
fn live() -> Vec<Rpc> {
    let mut live = Vec::new();
    for service in pd::rpc_table::services() {
        for row in service.rpcs.iter().filter(|row| row.live) {
            live.push(Rpc {
                path: format!("/{}/{}", service.name, row.name),
                request: sample::request_of(&service.name, &row.name),
                is_unary: row.shape == "unary",
            });
        }
    }
    assert!(live.len() > 80, "{}", live.len());
    live
}

struct Scene {
    world: World,
    client: Client,
}

impl Scene {
    fn new() -> Scene {
        count_panics();
        let world = World::bootstrapped();
        let channel = ChannelBuilder::new(world.env.clone()).connect(&world.address);
        Scene {
            world,
            client: Client::new(channel),
        }
    }

    /// A message in which every field is there, meant for this cluster.
    fn message(&self, rpc: &Rpc, numbers: Option<u64>) -> Vec<u8> {
        let mut bytes = sample::message(&rpc.request, numbers);
        let package = rpc.request.split('.').next();
        let has_header = matches!(package, Some("pdpb" | "keyspacepb" | "meta_storagepb"));
        if has_header && !rpc.request.contains("GlobalConfig") {
            // The last word counts.
            let id = [vec![0x08], varint(self.world.cluster_id)].concat();
            bytes.extend([0x0a, id.len() as u8]);
            bytes.extend(id);
        }
        bytes
    }

    /// Sends messages and nothing after them; how the call ends, or its first answer.
    fn call(&self, rpc: &Rpc, messages: &[Vec<u8>]) -> Result<(), RpcStatus> {
        let method = method(MethodType::Duplex, &rpc.path);
        // Some streams have nothing to say as long as nothing happens.
        let patience = Duration::from_millis(if rpc.is_unary { 20_000 } else { 200 });
        let options = CallOption::default().timeout(patience);
        let (mut sink, mut answers) = self.client.duplex_streaming(&method, options).unwrap();
        block_on(async {
            let sending = async {
                for message in messages {
                    let flags = WriteFlags::default();
                    sink.send((message.clone(), flags)).await?;
                }
                sink.close().await
            };
            // Whoever refuses the first message may be gone before the second has left.
            let _: grpcio::Result<()> = sending.await;
            match answers.next().await {
                Some(Err(grpcio::Error::RpcFailure(status))) => Err(status),
                Some(Ok(_)) | None => Ok(()),
                Some(Err(error)) => panic!("{}: {error}", rpc.path),
            }
        })
    }

    /// Calls, and fails unless the outcome is one that a client can understand.
    fn check(&self, rpc: &Rpc, messages: &[Vec<u8>]) -> Result<(), TestCaseError> {
        if let Err(status) = self.call(rpc, messages) {
            let fitting = match status.code() {
                RpcStatusCode::UNIMPLEMENTED | RpcStatusCode::UNAVAILABLE => false,
                RpcStatusCode::DEADLINE_EXCEEDED => !rpc.is_unary,
                _ => true,
            };
            prop_assert!(fitting, "{}: {status}", rpc.path);
        }
        let panics = PANICS.load(Ordering::SeqCst);
        prop_assert_eq!(panics, 0, "{} panicked", rpc.path);
        Ok(())
    }

    /// Others are served.
    fn serves(&self) {
        let before = crate::streams::timestamp(&self.world);
        assert!(crate::streams::timestamp(&self.world) > before);
        let mut region = pdpb::GetRegionRequest::default();
        region.set_header(self.world.header());
        let found = self.world.pd.get_region(&region).unwrap();
        assert!(!found.get_header().has_error(), "{found:?}");
        let ping = request(&self.world.address, "GET", "/pd/api/v1/ping", "");
        assert_eq!(ping.0, 200);
        assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let scene = Scene::new();
    let malformed: [(&str, Vec<u8>); 7] = [
        ("no tag", vec![0xff; 64]),
        ("an end without a group", vec![0x0c]),
        ("cut off", vec![0x0a]),
        ("four gigabytes", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        (
            "more than there can be",
            [vec![0x0a], vec![0xff; 9], vec![0x01]].concat(),
        ),
        ("groups in groups", [0xfb, 0x7f].repeat(50_000)),
        ("a group without an end", vec![0xfb, 0x7f]),
    ];
    for rpc in &live() {
        for (what, bytes) in &malformed {
            let refused = scene.call(rpc, std::slice::from_ref(bytes));
            let status = refused.expect_err(&format!("{}, {what}: answered", rpc.path));
            let code = status.code();
            assert_eq!(
                code,
                RpcStatusCode::INTERNAL,
                "{}, {what}: {status}",
                rpc.path
            );
        }
    }
    scene.serves();
}

#[test]
fn what_would_not_fit_into_memory_is_refused_before_it_is_decoded() {
    let scene = Scene::new();
    for rpc in live().iter().filter(|rpc| rpc.is_unary) {
        let sound = scene.message(rpc, None);
        // Fields that nobody knows: of text, and of numbers.
        for part in [[0xfa, 0x7f, 0x00], [0xf8, 0x7f, 0x00]] {
            let bomb = [sound.clone(), part.repeat(200_000)].concat();
            let status = scene.call(rpc, &[bomb]).expect_err(&rpc.path);
            assert_eq!(status.code(), RpcStatusCode::INTERNAL, "{}", rpc.path);
            assert!(
                status.message().contains("too many parts"),
                "{}: {status}",
                rpc.path
            );
        }
    }
    scene.serves();
}

#[test]
fn absurd_numbers_are_answered() {
    const NUMBERS: [u64; 5] = [0, u32::MAX as u64, 1 << 46, i64::MAX as u64, u64::MAX];
    let scene = Scene::new();
    for rpc in &live() {
        for number in NUMBERS {
            let message = scene.message(rpc, Some(number));
            // Twice: what the first changed meets the second.
            scene.check(rpc, &[message.clone(), message]).unwrap();
        }
    }
    scene.serves();
}

fn run<S: Strategy>(cases: u32, case: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: std::fmt::Debug,
{
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    if let Err(error) = TestRunner::new(config).run(case, test) {
        panic!("{error}");
    }
}

#[test]
fn no_bytes_bring_the_driver_down() {
    let scene = Scene::new();
    let live = live();
    let case = (
        any::<prop::sample::Index>(),
        prop::collection::vec(spoil(), 1..4),
    );
    run(400, &case, |(rpc, spoils)| {
        let rpc = rpc.get(&live);
        let mut bytes = scene.message(rpc, None);
        for spoil in &spoils {
            spoil.apply(&mut bytes);
        }
        scene.check(rpc, &[bytes])
    });
    scene.serves();
}

/// Text of JSON, or nearly.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1".to_owned()),
        Just("1e999".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        Just("\"99999999999999999999h\"".to_owned()),
        "\"[a-z0-9.-]{0,12}\"",
        "[\\[{\"]",
    ];
    let names = prop::sample::select(vec![
        "name",
        "config",
        "tso",
        "id",
        "state",
        "force-use-larger",
        "labels",
        "schedule",
        "x.y",
        "max-replicas",
        "delay",
        "service_id",
        "gc_safe_point",
        "ttl",
    ]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec((names.clone(), inner), 0..4).prop_map(|all| {
                let entries = all
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

#[test]
fn junk_for_every_path_is_answered() {
    let scene = Scene::new();
    let segment = prop_oneof![
        "[a-z0-9%._-]{1,20}",
        prop::sample::select(vec![
            "0",
            "1",
            "-1",
            "18446744073709551615",
            "%00",
            "%ff%fe"
        ])
        .prop_map(str::to_owned),
    ];
    let query = "(\\?(limit|key|end_key|state|scope|ttlSecond|format)=[0-9a-f%-]{0,24}){0,2}";
    let case = (
        any::<prop::sample::Index>(),
        prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE"]),
        (segment, query),
        json(),
    );
    run(300, &case, |(route, method, (segment, query), body)| {
        let route = route.get(pd::HTTP_ROUTES);
        let parts = route.path.split('/').map(|part| match part {
            part if part.starts_with('{') => &segment,
            part => part,
        });
        let path = parts.collect::<Vec<_>>().join("/") + &query;
        let (status, answer) = request(&scene.world.address, method, &path, &body);
        prop_assert!(
            (200..=500).contains(&status),
            "{method} {path} {body}: {status} {answer}"
        );
        prop_assert_eq!(
            PANICS.load(Ordering::SeqCst),
            0,
            "{} {} {}",
            method,
            path,
            body
        );
        Ok(())
    });
    scene.serves();
}
