//! Probabilities that mean what they say, and the probability from which a row
//! is called positive. Both follow from the counts of a [`Curve`]; no further
//! step is needed.

mod threshold;

pub use threshold::{Confusion, MAX_COST, Rule, Threshold};

use serde::{Deserialize, Serialize};

use crate::family::{sigmoid, softplus};
use crate::metric::Difference;
use crate::metric::{BINS, Curve, LOGIT_LIMIT, bin_of};

/// Largest slope and intercept that a file or an ask may carry: far beyond what any fit gives.
const MOST: f64 = 1e3;
/// Newton steps of a fit: it converges in about five.
const NEWTON_STEPS: usize = 25;

/// Platt's calibration on the logit: a probability p becomes
/// σ(`slope` · ln(p / (1 - p)) + `intercept`). Platt, *Probabilistic outputs for support vector
/// machines*, 1999. The order of rows does not change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platt {
    /// Factor of the logit, above 0; above 1 makes probabilities more extreme.
    pub slope: f64,
    /// Added to it.
    pub intercept: f64,
}

/// The logit in the middle of a bin.
fn middle(bin: usize) -> f64 {
    let width = 2.0 * LOGIT_LIMIT / BINS as f64;
    -LOGIT_LIMIT + (bin as f64 + 0.5) * width
}

impl Platt {
    /// Checks what came from elsewhere.
    ///
    /// # Errors
    /// When it would turn the order of rows round, or is beyond any fit.
    pub fn check(self) -> Result<(), String> {
        let fits = self.slope > 0.0 && self.slope <= MOST && self.intercept.abs() <= MOST;
        if fits {
            Ok(())
        } else {
            Err("a calibration with a slope that is not above 0, or beyond 1000".to_owned())
        }
    }

    fn logit(self, logit: f64) -> f64 {
        self.slope * logit + self.intercept
    }

    /// Calibrates the probabilities of two classes. Logits beyond those of a curve's bins count
    /// as the outermost: nothing is known of them.
    pub fn apply(self, scores: &mut [f64]) {
        if let [negative, positive] = scores {
            let logit = libm::log(*positive) - libm::log1p(-*positive);
            *positive = sigmoid(self.logit(logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)));
            *negative = 1.0 - *positive;
        }
    }

    /// The fit to these counts by Newton steps. Slope and intercept are drawn to 1 and 0 as by
    /// one observation, so that there is a fit where the classes lie apart.
    fn fit(curve: &Curve) -> Option<Self> {
        let mut now = Self {
            slope: 1.0,
            intercept: 0.0,
        };
        let mut loss = now.penalized(curve);
        for _ in 0..NEWTON_STEPS {
            let (gradient, hessian) = now.derivatives(curve);
            let [a, b, c] = hessian;
            let determinant = a * c - b * b;
            let step = [
                (c * gradient[0] - b * gradient[1]) / determinant,
                (a * gradient[1] - b * gradient[0]) / determinant,
            ];
            // Halved until the loss falls: far from the optimum a whole step can overshoot.
            let next = (0..20)
                .map(|halvings| libm::ldexp(1.0, -halvings))
                .find_map(|share| {
                    let next = Self {
                        slope: now.slope - share * step[0],
                        intercept: now.intercept - share * step[1],
                    };
                    let loss_there = next.penalized(curve);
                    (loss_there < loss).then_some((next, loss_there))
                });
            match next {
                Some((next, lower)) => (now, loss) = (next, lower),
                None => break,
            }
        }
        now.check().ok().map(|()| now)
    }

    fn penalized(self, curve: &Curve) -> f64 {
        let (slope, intercept) = (self.slope - 1.0, self.intercept);
        let mut sum = 0.5 * (slope * slope + intercept * intercept);
        for (bin, positives, negatives) in curve.occupied() {
            let logit = self.logit(middle(bin));
            sum += positives * softplus(-logit) + negatives * softplus(logit);
        }
        sum
    }

    /// Gradient, and the three different elements of the Hessian, by slope and intercept.
    fn derivatives(self, curve: &Curve) -> ([f64; 2], [f64; 3]) {
        let mut gradient = [self.slope - 1.0, self.intercept];
        let mut hessian = [1.0, 0.0, 1.0];
        for (bin, positives, negatives) in curve.occupied() {
            let x = middle(bin);
            let p = sigmoid(self.logit(x));
            let rows = positives + negatives;
            let residual = rows * p - positives;
            let weight = rows * p * (1.0 - p);
            gradient[0] += residual * x;
            gradient[1] += residual;
            hessian[0] += weight * x * x;
            hessian[1] += weight * x;
            hessian[2] += weight;
        }
        (gradient, hessian)
    }

    /// How much smaller the log-loss of these counts is after the calibration.
    fn gain(self, curve: &Curve) -> Difference {
        let mut sum = Difference::default();
        for (bin, positives, negatives) in curve.occupied() {
            let (before, after) = (middle(bin), self.logit(middle(bin)));
            for (rows, sign) in [(positives, -1.0), (negatives, 1.0)] {
                let gain = softplus(sign * before) - softplus(sign * after);
                sum.rows += rows as u64;
                sum.gain += rows * gain;
                sum.squared += rows * gain * gain;
            }
        }
        sum
    }

    /// The curve of the calibrated probabilities, each bin taken at its middle.
    fn curve(self, curve: &Curve) -> Curve {
        let mut moved = Curve::default();
        for (bin, (positives, negatives)) in
            curve.positives.iter().zip(&curve.negatives).enumerate()
        {
            let to = bin_of(sigmoid(self.logit(middle(bin))));
            moved.positives[to] += positives;
            moved.negatives[to] += negatives;
        }
        moved
    }
}

