//! Two loads side by side: A B B A.
//!
//! The order cancels what drifts steadily, a disk that fills or a processor that warms. Each load
//! runs twice, so every comparison contains two of a load with itself: how far those differ is the
//! noise, and a ratio is worth no more than that.

use crate::sample::Sample;

/// The four runs of a comparison.
#[derive(Clone, Debug)]
pub struct Abba {
    /// The first and the last run.
    pub a: [Sample; 2],
    /// The two between.
    pub b: [Sample; 2],
}

impl Abba {
    /// A over B in terms of `figure`, such as operations a second.
    pub fn ratio(&self, figure: impl Fn(&Sample) -> f64) -> Repeats {
        let both = |runs: &[Sample; 2]| [figure(&runs[0]), figure(&runs[1])];
        Repeats::ratio(both(&self.a), both(&self.b))
    }
}

/// A figure that was found twice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeats {
    /// The figure, from both runs of all that it is made of.
    pub value: f64,
    /// How far two runs of the same thing were apart, as a fraction; the worst of all pairs.
    pub noise: f64,
}

impl Repeats {
    /// The mean of two.
    pub fn mean(pair: [f64; 2]) -> Repeats {
        Repeats {
            value: (pair[0] + pair[1]) / 2.0,
            noise: apart(pair),
        }
    }

    /// The ratio of the means.
    pub fn ratio(a: [f64; 2], b: [f64; 2]) -> Repeats {
        let (above, below) = (Repeats::mean(a), Repeats::mean(b));
        let value = if below.value > 0.0 {
            above.value / below.value
        } else {
            0.0
        };
        Repeats {
            value,
            noise: above.noise.max(below.noise),
        }
    }
}

/// The difference as a fraction of the mean.
fn apart(pair: [f64; 2]) -> f64 {
    let mean = (pair[0] + pair[1]) / 2.0;
    if mean > 0.0 {
        (pair[0] - pair[1]).abs() / mean
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ops(count: u64) -> Sample {
        Sample {
            seconds: 1.0,
            ops: count,
            ..Sample::default()
        }
    }

    #[test]
    fn a_steady_drift_cancels_out() {
        // The machine slows down by the same amount from run to run.
        let abba = Abba {
            a: [ops(1000), ops(700)],
            b: [ops(900), ops(800)],
        };
        let ratio = abba.ratio(Sample::ops_per_second);
        assert_eq!(ratio.value, 1.0);
        assert!((ratio.noise - 300.0 / 850.0).abs() < 1e-9);
    }

    #[test]
    fn noise_is_that_of_the_worse_pair() {
        let ratio = Repeats::ratio([100.0, 100.0], [40.0, 60.0]);
        assert_eq!(ratio.value, 2.0);
        assert_eq!(ratio.noise, 0.4);
    }

    #[test]
    fn nothing_over_nothing_is_no_number_to_boast_of() {
        assert_eq!(Repeats::ratio([1.0, 1.0], [0.0, 0.0]).value, 0.0);
        assert_eq!(Repeats::mean([0.0, 0.0]).noise, 0.0);
    }
}
