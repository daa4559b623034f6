//! Scoring a model on validation or test rows.

use serde::{Deserialize, Serialize};

use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::{FoldModel, Head, MAX_FOLDS};
use crate::features::TargetCoding;
use crate::fixed::MAX_ROWS;
use crate::metric::curve::{BINS, Curve};
use crate::metric::sums::{LossCounter, LossSums, SEGMENTS};
use crate::object::ObjectId;
use crate::site::{Rows as SiteRows, Slot};
use crate::task::Metric;

/// Which rows a model is scored on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Each fold's validation rows, by the model that did not see them.
    Validation,
    /// The sealed test rows, by the average of the fold models.
    Test,
}

/// Asks for a model's loss sums and, if wanted, its curves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorePart {
    /// The pipeline the model takes its columns from.
    pub pipeline: ObjectId,
    /// The model.
    pub model: ObjectId,
    /// Which rows.
    pub on: Rows,
    /// What the model's scores mean.
    pub head: Head,
    /// Folds of the model.
    pub folds: u8,
    /// Rows of the whole federation: bounds every sum.
    pub rows: u64,
    /// Whether to return score bins too, for the areas under curves.
    pub curves: bool,
}

/// Loss sums and curves of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Sums of losses.
    pub losses: LossSums,
    /// One curve for two classes, one per class for more, none for numbers.
    pub curves: Vec<Curve>,
}

impl ScorePart {
    fn curve_count(&self) -> usize {
        match self.head {
            _ if !self.curves => 0,
            Head::Binary => 1,
            Head::Classes(classes) => usize::from(classes),
            Head::Number => 0,
        }
    }

    /// Loss sums, then positives and negatives per bin for each curve.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let mut segments = LossCounter::segments(self.head, self.rows);
        if self.curve_count() > 0 {
            segments.push(Segment::Count {
                max: self.rows,
                count: self.curve_count() * 2 * BINS,
            });
        }
        segments
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.head.check()?;
        check_rows_and_folds(self.rows, self.folds)
    }

    pub(crate) fn answer(
        &self,
        model: &dyn FoldModel,
        rows: &SiteRows,
        out: &mut Encoder,
    ) -> Result<(), EncodeError> {
        let mut losses = LossCounter::new(self.head, self.rows);
        let mut curves = vec![Curve::default(); self.curve_count()];
        let mut scores = vec![0.0; self.head.scores()];
        for (index, slot) in rows.slots.iter().enumerate() {
            match (self.on, *slot) {
                (Rows::Test, _) => model.predict_average(rows.row(index), &mut scores),
                (Rows::Validation, Slot::Fold(fold)) if fold < self.folds => {
                    model.predict(usize::from(fold), rows.row(index), &mut scores);
                }
                (Rows::Validation, _) => continue,
            }
            let target = rows.targets[index];
            losses.add(&scores, target);
            if let [curve] = curves.as_mut_slice() {
                curve.add(scores[1], target == 1.0);
            } else {
                for (class, curve) in curves.iter_mut().enumerate() {
                    curve.add(scores[class], target as usize == class);
                }
            }
        }
        losses.encode(out)?;
        for curve in &curves {
            for count in curve.positives.iter().chain(&curve.negatives) {
                out.count(*count)?;
            }
        }
        Ok(())
    }

    pub(crate) fn read(&self, totals: &PartTotals<'_>) -> Scored {
        let losses = LossSums::read(totals, 0, self.head, self.rows);
        if self.curve_count() == 0 {
            return Scored {
                losses,
                curves: Vec::new(),
            };
        }
        let counts = totals.counts(SEGMENTS);
        let curves = counts
            .chunks_exact(2 * BINS)
            .map(|both| Curve {
                positives: both[..BINS].to_vec(),
                negatives: both[BINS..].to_vec(),
            })
            .collect();
        Scored { losses, curves }
    }
}

pub(crate) fn check_rows_and_folds(rows: u64, folds: u8) -> Result<(), String> {
    if rows == 0 || rows > MAX_ROWS {
        return Err(format!("{rows} rows, allowed are 1 to {MAX_ROWS}"));
    }
    if folds == 0 || folds > MAX_FOLDS {
        return Err(format!("{folds} folds, allowed are 1 to {MAX_FOLDS}"));
    }
    Ok(())
}

/// Figures of a model; those that do not apply, or that the rows do not allow
/// (one class only), are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Area under the ROC curve; for more than two classes the mean over
    /// classes, each against the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// Its standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc_se: Option<f64>,
    /// How far binning can have moved `auc` at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc_bound: Option<f64>,
    /// Area under the precision-recall curve (mean over classes as for `auc`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pr_auc: Option<f64>,
    /// Mean log-loss in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_loss: Option<f64>,
    /// Its standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_loss_se: Option<f64>,
    /// Share of rows whose likeliest class is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Root mean squared error, in the target's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
    /// Share of variance explained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
    /// Mean absolute error, in the target's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
    /// Rows the figures are over.
    pub rows: u64,
}

impl Metrics {
    /// The figures that follow from these sums.
    #[must_use]
    pub fn from_scored(scored: &Scored, target: &TargetCoding) -> Self {
        let sums = &scored.losses;
        let rows = sums.rows as f64;
        let mut metrics = Self {
            rows: sums.rows,
            ..Self::default()
        };
        if sums.rows == 0 {
            return metrics;
        }
        match target {
            TargetCoding::Number { scale, .. } => {
                metrics.rmse = Some(libm::sqrt(sums.mean()) * scale);
                metrics.mae = Some(sums.absolute / rows * scale);
                let spread = sums.target_squared - sums.target * sums.target / rows;
                metrics.r2 = (spread > 0.0).then(|| 1.0 - sums.loss / spread);
            }
            TargetCoding::Classes { .. } => {
                metrics.log_loss = Some(sums.mean());
                metrics.log_loss_se = finite(sums.standard_error());
                metrics.accuracy = Some(sums.correct as f64 / rows);
                metrics.auc = mean_over(&scored.curves, Curve::auc);
                metrics.auc_se = mean_over(&scored.curves, Curve::auc_standard_error);
                metrics.auc_bound = mean_over(&scored.curves, Curve::auc_bound);
                metrics.pr_auc = mean_over(&scored.curves, Curve::pr_auc);
            }
        }
        metrics
    }

    /// The figure a task ranks by.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Auc => self.auc,
            Metric::LogLoss => self.log_loss,
            Metric::PrAuc => self.pr_auc,
            Metric::Accuracy => self.accuracy,
            Metric::Rmse => self.rmse,
            Metric::R2 => self.r2,
            Metric::Mae => self.mae,
        }
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The mean over the curves that have a value; the mean of standard errors is
/// an upper bound for that of the mean.
fn mean_over(curves: &[Curve], figure: impl Fn(&Curve) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = curves.iter().filter_map(figure).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
