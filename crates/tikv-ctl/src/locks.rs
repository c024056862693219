//! Looking for locks, region by region.

use anyhow::anyhow;
use kvproto::kvrpcpb::LockInfo;
use txn_types::TimeStamp;

use crate::cluster::Cluster;
use crate::flags::LocksArgs;
use crate::key::{self, KeyForm};

/// Locks that are asked for at once.
const PAGE: u32 = 1000;

/// What to look for.
#[derive(Debug)]
pub(crate) struct LockSearch {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    /// Only of transactions that began then or before.
    max_ts: TimeStamp,
    /// Only of this transaction.
    txn: Option<u64>,
    limit: usize,
}

impl LockSearch {
    /// What `args` ask for at `now`.
    pub(crate) fn new(
        args: &LocksArgs,
        form: KeyForm,
        now: TimeStamp,
    ) -> anyhow::Result<LockSearch> {
        let bytes = |text: &str| key::parse(text, form).map_err(|error| anyhow!("{text}: {error}"));
        let age = args.older_than.map_or(0, |age| age.as_millis());
        let begun = match age {
            0 => now,
            // All of the timestamps of that millisecond are old enough.
            age => TimeStamp::compose(now.physical().saturating_sub(age) + 1, 0).prev(),
        };
        Ok(LockSearch {
            start: bytes(&args.start)?,
            end: args.end.as_deref().map(bytes).transpose()?,
            max_ts: match args.txn {
                Some(txn) => begun.min(txn.into()),
                None => begun,
            },
            txn: args.txn,
            limit: args.limit as usize,
        })
    }

    /// The locks in the order of their keys.
    pub(crate) async fn run(&self, cluster: &Cluster) -> anyhow::Result<Vec<LockInfo>> {
        let mut found = Vec::new();
        let mut from = Some(self.start.clone());
        while let Some(start) = from {
            if found.len() >= self.limit || self.end.as_ref().is_some_and(|end| start >= *end) {
                break;
            }
            let range = (start.as_slice(), self.end.as_deref());
            let (locks, next) = cluster.locks(range, self.max_ts, PAGE).await?;
            found.extend(locks.into_iter().filter(|lock| self.wants(lock)));
            from = next;
        }
        found.truncate(self.limit);
        Ok(found)
    }

    fn wants(&self, lock: &LockInfo) -> bool {
        let Some(txn) = self.txn else { return true };
        let mut all = std::iter::once(lock).chain(lock.get_shared_lock_infos());
        all.any(|lock| lock.get_lock_version() == txn)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use kvproto::kvrpcpb::Op;

    use super::*;
    use crate::flags::{Command, Flags};
    use crate::lock_view::tests::{at, lock};

    fn search(words: &[&str]) -> LockSearch {
        let words = [&["tikv-ctl", "locks"], words].concat();
        match Flags::parse_from(words).command {
            Command::Locks(args) => LockSearch::new(&args, KeyForm::Escaped, at(10_000)).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn age_and_transaction_choose() {
        let all = search(&[]);
        assert_eq!((all.max_ts, all.limit, all.end), (at(10_000), 100, None));
        let range = search(&["a", "b\\x00", "--limit", "7"]);
        assert_eq!(range.start, b"a");
        assert_eq!((range.end.unwrap(), range.limit), (b"b\0".to_vec(), 7));

        let old = search(&["--older-than", "4s"]);
        assert!(at(6000) <= old.max_ts && old.max_ts < at(6001));
        let ts = at(3000).into_inner();
        let one = search(&["--txn", &ts.to_string()]);
        assert_eq!(one.max_ts, at(3000));
        let mut other = lock(b"k", b"p", Op::Put);
        assert!(!one.wants(&other) && all_wants(&other));
        other.mut_shared_lock_infos().push({
            let mut member = lock(b"k", b"p", Op::SharedPessimisticLock);
            member.set_lock_version(ts);
            member
        });
        assert!(one.wants(&other));
    }

    fn all_wants(lock: &LockInfo) -> bool {
        search(&[]).wants(lock)
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let args = LocksArgs {
            start: "\\q".to_owned(),
            end: None,
            older_than: None,
            txn: None,
            limit: 1,
        };
        let error = LockSearch::new(&args, KeyForm::Escaped, at(1)).unwrap_err();
        assert!(error.to_string().contains("is no escape"), "{error}");
    }
}
