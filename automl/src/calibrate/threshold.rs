//! From which probability on a row is called positive.

use serde::{Deserialize, Serialize};

use crate::family::sigmoid;
use crate::metric::{BINS, Curve, LOGIT_LIMIT, Metric, bin_of};

/// The bin that begins at a probability of one half.
const HALF: usize = BINS / 2;

/// What a threshold makes as large as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Share of rows that are called rightly.
    Accuracy,
    /// Share of positives that are called so, less the share of negatives that are: both classes
    /// count the same, however rare one is. Youden, *Index for rating diagnostic tests*, 1950.
    Youden,
    /// Harmonic mean of the share of positives that are called so and the share of those called
    /// positive that are. Van Rijsbergen, *Information Retrieval*, 1979.
    F1,
    /// Less cost: what each row called wrongly costs, in a unit of the task's choice.
    Cost {
        /// Of a negative called positive, 1 to [`MAX_COST`].
        false_positive: u32,
        /// Of a positive called negative, 1 to [`MAX_COST`].
        false_negative: u32,
    },
}

/// Largest cost of a row: the sum over 2^53 rows stays far inside an `i128`.
pub const MAX_COST: u32 = 1_000_000;

/// Rows by what they are and what they are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// Positives called positive.
    pub true_positives: u64,
    /// Negatives called positive.
    pub false_positives: u64,
    /// Negatives called negative.
    pub true_negatives: u64,
    /// Positives called negative.
    pub false_negatives: u64,
}

/// The probability from which a champion of two classes calls a row positive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Rows with this probability of the positive class, or a larger one, are called positive.
    pub probability: f64,
    /// What it was chosen by, on validation rows.
    pub rule: Rule,
    /// What came of it on the test rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Confusion>,
}

impl Rule {
    /// The rule of a task that ranks by this metric: accuracy where it does, Youden's index
    /// elsewhere, since the other metrics do not depend on a threshold.
    #[must_use]
    pub fn of(metric: Metric) -> Self {
        if metric == Metric::ACCURACY {
            Self::Accuracy
        } else {
            Self::Youden
        }
    }

    /// In words, after "the threshold is chosen by".
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Accuracy => "accuracy: the most rows called rightly".to_owned(),
            Self::Youden => {
                "Youden's index: both classes count the same, however rare one is".to_owned()
            }
            Self::F1 => {
                "F1: finding positives and being right about them count the same".to_owned()
            }
            Self::Cost {
                false_positive,
                false_negative,
            } => format!(
                "cost: {false_positive} for a negative called positive, {false_negative} for a positive \
                 called negative"
            ),
        }
    }

    /// What is made as large as it can be: a whole number, so that every machine chooses the same.
    fn value(self, rows: Confusion) -> i128 {
        let whole = |count: u64| i128::from(count);
        match self {
            Self::F1 => {
                let found = 2 * whole(rows.true_positives);
                let wrong = whole(rows.false_positives) + whole(rows.false_negatives);
                // 40 bits: rows are below 2^53, and edges that differ by less are as good.
                (found << 40) / (found + wrong).max(1)
            }
            Self::Cost {
                false_positive,
                false_negative,
            } => {
                -(whole(rows.false_positives) * i128::from(false_positive)
                    + whole(rows.false_negatives) * i128::from(false_negative))
            }
            Self::Accuracy => whole(rows.true_positives + rows.true_negatives),
            // Times positives times negatives, so that it is a whole number.
            Self::Youden => {
                let negatives = rows.true_negatives + rows.false_positives;
                let positives = rows.true_positives + rows.false_negatives;
                whole(rows.true_positives) * whole(negatives)
                    - whole(rows.false_positives) * whole(positives)
            }
        }
    }
}

impl Confusion {
    /// When rows from this bin on are called positive.
    fn at(curve: &Curve, bin: usize) -> Self {
        let sum = |counts: &[u64]| counts.iter().sum();
        Self {
            true_positives: sum(&curve.positives[bin..]),
            false_positives: sum(&curve.negatives[bin..]),
            true_negatives: sum(&curve.negatives[..bin]),
            false_negatives: sum(&curve.positives[..bin]),
        }
    }

