//! Whether a request's API version and the kind of its keys fit the store's format.
//!
//! Checked for reads, prewrite and raw commands only: whatever cleans up after a transaction must get through.
//! Must never: look at anything but the envelope and the keys.

use api_version::{ApiVersion, CommandKind, KvFormat, check_api_version, check_api_version_ranges};
use kv::Engine;
use kvproto::kvrpcpb::Context;
use lock_manager::LockManager;
use txn_types::Key;

use crate::{Result, Storage};

/// Transactional keys of a request.
pub(crate) fn check_txn_keys<'k>(
    storage: ApiVersion,
    ctx: &Context,
    kind: CommandKind,
    keys: impl IntoIterator<Item = &'k Key>,
) -> Result<()> {
    let raw = match storage {
        // The format does not look at keys: spare the decoding.
        ApiVersion::V1 => Vec::new(),
        _ => raw_keys(keys)?,
    };
    let keys = raw.iter().map(Vec::as_slice);
    Ok(check_api_version(
        storage,
        ctx.get_api_version().into(),
        kind,
        keys,
    )?)
}

fn raw_keys<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Result<Vec<Vec<u8>>> {
    keys.into_iter()
        .map(|key| {
            key.to_raw()
                .map_err(|error| mvcc::Error::InvalidKey(error).into())
        })
        .collect()
}

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// Keys of a transactional read: the version, and the length of each.
    pub(crate) fn check_read_keys(
        &self,
        kind: CommandKind,
        ctx: &Context,
        keys: &[Key],
    ) -> Result<()> {
        check_txn_keys(F::TAG, ctx, kind, keys)?;
        keys.iter().try_for_each(|key| self.limits.check_key(key))
    }

    /// Range of a transactional read; absent bounds are open.
    pub(crate) fn check_txn_range(
        &self,
        kind: CommandKind,
        ctx: &Context,
        lower: Option<&Key>,
        upper: Option<&Key>,
    ) -> Result<()> {
        let raw = raw_keys([lower, upper].into_iter().flatten())?;
        let mut raw = raw.iter().map(Vec::as_slice);
        let mut bound = |key: Option<&Key>| key.and_then(|_| raw.next()).unwrap_or_default();
        let range = (bound(lower), bound(upper));
        let request = ctx.get_api_version().into();
        Ok(check_api_version_ranges(F::TAG, request, kind, [range])?)
    }

    /// Keys of a raw command.
    pub(crate) fn check_raw_keys<'k>(
        &self,
        kind: CommandKind,
        ctx: &Context,
        keys: impl IntoIterator<Item = &'k [u8]> + Clone,
    ) -> Result<()> {
        let request = ctx.get_api_version().into();
        check_api_version(F::TAG, request, kind, keys.clone())?;
        keys.into_iter()
            .try_for_each(|key| self.limits.check_raw_key(key))
    }

    /// Range of a raw command; absent bounds are open.
    pub(crate) fn check_raw_range(
        &self,
        kind: CommandKind,
        ctx: &Context,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
    ) -> Result<()> {
        let range = (lower.unwrap_or_default(), upper.unwrap_or_default());
        let request = ctx.get_api_version().into();
        check_api_version_ranges(F::TAG, request, kind, [range])?;
        self.limits.check_raw_bound(range.0)?;
        self.limits.check_raw_bound(range.1)?;
        crate::limits::check_range(range.0, upper)
    }
}
