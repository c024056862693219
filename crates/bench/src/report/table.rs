//! The table at the end of a run, for a terminal.

use super::with_unit;
use crate::scenario::{Line, Target};

const HEAD: [&str; 5] = ["figure", "found", "goal", "noise", ""];

/// One row for each line, with the columns in line.
pub fn table(lines: &[Line]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(lines.iter().map(row));
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for [what, found, goal, noise, verdict] in &rows {
        let [w0, w1, w2, w3, _] = widths;
        let line = format!("{what:<w0$}  {found:>w1$}  {goal:>w2$}  {noise:>w3$}  {verdict}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(line: &Line) -> [String; HEAD.len()] {
    [
        line.what.clone(),
        found(line),
        goal(line),
        noise(line),
        line.verdict().word().to_owned(),
    ]
}

/// The figure of a line.
pub(super) fn found(line: &Line) -> String {
    line.value
        .map_or_else(|| "-".to_owned(), |value| with_unit(value, &line.unit))
}

/// The goal of a line.
pub(super) fn goal(line: &Line) -> String {
    match line.target {
        None => String::new(),
        Some(Target::AtLeast(goal)) => format!("≥ {}", with_unit(goal, &line.unit)),
        Some(Target::AtMost(goal)) => format!("≤ {}", with_unit(goal, &line.unit)),
    }
}

/// The noise of a line.
pub(super) fn noise(line: &Line) -> String {
    line.noise
        .map_or_else(String::new, |noise| format!("{:.1} %", noise * 100.0))
}
