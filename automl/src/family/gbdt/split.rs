//! Finding the best split of a node from its histogram.

use super::histogram::Layout;
use super::rounding::Rounding;
use super::tree::Test;

/// Sums over the rows of a node or a bin, as integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) gradient: i64,
    pub(super) hessian: i64,
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            gradient: self.gradient + other.gradient,
            hessian: self.hessian + other.hessian,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            gradient: self.gradient - other.gradient,
            hessian: self.hessian - other.hessian,
        }
    }
}

/// Sums per bin of the layout's columns, one column after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    pub(super) bins: Vec<Sums>,
}

impl Histogram {
    /// The sums over all rows of the node: every row is in one bin of the first
    /// column, as of any other.
    pub(super) fn totals(&self, layout: &Layout) -> Sums {
        let first = layout.bins.first().copied().unwrap_or(0);
        let bins = self.bins.iter().take(usize::from(first));
        bins.fold(Sums::default(), |sum, bin| sum.plus(*bin))
    }

    /// The other child's histogram, when this is the parent's.
    pub(super) fn without(&self, child: &Self) -> Self {
        let pairs = self.bins.iter().zip(&child.bins);
        Self {
            bins: pairs.map(|(parent, child)| parent.minus(*child)).collect(),
        }
    }
}

/// What a column's bins mean to splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// Larger bins hold larger values: -1, 0 or 1 says which way predictions
    /// may go as the value grows.
    Ordered(i8),
    /// Bins are the levels of a category.
    Levels,
}

/// What decides between splits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rules {
    /// L2 penalty on leaf values.
    pub(super) lambda: f64,
    /// Smallest Hessian sum of a child.
    pub(super) min_hessian: f64,
    /// Smallest gain.
    pub(super) min_gain: f64,
    /// L2 penalty more where a category with many levels is split.
    pub(super) category_lambda: f64,
    /// Hessian that draws the ratios of small levels towards 0.
    pub(super) category_smoothing: f64,
}

/// Categories up to this many levels are split without extra penalty: their
/// best partition is hardly a matter of choice.
const FEW_LEVELS: usize = 4;

/// Where a node's value may lie (monotone constraints).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Bounds {
    /// Anywhere.
    pub(super) const FREE: Self = Self {
        least: f64::NEG_INFINITY,
        most: f64::INFINITY,
    };
}

/// A split that is allowed and gains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Split {
    pub(super) gain: f64,
    pub(super) feature: u16,
    pub(super) test: Test,
    pub(super) left: Sums,
    pub(super) right: Sums,
    /// Which way predictions may go along this column.
    pub(super) monotone: i8,
}

