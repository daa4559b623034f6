//! A site's data under one task: its rows by split, its targets, and answers
//! to the asks of the profile.

use crate::ask::{EncodeError, Encoder};
use crate::features::{self, FeatureError, Matrix, Pipeline};
use crate::object::ObjectId;
use crate::profile::{self, ProfilePart, Tally, TargetAsk, TargetCoding, classes};
use crate::split::{self, RowPart, SplitError, SplitPlan};
use crate::table::{Cell, Column, Table};
use crate::task::Task;

mod check;
mod policy;

pub use policy::{SitePolicy, Withheld};

/// A table, split and checked for one task.
#[derive(Clone, Debug)]
pub struct SiteData {
    task: Task,
    table: Table,
    target: usize,
    parts: Vec<RowPart>,
    /// Rows with a target, not in the test, in table order.
    train: Vec<u32>,
    /// Rows with a target, in the test, in table order.
    test: Vec<u32>,
    digest: ObjectId,
    policy: SitePolicy,
}

/// How many rows of each kind a site has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowCounts {
    /// May be learned from.
    pub train: u64,
    /// Kept for the test.
    pub test: u64,
    /// Without a target.
    pub unlabelled: u64,
}

/// What a row does in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// It validates in this slot and trains in the others.
    Fold(u8),
    /// It trains in every slot.
    TrainOnly,
}

/// Rows as numbers, with their targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// One row per table row that is in this part and has a known target.
    pub matrix: Matrix,
    /// Class index, or the target as it is in the table.
    pub targets: Vec<f64>,
    /// What each row does.
    pub slots: Vec<Slot>,
    /// The rows' groups, see [`split::GROUPS`]; [`Slot::TrainOnly`] for rows that validate
    /// nothing.
    pub groups: Vec<Slot>,
}

