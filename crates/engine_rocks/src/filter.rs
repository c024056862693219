//! Compaction filters: the factories that RocksDB is given when it opens, and the slots from which they
//! take what the traits' `filter_compactions` puts in later.
//!
//! RocksDB wants its factories before it opens, but who opens an engine may first have to look at what
//! is in it before it knows what may be removed. Until a slot is filled, everything is kept.

use std::ffi::CStr;
use std::sync::{Arc, OnceLock};

use engine_traits::{CompactionFilter, CompactionFilterFactory, Verdict};
use rocksdb::CompactionDecision;
use rocksdb::compaction_filter_factory::CompactionFilterContext;

/// Where the factory of a column family will be.
pub(crate) type Slot = Arc<OnceLock<CompactionFilterFactory>>;

const NAME: &CStr = c"tikv.compaction-filter";

/// The factory that RocksDB has.
pub(crate) struct SlotFactory(pub(crate) Slot);

impl rocksdb::compaction_filter_factory::CompactionFilterFactory for SlotFactory {
    type Filter = Filter;

    fn create(&mut self, _: CompactionFilterContext) -> Filter {
        Filter(self.0.get().map(|factory| factory()))
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

/// The filter of one compaction.
pub(crate) struct Filter(Option<CompactionFilter>);

impl rocksdb::compaction_filter::CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> CompactionDecision {
        let verdict = match &mut self.0 {
            Some(filter) => filter(key, value),
            None => Verdict::Keep,
        };
        match verdict {
            Verdict::Keep => CompactionDecision::Keep,
            Verdict::Remove => CompactionDecision::Remove,
            Verdict::Replace(value) => CompactionDecision::Change(value),
        }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}
