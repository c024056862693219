//! BatchCommands over a real connection: each request is answered once, with the matching type.

use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{RpcStatusCode, WriteFlags};
use kvproto::kvrpcpb::*;
use kvproto::tikvpb::{
    BatchCommandsEmptyRequest, BatchCommandsRequest, BatchCommandsRequest_Request,
    BatchCommandsRequest_Request_oneof_cmd as Cmd,
    BatchCommandsResponse_Response_oneof_cmd as Answer,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use protobuf::Message as _;
use service::rpc_table::RPCS;

use crate::fixture::{CLUSTER, Fixture, STORE};
use crate::stream::{Stream, case_of_answer, case_of_request, served, unserved};

fn raw_get(fixture: &Fixture, key: &[u8]) -> Cmd {
    let mut request = RawGetRequest::default();
    request.set_context(fixture.context());
    request.set_key(key.to_vec());
    Cmd::RawGet(request)
}

fn raw_put(fixture: &Fixture, key: &[u8], value: &[u8]) -> Cmd {
    let mut request = RawPutRequest::default();
    request.set_context(fixture.context());
    request.set_key(key.to_vec());
    request.set_value(value.to_vec());
    Cmd::RawPut(request)
}

#[test]
fn each_case_is_answered_with_its_own() {
    let fixture = Fixture::new();
    let mut stream = Stream::open(&fixture);
    let served = served(&fixture.context());
    let batched = RPCS.iter().filter(|rpc| rpc.batch_case().is_some());
    assert_eq!(
        served.len(),
        batched.count() + 1,
        "a case is missing; Empty is no RPC"
    );
    // Alone, and all in one message.
    for cmd in &served {
        let answer = stream.ask(Some(cmd.clone()));
        assert_eq!(case_of_answer(&answer), Some(case_of_request(cmd)));
    }
    stream.send((0..).zip(served.iter().cloned().map(Some)));
    let answers = stream.answers(served.len());
    for (id, cmd) in (0..).zip(&served) {
        assert_eq!(answers[&id].len(), 1);
        assert_eq!(case_of_answer(&answers[&id][0]), Some(case_of_request(cmd)));
    }
}

#[test]
fn what_is_not_served_is_answered_with_nothing() {
    let fixture = Fixture::new();
    let mut stream = Stream::open(&fixture);
    let unserved = unserved();
    stream.send((0..).zip(unserved.iter().cloned()));
    let answers = stream.answers(unserved.len());
    assert_eq!(answers.len(), unserved.len());
    assert!(answers.values().flatten().all(Option::is_none));
    // A command of a later version of the protocol.
    let mut request = BatchCommandsRequest_Request::default();
    request
        .mut_unknown_fields()
        .add_length_delimited(999, vec![8, 1]);
    let mut message = BatchCommandsRequest::default();
    message.mut_requests().push(request);
    message.mut_request_ids().push(7);
    stream.send_message(message);
    assert_eq!(stream.answers(1)[&7], [None]);
    // And the stream goes on.
    assert!(stream.ask(Some(raw_get(&fixture, b"k"))).is_some());
}

#[test]
fn answers_hold_what_the_unary_ones_hold() {
    let fixture = Fixture::new();
    fixture.put(b"k", b"v", 10, 20);
    fixture.prewrite(b"locked", b"v", 30);
    let mut stream = Stream::open(&fixture);
    for (key, version) in [
        (&b"k"[..], 25),
        (b"k", 15),
        (b"locked", 40),
        (b"", 40),
        (b"k", 0),
    ] {
        let mut request = GetRequest::default();
        request.set_context(fixture.context());
        request.set_key(key.to_vec());
        request.set_version(version);
        let mut unary = fixture.client.kv_get(&request).unwrap();
        let Some(Answer::Get(mut batched)) = stream.ask(Some(Cmd::Get(request))) else {
            panic!("another type");
        };
        let took = |response: &GetResponse| {
            let details = response.get_exec_details_v2();
            details.get_time_detail_v2().get_total_rpc_wall_time_ns()
        };
        assert!(took(&batched) > 0 && took(&unary) > 0);
        let read = |response: &GetResponse| {
            let details = response.get_exec_details_v2();
            details.get_scan_detail_v2().get_processed_versions()
        };
        assert_eq!(read(&batched), read(&unary));
        unary.clear_exec_details_v2();
        batched.clear_exec_details_v2();
        assert_eq!(unary, batched);
    }
    // A region error, in a message with gets that succeed.
    let mut elsewhere = RawGetRequest::default();
    elsewhere.set_context(fixture.context());
    elsewhere.mut_context().set_region_id(99);
    elsewhere.set_key(b"k".to_vec());
    let unary = fixture.client.raw_get(&elsewhere).unwrap();
    stream.send([
        (1, Some(raw_get(&fixture, b"a"))),
        (2, Some(Cmd::RawGet(elsewhere))),
        (3, Some(raw_get(&fixture, b"b"))),
    ]);
    let answers = stream.answers(3);
    assert_eq!(answers[&2], [Some(Answer::RawGet(unary))]);
    let mut absent = RawGetResponse::default();
    absent.set_not_found(true);
    assert_eq!(answers[&1], [Some(Answer::RawGet(absent.clone()))]);
    assert_eq!(answers[&3], [Some(Answer::RawGet(absent))]);
}

#[test]
fn writes_of_one_message_are_there_when_they_are_answered() {
    let fixture = Fixture::new();
    let mut stream = Stream::open(&fixture);
    let keys: Vec<Vec<u8>> = (0..300u32).map(|n| n.to_be_bytes().to_vec()).collect();
    stream.send((0..).zip(keys.iter().map(|key| Some(raw_put(&fixture, key, key)))));
    for answer in stream.answers(keys.len()).into_values().flatten() {
        assert_eq!(answer, Some(Answer::RawPut(RawPutResponse::default())));
    }
    stream.send((0..).zip(keys.iter().map(|key| Some(raw_get(&fixture, key)))));
    for (id, answers) in stream.answers(keys.len()) {
        let Some(Answer::RawGet(found)) = &answers[0] else {
            panic!("another type");
        };
        assert_eq!(found.get_value(), keys[id as usize]);
    }
}

/// One request of a random mix.
#[derive(Clone, Debug)]
enum Pick {
    Served(usize),
    Unserved(usize),
}

#[test]
fn every_number_is_answered_once_in_any_mix() {
    let fixture = Fixture::new();
    let served = served(&fixture.context());
    let unserved = unserved();
    let pick = prop_oneof![
        8 => (0..served.len()).prop_map(Pick::Served),
        1 => (0..unserved.len()).prop_map(Pick::Unserved),
    ];
    let messages = proptest::collection::vec(proptest::collection::vec(pick, 0..70), 1..5);
    let mut runner = TestRunner::new(Config::with_cases(32));
    let outcome = runner.run(&messages, |messages| {
        let mut stream = Stream::open(&fixture);
        let mut expected: BTreeMap<u64, Option<u32>> = BTreeMap::new();
        for message in &messages {
            let first = expected.len() as u64;
            let cmds: Vec<(u64, Option<Cmd>)> = (first..)
                .zip(message)
                .map(|(id, pick)| match pick {
                    Pick::Served(at) => (id, Some(served[*at].clone())),
                    Pick::Unserved(at) => (id, unserved[*at].clone()),
                })
                .collect();
            for ((id, cmd), pick) in cmds.iter().zip(message) {
                let case = match pick {
                    Pick::Served(_) => cmd.as_ref().map(case_of_request),
                    Pick::Unserved(_) => None,
                };
                expected.insert(*id, case);
            }
            stream.send(cmds);
        }
        stream.half_close();
        let answers = stream.answers(expected.len());
        prop_assert_eq!(stream.next().unwrap(), None);
        let found: BTreeMap<u64, Option<u32>> = answers
            .iter()
            .map(|(id, answers)| (*id, case_of_answer(&answers[0])))
            .collect();
        prop_assert_eq!(found, expected);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn ten_thousand_requests_in_one_message() {
    let fixture = Fixture::new();
    let mut stream = Stream::open(&fixture);
    stream.send((0..10_000).map(|id| {
        let key = [(id % 7) as u8 + 1];
        let cmd = match id % 3 {
            0 => raw_put(&fixture, &key, b"v"),
            _ => raw_get(&fixture, &key),
        };
        (id, Some(cmd))
    }));
    let answers = stream.answers(10_000);
    assert_eq!(answers.len(), 10_000);
    for (id, answers) in answers {
        match (id % 3, &answers[0]) {
            (0, Some(Answer::RawPut(response))) => assert_eq!(*response, RawPutResponse::default()),
            (_, Some(Answer::RawGet(response))) => {
                assert!(response.get_error().is_empty() && !response.has_region_error());
            }
            (_, answer) => panic!("{id}: {answer:?}"),
        }
    }
}

#[test]
fn numbers_that_repeat_are_answered_as_often() {
    let fixture = Fixture::new();
    let mut stream = Stream::open(&fixture);
    stream.send((0..40).map(|n| (n % 2, Some(raw_get(&fixture, b"k")))));
    let answers = stream.answers(40);
    assert_eq!(answers.len(), 2);
    assert!(answers.values().all(|answers| answers.len() == 20));
}

#[test]
fn an_empty_message_has_no_answer_and_an_empty_request_has_one() {
    let fixture = Fixture::new();
    let mut stream = Stream::open(&fixture);
    stream.send([]);
    let mut empty = BatchCommandsEmptyRequest::default();
    empty.set_test_id(42);
    empty.set_delay_time(u64::MAX);
    match stream.ask(Some(Cmd::Empty(empty))) {
        Some(Answer::Empty(answer)) => assert_eq!(answer.get_test_id(), 42),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn another_cluster_ends_the_stream_and_only_that() {
    let fixture = Fixture::new();
    let (mut stream, mut other) = (Stream::open(&fixture), Stream::open(&fixture));
    let mut context = fixture.context();
    context.set_cluster_id(CLUSTER + 1);
    for cmd in served(&context) {
        if matches!(cmd, Cmd::Empty(_)) {
            continue;
        }
        stream.send([(1, Some(raw_get(&fixture, b"k"))), (2, Some(cmd))]);
        let status = stream.next().unwrap_err();
        assert_eq!(status.code(), RpcStatusCode::INVALID_ARGUMENT);
        assert_eq!(status.message(), "mismatch cluster id, need 7 but got 8");
        stream = Stream::open(&fixture);
    }
    context.set_cluster_id(CLUSTER);
    for cmd in served(&context) {
        assert!(stream.ask(Some(cmd)).is_some());
    }
    assert!(other.ask(Some(raw_get(&fixture, b"k"))).is_some());
}

#[test]
fn requests_and_numbers_of_different_length_end_the_stream() {
    let fixture = Fixture::new();
    for (requests, ids) in [(1, 0), (0, 1), (2, 3)] {
        let mut stream = Stream::open(&fixture);
        let mut message = BatchCommandsRequest::default();
        for _ in 0..requests {
            message.mut_requests().push(Default::default());
        }
        message.set_request_ids(vec![1; ids]);
        stream.send_message(message);
        let status = stream.next().unwrap_err();
        assert_eq!(status.code(), RpcStatusCode::INVALID_ARGUMENT);
        let expected = format!("{requests} requests with {ids} request ids");
        assert_eq!(status.message(), expected);
    }
}

#[test]
fn bytes_that_are_no_message_end_the_stream() {
    let fixture = Fixture::new();
    // An endless tag, requests that are a number, a request longer than the message, and one that
    // claims four gigabytes.
    let cases = [
        &[0xff; 16][..],
        &[0x08, 0x01],
        &[0x0a, 0x7f, 0x6a],
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    for bytes in cases {
        let (mut sender, mut receiver) = fixture.open_bytes("BatchCommands");
        // The status may be there before the message counts as sent.
        let _ = block_on(sender.send((bytes.to_vec(), WriteFlags::default())));
        match block_on(receiver.next()) {
            Some(Err(grpcio::Error::RpcFailure(status))) => {
                assert_eq!(status.code(), RpcStatusCode::INVALID_ARGUMENT);
                let text = status.message();
                assert!(text.starts_with("malformed message: "), "{text}");
            }
            other => panic!("{bytes:02x?}: {other:?}"),
        }
    }
    let mut stream = Stream::open(&fixture);
    assert!(stream.ask(Some(raw_get(&fixture, b"k"))).is_some());
}

#[test]
fn after_a_half_close_come_the_answers_and_then_the_end() {
    let fixture = Fixture::new();
    let mut stream = Stream::open(&fixture);
    stream.send((0..100).map(|id| (id, Some(raw_put(&fixture, b"k", b"v")))));
    stream.half_close();
    assert_eq!(stream.answers(100).len(), 100);
    assert_eq!(stream.next().unwrap(), None);
    // One that sends nothing at all.
    let mut silent = Stream::open(&fixture);
    silent.half_close();
    assert_eq!(silent.next().unwrap(), None);
}

#[test]
fn one_that_never_reads_harms_nobody() {
    let fixture = Fixture::new();
    let mut writer = Stream::open(&fixture);
    let value = vec![b'v'; 1 << 20];
    writer.ask(Some(raw_put(&fixture, b"large", &value)));
    // Three gigabytes of answers, if somebody made them all.
    let mut mute = Stream::open(&fixture);
    for at in 0..30u64 {
        let ids = at * 100..at * 100 + 100;
        mute.send(ids.map(|id| (id, Some(raw_get(&fixture, b"large")))));
    }
    for _ in 0..10 {
        assert!(writer.ask(Some(raw_get(&fixture, b"large"))).is_some());
    }
    drop(mute);
    // And nothing is left of it.
    fixture.wait_for_none();
    assert!(writer.ask(Some(raw_get(&fixture, b"large"))).is_some());
}

#[test]
fn a_stop_answers_what_it_took_and_ends_the_stream() {
    let fixture = Fixture::new();
    let mut stream = Stream::open(&fixture);
    assert!(stream.ask(Some(raw_get(&fixture, b"k"))).is_some());
    stream.send((0..200).map(|id| (id, Some(raw_put(&fixture, b"k", b"v")))));
    let first = stream.next().unwrap().unwrap();
    fixture.in_flight.close();
    let mut answered: BTreeSet<u64> = first.get_request_ids().iter().copied().collect();
    while let Some(message) = stream.next().unwrap() {
        answered.extend(message.get_request_ids());
    }
    assert_eq!(answered.len(), 200);
    fixture.wait_for_none();
}

#[test]
fn the_health_of_the_store_can_be_asked_for_both_ways() {
    let fixture = Fixture::new();
    let request = GetHealthFeedbackRequest::default();
    let unary = fixture.client.get_health_feedback(&request).unwrap();
    let mut stream = Stream::open(&fixture);
    let Some(Answer::GetHealthFeedback(batched)) =
        stream.ask(Some(Cmd::GetHealthFeedback(request)))
    else {
        panic!("another type");
    };
    let (unary, batched) = (unary.get_health_feedback(), batched.get_health_feedback());
    for feedback in [unary, batched] {
        assert_eq!(feedback.get_store_id(), STORE);
        assert_eq!(feedback.get_slow_score(), 1);
    }
    assert!(unary.get_feedback_seq_no() >= 1);
    assert!(batched.get_feedback_seq_no() > unary.get_feedback_seq_no());
}
