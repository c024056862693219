//! Estimates of how much a range holds.
//!
//! Files know their keys. Write buffers do not tell through the binding how much of a range they
//! hold, so the range gets the share of them that it has of the files; as long as there are no
//! files, all of them. They are bounded, so the error is.

use std::sync::Arc;

use engine_traits::{Cf, EngineIterator, IterOptions, Result};
use rocksdb::{LiveFile, Range, properties};

use crate::database::Database;
use crate::error::from_rocks;
use crate::iterator::RocksIterator;

/// Bytes of `[start, end)` in write buffers and in files.
pub(crate) fn range_bytes(
    database: &Arc<Database>,
    cf: Cf,
    start: &[u8],
    end: &[u8],
) -> Result<u64> {
    if is_empty(database, cf, start, end)? {
        return Ok(0);
    }
    let in_files = file_bytes(database, cf, start, end)?;
    let total = database.property(cf, properties::LIVE_SST_FILES_SIZE);
    let buffered = database.property(cf, properties::CUR_SIZE_ALL_MEM_TABLES);
    Ok(in_files + share(buffered, in_files, total))
}

/// Entries of `[start, end)`: of each file the part of its entries that the range takes of its
/// bytes.
pub(crate) fn range_keys(
    database: &Arc<Database>,
    cf: Cf,
    start: &[u8],
    end: &[u8],
) -> Result<u64> {
    if is_empty(database, cf, start, end)? {
        return Ok(0);
    }
    let (mut inside, mut total) = (0, 0);
    for file in database
        .db()
        .live_files()
        .map_err(|error| from_rocks(&error))?
    {
        if file.column_family_name == cf.name() {
            // A deletion is an entry, and hides another one.
            let live = file
                .num_entries
                .saturating_sub(file.num_deletions.saturating_mul(2));
            total += live;
            inside += keys_of_file(database, cf, &file, live, start, end)?;
        }
    }
    let buffered = database.property(cf, properties::NUM_ENTRIES_ACTIVE_MEM_TABLE)
        + database.property(cf, properties::NUM_ENTRIES_IMM_MEM_TABLES);
    Ok(inside + share(buffered, inside, total))
}

fn keys_of_file(
    database: &Database,
    cf: Cf,
    file: &LiveFile,
    live: u64,
    start: &[u8],
    end: &[u8],
) -> Result<u64> {
    let (Some(first), Some(last)) = (&file.start_key, &file.end_key) else {
        return Ok(0);
    };
    if &last[..] < start || &first[..] >= end {
        return Ok(0);
    }
    if &first[..] >= start && &last[..] < end {
        return Ok(live);
    }
    // Cut by the range. Other files with the same keys blur the part, no more.
    let (from, to) = (start.max(&first[..]), end.min(&last[..]));
    let bytes = if from < to {
        file_bytes(database, cf, from, to)?
    } else {
        0
    };
    Ok(share(live, bytes, (file.size as u64).max(1)))
}

fn file_bytes(database: &Database, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64> {
    let handle = database.cf(cf)?;
    let sizes = database
        .db()
        .get_approximate_sizes_cf(&handle, &[Range::new(start, end)]);
    Ok(sizes.first().copied().unwrap_or(0))
}

fn is_empty(database: &Arc<Database>, cf: Cf, start: &[u8], end: &[u8]) -> Result<bool> {
    let opts = IterOptions {
        fill_cache: false,
        ..IterOptions::between(start, end)
    };
    Ok(!RocksIterator::new(database, None, cf, opts)?.seek_to_first()?)
}

/// The part of `whole` that `piece` is of `total`; all of it when there is no total.
fn share(whole: u64, piece: u64, total: u64) -> u64 {
    if total == 0 {
        return whole;
    }
    // The quotient is at most `whole`, which fits.
    (u128::from(whole) * u128::from(piece.min(total)) / u128::from(total)) as u64
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_never_exceed_the_whole() {
        assert_eq!(share(10, 1, 2), 5);
        assert_eq!(share(10, 3, 2), 10);
        assert_eq!(share(10, 3, 0), 10);
        assert_eq!(share(u64::MAX, u64::MAX, u64::MAX), u64::MAX);
    }
}
