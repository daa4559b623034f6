//! What can be done to a column, as a site writes it and as it is carried out.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::PrivacyError;

/// Longest prefix of a text that still hides something.
const MOST_PREFIX: usize = 16;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The column is left out.
    Drop,
    /// Each value is replaced by a keyed hash: equal values stay equal at this site, and nobody
    /// without the site's key can try values out.
    Hash,
    /// Values are made coarser: one of `dates`, `band` and `prefix` says how.
    Generalize,
    /// Numbers outside `range` are replaced by its ends.
    Clip,
    /// Taken as it is, even if it looks like a personal identifier.
    Allow,
}

/// What dates are cut to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dates {
    /// The first day of their month.
    Month,
    /// The first day of their year.
    Year,
}

/// A rule as a site writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnRule {
    /// What is done.
    pub action: Action,
    /// With `generalize`: what dates are cut to.
    #[serde(default)]
    pub dates: Option<Dates>,
    /// With `generalize`: width of the bands that numbers are put in, above 0.
    #[serde(default)]
    pub band: Option<f64>,
    /// With `generalize`: how many characters of a text are kept, 1 to 16.
    #[serde(default)]
    pub prefix: Option<usize>,
    /// With `clip`: smallest and largest number.
    #[serde(default)]
    pub range: Option<[f64; 2]>,
}

/// A rule whose keys go together.
#[derive(Clone, Debug, PartialEq)]
pub enum Treatment {
    /// Left out.
    Drop,
    /// A keyed hash of each value.
    Hash,
    /// Dates as the first day of their month.
    Month,
    /// Dates as the first day of their year.
    Year,
    /// Numbers as the lower end of their band of this width.
    Band(f64),
    /// The first so many characters of a value.
    Prefix(usize),
    /// Numbers inside of these ends.
    Clip(f64, f64),
    /// As it is.
    Allow,
}

impl ColumnRule {
    /// A rule of one word.
    #[must_use]
    pub const fn plain(action: Action) -> Self {
        Self {
            action,
            dates: None,
            band: None,
            prefix: None,
            range: None,
        }
    }

    /// The rule, checked; `column` is what errors call it.
    ///
    /// # Errors
    /// [`PrivacyError::Rule`] when keys are missing, too many, or out of range.
    pub fn treatment(&self, column: &str) -> Result<Treatment, PrivacyError> {
        let fail = |problem: &str| {
            Err(PrivacyError::Rule {
                column: column.to_owned(),
                problem: problem.to_owned(),
            })
        };
        let coarser = (self.dates, self.band, self.prefix);
        match (self.action, coarser, self.range) {
            (Action::Drop, (None, None, None), None) => Ok(Treatment::Drop),
            (Action::Hash, (None, None, None), None) => Ok(Treatment::Hash),
            (Action::Allow, (None, None, None), None) => Ok(Treatment::Allow),
            (Action::Generalize, (Some(Dates::Month), None, None), None) => Ok(Treatment::Month),
            (Action::Generalize, (Some(Dates::Year), None, None), None) => Ok(Treatment::Year),
            (Action::Generalize, (None, Some(width), None), None) => {
                if width.is_finite() && width > 0.0 {
                    Ok(Treatment::Band(width))
                } else {
                    fail("`band` is a width above 0, for example `band = 10`")
                }
            }
            (Action::Generalize, (None, None, Some(kept)), None) => {
                if (1..=MOST_PREFIX).contains(&kept) {
                    Ok(Treatment::Prefix(kept))
                } else {
                    fail("`prefix` is a number of characters from 1 to 16")
                }
            }
            (Action::Generalize, ..) => fail(
                "`generalize` needs one of `dates = \"month\"` or `\"year\"`, `band = 10` and \
                 `prefix = 3`, and nothing else",
            ),
            (Action::Clip, (None, None, None), Some([low, high])) => {
                if low.is_finite() && high.is_finite() && low < high {
                    Ok(Treatment::Clip(low, high))
                } else {
                    fail("`range` is [smallest, largest], the first below the second")
                }
            }
            (Action::Clip, ..) => {
                fail("`clip` needs `range = [smallest, largest]`, and nothing else")
            }
            (Action::Drop | Action::Hash | Action::Allow, ..) => {
                fail("`drop`, `hash` and `allow` take no further keys")
            }
        }
    }
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("left out"),
            Self::Hash => f.write_str("replaced by a hash with the site's key"),
            Self::Month => f.write_str("dates cut to their month"),
            Self::Year => f.write_str("dates cut to their year"),
            Self::Band(width) => write!(f, "numbers put in bands of {width}"),
            Self::Prefix(1) => f.write_str("only the first character kept"),
            Self::Prefix(kept) => write!(f, "only the first {kept} characters kept"),
            Self::Clip(low, high) => write!(f, "numbers clipped to {low} to {high}"),
            Self::Allow => f.write_str("taken as it is"),
        }
    }
}
