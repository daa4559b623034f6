//! Exact sums of losses, with what standard errors need.

use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::Head;
use crate::fixed::FixedPoint;

/// Log-losses are cut at 2^5 = 32 nats, a probability of 1e-14.
const LOG_LOSS_EXPONENT: i32 = 5;
/// Errors of numbers are cut at 2^5 = 32 target scales.
const ERROR_EXPONENT: i32 = 5;
/// Smallest probability a log-loss is taken of.
const SMALLEST_PROBABILITY: f64 = 1e-14;

/// Segments a [`LossSums`] takes in a part.
pub(crate) const SEGMENTS: usize = 6; // one of counts, five of sums

/// Sums over rows of one model's losses. For classes the loss is the negative
/// log-likelihood in nats; for numbers the squared error in target scales.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Rows.
    pub rows: u64,
    /// Rows whose likeliest class is right (0 for numbers).
    pub correct: u64,
    /// Σ loss.
    pub loss: f64,
    /// Σ loss².
    pub loss_squared: f64,
    /// Σ of squared distances between probabilities and what happened, over classes (over the
    /// second of two); 0 for numbers.
    pub brier: f64,
    /// Σ of the squares of those.
    pub brier_squared: f64,
    /// Σ |error| (0 for classes).
    pub absolute: f64,
    /// Σ target (0 for classes).
    pub target: f64,
    /// Σ target² (0 for classes).
    pub target_squared: f64,
}

/// One site's running integer sums.
#[derive(Clone, Debug)]
pub(crate) struct LossCounter {
    head: Head,
    fixed: [FixedPoint; 5],
    rows: u64,
    correct: u64,
    sums: [i64; 5],
}

/// For classes: loss, its square, Brier's distance (at most 2), its square, nothing. For numbers:
/// squared error, its square, absolute error, target, its square.
fn fixed_points(head: Head, rows: u64) -> [FixedPoint; 5] {
    let exponents = match head {
        Head::Number => [
            2 * ERROR_EXPONENT,
            4 * ERROR_EXPONENT,
            ERROR_EXPONENT,
            ERROR_EXPONENT,
            2 * ERROR_EXPONENT,
        ],
        _ => [LOG_LOSS_EXPONENT, 2 * LOG_LOSS_EXPONENT, 1, 2, 0],
    };
    exponents.map(|exponent| FixedPoint::new(rows, exponent))
}

impl LossCounter {
    /// Nothing counted yet; `rows` bounds the rows of the whole federation.
    pub(crate) fn new(head: Head, rows: u64) -> Self {
        Self {
            head,
            fixed: fixed_points(head, rows),
            rows: 0,
            correct: 0,
            sums: [0; 5],
        }
    }

    pub(crate) fn segments(head: Head, rows: u64) -> Vec<Segment> {
        let mut segments = vec![Segment::Count {
            max: rows,
            count: 2,
        }];
        segments.extend(fixed_points(head, rows).iter().map(|f| f.segment(1)));
        segments
    }

    /// Adds a row: `scores` as the model gives them, `target` a class index or
    /// a scaled number.
    pub(crate) fn add(&mut self, scores: &[f64], target: f64) {
        self.rows += 1;
        let values = match self.head {
            Head::Number => {
                let (error, target) = error(scores, target);
                let square = error * error;
                [
                    square,
                    square * square,
                    error.abs(),
                    target,
                    target * target,
                ]
            }
            Head::Binary | Head::Classes(_) => {
                let class = target as usize;
                self.correct += u64::from(likeliest(scores) == class);
                let loss = log_loss(scores, class);
                let brier = brier(self.head, scores, class);
                [loss, loss * loss, brier, brier * brier, 0.0]
            }
        };
        for ((sum, fixed), value) in self.sums.iter_mut().zip(&self.fixed).zip(values) {
            *sum += fixed.row(value);
        }
    }

    pub(crate) fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        out.count(self.rows)?;
        out.count(self.correct)?;
        self.sums.iter().try_for_each(|sum| out.integer(*sum))
    }
}

/// A number's error and the number itself, both cut to the bound.
fn error(scores: &[f64], target: f64) -> (f64, f64) {
    let bound = libm::ldexp(1.0, ERROR_EXPONENT);
    let target = target.clamp(-bound, bound);
    ((scores[0] - target).clamp(-bound, bound), target)
}