/// The calibration that these groups of rows ask for; `None` where the gain in log-loss on each
/// group, as fitted to the others, is not above its standard error in the mean.
#[must_use]
pub fn calibration(groups: &[Curve]) -> Option<Platt> {
    let mut gain = Difference::default();
    for (at, own) in groups.iter().enumerate() {
        let others = groups.iter().enumerate().filter(|(other, _)| *other != at);
        let fitted = Platt::fit(&Curve::sum(others.map(|(_, curve)| curve)))?;
        let one = fitted.gain(own);
        gain.rows += one.rows;
        gain.gain += one.gain;
        gain.squared += one.squared;
    }
    gain.convinces()
        .then(|| Platt::fit(&Curve::sum(groups)))
        .flatten()
}

/// The threshold by `rule`, from the counts of a champion's scores before the calibration; `None` where
/// one class is missing.
#[must_use]
pub fn threshold(curve: &Curve, calibration: Option<Platt>, rule: Rule) -> Option<Threshold> {
    match calibration {
        Some(platt) => Threshold::choose(&platt.curve(curve), rule),
        None => Threshold::choose(curve, rule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Rows whose true logit is `slope` times what the scores say, plus `shift`.
    fn groups(seed: u8, rows: usize, slope: f64, shift: f64) -> Vec<Curve> {
        let mut stream = Stream::new("collegium/test/calibrate/v1", &[&[seed]]);
        let mut groups = vec![Curve::default(); 5];
        for row in 0..rows {
            let logit = 1.5 * stream.normal();
            let positive = stream.unit() < sigmoid(slope * logit + shift);
            groups[row % 5].add(sigmoid(logit), positive);
        }
        groups
    }

    #[test]
    fn a_distortion_is_found_and_undone() {
        for seed in 1..4 {
            let groups = groups(seed, 20_000, 1.7, -0.6);
            let platt = calibration(&groups).expect("far off");
            assert!((platt.slope - 1.7).abs() < 0.1, "seed {seed}: {platt:?}");
            assert!(
                (platt.intercept + 0.6).abs() < 0.1,
                "seed {seed}: {platt:?}"
            );
            // At the optimum the gradient is zero.
            let (gradient, _) = platt.derivatives(&Curve::sum(&groups));
            assert!(gradient.iter().all(|g| g.abs() < 1e-3), "{gradient:?}");
            let gain = platt.gain(&Curve::sum(&groups));
            assert!(gain.gain / gain.rows as f64 > 0.01, "{gain:?}");
        }
    }

    #[test]
    fn what_is_calibrated_is_seldom_touched() {
        // By chance about one in six has a gain above its standard error, and then a small one.
        let kept: Vec<Platt> = (0..40)
            .filter_map(|seed| calibration(&groups(seed, 1000, 1.0, 0.0)))
            .collect();
        assert!(kept.len() <= 12, "{kept:?}");
        assert!(kept.iter().all(|p| (p.slope - 1.0).abs() < 0.4), "{kept:?}");
    }

    #[test]
    fn classes_that_lie_apart_and_empty_groups_are_no_trouble() {
        let mut curve = Curve::default();
        for _ in 0..50 {
            curve.add(0.6, true);
            curve.add(0.4, false);
        }
        let platt = Platt::fit(&curve).expect("finite");
        assert!(platt.slope > 1.0 && platt.slope < 100.0, "{platt:?}");
        assert_eq!(calibration(&vec![Curve::default(); 5]), None);
        // Turned round: a calibration would turn the order of rows round too.
        let mut wrong = Curve::default();
        for _ in 0..500 {
            wrong.add(0.9, false);
            wrong.add(0.1, true);
        }
        assert_eq!(calibration(&vec![wrong; 5]), None);
    }

    #[test]
    fn probabilities_stay_probabilities_and_in_order() {
        let platt = Platt {
            slope: 2.0,
            intercept: -0.5,
        };
        let mut last = 0.0;
        for p in [0.0, 1e-12, 0.2, 0.5, 0.9, 1.0] {
            let mut scores = [1.0 - p, p];
            platt.apply(&mut scores);
            assert!((0.0..=1.0).contains(&scores[1]) && scores[1] >= last);
            assert!((scores[0] + scores[1] - 1.0).abs() < 1e-12);
            last = scores[1];
        }
        let mut half = [0.5, 0.5];
        platt.apply(&mut half);
        assert!((half[1] - sigmoid(-0.5)).abs() < 1e-12);
    }
}
