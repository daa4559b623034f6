//! What a step asks every site to compute, and what comes back.
//!
//! An [`Ask`] is a list of [`Part`]s from a closed enum. Each part knows its
//! [`Segment`]s before any site answers, so the coordinator, every site and an
//! auditor derive the same shape. An [`Answer`] is one vector of non-negative
//! integer codes; [`Totals`] is the element-wise sum of the answers, and undoes
//! the encoding.

use serde::{Deserialize, Serialize};

use crate::family::logistic::NewtonPart;
use crate::family::mlp::DescendPart;
use crate::metric::ScorePart;
use crate::object::ObjectId;
use crate::profile::ProfilePart;

/// Largest ask in bytes. A part is below 1 KiB of JSON except vocabularies in
/// profile parts; 1 MiB leaves room for [`MAX_PARTS`] of them.
pub const MAX_ASK_BYTES: usize = 1 << 20;

/// Most parts in one ask: a portfolio of 256 candidates.
pub const MAX_PARTS: usize = 256;

/// Most numbers a step returns: 4 Mi, 32 MiB of ciphertext a site at 8 bytes.
pub const MAX_NUMBERS: usize = 4 << 20;

/// Largest code a single site may send: 64 sites (the largest consortium of
/// this version) times 2^46 is 2^52, so sums stay exact in an `f64` (2^53).
pub const MAX_CODE: u64 = 1 << 46;

/// A run of equally bounded numbers in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Segment {
    /// Counts from 0 to `max`.
    Count {
        /// Largest value of one site.
        max: u64,
        /// How many numbers.
        count: usize,
    },
    /// Exact signed integers from `min` to `max`, sent as `value - min`.
    Integer {
        /// Smallest value of one site.
        min: i64,
        /// Largest value of one site.
        max: i64,
        /// How many numbers.
        count: usize,
    },
    /// Real numbers saturated to `-clip..=clip` and rounded to the nearest of
    /// `levels + 1` evenly spaced values.
    Real {
        /// Largest magnitude, positive and finite.
        clip: f64,
        /// Steps from `-clip` to `clip`, an even number so that 0 is exact.
        levels: u64,
        /// How many numbers.
        count: usize,
    },
}

impl Segment {
    /// How many numbers the segment holds.
    #[must_use]
    pub fn count(&self) -> usize {
        match *self {
            Self::Count { count, .. }
            | Self::Integer { count, .. }
            | Self::Real { count, .. } => count,
        }
    }

    /// The largest code one site can send in this segment.
    #[must_use]
    pub fn max_code(&self) -> u64 {
        match *self {
            Self::Count { max, .. } => max,
            Self::Integer { min, max, .. } => max.abs_diff(min),
            Self::Real { levels, .. } => levels,
        }
    }

    fn check(&self) -> Result<(), AskError> {
        let bad = |what: &str| Err(AskError::Segment(format!("{what} in {self:?}")));
        match *self {
            Self::Integer { min, max, .. } if min > max => return bad("min is above max"),
            Self::Real { clip, .. } if !(clip.is_finite() && clip > 0.0) => {
                return bad("clip is not a positive number");
            }
            Self::Real { levels, .. } if levels == 0 || levels % 2 == 1 => {
                return bad("levels is not a positive even number");
            }
            _ => {}
        }
        if self.max_code() == 0 || self.max_code() > MAX_CODE {
            return bad("largest code is 0 or above 2^46");
        }
        Ok(())
    }
}

/// Where in a round a step belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// What the columns look like over all sites.
    Profile,
    /// Candidates train and are compared.
    Race,
    /// The sealed test rows, once, for the champion.
    Test,
}

/// One thing to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Counts and moments of columns over the training rows.
    Profile(ProfilePart),
    /// Gradient, Hessian and losses of logistic or linear models.
    Newton(NewtonPart),
    /// Local training of networks: clipped updates and losses.
    Descend(DescendPart),
    /// Losses and curves of a model on validation or test rows.
    Score(ScorePart),
}

