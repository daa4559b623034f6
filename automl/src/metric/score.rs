//! Scoring a model on validation or test rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::{FoldModel, Head, MAX_FOLDS};
use crate::features::TargetCoding;
use crate::fixed::MAX_ROWS;
use crate::metric::built_in::mean_over;
use crate::metric::counter::{ScoreCounter, ScoreShape};
use crate::metric::curve::Curve;
use crate::metric::rule::Metric;
use crate::metric::sums::LossSums;
use crate::object::ObjectId;
use crate::site::{Rows as SiteRows, Slot};

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
    /// A metric with sums of its own, if the task ranks by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
}

/// Loss sums and curves of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Sums of losses.
    pub losses: LossSums,
    /// One curve for two classes, one per class for more, none for numbers.
    pub curves: Vec<Curve>,
    /// The sums of the metric that has some of its own.
    pub own: Vec<f64>,
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

    fn shape(&self) -> ScoreShape {
        ScoreShape {
            head: self.head,
            rows: self.rows,
            curves: self.curve_count(),
            metric: self.metric,
        }
    }

    /// Loss sums, then positives and negatives per bin for each curve.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        self.shape().segments()
    }

    /// Checks the caps.
    ///
    /// # Errors
    /// Names the first one that is broken.
    pub fn check(&self) -> Result<(), String> {
        self.head.check()?;
        check_rows_and_folds(self.rows, self.folds)
    }

    /// A site's sums over these rows.
    ///
    /// # Errors
    /// When there are more rows than the part allows for.
    pub fn answer(
        &self,
        model: &dyn FoldModel,
        rows: &SiteRows,
        out: &mut Encoder,
    ) -> Result<(), EncodeError> {
        let mut counter = ScoreCounter::new(self.shape());
        let mut scores = vec![0.0; self.head.scores()];
        for (index, slot) in rows.slots.iter().enumerate() {
            match (self.on, *slot) {
                (Rows::Test, _) => model.predict_average(rows.row(index), &mut scores),
                (Rows::Validation, Slot::Fold(fold)) if fold < self.folds => {
                    model.predict(usize::from(fold), rows.row(index), &mut scores);
                }
                (Rows::Validation, _) => continue,
            }
            counter.add(&scores, rows.targets[index], 0);
        }
        counter.encode(out)
    }

    /// Reads the sums from the first segments of a part's totals.
    #[must_use]
    pub fn read(&self, totals: &PartTotals<'_>) -> Scored {
        self.shape().read(totals)
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
    /// Largest distance between the classes' score distributions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ks: Option<f64>,
    /// Brier score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brier: Option<f64>,
    /// Standard errors that are known, by the metric's name, those of `auc` and `log_loss` apart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub standard_errors: BTreeMap<String, f64>,
    /// Figures of metrics that a program added, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, f64>,
    /// Rows the figures are over.
    pub rows: u64,
}

impl Metrics {
    /// The figures that follow from these sums.
    #[must_use]
    pub fn from_scored(scored: &Scored, target: &TargetCoding) -> Self {
        let mut figures = Self {
            rows: scored.losses.rows,
            auc_bound: mean_over(&scored.curves, Curve::auc_bound),
            ..Self::default()
        };
        if scored.losses.rows == 0 {
            return figures;
        }
        for metric in Metric::all() {
            let rule = metric.rule();
            // Sums of its own are there for the one metric that was asked for.
            if rule.exponents().len() > scored.own.len() {
                continue;
            }
            if let Some(value) = rule.value(scored, target) {
                figures.put(metric, value, rule.standard_error(scored, target));
            }
        }
        figures
    }

    fn put(&mut self, metric: Metric, value: f64, error: Option<f64>) {
        let name = metric.name().to_owned();
        let field = match metric.name() {
            "auc" => &mut self.auc,
            "log_loss" => &mut self.log_loss,
            "pr_auc" => &mut self.pr_auc,
            "ks" => &mut self.ks,
            "brier" => &mut self.brier,
            "accuracy" => &mut self.accuracy,
            "rmse" => &mut self.rmse,
            "r2" => &mut self.r2,
            "mae" => &mut self.mae,
            _ => {
                self.other.insert(name.clone(), value);
                &mut None
            }
        };
        *field = Some(value);
        match (metric.name(), error) {
            ("auc", error) => self.auc_se = error,
            ("log_loss", error) => self.log_loss_se = error,
            (_, Some(error)) => {
                self.standard_errors.insert(name, error);
            }
            (_, None) => {}
        }
    }

    /// The figure a task ranks by.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<f64> {
        match metric.name() {
            "auc" => self.auc,
            "log_loss" => self.log_loss,
            "pr_auc" => self.pr_auc,
            "ks" => self.ks,
            "brier" => self.brier,
            "accuracy" => self.accuracy,
            "rmse" => self.rmse,
            "r2" => self.r2,
            "mae" => self.mae,
            other => self.other.get(other).copied(),
        }
    }
}
