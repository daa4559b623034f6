//! ROC and precision-recall curves from binned logits.
//!
//! Scores are binned uniformly in the **logit**: rare events crowd at small
//! probabilities, where bins uniform in probability could not tell them apart.

/// Bins of a curve.
pub const BINS: usize = 1024;
/// Bins cover logits from `-LOGIT_LIMIT` to `LOGIT_LIMIT`; the outer two take
/// the rest.
pub const LOGIT_LIMIT: f64 = 12.0;

/// The bin of a probability.
#[must_use]
pub fn bin_of(probability: f64) -> usize {
    let logit = libm::log(probability) - libm::log1p(-probability);
    if logit.is_nan() {
        return 0;
    }
    let share = (logit + LOGIT_LIMIT) / (2.0 * LOGIT_LIMIT);
    // A cast saturates, so both infinities land in the outer bins.
    ((share * BINS as f64) as usize).min(BINS - 1)
}

/// Positives and negatives in each bin, from low scores to high.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    /// Rows of the class in question, [`BINS`] counts.
    pub positives: Vec<u64>,
    /// All other rows, [`BINS`] counts.
    pub negatives: Vec<u64>,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            positives: vec![0; BINS],
            negatives: vec![0; BINS],
        }
    }
}

impl Curve {
    /// Adds a row.
    pub fn add(&mut self, probability: f64, positive: bool) {
        let side = if positive {
            &mut self.positives
        } else {
            &mut self.negatives
        };
        side[bin_of(probability)] += 1;
    }

