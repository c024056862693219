//! Planning transactions: puts, deletes and reads that see each other, all or nothing.
//!
//! 1. The request is checked as a whole: keys, number of operations, no key written twice.
//! 2. All comparisons, those of nested transactions too, are judged on the state before.
//! 3. The operations of the chosen branches run in order on an overlay over the state. A read at
//!    the present sees the overlay, a read at a revision does not.
//! 4. What the overlay saw written becomes the changes, all under the next revision.

use std::collections::{BTreeMap, BTreeSet};

use kvproto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, RequestOp_oneof_request, ResponseOp, TxnRequest, TxnResponse,
};
use kvproto::mvccpb::KeyValue;

use super::change::{EtcdChange, KeyWrite, Position};
use super::error::{EtcdError, EtcdResult};
use super::key_range::KeyRange;
use super::range::{answer_range, check_size};
use super::store::{EtcdState, Found, write_bytes};

/// How many times the operations of one level all levels together may have.
const NESTED_FACTOR: usize = 8;

impl EtcdState {
    /// Sets a key.
    pub fn plan_put(&self, request: &PutRequest) -> EtcdResult<(Vec<EtcdChange>, PutResponse)> {
        check_put(request)?;
        let mut plan = Plan::new(self);
        let response = plan.put(request)?;
        Ok((plan.changes(), response))
    }

    /// Deletes a range.
    pub fn plan_delete_range(
        &self,
        request: &DeleteRangeRequest,
    ) -> EtcdResult<(Vec<EtcdChange>, DeleteRangeResponse)> {
        check_key(request.get_key())?;
        let mut plan = Plan::new(self);
        let response = plan.delete_range(request)?;
        Ok((plan.changes(), response))
    }

    /// A transaction. No changes when it only reads.
    pub fn plan_txn(&self, request: &TxnRequest) -> EtcdResult<(Vec<EtcdChange>, TxnResponse)> {
        let mut left = self.limits.txn_operations_max.saturating_mul(NESTED_FACTOR);
        check_txn(request, self.limits.txn_operations_max, &mut left)?;
        footprint(request.get_success())?;
        footprint(request.get_failure())?;
        let path = self.judge(request);
        let mut plan = Plan::new(self);
        let response = plan.txn(request, &path)?;
        Ok((plan.changes(), response))
    }

    /// Which branch is taken, here and in every nested transaction of that branch.
    fn judge(&self, request: &TxnRequest) -> Path {
        let succeeded = request.get_compare().iter().all(|one| self.holds(one));
        let nested = branch(request, succeeded)
            .iter()
            .filter_map(|op| match &op.request {
                Some(RequestOp_oneof_request::request_txn(txn)) => Some(self.judge(txn)),
                _ => None,
            });
        Path {
            succeeded,
            nested: nested.collect(),
        }
    }
}

/// Whether a request changes anything if it is granted; one that does not needs no writer.
pub(crate) fn txn_writes(request: &TxnRequest) -> bool {
    let ops = request.get_success().iter().chain(request.get_failure());
    ops.into_iter().any(|op| match &op.request {
        Some(RequestOp_oneof_request::request_put(_))
        | Some(RequestOp_oneof_request::request_delete_range(_)) => true,
        Some(RequestOp_oneof_request::request_txn(txn)) => txn_writes(txn),
        Some(RequestOp_oneof_request::request_range(_)) | None => false,
    })
}

struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded {
        request.get_success()
    } else {
        request.get_failure()
    }
}

fn check_key(key: &[u8]) -> EtcdResult<()> {
    if key.is_empty() {
        return Err(EtcdError::EmptyKey);
    }
    Ok(())
}

fn check_put(request: &PutRequest) -> EtcdResult<()> {
    check_key(request.get_key())?;
    if request.get_ignore_value() && !request.get_value().is_empty() {
        return Err(EtcdError::ValueProvided);
    }
    if request.get_ignore_lease() && request.get_lease() != 0 {
        return Err(EtcdError::LeaseProvided);
    }
    Ok(())
}

/// `left` is how many operations all levels together may still have.
fn check_txn(request: &TxnRequest, operations_max: usize, left: &mut usize) -> EtcdResult<()> {
    let (compare, success, failure) = (
        request.get_compare(),
        request.get_success(),
        request.get_failure(),
    );
    if compare.len().max(success.len()).max(failure.len()) > operations_max {
        return Err(EtcdError::TooManyOperations);
    }
    let here = compare.len() + success.len() + failure.len();
    *left = left.checked_sub(here).ok_or(EtcdError::TooManyOperations)?;
    for compare in compare {
        check_key(compare.get_key())?;
    }
    for op in success.iter().chain(failure) {
        match &op.request {
            Some(RequestOp_oneof_request::request_range(range)) => check_key(range.get_key())?,
            Some(RequestOp_oneof_request::request_put(put)) => check_put(put)?,
            Some(RequestOp_oneof_request::request_delete_range(delete)) => {
                check_key(delete.get_key())?;
            }
            Some(RequestOp_oneof_request::request_txn(txn)) => {
                check_txn(txn, operations_max, left)?;
            }
            // An operation without a kind asks for nothing that could be named.
            None => return Err(EtcdError::KeyNotFound),
        }
    }
    Ok(())
}