impl Part {
    /// What the part returns, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        match self {
            Self::Profile(part) => part.segments(),
            Self::Newton(part) => part.segments(),
            Self::Descend(part) => part.segments(),
            Self::Score(part) => part.segments(),
        }
    }

    /// The objects a site needs to answer.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        match self {
            Self::Profile(part) => part.objects(),
            Self::Newton(part) => vec![part.pipeline, part.model],
            Self::Descend(part) => vec![part.pipeline, part.model],
            Self::Score(part) => vec![part.pipeline, part.model],
        }
    }

    /// The numbers this part adds to the vector.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.segments().iter().map(Segment::count).sum()
    }

    fn check(&self) -> Result<(), AskError> {
        match self {
            Self::Profile(part) => part.check().map_err(AskError::Part),
            Self::Newton(part) => part.check().map_err(AskError::Part),
            Self::Descend(part) => part.check().map_err(AskError::Part),
            Self::Score(part) => part.check().map_err(AskError::Part),
        }
    }
}

/// What a step asks every site to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Number of this ask in its run, from 1: no two asks of a run are equal.
    pub sequence: u32,
    /// Where in the round.
    pub stage: Stage,
    /// The task this serves.
    pub task: ObjectId,
    /// What to compute; the answer is the parts' answers one after the other.
    pub parts: Vec<Part>,
}

/// An ask that breaks a rule every party checks.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Too many bytes, parts or numbers, or none.
    #[error("ask has {got} {what}, allowed are 1 to {cap}")]
    Size {
        /// What was counted.
        what: &'static str,
        /// How many there were.
        got: usize,
        /// How many there may be.
        cap: usize,
    },
    /// Not the JSON of an ask this version knows.
    #[error("ask cannot be read by this version: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A segment out of bounds.
    #[error("ask has a segment out of bounds: {0}")]
    Segment(String),
    /// A part out of bounds.
    #[error("ask has a part out of bounds: {0}")]
    Part(String),
}

impl Ask {
    /// What an answer holds, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        self.parts.iter().flat_map(Part::segments).collect()
    }

    /// How many numbers an answer has.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.parts.iter().map(Part::numbers).sum()
    }

    /// Every object a site needs for the answer, sorted, each once.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        let mut ids: Vec<ObjectId> = self.parts.iter().flat_map(Part::objects).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Canonical bytes: compact JSON in field order.
    ///
    /// # Errors
    /// When the ask breaks a cap.
    pub fn to_bytes(&self) -> Result<Vec<u8>, AskError> {
        self.check()?;
        let bytes = serde_json::to_vec(self)?;
        within("bytes", bytes.len(), MAX_ASK_BYTES)?;
        Ok(bytes)
    }

    /// Reads an ask and checks every cap.
    ///
    /// # Errors
    /// When there are more than `cap` (or [`MAX_ASK_BYTES`]) bytes, or the
    /// ask is malformed or out of bounds.
    pub fn from_bytes(bytes: &[u8], cap: usize) -> Result<Self, AskError> {
        within("bytes", bytes.len(), cap.min(MAX_ASK_BYTES))?;
        let ask: Self = serde_json::from_slice(bytes)?;
        ask.check()?;
        Ok(ask)
    }

    /// Hash of the canonical bytes.
    ///
    /// # Errors
    /// When the ask breaks a cap.
    pub fn digest(&self) -> Result<ObjectId, AskError> {
        Ok(ObjectId::of(&self.to_bytes()?))
    }

    /// Checks every cap; whoever passes an ask on has done this.
    ///
    /// # Errors
    /// Names the first rule that is broken.
    pub fn check(&self) -> Result<(), AskError> {
        within("parts", self.parts.len(), MAX_PARTS)?;
        // Parts first: their caps bound the segments computed from them.
        for part in &self.parts {
            part.check()?;
        }
        let segments = self.segments();
        for segment in &segments {
            segment.check()?;
        }
        within(
            "numbers",
            segments.iter().map(Segment::count).sum(),
            MAX_NUMBERS,
        )
    }
}

fn within(what: &'static str, got: usize, cap: usize) -> Result<(), AskError> {
    if got == 0 || got > cap {
        return Err(AskError::Size { what, got, cap });
    }
    Ok(())
}

