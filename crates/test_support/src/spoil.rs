//! Ways to spoil a sound message, as proptest strategies: the result gets past the first byte of a decoder, and what
//! decodes all the same is a message with absurd numbers in it. Must never know a message.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::varint::{put_tag, put_varint};

/// One way to spoil a message.
#[derive(Clone, Debug)]
pub enum Spoil {
    /// Keep only so much of it.
    Truncate(Index),
    /// Another byte in a place.
    Replace(Index, u8),
    /// Bytes in between.
    Insert(Index, Vec<u8>),
    /// A number for a field, extreme more often than not.
    Number(u32, u64),
    /// Text for a field.
    Text(u32, Vec<u8>),
    /// A field that claims to be so long, and is not.
    Claim(u32, u64),
    /// Messages in messages, each that field of the next.
    Nested(u32, u8),
    /// Groups in groups, perhaps never ended.
    Groups(u32, u16, bool),
    /// The whole message twice.
    Twice,
}

impl Spoil {
    /// Spoils `bytes`.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
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
                put_tag(*field, 0, bytes);
                put_varint(*number, bytes);
            }
            Spoil::Text(field, text) => {
                put_tag(*field, 2, bytes);
                put_varint(text.len() as u64, bytes);
                bytes.extend_from_slice(text);
            }
            Spoil::Claim(field, claim) => {
                put_tag(*field, 2, bytes);
                put_varint(*claim, bytes);
                bytes.extend_from_slice(b"not so long");
            }
            Spoil::Nested(field, depth) => {
                let nested = (0..*depth).fold(Vec::new(), |inner: Vec<u8>, _| {
                    let mut outer = Vec::new();
                    put_tag(*field, 2, &mut outer);
                    put_varint(inner.len() as u64, &mut outer);
                    outer.extend(inner);
                    outer
                });
                bytes.extend(nested);
            }
            Spoil::Groups(field, depth, ended) => {
                for _ in 0..*depth {
                    put_tag(*field, 3, bytes);
                }
                for _ in 0..if *ended { *depth } else { 0 } {
                    put_tag(*field, 4, bytes);
                }
            }
            Spoil::Twice => bytes.extend_from_within(..),
        }
    }
}

fn extreme() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => select(vec![
            0, 1, u64::from(u8::MAX), i32::MAX as u64, u64::from(u32::MAX), 1 << 32,
            (1 << 46) << 18, i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX,
        ]),
        1 => any::<u64>(),
    ]
}

/// Any way to spoil a message.
pub fn spoil() -> impl Strategy<Value = Spoil> {
    let field = 1..32u32;
    let index = any::<Index>;
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
