//! The points table of a scorecard, as a bank prints it.

use serde::{Deserialize, Serialize};

use crate::family::additive::{AdditiveModel, Term};
use crate::features::{BinColumn, Pipeline};

/// How log-odds become points. Siddiqi, *Credit Risk Scorecards*, 2006, chapter 6.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Score at the base odds.
    pub base_score: f64,
    /// Odds of the negative against the positive class (good against bad, where the
    /// positive class is the default) at the base score; positive.
    pub base_odds: f64,
    /// Points that double the odds; positive. More points are less risk.
    pub points_to_double: f64,
}

impl Default for Scaling {
    /// 600 points at 50 to 1, 20 points double the odds.
    fn default() -> Self {
        Self {
            base_score: 600.0,
            base_odds: 50.0,
            points_to_double: 20.0,
        }
    }
}

impl Scaling {
    /// Points of one unit of log-odds.
    fn factor(&self) -> f64 {
        self.points_to_double / std::f64::consts::LN_2
    }

    /// The score of log-odds of the positive class.
    #[must_use]
    pub fn score(&self, logit: f64) -> f64 {
        self.base_score - self.factor() * (libm::log(self.base_odds) + logit)
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointsRow {
    /// The column of the table.
    pub column: String,
    /// What a row holds that gets these points, in words.
    pub condition: String,
    /// The pipeline's bins that meet it.
    pub bins: Vec<u8>,
    /// Weight of evidence, averaged over the folds that use the column.
    pub woe: f64,
    /// Points as printed.
    pub points: i64,
    /// Points before rounding.
    pub exact: f64,
}

/// A scorecard's points: the base points and one line of each column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointsTable {
    /// How log-odds become points.
    pub scaling: Scaling,
    /// What every row starts from, as printed.
    pub base: i64,
    /// What every row starts from, before rounding.
    pub base_exact: f64,
    /// The lines, column by column.
    pub rows: Vec<PointsRow>,
}

/// What one bin of a column is worth.
#[derive(Clone, Copy, Default, PartialEq)]
struct Worth {
    woe: f64,
    logit: f64,
}

impl PointsTable {
    /// The table of a scorecard: the average of its folds, which is what it predicts.
    #[must_use]
    pub fn of(model: &AdditiveModel, pipeline: &Pipeline, scaling: Scaling) -> Self {
        let columns = pipeline.bin_columns();
        Self::with(model, &columns, scaling, |at, bins| {
            pipeline.bins_name(at, bins)
        })
    }

    /// As [`PointsTable::of`], with conditions in the words of `name`.
    pub(crate) fn with(
        model: &AdditiveModel,
        columns: &[BinColumn],
        scaling: Scaling,
        name: impl Fn(usize, &[u8]) -> String,
    ) -> Self {
        let folds = model.folds.len().max(1) as f64;
        let intercepts = model.folds.iter().map(|fold| fold.coefficients[0][0]);
        let base_exact = scaling.score(intercepts.sum::<f64>() / folds);
        let mut rows = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            let worth = worth(model, at, column.bins);
            for (bins, worth) in alike(&worth, column.ordered) {
                let exact = -scaling.factor() * worth.logit;
                rows.push(PointsRow {
                    column: column.name.clone(),
                    condition: name(at, &bins),
                    bins,
                    woe: worth.woe,
                    points: libm::round(exact) as i64,
                    exact,
                });
            }
        }
        Self {
            scaling,
            base: libm::round(base_exact) as i64,
            base_exact,
            rows,
        }
    }

    /// The printed score of a row of bins: `names` are the pipeline's columns.
    #[must_use]
    pub fn score(&self, names: &[String], bins: &[u8]) -> i64 {
        let mut score = self.base;
        for row in &self.rows {
            let column = names.iter().position(|name| *name == row.column);
            let bin = column.and_then(|column| bins.get(column));
            if bin.is_some_and(|bin| row.bins.contains(bin)) {
                score += row.points;
            }
        }
        score
    }
}

/// What each bin of a column is worth; empty when no fold uses it.
fn worth(model: &AdditiveModel, at: usize, bins: usize) -> Vec<Worth> {
    let mut worth = vec![Worth::default(); bins];
    let mut users = 0.0;
    for fold in &model.folds {
        // The intercept stands before the terms.
        let coefficients = fold.coefficients[0][1..].iter();
        for (term, coefficient) in fold.design.terms.iter().zip(coefficients) {
            if let Term::Scaled { column, values } = term
                && usize::from(*column) == at
                && *coefficient != 0.0
            {
                users += 1.0;
                for (worth, value) in worth.iter_mut().zip(values) {
                    worth.woe += value;
                    worth.logit += coefficient * value;
                }
            }
        }
    }
    if users == 0.0 {
        return Vec::new();
    }
    let folds = model.folds.len() as f64;
    for worth in &mut worth {
        worth.woe /= users;
        worth.logit /= folds;
    }
    worth
}

/// Bins of equal worth together: neighbours where the column has an order, any
/// otherwise. Missing values come last.
fn alike(worth: &[Worth], ordered: bool) -> Vec<(Vec<u8>, Worth)> {
    let mut lines: Vec<(Vec<u8>, Worth)> = Vec::new();
    for (bin, worth) in worth.iter().enumerate().skip(1) {
        let place = if ordered {
            lines
                .len()
                .checked_sub(1)
                .filter(|at| lines[*at].1 == *worth)
        } else {
            lines.iter().position(|(_, known)| known == worth)
        };
        match place {
            Some(place) => lines[place].0.push(bin as u8),
            None => lines.push((vec![bin as u8], *worth)),
        }
    }
    if let Some(missing) = worth.first() {
        lines.push((vec![0], *missing));
    }
    lines
}
