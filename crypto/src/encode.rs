//! Packing integers into ring coefficients, several to a coefficient.
//!
//! An answer is a vector of *codes*, unsigned integers, with a [`Shape`]: so many codes up to this
//! maximum, then so many up to that one. With V a segment's maximum and n the roster size, a sum of
//! codes is below B = nV + 1. So L lanes fit in mixed radix, m = Σ v_l·B^l (lane 0 is the first
//! code), scaled by Δ = ⌊q / B^L⌋, with L the largest for which 2·E(n) < Δ. Adding such
//! coefficients adds lane by lane and never carries from one lane to the next.
//!
//! A segment always starts a new coefficient; its last coefficient may have empty lanes.

use crate::error::EncodeError;
use crate::field::Q;
use crate::params::{MAX_MEMBERS, ParamSet};
use crate::transcript::{Digest, Hasher, domain};
use serde::{Deserialize, Serialize};

/// Most segments in a shape: 2^16, so that hashing and planning stay below a millisecond or so.
pub const MAX_SEGMENTS: usize = 1 << 16;

/// Most coefficients in a step: 2^24, for which the noise bound was computed; 128 MiB of body.
pub const MAX_COEFFICIENTS: usize = 1 << 24;

/// Largest roster a plan is made for: the largest consortium.
pub const MAX_ROSTER: usize = MAX_MEMBERS;

/// A run of codes with one maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// The largest code, inclusive.
    pub max: u64,
    /// How many codes.
    pub count: usize,
}

/// What an answer looks like: everything that `crypto` and `protocol` know about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Shape(pub Vec<Segment>);

impl Shape {
    /// The number of codes of an answer.
    #[must_use]
    pub fn codes(&self) -> usize {
        self.0
            .iter()
            .fold(0, |sum, segment| sum.saturating_add(segment.count))
    }

    /// Checks that an answer has this shape. Which code is too large is not told: codes are secret.
    /// All codes of a segment are looked at, whatever is found.
    ///
    /// # Errors
    /// [`EncodeError::CodeCount`] or [`EncodeError::CodeTooLarge`].
    pub fn check(&self, codes: &[u64]) -> Result<(), EncodeError> {
        if codes.len() != self.codes() {
            return Err(EncodeError::CodeCount {
                expected: self.codes(),
                found: codes.len(),
            });
        }
        let mut rest = codes;
        for (index, segment) in self.0.iter().enumerate() {
            // The counts add up to codes.len(), checked above.
            let (own, after) = rest.split_at(segment.count);
            rest = after;
            let max = segment.max;
            if own.iter().fold(false, |seen, &code| seen | (code > max)) {
                return Err(EncodeError::CodeTooLarge {
                    segment: index,
                    max,
                });
            }
        }
        Ok(())
    }

    /// The hash of the shape, part of a step's context.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(domain::SHAPE);
        hasher.number(self.0.len() as u64);
        for segment in &self.0 {
            hasher.number(segment.max).number(segment.count as u64);
        }
        hasher.finish()
    }
}

/// How one segment lies in its coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    /// The segment.
    pub segment: Segment,
    /// B = roster · max + 1: one more than any sum.
    pub base: u64,
    /// L: codes per coefficient.
    pub lanes: usize,
    /// Δ = ⌊q / B^L⌋: the distance between neighbouring messages.
    pub delta: u64,
    /// Coefficients the segment takes.
    pub coefficients: usize,
}