    /// Share of rows that are called rightly; `None` without rows.
    #[must_use]
    pub fn accuracy(self) -> Option<f64> {
        let right = self.true_positives + self.true_negatives;
        share(right, self.false_positives + self.false_negatives)
    }

    /// Share of positives that are called so.
    #[must_use]
    pub fn sensitivity(self) -> Option<f64> {
        share(self.true_positives, self.false_negatives)
    }

    /// Share of negatives that are called so.
    #[must_use]
    pub fn specificity(self) -> Option<f64> {
        share(self.true_negatives, self.false_positives)
    }
}

fn share(part: u64, rest: u64) -> Option<f64> {
    let all = part + rest;
    (all > 0).then(|| part as f64 / all as f64)
}

impl Threshold {
    /// The best edge of a bin for these rows; among equals the middle of the first run, away from
    /// rows on both sides. Accuracy leaves one half only for a gain above its standard error:
    /// the best of a thousand edges is the best by chance otherwise. `None` where one class is
    /// missing.
    pub(super) fn choose(curve: &Curve, rule: Rule) -> Option<Self> {
        let all = Confusion::at(curve, 0);
        if all.true_positives == 0 || all.false_positives == 0 {
            return None;
        }
        let values: Vec<i128> = (1..BINS)
            .map(|bin| rule.value(Confusion::at(curve, bin)))
            .collect();
        let best = values.iter().max()?;
        let first = values.iter().position(|value| value == best)?;
        let run = values[first..].iter().take_while(|v| *v == best).count();
        let mut bin = 1 + first + (run - 1) / 2;
        if rule == Rule::Accuracy && !beats_half(curve, bin) {
            bin = HALF;
        }
        Some(Self {
            probability: sigmoid(edge(bin)),
            rule,
            test: None,
        })
    }

    /// What it makes of these rows. Exact: it stands at the edge of a bin.
    #[must_use]
    pub fn confusion(&self, curve: &Curve) -> Confusion {
        let width = 2.0 * LOGIT_LIMIT / BINS as f64;
        let inside = sigmoid(logit(self.probability) + 0.5 * width);
        Confusion::at(curve, bin_of(inside))
    }

    /// Checks what came from elsewhere.
    ///
    /// # Errors
    /// When it is no probability, or its costs are out of range.
    pub fn check(&self) -> Result<(), String> {
        if let Rule::Cost {
            false_positive,
            false_negative,
        } = self.rule
            && ![false_positive, false_negative]
                .iter()
                .all(|it| (1..=MAX_COST).contains(it))
        {
            return Err(format!("a cost that is not from 1 to {MAX_COST}"));
        }
        if self.probability > 0.0 && self.probability < 1.0 {
            Ok(())
        } else {
            Err("a threshold that is no probability".to_owned())
        }
    }
}

/// The logit at which a bin begins.
fn edge(bin: usize) -> f64 {
    -LOGIT_LIMIT + bin as f64 * (2.0 * LOGIT_LIMIT / BINS as f64)
}

fn logit(probability: f64) -> f64 {
    libm::log(probability) - libm::log1p(-probability)
}

