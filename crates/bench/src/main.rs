//! The load generator: flags, one lab, the scenarios, the report. `cargo xtask bench` starts it.
#![doc = include_str!("../README.md")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal: printing is its output"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use bench::{Lab, Line, Machine, Programs, Progress, Report, SCENARIOS, Settings, Verdict};
use clap::{Parser, ValueEnum};

/// As the server does: the engines that are measured in this process live on the same allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures the server and what it is compared with. Started by `cargo xtask bench`.
#[derive(Parser)]
#[command(name = "bench")]
struct Flags {
    /// How long it may take
    #[arg(long, value_enum, default_value_t = Mode::Default)]
    mode: Mode,
    /// Only these scenarios, by name
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Print the names of the scenarios and what they find out
    #[arg(long)]
    list: bool,
    /// Write the report in --out again, with the notes there as they are now, and measure nothing
    #[arg(long)]
    renew: bool,
    /// The etcd to compare with
    #[arg(long, value_name = "PROGRAM")]
    etcd: Option<PathBuf>,
    /// The redis-server to compare with
    #[arg(long, value_name = "PROGRAM")]
    redis: Option<PathBuf>,
    /// Where the report goes
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// The date that the report bears
    #[arg(long, default_value = "")]
    date: String,
    /// The state of the source that the report bears
    #[arg(long, default_value = "")]
    commit: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Good figures
    Default,
    /// A first impression
    Quick,
    /// No figures: whether everything works
    Smoke,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Default => "default",
            Mode::Quick => "quick",
            Mode::Smoke => "smoke",
        }
    }

    fn settings(self) -> Settings {
        match self {
            Mode::Default => Settings::DEFAULT,
            Mode::Quick => Settings::QUICK,
            Mode::Smoke => Settings::SMOKE,
        }
    }
}

fn main() -> ExitCode {
    match run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> anyhow::Result<()> {
    if flags.list {
        for scenario in SCENARIOS {
            println!("{:<18} {}", scenario.name, scenario.about);
        }
        return Ok(());
    }
    if flags.renew {
        return renew(&flags.out);
    }
    let names = chosen(&flags.only)?;
    bench::end_children_when_asked().context("catch signals")?;
    let machine = Machine::look();
    let progress = Progress::of_stderr();
    if machine.load_before > 0.5 {
        progress.say(&format!(
            "bench: the machine is busy (load {:.2}); its figures will not mean much",
            machine.load_before
        ));
    }
    let programs = Programs {
        etcd: flags.etcd,
        redis: flags.redis,
    };
    let mut lab = Lab::new(flags.mode.settings(), programs, progress)?;
    let mut lines = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match bench::run_scenario(&mut lab, name) {
            Ok(found) => lines.extend(found),
            // The others are worth having all the same.
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    }
    let report = Report {
        date: flags.date,
        commit: flags.commit,
        mode: flags.mode.name().to_owned(),
        machine,
        runs: lab.runs().to_vec(),
        lines,
    };
    let saved = report.save(&flags.out).context("write the report")?;
    println!("\n{}", bench::table(&report.lines));
    println!("{}", count(&report.lines));
    println!("report: {}", saved.markdown.display());
    anyhow::ensure!(failures.is_empty(), "failed: {}", failures.join("; "));
    Ok(())
}

fn renew(directory: &Path) -> anyhow::Result<()> {
    let json = directory.join("latest.json");
    let text = fs::read_to_string(&json).with_context(|| format!("read {}", json.display()))?;
    let saved = Report::from_json(&text)?.save(directory)?;
    println!("report: {}", saved.markdown.display());
    Ok(())
}

/// The names to run, in the order of the table.
fn chosen(only: &[String]) -> anyhow::Result<Vec<&'static str>> {
    for name in only {
        let known = SCENARIOS.iter().any(|scenario| scenario.name == name);
        anyhow::ensure!(known, "there is no scenario {name}; --list prints them");
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
    let names = SCENARIOS.iter().map(|scenario| scenario.name);
    Ok(names.filter(|name| wanted(name)).collect())
}

fn count(lines: &[Line]) -> String {
    let with = |verdict| {
        lines
            .iter()
            .filter(|line| line.verdict() == verdict)
            .count()
    };
    format!(
        "{} goals met, {} missed, {} within the noise, {} not measured",
        with(Verdict::Met),
        with(Verdict::Missed),
        with(Verdict::Unclear),
        with(Verdict::NotMeasured)
    )
}
