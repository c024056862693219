//! What an idle server takes from the machine, as a debug build too.

use std::time::Duration;

use integration_tests::{TikvServer, allocated_bytes};

use crate::clients;

const RESIDENT: u64 = 100 << 20;
const DISK: u64 = 20 << 20;
const READY: Duration = Duration::from_secs(1);
/// Other tests run on the same processors. One start that took no longer than promised shows what the
/// server needs; the slow ones show what the machine was doing.
const STARTS: usize = 10;

#[tokio::test]
async fn an_idle_server_is_small() {
    let mut server = TikvServer::start().await.unwrap();
    // The least that a client does.
    clients::raw(&server)
        .await
        .put("k".to_owned(), "v".to_owned())
        .await
        .unwrap();
    let resident = server.resident_bytes().unwrap();
    let disk = allocated_bytes(&server.data_dir()).unwrap();
    assert!(resident < RESIDENT, "{} MiB are resident", resident >> 20);
    assert!(disk < DISK, "{} MiB are on disk", disk >> 20);
    println!(
        "{} MiB resident, {} KiB on disk",
        resident >> 20,
        disk >> 10
    );
    server.stop().await.unwrap();

    // Neither grows with restarts.
    for _ in 0..3 {
        server.restart().await.unwrap();
        server.kill().unwrap();
    }
    server.restart().await.unwrap();
    let disk = allocated_bytes(&server.data_dir()).unwrap();
    assert!(disk < DISK, "{} MiB are on disk after restarts", disk >> 20);
    assert!(server.resident_bytes().unwrap() < RESIDENT);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_is_ready_in_a_second() {
    let mut best = Duration::MAX;
    for _ in 0..STARTS {
        let mut server = TikvServer::start().await.unwrap();
        best = best.min(server.ready_after());
        server.stop().await.unwrap();
        if best < READY {
            break;
        }
    }
    println!("ready after {best:?}");
    assert!(best < READY, "the fastest of {STARTS} starts took {best:?}");
}
