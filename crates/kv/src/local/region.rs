//! The one region of a local engine, and whether a request may use it.
//!
//! The order of the checks is the original's: store, region, peer, term, epoch, key range. The
//! first that fails is what the client learns, and it decides what the client refreshes. There is
//! no leader check, since the only peer always leads.

use std::num::NonZeroU64;

use kvproto::{kvrpcpb, metapb};
use txn_types::Key;

use crate::in_memory_locks::RegionStamp;
use crate::{Modify, Result, region_error};

/// The term of the only peer: the one that its first election would have given it.
const LOCAL_TERM: u64 = 6;

/// Which region a local engine is, where, and by which peer.
#[derive(Clone, Debug)]
pub struct LocalRegion {
    /// As the placement driver knows it, with epoch and peers. Bounds are encoded keys.
    pub region: metapb::Region,
    /// The store that serves it.
    pub store_id: u64,
    /// The region's peer on that store.
    pub peer: metapb::Peer,
}

impl LocalRegion {
    /// All keys in one region of one peer, as a new cluster has them.
    #[must_use]
    pub fn all_keys(region_id: u64, store_id: u64, peer_id: u64) -> Self {
        let mut peer = metapb::Peer::default();
        peer.set_id(peer_id);
        peer.set_store_id(store_id);
        let mut region = metapb::Region::default();
        region.set_id(region_id);
        region.mut_region_epoch().set_conf_ver(1);
        region.mut_region_epoch().set_version(1);
        region.mut_peers().push(peer.clone());
        LocalRegion {
            region,
            store_id,
            peer,
        }
    }

    /// An envelope that passes every check, for callers inside the process.
    pub fn context(&self) -> kvrpcpb::Context {
        let mut ctx = kvrpcpb::Context::default();
        ctx.set_region_id(self.region.get_id());
        ctx.set_region_epoch(self.region.get_region_epoch().clone());
        ctx.set_peer(self.peer.clone());
        ctx
    }

    /// The present term.
    pub(crate) fn term(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(LOCAL_TERM)
    }

    /// The state that snapshots are taken in.
    pub(crate) fn stamp(&self) -> RegionStamp {
        RegionStamp {
            term: LOCAL_TERM,
            version: self.region.get_region_epoch().get_version(),
        }
    }

    /// Whether the region, in its present state, is what the request was meant for.
    pub(crate) fn check_context(&self, ctx: &kvrpcpb::Context) -> Result<()> {
        let store_id = ctx.get_peer().get_store_id();
        if store_id != self.store_id {
            return Err(region_error::store_not_match(store_id, self.store_id).into());
        }
        if ctx.get_region_id() != self.region.get_id() {
            return Err(region_error::region_not_found(ctx.get_region_id()).into());
        }
        let peer_id = ctx.get_peer().get_id();
        if peer_id != self.peer.get_id() {
            return Err(region_error::mismatch_peer_id(peer_id, self.peer.get_id()).into());
        }
        // A request may be one term behind: the term it saw was the one of the same leader.
        if ctx.get_term() != 0 && ctx.get_term().saturating_add(1) < LOCAL_TERM {
            return Err(region_error::stale_command().into());
        }
        // Peers may change without harm to a read or a write: only the version counts.
        let sent = ctx.has_region_epoch().then(|| ctx.get_region_epoch());
        let version = self.region.get_region_epoch().get_version();
        if sent.is_none_or(|sent| sent.get_version() != version) {
            return Err(region_error::epoch_not_match(sent, vec![self.region.clone()]).into());
        }
        Ok(())
    }

    /// Whether the region contains these ranges of encoded keys.
    pub(crate) fn check_ranges(&self, ranges: &[(Key, Key)]) -> Result<()> {
        for (start, end) in ranges {
            self.check_start(start.as_encoded())?;
            self.check_end(end.as_encoded())?;
        }
        Ok(())
    }

    /// Whether the region contains every key of a write.
    pub(crate) fn check_modifies(&self, modifies: &[Modify]) -> Result<()> {
        if self.region.get_start_key().is_empty() && self.region.get_end_key().is_empty() {
            return Ok(());
        }
        for modify in modifies {
            match modify {
                Modify::Put(_, key, _) | Modify::Delete(_, key) => {
                    self.check_start(key.as_encoded())?;
                }
                Modify::DeleteRange(_, start, end) => {
                    self.check_start(start.as_encoded())?;
                    self.check_end(end.as_encoded())?;
                }
            }
        }
        Ok(())
    }

    /// Whether the region contains this encoded key.
    pub(crate) fn check_key(&self, key: &Key) -> Result<()> {
        self.check_start(key.as_encoded())
    }

    fn check_start(&self, key: &[u8]) -> Result<()> {
        let end = self.region.get_end_key();
        if key < self.region.get_start_key() || (!end.is_empty() && key >= end) {
            return Err(region_error::key_not_in_region(key, &self.region).into());
        }
        Ok(())
    }

