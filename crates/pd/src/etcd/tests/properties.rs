//! Random histories: every answer, every watch and every start after a crash agrees with the model.

use kvproto::etcdserverpb::{
    Compare, Compare_CompareResult, Compare_CompareTarget, DeleteRangeRequest, PutRequest,
    RangeRequest, RangeRequest_SortOrder, RangeRequest_SortTarget, RequestOp, TxnRequest,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::disk::Disk;
use super::model::Model;
use crate::etcd::{EtcdError, EtcdLimits, Interest, KeyRange};

#[derive(Clone, Debug)]
enum Step {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Range(RangeRequest),
    Txn(TxnRequest),
    Grant(i64),
    Revoke(i64),
    Compact(i64),
    Watch((Vec<u8>, Vec<u8>), i64, usize),
    Crash,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    select(vec![
        b"a".to_vec(),
        b"aa".to_vec(),
        b"b".to_vec(),
        b"c".to_vec(),
        b"\xff".to_vec(),
    ])
}

fn range() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let end = select(vec![
        b"".to_vec(),
        b"".to_vec(),
        b"\0".to_vec(),
        b"aa".to_vec(),
        b"b".to_vec(),
        b"d".to_vec(),
    ]);
    (key(), end)
}

/// Around the revisions that short histories reach, and 0.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), 0..30i64]
}

fn put() -> impl Strategy<Value = PutRequest> {
    (key(), vec(0..3u8, 0..2), 0..4i64, 0..8u8).prop_map(|(key, value, lease, bits)| {
        let mut req = PutRequest::default();
        req.set_key(key);
        req.set_prev_kv(bits & 1 != 0);
        req.set_ignore_value(bits == 2);
        req.set_ignore_lease(bits == 4);
        if !req.get_ignore_value() {
            req.set_value(value);
        }
        if !req.get_ignore_lease() {
            req.set_lease(lease.saturating_sub(1));
        }
        req
    })
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (range(), any::<bool>()).prop_map(|((key, end), prev_kv)| {
        let mut req = DeleteRangeRequest::default();
        req.set_key(key);
        req.set_range_end(end);
        req.set_prev_kv(prev_kv);
        req
    })
}

fn range_request() -> impl Strategy<Value = RangeRequest> {
    let order = select(vec![
        RangeRequest_SortOrder::NONE,
        RangeRequest_SortOrder::ASCEND,
        RangeRequest_SortOrder::DESCEND,
    ]);
    let target = select(vec![
        RangeRequest_SortTarget::KEY,
        RangeRequest_SortTarget::VERSION,
        RangeRequest_SortTarget::CREATE,
        RangeRequest_SortTarget::MOD,
        RangeRequest_SortTarget::VALUE,
    ]);
    let filters = vec(prop_oneof![3 => Just(0), 1 => 1..20i64], 4);
    (range(), revision(), 0..4i64, order, target, filters, 0..6u8).prop_map(
        |((key, end), revision, limit, order, target, filters, bits)| {
            let mut req = RangeRequest::default();
            req.set_key(key);
            req.set_range_end(end);
            req.set_revision(revision);
            req.set_limit(limit);
            req.set_sort_order(order);
            req.set_sort_target(target);
            req.set_keys_only(bits == 1);
            req.set_count_only(bits == 2);
            req.set_min_mod_revision(filters[0]);
            req.set_max_mod_revision(filters[1]);
            req.set_min_create_revision(filters[2]);
            req.set_max_create_revision(filters[3]);
            req
        },
    )
}

