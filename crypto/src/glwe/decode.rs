//! Taking the coefficients of an opened sum apart: messages, residuals, codes. All of it is public
//! once a sum is open.

use crate::encode::{Lanes, Packing};
use crate::error::OpenError;
use crate::field;

/// Takes coefficients apart, segment by segment: `message` finds the message of each one, if it is
/// in bound, and its digits are appended to the codes.
pub(super) fn each_segment(
    packing: &Packing,
    contributors: usize,
    values: &mut [u64],
    mut message: impl FnMut(&Segment<'_>, &mut u64) -> Option<u64>,
) -> Result<Vec<u64>, OpenError> {
    let mut codes = Vec::with_capacity(packing.codes());
    let mut numbered = values.iter_mut().enumerate();
    for lanes in packing.segments() {
        let segment = Segment::new(lanes, contributors);
        let mut left = lanes.segment.count;
        for (coefficient, value) in numbered.by_ref().take(lanes.coefficients) {
            let message = message(&segment, value).ok_or(OpenError::Noise { coefficient })?;
            let used = lanes.lanes.min(left);
            segment
                .unpack(message, used, &mut codes)
                .ok_or(OpenError::SumTooLarge { coefficient })?;
            left -= used;
        }
    }
    Ok(codes)
}

/// What decoding a segment needs, worked out once.
pub(super) struct Segment<'a> {
    pub(super) lanes: &'a Lanes,
    delta: Divisor,
    base: Divisor,
    /// The largest sum of codes that the contributors can honestly reach.
    largest: u64,
}

impl<'a> Segment<'a> {
    fn new(lanes: &'a Lanes, contributors: usize) -> Self {
        Self {
            lanes,
            delta: Divisor::new(lanes.delta),
            base: Divisor::new(lanes.base),
            largest: lanes.segment.max.saturating_mul(contributors as u64),
        }
    }

    /// The message whose multiple of Δ is nearest, and the residual, if that is in bound.
    #[inline]
    pub(super) fn nearest_message(&self, value: u64, bound: u64) -> Option<(u64, i16)> {
        let half = self.lanes.delta / 2;
        // Values between Δ·B^L and q round to B^L, which unpacking refuses: a digit is left over.
        let (message, remainder) = self.delta.divide(field::add(value, half));
        if remainder.abs_diff(half) > bound {
            return None;
        }
        let residual = remainder.wrapping_sub(half).cast_signed();
        Some((message, i16::try_from(residual).ok()?))
    }

    /// Appends the digits of a message, if each is a sum that honest contributors can reach and the
    /// lanes that hold no code are empty.
    #[inline]
    fn unpack(&self, message: u64, used: usize, codes: &mut Vec<u64>) -> Option<()> {
        let mut digits = message;
        for _ in 0..used {
            let (rest, sum) = self.base.divide(digits);
            if sum > self.largest {
                return None;
            }
            codes.push(sum);
            digits = rest;
        }
        (digits == 0).then_some(())
    }
}

/// Division by one number many times: a product in place of each division. For public values.
#[derive(Clone, Copy)]
struct Divisor {
    divisor: u64,
    /// ⌊(2^64 − 1) / divisor⌋.
    inverse: u64,
}

impl Divisor {
    /// Prepares to divide by `divisor`; 0 is taken for 1.
    fn new(divisor: u64) -> Self {
        let divisor = divisor.max(1);
        Self {
            divisor,
            inverse: u64::MAX / divisor,
        }
    }

    /// Quotient and remainder.
    #[inline]
    fn divide(&self, value: u64) -> (u64, u64) {
        // The inverse is short by less than one, so the estimate is the quotient or one less.
        let estimate = ((u128::from(value) * u128::from(self.inverse)) >> 64) as u64;
        let remainder = value.wrapping_sub(estimate.wrapping_mul(self.divisor));
        if remainder >= self.divisor {
            (estimate + 1, remainder - self.divisor)
        } else {
            (estimate, remainder)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dividing_by_products_is_dividing() {
        let numbers = [
            0,
            1,
            2,
            3,
            1023,
            1024,
            4295,
            262_141,
            1 << 32,
            field::Q,
            u64::MAX,
        ];
        for &divisor in &numbers[1..] {
            for &number in &numbers {
                for value in (0..5).map(|i| number.wrapping_mul(divisor).wrapping_sub(i)) {
                    let expected = (value / divisor, value % divisor);
                    assert_eq!(Divisor::new(divisor).divide(value), expected);
                    let expected = (number / divisor, number % divisor);
                    assert_eq!(Divisor::new(divisor).divide(number), expected);
                }
            }
        }
        assert_eq!(Divisor::new(0).divide(7), (7, 0));
    }
}
