//! From values to codes: what a site sends.

use super::Segment;

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
        let code = code
            .filter(|code| *code <= segment.max_code())
            .ok_or_else(|| EncodeError::OutOfBounds {
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
