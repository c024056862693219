//! A stream whose client is played by the test, step by step: what it sends, and when it reads.

use std::sync::Arc;
use std::task::Waker;

use api_version::ApiV1;
use concurrency_manager::ConcurrencyManager;
use engine_mem::MemEngine;
use engine_traits::{Cf, KvEngine as _, WriteBatch as _, WriteOptions};
use futures::channel::mpsc;
use kv::{LocalEngine, LocalRegion};
use kvproto::kvrpcpb;
use lock_manager::NoDetector;
use parking_lot::Mutex;
use runtime::Stepper;
use storage::Storage;
use txn_types::TimeStamp;

use super::*;
use crate::service::ServiceIdentity;

const READ_THREADS: usize = 2;
const STORE: u64 = 4;

type TestService = Service<LocalEngine<MemEngine>, NoDetector, ApiV1>;

/// The client's end of the responses.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    messages: Vec<(BatchCommandsResponse, WriteFlags)>,
    /// The last message has not been read.
    unread: bool,
    reads: bool,
    gone: bool,
    waker: Option<Waker>,
}

impl Receiver {
    fn change(&self, change: impl FnOnce(&mut Received)) {
        let mut received = self.0.lock();
        change(&mut received);
        if let Some(waker) = received.waker.take() {
            waker.wake();
        }
    }

    fn ids(&self) -> Vec<u64> {
        let received = self.0.lock();
        let messages = received.messages.iter();
        let mut ids: Vec<u64> = messages
            .flat_map(|(message, _)| message.get_request_ids().to_vec())
            .collect();
        ids.sort_unstable();
        ids
    }
}

impl Sink<(BatchCommandsResponse, WriteFlags)> for Receiver {
    type Error = grpcio::Error;

