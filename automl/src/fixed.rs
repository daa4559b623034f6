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
    #[inline]
    pub fn row(&self, value: f64) -> i64 {
        let known = if value.is_nan() { 0.0 } else { value };
        let above = if known < -self.bound {
            -self.bound
        } else {
            known
        };
        let within = if above > self.bound {
            self.bound
        } else {
            above
        };
        nearest(within * self.scale)
    }

    /// [`row`](Self::row) of a factor times each value, into as many places.
    pub fn rows(&self, factor: f64, values: &[f64], out: &mut [i64]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = self.row(factor * value);
        }
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

/// The nearest integer, of two the one further from 0, as `f64::round` has it, for magnitudes up to
/// 2^51. Newton steps round millions of products, and without SSE4.1 `f64::round` is a call for each; this
/// is a few operations on vectors.
#[inline]
fn nearest(value: f64) -> i64 {
    // Next to 1.5 · 2^52 floats are the integers, so adding it rounds, of two to the even one.
    const INTEGERS: f64 = 6_755_399_441_055_744.0;
    let moved = value + INTEGERS;
    let even = (moved.to_bits() as i64).wrapping_sub(INTEGERS.to_bits() as i64);
    let rest = value - (moved - INTEGERS);
    let up = i64::from((rest == 0.5) & (value > 0.0));
    let down = i64::from((rest == -0.5) & (value < 0.0));
    even.wrapping_add(up).wrapping_sub(down)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::MAX_CODE;
    use crate::random::Stream;

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

    #[test]
    fn rounding_is_that_of_the_standard_library() {
        let large = libm::ldexp(1.0, 51) - 0.5;
        let below_half = 0.5 - libm::ldexp(1.0, -54);
        let mut values = vec![
            0.0,
            below_half,
            0.5,
            1.5,
            2.5,
            3.5,
            1e9 + 0.5,
            large,
            1e-300,
        ];
        let mut stream = Stream::new("collegium/test/v1", &[b"rounding"]);
        for exponent in -3..51 {
            let halves = libm::floor(stream.unit() * libm::ldexp(1.0, exponent)) + 0.5;
            values.extend([halves, stream.unit() * libm::ldexp(1.0, exponent)]);
        }
        for value in values {
            for value in [value, -value] {
                assert_eq!(nearest(value), value.round() as i64, "{value:e}");
            }
        }
    }

    #[test]
    fn rows_are_the_rows_of_products_and_nothing_is_not_a_number() {
        let fixed = FixedPoint::new(1000, 2);
        let values = [0.3, -7.0, 9.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let mut out = [1; 6];
        fixed.rows(0.75, &values, &mut out);
        assert_eq!(out, values.map(|value| fixed.row(0.75 * value)));
        assert_eq!(
            (out[3], fixed.value(out[4]), fixed.value(out[1])),
            (0, 4.0, -4.0)
        );
    }
}
