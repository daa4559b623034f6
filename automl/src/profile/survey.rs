//! The first two steps: which columns there are, and what their cells look like.

use std::collections::BTreeMap;

use super::decide::{self, Surveyed};
use super::part::{ColumnAsk, ProfilePart, ROW_COUNTS};
use super::run::{Sum, one};
use super::slots::SlotKey;
use super::{Dropped, ProfileError, TargetAsk, TargetCoding, classes, schema};
use crate::features::refused;
use crate::split::SplitPlan;
use crate::task::Task;

/// Learns the names of the columns; returns those that may be looked at, and
/// the others with the reason.
pub(super) fn columns(
    task: &Task,
    sum: &mut Sum<'_>,
) -> Result<(Vec<String>, Vec<Dropped>), ProfileError> {
    let mut found = None;
    for attempt in 0..schema::ATTEMPTS {
        let sums = one(ProfilePart::Schema { attempt }, sum)?;
        let table = sums.segments.into_iter().next().unwrap_or_default();
        if let Some(names) = schema::decode(attempt, table) {
            found = Some((names, sums.contributors as u64));
            break;
        }
    }
    let (names, sites) = found.ok_or(ProfileError::Schema(schema::ATTEMPTS))?;
    let have = names.get(&task.target).copied().unwrap_or(0);
    if have < sites {
        let near = nearest(&task.target, &names);
        let hint = if have == 0 {
            format!(" (did you mean `{near}`?)")
        } else {
            String::new()
        };
        return Err(ProfileError::NoTarget {
            target: task.target.clone(),
            sites: have,
            of: sites,
            hint,
        });
    }
    check_declared(task, &names)?;
    let mut usable = Vec::new();
    let mut dropped = Vec::new();
    for (name, have) in names {
        let reason = match refused(task, &name) {
            Some(reason) => Some(reason),
            None if have < sites && !task.constraints.absent_is_missing() => Some(format!(
                "only {have} of {sites} sites have it (missing_columns = \"missing\" under [constraints] would use it)"
            )),
            None => None,
        };
        match reason {
            // The target is "refused" as a feature, yet it is looked at.
            _ if name == task.target => usable.push(name),
            Some(reason) => dropped.push(Dropped {
                column: name,
                reason,
            }),
            None => usable.push(name),
        }
    }
    Ok((usable, dropped))
}

/// A name in the task that means nothing is a typing error, and one in the
/// privacy filter would leave a column unprotected, one under `monotone` a model free that should not be.
fn check_declared(task: &Task, names: &BTreeMap<String, u64>) -> Result<(), ProfileError> {
    let declared = task.columns.keys().map(|column| ("columns", column, "no"));
    let filtered = task
        .constraints
        .privacy_filter
        .iter()
        .filter(|word| crate::features::PrivacyKind::parse(word).is_none())
        .map(|word| ("privacy_filter", word, "neither a known kind nor a"));
    let monotone = task.constraints.monotone.keys();
    let monotone = monotone.map(|column| ("monotone", column, "no"));
    for (key, column, or) in declared.chain(filtered).chain(monotone) {
        if !names.contains_key(column) {
            let nearest = nearest(column, names);
            return Err(ProfileError::NoColumn {
                key,
                column: column.clone(),
                or,
                nearest,
            });
        }
    }
    Ok(())
}

fn nearest(name: &str, names: &BTreeMap<String, u64>) -> String {
    let nearest = names
        .keys()
        .min_by_key(|known| strsim::damerau_levenshtein(known, name));
    nearest.cloned().unwrap_or_default()
}

/// What the survey says, taken apart.
pub(super) struct Survey {
    pub(super) train_rows: u64,
    pub(super) test_rows: u64,
    pub(super) unlabelled_rows: u64,
    /// `None` when the target is a number.
    pub(super) classes: Option<(TargetCoding, Vec<u64>)>,
    pub(super) columns: Vec<Surveyed>,
}

pub(super) fn survey(
    task: &Task,
    key: SlotKey,
    names: &[String],
    sum: &mut Sum<'_>,
) -> Result<Survey, ProfileError> {
    let columns: Vec<ColumnAsk> = names
        .iter()
        .map(|name| ColumnAsk {
            name: name.clone(),
            coding: decide::coding(task, name),
        })
        .collect();
    let part = ProfilePart::Survey {
        key,
        columns: columns.clone(),
        classes: task.classes.clone(),
    };
    let sums = one(part, sum)?;
    let mut segments = sums.segments.into_iter();
    let rows = segments.next().filter(|rows| rows.len() == ROW_COUNTS);
    let rows = rows.ok_or(ProfileError::Totals("row counts"))?;
    let class_counts = segments
        .next()
        .ok_or(ProfileError::Totals("class counts"))?;
    let columns: Vec<Surveyed> = columns
        .into_iter()
        .zip(segments)
        .map(|(ask, counts)| Surveyed::new(ask, &counts))
        .collect::<Option<_>>()
        .ok_or(ProfileError::Totals("column counts"))?;
    if rows[0] == 0 {
        return Err(ProfileError::NoRows);
    }
    let texts = columns
        .iter()
        .find(|c| c.name == task.target)
        .map_or(0, |c| c.votes().texts);
    Ok(Survey {
        train_rows: rows[0],
        test_rows: rows[1],
        unlabelled_rows: rows[2],
        classes: classes::resolve(task, &class_counts, texts)?,
        columns,
    })
}

impl Survey {
    /// How validation works.
    pub(super) const fn plan(&self) -> SplitPlan {
        SplitPlan::for_rows(self.train_rows + self.test_rows)
    }

    /// What to count in the bins of other columns.
    pub(super) fn target_ask(&self, target: Option<&Surveyed>) -> Result<TargetAsk, ProfileError> {
        match &self.classes {
            Some((TargetCoding::Classes { labels }, _)) => Ok(TargetAsk::Classes {
                labels: labels.clone(),
            }),
            _ => {
                let ends = target.and_then(Surveyed::ends);
                let (lo, hi) = ends.ok_or(ProfileError::NoRows)?;
                Ok(TargetAsk::Number { lo, hi })
            }
        }
    }
}
