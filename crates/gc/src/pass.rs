//! One walk over a column family that removes what the safe point has left behind.
//!
//! It goes in steps: each reads a bounded number of keys, writes what it found to be garbage as one batch, and notes
//! where to go on. It holds no snapshot between two steps. A key with so many versions that one batch does not do is
//! gone on with in the next step; its tombstone goes in the batch of its oldest version, so no state in between, and
//! none that a crash leaves, shows an older version.
//!
//! Deletions are logged and not synced: one that a crash takes back is found again.
//!
//! Must never: remove a record that a read at the safe point or above needs, or what it cannot read.

use std::ops::Range;

use api_version::{ApiV2, KvFormat};
use engine_traits::{Cf, EngineIterator, IterOptions, KvEngine, WriteBatch, WriteOptions};
use txn_types::{Key, TimeStamp, WriteRef, WriteType};

use crate::decision::{Decision, Fate};
use crate::raw::RawDecision;

/// Bytes of deletions after which a step ends, in the middle of a key if need be.
const BATCH_BYTES: usize = 32 << 10;
/// Raw keys of API V2 as the engine has them.
const RAW_LOWER: &[u8] = b"zr";
const RAW_UPPER: &[u8] = b"zs";
/// Entries after which a stretch of the walk is closed: what is compacted at a time.
pub(crate) const STRETCH_ENTRIES: u64 = 1 << 18;
/// A stretch of which at least one in so many entries went is worth a compaction.
pub(crate) const COMPACT_SHARE: u64 = 10;

/// What a walk is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data {
    /// Records of transactions, in the write column family, and their values in the default one.
    Transactions,
    /// Raw values with versions (API V2), in the default column family.
    RawVersions,
}

/// What a walk has done so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Keys of users met.
    pub keys: u64,
    /// Versions met.
    pub versions: u64,
    /// Versions removed.
    pub removed: u64,
    /// Entries that could not be read, and were left alone with all that is older.
    pub unreadable: u64,
    /// Batches written.
    pub batches: u64,
    /// Bytes of the keys that were deleted.
    pub written_bytes: u64,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The walk is at its end.
    pub is_done: bool,
    /// Bytes of deletions that it wrote.
    pub written_bytes: u64,
    /// A stretch of the walk, as engine keys, of which so much went that it should be compacted.
    pub compact: Option<Range<Vec<u8>>>,
}

/// How the records of the current key are judged.
enum Judge {
    Transactions(Decision),
    RawVersions(RawDecision),
}

/// The key that the walk stands in.
struct Current {
    /// Encoded, without prefix.
    user: Vec<u8>,
    judge: Judge,
    /// Records that go when the key is at its end.
    tombstone: Vec<(Cf, Vec<u8>)>,
    /// The oldest data version above the safe point: what is older goes once that is passed.
    hides_from: Option<TimeStamp>,
    /// Something could not be read: nothing goes from here on.
    unreadable: bool,
}

/// The part of the walk since the last compaction was asked for.
#[derive(Default)]
struct Stretch {
    start: Vec<u8>,
    entries: u64,
    removed: u64,
}

/// A walk in steps. See the module.
pub struct Pass<E> {
    engine: E,
    data: Data,
    safe_point: TimeStamp,
    now_secs: u64,
    /// The engine key to go on at.
    next: Vec<u8>,
    end: &'static [u8],
    current: Option<Current>,
    stretch: Stretch,
    totals: Totals,
    next_due: TimeStamp,
    next_expiry: Option<u64>,
}

impl<E: KvEngine> Pass<E> {
    /// A walk at this safe point, which readers know already, and at this second of the clock for what expires.
    pub fn new(engine: E, data: Data, safe_point: TimeStamp, now_secs: u64) -> Self {
        let (start, end) = match data {
            Data::Transactions => (keys::DATA_MIN_KEY, keys::DATA_MAX_KEY),
            Data::RawVersions => (RAW_LOWER, RAW_UPPER),
        };
        Pass {
            engine,
            data,
            safe_point,
            now_secs,
            next: start.to_vec(),
            end,
            current: None,
            stretch: Stretch {
                start: start.to_vec(),
                ..Stretch::default()
            },
            totals: Totals::default(),
            next_due: TimeStamp::max(),
            next_expiry: None,
        }
    }

