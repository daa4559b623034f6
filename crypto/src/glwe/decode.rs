//! Taking the phases of an opened sum apart: noise and codes. All of it is public once a sum is
//! open.

use crate::encode::{Lanes, Packing};
use crate::error::OpenError;
use crate::field;

/// Takes phases apart, piece by piece, from any coefficient on.
pub(super) struct Decoder<'a> {
    contributors: usize,
    /// The noise bound for so many.
    bound: u64,
    /// Segments not begun.
    rest: std::slice::Iter<'a, Lanes>,
    /// The segment begun, and how many coefficients and codes of it are left.
    segment: Option<Segment<'a>>,
    coefficients: usize,
    codes: usize,
    /// The number of the next coefficient.
    next: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the first coefficient of sums over so many contributors.
    pub(super) fn new(packing: &'a Packing, contributors: usize) -> Self {
        Self {
            contributors,
            bound: packing.params().noise_bound(contributors),
            rest: packing.segments().iter(),
            segment: None,
            coefficients: 0,
            codes: 0,
            next: 0,
        }
    }

    /// Passes over so many coefficients; returns how many codes lie in them.
    pub(super) fn skip(&mut self, mut coefficients: usize) -> usize {
        let mut skipped = 0;
        while coefficients > 0 && self.begin_segment() {
            let here = coefficients.min(self.coefficients);
            let lanes = self.segment.as_ref().map_or(1, |it| it.lanes.lanes);
            skipped += self.pass(here, lanes);
            coefficients -= here;
        }
        skipped
    }

    /// Gives every summed code in the phases that follow to `code`. Phases behind the plan's end are
    /// passed over.
    pub(super) fn take(
        &mut self,
        mut phases: &[u64],
        mut code: impl FnMut(u64),
    ) -> Result<(), OpenError> {
        while !phases.is_empty() && self.begin_segment() {
            let (own, after) = phases.split_at(phases.len().min(self.coefficients));
            phases = after;
            let (first, mut left) = (self.next, self.codes);
            let Some(segment) = &self.segment else {
                break;
            };
            let lanes = segment.lanes.lanes;
            for (coefficient, &phase) in (first..).zip(own) {
                let message = segment
                    .nearest_message(phase, self.bound)
                    .ok_or(OpenError::Noise { coefficient })?;
                let used = lanes.min(left);
                segment
                    .unpack(message, used, &mut code)
                    .ok_or(OpenError::SumTooLarge { coefficient })?;
                left -= used;
            }
            self.pass(own.len(), lanes);
        }
        Ok(())
    }

    /// [`Decoder::take`], for the checks alone.
    pub(super) fn check(&mut self, mut phases: &[u64]) -> Result<(), OpenError> {
        while !phases.is_empty() && self.begin_segment() {
            let Some(segment) = &self.segment else {
                break;
            };
            if segment.all_pass == 0 {
                let (own, after) = phases.split_at(phases.len().min(self.coefficients));
                self.take(own, |_| ())?;
                phases = after;
                continue;
            }
            // The last coefficient of a segment may hold fewer codes than others.
            let alike = self.coefficients.saturating_sub(1).min(phases.len());
            let (own, _) = phases.split_at(alike);
            let passes = |phase: &u64| {
                let message = segment.nearest_message(*phase, self.bound);
                message.is_some_and(|message| message < segment.all_pass)
            };
            let fine = own.iter().take_while(|phase| passes(phase)).count();
            let lanes = segment.lanes.lanes;
            self.pass(fine, lanes);
            // What is left is the last coefficient, or one to be looked at closely.
            let (_, rest) = phases.split_at(fine);
            let (one, rest) = rest.split_at(rest.len().min(1));
            self.take(one, |_| ())?;
            phases = rest;
        }
        Ok(())
    }

    /// Counts coefficients of the segment begun as done; returns how many codes they held.
    fn pass(&mut self, coefficients: usize, lanes: usize) -> usize {
        let codes = coefficients.saturating_mul(lanes).min(self.codes);
        self.coefficients -= coefficients;
        self.codes -= codes;
        self.next += coefficients;
        codes
    }

    /// Makes sure that a segment with coefficients left is begun; false at the plan's end.
    fn begin_segment(&mut self) -> bool {
        while self.coefficients == 0 {
            let Some(lanes) = self.rest.next() else {
                return false;
            };
            self.segment = Some(Segment::new(lanes, self.contributors));
            (self.coefficients, self.codes) = (lanes.coefficients, lanes.segment.count);
        }
        true
    }
}

/// What decoding a segment needs, worked out once.
struct Segment<'a> {
    lanes: &'a Lanes,
    delta: Divisor,
    base: Divisor,
    /// The largest sum of codes that the contributors can honestly reach.
    largest: u64,
    /// Every message below this holds such sums: B^L, if any digit is one, else 0.
    all_pass: u64,
}

