//! A report with one line of each kind, rendered.

use std::fs;
use std::path::Path;

use bench::{Line, Machine, Percentiles, Report, Run, Sample, Target, table};

fn line(scenario: &str, what: &str, value: Option<f64>, target: Option<Target>) -> Line {
    Line {
        scenario: scenario.to_owned(),
        what: what.to_owned(),
        value,
        unit: String::new(),
        target,
        noise: Some(0.021),
        remark: String::new(),
    }
}

fn run(load: &str, place: &str, ops: u64) -> Run {
    Run {
        scenario: "kv-get".to_owned(),
        load: load.to_owned(),
        place: place.to_owned(),
        sample: Sample {
            seconds: 2.0,
            ops,
            items: ops,
            errors: 0,
            first_error: None,
            server_cpu_us: (load != "fdatasync").then_some(1_500_000.0),
            client_cpu_us: 900_000.0,
            latency_us: Percentiles {
                p50: 1234.5,
                p90: 2000.0,
                p99: 4000.0,
                p999: 8000.25,
                max: 12_000.0,
            },
        },
    }
}

fn report() -> Report {
    let scan = line(
        "kv-scan",
        "rows over an iterator",
        Some(0.31),
        Some(Target::AtLeast(0.5)),
    );
    let idle = Line {
        unit: "MiB".to_owned(),
        noise: None,
        remark: "median of 5 starts".to_owned(),
        ..line(
            "idle-server",
            "memory",
            Some(92.4),
            Some(Target::AtMost(80.0)),
        )
    };
    let etcd = Line {
        noise: None,
        remark: "etcd is not installed".to_owned(),
        ..line(
            "raw-put-etcd",
            "RawPut over etcd",
            None,
            Some(Target::AtLeast(2.0)),
        )
    };
    let shown = Line {
        unit: "/s".to_owned(),
        remark: "median 1.2 µs".to_owned(),
        ..line("floors", "RocksDB get", Some(812_345.6), None)
    };
    Report {
        date: "2026-01-31".to_owned(),
        commit: "0123456789ab".to_owned(),
        mode: "default".to_owned(),
        machine: Machine {
            processor: "Processor X".to_owned(),
            processors: 2,
            memory_bytes: 24 << 30,
            kernel: "6.1.0".to_owned(),
            load_before: 0.05,
        },
        lines: vec![
            line(
                "kv-get",
                "KvGet over an empty RPC",
                Some(0.82),
                Some(Target::AtLeast(0.7)),
            ),
            line(
                "raw-get",
                "RawGet over an empty RPC",
                Some(0.71),
                Some(Target::AtLeast(0.7)),
            ),
            scan,
            idle,
            etcd,
            shown,
        ],
        runs: vec![
            run("KvGet", "A1", 60_000),
            run("fdatasync", "B1", 0),
            run("RawGet, 20000 a second asked for", "open", 40_000),
        ],
    }
}

const NOTES: &str = "# Notes\n\n## kv-scan\n\nHalf of the time goes into copies.\n";

#[test]
fn a_report_reads_like_this() {
    let shown = format!(
        "{}\n----\n{}",
        table(&report().lines),
        report().markdown(NOTES)
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/report.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &shown).unwrap();
    }
    assert_eq!(shown, fs::read_to_string(&path).unwrap());
}

#[test]
fn a_report_is_read_again_as_it_was_written() {
    let text = report().to_json().unwrap();
    assert_eq!(Report::from_json(&text).unwrap(), report());
    assert!(Report::from_json("{}").is_err());
}

#[test]
fn the_plot_shows_goals_and_latencies() {
    let svg = report().plot().unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in [
        "kv-get  1.17",
        "kv-scan  0.62",
        "idle-server  0.87",
        "RawGet",
        "at half",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(!svg.contains("raw-put-etcd") && !svg.contains("floors"));
    assert!(Report::default().plot().unwrap().starts_with("<svg"));
}

#[test]
fn a_report_is_saved_with_the_notes_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("bench");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("NOTES.md"), NOTES).unwrap();
    let saved = report().save(&place).unwrap();
    let text = fs::read_to_string(saved.markdown).unwrap();
    assert!(text.contains("Half of the time goes into copies."));
    let json = fs::read_to_string(saved.json).unwrap();
    assert_eq!(Report::from_json(&json).unwrap(), report());
    assert!(saved.plot.is_file());
}

/// `cargo xtask bench --renew` makes it so.
#[test]
fn the_committed_report_has_the_notes_as_they_are() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bench");
    let read = |name: &str| fs::read_to_string(docs.join(name)).unwrap();
    let report = Report::from_json(&read("latest.json")).unwrap();
    assert_eq!(report.markdown(&read("NOTES.md")), read("REPORT.md"));
}