/// What operations may write, whichever branches are taken.
#[derive(Default)]
struct Footprint {
    puts: BTreeSet<Vec<u8>>,
    deletes: Vec<KeyRange>,
}

impl Footprint {
    /// Both together, unless one puts what the other writes. Two may delete the same.
    fn join(&mut self, other: Footprint) -> EtcdResult<()> {
        let put_twice = other.puts.iter().any(|key| self.puts.contains(key));
        if put_twice || self.deletes_any(&other.puts) || other.deletes_any(&self.puts) {
            return Err(EtcdError::DuplicateKey);
        }
        self.merge(other);
        Ok(())
    }

    fn merge(&mut self, other: Footprint) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }

    fn deletes_any(&self, puts: &BTreeSet<Vec<u8>>) -> bool {
        let hits = |range: &KeyRange| {
            let bounds = range.bounds();
            bounds.is_some_and(|bounds| puts.range::<[u8], _>(bounds).next().is_some())
        };
        self.deletes.iter().any(hits)
    }
}

/// What these operations may write; refuses to write a key twice. The branches of a nested
/// transaction exclude each other, so they may share keys.
fn footprint(ops: &[RequestOp]) -> EtcdResult<Footprint> {
    let mut all = Footprint::default();
    for op in ops {
        let mut one = Footprint::default();
        match &op.request {
            Some(RequestOp_oneof_request::request_put(put)) => {
                one.puts.insert(put.get_key().to_vec());
            }
            Some(RequestOp_oneof_request::request_delete_range(delete)) => {
                let range = KeyRange::new(delete.get_key(), delete.get_range_end());
                one.deletes.push(range);
            }
            Some(RequestOp_oneof_request::request_txn(txn)) => {
                one = footprint(txn.get_success())?;
                one.merge(footprint(txn.get_failure())?);
            }
            Some(RequestOp_oneof_request::request_range(_)) | None => {}
        }
        all.join(one)?;
    }
    Ok(all)
}

/// A transaction being planned.
struct Plan<'a> {
    state: &'a EtcdState,
    /// The revision that its writes will have.
    revision: i64,
    /// Keys that it wrote, as they are now.
    overlay: BTreeMap<Vec<u8>, Option<KeyValue>>,
    writes: Vec<KeyWrite>,
    /// How much more may be stored.
    free_bytes: usize,
    /// How much more may be answered.
    response_bytes: usize,
}

impl<'a> Plan<'a> {
    fn new(state: &'a EtcdState) -> Plan<'a> {
        let limits = &state.limits;
        Plan {
            state,
            revision: state.revision + 1,
            overlay: BTreeMap::new(),
            writes: Vec::new(),
            free_bytes: limits.live_bytes_max.saturating_sub(state.live_bytes()),
            response_bytes: limits.response_bytes_max,
        }
    }

    fn changes(self) -> Vec<EtcdChange> {
        let revision = self.revision;
        let writes = (0..).zip(self.writes);
        writes
            .map(|(sub, write)| EtcdChange::Write(Position { revision, sub }, write))
            .collect()
    }

    /// The revision as an answer tells it at this point.
    fn current_revision(&self) -> i64 {
        self.revision - i64::from(self.writes.is_empty())
    }

    fn found(&self, key: &[u8]) -> Option<Found<'_>> {
        match self.overlay.get(key) {
            Some(written) => written.as_ref().map(Found::of_message),
            None => self.state.found(key),
        }
    }

