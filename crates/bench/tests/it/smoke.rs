//! Every driver of our own server, for a fifth of a second each: figures come out, none is believed.

use bench::{Lab, Programs, Progress, Settings, Verdict, run_scenario};
use integration_tests::binaries;

#[test]
fn every_driver_of_our_server_works() {
    // The lab starts the server of the same build.
    binaries::tikv_server().unwrap();
    let programs = Programs::default();
    let mut lab = Lab::new(Settings::SMOKE, programs, Progress::silent()).unwrap();
    let names = [
        "idle-server",
        "idle-connections",
        "kv-get",
        "batch-raw-get",
        "kv-scan",
        "tso",
        "raw-put-group",
        "raw-put-single",
        "txn",
        "one-phase",
        "pessimistic-lock",
        "floors",
    ];
    for name in names {
        let lines =
            run_scenario(&mut lab, name).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert!(!lines.is_empty());
        for line in lines {
            assert!(line.value.is_some_and(|value| value > 0.0), "{line:?}");
        }
    }
    assert!(lab.runs().iter().all(|run| run.sample.ops > 0));
}

/// Bytes are no matter of luck, so this one is believed.
#[test]
fn locks_and_those_who_wait_for_them_are_small() {
    let mut lab = Lab::new(Settings::SMOKE, Programs::default(), Progress::silent()).unwrap();
    let lines = run_scenario(&mut lab, "lock-memory").unwrap();
    let verdicts: Vec<_> = lines.iter().map(|line| line.verdict()).collect();
    let expected = [Verdict::Met, Verdict::Met, Verdict::Shown];
    assert_eq!(verdicts, expected, "{lines:?}");
}

#[test]
fn what_is_not_installed_is_not_measured() {
    let mut lab = Lab::new(Settings::SMOKE, Programs::default(), Progress::silent()).unwrap();
    for name in ["raw-put-etcd", "batch-redis"] {
        let lines = run_scenario(&mut lab, name).unwrap();
        assert_eq!(lines[0].verdict(), Verdict::NotMeasured);
        assert!(lines[0].remark.contains("not installed"));
    }
    assert!(run_scenario(&mut lab, "no-such").is_err());
}