impl Lanes {
    fn plan(
        index: usize,
        segment: Segment,
        roster: usize,
        noise: u64,
    ) -> Result<Self, EncodeError> {
        let too_wide = EncodeError::ValueTooWide {
            segment: index,
            max: segment.max,
            roster,
        };
        // A segment that holds only zeros still needs digits to be told apart from noise.
        let largest_sum = segment.max.max(1).checked_mul(roster as u64);
        let base = largest_sum
            .and_then(|sum| sum.checked_add(1))
            .ok_or_else(|| too_wide.clone())?;
        let mut lanes = 0;
        let mut power: u128 = 1;
        loop {
            // power < q and base <= 2^64, so the product fits.
            let next = power * u128::from(base);
            if u128::from(Q) / next <= u128::from(2 * noise) {
                break;
            }
            lanes += 1;
            power = next;
        }
        if lanes == 0 {
            return Err(too_wide);
        }
        Ok(Self {
            segment,
            base,
            lanes,
            delta: (u128::from(Q) / power) as u64,
            coefficients: segment.count.div_ceil(lanes),
        })
    }

    /// One coefficient from at most L codes: Δ · Σ v_l·B^l. Below q for codes up to the maximum.
    #[inline]
    fn pack(&self, codes: &[u64]) -> u64 {
        let message = codes.iter().rev().fold(0u64, |message, &code| {
            message.wrapping_mul(self.base).wrapping_add(code)
        });
        message.wrapping_mul(self.delta)
    }
}

/// The packing plan of a step. Every party derives its own from shape, roster size and parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    shape: Shape,
    segments: Vec<Lanes>,
    coefficients: usize,
    roster: usize,
    params: &'static ParamSet,
}

impl Packing {
    /// Plans the lanes of every segment.
    ///
    /// `roster` is the number of members in the charter, not the number that will contribute.
    ///
    /// # Errors
    /// [`EncodeError`] when a cap is exceeded or a segment's values are too wide for the roster.
    pub fn plan(
        shape: &Shape,
        roster: usize,
        params: &'static ParamSet,
    ) -> Result<Self, EncodeError> {
        if shape.0.len() > MAX_SEGMENTS {
            return Err(EncodeError::TooManySegments {
                found: shape.0.len(),
                cap: MAX_SEGMENTS,
            });
        }
        if !(1..=MAX_ROSTER).contains(&roster) {
            return Err(EncodeError::Roster {
                roster,
                maximum: MAX_ROSTER,
            });
        }
        let noise = params.noise_bound(roster);
        let mut segments = Vec::with_capacity(shape.0.len());
        let mut coefficients = 0usize;
        for (index, &segment) in shape.0.iter().enumerate() {
            let lanes = Lanes::plan(index, segment, roster, noise)?;
            coefficients = coefficients.saturating_add(lanes.coefficients);
            if coefficients > MAX_COEFFICIENTS {
                return Err(EncodeError::TooManyCoefficients {
                    cap: MAX_COEFFICIENTS,
                });
            }
            segments.push(lanes);
        }
        Ok(Self {
            shape: shape.clone(),
            segments,
            coefficients,
            roster,
            params,
        })
    }

    /// Coefficients used; the body of a ciphertext has eight bytes for each.
    #[must_use]
    pub const fn coefficients(&self) -> usize {
        self.coefficients
    }

    /// Bytes of one member's body.
    #[must_use]
    pub const fn body_len(&self) -> usize {
        self.coefficients * 8
    }

    /// Polynomials, the last one perhaps used in part.
    #[must_use]
    pub const fn polynomials(&self) -> usize {
        self.coefficients.div_ceil(self.params.degree())
    }

    /// Codes in an answer.
    #[must_use]
    pub fn codes(&self) -> usize {
        self.shape.codes()
    }

    /// The shape the plan was made for.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Members the plan was made for.
    #[must_use]
    pub const fn roster(&self) -> usize {
        self.roster
    }

