//! From summed codes back to summed values: what the search reads.

use serde::{Deserialize, Serialize};

use super::{Ask, Part, Segment};
use crate::object::ObjectId;

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
        match self
            .sums
            .iter()
            .zip(bounds)
            .position(|(sum, max)| *sum > max)
        {
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
    pub(super) segments: Vec<Segment>,
    pub(super) sums: &'a [u64],
    pub(super) contributors: usize,
}

impl<'a> PartTotals<'a> {
    /// Totals that came from no ask, for tests.
    #[cfg(test)]
    pub(crate) fn from_sums(segments: Vec<Segment>, sums: &'a [u64], contributors: usize) -> Self {
        Self {
            segments,
            sums,
            contributors,
        }
    }
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