fn log_loss(scores: &[f64], class: usize) -> f64 {
    -libm::log(scores[class].max(SMALLEST_PROBABILITY))
}

/// One row's loss, as [`LossSums`] sums it.
pub(crate) fn loss(head: Head, scores: &[f64], target: f64) -> f64 {
    match head {
        Head::Number => {
            let (error, _) = error(scores, target);
            error * error
        }
        Head::Binary | Head::Classes(_) => log_loss(scores, target as usize),
    }
}

/// Squared distance between the probabilities and the class that happened: over all classes, or
/// over the positive one alone where there are two.
fn brier(head: Head, scores: &[f64], class: usize) -> f64 {
    let square = |at: usize, score: f64| {
        let distance = score - f64::from(u8::from(at == class));
        distance * distance
    };
    match head {
        Head::Binary => square(1, scores[1]),
        _ => {
            let all = scores.iter().enumerate();
            all.map(|(at, score)| square(at, *score)).sum()
        }
    }
}

/// Index of the largest score; the first one of equals.
pub(crate) fn likeliest(scores: &[f64]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

/// How Σ loss and Σ loss² over at most so many rows are rounded.
pub(crate) fn loss_points(head: Head, rows: u64) -> [FixedPoint; 2] {
    let [loss, squared, ..] = fixed_points(head, rows);
    [loss, squared]
}

impl LossSums {
    /// Reads the sums from a part's totals, from segment `first` on.
    pub(crate) fn read(totals: &PartTotals<'_>, first: usize, head: Head, rows: u64) -> Self {
        let counts = totals.counts(first);
        let fixed = fixed_points(head, rows);
        let value = |at: usize| fixed[at].value(totals.integers(first + 1 + at)[0]);
        let sums = Self {
            rows: counts[0],
            correct: counts[1],
            loss: value(0),
            loss_squared: value(1),
            ..Self::default()
        };
        match head {
            Head::Number => Self {
                absolute: value(2),
                target: value(3),
                target_squared: value(4),
                ..sums
            },
            Head::Binary | Head::Classes(_) => Self {
                brier: value(2),
                brier_squared: value(3),
                ..sums
            },
        }
    }

    /// Σ (target - mean target)², in squared target scales; 0 for classes.
    #[must_use]
    pub fn target_spread(&self) -> f64 {
        if self.rows == 0 {
            return 0.0;
        }
        self.target_squared - self.target * self.target / self.rows as f64
    }

    /// Mean loss; infinite when there are no rows, so that it never wins.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.rows == 0 {
            return f64::INFINITY;
        }
        self.loss / self.rows as f64
    }

    /// Standard error of the mean loss.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        if self.rows < 2 {
            return f64::INFINITY;
        }
        let rows = self.rows as f64;
        let mean = self.loss / rows;
        let variance = (self.loss_squared / rows - mean * mean).max(0.0);
        libm::sqrt(variance / (rows - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_loss_and_its_error_match_the_definition() {
        let rows = [([0.2, 0.8], 1.0), ([0.7, 0.3], 0.0), ([0.6, 0.4], 1.0)];
        let mut counter = LossCounter::new(Head::Binary, 3);
        for (scores, target) in rows {
            counter.add(&scores, target);
        }
        let losses = [-(0.8f64.ln()), -(0.7f64.ln()), -(0.4f64.ln())];
        let mean = losses.iter().sum::<f64>() / 3.0;
        let value = |at: usize| counter.fixed[at].value(counter.sums[at]);
        assert_eq!((counter.rows, counter.correct), (3, 2));
        assert!((value(0) / 3.0 - mean).abs() < 1e-9);
        let sums = LossSums {
            rows: 3,
            loss: value(0),
            loss_squared: value(1),
            ..LossSums::default()
        };
        let variance = losses.iter().map(|l| (l - mean) * (l - mean)).sum::<f64>() / 2.0;
        assert!((sums.standard_error() - (variance / 3.0).sqrt()).abs() < 1e-7);
    }

    #[test]
    fn certain_and_wrong_is_finite() {
        let mut counter = LossCounter::new(Head::Binary, 1);
        counter.add(&[1.0, 0.0], 1.0);
        let loss = counter.fixed[0].value(counter.sums[0]);
        assert!((loss - 32.0).abs() < 0.5, "{loss}");
    }
}
