//! The program itself: it starts, says where, stops when told to, and explains its failures.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// A running program and its log.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone in every test that passes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pd-server"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Starts it on a free port and reads the log up to the line that says it serves.
fn start(data_dir: &Path) -> (Running, String) {
    let data_dir = data_dir.to_str().unwrap();
    let args = [
        "--data-dir",
        data_dir,
        "--client-urls",
        "http://127.0.0.1:0",
    ];
    let mut child = command(&args).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut running = Running { child, log };
    let mut before = String::new();
    loop {
        let mut line = String::new();
        if running.log.read_line(&mut line).unwrap() == 0 {
            panic!("it ended early: {before}");
        }
        if line.contains("placement driver serves") {
            return (running, line);
        }
        before.push_str(&line);
    }
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("[{name}=")).unwrap();
    rest.split_once(']').unwrap().0
}

fn fails(args: &[&str]) -> String {
    let Output { status, stderr, .. } = command(args).output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[test]
fn it_serves_stops_on_sigterm_and_keeps_its_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let mut clusters = Vec::new();
    for _ in 0..2 {
        let (mut running, line) = start(dir.path());
        clusters.push(field(&line, "cluster_id").to_owned());
        let port = line.split("127.0.0.1:").nth(1).unwrap();
        let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
        let address = format!("127.0.0.1:{digits}");
        drop(std::net::TcpStream::connect(&address).unwrap());

        let data_dir = dir.path().to_str().unwrap();
        let text = fails(&["--data-dir", data_dir, "--client-urls", "127.0.0.1:0"]);
        assert!(text.contains("in use"), "{text}");
        let other = tempfile::tempdir().unwrap();
        let text = fails(&["-s", other.path().to_str().unwrap(), "--addr", &address]);
        assert!(text.contains("in use") && text.contains(&address), "{text}");

        // The shell's own: a bare machine has no `kill` program.
        let kill = format!("kill -TERM {}", running.child.id());
        let killed = Command::new("/bin/sh").args(["-c", &kill]).status();
        assert!(killed.unwrap().success());
        let mut rest = String::new();
        running.log.read_to_string(&mut rest).unwrap();
        assert!(running.child.wait().unwrap().success(), "{rest}");
        assert!(rest.contains("placement driver stopped"), "{rest}");
        assert!(
            !rest.contains("[ERROR]") && !rest.contains("[WARN]"),
            "{rest}"
        );
    }
    assert_eq!(clusters[0], clusters[1]);
}

#[test]
fn mistakes_are_explained() {
    let text = fails(&["--peer-urls", "x"]);
    assert!(text.contains("unexpected argument '--peer-urls'"), "{text}");
    let text = fails(&["--client-urls", "nowhere"]);
    assert!(
        text.contains("client-urls: \"nowhere\": a port is missing"),
        "{text}"
    );
    let text = fails(&["--config", "/does/not/exist"]);
    assert!(
        text.contains("configuration file /does/not/exist"),
        "{text}"
    );
    let text = fails(&["--log-level", "loud"]);
    assert!(text.contains("invalid log level"), "{text}");
}