/// Finds the best split of one node.
pub(super) struct Finder<'a> {
    pub(super) rules: &'a Rules,
    pub(super) rounding: &'a Rounding,
    pub(super) bounds: Bounds,
    pub(super) node: Sums,
    /// The parent's score, subtracted from every pair of children.
    own: f64,
    best: Option<Split>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(
        rules: &'a Rules,
        rounding: &'a Rounding,
        bounds: Bounds,
        node: Sums,
    ) -> Self {
        let mut finder = Self {
            rules,
            rounding,
            bounds,
            node,
            own: 0.0,
            best: None,
        };
        finder.own = finder.score(node, rules.lambda);
        finder
    }

    /// The best split over the layout's columns; the first one of equals.
    pub(super) fn best(
        mut self,
        histogram: &Histogram,
        layout: &Layout,
        kinds: &[ColumnKind],
    ) -> Option<Split> {
        let mut rest = histogram.bins.as_slice();
        for (feature, bins) in layout.columns.iter().zip(&layout.bins) {
            let (own, after) = rest.split_at(usize::from(*bins));
            rest = after;
            match kinds[usize::from(*feature)] {
                ColumnKind::Ordered(monotone) => self.cuts(*feature, own, monotone),
                ColumnKind::Levels => self.levels(*feature, own),
            }
        }
        self.best
    }

    /// The value of a leaf with these sums, within the bounds.
    pub(super) fn value(&self, sums: Sums, lambda: f64) -> f64 {
        let gradient = self.rounding.gradient_value(sums.gradient);
        let weight = self.rounding.hessian_value(sums.hessian) + lambda;
        if weight <= 0.0 {
            return 0.0_f64.clamp(self.bounds.least, self.bounds.most);
        }
        (-gradient / weight).clamp(self.bounds.least, self.bounds.most)
    }

    /// Twice what a leaf with these sums takes off the loss: G² / (H + λ), less
    /// where its value is bounded.
    fn score(&self, sums: Sums, lambda: f64) -> f64 {
        let gradient = self.rounding.gradient_value(sums.gradient);
        let weight = self.rounding.hessian_value(sums.hessian) + lambda;
        let value = self.value(sums, lambda);
        -(2.0 * gradient * value + weight * value * value)
    }

    fn heavy(&self, sums: Sums) -> bool {
        // A child without rows is none, whatever the rules say.
        sums.hessian > 0 && self.rounding.hessian_value(sums.hessian) >= self.rules.min_hessian
    }

    fn consider(&mut self, feature: u16, test: Test, left: Sums, lambda: f64, monotone: i8) {
        let right = self.node.minus(left);
        if !self.heavy(left) || !self.heavy(right) {
            return;
        }
        if monotone != 0 {
            let rise = self.value(right, lambda) - self.value(left, lambda);
            if rise * f64::from(monotone) < 0.0 {
                return;
            }
        }
        let gain = self.score(left, lambda) + self.score(right, lambda) - self.own;
        let least = self.best.map_or(self.rules.min_gain, |best| best.gain);
        if gain > least {
            self.best = Some(Split {
                gain,
                feature,
                test,
                left,
                right,
                monotone,
            });
        }
    }

    /// Cuts of a column of ordered bins, missing values on either side.
    fn cuts(&mut self, feature: u16, bins: &[Sums], monotone: i8) {
        let Some((missing, values)) = bins.split_first() else {
            return;
        };
        let lambda = self.rules.lambda;
        let known = *missing != Sums::default();
        let mut left = Sums::default();
        for (last, bin) in (1_u8..=u8::MAX).zip(values) {
            if *bin == Sums::default() {
                // The same children as one cut before.
                continue;
            }
            left = left.plus(*bin);
            // Missing values that no row of the node has go with the heavier side.
            let heavier = 2 * left.hessian > self.node.hessian;
            let test = |missing_left| Test::Cut { last, missing_left };
            self.consider(feature, test(!known && heavier), left, lambda, monotone);
            if known {
                self.consider(feature, test(true), left.plus(*missing), lambda, monotone);
            }
        }
    }

    /// Splits of a category: levels sorted by gradient over Hessian, which holds
    /// the best partition for a convex loss (Fisher, *On Grouping for Maximum
    /// Homogeneity*, 1958); missing is a level too.
    fn levels(&mut self, feature: u16, bins: &[Sums]) {
        let smoothing = self.rules.category_smoothing;
        let mut levels: Vec<(f64, u8, Sums)> = (0..=u8::MAX)
            .zip(bins)
            .filter(|(_, sums)| **sums != Sums::default())
            .map(|(bin, sums)| {
                let weight = self.rounding.hessian_value(sums.hessian) + smoothing;
                let gradient = self.rounding.gradient_value(sums.gradient);
                (gradient / weight.max(f64::MIN_POSITIVE), bin, *sums)
            })
            .collect();
        let few = levels.len() <= FEW_LEVELS;
        if few {
            // Without smoothing, as without penalty.
            for (ratio, _, sums) in &mut levels {
                let weight = self.rounding.hessian_value(sums.hessian);
                *ratio = self.rounding.gradient_value(sums.gradient) / weight.max(1e-9);
            }
        }
        levels.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let extra = if few { 0.0 } else { self.rules.category_lambda };
        let lambda = self.rules.lambda + extra;
        let mut first = Sums::default();
        for place in 1..levels.len() {
            let (lower, upper) = levels.split_at(place);
            first = first.plus(lower[place - 1].2);
            // The lighter side is named, so that a level nobody has seen goes
            // with the heavier one.
            let (named, left) = if 2 * first.hessian <= self.node.hessian {
                (lower, first)
            } else {
                (upper, self.node.minus(first))
            };
            let test = Test::of_bins(named.iter().map(|level| level.1));
            self.consider(feature, test, left, lambda, 0);
        }
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
