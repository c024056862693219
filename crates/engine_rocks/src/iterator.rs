//! The iterator: bounds and limits as read options, validity and errors as the traits want them.

use std::sync::Arc;

use engine_traits::{Cf, EngineIterator, IterOptions, Result};
use rocksdb::ReadOptions;

use crate::database::Database;
use crate::engine::read_tier;
use crate::error::from_rocks;
use crate::owned::{OwnedIterator, OwnedSnapshot};

/// An iterator over a [`RocksEngine`](crate::RocksEngine).
pub struct RocksIterator {
    iter: OwnedIterator,
    /// The bounds admit no key. RocksDB does not define what it does with such bounds.
    empty: bool,
    within_prefix: bool,
    /// Whether it stands on an entry, as the last movement told.
    valid: bool,
}

impl RocksIterator {
    pub(crate) fn new(
        database: &Arc<Database>,
        snapshot: Option<&Arc<OwnedSnapshot>>,
        cf: Cf,
        opts: IterOptions,
    ) -> Result<Self> {
        let empty = opts.is_empty_range();
        opts.check(cf)?;
        let mut options = ReadOptions::default();
        // Without this an iterator of a column family with prefixes passes over what its filters do not know.
        options.set_total_order_seek(!opts.within_prefix);
        options.set_prefix_same_as_start(opts.within_prefix);
        options.fill_cache(opts.fill_cache);
        options.set_read_tier(read_tier(opts.only_cached));
        options.set_max_skippable_internal_keys(opts.max_skipped_internal);
        if !empty {
            if let Some(lower) = opts.lower {
                options.set_iterate_lower_bound(lower);
            }
            if let Some(upper) = opts.upper {
                options.set_iterate_upper_bound(upper);
            }
        }
        let iter = OwnedIterator::new(database.clone(), snapshot.cloned(), cf, options)?;
        Ok(RocksIterator {
            iter,
            empty,
            within_prefix: opts.within_prefix,
            valid: false,
        })
    }

    /// Refuses a movement that is not defined within a prefix.
    fn check_free(&mut self) -> Result<()> {
        IterOptions::check_free(self.within_prefix).inspect_err(|_| self.valid = false)
    }

    /// What the last movement led to. An invalid cursor stands at an end or before an error.
    fn outcome(&mut self) -> Result<bool> {
        self.valid = self.iter.get().valid();
        if self.valid {
            return Ok(true);
        }
        self.iter
            .get()
            .status()
            .map_err(|error| from_rocks(&error))?;
        Ok(false)
    }
}

impl EngineIterator for RocksIterator {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        if self.empty {
            return Ok(false);
        }
        self.iter.get_mut().seek(key);
        self.outcome()
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        self.check_free()?;
        if self.empty {
            return Ok(false);
        }
        self.iter.get_mut().seek_for_prev(key);
        self.outcome()
    }

    fn seek_to_first(&mut self) -> Result<bool> {
        self.check_free()?;
        if self.empty {
            return Ok(false);
        }
        self.iter.get_mut().seek_to_first();
        self.outcome()
    }

    fn seek_to_last(&mut self) -> Result<bool> {
        self.check_free()?;
        if self.empty {
            return Ok(false);
        }
        self.iter.get_mut().seek_to_last();
        self.outcome()
    }

    fn next(&mut self) -> Result<bool> {
        if !self.valid() {
            return Ok(false);
        }
        self.iter.get_mut().next();
        self.outcome()
    }

    fn prev(&mut self) -> Result<bool> {
        self.check_free()?;
        if !self.valid() {
            return Ok(false);
        }
        self.iter.get_mut().prev();
        self.outcome()
    }

    fn valid(&self) -> bool {
        self.valid
    }

    fn key(&self) -> &[u8] {
        self.iter.get().key().unwrap_or_default()
    }

    fn value(&self) -> &[u8] {
        self.iter.get().value().unwrap_or_default()
    }
}
