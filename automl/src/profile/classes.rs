//! The classes of a target, without any site naming its values.
//!
//! A class becomes known in one of three ways: the task declares `classes`; or
//! the values are whole numbers from -1 to 30; or they are among a few pairs of
//! words. Sites count how many rows have each, and how many have something
//! else.

use super::slots::whole_slot;
use super::{Profile, TargetCoding};
use crate::profile::ProfileError;
use crate::table::{Cell, canonical_number, canonical_text};
use crate::task::{Kind, MAX_CLASSES, Task};

/// Whole numbers -1 to 30 are recognised as classes.
const WHOLE_CLASSES: usize = MAX_CLASSES;
/// Pairs of words recognised as classes, the positive one second.
const WORDS: [[&str; 2]; 9] = [
    ["no", "yes"],
    ["n", "y"],
    ["false", "true"],
    ["f", "t"],
    ["negative", "positive"],
    ["absent", "present"],
    ["否", "是"],
    ["无", "有"],
    ["阴性", "阳性"],
];
/// A target of whole numbers with more values than this is taken for a
/// quantity unless the task says otherwise.
const FEW: usize = 10;

/// Number of counts that a survey returns for the target, the last being rows
/// with another value.
pub(super) fn count(declared: &[String]) -> usize {
    1 + if declared.is_empty() {
        WHOLE_CLASSES + 2 * WORDS.len()
    } else {
        declared.len()
    }
}

/// The count that a target cell belongs to; `None` when it is missing.
pub(super) fn slot(declared: &[String], cell: Cell<'_>) -> Option<usize> {
    let other = count(declared) - 1;
    if cell == Cell::Missing {
        return None;
    }
    if !declared.is_empty() {
        return Some(index(declared, cell).unwrap_or(other));
    }
    Some(match cell {
        Cell::Number(number) => whole_slot(number)
            .filter(|&slot| slot < WHOLE_CLASSES)
            .unwrap_or(other),
        Cell::Text(text) => WORDS
            .iter()
            .flatten()
            .position(|word| word.eq_ignore_ascii_case(text))
            .map_or(other, |place| WHOLE_CLASSES + place),
        Cell::Missing => other,
    })
}

/// The class of a cell. Numbers are compared by value; words exactly, or else
/// without regard to the case of Latin letters.
pub(crate) fn index(labels: &[String], cell: Cell<'_>) -> Option<usize> {
    match cell {
        Cell::Missing => None,
        Cell::Number(number) => {
            let value = canonical_number(number);
            labels
                .iter()
                .position(|label| canonical_text(label) == value)
        }
        Cell::Text(text) => labels.iter().position(|label| label == text).or_else(|| {
            labels
                .iter()
                .position(|label| label.eq_ignore_ascii_case(text))
        }),
    }
}

/// Whether a label is one that a task with these declared classes can have.
pub(super) fn known(declared: &[String], label: &str) -> bool {
    names(declared).any(|name| name == label)
}

/// Whether the task alone says that the target is a class.
pub(super) fn declared(task: &Task) -> bool {
    task.kind == Some(Kind::Classification)
        || task.positive.is_some()
        || !task.classes.is_empty()
        || (task.kind.is_none()
            && task
                .metric
                .is_some_and(|metric| metric.fits(Kind::Classification)))
}

/// Whether the task alone says that the target is a number.
pub(super) fn declared_number(task: &Task) -> bool {
    task.kind == Some(Kind::Regression)
        || (task.kind.is_none()
            && task
                .metric
                .is_some_and(|metric| metric.fits(Kind::Regression)))
}

/// The classes that occur, with their training rows, as they follow from the
/// survey; `None` when the target is a number. `texts` counts training rows
/// whose target is a text.
pub(super) fn resolve(
    task: &Task,
    counts: &[u64],
    texts: u64,
) -> Result<Option<(TargetCoding, Vec<u64>)>, ProfileError> {
    let target = || task.target.clone();
    if declared_number(task) {
        return if texts == 0 {
            number(task)
        } else {
            Err(ProfileError::NotANumber {
                target: target(),
                rows: texts,
            })
        };
    }
    let Some((&other, counts)) = counts.split_last() else {
        return Err(ProfileError::Totals("no class counts"));
    };
    let named: Vec<(String, u64)> = names(&task.classes).zip(counts.iter().copied()).collect();
    let found: Vec<(String, u64)> = named.into_iter().filter(|(_, rows)| *rows > 0).collect();
    if !declared(task) {
        let words = found.iter().any(|(name, _)| name.parse::<f64>().is_err());
        if texts == 0 && (other > 0 || found.len() > FEW) && !words {
            return number(task);
        }
    }
    if other > 0 {
        return Err(ProfileError::UnknownClasses {
            target: target(),
            rows: other,
        });
    }
    match found.as_slice() {
        [] => return Err(ProfileError::NoRows),
        [(class, rows)] => {
            return Err(ProfileError::OneClass {
                target: target(),
                class: class.clone(),
                rows: *rows,
            });
        }
        _ => {}
    }
    ordered(task, found).map(Some)
}

/// The target is a number.
fn number(task: &Task) -> Result<Option<(TargetCoding, Vec<u64>)>, ProfileError> {
    match task.decision {
        None => Ok(None),
        Some(_) => Err(ProfileError::DecisionOfMany {
            found: "a number of values".to_owned(),
        }),
    }
}

/// Puts the positive class last where there are two.
fn ordered(
    task: &Task,
    mut found: Vec<(String, u64)>,
) -> Result<(TargetCoding, Vec<u64>), ProfileError> {
    let joined = |found: &[(String, u64)]| {
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    if task.decision.is_some() && found.len() > 2 {
        return Err(ProfileError::DecisionOfMany {
            found: joined(&found),
        });
    }
    if let Some(positive) = &task.positive {
        let wanted = canonical_text(positive);
        let place = found.iter().position(|(name, _)| {
            canonical_text(name) == wanted || name.eq_ignore_ascii_case(&wanted)
        });
        match place {
            None => {
                return Err(ProfileError::NoPositive {
                    positive: positive.clone(),
                    found: joined(&found),
                });
            }
            Some(_) if found.len() > 2 => {
                return Err(ProfileError::NotTwo {
                    positive: positive.clone(),
                    found: joined(&found),
                });
            }
            Some(0) => found.swap(0, 1),
            Some(_) => {}
        }
    }
    let (labels, counts) = found.into_iter().unzip();
    Ok((TargetCoding::Classes { labels }, counts))
}

/// The class names of the counts, in order, without the last ("other").
fn names(declared: &[String]) -> Box<dyn Iterator<Item = String> + '_> {
    if !declared.is_empty() {
        return Box::new(declared.iter().cloned());
    }
    let whole = (0..WHOLE_CLASSES).map(|slot| canonical_number(slot as f64 - 1.0));
    Box::new(whole.chain(WORDS.iter().flatten().map(|&word| word.to_owned())))
}

impl Profile {
    /// Class labels; empty for a number.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        self.target.labels()
    }
}