    /// The counts of all these together.
    #[must_use]
    pub fn sum<'a>(curves: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for curve in curves {
            for (sums, own) in [
                (&mut sum.positives, &curve.positives),
                (&mut sum.negatives, &curve.negatives),
            ] {
                sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            }
        }
        sum
    }

    /// The bins with rows: place, positives and negatives.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (usize, f64, f64)> {
        let both = self.positives.iter().zip(&self.negatives).enumerate();
        both.filter(|(_, (p, n))| **p + **n > 0)
            .map(|(bin, (p, n))| (bin, *p as f64, *n as f64))
    }

    fn totals(&self) -> (f64, f64) {
        let sum = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
        (sum(&self.positives), sum(&self.negatives))
    }

    /// Area under the ROC curve, ties counting half. `None` when one class is
    /// missing.
    #[must_use]
    pub fn auc(&self) -> Option<f64> {
        let (positives, negatives) = self.totals();
        if positives == 0.0 || negatives == 0.0 {
            return None;
        }
        let mut below = 0.0;
        let mut wins = 0.0;
        for (p, n) in self.positives.iter().zip(&self.negatives) {
            wins += *p as f64 * (below + 0.5 * *n as f64);
            below += *n as f64;
        }
        Some(wins / (positives * negatives))
    }

    /// Largest possible difference between [`Curve::auc`] and the area before
    /// binning: half the share of pairs that fell into one bin.
    #[must_use]
    pub fn auc_bound(&self) -> Option<f64> {
        let (positives, negatives) = self.totals();
        if positives == 0.0 || negatives == 0.0 {
            return None;
        }
        let tied: f64 = self
            .positives
            .iter()
            .zip(&self.negatives)
            .map(|(p, n)| *p as f64 * *n as f64)
            .sum();
        Some(0.5 * tied / (positives * negatives))
    }

    /// Standard error of the area after DeLong, DeLong and Clarke-Pearson
    /// (1988), from the binned scores. `None` when a class has fewer than two
    /// rows.
    #[must_use]
    pub fn auc_standard_error(&self) -> Option<f64> {
        let (positives, negatives) = self.totals();
        let area = self.auc()?;
        if positives < 2.0 || negatives < 2.0 {
            return None;
        }
        // Placement of a positive: the share of negatives below it, and the
        // share of positives above a negative.
        let (mut below, mut seen) = (0.0, 0.0);
        let (mut spread_p, mut spread_n) = (0.0, 0.0);
        for (p, n) in self.positives.iter().zip(&self.negatives) {
            let (p, n) = (*p as f64, *n as f64);
            let of_positive = (below + 0.5 * n) / negatives - area;
            let of_negative = (positives - seen - 0.5 * p) / positives - area;
            spread_p += p * of_positive * of_positive;
            spread_n += n * of_negative * of_negative;
            below += n;
            seen += p;
        }
        let variance =
            spread_p / (positives - 1.0) / positives + spread_n / (negatives - 1.0) / negatives;
        Some(libm::sqrt(variance))
    }

    /// Largest distance between the score distributions of positives and negatives
    /// (Kolmogorov and Smirnov), at the edges of the bins. `None` when one class is missing.
    #[must_use]
    pub fn kolmogorov_smirnov(&self) -> Option<f64> {
        let (positives, negatives) = self.totals();
        if positives == 0.0 || negatives == 0.0 {
            return None;
        }
        let (mut p_below, mut n_below, mut most) = (0.0, 0.0, 0.0_f64);
        for (p, n) in self.positives.iter().zip(&self.negatives) {
            p_below += *p as f64;
            n_below += *n as f64;
            most = most.max((p_below / positives - n_below / negatives).abs());
        }
        Some(most)
    }

    /// Area under the precision-recall curve as average precision. `None` when
    /// there are no positives.
    #[must_use]
    pub fn pr_auc(&self) -> Option<f64> {
        let (positives, _) = self.totals();
        if positives == 0.0 {
            return None;
        }
        let (mut hits, mut taken, mut area) = (0.0, 0.0, 0.0);
        for (p, n) in self.positives.iter().zip(&self.negatives).rev() {
            let (p, n) = (*p as f64, *n as f64);
            if p + n == 0.0 {
                continue;
            }
            hits += p;
            taken += p + n;
            area += p / positives * (hits / taken);
        }
        Some(area)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::sigmoid;
    use crate::random::Stream;

    /// The probability in the middle of a bin.
    fn middle(bin: usize) -> f64 {
        let width = 2.0 * LOGIT_LIMIT / BINS as f64;
        sigmoid(-LOGIT_LIMIT + (bin as f64 + 0.5) * width)
    }

    fn exact_auc(rows: &[(f64, bool)]) -> f64 {
        let (mut wins, mut pairs) = (0.0, 0.0);
        for (p, _) in rows.iter().filter(|r| r.1) {
            for (n, _) in rows.iter().filter(|r| !r.1) {
                pairs += 1.0;
                wins += match p.partial_cmp(n) {
                    Some(std::cmp::Ordering::Greater) => 1.0,
                    Some(std::cmp::Ordering::Equal) => 0.5,
                    _ => 0.0,
                };
            }
        }
        wins / pairs
    }

    #[test]
    fn binned_auc_is_within_its_own_bound_of_the_exact_one() {
        for (seed, shift) in [(1u8, 0.5), (2, 1.5), (3, -6.0)] {
            let mut stream = Stream::new("collegium/test/curve/v1", &[&[seed]]);
            let rows: Vec<(f64, bool)> = (0..600)
                .map(|_| {
                    let positive = stream.unit() < 0.3;
                    let mean = if positive { 1.0 } else { 0.0 };
                    (sigmoid(shift + mean + stream.normal()), positive)
                })
                .collect();
            let mut curve = Curve::default();
            for (probability, positive) in &rows {
                curve.add(*probability, *positive);
            }
            let area = curve.auc().expect("both classes");
            let bound = curve.auc_bound().expect("both classes");
            let exact = exact_auc(&rows);
            assert!(
                (area - exact).abs() <= bound,
                "seed {seed}: {area} {exact} {bound}"
            );
            assert!(bound < 0.01, "seed {seed}: {bound}");
            // Hanley and McNeil (1982) as an independent estimate.
            let (p, n) = curve.totals();
            let (q1, q2) = (area / (2.0 - area), 2.0 * area * area / (1.0 + area));
            let hanley = ((area * (1.0 - area)
                + (p - 1.0) * (q1 - area * area)
                + (n - 1.0) * (q2 - area * area))
                / (p * n))
                .sqrt();
            let delong = curve.auc_standard_error().expect("enough rows");
            assert!((delong / hanley - 1.0).abs() < 0.2, "{delong} {hanley}");
        }
    }

    #[test]
    fn average_precision_of_a_known_order() {
        // From the top: + - + -  =>  1/2 · 1 + 1/2 · 2/3.
        let mut curve = Curve::default();
        for (score, positive) in [(0.9, true), (0.7, false), (0.5, true), (0.2, false)] {
            curve.add(score, positive);
        }
        let area = curve.pr_auc().expect("positives");
        assert!((area - (0.5 + 1.0 / 3.0)).abs() < 1e-12, "{area}");
    }

    #[test]
    fn the_distance_of_known_distributions() {
        // Below 0.6: all of the negatives, one of three positives.
        let mut curve = Curve::default();
        for (score, positive) in [
            (0.2, false),
            (0.4, true),
            (0.5, false),
            (0.7, true),
            (0.9, true),
        ] {
            curve.add(score, positive);
        }
        let distance = curve.kolmogorov_smirnov().expect("both classes");
        assert!((distance - 2.0 / 3.0).abs() < 1e-12, "{distance}");
    }

    #[test]
    fn one_class_has_no_area() {
        let mut curve = Curve::default();
        curve.add(0.4, true);
        assert_eq!(curve.auc(), None);
        assert_eq!(curve.auc_standard_error(), None);
        assert_eq!(curve.kolmogorov_smirnov(), None);
    }

    #[test]
    fn extreme_probabilities_fall_into_the_outer_bins() {
        assert_eq!(bin_of(0.0), 0);
        assert_eq!(bin_of(1.0), BINS - 1);
        assert_eq!(bin_of(f64::NAN), 0);
        for bin in [0, 1, 511, 512, BINS - 1] {
            assert_eq!(bin_of(middle(bin)), bin);
        }
    }
}