/// A site's codes for an ask, one for each number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Each at most its segment's [`Segment::max_code`].
    pub codes: Vec<u64>,
}

/// A value did not fit the segment it was meant for.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The value is outside the segment's bounds.
    #[error("value {value} at number {at} is outside {segment:?}")]
    OutOfBounds {
        /// Index in the part's numbers.
        at: usize,
        /// What was to be encoded.
        value: String,
        /// The segment it was meant for.
        segment: Segment,
    },
    /// More or fewer values than the segments hold, or another kind.
    #[error("part was given {got} numbers of the right kinds, its segments hold {expected}")]
    Count {
        /// Values encoded.
        got: usize,
        /// Values the segments hold.
        expected: usize,
    },
}

/// Writes one part's values as codes, in segment order.
#[derive(Debug)]
pub struct Encoder {
    segments: Vec<Segment>,
    current: usize,
    left: usize,
    codes: Vec<u64>,
}

impl Encoder {
    /// An encoder for a part's segments.
    #[must_use]
    pub fn new(segments: &[Segment]) -> Self {
        let mut encoder = Self {
            segments: segments.to_vec(),
            current: 0,
            left: segments.first().map_or(0, Segment::count),
            codes: Vec::with_capacity(segments.iter().map(Segment::count).sum()),
        };
        encoder.skip_empty();
        encoder
    }

    fn skip_empty(&mut self) {
        while self.left == 0 && self.current < self.segments.len() {
            self.current += 1;
            self.left = self.segments.get(self.current).map_or(0, Segment::count);
        }
    }

    fn expected(&self) -> usize {
        self.segments.iter().map(Segment::count).sum()
    }

    fn segment(&self) -> Result<Segment, EncodeError> {
        self.segments
            .get(self.current)
            .copied()
            .ok_or(EncodeError::Count {
                got: self.codes.len() + 1,
                expected: self.expected(),
            })
    }

    fn push(&mut self, code: Option<u64>, value: impl ToString) -> Result<(), EncodeError> {
        let segment = self.segment()?;
        let code =
            code.filter(|code| *code <= segment.max_code())
                .ok_or(EncodeError::OutOfBounds {
                    at: self.codes.len(),
                    value: value.to_string(),
                    segment,
                })?;
        self.codes.push(code);
        self.left -= 1;
        self.skip_empty();
        Ok(())
    }

    /// The next number, in a `Count` segment.
    ///
    /// # Errors
    /// When it is above the segment's bound, or no count is due.
    pub fn count(&mut self, value: u64) -> Result<(), EncodeError> {
        let code = match self.segment()? {
            Segment::Count { .. } => Some(value),
            _ => None,
        };
        self.push(code, value)
    }

    /// The next number, in an `Integer` segment.
    ///
    /// # Errors
    /// When it is outside the segment's bounds, or no integer is due.
    pub fn integer(&mut self, value: i64) -> Result<(), EncodeError> {
        let code = match self.segment()? {
            Segment::Integer { min, .. } if value >= min => Some(value.abs_diff(min)),
            _ => None,
        };
        self.push(code, value)
    }

    /// The next number, in a `Real` segment; saturates, not-a-number becomes 0.
    ///
    /// # Errors
    /// When no real number is due.
    pub fn real(&mut self, value: f64) -> Result<(), EncodeError> {
        let code = match self.segment()? {
            Segment::Real { clip, levels, .. } => {
                let value = if value.is_nan() { 0.0 } else { value };
                let share = value.clamp(-clip, clip) / clip;
                let half = levels as f64 / 2.0;
                Some((libm::round(share * half) + half) as u64)
            }
            _ => None,
        };
        self.push(code, value)
    }

    /// The codes, when every segment is full.
    ///
    /// # Errors
    /// When numbers are missing.
    pub fn finish(self) -> Result<Vec<u64>, EncodeError> {
        let expected = self.expected();
        if self.codes.len() != expected {
            return Err(EncodeError::Count {
                got: self.codes.len(),
                expected,
            });
        }
        Ok(self.codes)
    }
}

