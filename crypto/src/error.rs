//! What can go wrong, where, and what to do about it.

use thiserror::Error;

/// Text that is not the hexadecimal form of a fixed-length value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HexError {
    /// The number of digits is wrong.
    #[error(
        "{expected} hexadecimal digits expected, {found} characters found; copy the whole value"
    )]
    Length {
        /// Digits expected.
        expected: usize,
        /// Bytes of text found.
        found: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("not a hexadecimal digit near position {position}; only 0-9 and a-f are allowed")]
    Digit {
        /// Where the pair of digits starts that holds the culprit.
        position: usize,
    },
}

/// The operating system gave no randomness.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the operating system gave no randomness ({reason}); nothing can be encrypted or signed without it"
)]
pub struct RandomnessError {
    /// What the operating system said.
    pub reason: String,
}

/// Parameters or a consortium size that this build does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParamsError {
    /// No compiled-in set has this id.
    #[error(
        "unknown parameter set `{id}`; this build knows {known}: upgrade it, or use a known set in the charter"
    )]
    UnknownSet {
        /// The id that was asked for.
        id: String,
        /// The ids this build knows.
        known: &'static str,
    },
    /// No thresholds exist for this many members.
    #[error("a consortium has {minimum} to {maximum} members, not {members}")]
    Members {
        /// Members asked for.
        members: usize,
        /// Fewest members supported.
        minimum: usize,
        /// Most members supported.
        maximum: usize,
    },
}

/// A shape or answer that cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// More segments than [`crate::encode::MAX_SEGMENTS`].
    #[error(
        "the shape has {found} segments, at most {cap} are allowed; merge segments with the same maximum"
    )]
    TooManySegments {
        /// Segments found.
        found: usize,
        /// The cap.
        cap: usize,
    },
    /// More coefficients than [`crate::encode::MAX_COEFFICIENTS`].
    #[error(
        "the shape needs more than {cap} coefficients; ask for fewer values or spread them over several steps"
    )]
    TooManyCoefficients {
        /// The cap.
        cap: usize,
    },
    /// Not even one value fits in a coefficient.
    #[error(
        "segment {segment}: {roster} members with values up to {max} do not fit in one coefficient; use fewer levels"
    )]
    ValueTooWide {
        /// Which segment, from 0.
        segment: usize,
        /// Its largest value.
        max: u64,
        /// Members on the roster.
        roster: usize,
    },
    /// The roster has no or too many members.
    #[error("cannot pack for {roster} members; 1 to {maximum} are supported")]
    Roster {
        /// Members on the roster.
        roster: usize,
        /// Most members supported.
        maximum: usize,
    },
    /// An answer does not have as many codes as its shape says.
    #[error("the answer has {found} codes, its shape says {expected}")]
    CodeCount {
        /// Codes the shape asks for.
        expected: usize,
        /// Codes found.
        found: usize,
    },
    /// A code is above its segment's maximum. The code itself is a secret and not named.
    #[error("segment {segment}: a code is above the segment's maximum {max}")]
    CodeTooLarge {
        /// Which segment, from 0.
        segment: usize,
        /// Its largest value.
        max: u64,
    },
}

/// A body that must not be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    /// Too many or too few bytes.
    #[error("the body has {found} bytes, {expected} expected; drop this contribution")]
    Length {
        /// Bytes expected.
        expected: usize,
        /// Bytes found (or seen so far, when too many).
        found: usize,
    },
    /// A coefficient is not below q.
    #[error(
        "a coefficient near number {coefficient} is not below the modulus; drop this contribution"
    )]
    NotCanonical {
        /// The first coefficient of the part in which it was found.
        coefficient: usize,
    },
}

