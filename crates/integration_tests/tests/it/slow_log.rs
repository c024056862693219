//! The slow log of a real server, and the rotation of its files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use integration_tests::{TikvServer, request};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clients;

const PATIENCE: Duration = Duration::from_secs(60);

fn slow_lines(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| line.contains("[\"slow request\"]"))
        .collect()
}

async fn change(server: &TikvServer, body: &str) {
    let address = server.status_address();
    let answer = request(address, "POST", "/config", &[], body.as_bytes())
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn a_slow_request_leaves_a_line_with_its_stages() {
    let config = "slow-log-threshold = \"0s\"\nlog.level = \"error\"\n";
    let mut server = TikvServer::builder().config(config).start().await.unwrap();
    let raw = clients::raw(&server).await;
    raw.put("secret key".to_owned(), "v".to_owned())
        .await
        .unwrap();
    let log = server.log();
    let line = slow_lines(&log)
        .into_iter()
        .find(|line| line.contains("[request=raw_put]"))
        .unwrap_or_else(|| panic!("no line in {log}"));
    for part in [
        "[INFO]",
        "[region_id=2]",
        "[peer=ipv4:127.0.0.1:",
        "[key=736563726574206B6579] [key_len=10]",
        "[latch_wait_ms=",
        "[snapshot_ms=",
        "[write_ms=",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }

    // Keys disappear and the log falls silent when the operator says so.
    change(&server, "{\"security.redact-info-log\": true}").await;
    raw.put("hidden".to_owned(), "v".to_owned()).await.unwrap();
    let log = server.log();
    assert!(slow_lines(&log).iter().any(|line| line.contains("[key=?]")));
    assert!(!log.contains("68696464656E"), "{log}");
    change(&server, "{\"slow-log-threshold\": \"1h\"}").await;
    let before = slow_lines(&server.log()).len();
    raw.put("k".to_owned(), "v".to_owned()).await.unwrap();
    assert_eq!(slow_lines(&server.log()).len(), before);
    server.stop().await.unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_log_files_are_put_aside_and_the_oldest_removed() {
    let logs = TempDir::with_prefix("tikv-logs-").unwrap();
    let path = |name: &str| logs.path().join(name).display().to_string();
    let config = format!(
        "slow-log-threshold = \"0s\"\nslow-log-file = \"{}\"\n\
         [log.file]\nfilename = \"{}\"\nmax-size = 1\nmax-backups = 1\n",
        path("slow.log"),
        path("tikv.log"),
    );
    let mut server = TikvServer::builder().config(&config).start().await.unwrap();
    let raw = clients::raw(&server).await;
    let load = async {
        // Until a file that was put aside has given way to the next.
        let mut first: Option<String> = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{:?}", names(logs.path()));
            let mut tasks = JoinSet::new();
            for _ in 0..16 {
                let raw = raw.clone();
                tasks.spawn(async move {
                    for _ in 0..25 {
                        raw.get("k".to_owned()).await.unwrap();
                    }
                });
            }
            tasks.join_all().await;
            let aside = names(logs.path())
                .into_iter()
                .find(|name| name.starts_with("slow-"));
            match (&first, aside) {
                (None, aside) => first = aside,
                (Some(first), Some(aside)) if *first != aside => return,
                _ => {}
            }
        }
    };
    load.await;
    server.stop().await.unwrap();
    let names = names(logs.path());
    assert_eq!(names.len(), 3, "{names:?}");
    let aside = names.iter().find(|name| name.starts_with("slow-")).unwrap();
    assert_eq!(
        aside.len(),
        "slow-2026-11-22T16-40-00.123.log".len(),
        "{names:?}"
    );
    for name in &names {
        let mode = fs::metadata(logs.path().join(name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o600, "{name}");
    }
    let text = fs::read_to_string(logs.path().join(aside)).unwrap();
    assert!(text.len() >= 1 << 20);
    assert!(text.ends_with('\n'));
    assert!(
        !fs::read_to_string(logs.path().join("tikv.log"))
            .unwrap()
            .contains("slow request")
    );
}
