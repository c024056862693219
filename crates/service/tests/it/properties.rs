//! Whatever bytes arrive for whatever live RPC: an answer or a clean refusal, no panic, no request that hangs, and
//! the next sound request is served.
//!
//! A case takes a sound request and spoils it in a few places, so that it gets past the first byte of the decoder;
//! what decodes all the same is a request with absurd numbers in it.

use grpcio::RpcStatusCode;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use test_support::spoil::spoil;

use crate::bad_input::{requests, stays_up};
use crate::fixture::Fixture;

const CASES: u32 = 1500;

fn check(fixture: &Fixture, rpc: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    const REFUSALS: [RpcStatusCode; 3] = [
        RpcStatusCode::INTERNAL,
        RpcStatusCode::INVALID_ARGUMENT,
        RpcStatusCode::RESOURCE_EXHAUSTED,
    ];
    match fixture.call_bytes(rpc, bytes) {
        Ok(_) => {}
        Err(grpcio::Error::RpcFailure(status)) => {
            prop_assert!(REFUSALS.contains(&status.code()), "{rpc}: {status}");
        }
        Err(other) => return Err(TestCaseError::fail(format!("{rpc}: {other}"))),
    }
    prop_assert_eq!(fixture.panics(), 0, "{} panicked", rpc);
    if rpc == "KvPrepareFlashbackToVersion" {
        // Or every other request would be refused from here on.
        fixture.leave_flashback();
    }
    Ok(())
}

#[test]
fn no_bytes_bring_the_server_down() {
    let fixture = Fixture::new();
    let sound = requests(&fixture.context());
    let case = (
        any::<prop::sample::Index>(),
        prop::collection::vec(spoil(), 1..4),
    );
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&case, |(rpc, spoils)| {
        let (rpc, sound) = rpc.get(&sound);
        let mut bytes = sound.clone();
        for spoil in &spoils {
            spoil.apply(&mut bytes);
        }
        check(&fixture, rpc, &bytes)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    stays_up(&fixture);
    assert_eq!(fixture.panics(), 0);
}

#[test]
fn what_would_not_fit_into_memory_is_refused_before_it_is_decoded() {
    let fixture = Fixture::new();
    let sound = requests(&fixture.context());
    for rpc in [
        "KvPrewrite",
        "KvFlush",
        "KvBatchGet",
        "RawBatchPut",
        "KvCommit",
    ] {
        let (_, bytes) = sound.iter().find(|(name, _)| *name == rpc).unwrap();
        for field in 1..6u8 {
            // A million empty elements of a list, or of text, or of what nobody knows.
            let mut bomb = bytes.clone();
            bomb.extend([field << 3 | 2, 0].repeat(1 << 20));
            match fixture.call_bytes(rpc, &bomb) {
                Err(grpcio::Error::RpcFailure(status)) => {
                    assert_eq!(status.code(), RpcStatusCode::INTERNAL, "{rpc}: {status}");
                    let message = status.message();
                    assert!(message.contains("too many parts"), "{rpc}: {message}");
                }
                other => panic!("{rpc}, field {field}: {other:?}"),
            }
        }
    }
    stays_up(&fixture);
}
