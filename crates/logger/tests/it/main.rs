//! The log through the macros of `tracing`: what a crate logs is what an operator reads.

#![expect(
    clippy::unwrap_used,
    reason = "tests may unwrap, also in what they share"
)]

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

use logger::{Config, Format, Level, Redacted, RedactedKey};
use tracing::{Dispatch, dispatcher::with_default};

/// An output that the test reads.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output that fails.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn capture(config: &Config) -> (Dispatch, logger::Guard, Output) {
    let output = Output::default();
    let time = Arc::new(|| 1_704_164_645_678);
    let (dispatch, guard) = logger::scoped(config, Box::new(output.clone()), time);
    (dispatch, guard, output)
}

/// The line without time and place, which ends with the third bracket.
fn tail(line: &str) -> &str {
    line.splitn(4, "] ").nth(3).unwrap_or(line)
}

#[test]
fn an_event_is_a_line_of_the_unified_format() {
    let (dispatch, _guard, output) = capture(&Config::default());
    with_default(&dispatch, || {
        tracing::info!(
            region_id = 2,
            peer = "a b",
            ratio = 0.5,
            leader = true,
            "region split"
        );
    });
    let line = output.take();
    let expected_tail =
        "[\"region split\"] [region_id=2] [peer=\"a b\"] [ratio=0.5] [leader=true]\n";
    assert!(
        line.starts_with("[2024/01/02 03:04:05.678 +00:00] [INFO] [main.rs:"),
        "{line}"
    );
    assert_eq!(tail(&line), expected_tail);
}

#[test]
fn json_is_an_object_a_line() {
    let (dispatch, _guard, output) = capture(&Config {
        format: Format::Json,
        ..Config::default()
    });
    with_default(&dispatch, || {
        tracing::warn!(
            n = -3,
            nan = f64::NAN,
            text = "two\nlines",
            time = "x",
            "odd \"message\""
        );
    });
    let line = output.take();
    assert_eq!(line.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["level"], "WARN");
    assert_eq!(value["message"], "odd \"message\"");
    assert_eq!(value["n"], -3);
    assert_eq!(value["nan"], "NaN");
    assert_eq!(value["text"], "two\nlines");
    assert_eq!(value["field_time"], "x");
    assert_eq!(value["time"], "2024/01/02 03:04:05.678 +00:00");
}

#[test]
fn whatever_is_logged_a_line_is_one_line() {
    let (dispatch, _guard, output) = capture(&Config::default());
    let error = io::Error::other("first\r\nsecond] [x=y");
    with_default(&dispatch, || tracing::error!(%error, "a\nb"));
    let expected = "[\"a\\nb\"] [error=\"first\\r\\nsecond] [x=y\"]\n";
    assert_eq!(tail(&output.take()), expected);
}

#[test]
fn the_level_changes_at_once() {
    let (dispatch, guard, output) = capture(&Config::default());
    let emit = || {
        tracing::debug!("d");
        tracing::info!("i");
        tracing::error!("e");
    };
    let lines = || {
        output
            .take()
            .lines()
            .map(|line| tail(line).to_owned())
            .collect::<Vec<_>>()
    };
    with_default(&dispatch, || {
        emit();
        assert_eq!(lines(), ["[i]", "[e]"]);
        guard.set_level(Level::Debug);
        emit();
        assert_eq!(lines(), ["[d]", "[i]", "[e]"]);
        guard.set_level(Level::Error);
        assert_eq!(guard.level(), Level::Error);
        emit();
        assert_eq!(lines(), ["[e]"]);
    });
}

#[test]
fn slow_requests_are_told_at_every_level() {
    let (dispatch, guard, output) = capture(&Config::default());
    with_default(&dispatch, || {
        guard.set_level(Level::Error);
        tracing::info!("i");
        tracing::info!(target: logger::SLOW_LOG, took_ms = 5, "slow request");
    });
    assert_eq!(tail(&output.take()), "[\"slow request\"] [took_ms=5]\n");
}

#[test]
fn spans_give_their_fields() {
    let (dispatch, _guard, output) = capture(&Config::default());
    with_default(&dispatch, || {
        let outer = tracing::info_span!("outer", store_id = 1, region_id = 7);
        let _outer = outer.enter();
        let inner = tracing::info_span!("inner", region_id = 2, peer_id = tracing::field::Empty);
        inner.record("peer_id", 3);
        let _inner = inner.enter();
        tracing::info!(peer_id = 4, "x");
        drop(_inner);
        tracing::info!("y");
    });
    let text = output.take();
    let lines: Vec<_> = text.lines().map(tail).collect();
    let expected = [
        "[x] [peer_id=4] [region_id=2] [store_id=1]",
        "[y] [store_id=1] [region_id=7]",
    ];
    assert_eq!(lines, expected);
}

fn redaction_follows_the_mode_of_the_process() {
    let (dispatch, _guard, output) = capture(&Config::default());
    let emit = || {
        let key = RedactedKey(b"k1");
        with_default(
            &dispatch,
            || tracing::info!(%key, ?key, value = %Redacted("v"), "m"),
        );
        tail(&output.take()).to_owned()
    };
    assert_eq!(emit(), "[m] [key=6B31] [value=v]\n");
    logger::set_redact_mode(logger::RedactMode::On);
    assert_eq!(emit(), "[m] [key=?] [value=?]\n");
    logger::set_redact_mode(logger::RedactMode::Marker);
    assert_eq!(emit(), "[m] [key=‹6B31›] [value=‹v›]\n");
    logger::set_redact_mode(logger::RedactMode::Off);
}

#[test]
fn lost_lines_are_counted() {
    let (dispatch, guard) = logger::scoped(&Config::default(), Box::new(Broken), Arc::new(|| 0));
    with_default(&dispatch, || {
        tracing::info!("a");
        tracing::info!("b");
    });
    assert_eq!(guard.lost_lines(), 2);
}

/// The one test that touches what a process has once: its log, its panic hook, its redaction mode.
#[test]
fn the_process_log() {
    a_file_is_private_and_set_up_once();
    redaction_follows_the_mode_of_the_process();
}

fn a_file_is_private_and_set_up_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs/tikv.log");
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "before\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let slow_path = directory.path().join("logs/slow.log");
    let config = Config {
        file: Some(path.clone()),
        slow_file: Some(slow_path.clone()),
        ..Config::default()
    };
    let guard = logger::init(config.clone()).unwrap();
    assert!(matches!(
        logger::init(config),
        Err(logger::Error::AlreadySet)
    ));
    logger::log_panics();
    tracing::info!("after");
    tracing::info!(target: logger::SLOW_LOG, "slow request");
    let panicked = std::panic::catch_unwind(|| panic!("on purpose"));
    assert!(panicked.is_err());
    drop(guard);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("before\n[20"), "{text}");
    assert!(text.contains("[after]"), "{text}");
    assert!(text.contains("[\"thread panicked\"]"), "{text}");
    assert!(text.contains("[error=\"on purpose\"]"), "{text}");
    assert!(!text.contains("slow request"), "{text}");
    let slow = fs::read_to_string(&slow_path).unwrap();
    assert_eq!(tail(&slow), "[\"slow request\"]\n");
    for path in [&path, &slow_path] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    let config = Config {
        file: Some(directory.path().to_owned()),
        ..Config::default()
    };
    let Err(error) = logger::init(config) else {
        panic!("a directory is no log file")
    };
    assert!(
        error.to_string().starts_with("cannot open log file"),
        "{error}"
    );
}
