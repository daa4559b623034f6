//! Sums of fixed-point numbers that do not depend on how rows are spread.
//!
//! A float sum depends on its order, so a federated sum would differ from the
//! one over a merged table. Here every **row's** value is rounded to an integer
//! first; integers add exactly in any order and any grouping.

use crate::ask::Segment;

/// Most rows in a federation: 2^30, so that a bound of 2^10 keeps 5 bits after
/// the point inside [`crate::ask::MAX_CODE`] = 2^46.
pub const MAX_ROWS: u64 = 1 << 30;

/// Finest resolution, 2^-40: a row's value of magnitude 2^10 then still fits an
/// `f64`'s 53 bits.
const MAX_BITS: i32 = 40;

/// How values of one row are rounded: magnitude at most 2^`exponent`, summed
/// over at most `rows` rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedPoint {
    /// Largest magnitude of a row, a power of two.
    bound: f64,
    /// Steps to 1, a power of two, so that scaling is exact.
    scale: f64,
    /// Largest magnitude of a sum, in steps.
    limit: i64,
}

impl FixedPoint {
    /// The finest rounding whose sums stay within one segment.
    #[must_use]
    pub fn new(rows: u64, exponent: i32) -> Self {
        let rows = rows.clamp(1, MAX_ROWS);
        let rows_bits = 64 - (rows - 1).leading_zeros() as i32;
        // 2 · rows · 2^(exponent + bits) codes must not pass 2^46.
        let bits = (45 - exponent - rows_bits).min(MAX_BITS);
        Self {
            bound: libm::ldexp(1.0, exponent),
            scale: libm::ldexp(1.0, bits),
            limit: (rows as i64) << (exponent + bits),
        }
    }

    /// One row's value as an integer: saturated, rounded to nearest; what is
    /// not a number counts as 0.
    #[must_use]
    pub fn row(&self, value: f64) -> i64 {
        if value.is_nan() {
            return 0;
        }
        (value.clamp(-self.bound, self.bound) * self.scale).round() as i64
    }

    /// The segment that holds `count` sums.
    #[must_use]
    pub fn segment(&self, count: usize) -> Segment {
        Segment::Integer {
            min: -self.limit,
            max: self.limit,
            count,
        }
    }

    /// A sum that was taken in another rounding, over no more rows, in this one.
    #[must_use]
    pub fn sum(&self, value: f64) -> i64 {
        if value.is_nan() {
            return 0;
        }
        let limit = self.limit as f64;
        libm::round(value * self.scale).clamp(-limit, limit) as i64
    }

    /// A sum as a number again.
    #[must_use]
    pub fn value(&self, sum: i64) -> f64 {
        sum as f64 / self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::MAX_CODE;

    #[test]
    fn segments_stay_below_the_code_cap() {
        for rows in [1, 2, 3, 740, 1 << 20, MAX_ROWS] {
            for exponent in [0, 4, 10, 20] {
                let fixed = FixedPoint::new(rows, exponent);
                assert!(fixed.segment(1).max_code() <= MAX_CODE, "{fixed:?}");
                let Segment::Integer { max, .. } = fixed.segment(1) else {
                    panic!("an integer segment");
                };
                let bound = libm::ldexp(1.0, exponent);
                assert!(fixed.row(2.0 * bound) * rows as i64 <= max, "{fixed:?}");
                assert!(fixed.row(f64::NEG_INFINITY) * rows as i64 >= -max);
            }
        }
    }

    #[test]
    fn rounding_is_finer_than_a_billionth_for_a_thousand_rows() {
        let fixed = FixedPoint::new(1000, 4);
        let third = fixed.value(fixed.row(1.0 / 3.0));
        assert!((third - 1.0 / 3.0).abs() < 1e-9);
    }
}