/// The sum of the contributing sites' answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Summed codes, one for each number of the ask.
    pub sums: Vec<u64>,
    /// Who contributed: member indices, strictly ascending.
    pub contributors: Vec<u16>,
}

impl Totals {
    /// Checks that these can be the totals of `ask`.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn check(&self, ask: &Ask) -> Result<(), String> {
        if self.contributors.is_empty() || !self.contributors.is_sorted_by(|a, b| a < b) {
            return Err(format!(
                "contributors {:?} are not strictly ascending",
                self.contributors
            ));
        }
        let segments = ask.segments();
        let expected: usize = segments.iter().map(Segment::count).sum();
        if self.sums.len() != expected {
            return Err(format!(
                "{} sums for an ask of {expected} numbers",
                self.sums.len()
            ));
        }
        let sites = self.contributors.len() as u64;
        let bounds = segments
            .iter()
            .flat_map(|s| std::iter::repeat_n(s.max_code() * sites, s.count()));
        match self.sums.iter().zip(bounds).position(|(sum, max)| *sum > max) {
            Some(at) => Err(format!("sum {at} is above what {sites} sites can send")),
            None => Ok(()),
        }
    }

    /// The totals of part `index` of `ask`; the totals must fit the ask.
    #[must_use]
    pub fn part<'a>(&'a self, ask: &Ask, index: usize) -> PartTotals<'a> {
        let start: usize = ask.parts[..index].iter().map(Part::numbers).sum();
        let segments = ask.parts[index].segments();
        let numbers: usize = segments.iter().map(Segment::count).sum();
        PartTotals {
            segments,
            sums: &self.sums[start..start + numbers],
            contributors: self.contributors.len(),
        }
    }

    /// Hash of sums and contributors, for journals and lineage.
    #[must_use]
    pub fn digest(&self) -> ObjectId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.contributors.len() as u64).to_le_bytes());
        for member in &self.contributors {
            hasher.update(&member.to_le_bytes());
        }
        for sum in &self.sums {
            hasher.update(&sum.to_le_bytes());
        }
        ObjectId(*hasher.finalize().as_bytes())
    }
}

/// One part's share of the totals, with the encoding undone.
#[derive(Clone, Debug)]
pub struct PartTotals<'a> {
    segments: Vec<Segment>,
    sums: &'a [u64],
    contributors: usize,
}

impl PartTotals<'_> {
    /// How many sites are in the sum.
    #[must_use]
    pub fn contributors(&self) -> usize {
        self.contributors
    }

    fn codes(&self, segment: usize) -> &[u64] {
        let start: usize = self.segments[..segment].iter().map(Segment::count).sum();
        &self.sums[start..start + self.segments[segment].count()]
    }

    /// Summed counts of a `Count` segment.
    ///
    /// # Panics
    /// When the part has no such segment: an error of the program.
    #[must_use]
    pub fn counts(&self, segment: usize) -> Vec<u64> {
        assert!(
            matches!(self.segments[segment], Segment::Count { .. }),
            "segment {segment} holds no counts"
        );
        self.codes(segment).to_vec()
    }

    /// Summed values of an `Integer` segment.
    ///
    /// # Panics
    /// When the part has no such segment: an error of the program.
    #[must_use]
    pub fn integers(&self, segment: usize) -> Vec<i64> {
        let Segment::Integer { min, .. } = self.segments[segment] else {
            panic!("segment {segment} holds no integers");
        };
        // Below 2^52 each (see MAX_CODE), so neither side can overflow.
        let offset = min * self.contributors as i64;
        self.codes(segment)
            .iter()
            .map(|code| *code as i64 + offset)
            .collect()
    }

    /// Summed values of a `Real` segment.
    ///
    /// # Panics
    /// When the part has no such segment: an error of the program.
    #[must_use]
    pub fn reals(&self, segment: usize) -> Vec<f64> {
        let Segment::Real { clip, levels, .. } = self.segments[segment] else {
            panic!("segment {segment} holds no real numbers");
        };
        let half = levels as f64 / 2.0;
        let offset = half * self.contributors as f64;
        self.codes(segment)
            .iter()
            .map(|code| (*code as f64 - offset) / half * clip)
            .collect()
    }
}