    /// What was done so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The least safe point at which something that was kept would be garbage; the largest timestamp when nothing
    /// would ever be. What expires is not counted: it takes no safe point.
    pub fn next_due(&self) -> TimeStamp {
        self.next_due
    }

    /// The first second at which something that was kept will have expired.
    pub fn next_expiry(&self) -> Option<u64> {
        self.next_expiry
    }

    /// Looks at up to `keys` keys and removes what is garbage of them.
    pub fn step(&mut self, keys: usize) -> engine_traits::Result<Step> {
        let cf = match self.data {
            Data::Transactions => Cf::Write,
            Data::RawVersions => Cf::Default,
        };
        let mut opts = IterOptions::between(self.next.clone(), self.end);
        opts.fill_cache = false;
        let mut iter = self.engine.iter(cf, opts)?;
        let mut gone: Vec<(Cf, Vec<u8>)> = Vec::new();
        let (mut bytes, mut begun) = (0, 0);
        let mut valid = iter.seek_to_first()?;
        while valid {
            let is_same = self.is_in_current(iter.key());
            if bytes >= BATCH_BYTES || (!is_same && begun >= keys.max(1)) {
                break;
            }
            if !is_same {
                self.end_key(&mut gone);
                self.begin_key(iter.key());
                begun += 1;
            }
            let before = gone.len();
            self.judge(iter.key(), iter.value(), &mut gone);
            bytes += gone[before..]
                .iter()
                .map(|(_, key)| key.len())
                .sum::<usize>();
            self.stretch.entries += 1;
            valid = iter.next()?;
        }
        let is_done = !valid;
        if is_done {
            self.end_key(&mut gone);
        } else {
            self.next = iter.key().to_vec();
        }
        drop(iter);
        let written_bytes = self.delete(gone)?;
        Ok(Step {
            is_done,
            written_bytes,
            compact: self.close_stretch(is_done),
        })
    }

    fn is_in_current(&self, engine_key: &[u8]) -> bool {
        let user = user_of(engine_key);
        self.current
            .as_ref()
            .is_some_and(|current| Some(current.user.as_slice()) == user)
    }

    fn begin_key(&mut self, engine_key: &[u8]) {
        self.totals.keys += 1;
        let user = user_of(engine_key).unwrap_or_default();
        // What is stored raw beside transactions need not be an encoded key with a timestamp, and must not be taken for
        // one because its last bytes look like it.
        let unreadable = Key::raw_from_encoded(user).is_err();
        let judge = match self.data {
            Data::Transactions => Judge::Transactions(Decision::new(self.safe_point)),
            Data::RawVersions => {
                Judge::RawVersions(RawDecision::new(self.safe_point, self.now_secs))
            }
        };
        self.current = Some(Current {
            user: user.to_vec(),
            judge,
            tombstone: Vec::new(),
            hides_from: None,
            unreadable,
        });
    }

    /// Nothing older of the key is left when this is written.
    fn end_key(&mut self, gone: &mut Vec<(Cf, Vec<u8>)>) {
        if let Some(current) = self.current.take()
            && !current.unreadable
            && !current.tombstone.is_empty()
        {
            self.totals.removed += 1;
            self.stretch.removed += 1;
            gone.extend(current.tombstone);
        }
    }

    /// Judges one record of the current key.
    fn judge(&mut self, engine_key: &[u8], value: &[u8], gone: &mut Vec<(Cf, Vec<u8>)>) {
        self.totals.versions += 1;
        let Some(current) = &mut self.current else {
            return;
        };
        let judged = match &mut current.judge {
            Judge::Transactions(decision) => judge_write(decision, engine_key, value),
            Judge::RawVersions(decision) => judge_raw(decision, engine_key, value),
        };
        let judged = judged.filter(|_| !current.unreadable);
        let Some(judged) = judged else {
            current.unreadable = true;
            self.totals.unreadable += 1;
            return;
        };
        match judged.fate {
            Fate::Drop => {
                self.totals.removed += 1;
                self.stretch.removed += 1;
                gone.extend(judged.entries);
            }
            Fate::Tombstone => current.tombstone = judged.entries,
            Fate::Keep => {
                // Something older stays, so it becomes garbage when what hides it is passed.
                let due = current.hides_from.take();
                if judged.hides {
                    current.hides_from = Some(judged.ts);
                }
                let due = due.into_iter().chain(judged.due);
                self.next_due = due.fold(self.next_due, TimeStamp::min);
                let expiry = self.next_expiry.into_iter().chain(judged.expiry);
                self.next_expiry = expiry.min();
            }
        }
    }

