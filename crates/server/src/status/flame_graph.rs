//! A profile as a picture: stacks over one another, each function as wide as the samples it was met
//! in. Threads stand at the bottom, what they called above. The picture is plain SVG without a
//! script; resting on a box tells the whole name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::pprof_format::Profile;

const WIDTH: f64 = 1200.0;
const ROW: usize = 17;
/// Narrower boxes cannot be seen, only downloaded.
const NARROWEST: f64 = 0.3;
/// Callees above are left out: nobody can look that high, and a tree that deep is not dropped safely.
const DEEPEST: usize = 512;
/// The width of a letter, about.
const LETTER: f64 = 6.6;

/// A function below the same callers, with what it called.
#[derive(Default)]
struct Node<'a> {
    samples: u64,
    callees: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Node<'a> {
    fn add(&mut self, path: impl Iterator<Item = &'a str>, samples: u64) {
        self.samples += samples;
        let mut node = self;
        for name in path.take(DEEPEST) {
            node = node.callees.entry(name).or_default();
            node.samples += samples;
        }
    }

    fn height(&self) -> usize {
        let mut height = 0;
        let mut level: Vec<&Node<'_>> = vec![self];
        while !level.is_empty() {
            height += 1;
            level = level
                .iter()
                .flat_map(|node| node.callees.values())
                .collect();
        }
        height
    }
}

/// The picture of `profile`.
pub(super) fn svg(profile: &Profile) -> String {
    let mut root = Node::default();
    for stack in &profile.stacks {
        let thread = match stack.thread.as_str() {
            "" => "(no name)",
            name => name,
        };
        let callers = stack.frames.iter().rev().map(|frame| frame.name.as_str());
        root.add(std::iter::once(thread).chain(callers), stack.count);
    }
    let rows = root.height();
    let height = (rows + 2) * ROW;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "<?xml version=\"1.0\" standalone=\"no\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"monospace\" font-size=\"11\">\n\
         <text x=\"4\" y=\"13\">{} samples in {:?}, {} in a second of processor time</text>\n",
        root.samples, profile.duration, profile.frequency
    );
    let unit = WIDTH / (root.samples.max(1) as f64);
    let mut waiting = vec![("all", &root, 0.0, 0_usize)];
    while let Some((name, node, left, depth)) = waiting.pop() {
        let width = node.samples as f64 * unit;
        if width < NARROWEST {
            continue;
        }
        let top = height - (depth + 1) * ROW;
        draw(
            &mut text,
            name,
            (left, top, width),
            (node.samples, root.samples),
        );
        let mut at = left;
        for (name, callee) in &node.callees {
            waiting.push((name, callee, at, depth + 1));
            at += callee.samples as f64 * unit;
        }
    }
    text.push_str("</svg>\n");
    text
}

fn draw(
    text: &mut String,
    name: &str,
    (left, top, width): (f64, usize, f64),
    (samples, all): (u64, u64),
) {
    let share = samples as f64 * 100.0 / all.max(1) as f64;
    let letters = ((width - 4.0) / LETTER) as usize;
    let label: String = if letters < 3 {
        String::new()
    } else {
        name.chars().take(letters).collect()
    };
    let _ = writeln!(
        text,
        "<g><title>{}, {samples} samples, {share:.2} %</title><rect x=\"{left:.1}\" y=\"{top}\" \
         width=\"{width:.1}\" height=\"{}\" fill=\"{}\" rx=\"1\"/><text x=\"{:.1}\" \
         y=\"{}\">{}</text></g>",
        escaped(name),
        ROW - 1,
        colour(name),
        left + 2.0,
        top + 12,
        escaped(&label),
    );
}

/// The same name has the same colour, between yellow and red.
fn colour(name: &str) -> String {
    let sum = name.bytes().fold(7_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    format!("rgb({},{},{})", 205 + sum % 50, 90 + sum / 50 % 130, 60)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::pprof_format::tests::{profile, stack};
    use super::*;

    #[test]
    fn boxes_are_as_wide_as_their_samples() {
        let picture = svg(&profile(vec![
            stack("t", &["leaf<u8>", "main"], 3),
            stack("t", &["other", "main"], 1),
        ]));
        for part in [
            "4 samples in 2s",
            "<title>all, 4 samples, 100.00 %</title>",
            "<title>main, 4 samples, 100.00 %</title>",
            "<title>leaf&lt;u8&gt;, 3 samples, 75.00 %</title><rect x=\"0.0\" y=\"34\" width=\"900.0\"",
            "<title>other, 1 samples, 25.00 %</title><rect x=\"900.0\" y=\"34\" width=\"300.0\"",
        ] {
            assert!(picture.contains(part), "{part} in {picture}");
        }
    }

    #[test]
    fn no_samples_and_deep_stacks_are_drawn() {
        assert!(svg(&profile(Vec::new())).contains("0 samples"));
        let names = vec!["f"; 10_000];
        let picture = svg(&profile(vec![stack("", &names, 1)]));
        assert_eq!(picture.matches("<rect").count(), DEEPEST + 1);
    }
}
