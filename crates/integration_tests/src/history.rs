//! What clients of a killed server know, and whether what they find after its restart agrees.
//!
//! 1. A client notes an operation *before* it sends it: from then on the operation may have happened.
//! 2. It notes the acknowledgement when that arrives: from then on the operation must have happened.
//! 3. At the kill some operations are noted and not acknowledged: they are in doubt, and each may be
//!    found done or not done, but never half done.
//! 4. After the restart everything is read. What is found is compared, and then *settled*: an
//!    operation that was in doubt and was not found must not appear later.
//!
//! Each key of [`Registers`] has one writer, which does not go on after a failure; so at most its
//! last operation is in doubt, and "the last acknowledged value or a later one" is exact. Accounts and
//! counters have many writers; there the sums are exact.
//!
//! The checkers keep no clock and talk to nobody, and their tests feed them histories that are wrong.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};

/// A value, or nothing.
pub type Value = Option<Vec<u8>>;

/// Keys, each with one writer. A register may stand for several keys that only ever change together.
#[derive(Debug, Default)]
pub struct Registers {
    registers: BTreeMap<String, Register>,
}

#[derive(Debug, Default)]
struct Register {
    /// What a reader must find when nothing is in doubt.
    acknowledged: Value,
    /// Written since, without an answer.
    in_doubt: Vec<Value>,
}

impl Registers {
    /// `value` is about to be written; `None` deletes.
    pub fn begin(&mut self, name: &str, value: Value) {
        self.registers
            .entry(name.to_owned())
            .or_default()
            .in_doubt
            .push(value);
    }

    /// The write begun last was acknowledged.
    ///
    /// # Panics
    /// When nothing was begun.
    pub fn acknowledge(&mut self, name: &str) {
        let register = self
            .registers
            .get_mut(name)
            .expect("acknowledged before it was begun");
        register.acknowledged = register.in_doubt.pop().expect("nothing is in doubt");
        register.in_doubt.clear();
    }

    /// The write begun last is known not to have happened.
    ///
    /// # Panics
    /// When nothing was begun.
    pub fn refuse(&mut self, name: &str) {
        let register = self
            .registers
            .get_mut(name)
            .expect("refused before it was begun");
        register.in_doubt.pop().expect("nothing is in doubt");
    }

    /// The names of all registers.
    pub fn names(&self) -> Vec<String> {
        self.registers.keys().cloned().collect()
    }

    /// What must be found when nothing is in doubt.
    pub fn expected(&self, name: &str) -> Value {
        self.registers
            .get(name)
            .and_then(|register| register.acknowledged.clone())
    }

    /// Compares what was found in the register's keys, and settles it.
    pub fn check(&mut self, name: &str, found: &[Value]) -> anyhow::Result<()> {
        let register = self.registers.entry(name.to_owned()).or_default();
        let first = found
            .first()
            .with_context(|| format!("{name}: nothing was read"))?;
        if let Some(other) = found.iter().find(|value| *value != first) {
            bail!(
                "{name}: half a transaction: {} beside {}",
                shown(first),
                shown(other)
            );
        }
        let possible = *first == register.acknowledged || register.in_doubt.contains(first);
        ensure!(
            possible,
            "{name}: found {}, acknowledged was {}, in doubt {:?}",
            shown(first),
            shown(&register.acknowledged),
            register.in_doubt.iter().map(shown).collect::<Vec<_>>(),
        );
        register.acknowledged = first.clone();
        register.in_doubt.clear();
        Ok(())
    }
}

/// The beginning of a value: values are padded.
fn shown(value: &Value) -> String {
    const SHOWN: usize = 40;
    match value {
        None => "nothing".to_owned(),
        Some(bytes) => {
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
            format!("{head:?} ({} bytes)", bytes.len())
        }
    }
}

/// Numbers that many clients raise by one with compare-and-swap.
#[derive(Debug, Default)]
pub struct Counters {
    counters: BTreeMap<String, Counter>,
}

#[derive(Debug, Default)]
struct Counter {
    acknowledged: u64,
    in_doubt: u64,
}

impl Counters {
    /// A swap that raises the counter is about to be sent.
    pub fn begin(&mut self, name: &str) {
        self.counters.entry(name.to_owned()).or_default().in_doubt += 1;
    }

    /// The swap succeeded.
    ///
    /// # Panics
    /// When none was begun.
    pub fn acknowledge(&mut self, name: &str) {
        let counter = self
            .counters
            .get_mut(name)
            .expect("acknowledged before it was begun");
        counter.in_doubt -= 1;
        counter.acknowledged += 1;
    }

