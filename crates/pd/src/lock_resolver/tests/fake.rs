//! Stores in memory: the rules of locks and records by the letter, regions that split and move, and
//! a network that loses requests and answers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::FutureExt as _;
use kvproto::errorpb;
use kvproto::kvrpcpb::{
    Action, CheckSecondaryLocksRequest, CheckSecondaryLocksResponse, CheckTxnStatusRequest,
    CheckTxnStatusResponse, Context, LockInfo, Op, PessimisticRollbackRequest,
    PessimisticRollbackResponse, ResolveLockRequest, ResolveLockResponse, ScanLockRequest,
    ScanLockResponse,
};
use parking_lot::Mutex;
use runtime::{Rng, Runtime, Timer};

use crate::lock_resolver::page::{decoded, encoded};
use crate::lock_resolver::stores::{CallError, CallFuture, Place, Stores};

/// A timestamp of this millisecond.
pub(crate) fn ts(millis: u64) -> u64 {
    millis << 18
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FakeLock {
    pub(crate) start_ts: u64,
    pub(crate) primary: String,
    pub(crate) ttl: u64,
    pub(crate) pessimistic: bool,
    /// With its keys but the primary, and a commit timestamp, when it may commit asynchronously.
    pub(crate) secondaries: Option<Vec<String>>,
    pub(crate) min_commit_ts: u64,
    pub(crate) for_update_ts: u64,
    pub(crate) shared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Committed(u64),
    RolledBack,
}

#[derive(Clone, Debug)]
struct FakeRegion {
    id: u64,
    start: Vec<u8>,
    end: Vec<u8>,
    version: u64,
    store_id: u64,
}

/// How often things go wrong, in thousandths of the calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lost_requests: u64,
    pub(crate) lost_answers: u64,
    pub(crate) region_changes: u64,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) locks: BTreeMap<Vec<u8>, Vec<FakeLock>>,
    pub(crate) records: BTreeMap<(Vec<u8>, u64), Record>,
    pub(crate) now: u64,
    pub(crate) faults: Faults,
    /// A store that does not answer.
    pub(crate) dead_store: Option<u64>,
    /// Answers with more locks are refused as too large.
    pub(crate) locks_max: Option<usize>,
    /// So many resolutions are answered without being done.
    pub(crate) idle_answers: usize,
    /// So many lists are refused because a lock is being written.
    pub(crate) in_flight: usize,
    pub(crate) calls: HashMap<&'static str, usize>,
    pub(crate) runs_ended: usize,
    regions: Vec<FakeRegion>,
    /// What the placement driver has heard of.
    heard: Vec<FakeRegion>,
    next_id: u64,
}

pub(crate) struct FakeStores {
    pub(crate) state: Mutex<State>,
    timer: Timer,
    rng: Rng,
}

impl FakeStores {
    /// One region over all keys, without a lock.
    pub(crate) fn new(runtime: &Runtime) -> FakeStores {
        let region = FakeRegion {
            id: 2,
            start: Vec::new(),
            end: Vec::new(),
            version: 1,
            store_id: 1,
        };
        FakeStores {
            state: Mutex::new(State {
                now: ts(200_000),
                regions: vec![region.clone()],
                heard: vec![region],
                next_id: 10,
                ..State::default()
            }),
            timer: runtime.timer.clone(),
            rng: runtime.rng.fork(),
        }
    }

    /// Regions that begin at these keys; everybody has heard of them.
    pub(crate) fn split(&self, keys: &[&[u8]]) {
        let mut state = self.state.lock();
        for key in keys {
            state.split_at(key.to_vec());
        }
        state.heard = state.regions.clone();
    }

    /// The placement driver does not know the region that begins with this key.
    pub(crate) fn forget_region(&self, start: &[u8]) {
        let mut state = self.state.lock();
        state.heard.retain(|region| region.start != start);
    }