/// Whether this edge calls more rows rightly than one half does, by more than a standard error of
/// the difference: only rows between the two are called otherwise.
fn beats_half(curve: &Curve, bin: usize) -> bool {
    let between = bin.min(HALF)..bin.max(HALF);
    let sum = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
    let positives = sum(&curve.positives[between.clone()]);
    let negatives = sum(&curve.negatives[between]);
    let gain = if bin < HALF {
        positives - negatives
    } else {
        negatives - positives
    };
    gain > libm::sqrt(positives + negatives)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(rows: &[(f64, bool, usize)]) -> Curve {
        let mut curve = Curve::default();
        for (probability, positive, count) in rows {
            for _ in 0..*count {
                curve.add(*probability, *positive);
            }
        }
        curve
    }

    #[test]
    fn youden_takes_the_edge_between_the_classes_whatever_their_sizes() {
        // One positive in fifty, and nothing above one half.
        let rare = curve(&[(0.01, false, 4000), (0.2, true, 80), (0.2, false, 20)]);
        let chosen = Threshold::choose(&rare, Rule::Youden).expect("two classes");
        assert!((0.02..0.18).contains(&chosen.probability), "{chosen:?}");
        let confusion = chosen.confusion(&rare);
        assert_eq!(
            confusion,
            Confusion {
                true_positives: 80,
                false_positives: 20,
                true_negatives: 4000,
                false_negatives: 0,
            }
        );
        assert_eq!(confusion.sensitivity(), Some(1.0));
        assert_eq!(confusion.accuracy(), Some(4080.0 / 4100.0));
        assert_eq!(Rule::of(Metric::AUC), Rule::Youden);
    }

    #[test]
    fn accuracy_leaves_one_half_only_for_a_clear_gain() {
        let clear = curve(&[
            (0.3, true, 60),
            (0.3, false, 20),
            (0.1, false, 100),
            (0.9, true, 50),
        ]);
        let chosen = Threshold::choose(&clear, Rule::of(Metric::ACCURACY)).expect("two classes");
        assert!((0.1..0.3).contains(&chosen.probability), "{chosen:?}");
        let chance = curve(&[
            (0.3, true, 41),
            (0.3, false, 39),
            (0.1, false, 100),
            (0.9, true, 50),
        ]);
        let kept = Threshold::choose(&chance, Rule::Accuracy).expect("two classes");
        assert!((kept.probability - 0.5).abs() < 1e-12, "{kept:?}");
        assert_eq!(
            Threshold::choose(&curve(&[(0.3, true, 5)]), Rule::Youden),
            None
        );
    }

    #[test]
    fn costs_move_the_threshold_to_where_a_row_is_worth_calling() {
        // Scores that mean what they say: a row of probability p is worth calling positive where
        // p times the cost of missing it is above 1 - p times the cost of a false alarm.
        let mut rows = Vec::new();
        for percent in 1..100 {
            let p = f64::from(percent) / 100.0;
            rows.push((p, true, percent as usize));
            rows.push((p, false, 100 - percent as usize));
        }
        let scores = curve(&rows);
        for (false_positive, false_negative) in [(1, 1), (1, 9), (3, 1), (1, 4)] {
            let rule = Rule::Cost {
                false_positive,
                false_negative,
            };
            let chosen = Threshold::choose(&scores, rule).expect("two classes");
            let best = f64::from(false_positive) / f64::from(false_positive + false_negative);
            assert!(
                (chosen.probability - best).abs() < 0.016,
                "{chosen:?}, not {best}"
            );
            chosen.check().expect("in range");
        }
    }

    #[test]
    fn f1_is_as_large_as_any_edge_makes_it() {
        let rare = curve(&[
            (0.02, false, 900),
            (0.2, false, 60),
            (0.2, true, 10),
            (0.6, false, 10),
            (0.6, true, 30),
        ]);
        let chosen = Threshold::choose(&rare, Rule::F1).expect("two classes");
        let f1 = |rows: Confusion| {
            let found = 2.0 * rows.true_positives as f64;
            found / (found + (rows.false_positives + rows.false_negatives) as f64)
        };
        let most = (1..BINS)
            .map(|bin| f1(Confusion::at(&rare, bin)))
            .fold(0.0, f64::max);
        assert!((f1(chosen.confusion(&rare)) - most).abs() < 1e-9);
        // 30 of 40 found, 10 wrong: better than 40 of 40 with 70 wrong.
        assert!(
            (most - 0.75).abs() < 1e-9 && chosen.probability > 0.2,
            "{chosen:?}"
        );
    }

    #[test]
    fn rows_are_called_as_the_curve_counts_them() {
        for bin in [1, 2, 300, HALF, 777, BINS - 1] {
            let threshold = Threshold {
                probability: sigmoid(edge(bin)),
                rule: Rule::Youden,
                test: None,
            };
            let mut ramp = Curve::default();
            for at in 0..BINS {
                ramp.positives[at] = 1;
            }
            let called = threshold.confusion(&ramp).true_positives;
            assert_eq!(called as usize, BINS - bin, "bin {bin}");
        }
    }
}