impl<'a> Segment<'a> {
    fn new(lanes: &'a Lanes, contributors: usize) -> Self {
        let largest = lanes.segment.max.saturating_mul(contributors as u64);
        let exponent = u32::try_from(lanes.lanes).unwrap_or(u32::MAX);
        let all = lanes.base.checked_pow(exponent).unwrap_or(0);
        Self {
            lanes,
            delta: Divisor::new(lanes.delta),
            base: Divisor::new(lanes.base),
            largest,
            all_pass: if largest < lanes.base - 1 { 0 } else { all },
        }
    }

    /// The message whose multiple of Δ is nearest, if the phase is below q and the rest, the noise,
    /// in bound.
    #[inline]
    fn nearest_message(&self, phase: u64, bound: u64) -> Option<u64> {
        let half = self.lanes.delta / 2;
        // Values between Δ·B^L and q round to B^L, which unpacking refuses: a digit is left over.
        let (message, remainder) = self.delta.divide(field::add(phase, half));
        (phase < field::Q && remainder.abs_diff(half) <= bound).then_some(message)
    }

    /// Gives the digits of a message to `code`, if each is a sum that honest contributors can reach and the
    /// lanes that hold no code are empty.
    #[inline]
    fn unpack(&self, message: u64, used: usize, code: &mut impl FnMut(u64)) -> Option<()> {
        let mut digits = message;
        for _ in 0..used {
            let (rest, sum) = self.base.divide(digits);
            if sum > self.largest {
                return None;
            }
            code(sum);
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
    use crate::encode::{self, Shape};
    use crate::params::ParamSet;

    /// Cut anywhere, and begun anywhere, the same codes come out.
    #[test]
    fn pieces_decode_as_the_whole_does() {
        let segment = |max, count| encode::Segment { max, count };
        let shape = Shape(vec![
            segment(65_535, 8),
            segment(9, 0),
            segment(1, 100),
            segment((1 << 40) - 1, 5),
            segment(65_535, 3),
        ]);
        let packing = Packing::plan(&shape, 4, ParamSet::current()).unwrap();
        let values: Vec<u64> = (0..packing.codes() as u64)
            .map(|code| {
                if (8..108).contains(&code) {
                    code % 2
                } else {
                    7 * code
                }
            })
            .collect();
        let phases = packing.encode(&values).unwrap();
        for cut in 0..=phases.len() {
            let (head, tail) = phases.split_at(cut);
            let mut codes = Vec::new();
            let mut decoder = Decoder::new(&packing, 4);
            for piece in [head, tail] {
                decoder.take(piece, |code| codes.push(code)).unwrap();
            }
            assert_eq!(codes, values, "cut at {cut}");
            let mut checker = Decoder::new(&packing, 4);
            for piece in [head, tail] {
                checker.check(piece).unwrap();
            }
            assert_eq!(checker.next, phases.len());
            let mut decoder = Decoder::new(&packing, 4);
            let skipped = decoder.skip(cut);
            let mut codes = Vec::new();
            decoder.take(tail, |code| codes.push(code)).unwrap();
            assert_eq!(codes, values[skipped..], "from {cut}");
        }
        let mut decoder = Decoder::new(&packing, 4);
        assert_eq!(decoder.skip(usize::MAX), packing.codes());
        // The place of what is wrong counts from the plan's start.
        let mut decoder = Decoder::new(&packing, 4);
        decoder.skip(4);
        // Half a Δ is the worst noise that there is; coefficients 3 to 7 hold the bits.
        let worst = packing.segments()[2].delta / 2;
        let wrong = decoder.take(&[phases[4], phases[5] + worst], |_| ());
        assert_eq!(wrong, Err(OpenError::Noise { coefficient: 5 }));
    }

    /// Checking finds what taking apart finds, at every coefficient and for fewer contributors, whose
    /// sums cannot be as large.
    #[test]
    fn checking_refuses_what_decoding_refuses() {
        let shape = Shape(vec![
            encode::Segment {
                max: 65_535,
                count: 8,
            },
            encode::Segment { max: 9, count: 50 },
        ]);
        let packing = Packing::plan(&shape, 4, ParamSet::current()).unwrap();
        let honest = packing.encode(&vec![9; packing.codes()]).unwrap();
        for contributors in [1, 3, 4] {
            for place in 0..honest.len() {
                for lanes in packing.segments() {
                    let top = lanes.base.pow(lanes.lanes as u32);
                    for message in [0, lanes.base - 1, lanes.base, top - 1, top, top + 1] {
                        for noise in [0, 1, 100, 200, field::Q - 100, field::Q - 200] {
                            let mut phases = honest.clone();
                            let large = u128::from(lanes.delta) * u128::from(message);
                            phases[place] = field::add(field::reduce_wide(large), noise);
                            let taken = Decoder::new(&packing, contributors).take(&phases, |_| ());
                            let checked = Decoder::new(&packing, contributors).check(&phases);
                            assert_eq!(checked, taken, "{contributors} {place} {message} {noise}");
                        }
                    }
                }
            }
        }
    }

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