    fn poll_ready(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<grpcio::Result<()>> {
        let mut received = self.0.lock();
        if received.gone {
            return Poll::Ready(Err(grpcio::Error::RemoteStopped));
        }
        received.unread &= !received.reads;
        received.waker = Some(cx.waker().clone());
        if received.unread {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(
        self: std::pin::Pin<&mut Self>,
        message: (BatchCommandsResponse, WriteFlags),
    ) -> grpcio::Result<()> {
        let mut received = self.0.lock();
        assert!(!received.unread, "a message before the last one has left");
        received.unread = true;
        received.messages.push(message);
        Ok(())
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<grpcio::Result<()>> {
        self.poll_ready(cx)
    }

    fn poll_close(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<grpcio::Result<()>> {
        self.poll_ready(cx)
    }
}

/// A store, one stream, and its client.
struct World {
    stepper: Stepper,
    engine: MemEngine,
    service: TestService,
    region: LocalRegion,
    requests: mpsc::UnboundedSender<grpcio::Result<BatchCommandsRequest>>,
    received: Receiver,
    end: Arc<Mutex<Option<End>>>,
    /// Bytes of answers that the stream holds.
    answers: Arc<Answers>,
    read_pool: yatp::Pool,
}

impl World {
    fn new() -> World {
        Self::with_message_bytes_max(64 << 20)
    }

    fn with_message_bytes_max(bytes: usize) -> World {
        let stepper = Stepper::new(1);
        let runtime = stepper.runtime();
        let engine = MemEngine::new();
        let region = region();
        let local = LocalEngine::new(
            engine.clone(),
            region.clone(),
            &runtime,
            kv::Config::default(),
            Arc::new(|reason: &str| panic!("{reason}")),
        );
        let pool = |name: &str| {
            yatp::Builder::new(name)
                .threads(READ_THREADS)
                .build_stepped(&stepper)
        };
        let read_pool = pool("read");
        let storage = Storage::new(
            local,
            NoDetector,
            ConcurrencyManager::new(TimeStamp::from(1)),
            &runtime,
            read_pool.clone(),
            pool("sched"),
            &storage::Config::default(),
        );
        let identity = ServiceIdentity {
            cluster_id: 7,
            store_id: STORE,
        };
        let service: TestService =
            Service::new(storage, identity, runtime.clock.clone()).with_message_bytes_max(bytes);
        let mut session = Session::new(service.clone(), "test".to_owned());
        let answers = session.answers.clone();
        let (requests, mut taken) = mpsc::unbounded();
        let received = Receiver::default();
        received.change(|received| received.reads = true);
        let end = Arc::new(Mutex::new(None));
        let (mut sink, told) = (received.clone(), end.clone());
        drop(runtime.spawner.spawn(async move {
            let how = poll_fn(|cx| session.poll(cx, &mut taken, &mut sink)).await;
            *told.lock() = Some(how);
            session.drain().await;
        }));
        stepper.run_until_stalled();
        World {
            stepper,
            engine,
            service,
            region,
            requests,
            received,
            end,
            answers,
            read_pool,
        }
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        let mut batch = self.engine.write_batch();
        batch.put(Cf::Default, &keys::data_key(key), value);
        self.engine.write(batch, &WriteOptions::SYNCED).unwrap();
    }

    fn raw_get(&self, key: &[u8]) -> Request {
        let mut request = kvrpcpb::RawGetRequest::default();
        request.set_context(self.region.context());
        request.set_key(key.to_vec());
        Request::RawGet(request)
    }

    fn raw_put(&self, key: &[u8], value: &[u8]) -> Request {
        let mut request = kvrpcpb::RawPutRequest::default();
        request.set_context(self.region.context());
        request.set_key(key.to_vec());
        request.set_value(value.to_vec());
        Request::RawPut(request)
    }

    fn raw_scan(&self) -> Request {
        let mut request = kvrpcpb::RawScanRequest::default();
        request.set_context(self.region.context());
        request.set_limit(100);
        Request::RawScan(request)
    }

    /// Sends a message, and lets everything run until nothing moves.
    fn send(&self, requests: impl IntoIterator<Item = (u64, Request)>) {
        self.requests.unbounded_send(Ok(message(requests))).unwrap();
        self.stepper.run_until_stalled();
    }

    fn end(&self) -> Option<End> {
        self.stepper.run_until_stalled();
        self.end.lock().clone()
    }

    fn in_flight(&self) -> usize {
        self.service.in_flight().count()
    }
}

fn message(requests: impl IntoIterator<Item = (u64, Request)>) -> BatchCommandsRequest {
    let mut message = BatchCommandsRequest::default();
    for (id, cmd) in requests {
        let mut request = BatchCommandsRequest_Request::default();
        request.cmd = Some(cmd);
        message.mut_requests().push(request);
        message.mut_request_ids().push(id);
    }
    message
}

fn region() -> LocalRegion {
    LocalRegion::all_keys(2, STORE, 3)
}

#[test]
fn an_idle_stream_answers_a_message_with_a_message() {
    let world = World::new();
    world.put(b"k", b"v");
    world.send((1..=100).map(|id| (id, world.raw_get(b"k"))));
    assert_eq!(world.received.ids(), (1..=100).collect::<Vec<_>>());
    let received = world.received.0.lock();
    assert!(received.messages.len() <= 100_usize.div_ceil(runs::RUN_MAX));
    for (message, _) in &received.messages {
        for response in message.get_responses() {
            assert_eq!(response.get_RawGet().get_value(), b"v");
        }
        assert_ne!(message.get_tikv_send_time_ns(), 0);
    }
}

#[test]
fn what_is_ready_while_a_message_is_on_its_way_forms_the_next_one() {
    let world = World::new();
    world.put(b"k", b"v");
    world.received.change(|received| received.reads = false);
    world.send([(1, world.raw_get(b"k"))]);
    for id in 2..=50 {
        world.send([(id, world.raw_get(b"k"))]);
    }
    assert_eq!(world.received.0.lock().messages.len(), 1);
    world.received.change(|received| received.reads = true);
    world.stepper.run_until_stalled();
    let received = world.received.0.lock();
    let sizes: Vec<usize> = received
        .messages
        .iter()
        .map(|(message, _)| message.get_request_ids().len())
        .collect();
    assert_eq!(sizes, [1, 49]);
}

#[test]
fn a_client_that_does_not_read_costs_a_bounded_amount() {
    const VALUE: usize = 1 << 20;
    const MESSAGES: u64 = 10;
    const EACH: u64 = 100;
    let world = World::new();
    world.put(b"k", &vec![b'v'; VALUE]);
    world.received.change(|received| received.reads = false);
    for at in 0..MESSAGES {
        world.send((0..EACH).map(|n| (at * EACH + n, world.raw_get(b"k"))));
    }
    // A stepped pool runs every task that is ready, as many threads as tasks would: each run may
    // have one answer too many. The stream reads messages only as long as there is room.
    let held = world.answers.bytes();
    let runs = (EACH as usize).div_ceil(runs::RUN_MAX);
    assert!(held >= ANSWER_BYTES_MAX, "{held}");
    assert!(
        held <= ANSWER_BYTES_MAX + (runs + 1) * (VALUE + 1024),
        "{held}"
    );
    assert_eq!(world.in_flight(), EACH as usize, "one message was taken");
    assert!(world.end().is_none());

    // When it reads again it gets everything, once.
    world.received.change(|received| received.reads = true);
    world.stepper.run_until_stalled();
    assert_eq!(
        world.received.ids(),
        (0..MESSAGES * EACH).collect::<Vec<_>>()
    );
    assert_eq!((world.in_flight(), world.answers.bytes()), (0, 0));
}

#[test]
fn requests_beyond_the_limit_wait_for_room() {
    const LAST: u64 = REQUESTS_MAX as u64 + 500;
    let world = World::new();
    world.received.change(|received| received.reads = false);
    // Something unread, so that nothing that is begun ends for the stream.
    world.send([(0, world.raw_put(b"k", b""))]);
    world.send((1..=LAST).map(|id| (id, world.raw_put(b"k", b""))));
    assert_eq!(world.in_flight(), REQUESTS_MAX);
    world.received.change(|received| received.reads = true);
    world.stepper.run_until_stalled();
    assert_eq!(world.received.ids(), (0..=LAST).collect::<Vec<_>>());
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn few_reads_with_large_answers_are_under_way_at_a_time() {
    let world = World::new();
    let message = message((1..=50).map(|id| (id, world.raw_scan())));
    world.requests.unbounded_send(Ok(message)).unwrap();
    let mut most = 0;
    while world.stepper.step() {
        most = most.max(world.in_flight());
    }
    assert_eq!(world.received.ids(), (1..=50).collect::<Vec<_>>());
    // The answers that are under way to the client count as well.
    assert!((BULK_MAX..=2 * BULK_MAX).contains(&most), "{most}");
}

#[test]
fn a_message_is_bounded_in_answers_and_bytes() {
    let world = World::new();
    world.put(b"k", &[b'v'; 4096]);
    world.send((1..=4000).map(|id| {
        let get = id % 2 == 0;
        (id, world.raw_get(if get { b"k" } else { b"absent" }))
    }));
    world.received.change(|received| received.reads = false);
    world.send((4001..=8000).map(|id| (id, world.raw_get(b"k"))));
    world.received.change(|received| received.reads = true);
    world.stepper.run_until_stalled();
    assert_eq!(world.received.ids(), (1..=8000).collect::<Vec<_>>());
    let received = world.received.0.lock();
    for (message, _) in &received.messages {
        assert!(message.get_responses().len() <= MESSAGE_ANSWERS_MAX);
        assert!(message.compute_size() as usize <= MESSAGE_BYTES_MAX + MESSAGE_FRAME);
    }
    // What is followed by more at once is marked so; the last one never is.
    let hints: Vec<bool> = received
        .messages
        .iter()
        .map(|(_, flags)| flags.get_buffer_hint())
        .collect();
    assert!(hints.contains(&true));
    assert_eq!(hints.last(), Some(&false));
}

#[test]
fn an_answer_that_no_message_can_hold_is_a_failure_of_its_request() {
    let world = World::with_message_bytes_max(64 << 10);
    world.put(b"large", &vec![b'v'; 65 << 10]);
    world.put(b"small", b"v");
    world.send([
        (1, world.raw_get(b"large")),
        (2, world.raw_get(b"small")),
        (3, world.raw_scan()),
    ]);
    assert_eq!(world.received.ids(), [1, 2, 3]);
    let received = world.received.0.lock();
    let answers = received.messages.iter().flat_map(|(message, _)| {
        message
            .get_request_ids()
            .iter()
            .zip(message.get_responses())
    });
    for (id, response) in answers {
        match id {
            1 => {
                let error = response.get_RawGet().get_error();
                assert!(error.starts_with("max read size exceeded"), "{error}");
            }
            2 => assert_eq!(response.get_RawGet().get_value(), b"v"),
            _ => {
                let pairs = response.get_RawScan().get_kvs();
                assert!(
                    pairs[0]
                        .get_error()
                        .get_abort()
                        .starts_with("max read size")
                );
            }
        }
    }
}

#[test]
fn after_its_half_close_a_client_gets_all_answers() {
    let world = World::new();
    world.put(b"k", b"v");
    world.received.change(|received| received.reads = false);
    world.send((1..=10).map(|id| (id, world.raw_put(b"p", b"q"))));
    world.send((11..=20).map(|id| (id, world.raw_get(b"k"))));
    world.requests.close_channel();
    assert!(world.end().is_none(), "before the answers have left");
    world.received.change(|received| received.reads = true);
    assert!(matches!(world.end(), Some(End::AfterAnswers)));
    assert_eq!(world.received.ids(), (1..=20).collect::<Vec<_>>());
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn a_stop_lets_out_what_was_begun_and_takes_nothing_more() {
    let world = World::new();
    world.received.change(|received| received.reads = false);
    world.send((1..=10).map(|id| (id, world.raw_put(b"k", b"v"))));
    world.service.in_flight().close();
    world.send([(11, world.raw_put(b"k", b"v"))]);
    assert!(world.end().is_none());
    assert_eq!(world.in_flight(), 10);
    world.received.change(|received| received.reads = true);
    assert!(matches!(world.end(), Some(End::AfterAnswers)));
    assert_eq!(world.received.ids(), (1..=10).collect::<Vec<_>>());
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn when_the_client_is_gone_what_was_begun_ends() {
    let world = World::new();
    world.put(b"k", &vec![b'v'; 1 << 20]);
    world.received.change(|received| received.reads = false);
    world.send((1..=100).map(|id| (id, world.raw_get(b"k"))));
    world.send((101..=200).map(|id| (id, world.raw_put(b"p", b"q"))));
    assert!(world.in_flight() >= 100);
    world.received.change(|received| received.gone = true);
    assert!(matches!(world.end(), Some(End::Gone)));
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn one_that_is_wrong_as_a_whole_begins_nothing() {
    let world = World::new();
    let mut foreign = kvrpcpb::RawPutRequest::default();
    foreign.set_context(world.region.context());
    foreign.mut_context().set_cluster_id(8);
    world.send([
        (1, world.raw_put(b"k", b"v")),
        (2, Request::RawPut(foreign)),
    ]);
    match world.end() {
        Some(End::Now(status)) => {
            assert_eq!(status.code(), RpcStatusCode::INVALID_ARGUMENT);
            assert_eq!(status.message(), "mismatch cluster id, need 7 but got 8");
        }
        end => panic!("{end:?}"),
    }
    assert!(world.received.ids().is_empty());
    let found = kv::Snapshot::get(
        &world
            .stepper
            .block_on(kv::Engine::async_snapshot(
                world.service.storage.engine(),
                kv::SnapshotContext::new(world.region.context()),
            ))
            .unwrap(),
        Cf::Default,
        &txn_types::Key::from_encoded(b"k".to_vec()),
    );
    assert_eq!(found.unwrap(), None);
}

#[test]
fn each_request_has_an_answer_when_the_pool_stops() {
    let world = World::new();
    world.put(b"k", &vec![b'v'; 1 << 20]);
    world.received.change(|received| received.reads = false);
    // These wait for room, in the pool.
    world.send((1..=100).map(|id| (id, world.raw_get(b"k"))));
    world.read_pool.shutdown();
    world.received.change(|received| received.reads = true);
    world.stepper.run_until_stalled();
    assert_eq!(world.received.ids(), (1..=100).collect::<Vec<_>>());
    let received = world.received.0.lock();
    let closed = received
        .messages
        .iter()
        .flat_map(|(message, _)| message.get_responses())
        .filter(|response| {
            let error = response.get_RawGet().get_region_error();
            error.get_message() == "TiKV is Closing"
        });
    assert!(closed.count() > 0);
}

#[test]
fn health_comes_with_the_first_message_and_then_each_second() {
    let world = World::new();
    for (id, pause) in [(1, 400), (2, 400), (3, 400), (4, 400)] {
        world.send([(id, world.raw_get(b"k"))]);
        world.stepper.advance(Duration::from_millis(pause));
    }
    let received = world.received.0.lock();
    let told: Vec<(u64, i32, u64)> = received
        .messages
        .iter()
        .map(|(message, _)| {
            let feedback = message.get_health_feedback();
            (
                feedback.get_feedback_seq_no(),
                feedback.get_slow_score(),
                feedback.get_store_id(),
            )
        })
        .collect();
    assert_eq!(told, [(1, 1, STORE), (0, 0, 0), (0, 0, 0), (2, 1, STORE)]);
}
