//! A figure, its goal, and whether it is met.

use serde::{Deserialize, Serialize};

use crate::compare::Repeats;
use crate::sample::Sample;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// What became of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The figure is what it should be.
    Met,
    /// It is not.
    Missed,
    /// The distance to the goal is smaller than the noise.
    Unclear,
    /// There is no goal: the figure is shown for comparison.
    Shown,
    /// There is no figure.
    NotMeasured,
}

impl Verdict {
    /// In a word or two.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::Missed => "missed",
            Verdict::Unclear => "within the noise",
            Verdict::Shown => "",
            Verdict::NotMeasured => "not measured",
        }
    }
}

/// A line of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The scenario that found it.
    pub scenario: String,
    /// What the figure is.
    pub what: String,
    /// The figure, unless it could not be measured.
    pub value: Option<f64>,
    /// Its unit; empty for a ratio.
    pub unit: String,
    /// What it should be.
    pub target: Option<Target>,
    /// How far two measurements of the same thing were apart, as a fraction.
    pub noise: Option<f64>,
    /// Why there is no figure, or what else to know.
    pub remark: String,
}

impl Line {
    pub(crate) fn new(scenario: &str, what: impl Into<String>) -> Line {
        Line {
            scenario: scenario.to_owned(),
            what: what.into(),
            value: None,
            unit: String::new(),
            target: None,
            noise: None,
            remark: String::new(),
        }
    }

    pub(crate) fn target(mut self, target: Target) -> Line {
        self.target = Some(target);
        self
    }

    pub(crate) fn value(mut self, value: f64, unit: &str) -> Line {
        self.value = Some(value);
        self.unit = unit.to_owned();
        self
    }

    pub(crate) fn repeats(self, figure: Repeats, unit: &str) -> Line {
        let mut line = self.value(figure.value, unit);
        line.noise = Some(figure.noise);
        line
    }

    pub(crate) fn remark(mut self, remark: impl Into<String>) -> Line {
        self.remark = remark.into();
        self
    }

    /// Whether the goal is met.
    pub fn verdict(&self) -> Verdict {
        let (value, target) = match (self.value, self.target) {
            (None, _) => return Verdict::NotMeasured,
            (Some(_), None) => return Verdict::Shown,
            (Some(value), Some(target)) => (value, target),
        };
        let (goal, reached) = match target {
            Target::AtLeast(goal) => (goal, value >= goal),
            Target::AtMost(goal) => (goal, value <= goal),
        };
        let noise = self.noise.unwrap_or(0.0) * value.abs();
        if (value - goal).abs() < noise {
            Verdict::Unclear
        } else if reached {
            Verdict::Met
        } else {
            Verdict::Missed
        }
    }

    /// How much of the goal is reached: 1 is exactly it, more is better, whichever way the goal
    /// points.
    pub fn attainment(&self) -> Option<f64> {
        let value = self.value?;
        let share = match self.target? {
            Target::AtLeast(goal) => value / goal,
            Target::AtMost(goal) => goal / value,
        };
        share.is_finite().then_some(share)
    }
}

/// One run of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// In which scenario.
    pub scenario: String,
    /// Of what.
    pub load: String,
    /// Which turn: A1, B1, B2, A2, or what else it was.
    pub place: String,
    /// What it gave.
    pub sample: Sample,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: f64, target: Target, noise: f64) -> Line {
        Line::new("x", "y")
            .repeats(Repeats { value, noise }, "")
            .target(target)
    }

    #[test]
    fn goals_point_both_ways() {
        assert_eq!(line(0.8, Target::AtLeast(0.7), 0.0).verdict(), Verdict::Met);
        assert_eq!(
            line(0.6, Target::AtLeast(0.7), 0.0).verdict(),
            Verdict::Missed
        );
        assert_eq!(line(0.6, Target::AtMost(0.7), 0.0).verdict(), Verdict::Met);
        assert_eq!(
            line(0.8, Target::AtMost(0.7), 0.0).verdict(),
            Verdict::Missed
        );
        assert_eq!(line(0.7, Target::AtLeast(0.7), 0.0).verdict(), Verdict::Met);
    }

    #[test]
    fn what_noise_can_explain_is_not_claimed() {
        assert_eq!(
            line(0.72, Target::AtLeast(0.7), 0.1).verdict(),
            Verdict::Unclear
        );
        assert_eq!(line(0.9, Target::AtLeast(0.7), 0.1).verdict(), Verdict::Met);
    }

    #[test]
    fn without_figure_or_goal_nothing_is_claimed() {
        let empty = Line::new("x", "y").target(Target::AtLeast(1.0));
        assert_eq!(empty.verdict(), Verdict::NotMeasured);
        assert_eq!(empty.attainment(), None);
        assert_eq!(
            Line::new("x", "y").value(1.0, "s").verdict(),
            Verdict::Shown
        );
    }

    #[test]
    fn attainment_is_above_one_when_the_goal_is_met() {
        assert_eq!(line(8.0, Target::AtLeast(4.0), 0.0).attainment(), Some(2.0));
        assert_eq!(
            line(20.0, Target::AtMost(80.0), 0.0).attainment(),
            Some(4.0)
        );
        assert_eq!(line(0.0, Target::AtMost(80.0), 0.0).attainment(), None);
    }
}
