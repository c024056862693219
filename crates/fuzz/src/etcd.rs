//! Requests of the etcd face of the placement driver, decoded and run on its state machine.

use kvproto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use pd::etcd::{EtcdChange, EtcdLimits, EtcdState, Interest, KeyRange};
use protobuf::Message;
use runtime::VirtualClock;

use crate::input::Input;

const LIMITS: EtcdLimits = EtcdLimits {
    live_bytes_max: 4 << 10,
    history_bytes_max: 2 << 10,
    history_revisions_max: 16,
    leases_max: 8,
    txn_operations_max: 8,
    response_bytes_max: 16 << 10,
};

/// A sequence of requests: a byte for the kind, a byte for the length, the message.
pub fn etcd(data: &[u8]) {
    let mut input = Input(data);
    let clock = VirtualClock::new();
    let mut state = EtcdState::new(LIMITS);
    state.begin(clock.now());
    while !input.is_empty() {
        let kind = input.byte();
        let bytes = input.bytes();
        let number = Input(bytes).number().cast_signed();
        let now = clock.now();
        let planned = match kind % 8 {
            0 => decoded::<PutRequest>(bytes).and_then(|request| {
                let (changes, _) = state.plan_put(&request).ok()?;
                Some(changes)
            }),
            1 => decoded::<DeleteRangeRequest>(bytes).and_then(|request| {
                let (changes, response) = state.plan_delete_range(&request).ok()?;
                assert_eq!(response.get_deleted() == 0, changes.is_empty());
                Some(changes)
            }),
            2 => decoded::<TxnRequest>(bytes).and_then(|request| {
                let (changes, _) = state.plan_txn(&request).ok()?;
                Some(changes)
            }),
            3 => {
                if let Some(request) = decoded::<RangeRequest>(bytes) {
                    range(&state, &request);
                }
                None
            }
            4 => state.plan_compact(number).ok(),
            5 => state
                .plan_lease_grant(number, number >> 8, now)
                .ok()
                .map(|plan| plan.0),
            6 => state.plan_lease_revoke(number).ok(),
            _ => {
                clock.advance_to(now + std::time::Duration::from_secs(u64::from(kind)));
                Some(state.plan_lease_expire(clock.now()))
            }
        };
        apply(&mut state, planned.unwrap_or_default());
        if let Some(revision) = state.compaction_due() {
            let changes = state.plan_compact(revision);
            assert!(changes.is_ok(), "a compaction that is due is possible");
            apply(&mut state, changes.unwrap_or_default());
        }
    }
}

fn decoded<M: Message>(bytes: &[u8]) -> Option<M> {
    kvproto::bounded::parse(bytes).ok()
}

fn apply(state: &mut EtcdState, changes: Vec<EtcdChange>) {
    let (revision, compacted) = (state.revision(), state.compacted());
    let grows = changes
        .iter()
        .any(|change| matches!(change, EtcdChange::Write(..)));
    for change in changes {
        state.apply(change);
    }
    assert_eq!(
        state.revision() > revision,
        grows,
        "a revision is what was written"
    );
    assert!(state.compacted() >= compacted, "history does not come back");
    assert!(state.compacted() <= state.revision());
    assert!(state.live_bytes() <= state.total_bytes());
    assert!(state.live_bytes() <= LIMITS.live_bytes_max);
    assert!(state.leases().ids().count() <= LIMITS.leases_max);
    // All of what happened, of all keys, from where history begins.
    let interest = Interest {
        keys: KeyRange::new(&[0], &[0]),
        puts: true,
        deletes: true,
        previous: true,
    };
    let from = state.compacted() + 1;
    let told = state.events(&interest, from, usize::MAX);
    let told = told.map(|batch| (batch.next_revision, batch.events.len()));
    assert!(
        told.as_ref()
            .is_ok_and(|(next, _)| *next > state.revision()),
        "{told:?}"
    );
    if grows {
        assert!(told.is_ok_and(|(_, events)| events > 0 || from > state.revision()));
    }
}

fn range(state: &EtcdState, request: &RangeRequest) {
    let Ok(response) = state.range(request) else {
        return;
    };
    let kvs = response.get_kvs();
    assert!(response.get_count() >= kvs.len() as i64 || request.get_count_only());
    if request.get_limit() > 0 {
        assert!(kvs.len() as i64 <= request.get_limit());
    }
    let keys = KeyRange::new(request.get_key(), request.get_range_end());
    for kv in kvs {
        assert!(keys.contains(kv.get_key()));
        assert!(kv.get_create_revision() <= kv.get_mod_revision());
        assert!(kv.get_mod_revision() <= state.revision());
    }
}