    /// An exclusive end may be the region's end itself; the empty one stands for it.
    fn check_end(&self, key: &[u8]) -> Result<()> {
        let end = self.region.get_end_key();
        let inside = key.is_empty()
            || (key >= self.region.get_start_key() && (end.is_empty() || key <= end));
        if inside {
            Ok(())
        } else {
            Err(region_error::key_not_in_region(key, &self.region).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use kvproto::errorpb;

    use super::*;
    use crate::Error;

    fn region(start: &[u8], end: &[u8]) -> LocalRegion {
        let mut local = LocalRegion::all_keys(2, 1, 3);
        local.region.set_start_key(start.to_vec());
        local.region.set_end_key(end.to_vec());
        local.region.mut_region_epoch().set_version(7);
        local
    }

    fn refused(change: impl FnOnce(&mut kvrpcpb::Context)) -> errorpb::Error {
        let region = region(b"", b"");
        let mut ctx = region.context();
        change(&mut ctx);
        match region.check_context(&ctx) {
            Err(Error::Region(error)) => *error,
            other => panic!("not a region error: {other:?}"),
        }
    }

    #[test]
    fn its_own_context_passes() {
        let region = region(b"", b"");
        let mut ctx = region.context();
        assert!(region.check_context(&ctx).is_ok());
        ctx.set_term(5);
        assert!(region.check_context(&ctx).is_ok());
        ctx.set_term(u64::MAX);
        assert!(region.check_context(&ctx).is_ok());
        ctx.mut_region_epoch().set_conf_ver(9);
        assert!(region.check_context(&ctx).is_ok());
    }

    #[test]
    fn each_mismatch_has_its_error() {
        let error = refused(|ctx| ctx.mut_peer().set_store_id(8));
        assert_eq!(error.get_store_not_match().get_request_store_id(), 8);
        assert_eq!(error.get_store_not_match().get_actual_store_id(), 1);

        let error = refused(|ctx| ctx.set_region_id(8));
        assert_eq!(error.get_region_not_found().get_region_id(), 8);

        let error = refused(|ctx| ctx.mut_peer().set_id(8));
        assert_eq!(error.get_mismatch_peer_id().get_request_peer_id(), 8);
        assert_eq!(error.get_mismatch_peer_id().get_store_peer_id(), 3);

        let error = refused(|ctx| ctx.set_term(4));
        assert!(error.has_stale_command());

        for version in [6, 8] {
            let error = refused(|ctx| ctx.mut_region_epoch().set_version(version));
            let current = error.get_epoch_not_match().get_current_regions();
            assert_eq!(current, [region(b"", b"").region]);
            assert!(error.get_message().contains("epoch"));
        }
        let error = refused(kvrpcpb::Context::clear_region_epoch);
        assert_eq!(error.get_epoch_not_match().get_current_regions().len(), 1);
    }

    #[test]
    fn the_order_of_checks_is_store_region_peer_term_epoch() {
        let spoil: [fn(&mut kvrpcpb::Context); 5] = [
            |ctx| ctx.mut_region_epoch().set_version(8),
            |ctx| ctx.set_term(1),
            |ctx| ctx.mut_peer().set_id(8),
            |ctx| ctx.set_region_id(8),
            |ctx| ctx.mut_peer().set_store_id(8),
        ];
        let raised: [fn(&errorpb::Error) -> bool; 5] = [
            errorpb::Error::has_epoch_not_match,
            errorpb::Error::has_stale_command,
            errorpb::Error::has_mismatch_peer_id,
            errorpb::Error::has_region_not_found,
            errorpb::Error::has_store_not_match,
        ];
        for (count, raised) in (1..).zip(raised) {
            let error = refused(|ctx| spoil[..count].iter().for_each(|spoil| spoil(ctx)));
            assert!(raised(&error), "with {count} mismatches: {error:?}");
        }
    }

    #[test]
    fn keys_outside_the_region_are_refused() {
        let region = region(b"c", b"f");
        let key = |text: &str| Key::from_encoded_slice(text.as_bytes());
        let put = |text| [Modify::Put(engine_traits::Cf::Write, key(text), Vec::new())];
        for inside in ["c", "d", "ef"] {
            assert!(region.check_modifies(&put(inside)).is_ok(), "{inside}");
        }
        for outside in ["", "b", "f", "z"] {
            let Err(Error::Region(error)) = region.check_modifies(&put(outside)) else {
                panic!("{outside} was accepted");
            };
            let detail = error.get_key_not_in_region();
            assert_eq!(detail.get_key(), outside.as_bytes());
            assert_eq!(
                (detail.get_start_key(), detail.get_end_key()),
                (&b"c"[..], &b"f"[..])
            );
            assert_eq!(detail.get_region_id(), 2);
        }
        for (start, end, inside) in [
            ("c", "f", true),
            ("d", "", true),
            ("b", "d", false),
            ("d", "g", false),
        ] {
            let ranges = [(key(start), key(end))];
            assert_eq!(
                region.check_ranges(&ranges).is_ok(),
                inside,
                "[{start}, {end})"
            );
            let [(start, end)] = ranges;
            let delete = [Modify::DeleteRange(engine_traits::Cf::Default, start, end)];
            assert_eq!(region.check_modifies(&delete).is_ok(), inside);
        }
    }
}
