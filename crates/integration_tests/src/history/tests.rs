//! Histories that are right and histories that are wrong: a checker that accepts everything would
//! make the crash test worthless.

use super::*;

fn value(text: &str) -> Value {
    Some(text.as_bytes().to_vec())
}

fn receipts(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn written(acknowledged: &[&str], in_doubt: &[&str]) -> Registers {
    let mut registers = Registers::default();
    for text in acknowledged {
        registers.begin("k", value(text));
        registers.acknowledge("k");
    }
    for text in in_doubt {
        registers.begin("k", value(text));
    }
    registers
}

#[test]
fn the_acknowledged_value_and_later_ones_are_accepted() {
    written(&["1", "2"], &[]).check("k", &[value("2")]).unwrap();
    written(&["1", "2"], &["3"])
        .check("k", &[value("2")])
        .unwrap();
    written(&["1", "2"], &["3"])
        .check("k", &[value("3")])
        .unwrap();
    written(&[], &["1"]).check("k", &[None]).unwrap();
}

#[test]
fn a_lost_acknowledgement_is_caught() {
    assert!(
        written(&["1", "2"], &["3"])
            .check("k", &[value("1")])
            .is_err()
    );
    assert!(written(&["1"], &[]).check("k", &[None]).is_err());
    let mut deleted = written(&["1"], &[]);
    deleted.begin("k", None);
    deleted.acknowledge("k");
    assert!(deleted.check("k", &[value("1")]).is_err());
}

#[test]
fn a_value_that_nobody_wrote_is_caught() {
    assert!(written(&["1"], &[]).check("k", &[value("7")]).is_err());
    let mut refused = written(&["1"], &["2"]);
    refused.refuse("k");
    assert!(refused.check("k", &[value("2")]).is_err());
}

#[test]
fn a_write_that_appears_after_it_was_found_missing_is_caught() {
    let mut registers = written(&["1"], &["2"]);
    registers.check("k", &[value("1")]).unwrap();
    assert!(registers.check("k", &[value("2")]).is_err());
}

#[test]
fn half_a_transaction_is_caught() {
    let mut registers = written(&["1"], &["2"]);
    let error = registers.check("k", &[value("2"), value("1")]).unwrap_err();
    assert!(error.to_string().contains("half a transaction"), "{error}");
    assert!(written(&["1"], &[]).check("k", &[]).is_err());
}

#[test]
fn counters_lie_between_acknowledged_and_in_doubt() {
    let counters = || {
        let mut counters = Counters::default();
        for _ in 0..5 {
            counters.begin("c");
        }
        counters.acknowledge("c");
        counters.acknowledge("c");
        counters.refuse("c");
        counters
    };
    for found in 2..=4 {
        counters().check("c", found).unwrap();
    }
    assert!(counters().check("c", 1).is_err());
    assert!(counters().check("c", 5).is_err());
    let mut settled = counters();
    settled.check("c", 3).unwrap();
    assert!(settled.check("c", 4).is_err());
}

fn bank() -> Bank {
    let mut bank = Bank::new(3, 100);
    bank.begin(
        "a",
        Transfer {
            from: 0,
            to: 1,
            amount: 10,
        },
    );
    bank.acknowledge("a");
    bank.begin(
        "b",
        Transfer {
            from: 1,
            to: 2,
            amount: 5,
        },
    );
    bank.begin(
        "c",
        Transfer {
            from: 2,
            to: 0,
            amount: 1,
        },
    );
    bank.refuse("c");
    bank
}

#[test]
fn receipts_explain_balances() {
    bank().check(&[90, 110, 100], &receipts(&["a"])).unwrap();
    bank()
        .check(&[90, 105, 105], &receipts(&["a", "b"]))
        .unwrap();
    let mut settled = bank();
    settled.check(&[90, 110, 100], &receipts(&["a"])).unwrap();
    settled.check(&[90, 110, 100], &receipts(&[])).unwrap();
    assert_eq!(settled.balances(), [90, 110, 100]);
}

#[test]
fn wrong_books_are_caught() {
    // A transfer that was acknowledged has left no trace.
    assert!(bank().check(&[100, 100, 100], &receipts(&[])).is_err());
    // Its receipt is there and its money is not.
    assert!(bank().check(&[100, 100, 100], &receipts(&["a"])).is_err());
    // Half of it.
    assert!(bank().check(&[90, 100, 100], &receipts(&["a"])).is_err());
    // A receipt that nobody wrote, or whose writer was told no.
    assert!(
        bank()
            .check(&[90, 110, 100], &receipts(&["a", "z"]))
            .is_err()
    );
    assert!(
        bank()
            .check(&[91, 110, 99], &receipts(&["a", "c"]))
            .is_err()
    );
}

#[test]
fn timestamps_that_go_back_or_repeat_are_caught() {
    let mut timestamps = Timestamps::default();
    timestamps.note(0, 10).unwrap();
    let floor = timestamps.floor();
    timestamps.note(floor, 12).unwrap();
    // Asked for at the same time as 12: any order is right.
    timestamps.note(floor, 11).unwrap();
    assert!(timestamps.note(floor, 11).is_err());
    timestamps.settle();
    assert!(timestamps.note(timestamps.floor(), 12).is_err());
    timestamps.note(timestamps.floor(), 13).unwrap();
}
