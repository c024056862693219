//! Whatever bytes arrive for whatever live RPC: an answer or a clean refusal, no panic, no request that hangs, and
//! the next sound request is served.
//!
//! A case takes a sound request and spoils it in a few places, so that it gets past the first byte of the decoder;
//! what decodes all the same is a request with absurd numbers in it.

use grpcio::RpcStatusCode;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::bad_input::{requests, stays_up};
use crate::fixture::Fixture;

const CASES: u32 = 1500;

/// One way to spoil a message.
#[derive(Clone, Debug)]
enum Spoil {
    /// Keep only so much of it.
    Truncate(prop::sample::Index),
    /// Another byte in a place.
    Replace(prop::sample::Index, u8),
    /// Bytes in between.
    Insert(prop::sample::Index, Vec<u8>),
    /// A number for a field, extreme more often than not.
    Number(u32, u64),
    /// Text for a field.
    Text(u32, Vec<u8>),
    /// A field that claims to be so long, and is not.
    Claim(u32, u64),
    /// Messages in messages, each the first field of the next.
    Nested(u32, u8),
    /// Groups in groups, perhaps never ended.
    Groups(u32, u16, bool),
    /// The whole message twice.
    Twice,
}

fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn tag(field: u32, wire_type: u32, to: &mut Vec<u8>) {
    varint(u64::from(field << 3 | wire_type), to);
}

impl Spoil {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Spoil::Truncate(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Spoil::Replace(at, byte) => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            Spoil::Insert(at, more) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Spoil::Number(field, number) => {
                tag(*field, 0, bytes);
                varint(*number, bytes);
            }
            Spoil::Text(field, text) => {
                tag(*field, 2, bytes);
                varint(text.len() as u64, bytes);
                bytes.extend_from_slice(text);
            }
            Spoil::Claim(field, claim) => {
                tag(*field, 2, bytes);
                varint(*claim, bytes);
                bytes.extend_from_slice(b"not so long");
            }
            Spoil::Nested(field, depth) => {
                let mut nested = Vec::new();
                for _ in 0..*depth {
                    let mut outer = Vec::new();
                    tag(*field, 2, &mut outer);
                    varint(nested.len() as u64, &mut outer);
                    outer.append(&mut nested);
                    nested = outer;
                }
                bytes.append(&mut nested);
            }
            Spoil::Groups(field, depth, ended) => {
                for _ in 0..*depth {
                    tag(*field, 3, bytes);
                }
                if *ended {
                    for _ in 0..*depth {
                        tag(*field, 4, bytes);
                    }
                }
            }
            Spoil::Twice => bytes.extend_from_within(..),
        }
    }
}

fn extreme() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => prop::sample::select(vec![
            0, 1, u64::from(u8::MAX), i32::MAX as u64, u64::from(u32::MAX), 1 << 32,
            (1 << 46) << 18, i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX,
        ]),
        1 => any::<u64>(),
    ]
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let field = 1..32u32;
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Spoil::Truncate),
        (index(), any::<u8>()).prop_map(|(at, byte)| Spoil::Replace(at, byte)),
        (index(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, more)| Spoil::Insert(at, more)),
        (field.clone(), extreme()).prop_map(|(field, number)| Spoil::Number(field, number)),
        (field.clone(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(field, text)| Spoil::Text(field, text)),
        (field.clone(), extreme()).prop_map(|(field, claim)| Spoil::Claim(field, claim)),
        (field.clone(), 0..150u8).prop_map(|(field, depth)| Spoil::Nested(field, depth)),
        (field, 0..20_000u16, any::<bool>())
            .prop_map(|(field, depth, ended)| Spoil::Groups(field, depth, ended)),
        Just(Spoil::Twice),
    ]
}

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
    for rpc in ["KvPrewrite", "KvBatchGet", "RawBatchPut", "KvCommit"] {
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
