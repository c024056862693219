//! `REPORT.md`: the goals, the explanations of those that were missed, and every run.

use std::fmt::Write as _;

use super::table::{found, goal, noise};
use super::{Report, figure};
use crate::scenario::{Line, Run, Verdict};

pub(super) fn render(report: &Report, notes: &str) -> String {
    let mut text = String::new();
    head(&mut text, report);
    let (goals, others): (Vec<&Line>, Vec<&Line>) =
        report.lines.iter().partition(|line| line.target.is_some());
    if !goals.is_empty() {
        text.push_str("\n## Goals\n\n");
        text.push_str("| figure | found | goal | noise | |\n|---|---:|---:|---:|---|\n");
        for line in &goals {
            row(&mut text, line);
        }
        text.push_str("\n![How much of each goal is reached](plot.svg)\n");
        missed(&mut text, &goals, notes);
    }
    if !others.is_empty() {
        text.push_str("\n## For comparison\n\n");
        text.push_str("| figure | found | remark |\n|---|---:|---|\n");
        for line in others {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                line.what,
                found(line),
                line.remark
            );
        }
    }
    runs(&mut text, &report.runs);
    text
}

fn head(text: &mut String, report: &Report) {
    let machine = &report.machine;
    let gib = machine.memory_bytes as f64 / f64::from(1 << 30);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "# Benchmark report\n\n\
         Written by `cargo xtask bench`; do not edit. How to read it: \
         [benchmarks](../benchmarks.md).\n\n\
         - Date: {}, commit {}, mode: {}\n\
         - Machine: {} × {}, {gib:.0} GiB, Linux {}; server and load generator share it\n\
         - Load of the machine before the measurement: {:.2}\n",
        report.date,
        report.commit,
        report.mode,
        machine.processors,
        machine.processor,
        machine.kernel,
        machine.load_before,
    );
}

fn row(text: &mut String, line: &Line) {
    let verdict = match line.verdict() {
        Verdict::Missed => "**missed**",
        other => other.word(),
    };
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} | {verdict} |",
        line.what,
        found(line),
        goal(line),
        noise(line),
    );
}

fn missed(text: &mut String, goals: &[&Line], notes: &str) {
    let mut told: Vec<&str> = Vec::new();
    for line in goals {
        let clear = matches!(line.verdict(), Verdict::Met | Verdict::Shown);
        if clear || told.contains(&line.scenario.as_str()) {
            continue;
        }
        if told.is_empty() {
            text.push_str("\n### What was missed, and why\n");
        }
        told.push(&line.scenario);
        let reason = match (section(notes, &line.scenario), line.remark.as_str()) {
            (Some(note), _) => note.to_owned(),
            (None, "") => "Not explained yet.".to_owned(),
            (None, remark) => format!("{remark}."),
        };
        let _ = writeln!(text, "\n**{}** ({}). {reason}", line.what, line.scenario);
    }
}

/// What stands below the heading `## name`.
fn section<'a>(notes: &'a str, name: &str) -> Option<&'a str> {
    let heading = format!("## {name}\n");
    let at = if notes.starts_with(&heading) {
        0
    } else {
        notes.find(&format!("\n{heading}"))? + 1
    };
    let body = &notes[at + heading.len()..];
    let end = body.find("\n## ").unwrap_or(body.len());
    Some(body[..end].trim()).filter(|body| !body.is_empty())
}

fn runs(text: &mut String, runs: &[Run]) {
    if runs.is_empty() {
        return;
    }
    text.push_str(
        "\n## Runs\n\nProcessor time is that of one operation, in microseconds; latencies are in \
         microseconds.\n\n\
         | scenario | load | turn | operations/s | server CPU | client CPU | p50 | p90 | p99 | \
         p99.9 | max | failed |\n\
         |---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for run in runs {
        let sample = &run.sample;
        let latency = &sample.latency_us;
        let server = sample
            .server_cpu_us_per_op()
            .map_or_else(String::new, figure);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {server} | {} | {} | {} | {} | {} | {} | {} |",
            run.scenario,
            run.load,
            run.place,
            figure(sample.ops_per_second()),
            figure(sample.client_cpu_us_per_op()),
            figure(latency.p50),
            figure(latency.p90),
            figure(latency.p99),
            figure(latency.p999),
            figure(latency.max),
            sample.errors,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::section;

    #[test]
    fn a_section_ends_at_the_next() {
        let notes = "# Notes\n\n## kv-get\n\nToo slow.\nBecause.\n\n## kv-get-more\n\nNo.\n";
        assert_eq!(section(notes, "kv-get"), Some("Too slow.\nBecause."));
        assert_eq!(section(notes, "kv-get-more"), Some("No."));
        assert_eq!(section(notes, "kv"), None);
        assert_eq!(section("## a\n\n## b\nx", "a"), None);
    }
}
