//! Gradients as small integers.
//!
//! Every row's gradient and Hessian are rounded to integers before anything is
//! summed, so that sums, and with them the trees, do not depend on how rows are
//! spread over sites. The integers are small: both sums of a bin then fit one
//! 64-bit word while a site counts, and two of the federation's sums fit one
//! ring coefficient where rows and members are few. Boosting with far coarser
//! gradients loses nothing (Shi et al., *Quantized Training of Gradient Boosting
//! Decision Trees*, NeurIPS 2022).

use crate::ask::Segment;
use crate::family::{Head, sigmoid};

/// Bits of the largest magnitude of a row where the federation has few rows.
const MOST_BITS: u32 = 20;
/// And where it has a million or more.
const LEAST_BITS: u32 = 10;
/// Bits of the largest sum that both halves of a word hold.
const WORD_BITS: u32 = 30;
/// Gradients of numbers are cut at 2^4 target scales.
const NUMBER_EXPONENT: i32 = 4;

/// How gradients and Hessians of rows become integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rounding {
    gradient_scale: f64,
    hessian_scale: f64,
    gradient_most: i64,
    hessian_most: i64,
    rows: u64,
}

impl Rounding {
    /// For so many rows in the federation.
    pub(super) fn new(head: Head, rows: u64) -> Self {
        let rows = rows.max(1);
        let bits = WORD_BITS
            .saturating_sub(64 - (rows - 1).leading_zeros())
            .clamp(LEAST_BITS, MOST_BITS);
        let (gradient, hessian) = match head {
            // |g| is at most 1, h at most 1/4, and 3/8 for three classes.
            Head::Binary => (bits as i32, bits as i32 + 2),
            Head::Classes(_) => (bits as i32, bits as i32 + 1),
            // Every h is 1.
            Head::Number => (bits as i32 - NUMBER_EXPONENT, 0),
        };
        let most = 1_i64 << bits;
        Self {
            gradient_scale: libm::ldexp(1.0, gradient),
            hessian_scale: libm::ldexp(1.0, hessian),
            gradient_most: most,
            hessian_most: if head == Head::Number { 1 } else { most },
            rows,
        }
    }

    /// Counts of rows of a class and of all rows, instead of sums.
    pub(super) fn counts(rows: u64) -> Self {
        Self {
            gradient_scale: 1.0,
            hessian_scale: 1.0,
            gradient_most: 1,
            hessian_most: 1,
            rows: rows.max(1),
        }
    }

    /// A row's gradient, rounded.
    pub(super) fn gradient(&self, value: f64) -> i64 {
        let most = self.gradient_most as f64;
        let scaled = (value * self.gradient_scale).round();
        // Not a number counts as 0: `as` sees to it.
        scaled.clamp(-most, most) as i64
    }

    /// A row's Hessian, rounded.
    pub(super) fn hessian(&self, value: f64) -> i64 {
        let scaled = (value * self.hessian_scale).round();
        scaled.clamp(0.0, self.hessian_most as f64) as i64
    }

    /// Both in a word: the gradient in the upper half, so that words add up
    /// without a carry between the halves.
    pub(super) fn pack(gradient: i64, hessian: i64) -> u64 {
        ((gradient << 32).wrapping_add(hessian)) as u64
    }

    /// The two sums of a word.
    pub(super) fn unpack(word: u64) -> (i64, i64) {
        let hessian = (word & 0xffff_ffff) as i64;
        (((word as i64).wrapping_sub(hessian)) >> 32, hessian)
    }

    /// How many rows a word has room for.
    pub(super) fn rows_in_a_word(&self) -> usize {
        ((1_i64 << WORD_BITS) / self.gradient_most.max(self.hessian_most)) as usize
    }

    /// A sum of gradients as a number again.
    pub(super) fn gradient_value(&self, sum: i64) -> f64 {
        sum as f64 / self.gradient_scale
    }

    /// A sum of Hessians as a number again.
    pub(super) fn hessian_value(&self, sum: i64) -> f64 {
        sum as f64 / self.hessian_scale
    }

