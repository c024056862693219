//! What must hold of any history, whatever the schedule was.
//!
//! 1. A snapshot read returns the newest version committed at or below its timestamp; a locking read also the newest
//!    below the commit of its transaction.
//! 2. No version is written over one that its writer had not seen (first committer wins).
//! 3. Money is moved, never made: the accounts have the same sum at every timestamp.
//! 4. Each list only grows at its end, and the graph of dependencies between committed transactions has no cycle with
//!    fewer than two anti-dependencies (Adya's G0, G1c and G-single; "Elle", VLDB 2021).
//!
//! Must never ask the store: what is committed is given.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::record::{RawKey, RawValue, Txn};

/// A committed transaction, and where.
pub(super) type Committed<'t> = (&'t Txn, u64);

/// Committed versions of each key: by commit timestamp, the transaction and the value.
#[derive(Default)]
pub(super) struct Model<'t> {
    versions: BTreeMap<RawKey, BTreeMap<u64, (&'t Txn, &'t RawValue)>>,
}

impl<'t> Model<'t> {
    pub(super) fn of(committed: &[Committed<'t>]) -> Self {
        let mut model = Model::default();
        for (txn, commit) in committed {
            for (key, value) in &txn.writes {
                let versions = model.versions.entry(key.clone()).or_default();
                let before = versions.insert(*commit, (*txn, value));
                assert!(before.is_none(), "two commits of {key:?} at {commit}");
            }
        }
        model
    }

    /// The newest version at `ts`.
    pub(super) fn visible(&self, key: &[u8], ts: u64) -> Option<&'t RawValue> {
        let (_, (_, value)) = self.versions.get(key)?.range(..=ts).next_back()?;
        Some(value)
    }

    /// Everything at `ts` whose key begins with `prefix`.
    pub(super) fn state(&self, prefix: u8, ts: u64) -> BTreeMap<RawKey, RawValue> {
        let keys = self
            .versions
            .keys()
            .filter(|key| key.first() == Some(&prefix));
        keys.filter_map(|key| Some((key.clone(), self.visible(key, ts)?.clone())))
            .collect()
    }
}

/// Points 1 and 2.
pub(super) fn reads_and_writes(model: &Model<'_>, all: &[Txn], committed: &[Committed<'_>]) {
    for txn in all {
        for read in &txn.reads {
            let expected = model.visible(&read.key, read.at);
            assert_eq!(read.value.as_ref(), expected, "{read:?} of {txn:?}");
        }
    }
    for (txn, commit) in committed {
        for read in txn.reads.iter().filter(|read| read.locked) {
            let expected = model.visible(&read.key, commit - 1);
            assert_eq!(
                read.value.as_ref(),
                expected,
                "{read:?} of {txn:?} at {commit}"
            );
        }
    }
    for (key, versions) in &model.versions {
        let mut below = 0;
        for (commit, (txn, _)) in versions {
            let locked = txn
                .reads
                .iter()
                .find(|read| read.locked && read.key == *key);
            let seen = locked.map_or(txn.start, |read| read.at);
            assert!(
                seen >= below,
                "{txn:?} at {commit} wrote over {key:?} of {below}"
            );
            below = *commit;
        }
    }
}

/// Point 3.
pub(super) fn sums(model: &Model<'_>, prefix: u8, sum: u64, times: impl Iterator<Item = u64>) {
    for ts in times {
        let state = model.state(prefix, ts);
        if state.is_empty() {
            continue;
        }
        let found: u64 = state.values().map(|value| number(value)).sum();
        assert_eq!(found, sum, "at {ts}: {state:?}");
    }
}

pub(super) fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// The elements of a list, each the start timestamp of the transaction that appended it.
pub(super) fn elements(value: Option<&RawValue>) -> Vec<u64> {
    let text = value.map_or("", |value| std::str::from_utf8(value).unwrap());
    text.split_terminator(',')
        .map(|id| id.parse().unwrap())
        .collect()
}

/// A dependency of one committed transaction on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Edge {
    /// The second wrote over the first, or read what it had written.
    Direct,
    /// The second wrote over what the first had read.
    Anti,
}

/// Point 4, on the lists of `prefix`.
pub(super) fn lists(model: &Model<'_>, prefix: u8, committed: &[Committed<'_>]) {
    let last = model.state(prefix, u64::MAX);
    let mut edges = BTreeSet::new();
    for (txn, _) in committed {
        let lists = txn
            .reads
            .iter()
            .filter(|read| read.key.first() == Some(&prefix));
        for read in lists {
            let seen = elements(read.value.as_ref());
            let whole = elements(last.get(&read.key));
            assert!(
                whole.starts_with(&seen),
                "{read:?} of {txn:?} is no prefix of {whole:?}"
            );
            edges.extend(seen.last().map(|writer| (*writer, txn.start, Edge::Direct)));
            let next = whole.get(seen.len()).filter(|next| **next != txn.start);
            edges.extend(next.map(|next| (txn.start, *next, Edge::Anti)));
        }
    }
    for whole in last.values() {
        let order = elements(Some(whole));
        edges.extend(
            order
                .windows(2)
                .map(|pair| (pair[0], pair[1], Edge::Direct)),
        );
    }
    if let Some(cycle) = forbidden_cycle(&edges.into_iter().collect::<Vec<_>>()) {
        panic!("a cycle of dependencies: {cycle:?}");
    }
}