fn compare() -> impl Strategy<Value = Compare> {
    (range(), 0..5u8, 0..4u8, 0..12i64).prop_map(|((key, end), target, result, number)| {
        let mut compare = Compare::default();
        compare.set_key(key);
        compare.set_range_end(end);
        compare.set_result(match result {
            0 => Compare_CompareResult::EQUAL,
            1 => Compare_CompareResult::GREATER,
            2 => Compare_CompareResult::LESS,
            _ => Compare_CompareResult::NOT_EQUAL,
        });
        match target {
            0 => compare.set_version(number % 3),
            1 => compare.set_create_revision(number),
            2 => compare.set_mod_revision(number),
            3 => compare.set_value(vec![u8::try_from(number % 3).unwrap()]),
            _ => compare.set_lease(number % 3),
        }
        compare.set_target(match target {
            0 => Compare_CompareTarget::VERSION,
            1 => Compare_CompareTarget::CREATE,
            2 => Compare_CompareTarget::MOD,
            3 => Compare_CompareTarget::VALUE,
            _ => Compare_CompareTarget::LEASE,
        });
        compare
    })
}

fn op() -> impl Strategy<Value = RequestOp> {
    prop_oneof![
        put().prop_map(|put| {
            let mut op = RequestOp::default();
            op.set_request_put(put);
            op
        }),
        delete().prop_map(|delete| {
            let mut op = RequestOp::default();
            op.set_request_delete_range(delete);
            op
        }),
        range_request().prop_map(|range| {
            let mut op = RequestOp::default();
            op.set_request_range(range);
            op
        }),
    ]
}

fn txn_of(op: impl Strategy<Value = RequestOp> + Clone) -> impl Strategy<Value = TxnRequest> {
    (vec(compare(), 0..2), vec(op.clone(), 0..3), vec(op, 0..2)).prop_map(
        |(compare, success, failure)| {
            let mut req = TxnRequest::default();
            req.set_compare(compare.into());
            req.set_success(success.into());
            req.set_failure(failure.into());
            req
        },
    )
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let nested = txn_of(op().boxed()).prop_map(|txn| {
        let mut op = RequestOp::default();
        op.set_request_txn(txn);
        op
    });
    txn_of(prop_oneof![3 => op(), 1 => nested].boxed())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => put().prop_map(Step::Put),
        3 => delete().prop_map(Step::Delete),
        4 => range_request().prop_map(Step::Range),
        4 => txn().prop_map(Step::Txn),
        1 => (1..3i64).prop_map(Step::Grant),
        1 => (1..3i64).prop_map(Step::Revoke),
        1 => revision().prop_map(Step::Compact),
        2 => (range(), revision(), 0..300usize).prop_map(|(range, from, bytes)| {
            Step::Watch(range, from, bytes)
        }),
        1 => Just(Step::Crash),
    ]
}