    fn delete(&mut self, gone: Vec<(Cf, Vec<u8>)>) -> engine_traits::Result<u64> {
        if gone.is_empty() {
            return Ok(0);
        }
        let mut batch = self.engine.write_batch();
        let mut bytes = 0;
        for (cf, key) in &gone {
            batch.delete(*cf, key);
            bytes += key.len() as u64;
        }
        self.engine.write(batch, &WriteOptions::default())?;
        self.totals.batches += 1;
        self.totals.written_bytes += bytes;
        Ok(bytes)
    }

    /// The stretch that ends here, if it ends here and much of it went.
    fn close_stretch(&mut self, is_done: bool) -> Option<Range<Vec<u8>>> {
        if self.stretch.entries < STRETCH_ENTRIES && !is_done {
            return None;
        }
        let end = if is_done {
            self.end.to_vec()
        } else {
            self.next.clone()
        };
        let Stretch {
            start,
            entries,
            removed,
        } = std::mem::replace(
            &mut self.stretch,
            Stretch {
                start: end.clone(),
                ..Stretch::default()
            },
        );
        (removed > 0 && removed >= entries / COMPACT_SHARE).then_some(start..end)
    }
}

/// What was made of a record.
struct Judged {
    fate: Fate,
    ts: TimeStamp,
    /// What goes when it goes.
    entries: Vec<(Cf, Vec<u8>)>,
    /// It hides what is older, once the safe point has reached it.
    hides: bool,
    /// When it becomes garbage itself, without anything newer.
    due: Option<TimeStamp>,
    /// The second at which it expires.
    expiry: Option<u64>,
}

/// `None` when it cannot be read.
fn judge_write(decision: &mut Decision, engine_key: &[u8], value: &[u8]) -> Option<Judged> {
    let key = engine_key.strip_prefix(keys::DATA_PREFIX_KEY)?;
    let (user, commit_ts) = Key::split_on_ts_for(key).ok()?;
    let write = WriteRef::parse(value).ok()?;
    let fate = decision.next(commit_ts, &write);
    let is_put = write.write_type == WriteType::Put;
    let mut entries = Vec::new();
    if fate != Fate::Keep {
        entries.push((Cf::Write, engine_key.to_vec()));
        if is_put && write.short_value.is_none() {
            let stored = Key::from_encoded_slice(user).append_ts(write.start_ts);
            entries.push((Cf::Default, keys::data_key(stored.as_encoded())));
        }
    }
    let fence = write.gc_fence.filter(|fence| !fence.is_zero());
    Some(Judged {
        fate,
        ts: commit_ts,
        entries,
        hides: write.write_type.is_data(),
        due: if is_put { fence } else { Some(commit_ts) },
        expiry: None,
    })
}

fn judge_raw(decision: &mut RawDecision, engine_key: &[u8], value: &[u8]) -> Option<Judged> {
    let key = engine_key.strip_prefix(keys::DATA_PREFIX_KEY)?;
    let (_, ts) = Key::split_on_ts_for(key).ok()?;
    let value = ApiV2::decode_raw_value(value).ok()?;
    let fate = decision.next(ts, &value);
    // A version goes when the safe point is above it.
    let passed = TimeStamp::from(ts.into_inner().saturating_add(1));
    Some(Judged {
        fate,
        ts: passed,
        entries: vec![(Cf::Default, engine_key.to_vec())],
        hides: true,
        due: value.is_delete.then_some(passed),
        expiry: value.expire_ts,
    })
}

/// The encoded user key of an engine key.
fn user_of(engine_key: &[u8]) -> Option<&[u8]> {
    let key = engine_key.strip_prefix(keys::DATA_PREFIX_KEY)?;
    Key::truncate_ts_for(key).ok()
}
