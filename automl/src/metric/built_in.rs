//! The metrics of this crate.

use super::rule::{Metric, Rule};
use super::score::Scored;
use super::{Curve, LossSums};
use crate::features::TargetCoding;
use crate::task::Kind;

/// A metric that follows from the usual sums.
struct BuiltIn {
    name: &'static str,
    kind: Kind,
    larger: bool,
    value: fn(&Scored, f64) -> Option<f64>,
    error: fn(&Scored, f64) -> Option<f64>,
}

impl Rule for BuiltIn {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, kind: Kind) -> bool {
        kind == self.kind
    }

    fn larger_is_better(&self) -> bool {
        self.larger
    }

    fn value(&self, scored: &Scored, target: &TargetCoding) -> Option<f64> {
        figure(self.value, self.kind, scored, target)
    }

    fn standard_error(&self, scored: &Scored, target: &TargetCoding) -> Option<f64> {
        figure(self.error, self.kind, scored, target)
    }
}

fn figure(
    of: fn(&Scored, f64) -> Option<f64>,
    kind: Kind,
    scored: &Scored,
    target: &TargetCoding,
) -> Option<f64> {
    let (is, scale) = match target {
        TargetCoding::Classes { .. } => (Kind::Classification, 1.0),
        TargetCoding::Number { scale, .. } => (Kind::Regression, *scale),
    };
    if is != kind || scored.losses.rows == 0 {
        return None;
    }
    of(scored, scale).filter(|value| value.is_finite())
}

const fn classes(
    name: &'static str,
    larger: bool,
    value: fn(&Scored, f64) -> Option<f64>,
    error: fn(&Scored, f64) -> Option<f64>,
) -> BuiltIn {
    BuiltIn {
        name,
        kind: Kind::Classification,
        larger,
        value,
        error,
    }
}

const fn number(
    name: &'static str,
    larger: bool,
    value: fn(&Scored, f64) -> Option<f64>,
    error: fn(&Scored, f64) -> Option<f64>,
) -> BuiltIn {
    BuiltIn {
        name,
        kind: Kind::Regression,
        larger,
        value,
        error,
    }
}

static AUC: BuiltIn = classes(
    "auc",
    true,
    |scored, _| mean_over(&scored.curves, Curve::auc),
    |scored, _| mean_over(&scored.curves, Curve::auc_standard_error),
);
static LOG_LOSS: BuiltIn = classes(
    "log_loss",
    false,
    |scored, _| Some(scored.losses.mean()),
    |scored, _| Some(scored.losses.standard_error()),
);
static PR_AUC: BuiltIn = classes(
    "pr_auc",
    true,
    |scored, _| mean_over(&scored.curves, Curve::pr_auc),
    |_, _| None,
);
static KS: BuiltIn = classes(
    "ks",
    true,
    |scored, _| mean_over(&scored.curves, Curve::kolmogorov_smirnov),
    |_, _| None,
);
static BRIER: BuiltIn = classes(
    "brier",
    false,
    |scored, _| Some(scored.losses.brier / scored.losses.rows as f64),
    |scored, _| {
        error_of_mean(
            &scored.losses,
            scored.losses.brier,
            scored.losses.brier_squared,
        )
    },
);
static ACCURACY: BuiltIn = classes(
    "accuracy",
    true,
    |scored, _| Some(scored.losses.correct as f64 / scored.losses.rows as f64),
    |scored, _| {
        let correct = scored.losses.correct as f64;
        error_of_mean(&scored.losses, correct, correct)
    },
);
static RMSE: BuiltIn = number(
    "rmse",
    false,
    |scored, scale| Some(libm::sqrt(scored.losses.mean()) * scale),
    // The delta method: the error of a root is that of the square over twice the root.
    |scored, scale| {
        let root = libm::sqrt(scored.losses.mean());
        Some(scored.losses.standard_error() / (2.0 * root) * scale)
    },
);
static R2: BuiltIn = number(
    "r2",
    true,
    |scored, _| {
        let sums = &scored.losses;
        let spread = sums.target_spread();
        (spread > 0.0).then(|| 1.0 - sums.loss / spread)
    },
    // As if the spread of the target were known.
    |scored, _| {
        let sums = &scored.losses;
        let spread = sums.target_spread() / sums.rows as f64;
        (spread > 0.0).then(|| sums.standard_error() / spread)
    },
);
static MAE: BuiltIn = number(
    "mae",
    false,
    |scored, scale| Some(scored.losses.absolute / scored.losses.rows as f64 * scale),
    |scored, scale| {
        let sums = &scored.losses;
        error_of_mean(sums, sums.absolute, sums.loss).map(|error| error * scale)
    },
);

/// In the order of reports.
pub(super) static BUILT_IN: [&dyn Rule; 9] = [
    &AUC, &LOG_LOSS, &PR_AUC, &KS, &BRIER, &ACCURACY, &RMSE, &R2, &MAE,
];

impl Metric {
    /// Area under the receiver operating characteristic curve; for more than two classes the
    /// mean over classes, each against the rest.
    pub const AUC: Self = Self::of(&AUC);
    /// Mean negative log-likelihood, in nats.
    pub const LOG_LOSS: Self = Self::of(&LOG_LOSS);
    /// Area under the precision-recall curve (mean over classes).
    pub const PR_AUC: Self = Self::of(&PR_AUC);
    /// Largest distance between the two classes' score distributions (Kolmogorov and Smirnov;
    /// mean over classes), as banks report it.
    pub const KS: Self = Self::of(&KS);
    /// Mean squared distance between the probabilities and what happened, summed over
    /// classes (for two classes over the positive one alone). Brier 1950.
    pub const BRIER: Self = Self::of(&BRIER);
    /// Share of rows whose likeliest class is the right one.
    pub const ACCURACY: Self = Self::of(&ACCURACY);
    /// Root of the mean squared error, in the target's unit.
    pub const RMSE: Self = Self::of(&RMSE);
    /// Share of the target's variance explained.
    pub const R2: Self = Self::of(&R2);
    /// Mean absolute error, in the target's unit.
    pub const MAE: Self = Self::of(&MAE);
}

/// Standard error of a mean, from a sum and a sum of squares over the rows.
fn error_of_mean(sums: &LossSums, sum: f64, squares: f64) -> Option<f64> {
    if sums.rows < 2 {
        return None;
    }
    let rows = sums.rows as f64;
    let mean = sum / rows;
    let variance = (squares / rows - mean * mean).max(0.0);
    Some(libm::sqrt(variance / (rows - 1.0)))
}

/// The mean over the curves that have a value; the mean of standard errors is
/// an upper bound for that of the mean.
pub(super) fn mean_over(curves: &[Curve], figure: impl Fn(&Curve) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = curves.iter().filter_map(figure).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