/// An edge that closes a cycle of direct dependencies, with itself as the only anti-dependency if it is one.
pub(super) fn forbidden_cycle(edges: &[(u64, u64, Edge)]) -> Option<(u64, u64, Edge)> {
    let mut direct: HashMap<u64, Vec<u64>> = HashMap::new();
    for (from, to, edge) in edges {
        if *edge == Edge::Direct {
            direct.entry(*from).or_default().push(*to);
        }
    }
    let reaches = |from: u64, to: u64| {
        let mut seen = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            for step in direct.get(&at).into_iter().flatten() {
                if *step == to {
                    return true;
                }
                if seen.insert(*step) {
                    next.push(*step);
                }
            }
        }
        false
    };
    let mut own = edges.iter().filter(|(from, to, _)| from != to);
    own.find(|(from, to, _)| reaches(*to, *from)).copied()
}

#[cfg(test)]
mod tests {
    use super::super::record::{CommitMode, LockMode, Read, Told};
    use super::*;

    fn txn(start: u64, reads: &[(&str, Option<&str>, bool)], writes: &[(&str, &str)]) -> Txn {
        let mut txn = Txn::new(start, LockMode::Optimistic, CommitMode::TwoPhases);
        txn.reads = reads
            .iter()
            .map(|(key, value, locked)| Read {
                key: key.as_bytes().to_vec(),
                value: value.map(|value| value.as_bytes().to_vec()),
                at: start,
                locked: *locked,
            })
            .collect();
        let writes = writes.iter();
        txn.writes = writes
            .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        txn.told = Told::Nothing;
        txn
    }

    /// What the checker complains of; empty when it is content.
    fn complaint(txns: &[(Txn, u64)]) -> String {
        let caught = std::panic::catch_unwind(|| check(txns));
        let Err(panic) = caught else {
            return String::new();
        };
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    fn check(txns: &[(Txn, u64)]) {
        let committed: Vec<_> = txns.iter().map(|(txn, at)| (txn, *at)).collect();
        let all: Vec<_> = txns.iter().map(|(txn, _)| txn.clone()).collect();
        let model = Model::of(&committed);
        reads_and_writes(&model, &all, &committed);
        sums(&model, b'a', 10, 0..100);
        lists(&model, b'l', &committed);
    }

    #[test]
    fn a_sound_history_passes() {
        check(&[
            (txn(1, &[], &[("a1", "10"), ("a2", "0")]), 2),
            (
                txn(3, &[("a1", Some("10"), false)], &[("a1", "4"), ("a2", "6")]),
                5,
            ),
            (txn(6, &[("l1", None, true)], &[("l1", "6,")]), 7),
            (txn(8, &[("l1", Some("6,"), true)], &[("l1", "6,8,")]), 9),
        ]);
    }

    #[test]
    fn a_lost_update_is_found() {
        let found = complaint(&[
            (txn(1, &[("l1", None, false)], &[("l1", "1,")]), 4),
            (txn(2, &[("l1", None, false)], &[("l1", "2,")]), 5),
        ]);
        assert!(found.contains("wrote over"), "{found}");
    }

    #[test]
    fn a_read_that_missed_a_version_is_found() {
        let found = complaint(&[
            (txn(1, &[], &[("l1", "1,")]), 2),
            (txn(3, &[("l1", None, false)], &[]), 4),
        ]);
        assert!(found.contains("Read {"), "{found}");
    }

    #[test]
    fn money_that_was_made_is_found() {
        let found = complaint(&[(txn(1, &[], &[("a1", "10"), ("a2", "1")]), 2)]);
        assert!(found.contains("left == right"), "{found}");
    }

    #[test]
    fn one_anti_dependency_closes_no_cycle_but_two_may() {
        use Edge::{Anti, Direct};
        assert_eq!(forbidden_cycle(&[(1, 2, Direct), (2, 3, Direct)]), None);
        assert_eq!(
            forbidden_cycle(&[(1, 2, Anti), (2, 1, Anti)]),
            None,
            "write skew"
        );
        let single = [(1, 2, Direct), (2, 3, Direct), (3, 1, Anti)];
        assert_eq!(forbidden_cycle(&single), Some((3, 1, Anti)));
        assert!(forbidden_cycle(&[(1, 2, Direct), (2, 1, Direct)]).is_some());
    }
}