    fn call<T: Send + 'static, R: Send + 'static>(
        &self,
        name: &'static str,
        place: &Place,
        request: R,
        answer: impl FnOnce(&mut State, &FakeRegion, R) -> Result<T, CallError> + Send + 'static,
        refuse: impl FnOnce(errorpb::Error) -> T + Send + 'static,
    ) -> CallFuture<'_, T> {
        let place = place.clone();
        async move {
            let delay = Duration::from_micros(self.rng.below(3_000));
            self.timer.sleep(delay).await;
            let mut state = self.state.lock();
            *state.calls.entry(name).or_default() += 1;
            state.now += 1;
            let faults = state.faults;
            let lost = || Err(CallError::Failed(format!("store {}: lost", place.store_id)));
            if self.rng.chance(faults.region_changes, 1_000) {
                state.change_regions(&self.rng);
            }
            if state.dead_store == Some(place.store_id)
                || self.rng.chance(faults.lost_requests, 1_000)
            {
                return lost();
            }
            let answered = match state.region_of(&place) {
                Ok(region) => answer(&mut state, &region, request)?,
                Err(error) => refuse(*error),
            };
            if self.rng.chance(faults.lost_answers, 1_000) {
                return lost();
            }
            Ok(answered)
        }
        .boxed()
    }
}

impl State {
    pub(crate) fn lock(&mut self, key: &str, lock: FakeLock) {
        let all = self.locks.entry(key.as_bytes().to_vec()).or_default();
        assert!(all.iter().all(|other| other.shared && lock.shared));
        all.push(lock);
    }

    pub(crate) fn record(&mut self, key: &str, start_ts: u64, record: Record) {
        self.decide(key.as_bytes(), start_ts, record);
    }

    pub(crate) fn outcome(&self, key: &str, start_ts: u64) -> Option<Record> {
        let entry = (key.as_bytes().to_vec(), start_ts);
        self.records.get(&entry).copied()
    }

    /// What is decided stays so.
    fn decide(&mut self, key: &[u8], start_ts: u64, record: Record) {
        let old = self.records.insert((key.to_vec(), start_ts), record);
        assert!(old.is_none_or(|old| old == record), "{old:?}, {record:?}");
    }

    fn own(&self, key: &[u8], start_ts: u64) -> Option<FakeLock> {
        let all = self.locks.get(key)?;
        all.iter().find(|lock| lock.start_ts == start_ts).cloned()
    }

    fn unlock(&mut self, key: &[u8], start_ts: u64) {
        if let Some(all) = self.locks.get_mut(key) {
            all.retain(|lock| lock.start_ts != start_ts);
            if all.is_empty() {
                self.locks.remove(key);
            }
        }
    }

    fn split_at(&mut self, key: Vec<u8>) {
        let inside =
            |region: &FakeRegion| region.start < key && (region.end.is_empty() || key < region.end);
        let Some(at) = self.regions.iter().position(inside) else {
            return;
        };
        self.next_id += 1;
        let mut left = self.regions[at].clone();
        self.regions[at].version += 1;
        left.version += 1;
        left.id = self.next_id;
        left.end = key.clone();
        self.regions[at].start = key;
        self.regions.insert(at, left);
    }

    fn change_regions(&mut self, rng: &Rng) {
        match rng.below(5) {
            0 => self.heard = self.regions.clone(),
            1 => {
                let key = format!("k{:03}", rng.below(400));
                self.split_at(encoded(key.as_bytes()));
            }
            2 => self.split_at(vec![b'a' + rng.below(26) as u8]),
            3 if self.regions.len() > 1 => {
                let at = rng.below(self.regions.len() as u64 - 1) as usize;
                let gone = self.regions.remove(at);
                let right = &mut self.regions[at];
                right.start = gone.start;
                right.version = right.version.max(gone.version) + 1;
            }
            _ => {
                let at = rng.below(self.regions.len() as u64) as usize;
                self.regions[at].store_id = 1 + rng.below(3);
            }
        }
    }

