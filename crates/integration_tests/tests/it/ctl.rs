//! `tikv-ctl` against a real server: what an operator types and reads.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use integration_tests::{TikvServer, binaries};
use serde_json::{Value, json};

/// The tool with the address of its cluster.
struct Ctl {
    pd: String,
}

impl Ctl {
    fn of(server: &TikvServer) -> Ctl {
        Ctl {
            pd: server.pd_endpoints().join(","),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binaries::tikv_ctl().unwrap());
        command.args(["--pd", &self.pd]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What it prints; it must succeed.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.says(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// What it complains of; it must fail.
    fn complains(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Runs the shell on a script.
    fn shell(&self, script: &str) -> Output {
        let mut child = self
            .command(&["shell"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(script.as_bytes()).unwrap();
        drop(input);
        child.wait_with_output().unwrap()
    }
}

#[tokio::test]
async fn raw_keys() {
    let mut server = TikvServer::start().await.unwrap();
    let ctl = Ctl::of(&server);
    assert_eq!(ctl.says(&["raw", "get", "k"]), "(not found)");
    assert_eq!(ctl.says(&["raw", "put", "k", "a\\x00b"]), "written");
    assert_eq!(ctl.says(&["raw", "get", "k"]), "a\\000b");
    for key in ["a", "b", "c", "d"] {
        ctl.says(&["raw", "put", key, key]);
    }
    // Fewer keys than the limit, with and without bounds, in both directions.
    assert_eq!(
        ctl.json(&["raw", "scan", "b", "d"]),
        json!([{ "key": "b", "value": "b" }, { "key": "c", "value": "c" }])
    );
    let down = ctl.says(&["raw", "scan", "b", "--reverse", "--keys-only"]);
    assert_eq!(down, "k\nd\nc\nb\n(4 found)");
    assert_eq!(
        ctl.says(&["raw", "scan", "--limit", "1"]),
        "a\ta\n(1 found)"
    );
    assert_eq!(ctl.says(&["raw", "scan", "x", "b"]), "(0 found)");

    let swap = ["raw", "compare-and-swap", "a", "2", "--previous"];
    assert_eq!(ctl.says(&[&swap[..], &["a"]].concat()), "written");
    let error = ctl.complains(&[&swap[..], &["a"]].concat());
    assert!(error.contains("not written: the value is 2"), "{error}");
    ctl.says(&["raw", "delete", "a"]);
    ctl.says(&["raw", "delete-range", "b", "d"]);
    let left = ctl.says(&["raw", "scan", "--keys-only"]);
    assert_eq!(left, "d\nk\n(2 found)");
    assert_eq!(ctl.says(&["--hex", "raw", "get", "64"]), "d");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn transactions_and_the_shell() {
    let mut server = TikvServer::start().await.unwrap();
    let ctl = Ctl::of(&server);
    assert!(
        ctl.says(&["txn", "put", "a", "1"])
            .starts_with("committed at")
    );
    assert_eq!(
        ctl.json(&["txn", "get", "a"]),
        json!({ "found": true, "value": "1" })
    );
    let error = ctl.complains(&["txn", "insert", "a", "2"]);
    assert!(error.contains("already_exist"), "{error}");

    let output = ctl.shell(
        "# moves what is in a to b\nbegin\nget a\nput b '\\x31'\ndelete a\nget a\ncommit\nscan\n",
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<_> = said.lines().collect();
    assert!(output.status.success(), "{said:?}");
    assert!(said[0].starts_with("begun at") && said[5].starts_with("committed at"));
    let rest = [&said[1..5], &said[6..]].concat();
    assert_eq!(
        rest,
        ["1", "put", "deleted", "(not found)", "b\t1", "(1 found)"]
    );

    // A script stops at its first mistake, and what was open is rolled back.
    let output = ctl.shell("begin\nput c 1\nfly\ncommit\n");
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("line 3"), "{error}");
    assert_eq!(ctl.says(&["txn", "get", "c"]), "(not found)");
    let output = ctl.shell("commit\n");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("no transaction is open"), "{error}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn versions_stores_regions_and_settings() {
    let mut server = TikvServer::start().await.unwrap();
    let ctl = Ctl::of(&server);
    ctl.says(&["txn", "put", "a", "1"]);
    ctl.says(&["txn", "delete", "a"]);
    let versions = ctl.json(&["mvcc", "a"]);
    assert_eq!(versions["lock"], Value::Null);
    assert_eq!(versions["writes"][0]["kind"], "delete");
    assert_eq!(versions["writes"][1]["value"], "1");
    assert!(ctl.says(&["mvcc", "nowhere"]).contains("nothing is stored"));

    let stores = ctl.json(&["store"]);
    assert_eq!(stores[0]["address"], server.client_address().to_string());
    assert_eq!(stores[0]["state"], "Up");
    let error = ctl.complains(&["store", "12345"]);
    assert!(error.contains("store 12345"), "{error}");
    let region = ctl.json(&["region", "a"]);
    assert_eq!(region["leader-store"], stores[0]["id"]);
    assert_eq!(region["start-hex"], "");

    let shown = ctl.says(&["config", "show", "server.addr"]);
    assert_eq!(
        shown,
        format!("server.addr = \"{}\"", server.client_address())
    );
    let metrics = ctl.json(&["metrics", "tikv_grpc_msg_duration_seconds_count"]);
    assert!(!metrics.as_object().unwrap().is_empty());
    server.stop().await.unwrap();
}

#[test]
fn words_without_a_cluster() {
    let ctl = Ctl {
        // Nobody listens on the port of discard.
        pd: "127.0.0.1:9".to_owned(),
    };
    let row = "74800000000000002d5f728000000000000001";
    let text = ctl.says(&["--hex", "key", row]);
    assert!(text.contains("tidb     table 45, row 1"), "{text}");
    let script = ctl.says(&["completions", "bash"]);
    assert!(script.contains("compare-and-swap"), "{script}");
    let error = ctl.complains(&["--timeout", "1s", "store"]);
    assert!(error.contains("--pd names it"), "{error}");
    let error = ctl.complains(&["key", "a\\q"]);
    assert!(error.contains("\\q is no escape"), "{error}");
}

/// A client that locks two keys and dies, by hand.
#[tokio::test]
async fn locks_and_what_blocks_a_key() {
    let mut server = TikvServer::start().await.unwrap();
    let ctl = Ctl::of(&server);
    let client = crate::clients::transactional(&server).await;
    let wire = crate::wire::Wire::connect(&server).await;
    ctl.says(&["txn", "put", "b", "old"]);
    assert_eq!(ctl.says(&["locks"]), "(0 found)");
    let free = ctl.json(&["explain-key", "b"]);
    assert_eq!(free["lock"], Value::Null);
    assert_eq!(free["reader"]["value"], "old");
    assert_eq!(free["next"], "nothing: no lock is on this key");

    const TTL_MS: u64 = 600_000;
    let start_ts = crate::clients::timestamp(&client).await;
    wire.prewrite(b"a", &[b"a", b"b"], start_ts, TTL_MS).await;
    let locks = ctl.json(&["locks"]);
    assert_eq!(locks.as_array().unwrap().len(), 2);
    assert_eq!(locks[1]["key"], "b");
    assert_eq!(locks[1]["primary"], "a");
    assert_eq!(locks[1]["start-ts"], start_ts);
    assert_eq!(locks[1]["expired"], false);
    assert_eq!(locks[0]["is-primary"], true);
    let count = |arguments: &[&str]| {
        let found = ctl.json(&[&["locks"], arguments].concat());
        found.as_array().unwrap().len()
    };
    assert_eq!(count(&["b"]), 1);
    assert_eq!(count(&["", "b"]), 1);
    assert_eq!(count(&["--limit", "1"]), 1);
    assert_eq!(count(&["--older-than", "1h"]), 0);
    assert_eq!(count(&["--txn", &start_ts.to_string()]), 2);
    assert_eq!(count(&["--txn", &(start_ts + 1).to_string()]), 0);
    let versions = ctl.json(&["mvcc", "b"]);
    assert_eq!(versions["lock"]["ttl-ms"], TTL_MS);

    let alive = ctl.json(&["explain-key", "b"]);
    assert_eq!(alive["transaction"]["state"], "alive");
    assert_eq!(alive["reader"], json!({ "sees": "lock", "below": "old" }));
    assert_eq!(alive["waiters"], json!([]));
    let text = ctl.says(&["explain-key", "b"]);
    assert!(text.contains("next    wait, or end the client"), "{text}");

    // The primary is committed, the client dies before the other key: nobody has lost anything.
    let commit_ts = crate::clients::timestamp(&client).await;
    let mut commit = kvproto::kvrpcpb::CommitRequest::default();
    commit.mut_keys().push(b"a".to_vec());
    commit.set_start_version(start_ts);
    commit.set_commit_version(commit_ts);
    wire.call(commit).await;
    let committed = ctl.json(&["explain-key", "b"]);
    assert_eq!(
        committed["transaction"],
        json!({ "state": "committed", "commit-ts": commit_ts })
    );
    // It was only looked at; what it advises to do does away with the lock.
    assert_eq!(count(&[]), 1);
    let next = committed["next"].as_str().unwrap();
    assert!(next.contains("tikv-ctl txn get 'b'"), "{next}");
    ctl.says(&["txn", "get", "b"]);
    assert_eq!(count(&[]), 0);
    server.stop().await.unwrap();
}

/// One who waits for a lock is told of. The waiting task needs a thread of its own: the tool blocks the test's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_key() {
    let mut server = TikvServer::start().await.unwrap();
    let ctl = Ctl::of(&server);
    let client = crate::clients::transactional(&server).await;
    let mut holder = client.begin_pessimistic().await.unwrap();
    holder.lock_keys(["k".to_owned()]).await.unwrap();
    let mut waiter = client.begin_pessimistic().await.unwrap();
    let waits_as = tikv_client::TimestampExt::version(&waiter.start_timestamp());
    let waiting = tokio::spawn(async move {
        drop(waiter.lock_keys(["k".to_owned()]).await);
        waiter.rollback().await
    });
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let told = loop {
        let told = ctl.json(&["explain-key", "k"]);
        if told["waiters"][0]["start-ts"] == waits_as {
            break told;
        }
        assert!(tokio::time::Instant::now() < deadline, "{told}");
    };
    assert_eq!(told["lock"]["kind"], "pessimistic");
    assert_eq!(told["reader"]["sees"], "nothing");
    holder.rollback().await.unwrap();
    // Woken, it is told to try again, which this client leaves to its user.
    waiting.await.unwrap().unwrap();
    server.stop().await.unwrap();
}
