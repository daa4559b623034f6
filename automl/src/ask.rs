//! What a step asks every site to compute, and what comes back.
//!
//! An [`Ask`] is a list of [`Part`]s from a closed enum. Each part knows its
//! [`Segment`]s before any site answers, so the coordinator, every site and an
//! auditor derive the same shape. An [`Answer`] is one vector of non-negative
//! integer codes; [`Totals`] is the element-wise sum of the answers, and undoes
//! the encoding.

mod encode;
mod part;
mod totals;

pub use encode::{Answer, EncodeError, Encoder};
pub use totals::{PartTotals, Totals};

use part::{BLEND, COMPARE, GRAM, NOISY, PROFILE, SCORE, TRIAL};

use serde::{Deserialize, Serialize};

use crate::blend::{BlendPart, GramPart};
use crate::family::AnyPart;
use crate::metric::{ComparePart, Rows, ScorePart};
use crate::noise::NoisyPart;
use crate::object::ObjectId;
use crate::profile::ProfilePart;
use crate::trial::TrialPart;

/// Largest ask in bytes. A part is below 1 KiB of JSON except vocabularies in
/// profile parts, blends (at most 4 KiB, one or two in an ask), comparisons (at most 8 KiB, one in an ask)
/// and trials (as a rule some 100 KiB, alone in an ask); 1 MiB leaves room for [`MAX_PARTS`] of them.
pub const MAX_ASK_BYTES: usize = 1 << 20;

/// Most parts in one ask: a portfolio of 256 candidates.
pub const MAX_PARTS: usize = 256;

/// Most numbers a step returns: 16 Mi, what the secure sum carries at one number to a ring
/// coefficient (128 MiB of ciphertext a site), and at 8 bytes as much of a site's memory.
pub const MAX_NUMBERS: usize = 16 << 20;

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
            Self::Count { count, .. } | Self::Integer { count, .. } | Self::Real { count, .. } => {
                count
            }
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
            // So that offsets can be undone for any number of members.
            Self::Integer { min, .. } if min.unsigned_abs() > MAX_CODE => {
                return bad("min is beyond 2^46");
            }
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
    /// Every site trains many candidates alone, which decides which of them the race takes.
    LocalSearch,
    /// Candidates train and are compared.
    Race,
    /// Which of the best go together.
    Ensemble,
    /// Whether that is better than the best one alone, and what its probabilities mean.
    Calibrate,
    /// The best of this round beside the champion of the round before.
    Compare,
    /// The sealed test rows, once, for the champion.
    Test,
}

impl Stage {
    /// Its name in JSON and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::LocalSearch => "local_search",
            Self::Race => "race",
            Self::Ensemble => "ensemble",
            Self::Calibrate => "calibrate",
            Self::Compare => "compare",
            Self::Test => "test",
        }
    }
}

/// One thing to compute. As JSON an object with one key: `profile`, `trial`, `score`, `gram`,
/// `blend`, `compare`, `noisy`, or the name of a family.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Counts and moments of columns over the training rows.
    Profile(ProfilePart),
    /// Losses of candidates that the site trains alone, on a sample of its training rows.
    Trial(TrialPart),
    /// Losses and curves of a model on validation or test rows.
    Score(ScorePart),
    /// Products of several models' errors on validation rows.
    Gram(GramPart),
    /// Losses and curves of a weighted mean of models on validation or test rows.
    Blend(BlendPart),
    /// Losses of two champions on the same validation rows, row by row.
    Compare(ComparePart),
    /// Bounded sums with noise: all that is answered under differential privacy.
    Noisy(NoisyPart),
    /// What a family's candidate needs for its next step of training.
    Train(AnyPart),
}

impl Part {
    /// What the part returns, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        match self {
            Self::Profile(part) => part.segments(),
            Self::Trial(part) => part.segments(),
            Self::Score(part) => part.segments(),
            Self::Gram(part) => part.segments(),
            Self::Blend(part) => part.segments(),
            Self::Compare(part) => part.segments(),
            Self::Noisy(part) => part.segments(),
            Self::Train(part) => part.segments(),
        }
    }

    /// The objects a site needs to answer.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        match self {
            Self::Profile(part) => part.objects(),
            Self::Trial(part) => part.objects(),
            Self::Score(part) => vec![part.pipeline, part.model],
            Self::Gram(part) => part.objects(),
            Self::Blend(part) => part.objects(),
            Self::Compare(part) => part.objects(),
            Self::Noisy(part) => part.objects(),
            Self::Train(part) => {
                let mut ids = part.objects();
                ids.push(part.pipeline());
                ids
            }
        }
    }

    /// Its key in JSON: `profile`, `trial`, `score`, `gram`, `blend`, `compare`, `noisy`, or the
    /// name of a family.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Profile(_) => PROFILE,
            Self::Trial(_) => TRIAL,
            Self::Score(_) => SCORE,
            Self::Gram(_) => GRAM,
            Self::Blend(_) => BLEND,
            Self::Compare(_) => COMPARE,
            Self::Noisy(_) => NOISY,
            Self::Train(part) => part.family(),
        }
    }

    /// What a site's policy may know it by: [`Part::name`], and the families that it trains.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        let mut kinds = vec![self.name()];
        if let Self::Trial(part) = self {
            kinds.extend(part.families());
        }
        kinds
    }

    /// Whether it reads test rows.
    #[must_use]
    pub fn reads_test(&self) -> bool {
        match self {
            Self::Score(part) => part.on == Rows::Test,
            Self::Blend(part) => part.on == Rows::Test,
            Self::Noisy(part) => matches!(part, NoisyPart::Outcomes(_)),
            // None of these can: see what they are given in `site`.
            Self::Profile(_)
            | Self::Trial(_)
            | Self::Gram(_)
            | Self::Compare(_)
            | Self::Train(_) => false,
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
            Self::Trial(part) => part.check().map_err(AskError::Part),
            Self::Score(part) => part.check().map_err(AskError::Part),
            Self::Gram(part) => part.check().map_err(AskError::Part),
            Self::Blend(part) => part.check().map_err(AskError::Part),
            Self::Compare(part) => part.check().map_err(AskError::Part),
            Self::Noisy(part) => part.check().map_err(AskError::Part),
            Self::Train(part) => part.check().map_err(AskError::Part),
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

#[cfg(test)]
mod tests;
