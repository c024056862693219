//! Reading: ranges at a revision, their filters and orders, and comparisons.

use kvproto::etcdserverpb::{
    Compare, Compare_CompareResult, Compare_CompareTarget, Compare_oneof_target_union,
    RangeRequest, RangeRequest_SortOrder, RangeRequest_SortTarget, RangeResponse,
};

use super::error::{EtcdError, EtcdResult};
use super::key_range::KeyRange;
use super::store::{EtcdState, Found};

impl EtcdState {
    /// Reads a range. The header of the answer has the revision only.
    pub fn range(&self, request: &RangeRequest) -> EtcdResult<RangeResponse> {
        let revision = self.check_range(request)?;
        let range = KeyRange::new(request.get_key(), request.get_range_end());
        let found = self.find(&range, revision);
        answer_range(
            request,
            found,
            self.revision,
            self.limits.response_bytes_max,
        )
    }

    /// The revision to read at.
    pub(super) fn check_range(&self, request: &RangeRequest) -> EtcdResult<i64> {
        if request.get_key().is_empty() {
            return Err(EtcdError::EmptyKey);
        }
        match request.get_revision() {
            revision if revision <= 0 => Ok(self.revision),
            revision if revision > self.revision => Err(EtcdError::FutureRevision),
            revision if revision < self.compacted => Err(EtcdError::Compacted {
                compact_revision: self.compacted,
            }),
            revision => Ok(revision),
        }
    }

    /// What exists in the range at a revision, by key.
    pub(super) fn find(&self, range: &KeyRange, revision: i64) -> Vec<Found<'_>> {
        let Some(bounds) = range.bounds() else {
            return Vec::new();
        };
        let keys = self.keys.range::<[u8], _>(bounds);
        keys.filter_map(|(key, versions)| {
            let until = versions.partition_point(|version| version.position.revision <= revision);
            Found::of_version(key, versions.get(until.checked_sub(1)?)?)
        })
        .collect()
    }

    /// Whether a comparison holds now. A range holds when all its keys do.
    pub(super) fn holds(&self, compare: &Compare) -> bool {
        let range = KeyRange::new(compare.get_key(), compare.get_range_end());
        let found = self.find(&range, self.revision);
        if found.is_empty() {
            // What does not exist has no value to compare, and every number is 0.
            let absent = Found {
                key: compare.get_key(),
                create_revision: 0,
                mod_revision: 0,
                count: 0,
                lease: 0,
                value: &[],
            };
            return compare.get_target() != Compare_CompareTarget::VALUE
                && compare_one(compare, &absent);
        }
        found.iter().all(|found| compare_one(compare, found))
    }
}

fn compare_one(compare: &Compare, found: &Found<'_>) -> bool {
    use Compare_oneof_target_union as Wanted;
    // A number that is not given, or given for another target, counts as 0.
    let ordering = match (compare.get_target(), &compare.target_union) {
        (Compare_CompareTarget::VALUE, Some(Wanted::value(wanted))) => {
            found.value.cmp(wanted.as_slice())
        }
        (Compare_CompareTarget::VALUE, _) => found.value.cmp(&[]),
        (Compare_CompareTarget::VERSION, wanted) => found.count.cmp(match wanted {
            Some(Wanted::version(wanted)) => wanted,
            _ => &0,
        }),
        (Compare_CompareTarget::CREATE, wanted) => found.create_revision.cmp(match wanted {
            Some(Wanted::create_revision(wanted)) => wanted,
            _ => &0,
        }),
        (Compare_CompareTarget::MOD, wanted) => found.mod_revision.cmp(match wanted {
            Some(Wanted::mod_revision(wanted)) => wanted,
            _ => &0,
        }),
        (Compare_CompareTarget::LEASE, wanted) => found.lease.cmp(match wanted {
            Some(Wanted::lease(wanted)) => wanted,
            _ => &0,
        }),
    };
    match compare.get_result() {
        Compare_CompareResult::EQUAL => ordering.is_eq(),
        Compare_CompareResult::NOT_EQUAL => ordering.is_ne(),
        Compare_CompareResult::GREATER => ordering.is_gt(),
        Compare_CompareResult::LESS => ordering.is_lt(),
    }
}

/// Filters, orders and cuts what was found. The count is of everything in the range, before
/// filters and limit.
pub(super) fn answer_range(
    request: &RangeRequest,
    mut found: Vec<Found<'_>>,
    revision: i64,
    bytes_max: usize,
) -> EtcdResult<RangeResponse> {
    let mut response = RangeResponse::default();
    response.mut_header().set_revision(revision);
    response.set_count(i64::try_from(found.len()).unwrap_or(i64::MAX));
    if request.get_count_only() {
        return Ok(response);
    }
    filter(request, &mut found);
    sort(request, &mut found);
    if let Ok(limit) = usize::try_from(request.get_limit())
        && limit > 0
        && found.len() > limit
    {
        found.truncate(limit);
        response.set_more(true);
    }
    if request.get_keys_only() {
        for found in &mut found {
            found.value = &[];
        }
    }
    check_size(found.iter(), bytes_max)?;
    response.set_kvs(found.into_iter().map(Found::to_message).collect());
    Ok(response)
}

/// Refuses an answer before it is built.
pub(super) fn check_size<'a>(
    found: impl Iterator<Item = &'a Found<'a>>,
    bytes_max: usize,
) -> EtcdResult<usize> {
    let bytes = found
        .map(|found| super::store::write_bytes(found.key.len(), found.value.len()))
        .sum();
    if bytes > bytes_max {
        return Err(EtcdError::ResponseTooLarge);
    }
    Ok(bytes)
}

fn filter(request: &RangeRequest, found: &mut Vec<Found<'_>>) {
    let within = |number: i64, min: i64, max: i64| {
        (min == 0 || number >= min) && (max == 0 || number <= max)
    };
    found.retain(|found| {
        within(
            found.mod_revision,
            request.get_min_mod_revision(),
            request.get_max_mod_revision(),
        ) && within(
            found.create_revision,
            request.get_min_create_revision(),
            request.get_max_create_revision(),
        )
    });
}

fn sort(request: &RangeRequest, found: &mut [Found<'_>]) {
    match request.get_sort_target() {
        // They are in this order already.
        RangeRequest_SortTarget::KEY => {}
        RangeRequest_SortTarget::VERSION => found.sort_by_key(|found| found.count),
        RangeRequest_SortTarget::CREATE => found.sort_by_key(|found| found.create_revision),
        RangeRequest_SortTarget::MOD => found.sort_by_key(|found| found.mod_revision),
        RangeRequest_SortTarget::VALUE => found.sort_by_key(|found| found.value),
    }
    if request.get_sort_order() == RangeRequest_SortOrder::DESCEND {
        found.reverse();
    }
}
