//! Requests of the other ways to write: in one phase, asynchronously, pessimistically; and their undoing.

use kvproto::etcdserverpb::{
    Compare, Compare_CompareResult, Compare_CompareTarget, PutRequest, RangeRequest, RequestOp,
    TxnRequest,
};
use kvproto::kvrpcpb::{self, PrewriteRequest_PessimisticAction as Action};

use super::keyspace::{Keyspace, LOCK_TTL_MS};

impl Keyspace {
    /// A whole transaction on `key` in one request.
    pub(crate) fn one_phase(&self, key: Vec<u8>) -> kvrpcpb::PrewriteRequest {
        let start_ts = self.timestamp();
        let mut request = self.prewrite(vec![key], start_ts);
        request.set_try_one_pc(true);
        request.set_min_commit_ts(start_ts + 1);
        request
    }

    /// The first phase of a transaction that is committed with it.
    pub(crate) fn async_commit(
        &self,
        keys: Vec<Vec<u8>>,
        start_ts: u64,
    ) -> kvrpcpb::PrewriteRequest {
        let secondaries: Vec<_> = keys.iter().skip(1).cloned().collect();
        let mut request = self.prewrite(keys, start_ts);
        request.set_use_async_commit(true);
        request.set_secondaries(secondaries.into());
        request.set_min_commit_ts(start_ts + 1);
        request
    }

    /// A pessimistic lock on `key` that gives its value back, for the transaction of `start_ts`.
    pub(crate) fn pessimistic_lock(
        &self,
        key: Vec<u8>,
        start_ts: u64,
        wait_timeout_ms: i64,
    ) -> kvrpcpb::PessimisticLockRequest {
        let mut request = kvrpcpb::PessimisticLockRequest::default();
        request.set_context(self.context());
        request.set_primary_lock(key.clone());
        let mut mutation = kvrpcpb::Mutation::default();
        mutation.set_op(kvrpcpb::Op::PessimisticLock);
        mutation.set_key(key);
        request.mut_mutations().push(mutation);
        request.set_start_version(start_ts);
        request.set_for_update_ts(self.timestamp());
        request.set_lock_ttl(LOCK_TTL_MS);
        request.set_is_first_lock(true);
        request.set_wait_timeout(wait_timeout_ms);
        request.set_return_values(true);
        request
    }

    /// Gives that lock up.
    pub(crate) fn pessimistic_rollback(
        &self,
        lock: &kvrpcpb::PessimisticLockRequest,
    ) -> kvrpcpb::PessimisticRollbackRequest {
        let mut request = kvrpcpb::PessimisticRollbackRequest::default();
        request.set_context(self.context());
        request.set_start_version(lock.get_start_version());
        request.set_for_update_ts(lock.get_for_update_ts());
        request.mut_keys().push(lock.get_primary_lock().to_vec());
        request
    }

    /// Sets the key under that lock to `value`, in one phase.
    pub(crate) fn set_locked(
        &self,
        lock: &kvrpcpb::PessimisticLockRequest,
        value: Vec<u8>,
    ) -> kvrpcpb::PrewriteRequest {
        let key = lock.get_primary_lock().to_vec();
        let mut request = self.prewrite(vec![key], lock.get_start_version());
        for mutation in request.mut_mutations().iter_mut() {
            mutation.set_value(value.clone());
        }
        request.set_for_update_ts(lock.get_for_update_ts());
        request
            .mut_pessimistic_actions()
            .push(Action::DO_PESSIMISTIC_CHECK);
        request.set_try_one_pc(true);
        request.set_min_commit_ts(lock.get_for_update_ts() + 1);
        request
    }

    /// Rolls the transaction of `start_ts` back on `key`, which is not its primary.
    pub(crate) fn rollback(&self, key: Vec<u8>, start_ts: u64) -> kvrpcpb::BatchRollbackRequest {
        let mut request = kvrpcpb::BatchRollbackRequest::default();
        request.set_context(self.context());
        request.set_start_version(start_ts);
        request.mut_keys().push(key);
        request
    }

    /// Rolls the transaction of `start_ts` back on `key` so that it can never be committed.
    pub(crate) fn cleanup(&self, key: Vec<u8>, start_ts: u64) -> kvrpcpb::CleanupRequest {
        let mut request = kvrpcpb::CleanupRequest::default();
        request.set_context(self.context());
        request.set_start_version(start_ts);
        request.set_key(key);
        request
    }

    /// A read of `key` at the present.
    pub(crate) fn get_latest(&self, key: Vec<u8>) -> kvrpcpb::GetRequest {
        let mut request = kvrpcpb::GetRequest::default();
        request.set_context(self.context());
        request.set_key(key);
        request.set_version(self.timestamp());
        request
    }
}

/// A read of `key` in etcd.
pub(crate) fn etcd_get(key: &[u8]) -> RangeRequest {
    let mut request = RangeRequest::default();
    request.set_key(key.to_vec());
    request
}

/// Sets `key` in etcd to `value` unless it was changed after `revision`.
pub(crate) fn etcd_set_unchanged(key: &[u8], revision: i64, value: Vec<u8>) -> TxnRequest {
    let mut compare = Compare::default();
    compare.set_target(Compare_CompareTarget::MOD);
    compare.set_result(Compare_CompareResult::EQUAL);
    compare.set_key(key.to_vec());
    compare.set_mod_revision(revision);
    let mut put = PutRequest::default();
    put.set_key(key.to_vec());
    put.set_value(value);
    let mut success = RequestOp::default();
    success.set_request_put(put);
    let mut request = TxnRequest::default();
    request.mut_compare().push(compare);
    request.mut_success().push(success);
    request
}

#[cfg(test)]
mod tests {
    use kvproto::metapb;

    use super::*;

    #[test]
    fn what_is_under_a_lock_is_set_as_its_owner() {
        let region = metapb::Region::default();
        let keyspace = Keyspace::new(&region, metapb::Peer::default(), 100);
        let start_ts = keyspace.timestamp();
        let lock = keyspace.pessimistic_lock(b"k".to_vec(), start_ts, 1000);
        assert!(lock.get_for_update_ts() > start_ts);
        let set = keyspace.set_locked(&lock, b"v".to_vec());
        assert_eq!(set.get_start_version(), start_ts);
        assert_eq!(set.get_for_update_ts(), lock.get_for_update_ts());
        assert_eq!(set.get_mutations()[0].get_value(), b"v");
        assert_eq!(keyspace.pessimistic_rollback(&lock).get_keys(), [b"k"]);
    }
}