/// A sum that did not open. Nothing of it may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The sum has another number of coefficients than the packing plan.
    #[error("the sum has {found} coefficients, the packing plan {expected}")]
    Length {
        /// Coefficients of the plan.
        expected: usize,
        /// Coefficients of the sum.
        found: usize,
    },
    /// More contributors than the plan was made for, or none.
    #[error("{contributors} contributors, but the packing plan is for 1 to {roster}")]
    Contributors {
        /// Contributors claimed.
        contributors: usize,
        /// Members the plan was made for.
        roster: usize,
    },
    /// The residual of a coefficient is out of bound: a wrong key share, a body under another key
    /// or mask, or too much noise.
    #[error(
        "coefficient {coefficient} fails the noise check; the step has failed and its sum must not be used"
    )]
    Noise {
        /// The first coefficient that fails.
        coefficient: usize,
    },
    /// A summed value is above what the contributors could honestly have sent.
    #[error(
        "coefficient {coefficient} holds a sum above contributors times maximum; the step has failed and its sum must not be used"
    )]
    SumTooLarge {
        /// The first coefficient that fails.
        coefficient: usize,
    },
}

/// A share or a set of shares that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ShareError {
    /// A threshold or a committee that cannot be.
    #[error(
        "cannot share among {committee} members with threshold {threshold}; 1 <= threshold <= committee <= {maximum} is needed"
    )]
    Threshold {
        /// Committee size.
        committee: usize,
        /// Threshold.
        threshold: usize,
        /// Largest committee.
        maximum: usize,
    },
    /// A point outside the committee.
    #[error("share point {point} is not between 1 and {maximum}")]
    Point {
        /// The point.
        point: usize,
        /// Largest committee.
        maximum: usize,
    },
    /// A share of another length.
    #[error("a share has {found} bytes, {expected} expected")]
    Length {
        /// Bytes of a share.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// A coefficient is not below q.
    #[error("a coefficient of the share is not below the modulus")]
    NotCanonical,
    /// Shares of different members were to be added.
    #[error("shares at points {one} and {other} cannot be added")]
    MixedPoints {
        /// The sum's point.
        one: u16,
        /// The share's point.
        other: u16,
    },
    /// Fewer shares than the threshold.
    #[error("{found} released shares, {threshold} are needed to open the sum")]
    TooFew {
        /// Shares given.
        found: usize,
        /// Threshold.
        threshold: usize,
    },
    /// Two shares at one point.
    #[error("two released shares at point {point}")]
    Duplicate {
        /// The point.
        point: u16,
    },
}

/// Published values of a degree test that do not pass, or do not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DegreeError {
    /// Too few values to say anything.
    #[error("{found} values of the degree test, at least {needed} are needed")]
    TooFew {
        /// Values given.
        found: usize,
        /// Values needed.
        needed: usize,
    },
    /// Two values of one seat.
    #[error("two values of the degree test from seat {point}")]
    Duplicate {
        /// The seat.
        point: u16,
    },
    /// The values do not fit one polynomial: the dealer shared wrongly, or a member published a
    /// wrong value.
    #[error(
        "the dealing fails the degree test: its values do not lie on a polynomial of degree below {threshold}; leave the dealer out of the step"
    )]
    Degree {
        /// Threshold.
        threshold: usize,
    },
}

/// Sealing or opening a sealed message failed. Why is not told apart, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// The recipient's key is malformed.
    #[error("the recipient's sealing key is malformed; take it from the charter again")]
    PublicKey,
    /// The secret key has another length.
    #[error("a sealing secret has 32 bytes; restore the key file from a backup")]
    SecretKey,
    /// Encryption failed.
    #[error("the message could not be sealed")]
    Seal,
    /// The message was not sealed to this key under this context, or was changed on its way.
    #[error("the sealed message does not open under this key and context")]
    Open,
}

/// A key or signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Not a point of the curve, or a weak one.
    #[error("the identity key is malformed or weak")]
    Key,
    /// The signature does not hold for this key, purpose and message.
    #[error("the signature does not hold for this key, purpose and message")]
    Invalid,
}