    /// The region that a request means, or what is wrong with its envelope. Whoever hears of that
    /// tells the placement driver.
    fn region_of(&mut self, place: &Place) -> Result<FakeRegion, Box<errorpb::Error>> {
        let id = place.context.get_region_id();
        let found = self.regions.iter().find(|region| region.id == id).cloned();
        let mut error = errorpb::Error::default();
        match found {
            None => error.mut_region_not_found().set_region_id(id),
            Some(region) if region.store_id != place.store_id => {
                error.mut_not_leader().set_region_id(id);
            }
            Some(region) if region.version != place.context.get_region_epoch().get_version() => {
                error.mut_epoch_not_match();
            }
            Some(region) => return Ok(region),
        }
        self.heard = self.regions.clone();
        Err(Box::new(error))
    }
}

impl FakeRegion {
    fn check(&self, key: &[u8]) {
        let key = encoded(key);
        let inside = self.start <= key && (self.end.is_empty() || key < self.end);
        assert!(inside, "{key:?} is not in {self:?}");
    }
}

fn take_one(left: &mut usize) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

fn info(key: &[u8], lock: &FakeLock) -> LockInfo {
    let mut info = LockInfo::default();
    info.set_key(key.to_vec());
    info.set_primary_lock(lock.primary.as_bytes().to_vec());
    info.set_lock_version(lock.start_ts);
    info.set_lock_ttl(lock.ttl);
    info.set_min_commit_ts(lock.min_commit_ts);
    info.set_lock_for_update_ts(lock.for_update_ts);
    info.set_lock_type(match (lock.pessimistic, lock.shared) {
        (true, false) => Op::PessimisticLock,
        (true, true) => Op::SharedPessimisticLock,
        (false, true) => Op::SharedLock,
        (false, false) => Op::Put,
    });
    if let Some(secondaries) = &lock.secondaries {
        info.set_use_async_commit(true);
        let keys = secondaries.iter().map(|key| key.as_bytes().to_vec());
        info.set_secondaries(keys.collect());
    }
    info
}

fn scan(state: &State, region: &FakeRegion, request: &ScanLockRequest) -> ScanLockResponse {
    let mut found = Vec::new();
    let mut count = 0;
    for (key, locks) in &state.locks {
        let place = encoded(key);
        let inside = region.start <= place && (region.end.is_empty() || place < region.end);
        let asked = request.get_start_key() <= key.as_slice()
            && (request.get_end_key().is_empty() || key.as_slice() < request.get_end_key());
        let old = |lock: &&FakeLock| lock.start_ts <= request.get_max_version();
        let mut all: Vec<LockInfo> = locks
            .iter()
            .filter(old)
            .map(|lock| info(key, lock))
            .collect();
        if !inside || !asked || all.is_empty() {
            continue;
        }
        count += all.len();
        if locks[0].shared {
            let mut container = LockInfo::default();
            container.set_key(key.clone());
            container.set_lock_type(Op::SharedLock);
            container.set_shared_lock_infos(all.into());
            all = vec![container];
        }
        found.extend(all);
        if count >= request.get_limit() as usize {
            break;
        }
    }
    let mut response = ScanLockResponse::default();
    response.set_locks(found.into());
    response
}