/// Why a table does not serve a task, or an ask cannot be answered. No message
/// holds a cell's value.
#[derive(Debug, thiserror::Error)]
pub enum SiteDataError {
    /// The target is not a column here.
    #[error(
        "{source_name}: no column `{target}`, which the task predicts{hint}; rename the site's column to it in the column map ([columns.{target}] from = \"…\")"
    )]
    NoTarget {
        /// The file.
        source_name: String,
        /// The target.
        target: String,
        /// A near name.
        hint: String,
    },
    /// A declared column is not here.
    #[error(
        "{source_name}: no column `{column}`, which the task declares as a {kind}{hint}; rename the site's column to it in the column map ([columns.{column}] from = \"…\"), or let the task say missing_columns = \"missing\" under [constraints]"
    )]
    NoColumn {
        /// The file.
        source_name: String,
        /// The column.
        column: String,
        /// Its declared type.
        kind: &'static str,
        /// A near name.
        hint: String,
    },
    /// A target cell that cannot be what the task says.
    #[error(
        "{source_name}, line {line}, column `{target}`: {problem}; correct the cell, or map its value in the column map"
    )]
    Target {
        /// The file.
        source_name: String,
        /// 1-based line, the header being line 1.
        line: usize,
        /// The target.
        target: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// No row has a target.
    #[error(
        "{source_name}: no row has a value in `{target}`, the column that the task predicts; check the column map"
    )]
    NoLabels {
        /// The file.
        source_name: String,
        /// The target.
        target: String,
    },
    /// The split cannot be made.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// An ask looks at a column that this task protects.
    #[error("the ask names column `{column}`, which this task may not use: {reason}")]
    Protected {
        /// The column.
        column: String,
        /// Why.
        reason: String,
    },
    /// An ask counts values in a way that does not follow from the task: a
    /// vocabulary that nobody declared would be a list of guesses.
    #[error("the survey counts {what} otherwise than this task says; the ask is refused")]
    Survey {
        /// What is counted.
        what: String,
    },
    /// The pipeline is not for this task.
    #[error("the pipeline predicts `{got}`, the task `{expected}`")]
    OtherTarget {
        /// Of the pipeline.
        got: String,
        /// Of the task.
        expected: String,
    },
    /// Too many names share a cell of the schema table.
    #[error(
        "the column names of this site do not fit the schema ask; drop some columns in the column map"
    )]
    Schema,
    /// More training rows than the ask has room for.
    #[error("the ask has room for {most} training rows; this site has more (it missed the survey)")]
    TooManyRows {
        /// The room.
        most: u64,
    },
    /// The rows do not fit the pipeline.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// A count outside the bounds of the ask.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl SiteData {
    /// Checks a table against a task and splits its rows. Values that the task lists as
    /// missing are missing from here on.
    ///
    /// # Errors
    /// [`SiteDataError`] names the file, the column or line, and the remedy.
    pub fn new(task: &Task, table: Table) -> Result<Self, SiteDataError> {
        let table = table.with_missing(&task.missing_values());
        let target = check::target_place(task, &table)?;
        check::declared(task, &table)?;
        check::target(task, &table, &table.columns()[target])?;
        let parts = split::assign(task, &table)?;
        let mut train = Vec::new();
        let mut test = Vec::new();
        for (row, part) in (0_u32..).zip(&parts) {
            if table.columns()[target].cell(row as usize) == Cell::Missing {
                continue;
            }
            match part {
                RowPart::Test => test.push(row),
                RowPart::Train { .. } => train.push(row),
            }
        }
        if train.is_empty() && test.is_empty() {
            return Err(SiteDataError::NoLabels {
                source_name: table.source().to_owned(),
                target: task.target.clone(),
            });
        }
        let digest = table.digest();
        Ok(Self {
            task: task.clone(),
            table,
            target,
            parts,
            train,
            test,
            digest,
            policy: SitePolicy::default(),
        })
    }

    /// Under the site's own limits. They are thresholds on exact counts: one row more or less
    /// could turn a whole answer on, which no noise would hide, so that they are of no effect
    /// under differential privacy, where noise does their work.
    #[must_use]
    pub const fn with_policy(mut self, policy: SitePolicy) -> Self {
        if self.task.differential_privacy.is_none() {
            self.policy = policy;
        }
        self
    }

    /// The site's own limits.
    #[must_use]
    pub const fn policy(&self) -> SitePolicy {
        self.policy
    }

    /// Whether the site answers zeros for its training rows, because they are fewer than
    /// its `min_rows`.
    #[must_use]
    pub fn withholds_training(&self) -> bool {
        (self.train.len() as u64) < self.policy.min_rows
    }

    /// Whether the same holds for its test rows.
    #[must_use]
    pub fn withholds_test(&self) -> bool {
        (self.test.len() as u64) < self.policy.min_rows
    }

    /// Whether rows of some fold of this pipeline are held back from validation.
    #[must_use]
    pub fn withholds_fold(&self, pipeline: &Pipeline) -> bool {
        if self.policy.min_rows == 0 {
            return false;
        }
        let rows = self.shown(&self.train).iter();
        let slots: Vec<Slot> = rows.map(|row| self.slot(pipeline, *row)).collect();
        let held = self.policy.held_folds(&slots, pipeline.folds());
        !held.is_empty()
    }

    /// Whether the same holds for some group that blends are judged in.
    #[must_use]
    pub fn withholds_group(&self, pipeline: &Pipeline) -> bool {
        if self.policy.min_rows == 0 {
            return false;
        }
        let rows = self.shown(&self.train).iter();
        let validates = rows.filter(|row| self.slot(pipeline, **row) != Slot::TrainOnly);
        let groups: Vec<Slot> = validates.map(|row| self.blend_group(*row)).collect();
        !self.policy.held_folds(&groups, split::GROUPS).is_empty()
    }

    /// Hash of the mapped content of the table.
    #[must_use]
    pub const fn digest(&self) -> ObjectId {
        self.digest
    }

    /// The mapped table.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The columns that the task may read here, in the table's order: all but those that it
    /// promises not to use (`ignore`, `privacy_filter`, `temporal_check`).
    #[must_use]
    pub fn touched(&self) -> Vec<String> {
        let task = &self.task;
        let named = [task.entity.as_deref(), task.split.as_deref()];
        let names = self.table.columns().iter().map(Column::name);
        names
            .filter(|name| named.contains(&Some(*name)) || self.allowed(name).is_ok())
            .map(str::to_owned)
            .collect()
    }

    /// How many rows there are of each kind.
    #[must_use]
    pub fn counts(&self) -> RowCounts {
        let (train, test) = (self.train.len() as u64, self.test.len() as u64);
        RowCounts {
            train,
            test,
            unlabelled: self.table.rows() as u64 - train - test,
        }
    }

    /// Answers an ask of the profile.
    ///
    /// # Errors
    /// [`SiteDataError::Protected`] for a column that the task protects, whoever
    /// asks; [`SiteDataError::TooManyRows`].
    pub fn answer(&self, part: &ProfilePart, out: &mut Encoder) -> Result<(), SiteDataError> {
        profile::answer(self, part, out)
    }

    /// The training rows as numbers; never a test row.
    ///
    /// # Errors
    /// [`SiteDataError::Protected`] and [`SiteDataError::OtherTarget`] when the
    /// pipeline may not be used here; [`SiteDataError::Target`] for a target that
    /// is none of the pipeline's classes.
    pub fn training(&self, pipeline: &Pipeline) -> Result<Design, SiteDataError> {
        let mut design = self.design(pipeline, self.shown(&self.train))?;
        self.policy.apply(&mut design.slots, pipeline.folds());
        for (group, slot) in design.groups.iter_mut().zip(&design.slots) {
            if *slot == Slot::TrainOnly {
                *group = Slot::TrainOnly;
            }
        }
        self.policy.apply(&mut design.groups, split::GROUPS);
        Ok(design)
    }

    /// The test rows as numbers; never a training row.
    ///
    /// # Errors
    /// As [`SiteData::training`].
    pub fn sealed_test(&self, pipeline: &Pipeline) -> Result<Design, SiteDataError> {
        let mut design = self.design(pipeline, self.shown(&self.test))?;
        design.slots.fill(Slot::TrainOnly);
        design.groups.fill(Slot::TrainOnly);
        Ok(design)
    }

    fn design(&self, pipeline: &Pipeline, rows: &[u32]) -> Result<Design, SiteDataError> {
        if pipeline.target_column() != self.task.target {
            return Err(SiteDataError::OtherTarget {
                got: pipeline.target_column().to_owned(),
                expected: self.task.target.clone(),
            });
        }
        for column in pipeline.inputs() {
            self.allowed(column)?;
            if column == self.task.target {
                return Err(SiteDataError::Protected {
                    column: column.to_owned(),
                    reason: "it is the target".to_owned(),
                });
            }
        }
        let mut known = Vec::with_capacity(rows.len());
        let mut targets = Vec::with_capacity(rows.len());
        for &row in rows {
            // A class that no training row of any site has cannot be scored;
            // such a row can only be in the test.
            if let Some(target) = self.target_value(pipeline.target(), row)? {
                known.push(row);
                targets.push(target);
            }
        }
        let slots = known.iter().map(|&row| self.slot(pipeline, row)).collect();
        let groups: Vec<Option<usize>> = known
            .iter()
            .map(|&row| self.group(pipeline.plan(), row))
            .collect();
        Ok(Design {
            matrix: pipeline.rows(&self.table, &known, &groups)?,
            targets,
            slots,
            groups: known.iter().map(|&row| self.blend_group(row)).collect(),
        })
    }

    fn target_value(&self, coding: &TargetCoding, row: u32) -> Result<Option<f64>, SiteDataError> {
        let cell = self.target().cell(row as usize);
        match coding {
            TargetCoding::Classes { labels } => {
                Ok(classes::index(labels, cell).map(|index| index as f64))
            }
            TargetCoding::Number { .. } => match cell {
                Cell::Number(number) => Ok(Some(number)),
                Cell::Missing => Ok(None),
                Cell::Text(_) => Err(SiteDataError::Target {
                    source_name: self.table.source().to_owned(),
                    line: Table::line(row as usize),
                    target: self.task.target.clone(),
                    problem: "not a number",
                }),
            },
        }
    }

    fn slot(&self, pipeline: &Pipeline, row: u32) -> Slot {
        match self.parts[row as usize] {
            RowPart::Test => Slot::TrainOnly,
            RowPart::Train { fold, held_out } => pipeline
                .plan()
                .slot(fold, held_out)
                .map_or(Slot::TrainOnly, Slot::Fold),
        }
    }

    /// The fold that the row's hash says, whatever the plan is.
    fn blend_group(&self, row: u32) -> Slot {
        match self.parts[row as usize] {
            RowPart::Test => Slot::TrainOnly,
            RowPart::Train { fold, .. } => Slot::Fold(fold),
        }
    }

    /// These rows, or none where they are fewer than the site shows.
    fn shown<'r>(&self, rows: &'r [u32]) -> &'r [u32] {
        if (rows.len() as u64) < self.policy.min_rows {
            &[]
        } else {
            rows
        }
    }

    /// Training, test and unlabelled rows as the site tells them: none where it holds all
    /// of a part back.
    pub(crate) fn shown_counts(&self) -> [u64; 3] {
        let rows = |part: &[u32]| self.shown(part).len() as u64;
        let unlabelled = self.counts().unlabelled;
        [rows(&self.train), rows(&self.test), unlabelled]
    }

    /// The group of a training row.
    fn group(&self, plan: SplitPlan, row: u32) -> Option<usize> {
        match self.parts[row as usize] {
            RowPart::Test => None,
            RowPart::Train { fold, held_out } => Some(plan.group(fold, held_out)),
        }
    }

    /// What each training row adds where columns are counted by target.
    pub(crate) fn tallies(&self, target: &TargetAsk) -> Vec<Option<Tally>> {
        let cells = self.train_rows().iter();
        cells
            .map(|&row| target.tally(self.target().cell(row as usize)))
            .collect()
    }

    /// The same, with the row's group.
    pub(crate) fn grouped_tallies(
        &self,
        target: &TargetAsk,
        plan: SplitPlan,
    ) -> Vec<Option<(usize, Tally)>> {
        let rows = self.train_rows().iter().zip(self.tallies(target));
        rows.map(|(&row, tally)| Some((self.group(plan, row)?, tally?)))
            .collect()
    }

    /// Counts of rows for a profile, those below the site's `min_cell` as zero.
    pub(crate) fn put(
        &self,
        out: &mut Encoder,
        counts: impl IntoIterator<Item = u64>,
    ) -> Result<(), SiteDataError> {
        for count in counts {
            let shown = if count < self.policy.min_cell {
                0
            } else {
                count
            };
            out.count(shown)?;
        }
        Ok(())
    }

    pub(crate) const fn task(&self) -> &Task {
        &self.task
    }

    pub(crate) fn target(&self) -> &Column {
        &self.table.columns()[self.target]
    }

    /// The training rows that the site shows.
    pub(crate) fn train_rows(&self) -> &[u32] {
        self.shown(&self.train)
    }

    /// Refuses a column that the task protects. The target is allowed: the
    /// profile counts it.
    pub(crate) fn allowed(&self, column: &str) -> Result<(), SiteDataError> {
        if column == self.task.target {
            return Ok(());
        }
        match features::refused(&self.task, column) {
            None => Ok(()),
            Some(reason) => Err(SiteDataError::Protected {
                column: column.to_owned(),
                reason,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