fn run(disk: &mut Disk, model: &mut Model, step: &Step) -> Result<(), TestCaseError> {
    let now = runtime::VirtualClock::new().now();
    match step {
        Step::Put(req) => {
            let planned = disk.state.plan_put(req);
            let expected = model.put(req);
            prop_assert_eq!(planned.as_ref().map(|(_, r)| r), expected.as_ref());
            disk.commit(planned.map_or_else(|_| Vec::new(), |(changes, _)| changes));
        }
        Step::Delete(req) => {
            let (changes, response) = disk.state.plan_delete_range(req).unwrap();
            prop_assert_eq!(response, model.delete_range(req));
            disk.commit(changes);
        }
        Step::Range(req) => prop_assert_eq!(disk.state.range(req), model.range(req)),
        Step::Txn(req) => {
            let planned = disk.state.plan_txn(req);
            // Which keys collide has tests of its own.
            if planned != Err(EtcdError::DuplicateKey) {
                let expected = model.txn(req);
                prop_assert_eq!(planned.as_ref().map(|(_, r)| r), expected.as_ref());
                disk.commit(planned.map_or_else(|_| Vec::new(), |(changes, _)| changes));
            }
        }
        Step::Grant(id) => {
            if let Ok((changes, _)) = disk.state.plan_lease_grant(*id, 10, now) {
                disk.commit(changes);
                model.leases.push(*id);
            }
        }
        Step::Revoke(id) => match disk.state.plan_lease_revoke(*id) {
            Ok(changes) => {
                disk.commit(changes);
                model.revoke(*id);
            }
            Err(error) => {
                prop_assert_eq!(error, EtcdError::LeaseNotFound);
                prop_assert!(!model.leases.contains(id));
            }
        },
        Step::Compact(revision) => {
            if let Ok(changes) = disk.state.plan_compact(*revision) {
                disk.commit(changes);
                model.compacted = *revision;
            } else {
                prop_assert!(*revision <= model.compacted || *revision > model.revision);
            }
        }
        Step::Watch((key, end), from, bytes_max) => {
            let from = *from;
            let interest = Interest {
                keys: KeyRange::new(key, end),
                puts: true,
                deletes: true,
                previous: true,
            };
            if from < model.compacted {
                prop_assert!(disk.state.events(&interest, from, *bytes_max).is_err());
                return Ok(());
            }
            // In pieces of any size, nothing is lost and nothing comes twice.
            let (mut next, mut seen) = (from, Vec::new());
            loop {
                let batch = disk.state.events(&interest, next, *bytes_max).unwrap();
                if batch.next_revision == next {
                    break;
                }
                next = batch.next_revision;
                seen.extend(batch.events);
            }
            prop_assert_eq!(next, from.max(model.revision + 1));
            prop_assert_eq!(seen, model.events(key, end, from));
        }
        Step::Crash => disk.crash(now),
    }
    prop_assert_eq!(disk.state.revision(), model.revision);
    prop_assert_eq!(disk.state.compacted(), model.compacted);
    prop_assert!(disk.state.live_bytes() <= disk.state.total_bytes());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_histories_agree_with_the_list_of_everything(steps in vec(step(), 1..60)) {
        let mut disk = Disk::new(EtcdLimits::default());
        let mut model = Model::new();
        for step in &steps {
            run(&mut disk, &mut model, step)?;
        }
        // What is read after a crash is what was promised, at every revision.
        disk.crash(runtime::VirtualClock::new().now());
        for revision in disk.state.compacted().max(1)..=disk.state.revision() {
            let mut req = RangeRequest::default();
            req.set_key(b"\0".to_vec());
            req.set_range_end(b"\0".to_vec());
            req.set_revision(revision);
            prop_assert_eq!(disk.state.range(&req), model.range(&req));
        }
        // Whoever reads at the present finds no more on disk than that.
        if disk.state.plan_compact(disk.state.revision()).is_ok() {
            let changes = disk.state.plan_compact(disk.state.revision()).unwrap();
            disk.commit(changes);
            let present = disk.state.range(&{
                let mut req = RangeRequest::default();
                req.set_key(b"\0".to_vec());
                req.set_range_end(b"\0".to_vec());
                req
            });
            let live = present.unwrap().get_kvs().len();
            let (last, _) = (disk.state.revision(), ());
            let interest = Interest {
                keys: KeyRange::new(b"\0", b"\0"),
                puts: false,
                deletes: true,
                previous: false,
            };
            let deleted_last = disk.state.events(&interest, last, usize::MAX).unwrap().events.len();
            prop_assert_eq!(disk.records(), live + deleted_last);
        }
    }
}

#[test]
fn history_is_bounded_by_revisions_and_by_bytes() {
    for (limits, value) in [
        (
            EtcdLimits {
                history_revisions_max: 50,
                ..EtcdLimits::default()
            },
            1,
        ),
        (
            EtcdLimits {
                history_bytes_max: 10_000,
                ..EtcdLimits::default()
            },
            300,
        ),
    ] {
        let mut disk = Disk::new(limits);
        for round in 0..1000u32 {
            let mut req = PutRequest::default();
            req.set_key(format!("k{}", round % 7).into_bytes());
            req.set_value(vec![b'v'; value]);
            let (changes, _) = disk.state.plan_put(&req).unwrap();
            disk.commit(changes);
            if let Some(revision) = disk.state.compaction_due() {
                let changes = disk.state.plan_compact(revision).unwrap();
                disk.commit(changes);
            }
        }
        assert!(disk.records() < 70, "{} records", disk.records());
        assert!(disk.state.total_bytes() < 30_000);
        assert!(disk.state.compacted() > 900);
        let before = disk.state.total_bytes();
        disk.crash(runtime::VirtualClock::new().now());
        assert_eq!(disk.state.total_bytes(), before);
    }
}
