//! Column families: the four key spaces of an engine and their names on disk and on the wire.
//!
//! Their order is fixed, because snapshots between stores list their files in it.

use std::fmt;

/// A column family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cf {
    /// Long transactional values and all raw data.
    Default,
    /// At most one lock per user key.
    Lock,
    /// Commit and rollback records.
    Write,
    /// State of regions on this store; never user data.
    Raft,
}

impl Cf {
    /// Every column family of an engine, in the fixed order.
    pub const ALL: [Cf; 4] = [Cf::Default, Cf::Lock, Cf::Write, Cf::Raft];

    /// The column families that hold user data, in the fixed order.
    pub const DATA: [Cf; 3] = [Cf::Default, Cf::Lock, Cf::Write];

    /// The name on disk, in Raft commands and in raw requests.
    pub const fn name(self) -> &'static str {
        match self {
            Cf::Default => "default",
            Cf::Lock => "lock",
            Cf::Write => "write",
            Cf::Raft => "raft",
        }
    }

    /// The column family of that exact name. The empty name is not accepted here: only some
    /// requests let it stand for `default`, and they say so themselves.
    pub fn from_name(name: &str) -> Option<Cf> {
        Cf::ALL.into_iter().find(|cf| cf.name() == name)
    }

    /// Position in [`Cf::ALL`], to index arrays by column family.
    pub const fn index(self) -> usize {
        match self {
            Cf::Default => 0,
            Cf::Lock => 1,
            Cf::Write => 2,
            Cf::Raft => 3,
        }
    }

    /// The prefix of a key by which engines may keep filters, where the column family has such: in `write`,
    /// where a key ends with eight bytes of timestamp, what stands before them. All versions of a user key
    /// have it in common. Shorter keys are their own prefix.
    pub fn prefix(self, key: &[u8]) -> Option<&[u8]> {
        const TIMESTAMP: usize = 8;
        match self {
            Cf::Write => Some(
                key.len()
                    .checked_sub(TIMESTAMP)
                    .map_or(key, |len| &key[..len]),
            ),
            Cf::Default | Cf::Lock | Cf::Raft => None,
        }
    }
}

impl fmt::Display for Cf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_user_key_have_their_prefix_in_common() {
        assert_eq!(
            Cf::Write.prefix(b"user-key12345678"),
            Some(&b"user-key"[..])
        );
        assert_eq!(Cf::Write.prefix(b"12345678"), Some(&b""[..]));
        assert_eq!(Cf::Write.prefix(b"1234567"), Some(&b"1234567"[..]));
        assert_eq!(Cf::Write.prefix(b""), Some(&b""[..]));
        assert_eq!(Cf::Lock.prefix(b"user-key12345678"), None);
    }

    #[test]
    fn names_and_indexes_round_trip() {
        for (position, cf) in Cf::ALL.into_iter().enumerate() {
            assert_eq!(Cf::from_name(cf.name()), Some(cf));
            assert_eq!(cf.index(), position);
            assert_eq!(cf.to_string(), cf.name());
        }
        assert_eq!(Cf::from_name(""), None);
        assert_eq!(Cf::from_name("Default"), None);
        assert_eq!(Cf::DATA, [Cf::Default, Cf::Lock, Cf::Write]);
    }
}