    /// The parameters the plan was made for.
    #[must_use]
    pub const fn params(&self) -> &'static ParamSet {
        self.params
    }

    /// The plan of each segment, in the order of the shape.
    #[must_use]
    pub fn segments(&self) -> &[Lanes] {
        &self.segments
    }

    /// Packs an answer's codes: one value Δ·m below q per coefficient.
    ///
    /// # Errors
    /// As [`Shape::check`].
    pub fn encode(&self, codes: &[u64]) -> Result<Vec<u64>, EncodeError> {
        self.shape.check(codes)?;
        let mut messages = Vec::with_capacity(self.coefficients);
        let mut rest = codes;
        for lanes in &self.segments {
            let (own, after) = rest.split_at(lanes.segment.count);
            rest = after;
            encode_segment(lanes, own, &mut messages);
        }
        Ok(messages)
    }

    /// Unpacks coefficients that hold exactly Δ·m (without noise): the inverse of [`encode`] and
    /// of sums of its results. For tests and plaintext sums; `open` decodes ciphertexts.
    ///
    /// Digits of malformed coefficients are meaningless.
    ///
    /// [`encode`]: Packing::encode
    #[must_use]
    pub fn decode(&self, messages: &[u64]) -> Vec<u64> {
        let mut codes = Vec::with_capacity(self.codes());
        let mut rest = messages;
        for lanes in &self.segments {
            let (own, after) = rest.split_at(lanes.coefficients.min(rest.len()));
            rest = after;
            let mut left = lanes.segment.count;
            for &message in own {
                let mut digits = message / lanes.delta;
                for _ in 0..lanes.lanes.min(left) {
                    codes.push(digits % lanes.base);
                    digits /= lanes.base;
                }
                left = left.saturating_sub(lanes.lanes);
            }
        }
        codes
    }
}

