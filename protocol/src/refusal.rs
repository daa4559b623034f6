//! Reasons a peer may see. The code is stable and safe to act on; the detail is one line for
//! people and logs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_DETAIL_BYTES;

/// Defines the codes once: number, name, and what a reader should know.
macro_rules! codes {
    ($($number:literal $name:ident $text:literal;)*) => {
        /// A stable reason. A code that this version does not know stays readable as a number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "u16", into = "u16")]
        #[non_exhaustive]
        pub enum RefusalCode {
            $(#[doc = $text] $name,)*
            /// A code of a newer version.
            Unknown(u16),
        }

        impl RefusalCode {
            /// Every code this version knows.
            pub const ALL: &'static [RefusalCode] = &[$(RefusalCode::$name,)*];

            /// What the code means and what to do.
            #[must_use]
            pub fn describe(self) -> &'static str {
                match self {
                    $(RefusalCode::$name => $text,)*
                    RefusalCode::Unknown(_) => "a reason of a newer version; upgrade to see it",
                }
            }
        }

        impl From<u16> for RefusalCode {
            fn from(number: u16) -> Self {
                match number {
                    $($number => RefusalCode::$name,)*
                    other => RefusalCode::Unknown(other),
                }
            }
        }

        impl From<RefusalCode> for u16 {
            fn from(code: RefusalCode) -> u16 {
                match code {
                    $(RefusalCode::$name => $number,)*
                    RefusalCode::Unknown(other) => other,
                }
            }
        }
    };
}

codes! {
    100 Version "the peers speak different protocol versions; upgrade the older one";
    101 Malformed "a message could not be read";
    102 NotAllowed "the peer's role does not allow this";
    103 UnknownMember "not a member under the charter in force";
    104 Busy "too much is under way; try again later";
    105 Internal "the peer failed inside; its log says why";
    106 NoSeat "the member holds no seat on the committee";
    107 AlreadyConnected "another process works with this member's keys and is connected; stop one of the two";
    110 UnknownRun "no such run here";
    111 UnknownObject "no such object here";
    112 Conflict "it is already done, or something else stands in its place";
    113 Expired "it has expired or was used before";
    120 CharterMissing "no charter is in force; sign one first";
    121 CharterMismatch "the step names another charter than the pinned one";
    122 CharterInvalid "the charter does not verify against the pinned one";
    130 UnknownParameters "the parameter set is not compiled in";
    131 BadSignature "a signature does not verify";
    132 StepNotNew "the step's number is not above every earlier one of its run";
    133 AlreadyAnswered "the step was answered before and its bytes are gone; ask again as a new step";
    134 AskMismatch "the ask's bytes do not match the announced digest";
    135 ShapeMismatch "the ask's shape does not match the announced digest";
    136 RosterTooSmall "the roster is smaller than the scheme allows";
    137 AskTooLarge "the ask or its answer is over a cap";
    138 PolicyDenied "the site's policy does not allow this";
    139 AskNotUnderstood "the ask is not one of the kinds this site knows";
    140 AnswerOutOfRange "the site's answer does not fit the announced shape";
    141 TrainerFailed "the site could not compute its answer; its log says why";
    142 LedgerRewritten "the coordinator's ledger does not begin with what this member cosigned";
    150 UnknownStep "the step was not announced, or is over";
    151 ProposalInvalid "the proposed set breaks a rule";
    152 CohortTooSmall "the proposed set is below the minimum of contributors";
    153 ShareMissing "a contributor's share was not delivered or did not open";
    154 AlreadyVoted "another set got this member's vote in this step";
    155 CohortLimit "the contributing set changed more often than one run allows";
    156 CertificateInvalid "the certificate lacks enough valid votes for the set voted on";
    157 ReleasedOtherSet "this ask was opened before on the same data with another set";
    158 TotalsDisputed "the coordinator committed to two different results of one step, or showed totals that are not the sum";
    160 UploadInvalid "the upload has a wrong length, signature or value";
    161 UploadDuplicate "this member's upload is already in";
    162 ShareFaulty "the share that the dealer signed does not open, or is not a share";
}

/// A refusal: a stable code and a line of detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable reason.
    pub code: RefusalCode,
    detail: Detail,
}

impl Refusal {
    /// A refusal with a line of detail, cut to [`MAX_DETAIL_BYTES`]; control characters become
    /// spaces, since a peer's text ends up in terminals and logs.
    #[must_use]
    pub fn new(code: RefusalCode, detail: impl fmt::Display) -> Self {
        Self {
            code,
            detail: Detail::from_text(&detail.to_string()),
        }
    }

    /// The line of detail; may be empty.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail.0
    }
}

impl From<RefusalCode> for Refusal {
    fn from(code: RefusalCode) -> Self {
        Self::new(code, "")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code.describe())?;
        if !self.detail.0.is_empty() {
            write!(f, " ({})", self.detail.0)?;
        }
        write!(f, " [code {}]", u16::from(self.code))
    }
}

impl std::error::Error for Refusal {}

/// One printable line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Detail(String);

impl Detail {
    fn from_text(text: &str) -> Self {
        let mut line = String::new();
        for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if line.len() + c.len_utf8() > MAX_DETAIL_BYTES {
                break;
            }
            line.push(c);
        }
        Self(line)
    }
}

impl TryFrom<String> for Detail {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > MAX_DETAIL_BYTES || text.chars().any(char::is_control) {
            return Err(format!(
                "a detail is one printable line of at most {MAX_DETAIL_BYTES} bytes"
            ));
        }
        Ok(Self(text))
    }
}

impl From<Detail> for String {
    fn from(detail: Detail) -> String {
        detail.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn codes_are_stable_and_distinct() {
        let mut seen = std::collections::BTreeSet::new();
        for code in RefusalCode::ALL {
            assert!(seen.insert(u16::from(*code)), "{code:?} has a number twice");
            assert_eq!(RefusalCode::from(u16::from(*code)), *code);
        }
        // Frozen: peers and scripts act on these numbers.
        assert_eq!(u16::from(RefusalCode::AlreadyAnswered), 133);
        assert_eq!(u16::from(RefusalCode::AlreadyVoted), 154);
        assert_eq!(u16::from(RefusalCode::ReleasedOtherSet), 157);
        assert_eq!(RefusalCode::from(9999), RefusalCode::Unknown(9999));
    }

    #[test]
    fn a_peers_text_cannot_reach_a_terminal_raw() {
        let refusal = Refusal::new(RefusalCode::Internal, "a\u{1b}[31m\nb");
        assert_eq!(refusal.detail(), "a [31m b");
        let long = Refusal::new(RefusalCode::Internal, "ä".repeat(1000));
        assert!(long.detail().len() <= MAX_DETAIL_BYTES);

        let forged = (138u16, "two\nlines".to_owned());
        let bytes = codec::encode(&forged).unwrap();
        assert!(codec::decode::<Refusal>(&bytes, 1000).is_err());
    }
}
