//! The two cursors of a scan and the key in work: what both directions share.

use std::cmp::Ordering;

use engine_traits::{Cf, IterOptions};
use kv::Snapshot;
use txn_types::{Key, TimeStamp, Write};

use super::{Direction, KvPair};
use crate::cursor::Cursor;
use crate::{Error, IsolationLevel, ReadView, Result, Statistics, ValueEntry};

/// What both directions work with.
pub(super) struct Cursors<S: Snapshot> {
    pub(super) snapshot: S,
    pub(super) view: ReadView,
    /// Absent when locks are not looked at.
    pub(super) lock: Option<Cursor<S::Iter>>,
    pub(super) write: Cursor<S::Iter>,
    pub(super) statistics: Statistics,
    /// Whether the cursors were positioned.
    started: bool,
    /// The encoded user key in work; kept to save allocations.
    pub(super) user_key: Vec<u8>,
    /// Where to seek to; kept to save allocations.
    pub(super) seek_key: Vec<u8>,
}

/// What a lock means to the read of its key.
pub(super) enum LockRead {
    /// The records decide.
    NotInTheWay,
    /// It is read in place of the records.
    Instead(Option<ValueEntry>),
}

/// Which column families have something on the user key in work.
#[derive(Clone, Copy)]
pub(super) struct Present {
    pub(super) lock: bool,
    pub(super) write: bool,
}

impl<S: Snapshot> Cursors<S> {
    /// Both cursors over `[lower, upper)`, not yet positioned.
    pub(super) fn new(
        snapshot: S,
        view: ReadView,
        (lower, upper): (Option<Key>, Option<Key>),
    ) -> Result<Self> {
        let options = IterOptions {
            lower: lower.map(Key::into_encoded),
            upper: upper.map(Key::into_encoded),
            fill_cache: view.fill_cache,
            ..IterOptions::default()
        };
        let lock = match view.isolation {
            IsolationLevel::Rc => None,
            IsolationLevel::Si | IsolationLevel::RcCheckTs => {
                Some(Cursor::new(snapshot.iter(Cf::Lock, options.clone())?))
            }
        };
        Ok(Self {
            lock,
            write: Cursor::new(snapshot.iter(Cf::Write, options)?),
            snapshot,
            view,
            statistics: Statistics::default(),
            started: false,
            user_key: Vec::new(),
            seek_key: Vec::new(),
        })
    }

    /// Positions both cursors where a scan in `direction` begins, unless that is done.
    pub(super) fn start(&mut self, direction: Direction) -> Result<()> {
        if self.started {
            return Ok(());
        }
        for cursor in self.lock.iter_mut().chain([&mut self.write]) {
            match direction {
                Direction::Forward => cursor.seek_to_first()?,
                Direction::Backward => cursor.seek_to_last()?,
            };
        }
        self.started = true;
        Ok(())
    }

    /// Puts the encoded key of the version of the key in work at `ts` into `seek_key`.
    pub(super) fn set_seek_key(&mut self, ts: TimeStamp) {
        self.seek_key.clear();
        self.seek_key.extend_from_slice(&self.user_key);
        codec::number::encode_u64_desc(&mut self.seek_key, ts.into_inner());
    }

    /// Takes the user key that comes next in `direction` into work.
    pub(super) fn take_next_key(&mut self, direction: Direction) -> Result<Option<Present>> {
        let locked = self
            .lock
            .as_ref()
            .filter(|cursor| cursor.valid())
            .map(Cursor::key);
        let written = match self.write.valid() {
            true => Some(self.write.version()?.0),
            false => None,
        };
        let nearer = match direction {
            Direction::Forward => Ordering::Less,
            Direction::Backward => Ordering::Greater,
        };
        let (key, lock, write) = match (locked, written) {
            (None, None) => return Ok(None),
            (Some(key), None) => (key, true, false),
            (None, Some(key)) => (key, false, true),
            (Some(locked), Some(written)) => match locked.cmp(written) {
                Ordering::Equal => (locked, true, true),
                order if order == nearer => (locked, true, false),
                _ => (written, false, true),
            },
        };
        self.user_key.clear();
        self.user_key.extend_from_slice(key);
        Ok(Some(Present { lock, write }))
    }

    /// What the lock of the key in work, on which the lock cursor stands, stands for: a version to
    /// return, or nothing when the records decide.
    pub(super) fn read_lock(&mut self) -> Result<LockRead> {
        let Some(cursor) = &mut self.lock else {
            return Ok(LockRead::NotInTheWay);
        };
        cursor.count_processed();
        match self.view.check_lock(&self.user_key, cursor.value())? {
            None => Ok(LockRead::NotInTheWay),
            Some(lock) => self
                .view
                .read_through(
                    &self.snapshot,
                    &self.user_key,
                    lock,
                    &mut self.statistics.data,
                )
                .map(LockRead::Instead),
        }
    }

    /// The value of a version of the key in work.
    pub(super) fn read_version(
        &mut self,
        version: Option<(TimeStamp, Write)>,
    ) -> Result<Option<ValueEntry>> {
        match version {
            None => Ok(None),
            Some(version) => self.view.read_version(
                &self.snapshot,
                &self.user_key,
                version,
                &mut self.statistics.data,
            ),
        }
    }

    /// What a scan returns for the key in work.
    pub(super) fn pair(&mut self, entry: ValueEntry) -> Result<KvPair> {
        self.statistics.processed_size += (self.user_key.len() + entry.value.len()) as u64;
        let raw = Key::raw_from_encoded(&self.user_key).map_err(Error::InvalidKey)?;
        Ok((raw, entry))
    }

    pub(super) fn take_statistics(&mut self) -> Statistics {
        if let Some(cursor) = &mut self.lock {
            self.statistics.lock.add(&cursor.take_statistics());
        }
        self.statistics.write.add(&self.write.take_statistics());
        std::mem::take(&mut self.statistics)
    }
}
