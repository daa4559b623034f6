//! The steps of the profile, in order.

use std::collections::BTreeMap;

use super::decide::{self, Role, Surveyed, Taken};
use super::pairs;
use super::part::ProfilePart;
use super::screen::Found;
use super::sentinel::MissingProposal;
use super::shapes::{self, Looks};
use super::slots::SlotKey;
use super::survey::{Survey, columns, survey};
use super::{ColumnProfile, Dropped, NumberShape, Profile, ProfileError, TargetCoding};
use crate::ask::{Part, Stage};
use crate::search::Conductor;
use crate::task::Task;

/// The sums of one part of a profile step: one list for each segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileSums {
    /// Summed counts, by segment.
    pub segments: Vec<Vec<u64>>,
    /// How many sites are in the sums.
    pub contributors: usize,
}

/// Sums the parts of one step over all sites.
pub type Sum<'s> = dyn FnMut(&[ProfilePart]) -> Result<Vec<ProfileSums>, ProfileError> + 's;

/// Runs the profile's steps on a federation.
///
/// # Errors
/// [`ProfileError`] says which step failed, or what is wrong with the data and
/// where to correct it.
pub fn run(task: &Task, conductor: &mut Conductor<'_>) -> Result<Profile, ProfileError> {
    run_with(task, &mut |parts| {
        let asked = parts.iter().cloned().map(Part::Profile).collect();
        let totals = conductor.sum(Stage::Profile, asked)?;
        let sums = parts.iter().enumerate().map(|(index, part)| {
            let sums = totals.part(index);
            ProfileSums {
                segments: (0..part.segments().len())
                    .map(|segment| sums.counts(segment))
                    .collect(),
                contributors: sums.contributors(),
            }
        });
        Ok(sums.collect())
    })
}

/// Runs the profile's steps on anything that sums the parts of a step.
///
/// # Errors
/// As [`run`].
pub fn run_with(task: &Task, sum: &mut Sum<'_>) -> Result<Profile, ProfileError> {
    let (names, mut dropped) = columns(task, sum)?;
    let key = SlotKey::of(task);
    let survey = survey(task, key, &names, sum)?;
    let mut gone = |column: &str, reason: String| {
        dropped.push(Dropped {
            column: column.to_owned(),
            reason,
        });
    };
    let mut taken = decided(task, &survey, &mut gone);
    let target = survey.columns.iter().find(|c| c.name == task.target);
    let ask = survey.target_ask(target)?;
    let (coarse, found) = shapes::first_look(task, &ask, target, &taken, survey.train_rows, sum)?;
    let large = take_in(&mut taken, &found, &mut gone);
    let second = shapes::second_look(&survey.columns, coarse, &found, sum)?;
    let last = shapes::Last {
        task,
        key,
        target: &ask,
        rows: survey.train_rows,
        plan: survey.plan(),
    };
    let mut looks = shapes::last_look(&last, second, &taken, &large, sum)?;
    let (target, class_counts) = match survey.classes.clone() {
        Some(classes) => classes,
        None => (numeric(task, looks.shapes.remove(&task.target))?, vec![]),
    };
    let columns = finished(taken, &mut looks, &mut gone);
    dropped.sort_by(|a, b| a.column.cmp(&b.column));
    if columns.is_empty() {
        return Err(no_features(&dropped));
    }
    let derived: Vec<ColumnProfile> = found
        .derived
        .iter()
        .filter_map(|screened| looks.derived(screened, survey.train_rows))
        .collect();
    let wanted = pairs::Wanted {
        task,
        key,
        plan: survey.plan(),
        rows: survey.train_rows,
        columns: columns.iter().chain(&derived).collect(),
    };
    let pairs = wanted.look(sum)?;
    Ok(Profile {
        train_rows: survey.train_rows,
        test_rows: survey.test_rows,
        unlabelled_rows: survey.unlabelled_rows,
        plan: survey.plan(),
        key,
        target_column: task.target.clone(),
        target,
        class_counts,
        proposals: proposals(&survey, &columns),
        columns,
        derived,
        pairs,
        dropped,
        missing_values: task.missing_values(),
        absent_is_missing: task.constraints.absent_is_missing(),
        gram: looks.gram,
    })
}

/// What every column but the target is, as far as the survey shows.
fn decided<'s>(
    task: &Task,
    survey: &'s Survey,
    gone: &mut dyn FnMut(&str, String),
) -> Vec<Taken<'s>> {
    let mut taken = Vec::new();
    for column in survey.columns.iter().filter(|c| c.name != task.target) {
        match decide::column(task, column, survey.train_rows) {
            Ok(decided) => taken.push(decided),
            Err(reason) => gone(&column.name, reason),
        }
    }
    taken
}

/// The columns that are features after all looks.
fn finished(
    taken: Vec<Taken<'_>>,
    looks: &mut Looks,
    gone: &mut dyn FnMut(&str, String),
) -> Vec<ColumnProfile> {
    let mut columns = Vec::new();
    for decided in taken {
        match decided.finished(looks) {
            Ok(column) => columns.push(column),
            Err((column, reason)) => gone(&column, reason),
        }
    }
    columns
}

/// Codes for "missing" that the columns which are features may hold.
fn proposals(survey: &Survey, columns: &[ColumnProfile]) -> Vec<MissingProposal> {
    let feature = |column: &&Surveyed| columns.iter().any(|known| known.name == column.name);
    let features = survey.columns.iter().filter(feature);
    features.flat_map(Surveyed::proposals).collect()
}

fn no_features(dropped: &[Dropped]) -> ProfileError {
    let reasons: Vec<_> = dropped
        .iter()
        .map(|d| format!("{} ({})", d.column, d.reason))
        .collect();
    ProfileError::NoFeatures(reasons.join("; "))
}

/// Asks one part alone.
pub(super) fn one(part: ProfilePart, sum: &mut Sum<'_>) -> Result<ProfileSums, ProfileError> {
    let sums = sum(std::slice::from_ref(&part))?;
    sums.into_iter()
        .next()
        .ok_or(ProfileError::Totals("no part"))
}

/// Puts what the screening found where it belongs; columns whose values turn out to be
/// their rows' own are taken out. Returns the fine counts of the large categories that stay.
fn take_in(
    taken: &mut Vec<Taken<'_>>,
    found: &Found,
    gone: &mut dyn FnMut(&str, String),
) -> BTreeMap<String, Vec<u64>> {
    let mut large = BTreeMap::new();
    for (name, counts) in &found.large {
        let Some(place) = taken.iter().position(|taken| taken.column.name == *name) else {
            continue;
        };
        match taken[place].refine_levels(counts) {
            Ok(()) => {
                large.insert(name.clone(), counts.clone());
            }
            Err(reason) => {
                gone(name, reason);
                taken.remove(place);
            }
        }
    }
    for (name, words) in &found.texts {
        let Some(place) = taken.iter().position(|taken| taken.column.name == *name) else {
            continue;
        };
        if words.buckets.is_empty() {
            gone(name, "none of its words tells anything".to_owned());
            taken.remove(place);
        } else {
            taken[place].role = Role::Text(words.clone());
        }
    }
    large
}

fn numeric(task: &Task, shape: Option<NumberShape>) -> Result<TargetCoding, ProfileError> {
    let shape = shape.ok_or(ProfileError::Totals("target"))?;
    if shape.sd > 0.0 {
        Ok(TargetCoding::Number {
            mean: shape.mean,
            scale: shape.sd,
        })
    } else {
        Err(ProfileError::OneValue {
            target: task.target.clone(),
            rows: shape.rows,
        })
    }
}