fn check_txn(state: &mut State, request: &CheckTxnStatusRequest) -> CheckTxnStatusResponse {
    assert_eq!(request.get_caller_start_ts(), 0, "nobody is pushed");
    assert!(request.get_current_ts() <= state.now, "a time that was");
    let (key, start_ts) = (request.get_primary_key().to_vec(), request.get_lock_ts());
    let mut response = CheckTxnStatusResponse::default();
    let resolving = request.get_resolving_pessimistic_lock();
    if let Some(lock) = state.own(&key, start_ts) {
        let is_stale = lock.primary.as_bytes() != key.as_slice();
        let expired = (start_ts >> 18) + lock.ttl < request.get_current_ts() >> 18;
        let is_async = lock.secondaries.is_some() && !request.get_force_sync_commit();
        if is_stale && !resolving && lock.pessimistic {
            state.unlock(&key, start_ts);
        } else if is_stale || lock.shared {
            let mismatch = response.mut_error().mut_primary_mismatch();
            mismatch.set_lock_info(info(&key, &lock));
            return response;
        } else if is_async || !expired {
            response.set_lock_ttl(lock.ttl);
            response.set_lock_info(info(&key, &lock));
            return response;
        } else {
            state.unlock(&key, start_ts);
            response.set_action(if lock.pessimistic && resolving {
                Action::TTLExpirePessimisticRollback
            } else {
                state.decide(&key, start_ts, Record::RolledBack);
                Action::TTLExpireRollback
            });
            return response;
        }
    }
    match state.records.get(&(key.clone(), start_ts)) {
        Some(Record::Committed(at)) => response.set_commit_version(*at),
        Some(Record::RolledBack) => {}
        None if !request.get_rollback_if_not_exist() => {
            response
                .mut_error()
                .mut_txn_not_found()
                .set_start_ts(start_ts);
        }
        None if resolving => response.set_action(Action::LockNotExistDoNothing),
        None => {
            state.decide(&key, start_ts, Record::RolledBack);
            response.set_action(Action::LockNotExistRollback);
        }
    }
    response
}

fn check_secondaries(
    state: &mut State,
    region: &FakeRegion,
    request: &CheckSecondaryLocksRequest,
) -> CheckSecondaryLocksResponse {
    let start_ts = request.get_start_version();
    let mut response = CheckSecondaryLocksResponse::default();
    for key in request.get_keys() {
        region.check(key);
        match state.own(key, start_ts) {
            Some(lock) if !lock.pessimistic => response.mut_locks().push(info(key, &lock)),
            _ => {
                state.unlock(key, start_ts);
                response.clear_locks();
                match state.records.get(&(key.clone(), start_ts)) {
                    Some(Record::Committed(at)) => response.set_commit_ts(*at),
                    Some(Record::RolledBack) => {}
                    None => state.decide(key, start_ts, Record::RolledBack),
                }
                return response;
            }
        }
    }
    response
}

fn resolve(
    state: &mut State,
    region: &FakeRegion,
    request: &ResolveLockRequest,
) -> ResolveLockResponse {
    let (start_ts, commit_ts) = (request.get_start_version(), request.get_commit_version());
    assert!(commit_ts == 0 || commit_ts > start_ts);
    let mut response = ResolveLockResponse::default();
    for key in request.get_keys() {
        region.check(key);
        let lock = state.own(key, start_ts);
        let record = state.records.get(&(key.clone(), start_ts)).copied();
        match (lock, record) {
            (Some(lock), _) if lock.min_commit_ts > commit_ts && commit_ts > 0 => {
                response.mut_error().mut_commit_ts_expired();
                return response;
            }
            (Some(lock), _) => {
                state.unlock(key, start_ts);
                if commit_ts == 0 {
                    state.decide(key, start_ts, Record::RolledBack);
                } else if !lock.pessimistic {
                    state.decide(key, start_ts, Record::Committed(commit_ts));
                }
            }
            (None, Some(Record::Committed(_))) if commit_ts > 0 => {}
            (None, Some(Record::RolledBack)) if commit_ts == 0 => {}
            (None, None) if commit_ts == 0 => state.decide(key, start_ts, Record::RolledBack),
            _ => {
                response.mut_error().mut_txn_lock_not_found();
                return response;
            }
        }
    }
    response
}

impl Stores for FakeStores {
    fn locate(&self, key: &[u8]) -> Result<Place, CallError> {
        let state = self.state.lock();
        let holds = |region: &&FakeRegion| {
            region.start.as_slice() <= key && (region.end.is_empty() || key < region.end.as_slice())
        };
        let Some(region) = state.heard.iter().find(holds) else {
            return Err(CallError::Failed("a hole".to_owned()));
        };
        let mut context = Context::default();
        context.set_region_id(region.id);
        context.mut_region_epoch().set_version(region.version);
        Ok(Place {
            end: region.end.clone(),
            store_id: region.store_id,
            context,
        })
    }