/// Appends one segment's coefficients. The common lane counts get loops of fixed length.
fn encode_segment(lanes: &Lanes, codes: &[u64], messages: &mut Vec<u64>) {
    fn fixed<const L: usize>(lanes: &Lanes, codes: &[u64], messages: &mut Vec<u64>) {
        let (groups, rest) = codes.as_chunks::<L>();
        messages.extend(groups.iter().map(|group| lanes.pack(group)));
        if !rest.is_empty() {
            messages.push(lanes.pack(rest));
        }
    }
    match lanes.lanes {
        1 => fixed::<1>(lanes, codes, messages),
        2 => fixed::<2>(lanes, codes, messages),
        3 => fixed::<3>(lanes, codes, messages),
        4 => fixed::<4>(lanes, codes, messages),
        wide => messages.extend(codes.chunks(wide).map(|group| lanes.pack(group))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(max: u64, roster: usize) -> Lanes {
        let shape = Shape(vec![Segment { max, count: 1 }]);
        Packing::plan(&shape, roster, ParamSet::current())
            .unwrap()
            .segments[0]
    }

    #[test]
    fn lanes_are_those_of_the_design() {
        for (roster, wide_lanes, wider_lanes) in [(4, 3, 2), (16, 2, 1), (100, 2, 1), (1000, 2, 1)]
        {
            assert_eq!(
                plan((1 << 16) - 1, roster).lanes,
                wide_lanes,
                "16 bits, {roster} members"
            );
            assert_eq!(
                plan((1 << 24) - 1, roster).lanes,
                wider_lanes,
                "24 bits, {roster} members"
            );
        }
        // Just: Δ = 4295 against 2·E = 4204.
        assert_eq!(plan((1 << 16) - 1, 1000).delta, 4295);
        assert_eq!(ParamSet::current().noise_bound(1000), 2102);
        // Two lanes up to 23.4 bits for 16 members.
        assert_eq!(plan(2f64.powf(23.4) as u64, 16).lanes, 2);
        assert_eq!(plan(2f64.powf(23.5) as u64, 16).lanes, 1);
    }

    #[test]
    fn lanes_are_as_many_as_fit_and_no_more() {
        for roster in [1, 2, 3, 4, 7, 16, 64, 1000] {
            let noise = u128::from(2 * ParamSet::current().noise_bound(roster));
            for bits in 1..=41 {
                let lanes = plan((1 << bits) - 1, roster);
                let power = u128::from(lanes.base).pow(lanes.lanes as u32);
                assert_eq!(u128::from(lanes.delta), u128::from(Q) / power);
                assert!(
                    u128::from(lanes.delta) > noise,
                    "{bits} bits, {roster} members"
                );
                let more = power * u128::from(lanes.base);
                assert!(
                    u128::from(Q) / more <= noise,
                    "{bits} bits, {roster} members"
                );
            }
        }
    }

    #[test]
    fn values_below_2_to_the_53_over_64_fit_any_consortium() {
        for roster in 3..=64 {
            assert!(plan((1 << 47) - 1, roster).lanes >= 1);
        }
        let shape = Shape(vec![
            Segment { max: 1, count: 1 },
            Segment {
                max: u64::MAX,
                count: 1,
            },
        ]);
        for roster in [1, 3, 64] {
            let error = Packing::plan(&shape, roster, ParamSet::current()).unwrap_err();
            assert!(
                matches!(error, EncodeError::ValueTooWide { segment: 1, .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn segments_keep_their_places() {
        let shape = Shape(vec![
            Segment { max: 1, count: 100 },
            Segment { max: 0, count: 3 },
            Segment {
                max: 65_535,
                count: 7,
            },
            Segment { max: 9, count: 0 },
            Segment {
                max: 1 << 40,
                count: 2,
            },
        ]);
        let packing = Packing::plan(&shape, 4, ParamSet::current()).unwrap();
        let codes: Vec<u64> = (0..100u64)
            .map(|i| i % 2)
            .chain([0; 3])
            .chain((0..7).map(|i| 65_535 - i))
            .chain([1 << 40, 12345])
            .collect();
        let messages = packing.encode(&codes).unwrap();
        assert_eq!(messages.len(), packing.coefficients());
        assert_eq!(packing.decode(&messages), codes);
        let expected: usize = packing
            .segments()
            .iter()
            .map(|lanes| lanes.coefficients)
            .sum();
        assert_eq!(packing.coefficients(), expected);
        assert_eq!(packing.segments()[2].coefficients, 3);
        assert_eq!(packing.segments()[3].coefficients, 0);
    }

    #[test]
    fn wrong_answers_and_shapes_are_refused() {
        let params = ParamSet::current();
        let shape = Shape(vec![
            Segment { max: 5, count: 2 },
            Segment { max: 7, count: 1 },
        ]);
        let packing = Packing::plan(&shape, 3, params).unwrap();
        assert_eq!(
            packing.encode(&[5, 5]),
            Err(EncodeError::CodeCount {
                expected: 3,
                found: 2
            })
        );
        assert_eq!(
            packing.encode(&[5, 5, 8]),
            Err(EncodeError::CodeTooLarge { segment: 1, max: 7 })
        );
        assert!(packing.encode(&[5, 5, 7]).is_ok());

        let long = Shape(vec![
            Segment {
                max: u64::from(u32::MAX),
                count: usize::MAX
            };
            3
        ]);
        assert!(matches!(
            Packing::plan(&long, 3, params),
            Err(EncodeError::TooManyCoefficients { .. })
        ));
        let many = Shape(vec![Segment { max: 1, count: 0 }; MAX_SEGMENTS + 1]);
        assert!(matches!(
            Packing::plan(&many, 3, params),
            Err(EncodeError::TooManySegments { .. })
        ));
        for roster in [0, MAX_ROSTER + 1] {
            assert!(matches!(
                Packing::plan(&shape, roster, params),
                Err(EncodeError::Roster { .. })
            ));
        }
    }

    #[test]
    fn shapes_that_differ_hash_differently() {
        let shapes = [
            Shape(vec![]),
            Shape(vec![Segment { max: 1, count: 2 }]),
            Shape(vec![Segment { max: 2, count: 1 }]),
            Shape(vec![Segment { max: 1, count: 1 }; 2]),
        ];
        for (i, one) in shapes.iter().enumerate() {
            for other in &shapes[i + 1..] {
                assert_ne!(one.digest(), other.digest());
            }
        }
    }
}
