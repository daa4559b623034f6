//! Blends: weighted means of several models' scores.
//!
//! Two parts of an ask serve them, and no row leaves a site for either. A
//! [`GramPart`] sums products of the models' errors, from which weights follow
//! (`simplex`); a [`BlendPart`] scores a blend. Both tell validation rows apart
//! by group ([`GROUPS`]), so that weights are judged on rows that had no say in
//! them.

mod gram;
mod part;
pub(crate) mod simplex;

pub use gram::{Gram, GramPart};
pub use part::{BlendPart, Blended};

use serde::{Deserialize, Serialize};

use crate::family::{FoldModel, Head};
use crate::object::ObjectId;
use crate::site::{Rows, SiteError, Slot};

/// Most models that are looked at together: 78 products a group.
pub const MAX_MEMBERS: usize = 12;
/// Most models with a weight. Each costs as much time at every prediction as
/// a champion by itself.
pub const MAX_BLENDED: usize = 8;
/// Groups of validation rows, see [`crate::split::GROUPS`].
pub const GROUPS: usize = crate::split::GROUPS as usize;

/// A model that takes part, and the pipeline it takes its columns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The pipeline.
    pub pipeline: ObjectId,
    /// The model.
    pub model: ObjectId,
}

/// Checks the number of members, and that no model is named twice.
fn check_members(members: &[Member]) -> Result<(), String> {
    if members.is_empty() || members.len() > MAX_MEMBERS {
        return Err(format!(
            "{} members, allowed are 1 to {MAX_MEMBERS}",
            members.len()
        ));
    }
    let twice = |(at, one): (usize, &Member)| members[..at].iter().any(|m| m.model == one.model);
    if members.iter().enumerate().any(twice) {
        return Err("a model is named twice".to_owned());
    }
    Ok(())
}

/// Members' models with a site's rows, as each one's pipeline makes them.
pub struct Lineup<'a> {
    members: Vec<(&'a dyn FoldModel, &'a Rows)>,
    head: Head,
}

impl<'a> Lineup<'a> {
    /// Lines members up, each with the id of its model.
    ///
    /// # Errors
    /// When a model has another head or other folds than the part says, or the
    /// pipelines disagree about rows, targets or splits: then scores of one row
    /// would be taken for those of another.
    pub(crate) fn new(
        members: Vec<(ObjectId, &'a dyn FoldModel, &'a Rows)>,
        head: Head,
        folds: u8,
    ) -> Result<Self, SiteError> {
        let first = members.first().map(|(_, _, rows)| *rows);
        for (id, model, rows) in &members {
            if model.head() != head || model.folds() != usize::from(folds) {
                return Err(SiteError::unfit(*id, "its classes or folds differ"));
            }
            let same = first.is_none_or(|first| {
                first.targets == rows.targets
                    && first.slots == rows.slots
                    && first.groups == rows.groups
            });
            if !same {
                return Err(SiteError::unfit(
                    *id,
                    "its pipeline has other targets or splits than the first member's",
                ));
            }
        }
        Ok(Self {
            members: members.into_iter().map(|(_, m, r)| (m, r)).collect(),
            head,
        })
    }

    /// Targets of the rows.
    fn targets(&self) -> &'a [f64] {
        self.members.first().map_or(&[], |(_, rows)| &rows.targets)
    }

    /// The fold and the group of a validation row; `None` for other rows.
    fn place(&self, row: usize) -> Option<(usize, usize)> {
        let (_, rows) = self.members.first()?;
        match (rows.slots[row], rows.groups[row]) {
            (Slot::Fold(fold), Slot::Fold(group)) if usize::from(group) < GROUPS => {
                Some((usize::from(fold), usize::from(group)))
            }
            _ => None,
        }
    }

    /// Numbers that [`Lineup::scores`] writes.
    fn width(&self) -> usize {
        self.members.len() * self.head.scores()
    }

    /// Every member's scores of a row, one after the other: by the models of one fold, or by the
    /// means over folds.
    fn scores(&self, row: usize, fold: Option<usize>, into: &mut [f64]) {
        let chunks = into.chunks_exact_mut(self.head.scores());
        for ((model, rows), scores) in self.members.iter().zip(chunks) {
            match fold {
                Some(fold) => model.predict(fold, rows.row(row), scores),
                None => model.predict_average(rows.row(row), scores),
            }
        }
    }
}

/// The weighted mean of members' scores, which stand one member after the other.
pub(crate) fn mix(weights: &[f64], scores: &[f64], into: &mut [f64]) {
    into.fill(0.0);
    for (weight, own) in weights.iter().zip(scores.chunks_exact(into.len())) {
        // A model without a weight may say what it likes, infinities too.
        if *weight > 0.0 {
            for (sum, score) in into.iter_mut().zip(own) {
                *sum += weight * score;
            }
        }
    }
}