    fn find(&self, range: &KeyRange) -> Vec<Found<'_>> {
        let mut found = self.state.find(range, self.state.revision);
        let Some(bounds) = range.bounds() else {
            return found;
        };
        for (key, written) in self.overlay.range::<[u8], _>(bounds) {
            let place = found.binary_search_by_key(&key.as_slice(), |found| found.key);
            match (place, written.as_ref().map(Found::of_message)) {
                (Ok(at), Some(now)) => found[at] = now,
                (Err(at), Some(now)) => found.insert(at, now),
                (Ok(at), None) => drop(found.remove(at)),
                (Err(_), None) => {}
            }
        }
        found
    }

    fn put(&mut self, request: &PutRequest) -> EtcdResult<PutResponse> {
        let key = request.get_key();
        let lease = request.get_lease();
        if lease != 0 && self.state.leases.get(lease).is_none() {
            return Err(EtcdError::LeaseNotFound);
        }
        let previous = self.found(key);
        if previous.is_none() && (request.get_ignore_value() || request.get_ignore_lease()) {
            return Err(EtcdError::KeyNotFound);
        }
        let mut kv = KeyValue::default();
        kv.set_key(key.to_vec());
        kv.set_mod_revision(self.revision);
        kv.set_create_revision(previous.map_or(self.revision, |old| old.create_revision));
        kv.set_version(previous.map_or(1, |old| old.count + 1));
        kv.set_lease(match previous {
            Some(old) if request.get_ignore_lease() => old.lease,
            _ => request.get_lease(),
        });
        kv.set_value(match previous {
            Some(old) if request.get_ignore_value() => old.value.to_vec(),
            _ => request.get_value().to_vec(),
        });
        let freed = previous.map_or(0, |old| write_bytes(old.key.len(), old.value.len()));
        let needed = write_bytes(key.len(), kv.get_value().len());
        let mut response = PutResponse::default();
        if let Some(old) = previous.filter(|_| request.get_prev_kv()) {
            response.set_prev_kv(old.to_message());
        }
        let previous_bytes = if response.has_prev_kv() { freed } else { 0 };
        self.spend_response(previous_bytes)?;
        let free = self.free_bytes + freed;
        // What is over its bound already may still shrink.
        if needed > free && needed > freed {
            return Err(EtcdError::NoSpace);
        }
        self.free_bytes = free.saturating_sub(needed);
        self.overlay.insert(key.to_vec(), Some(kv.clone()));
        self.writes.push(KeyWrite::Put(kv));
        response.mut_header().set_revision(self.revision);
        Ok(response)
    }

    fn delete_range(&mut self, request: &DeleteRangeRequest) -> EtcdResult<DeleteRangeResponse> {
        let range = KeyRange::new(request.get_key(), request.get_range_end());
        let found = self.find(&range);
        let mut response = DeleteRangeResponse::default();
        response.set_deleted(i64::try_from(found.len()).unwrap_or(i64::MAX));
        let mut response_bytes = 0;
        if request.get_prev_kv() {
            response_bytes = check_size(found.iter(), self.response_bytes)?;
            response.set_prev_kvs(found.iter().map(|found| found.to_message()).collect());
        }
        let freed: usize = found
            .iter()
            .map(|found| write_bytes(found.key.len(), found.value.len()))
            .sum();
        let keys: Vec<Vec<u8>> = found.iter().map(|found| found.key.to_vec()).collect();
        self.spend_response(response_bytes)?;
        self.free_bytes += freed;
        for key in keys {
            self.overlay.insert(key.clone(), None);
            self.writes.push(KeyWrite::Delete(key));
        }
        response.mut_header().set_revision(self.current_revision());
        Ok(response)
    }

    fn range(&mut self, request: &RangeRequest) -> EtcdResult<RangeResponse> {
        let revision = self.state.check_range(request)?;
        let range = KeyRange::new(request.get_key(), request.get_range_end());
        let found = if request.get_revision() > 0 {
            self.state.find(&range, revision)
        } else {
            self.find(&range)
        };
        let bytes_max = self.response_bytes;
        let response = answer_range(request, found, self.current_revision(), bytes_max)?;
        let kvs = response.get_kvs().iter();
        let bytes = kvs.map(|kv| write_bytes(kv.get_key().len(), kv.get_value().len()));
        self.spend_response(bytes.sum())?;
        Ok(response)
    }

    fn spend_response(&mut self, bytes: usize) -> EtcdResult<()> {
        let left = self.response_bytes.checked_sub(bytes);
        self.response_bytes = left.ok_or(EtcdError::ResponseTooLarge)?;
        Ok(())
    }

    fn txn(&mut self, request: &TxnRequest, path: &Path) -> EtcdResult<TxnResponse> {
        let mut response = TxnResponse::default();
        response.set_succeeded(path.succeeded);
        let mut nested = path.nested.iter();
        for op in branch(request, path.succeeded) {
            let mut answer = ResponseOp::default();
            match &op.request {
                Some(RequestOp_oneof_request::request_range(range)) => {
                    answer.set_response_range(self.range(range)?);
                }
                Some(RequestOp_oneof_request::request_put(put)) => {
                    answer.set_response_put(self.put(put)?);
                }
                Some(RequestOp_oneof_request::request_delete_range(delete)) => {
                    answer.set_response_delete_range(self.delete_range(delete)?);
                }
                Some(RequestOp_oneof_request::request_txn(txn)) => {
                    let path = nested.next().ok_or(EtcdError::KeyNotFound)?;
                    answer.set_response_txn(self.txn(txn, path)?);
                }
                None => return Err(EtcdError::KeyNotFound),
            }
            response.mut_responses().push(answer);
        }
        response.mut_header().set_revision(self.current_revision());
        Ok(response)
    }
}
