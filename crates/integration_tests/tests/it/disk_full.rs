//! A disk that fills up and is emptied again: writes are refused with a clear error, reads go on, nothing that was
//! acknowledged is lost, and service resumes by itself.

use std::time::Duration;

use integration_tests::{SmallDisk, TikvServer};
use kvproto::errorpb;
use kvproto::kvrpcpb::{RawGetRequest, RawPutRequest, UnsafeDestroyRangeRequest};
use tokio::time::Instant;

use crate::wire::{Outcome, Wire};

/// The server looks at the disk each second; RocksDB, when it was hit itself, every five.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes numbered values, and remembers which were acknowledged.
struct Writer {
    wire: Wire,
    value: Vec<u8>,
    next: u32,
    acknowledged: Vec<u32>,
}

impl Writer {
    async fn new(server: &TikvServer, value_bytes: usize) -> Writer {
        // Nothing that compresses.
        let mut state = 1u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        Writer {
            wire: Wire::connect(server).await,
            value: noise.take(value_bytes).collect(),
            next: 0,
            acknowledged: Vec::new(),
        }
    }

    /// One write; the error that refused it, if one did.
    async fn write(&mut self) -> Option<errorpb::Error> {
        let number = self.next;
        self.next += 1;
        let mut value = self.value.clone();
        value[..4].copy_from_slice(&number.to_be_bytes());
        let outcome = self
            .wire
            .try_with::<RawPutRequest>(|request| {
                request.set_key(key(number));
                request.set_value(value);
            })
            .await;
        match outcome {
            Outcome::Done(_) => {
                self.acknowledged.push(number);
                None
            }
            Outcome::Region(error) => Some(*error),
            other => panic!("write {number}: {other:?}"),
        }
    }

    /// Writes until it is refused because the disk is full.
    async fn until_refused(&mut self) -> errorpb::Error {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.write().await {
                Some(error) if error.has_disk_full() => return error,
                // The disk was faster than the watch.
                Some(error) => assert!(error.has_undetermined_result(), "{error:?}"),
                None => {}
            }
            assert!(Instant::now() < deadline, "never refused");
        }
    }

    /// Tries until a write is taken.
    async fn until_taken(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut tries = tokio::time::interval(Duration::from_millis(100));
        while let Some(error) = self.write().await {
            assert!(
                error.has_disk_full() || error.has_undetermined_result(),
                "{error:?}"
            );
            assert!(Instant::now() < deadline, "not taken again: {error:?}");
            tries.tick().await;
        }
    }

    async fn check_acknowledged(&self) {
        for &number in &self.acknowledged {
            let mut request = RawGetRequest::default();
            request.set_key(key(number));
            let response = self.wire.call(request).await;
            assert!(!response.get_not_found(), "write {number} is lost");
            assert_eq!(response.get_value()[..4], number.to_be_bytes());
        }
    }
}

fn key(number: u32) -> Vec<u8> {
    format!("disk-full-{number:08}").into_bytes()
}

#[tokio::test]
async fn a_disk_that_somebody_else_fills_and_empties() {
    let Some((disk, home)) = SmallDisk::mount(192).unwrap() else {
        println!("this user may not mount a file system: not shown here");
        return;
    };
    let mut server = TikvServer::builder().start_in(home).await.unwrap();
    let mut writer = Writer::new(&server, 8 << 10).await;
    for round in 0..2 {
        for _ in 0..200 {
            assert_eq!(writer.write().await, None);
        }
        disk.fill().unwrap();
        let error = writer.until_refused().await;
        assert_eq!(error.get_disk_full().get_store_id().len(), 1, "{error:?}");
        assert!(error.get_message().contains("full"), "{error:?}");
        writer.check_acknowledged().await;
        disk.empty().unwrap();
        writer.until_taken().await;
        assert_eq!(writer.write().await, None, "round {round}");
        writer.check_acknowledged().await;
    }
    server.kill().unwrap();
    server.restart().await.unwrap();
    writer.wire = Wire::connect(&server).await;
    writer.check_acknowledged().await;
    assert_eq!(writer.write().await, None);
    server.stop().await.unwrap();
    drop(server);
    drop(disk);
}

#[tokio::test]
async fn a_store_that_has_used_up_its_capacity() {
    let mut server = TikvServer::builder()
        .config("[raftstore]\ncapacity = \"96MiB\"\n[rocksdb]\nmax-total-wal-size = \"8MiB\"")
        .start()
        .await
        .unwrap();
    let mut writer = Writer::new(&server, 1 << 20).await;
    writer.until_refused().await;
    writer.check_acknowledged().await;
    // What empties the store is let through, and brings the space back at once.
    let mut request = UnsafeDestroyRangeRequest::default();
    // The range is one of encoded keys, as transactions have them: these two hold the raw ones between them.
    request.set_start_key(b"disk".to_vec());
    request.set_end_key(b"e".to_vec());
    let response = writer.wire.call(request).await;
    assert!(
        !response.has_region_error() && response.get_error().is_empty(),
        "{response:?}"
    );
    writer.acknowledged.clear();
    writer.until_taken().await;
    writer.check_acknowledged().await;
    server.stop().await.unwrap();
}
