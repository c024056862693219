//! Start, stop, restart, and a placement driver in another process.

use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grpcio::{CallOption, ChannelBuilder, EnvBuilder};
use integration_tests::{PdServer, TikvServer, binaries, get};
use kvproto::healthpb::{HealthCheckRequest, HealthCheckResponse_ServingStatus, HealthClient};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clients::{self, read, timestamp, write};

/// A server promises to stop "within seconds": five for what is in progress, and some for a busy
/// machine.
const STOP: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_restart_keeps_the_data() {
    let mut server = TikvServer::start().await.unwrap();
    for round in 0..3 {
        let raw = clients::raw(&server).await;
        let client = clients::transactional(&server).await;
        for earlier in 0..round {
            let key = format!("raw {earlier}");
            assert_eq!(raw.get(key.clone()).await.unwrap(), Some(key.into_bytes()));
            assert_eq!(
                read(&client, &format!("txn {earlier}")).await.as_deref(),
                Some("value")
            );
        }
        raw.put(format!("raw {round}"), format!("raw {round}"))
            .await
            .unwrap();
        write(&client, &[(&format!("txn {round}"), "value")]).await;
        let before = timestamp(&client).await;
        drop((raw, client));
        if round % 2 == 0 {
            server.stop().await.unwrap()
        } else {
            server.kill().unwrap()
        }
        server.restart().await.unwrap();
        let after = timestamp(&clients::transactional(&server).await).await;
        assert!(after > before, "timestamp {after} after {before}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn clients_survive_a_restart() {
    let mut server = TikvServer::start().await.unwrap();
    let raw = clients::raw(&server).await;
    let client = clients::transactional(&server).await;
    raw.put("raw".to_owned(), "1".to_owned()).await.unwrap();
    write(&client, &[("txn", "1")]).await;
    server.kill().unwrap();
    server.restart().await.unwrap();
    assert_eq!(
        raw.get("raw".to_owned()).await.unwrap(),
        Some(b"1".to_vec())
    );
    // The client opens its stream of timestamps again only when the old one is a second old.
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while let Err(error) = client.current_timestamp().await {
        assert!(Instant::now() < deadline, "{error:?}");
        ticks.tick().await;
    }
    assert_eq!(read(&client, "txn").await.as_deref(), Some("1"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_placement_driver_may_be_apart() {
    let mut pd = PdServer::start().await.unwrap();
    let endpoints = pd.address().to_string();
    let mut server = TikvServer::builder()
        .pd_endpoints(endpoints)
        .start()
        .await
        .unwrap();
    let client = clients::transactional(&server).await;
    let raw = clients::raw(&server).await;
    write(&client, &[("k", "1")]).await;
    raw.put("raw".to_owned(), "1".to_owned()).await.unwrap();
    let before = timestamp(&client).await;

    // The store goes and comes back.
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    let client = clients::transactional(&server).await;
    assert_eq!(read(&client, "k").await.as_deref(), Some("1"));

    // The placement driver dies and comes back; the store finds it again by itself.
    pd.kill().unwrap();
    assert_eq!(
        raw.get("raw".to_owned()).await.unwrap(),
        Some(b"1".to_vec())
    );
    pd.restart().await.unwrap();
    let client = clients::transactional(&server).await;
    assert!(timestamp(&client).await > before);
    write(&client, &[("k", "2")]).await;
    assert_eq!(read(&client, "k").await.as_deref(), Some("2"));
    server.check_healthy().unwrap_or_else(|error| {
        // Losing the placement driver is worth a warning, not an end.
        assert!(!error.to_string().contains("ended"), "{error}");
    });
    server.terminate().unwrap();
    assert!(server.wait(STOP).await.unwrap().success());
    pd.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_stops_it_under_load_and_with_open_connections() {
    let mut server = TikvServer::start().await.unwrap();
    let _idle = [server.client_address(), server.status_address()].map(TcpStream::connect);
    let client = clients::transactional(&server).await;
    let raw = clients::raw(&server).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut load = JoinSet::new();
    for task in 0..4 {
        let (raw, client) = (raw.clone(), clients::transactional(&server).await);
        let acknowledged = acknowledged.clone();
        load.spawn(async move {
            for n in 0.. {
                if raw.put(format!("k{task}"), format!("{n}")).await.is_err() {
                    break;
                }
                acknowledged.fetch_add(1, Ordering::Relaxed);
                if client.current_timestamp().await.is_err() {
                    break;
                }
            }
        });
    }
    timestamp(&client).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while acknowledged.load(Ordering::Relaxed) < 50 {
        ticks.tick().await;
    }
    server.terminate().unwrap();
    let status = server.wait(STOP).await.unwrap();
    assert!(status.success(), "{status}: {}", server.log_tail());
    load.abort_all();
}

#[tokio::test]
async fn a_stop_right_after_the_start_is_orderly() {
    let mut server = TikvServer::start().await.unwrap();
    for _ in 0..5 {
        server.stop().await.unwrap();
        server.restart().await.unwrap();
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let mut server = TikvServer::start().await.unwrap();
    // Everything but the directory is its own.
    let output = Command::new(binaries::tikv_server().unwrap())
        .args(["--data-dir", &server.data_dir().display().to_string()])
        .args(["--addr", &integration_tests::free_address().to_string()])
        .args([
            "--status-addr",
            &integration_tests::free_address().to_string(),
        ])
        .args(["--pd-addr", &integration_tests::free_address().to_string()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let directory = server.data_dir().display().to_string();
    assert!(
        said.contains(&directory) && said.contains("in use"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn status_and_health_are_served() {
    let mut server = TikvServer::start().await.unwrap();
    clients::raw(&server)
        .await
        .put("k".to_owned(), "v".to_owned())
        .await
        .unwrap();
    let status = server.status_address();
    for path in ["/status", "/ready"] {
        assert_eq!(get(status, path).await.unwrap().status, 200, "{path}");
    }
    let metrics = get(status, "/metrics").await.unwrap();
    assert!(
        metrics.body.contains("tikv_grpc_msg_duration_seconds"),
        "{}",
        metrics.body
    );
    assert!(metrics.body.contains("raw_put"), "{}", metrics.body);
    let config = get(status, "/config").await.unwrap();
    let config: serde_json::Value = serde_json::from_str(&config.body).unwrap();
    assert_eq!(config["storage"]["api-version"], 1, "{config}");
    assert_eq!(get(status, "/no-such-page").await.unwrap().status, 404);

    let environment = Arc::new(EnvBuilder::new().cq_count(1).build());
    let channel = ChannelBuilder::new(environment).connect(&server.client_address().to_string());
    let options = CallOption::default().timeout(Duration::from_secs(10));
    let answer = HealthClient::new(channel)
        .check_async_opt(&HealthCheckRequest::default(), options)
        .unwrap()
        .await
        .unwrap();
    assert_eq!(
        answer.get_status(),
        HealthCheckResponse_ServingStatus::SERVING
    );
    server.stop().await.unwrap();
}

#[test]
fn a_wrong_configuration_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let check = |text: &str| {
        std::fs::write(&config, text).unwrap();
        let output = Command::new(binaries::tikv_server().unwrap())
            .arg("--config")
            .arg(&config)
            .arg("--config-check")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (accepted, said) = check("[storage]\napi-version = 7\n");
    assert!(
        !accepted && said.contains("storage.api-version") && said.contains('7'),
        "{said}"
    );
    let (accepted, said) = check("[storage]\ndata-dri = \"x\"\n");
    assert!(
        accepted && said.contains("data-dri") && said.contains("data-dir"),
        "{said}"
    );
    let (accepted, said) = check("[storage\n");
    assert!(!accepted && !said.contains("panicked"), "{said}");
}
