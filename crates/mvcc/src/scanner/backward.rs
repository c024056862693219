//! Scanning down.
//!
//! Going down, the versions of a key come oldest first. The walk remembers the last one that has
//! data until it passes the read's timestamp, and gives up after a number of versions: then it
//! seeks to the timestamp and reads as a forward scan does. Either way it then goes to the key
//! before.

use kv::Snapshot;
use txn_types::{Key, TimeStamp, Write, WriteType};

use super::{Cursors, Present};
use crate::view::newest_data;
use crate::{IsolationLevel, REVERSE_SEEK_BOUND, Result};

/// How far the walk up the versions of a key came.
enum Walked {
    /// To the newest one that the read may see.
    ToTheEnd(Option<(TimeStamp, Write)>),
    /// As far as is worth while.
    TooFar,
}

/// The data version of the key in work that the read sees. The write cursor stands on the oldest.
pub(super) fn find_version<S: Snapshot>(
    cursors: &mut Cursors<S>,
) -> Result<Option<(TimeStamp, Write)>> {
    match walk_versions(cursors)? {
        Walked::ToTheEnd(version) => Ok(version),
        Walked::TooFar => seek_version(cursors),
    }
}

/// Walks from the oldest version up, one by one.
fn walk_versions<S: Snapshot>(cursors: &mut Cursors<S>) -> Result<Walked> {
    let Cursors {
        view,
        write: cursor,
        user_key,
        ..
    } = cursors;
    let mut newest = None;
    for _ in 0..REVERSE_SEEK_BOUND {
        let Some(commit_ts) = cursor.commit_ts_of(user_key)? else {
            return Ok(Walked::ToTheEnd(newest));
        };
        if commit_ts > view.ts {
            // The check is about the newest version of all, which is further up.
            if view.isolation == IsolationLevel::RcCheckTs {
                return Ok(Walked::TooFar);
            }
            return Ok(Walked::ToTheEnd(newest));
        }
        let write = cursor.write()?;
        if !write.is_valid_at(view.ts) {
            newest = None;
        } else if write.write_type.is_data() {
            // Deletions hide what is below just the same.
            newest = (write.write_type == WriteType::Put).then(|| (commit_ts, write.to_owned()));
            cursor.count_processed();
        }
        cursor.prev()?;
    }
    Ok(Walked::TooFar)
}

/// Finds the version by a seek, and reads on from there as a forward scan does.
fn seek_version<S: Snapshot>(cursors: &mut Cursors<S>) -> Result<Option<(TimeStamp, Write)>> {
    let seek_ts = match cursors.view.isolation {
        IsolationLevel::RcCheckTs => TimeStamp::max(),
        IsolationLevel::Si | IsolationLevel::Rc => cursors.view.ts,
    };
    cursors.set_seek_key(seek_ts);
    let Cursors {
        snapshot,
        view,
        write: cursor,
        user_key,
        seek_key,
        ..
    } = cursors;
    if !cursor.seek(seek_key)? || !Key::is_user_key_eq(cursor.key(), user_key) {
        return Ok(None);
    }
    view.check_newest(cursor)?;
    newest_data(snapshot, cursor, user_key, view.ts, &view.read_options())
}

/// Moves both cursors before the key in work.
pub(super) fn leave_key<S: Snapshot>(cursors: &mut Cursors<S>, present: Present) -> Result<()> {
    if present.lock
        && let Some(lock) = &mut cursors.lock
    {
        lock.prev()?;
    }
    if !present.write {
        return Ok(());
    }
    // The bare user key sorts before all its versions. A forward read may have run off the end
    // of the range, from where there are no steps back.
    if cursors.write.valid() {
        cursors.write.near_seek_for_prev(&cursors.user_key)?;
    } else {
        cursors.write.seek_for_prev(&cursors.user_key)?;
    }
    Ok(())
}
