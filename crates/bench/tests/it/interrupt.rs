//! The program is asked to stop while it measures.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use integration_tests::binaries;
use rustix::process::{Pid, Signal, kill_process};

/// Whether there is such a process, and it has not ended.
fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(')')?.1.trim_start().starts_with('Z')))
        .is_some_and(|has_ended| !has_ended)
}

#[test]
fn who_stops_it_stops_its_servers() {
    // The program starts the server of the same build.
    let server = binaries::tikv_server().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--mode", "quick", "--only", "kv-get", "--out"])
        .arg(directory.path())
        .env("TIKV_TEST_BINARIES", server.parent().unwrap())
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(bench.stderr.take().unwrap());
    let server = said
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.rsplit_once("pid ")?.1.trim().parse::<u32>().ok())
        .expect("it says which server it has started");
    assert!(lives(server));
    let pid = Pid::from_raw(i32::try_from(bench.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(128 + 15));
    assert!(!lives(server), "{server} was left behind");
}
