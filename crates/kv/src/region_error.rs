//! Region errors with every field that clients act upon, and texts like the original's.
//!
//! Exactly one sub-message each: clients choose their reaction by it and show only the text.

use kvproto::{errorpb, metapb};

/// This store is another one than the request was meant for.
pub fn store_not_match(request_store_id: u64, actual_store_id: u64) -> errorpb::Error {
    let mut error = with_message(format!(
        "to store id {request_store_id}, mine {actual_store_id}"
    ));
    let detail = error.mut_store_not_match();
    detail.set_request_store_id(request_store_id);
    detail.set_actual_store_id(actual_store_id);
    error
}

/// No peer of this region is on this store.
pub fn region_not_found(region_id: u64) -> errorpb::Error {
    let mut error = with_message(format!("region {region_id} is not found"));
    error.mut_region_not_found().set_region_id(region_id);
    error
}

/// The store has the region, but by another peer than the request was meant for.
pub fn mismatch_peer_id(request_peer_id: u64, store_peer_id: u64) -> errorpb::Error {
    let mut error = with_message(format!(
        "mismatch peer id: request has {request_peer_id}, the store has {store_peer_id}"
    ));
    let detail = error.mut_mismatch_peer_id();
    detail.set_request_peer_id(request_peer_id);
    detail.set_store_peer_id(store_peer_id);
    error
}

/// The request was decided on in a term that is over.
pub fn stale_command() -> errorpb::Error {
    let mut error = with_message("stale command".into());
    error.mut_stale_command();
    error
}

/// The region has changed since the client looked it up. `current` are the regions that now cover
/// its old range, with peers and epochs.
pub fn epoch_not_match(
    sent: Option<&metapb::RegionEpoch>,
    current: Vec<metapb::Region>,
) -> errorpb::Error {
    let mut error = with_message(match (sent, current.first()) {
        (Some(sent), Some(region)) => format!(
            "epoch not match: current epoch of region {} is {:?}, but you sent {:?}",
            region.get_id(),
            region.get_region_epoch(),
            sent
        ),
        _ => "epoch not match: the request has no epoch".into(),
    });
    error
        .mut_epoch_not_match()
        .set_current_regions(current.into());
    error
}

/// The region does not contain the key, which is an encoded one.
pub fn key_not_in_region(key: &[u8], region: &metapb::Region) -> errorpb::Error {
    let mut error = with_message(format!("key is not in region {}", region.get_id()));
    let detail = error.mut_key_not_in_region();
    detail.set_key(key.to_vec());
    detail.set_region_id(region.get_id());
    detail.set_start_key(region.get_start_key().to_vec());
    detail.set_end_key(region.get_end_key().to_vec());
    error
}

/// Too much work waits already. Some clients hand this to their user, so it is no light measure.
pub fn server_is_busy(reason: &str) -> errorpb::Error {
    let mut error = with_message(format!("server is busy: {reason}"));
    error.mut_server_is_busy().set_reason(reason.into());
    error
}

/// There is no room for the write. Clients wait long before they try again.
pub fn disk_full(store_id: u64, reason: &str) -> errorpb::Error {
    let mut error = with_message(format!("disk full on store {store_id}: {reason}"));
    let detail = error.mut_disk_full();
    detail.mut_store_id().push(store_id);
    detail.set_reason(reason.into());
    error
}

/// The write is larger than one write may be.
pub fn raft_entry_too_large(region_id: u64, entry_size: u64) -> errorpb::Error {
    let mut error = with_message(format!(
        "raft entry is too large, region_id: {region_id}, len: {entry_size}"
    ));
    let detail = error.mut_raft_entry_too_large();
    detail.set_region_id(region_id);
    detail.set_entry_size(entry_size);
    error
}

/// Nobody can tell whether the write took place.
pub fn undetermined_result(reason: &str) -> errorpb::Error {
    let mut error = with_message(format!("the result of the write is undetermined: {reason}"));
    error.mut_undetermined_result().set_message(reason.into());
    error
}

/// The region is being set back to an older version; clients end their request.
pub fn flashback_in_progress(region_id: u64, flashback_start_ts: u64) -> errorpb::Error {
    let mut error = with_message(format!(
        "region {region_id} is in flashback progress, flashback start ts: {flashback_start_ts}"
    ));
    let detail = error.mut_FlashbackInProgress();
    detail.set_region_id(region_id);
    detail.set_flashback_start_ts(flashback_start_ts);
    error
}

/// A step of a flashback for which the region was not prepared. Clients prepare it again.
pub fn flashback_not_prepared(region_id: u64) -> errorpb::Error {
    let mut error = with_message(format!(
        "region {region_id} is not prepared for the flashback"
    ));
    error.mut_FlashbackNotPrepared().set_region_id(region_id);
    error
}

fn with_message(message: String) -> errorpb::Error {
    let mut error = errorpb::Error::default();
    error.set_message(message);
    error
}
