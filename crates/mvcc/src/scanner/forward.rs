//! Scanning up.
//!
//! Versions of a key come newest first, so the one to return is the first at or below the read's
//! timestamp that has data.

use kv::Snapshot;
use txn_types::{TimeStamp, Write};

use super::{Cursors, Present};
use crate::cursor::append_after_versions;
use crate::view::newest_data;
use crate::{IsolationLevel, Result};

/// The data version of the key in work that the read sees. The write cursor stands on the newest.
pub(super) fn find_version<S: Snapshot>(
    cursors: &mut Cursors<S>,
) -> Result<Option<(TimeStamp, Write)>> {
    let ts = cursors.view.ts;
    if cursors.view.isolation == IsolationLevel::RcCheckTs {
        cursors.view.check_newest(&cursors.write)?;
    } else {
        cursors.set_seek_key(ts);
        cursors.write.near_seek(&cursors.seek_key)?;
    }
    let options = cursors.view.read_options();
    newest_data(
        &cursors.snapshot,
        &mut cursors.write,
        &cursors.user_key,
        ts,
        &options,
    )
}

/// Moves both cursors behind the key in work.
pub(super) fn leave_key<S: Snapshot>(cursors: &mut Cursors<S>, present: Present) -> Result<()> {
    if present.lock
        && let Some(lock) = &mut cursors.lock
    {
        lock.next()?;
    }
    if present.write {
        cursors.seek_key.clear();
        cursors.seek_key.extend_from_slice(&cursors.user_key);
        append_after_versions(&mut cursors.seek_key);
        cursors.write.near_seek(&cursors.seek_key)?;
    }
    Ok(())
}