    fn timestamp(&self) -> CallFuture<'_, u64> {
        let mut state = self.state.lock();
        state.now += 1;
        let now = state.now;
        async move { Ok(now) }.boxed()
    }

    fn run_ended(&self) {
        self.state.lock().runs_ended += 1;
    }

    fn scan_lock(&self, place: &Place, it: ScanLockRequest) -> CallFuture<'_, ScanLockResponse> {
        let answer = |state: &mut State, region: &FakeRegion, it: ScanLockRequest| {
            if !it.get_start_key().is_empty() {
                region.check(it.get_start_key());
            }
            assert_eq!(it.get_end_key(), decoded(&region.end));
            if take_one(&mut state.in_flight) {
                let mut response = ScanLockResponse::default();
                response.mut_error().mut_locked();
                return Ok(response);
            }
            let found = scan(state, region, &it);
            match state.locks_max {
                Some(max) if found.get_locks().len() > max => {
                    Err(CallError::TooLarge("by far".to_owned()))
                }
                _ => Ok(found),
            }
        };
        let refuse = |error| {
            let mut response = ScanLockResponse::default();
            response.set_region_error(error);
            response
        };
        self.call("scan", place, it, answer, refuse)
    }

    fn check_txn_status(
        &self,
        place: &Place,
        it: CheckTxnStatusRequest,
    ) -> CallFuture<'_, CheckTxnStatusResponse> {
        let answer = |state: &mut State, region: &FakeRegion, it: CheckTxnStatusRequest| {
            region.check(it.get_primary_key());
            Ok(check_txn(state, &it))
        };
        let refuse = |error| {
            let mut response = CheckTxnStatusResponse::default();
            response.set_region_error(error);
            response
        };
        self.call("check_txn", place, it, answer, refuse)
    }

    fn check_secondary_locks(
        &self,
        place: &Place,
        it: CheckSecondaryLocksRequest,
    ) -> CallFuture<'_, CheckSecondaryLocksResponse> {
        let answer = |state: &mut State, region: &FakeRegion, it: CheckSecondaryLocksRequest| {
            Ok(check_secondaries(state, region, &it))
        };
        let refuse = |error| {
            let mut response = CheckSecondaryLocksResponse::default();
            response.set_region_error(error);
            response
        };
        self.call("check_secondaries", place, it, answer, refuse)
    }

    fn resolve_lock(
        &self,
        place: &Place,
        it: ResolveLockRequest,
    ) -> CallFuture<'_, ResolveLockResponse> {
        let answer = |state: &mut State, region: &FakeRegion, it: ResolveLockRequest| {
            if take_one(&mut state.idle_answers) {
                return Ok(ResolveLockResponse::default());
            }
            Ok(resolve(state, region, &it))
        };
        let refuse = |error| {
            let mut response = ResolveLockResponse::default();
            response.set_region_error(error);
            response
        };
        self.call("resolve", place, it, answer, refuse)
    }

    fn pessimistic_rollback(
        &self,
        place: &Place,
        it: PessimisticRollbackRequest,
    ) -> CallFuture<'_, PessimisticRollbackResponse> {
        let answer = |state: &mut State, region: &FakeRegion, it: PessimisticRollbackRequest| {
            for key in it.get_keys() {
                region.check(key);
                let lock = state.own(key, it.get_start_version());
                let latest = it.get_for_update_ts();
                if lock.is_some_and(|lock| lock.pessimistic && lock.for_update_ts <= latest) {
                    state.unlock(key, it.get_start_version());
                }
            }
            Ok(PessimisticRollbackResponse::default())
        };
        let refuse = |error| {
            let mut response = PessimisticRollbackResponse::default();
            response.set_region_error(error);
            response
        };
        self.call("pessimistic_rollback", place, it, answer, refuse)
    }
}