    /// The swap was answered: another client was faster.
    ///
    /// # Panics
    /// When none was begun.
    pub fn refuse(&mut self, name: &str) {
        self.counters
            .get_mut(name)
            .expect("refused before it was begun")
            .in_doubt -= 1;
    }

    /// The names of all counters.
    pub fn names(&self) -> Vec<String> {
        self.counters.keys().cloned().collect()
    }

    /// Compares the number that was found, and settles it.
    pub fn check(&mut self, name: &str, found: u64) -> anyhow::Result<()> {
        let counter = self.counters.entry(name.to_owned()).or_default();
        let (least, most) = (
            counter.acknowledged,
            counter.acknowledged + counter.in_doubt,
        );
        ensure!(
            (least..=most).contains(&found),
            "{name}: found {found}, {least} swaps were acknowledged and {} are in doubt",
            counter.in_doubt,
        );
        *counter = Counter {
            acknowledged: found,
            in_doubt: 0,
        };
        Ok(())
    }
}

/// Money moved from one account to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The account that pays.
    pub from: usize,
    /// The account that is paid.
    pub to: usize,
    /// How much.
    pub amount: i64,
}

/// Accounts between which many clients move money. Each transfer leaves a receipt in its own
/// transaction; so the receipts must explain the balances to the penny.
#[derive(Debug)]
pub struct Bank {
    balances: Vec<i64>,
    begun: BTreeMap<String, Transfer>,
    acknowledged: BTreeSet<String>,
}

impl Bank {
    /// `accounts` accounts with `each` in each.
    pub fn new(accounts: usize, each: i64) -> Bank {
        Bank {
            balances: vec![each; accounts],
            begun: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    /// The settled balances.
    pub fn balances(&self) -> &[i64] {
        &self.balances
    }

    /// A transfer is about to be committed, with a receipt of this name.
    pub fn begin(&mut self, receipt: &str, transfer: Transfer) {
        self.begun.insert(receipt.to_owned(), transfer);
    }

    /// Its commit was acknowledged.
    pub fn acknowledge(&mut self, receipt: &str) {
        self.acknowledged.insert(receipt.to_owned());
    }

    /// It is known not to have happened.
    pub fn refuse(&mut self, receipt: &str) {
        self.begun.remove(receipt);
    }

    /// Compares balances and the receipts written since the last check, and settles both.
    pub fn check(&mut self, balances: &[i64], receipts: &BTreeSet<String>) -> anyhow::Result<()> {
        let (before, after) = (
            self.balances.iter().sum::<i64>(),
            balances.iter().sum::<i64>(),
        );
        ensure!(
            before == after,
            "money was made or lost: {before} became {after}"
        );
        if let Some(lost) = self
            .acknowledged
            .iter()
            .find(|receipt| !receipts.contains(*receipt))
        {
            bail!(
                "transfer {lost} {:?} was acknowledged and is lost",
                self.begun.get(lost)
            );
        }
        let mut expected = self.balances.clone();
        for receipt in receipts {
            let transfer = self
                .begun
                .get(receipt)
                .with_context(|| format!("receipt {receipt} of a transfer that nobody made"))?;
            expected[transfer.from] -= transfer.amount;
            expected[transfer.to] += transfer.amount;
        }
        ensure!(
            expected == balances,
            "receipts say that the balances are {expected:?}, found were {balances:?}"
        );
        self.balances = expected;
        self.begun.clear();
        self.acknowledged.clear();
        Ok(())
    }
}

/// Timestamps: each greater than every one that was known when it was asked for.
#[derive(Debug, Default)]
pub struct Timestamps {
    highest: u64,
    given: BTreeSet<u64>,
}

impl Timestamps {
    /// What the next timestamp must exceed; to be asked before the request is sent.
    pub fn floor(&self) -> u64 {
        self.highest
    }

    /// Notes a timestamp that was asked for when `floor` was the highest.
    pub fn note(&mut self, floor: u64, ts: u64) -> anyhow::Result<()> {
        ensure!(ts > floor, "timestamp {ts} was given after {floor}");
        ensure!(self.given.insert(ts), "timestamp {ts} was given twice");
        self.highest = self.highest.max(ts);
        Ok(())
    }

    /// Forgets single timestamps: after a restart all are greater than the highest, which stays.
    pub fn settle(&mut self) {
        self.given.clear();
    }
}

#[cfg(test)]
mod tests;