    /// The segments of `count` gradient sums and `count` Hessian sums.
    pub(super) fn segments(&self, count: usize) -> [Segment; 2] {
        let most = self.gradient_most * self.rows as i64;
        [
            Segment::Integer {
                min: -most,
                max: most,
                count,
            },
            Segment::Integer {
                min: 0,
                max: self.hessian_most * self.rows as i64,
                count,
            },
        ]
    }
}

/// Gradient and Hessian of a row's loss in the margin of one output: log-loss
/// of a logit, softmax log-loss (scaled by K / (K - 1), as Friedman's leaves
/// are), half the squared error.
pub(super) fn derivatives(head: Head, score: f64, target: f64, output: usize) -> (f64, f64) {
    match head {
        Head::Binary => (score - target, score * (1.0 - score)),
        Head::Number => (score - target, 1.0),
        Head::Classes(classes) => {
            let own = f64::from(u8::from(target as usize == output));
            let factor = f64::from(classes) / (f64::from(classes) - 1.0);
            (score - own, factor * score * (1.0 - score))
        }
    }
}

/// What the margins of a row's outputs say: the probability of the second of two
/// classes, the probability of every class, the number itself.
pub(super) fn link(head: Head, margins: &mut [f64]) {
    match head {
        Head::Number => {}
        Head::Binary => margins[0] = sigmoid(margins[0]),
        Head::Classes(_) => {
            let most = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            for margin in margins.iter_mut() {
                *margin = libm::exp(*margin - most);
            }
            let sum: f64 = margins.iter().sum();
            margins.iter_mut().for_each(|margin| *margin /= sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::MAX_CODE;
    use crate::fixed::MAX_ROWS;

    #[test]
    fn words_keep_both_sums() {
        let rows = [(-5, 3), (7, 0), (-(1 << 20), 1 << 20), (1, 1)];
        let word = rows
            .iter()
            .fold(0_u64, |sum, &(g, h)| sum.wrapping_add(Rounding::pack(g, h)));
        assert_eq!(Rounding::unpack(word), (3 - (1 << 20), 4 + (1 << 20)));
        assert_eq!(
            Rounding::unpack(Rounding::pack(-(1 << 30), 1 << 30)),
            (-(1 << 30), 1 << 30)
        );
    }

    #[test]
    fn sums_stay_within_words_and_segments() {
        for head in [Head::Binary, Head::Classes(3), Head::Number] {
            for rows in [1, 2, 1000, 1 << 20, MAX_ROWS] {
                let rounding = Rounding::new(head, rows);
                let most = rounding.gradient(1e9).max(rounding.hessian(1e9));
                assert!(most * rounding.rows_in_a_word() as i64 <= 1 << 30);
                assert!(rounding.rows_in_a_word() >= 1024);
                if rows <= 1 << 20 {
                    assert!(rounding.rows_in_a_word() as u64 >= rows, "{rows}");
                }
                for segment in rounding.segments(1) {
                    assert!(segment.max_code() <= MAX_CODE);
                }
            }
        }
    }

    #[test]
    fn the_largest_derivatives_are_not_cut() {
        for head in [Head::Binary, Head::Classes(3), Head::Classes(30)] {
            let rounding = Rounding::new(head, 1 << 20);
            let (_, h) = derivatives(head, 0.5, 0.0, 0);
            let (g, _) = derivatives(head, 1.0, 1.0, 1);
            assert!((rounding.hessian_value(rounding.hessian(h)) - h).abs() < 1e-3);
            assert!((rounding.gradient_value(rounding.gradient(g)) - g).abs() < 1e-3);
        }
    }

    #[test]
    fn a_gradient_is_the_slope_of_the_loss() {
        let softmax = |margins: &[f64], class: usize| {
            let sum: f64 = margins.iter().map(|m| m.exp()).sum();
            sum.ln() - margins[class]
        };
        let margins = [0.3, -1.2, 0.7];
        let mut scores = margins;
        link(Head::Classes(3), &mut scores);
        for output in 0..3 {
            let mut up = margins;
            up[output] += 1e-6;
            let slope = (softmax(&up, 1) - softmax(&margins, 1)) / 1e-6;
            let (g, _) = derivatives(Head::Classes(3), scores[output], 1.0, output);
            assert!((g - slope).abs() < 1e-5, "{g} {slope}");
        }
    }
}
