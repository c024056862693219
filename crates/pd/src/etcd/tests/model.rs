//! The same store as simply as can be: a list of everything that ever happened, searched from end
//! to end.

use kvproto::etcdserverpb::{
    Compare, Compare_CompareResult, Compare_CompareTarget, DeleteRangeRequest, DeleteRangeResponse,
    PutRequest, PutResponse, RangeRequest, RangeRequest_SortOrder, RangeRequest_SortTarget,
    RangeResponse, RequestOp, RequestOp_oneof_request, ResponseOp, TxnRequest, TxnResponse,
};
use kvproto::mvccpb::{Event, Event_EventType, KeyValue};

use crate::etcd::{EtcdError, EtcdResult};

#[derive(Clone)]
struct Moment {
    revision: i64,
    key: Vec<u8>,
    kv: Option<KeyValue>,
}

#[derive(Clone)]
pub(super) struct Model {
    history: Vec<Moment>,
    pub(super) revision: i64,
    pub(super) compacted: i64,
    pub(super) leases: Vec<i64>,
}

fn in_range(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        b"" => key == start,
        b"\0" => key >= start,
        end => key >= start && key < end,
    }
}

impl Model {
    pub(super) fn new() -> Model {
        Model {
            history: Vec::new(),
            revision: 1,
            compacted: 0,
            leases: Vec::new(),
        }
    }

    fn at(&self, key: &[u8], revision: i64) -> Option<KeyValue> {
        let mut found = None;
        for moment in &self.history {
            if moment.key == key && moment.revision <= revision {
                found = moment.kv.clone();
            }
        }
        found
    }

    fn all(&self, start: &[u8], end: &[u8], revision: i64) -> Vec<KeyValue> {
        let mut keys: Vec<Vec<u8>> = self.history.iter().map(|m| m.key.clone()).collect();
        keys.sort();
        keys.dedup();
        keys.retain(|key| in_range(key, start, end));
        keys.iter()
            .filter_map(|key| self.at(key, revision))
            .collect()
    }

    pub(super) fn range(&self, req: &RangeRequest) -> EtcdResult<RangeResponse> {
        let current = self
            .history
            .last()
            .map_or(1, |m| m.revision)
            .max(self.revision);
        let mut revision = req.get_revision();
        if revision <= 0 {
            revision = current;
        } else if revision > self.revision {
            return Err(EtcdError::FutureRevision);
        } else if revision < self.compacted {
            let compact_revision = self.compacted;
            return Err(EtcdError::Compacted { compact_revision });
        }
        let mut kvs = self.all(req.get_key(), req.get_range_end(), revision);
        let mut response = RangeResponse::default();
        response.mut_header().set_revision(current);
        response.set_count(kvs.len() as i64);
        if req.get_count_only() {
            return Ok(response);
        }
        if req.get_min_mod_revision() > 0 {
            kvs.retain(|kv| kv.get_mod_revision() >= req.get_min_mod_revision());
        }
        if req.get_max_mod_revision() > 0 {
            kvs.retain(|kv| kv.get_mod_revision() <= req.get_max_mod_revision());
        }
        if req.get_min_create_revision() > 0 {
            kvs.retain(|kv| kv.get_create_revision() >= req.get_min_create_revision());
        }
        if req.get_max_create_revision() > 0 {
            kvs.retain(|kv| kv.get_create_revision() <= req.get_max_create_revision());
        }
        kvs.sort_by(|a, b| match req.get_sort_target() {
            RangeRequest_SortTarget::KEY => a.get_key().cmp(b.get_key()),
            RangeRequest_SortTarget::VERSION => a.get_version().cmp(&b.get_version()),
            RangeRequest_SortTarget::CREATE => {
                a.get_create_revision().cmp(&b.get_create_revision())
            }
            RangeRequest_SortTarget::MOD => a.get_mod_revision().cmp(&b.get_mod_revision()),
            RangeRequest_SortTarget::VALUE => a.get_value().cmp(b.get_value()),
        });
        if req.get_sort_order() == RangeRequest_SortOrder::DESCEND {
            kvs.reverse();
        }
        if req.get_limit() > 0 && kvs.len() > req.get_limit() as usize {
            kvs.truncate(req.get_limit() as usize);
            response.set_more(true);
        }
        if req.get_keys_only() {
            kvs.iter_mut().for_each(KeyValue::clear_value);
        }
        response.set_kvs(kvs.into());
        Ok(response)
    }

    fn current(&self) -> i64 {
        self.history
            .last()
            .map_or(1, |m| m.revision)
            .max(self.revision)
    }

    fn do_put(&mut self, req: &PutRequest) -> EtcdResult<PutResponse> {
        let next = self.revision + 1;
        let old = self.at(req.get_key(), i64::MAX);
        let mut kv = KeyValue::default();
        kv.set_key(req.get_key().to_vec());
        kv.set_value(req.get_value().to_vec());
        kv.set_lease(req.get_lease());
        if req.get_lease() != 0 && !self.leases.contains(&req.get_lease()) {
            return Err(EtcdError::LeaseNotFound);
        }
        if req.get_ignore_value() {
            kv.set_value(
                old.as_ref()
                    .ok_or(EtcdError::KeyNotFound)?
                    .get_value()
                    .to_vec(),
            );
        }
        if req.get_ignore_lease() {
            kv.set_lease(old.as_ref().ok_or(EtcdError::KeyNotFound)?.get_lease());
        }
        kv.set_version(old.as_ref().map_or(0, KeyValue::get_version) + 1);
        kv.set_create_revision(old.as_ref().map_or(next, KeyValue::get_create_revision));
        kv.set_mod_revision(next);
        self.history.push(Moment {
            revision: next,
            key: req.get_key().to_vec(),
            kv: Some(kv),
        });
        let mut response = PutResponse::default();
        response.mut_header().set_revision(next);
        if let Some(old) = old.filter(|_| req.get_prev_kv()) {
            response.set_prev_kv(old);
        }
        Ok(response)
    }

