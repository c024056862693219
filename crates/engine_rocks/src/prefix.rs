//! Filters by which a read knows that a write buffer or a file has nothing for it: by whole keys, or by what
//! the versions of a user key have in common.
//! Must never: have another notion of a prefix than [`Cf::prefix`].

use engine_traits::Cf;
use rocksdb::{Options, SliceTransform};

/// What the files say their prefixes are, the name TiKV gives them (`facts/formats.md` 8): the key without its
/// last eight bytes. A file of another name is read without its filter.
const NAME: &str = "FixedSuffixSliceTransform";

/// What an entry of a write buffer takes at least, with a key and a value of some thirty bytes each: a buffer
/// has no more entries than it has room for such.
const ENTRY_BYTES: f64 = 100.0;

/// Filters for a column family, in its write buffers with that many bits for each entry they have room for.
/// (The filters of files are an option of the table.)
pub(crate) fn set_filters(options: &mut Options, cf: Cf, bits_per_key: f64) {
    if cf.prefix(&[]).is_some() {
        options.set_prefix_extractor(SliceTransform::create(NAME, prefix_of_version, None));
    }
    if bits_per_key > 0.0 {
        options.set_memtable_prefix_bloom_ratio(bits_per_key / 8.0 / ENTRY_BYTES);
        options.set_memtable_whole_key_filtering(cf.prefix(&[]).is_none());
    }
}

fn prefix_of_version(key: &[u8]) -> &[u8] {
    Cf::Write.prefix(key).unwrap_or(key)
}
