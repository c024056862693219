//! The report: a table for the terminal, JSON for machines, Markdown and a plot for readers.
//!
//! Everything is made from [`Report`], which is the JSON: a report can be read again and shown anew.

mod markdown;
mod plot;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::procfs;
use crate::scenario::{Line, Run};

pub use table::table;

/// Everything that a call of the program found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When, as `2026-01-31`.
    pub date: String,
    /// The state of the source that was measured.
    pub commit: String,
    /// `default`, `quick` or `smoke`.
    pub mode: String,
    /// Where.
    pub machine: Machine,
    /// The figures.
    pub lines: Vec<Line>,
    /// The runs that they were computed from.
    pub runs: Vec<Run>,
}

/// The machine, as far as it explains figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many there are. Server and load generator share them.
    pub processors: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The version of the kernel.
    pub kernel: String,
    /// Processes that wanted to run before the measurement began.
    pub load_before: f64,
}

impl Machine {
    /// This one, now.
    pub fn look() -> Machine {
        let (processor, processors) = procfs::processors();
        Machine {
            processor,
            processors,
            memory_bytes: procfs::memory_bytes(),
            kernel: procfs::kernel(),
            load_before: procfs::load_average(),
        }
    }
}

/// Where a report was written.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The report itself.
    pub json: PathBuf,
    /// For readers.
    pub markdown: PathBuf,
    /// Its plot.
    pub plot: PathBuf,
}

/// Explanations of missed goals, written by hand: a section for each scenario.
const NOTES: &str = "NOTES.md";

impl Report {
    /// Writes `latest.json`, `REPORT.md` and `plot.svg` into `directory`. What `NOTES.md` there
    /// says about a scenario whose goal was missed goes into the report.
    pub fn save(&self, directory: &Path) -> anyhow::Result<Saved> {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let notes = fs::read_to_string(directory.join(NOTES)).unwrap_or_default();
        let saved = Saved {
            json: directory.join("latest.json"),
            markdown: directory.join("REPORT.md"),
            plot: directory.join("plot.svg"),
        };
        let write = |path: &Path, text: String| {
            fs::write(path, text).with_context(|| format!("write {}", path.display()))
        };
        write(&saved.json, self.to_json()? + "\n")?;
        write(&saved.markdown, self.markdown(&notes))?;
        write(&saved.plot, self.plot()?)?;
        Ok(saved)
    }

    /// The report as JSON.
    pub fn to_json(&self) -> anyhow::Result<String> {
        serde_json::to_string_pretty(self).context("write the report")
    }

    /// Reads what [`Report::to_json`] wrote.
    pub fn from_json(text: &str) -> anyhow::Result<Report> {
        serde_json::from_str(text).context("read a report")
    }

    /// The report in Markdown, with the explanations of `notes`.
    pub fn markdown(&self, notes: &str) -> String {
        markdown::render(self, notes)
    }

    /// The plot as SVG.
    pub fn plot(&self) -> anyhow::Result<String> {
        plot::render(self)
    }
}

/// A figure with three digits that matter.
fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        grouped(value.round() as i64)
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// 1234567 as 1,234,567.
fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    if value < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure with its unit.
fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "" => figure(value),
        "/s" => format!("{}/s", figure(value)),
        unit => format!("{} {unit}", figure(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(figure(0.6951), "0.70");
        assert_eq!(figure(14.26), "14.3");
        assert_eq!(figure(312.4), "312");
        assert_eq!(figure(1_234_567.0), "1,234,567");
        assert_eq!(figure(-1234.0), "-1,234");
        assert_eq!(with_unit(64.0, "KiB"), "64.0 KiB");
        assert_eq!(with_unit(5000.0, "/s"), "5,000/s");
    }
}