    fn do_delete(&mut self, req: &DeleteRangeRequest) -> DeleteRangeResponse {
        let gone = self.all(req.get_key(), req.get_range_end(), i64::MAX);
        let mut response = DeleteRangeResponse::default();
        response.set_deleted(gone.len() as i64);
        for kv in &gone {
            self.history.push(Moment {
                revision: self.revision + 1,
                key: kv.get_key().to_vec(),
                kv: None,
            });
        }
        response.mut_header().set_revision(self.current());
        if req.get_prev_kv() {
            response.set_prev_kvs(gone.into());
        }
        response
    }

    fn close(&mut self) {
        self.revision = self.current();
    }

    pub(super) fn put(&mut self, req: &PutRequest) -> EtcdResult<PutResponse> {
        let response = self.do_put(req)?;
        self.close();
        Ok(response)
    }

    pub(super) fn delete_range(&mut self, req: &DeleteRangeRequest) -> DeleteRangeResponse {
        let response = self.do_delete(req);
        self.close();
        response
    }

    fn compare(&self, compare: &Compare) -> bool {
        let found = self.all(compare.get_key(), compare.get_range_end(), i64::MAX);
        let test = |kv: &KeyValue| {
            let ordering = match compare.get_target() {
                Compare_CompareTarget::VERSION => kv.get_version().cmp(&compare.get_version()),
                Compare_CompareTarget::CREATE => {
                    kv.get_create_revision().cmp(&compare.get_create_revision())
                }
                Compare_CompareTarget::MOD => {
                    kv.get_mod_revision().cmp(&compare.get_mod_revision())
                }
                Compare_CompareTarget::LEASE => kv.get_lease().cmp(&compare.get_lease()),
                Compare_CompareTarget::VALUE => kv.get_value().cmp(compare.get_value()),
            };
            match compare.get_result() {
                Compare_CompareResult::EQUAL => ordering.is_eq(),
                Compare_CompareResult::GREATER => ordering.is_gt(),
                Compare_CompareResult::LESS => ordering.is_lt(),
                Compare_CompareResult::NOT_EQUAL => ordering.is_ne(),
            }
        };
        if found.is_empty() {
            let is_value = compare.get_target() == Compare_CompareTarget::VALUE;
            return !is_value && test(&KeyValue::default());
        }
        found.iter().all(test)
    }

    /// Only transactions that write no key twice are asked of the model; it does not check.
    pub(super) fn txn(&mut self, req: &TxnRequest) -> EtcdResult<TxnResponse> {
        let before = self.clone();
        match self.do_txn(req, &before) {
            Ok(response) => {
                self.close();
                Ok(response)
            }
            Err(error) => {
                *self = before;
                Err(error)
            }
        }
    }

    fn do_txn(&mut self, req: &TxnRequest, before: &Model) -> EtcdResult<TxnResponse> {
        let mut response = TxnResponse::default();
        response.set_succeeded(req.get_compare().iter().all(|c| before.compare(c)));
        let ops: &[RequestOp] = if response.get_succeeded() {
            req.get_success()
        } else {
            req.get_failure()
        };
        for op in ops {
            let mut answer = ResponseOp::default();
            match op.request.as_ref().unwrap() {
                RequestOp_oneof_request::request_range(range) => {
                    answer.set_response_range(self.range(range)?);
                }
                RequestOp_oneof_request::request_put(put) => {
                    answer.set_response_put(self.do_put(put)?);
                }
                RequestOp_oneof_request::request_delete_range(delete) => {
                    answer.set_response_delete_range(self.do_delete(delete));
                }
                RequestOp_oneof_request::request_txn(txn) => {
                    answer.set_response_txn(self.do_txn(txn, before)?);
                }
            }
            response.mut_responses().push(answer);
        }
        response.mut_header().set_revision(self.current());
        Ok(response)
    }

    pub(super) fn revoke(&mut self, id: i64) {
        self.leases.retain(|lease| *lease != id);
        for kv in self.all(b"\0", b"\0", i64::MAX) {
            if kv.get_lease() == id {
                self.history.push(Moment {
                    revision: self.revision + 1,
                    key: kv.get_key().to_vec(),
                    kv: None,
                });
            }
        }
        self.close();
    }

    pub(super) fn events(&self, start: &[u8], end: &[u8], from: i64) -> Vec<Event> {
        let mut events = Vec::new();
        for (at, moment) in self.history.iter().enumerate() {
            if moment.revision < from || !in_range(&moment.key, start, end) {
                continue;
            }
            let mut event = Event::default();
            match &moment.kv {
                Some(kv) => event.set_kv(kv.clone()),
                None => {
                    event.set_field_type(Event_EventType::DELETE);
                    event.mut_kv().set_key(moment.key.clone());
                    event.mut_kv().set_mod_revision(moment.revision);
                }
            }
            let previous = self.history[..at]
                .iter()
                .rev()
                .find(|m| m.key == moment.key);
            if let Some(kv) = previous.and_then(|m| m.kv.clone())
                && moment.revision > self.compacted
            {
                event.set_prev_kv(kv);
            }
            events.push(event);
        }
        events
    }
}
