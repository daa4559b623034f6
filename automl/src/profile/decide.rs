//! What a column is, decided from its survey.

use super::part::{ColumnAsk, RefineColumn, TYPE_COUNTS};
use super::screen::{ScreenColumn, Screened};
use super::sentinel::{self, MissingProposal, SUSPECTS};
use super::slots::{Coding, WHOLE_SLOTS, most_frequent};
use super::source::Source;
use super::words::Words;
use super::{BUCKETS, ColumnKind, Levels, MAX_ENCODED, MAX_LEVELS, MIN_LEVEL_ROWS, Votes, grid};
use crate::features::PrivacyKind;
use crate::features::transform::Known;
use crate::task::{ColumnType, Task};

/// A column of numbers may have this share of texts ("unknown"), in percent;
/// they count as missing.
const MOST_TEXTS_PERCENT: u64 = 10;
/// Share of dates that makes a column of texts a column of dates, in percent.
const LEAST_DATES_PERCENT: u64 = 90;
/// Share of sentences among texts that makes a column free text, in percent.
const LEAST_SENTENCES_PERCENT: u64 = 50;
/// Whether values repeat can be told once this many of the 256 buckets are filled.
const FILLED_BUCKETS: usize = 200;
/// A value that fewer rows share, on average, is as good as a row's own.
const LEAST_REPEATS: f64 = 3.0;
/// Below this every row has a number of its own; noise is below 0.3.
const NO_REPEATS: f64 = 1.5;
/// A category that fills more than this many of the 256 buckets has more values than
/// levels; they are counted again in fine buckets.
const MANY_BUCKETS: usize = MAX_LEVELS;

/// The survey of one column.
pub(super) struct Surveyed {
    pub(super) name: String,
    coding: Coding,
    votes: Votes,
    coarse: Vec<u64>,
    coarse_dates: Vec<u64>,
    whole: Vec<u64>,
    slots: Vec<u64>,
    suspects: Vec<u64>,
}

/// A column that will be a feature, with what is known so far.
pub(super) struct Taken<'s> {
    pub(super) column: &'s Surveyed,
    pub(super) missing: u64,
    pub(super) texts: bool,
    pub(super) role: Role,
}

/// What a column is used as.
pub(super) enum Role {
    /// A quantity, with the counts of its values where they are few and small.
    Number(Option<Levels>),
    Date,
    /// A category; `large` when it has more values than get a level.
    Category {
        levels: Levels,
        large: bool,
    },
    /// A category in the order of the task's list.
    Ordinal(Levels),
    Text(Words),
}

impl Surveyed {
    pub(super) fn new(ask: ColumnAsk, counts: &[u64]) -> Option<Self> {
        let slots = ask.coding.slots();
        if counts.len() != TYPE_COUNTS + 2 * grid::COARSE_CELLS + WHOLE_SLOTS + SUSPECTS + slots {
            return None;
        }
        let (types, rest) = counts.split_at(TYPE_COUNTS);
        let (coarse, rest) = rest.split_at(grid::COARSE_CELLS);
        let (coarse_dates, rest) = rest.split_at(grid::COARSE_CELLS);
        let (whole, rest) = rest.split_at(WHOLE_SLOTS);
        let (suspects, slots) = rest.split_at(SUSPECTS);
        Some(Self {
            name: ask.name,
            coding: ask.coding,
            votes: Votes {
                numbers: types[0],
                texts: types[1],
                dates: types[2],
                whole: types[3],
                sentences: types[4],
            },
            coarse: coarse.to_vec(),
            coarse_dates: coarse_dates.to_vec(),
            whole: whole.to_vec(),
            slots: slots.to_vec(),
            suspects: suspects.to_vec(),
        })
    }

    pub(super) const fn votes(&self) -> Votes {
        self.votes
    }

    /// The grid to lay over its numbers or dates.
    pub(super) fn refined(&self, source: Source, most: usize) -> RefineColumn {
        let dates = source == Source::Dates;
        let coarse = if dates {
            &self.coarse_dates
        } else {
            &self.coarse
        };
        RefineColumn {
            name: self.name.clone(),
            edges: grid::refined_edges(coarse, self.whole(dates), most),
            source,
        }
    }

    /// The grid of the second look, from the rows in the first one's cells.
    pub(super) fn again(&self, first: &RefineColumn, counts: &[u64], most: usize) -> RefineColumn {
        RefineColumn {
            name: first.name.clone(),
            edges: grid::edges_again(
                &first.edges,
                counts,
                self.whole(first.source == Source::Dates),
                most,
            ),
            source: first.source.clone(),
        }
    }

    fn whole(&self, dates: bool) -> bool {
        dates || self.votes.whole == self.votes.numbers
    }

    /// Whether every number is one of the small whole ones.
    fn all_small(&self) -> bool {
        let numbers = self.votes.numbers;
        numbers > 0 && self.whole.iter().sum::<u64>() == numbers
    }

    /// The coarse grid's ends around its numbers.
    pub(super) fn ends(&self) -> Option<(f64, f64)> {
        let first = self.coarse.iter().position(|&rows| rows > 0)?;
        let last = self.coarse.iter().rposition(|&rows| rows > 0)?;
        Some((grid::coarse_edges(first).0, grid::coarse_edges(last).1))
    }

    /// Values of a public list that may mean "missing".
    pub(super) fn proposals(&self) -> Vec<MissingProposal> {
        let present = self.votes.numbers + self.votes.texts;
        sentinel::proposals(&self.name, &self.coarse, &self.suspects, present)
    }

    /// Every counted value that enough rows have, beyond those that get a level.
    pub(super) fn every_level(&self, known: &Levels, most: usize) -> Levels {
        if known.coding == self.coding {
            levels(self.coding.clone(), &self.slots, 0, most)
        } else {
            known.clone()
        }
    }

    /// How many rows share a row's value on average, estimated from how unequally the
    /// buckets are filled: buckets of unique values have the variance of their mean
    /// (Poisson), values of r rows each r times that. `None` when too few buckets are
    /// filled to tell.
    fn repeats(&self) -> Option<f64> {
        let filled = self.slots.iter().filter(|&&rows| rows > 0).count();
        if self.coding != Coding::Buckets || filled < FILLED_BUCKETS {
            return None;
        }
        let mean = self.slots.iter().sum::<u64>() as f64 / BUCKETS as f64;
        let spread: f64 = self
            .slots
            .iter()
            .map(|&rows| (rows as f64 - mean) * (rows as f64 - mean))
            .sum();
        Some(spread / (mean * (BUCKETS - 1) as f64))
    }

    /// Whether it numbers the rows: whole numbers, each once, that are called an
    /// identifier or fill their range without gaps.
    fn is_row_number(&self) -> bool {
        let unique = self.repeats().is_some_and(|repeats| repeats < NO_REPEATS);
        let whole = self.votes.texts == 0 && self.whole(false);
        unique && whole && (PrivacyKind::Id.matches(&self.name) || grid::without_gaps(&self.coarse))
    }
}

impl Taken<'_> {
    pub(super) fn source(&self) -> Option<Source> {
        match self.role {
            Role::Number(_) => Some(Source::Numbers),
            Role::Date => Some(Source::Dates),
            Role::Category { .. } | Role::Ordinal(_) | Role::Text(_) => None,
        }
    }

    pub(super) fn refined(&self, most: usize) -> Option<RefineColumn> {
        self.source()
            .map(|source| self.column.refined(source, most))
    }

    /// How the screening reads it, where derived columns are made of it.
    pub(super) fn screened(&self) -> Option<ScreenColumn> {
        Some(ScreenColumn {
            name: self.column.name.clone(),
            source: self.source()?,
        })
    }

    pub(super) const fn is_large(&self) -> bool {
        matches!(self.role, Role::Category { large: true, .. })
    }

    pub(super) const fn is_text(&self) -> bool {
        matches!(self.role, Role::Text(_))
    }

    /// What its values are, in a word.
    pub(super) fn kind(&self) -> ColumnKind {
        match &self.role {
            Role::Number(small) => kind_of_number(small.as_ref()),
            Role::Date => ColumnKind::Date,
            Role::Category { levels, .. } if levels.slots.len() == 2 && levels.other == 0 => {
                ColumnKind::Boolean
            }
            Role::Category { .. } => ColumnKind::Category,
            Role::Ordinal(_) => ColumnKind::Ordinal,
            Role::Text(_) => ColumnKind::Text,
        }
    }

    /// What transforms may know of it.
    pub(super) fn known(&self, rows: u64) -> Known<'_> {
        let column = self.column;
        let numbers = column.votes.numbers.max(1) as f64;
        let negative: u64 = column.coarse[..grid::ZERO_CELL].iter().sum();
        Known {
            name: &column.name,
            kind: match self.kind() {
                ColumnKind::Ordinal if self.source().is_some() => ColumnKind::Number,
                kind => kind,
            },
            many: self.is_large(),
            present: 1.0 - self.missing as f64 / rows.max(1) as f64,
            zeros: column.coarse[grid::ZERO_CELL] as f64 / numbers,
            negative: negative as f64 / numbers,
            small: column.all_small(),
            magnitude: grid::middle_magnitude(&column.coarse),
        }
    }

    /// Takes the fine counts of a large category in.
    ///
    /// # Errors
    /// A reason to drop the column when no value has enough rows.
    pub(super) fn refine_levels(&mut self, counts: &[u64]) -> Result<(), String> {
        let present = self.column.votes.numbers + self.column.votes.texts;
        let found = levels(Coding::FineBuckets, counts, present, MAX_LEVELS);
        if found.slots.is_empty() {
            return Err(OWN_VALUE.to_owned());
        }
        self.role = Role::Category {
            levels: found,
            large: true,
        };
        Ok(())
    }
}

/// Number, ordinal or boolean, by how many values there are.
pub(super) fn kind_of_number(small: Option<&Levels>) -> ColumnKind {
    match small {
        Some(levels) if levels.other == 0 && levels.slots.len() == 2 => ColumnKind::Boolean,
        Some(levels) if levels.other == 0 && levels.slots.len() <= 12 => ColumnKind::Ordinal,
        _ => ColumnKind::Number,
    }
}

/// The grid of a derived column's first look.
pub(super) fn derived_grid(screened: &Screened, most: usize) -> RefineColumn {
    let whole = screened.rows > 0 && screened.whole_numbers == screened.rows;
    RefineColumn {
        name: screened.column.name.clone(),
        edges: grid::refined_edges(&screened.coarse, whole, most),
        source: screened.column.source.clone(),
    }
}

/// The few small values of a derived column, where it has no others.
pub(super) fn derived_levels(screened: &Screened) -> Option<Levels> {
    let all: u64 = screened.whole.iter().sum();
    (all == screened.rows)
        .then(|| levels(Coding::Whole, &screened.whole, screened.rows, MAX_LEVELS))
        .filter(|levels| !levels.slots.is_empty())
}

/// How the survey counts a column's values.
pub(super) fn coding(task: &Task, name: &str) -> Coding {
    match task.columns.get(name) {
        Some(rule) if !rule.values.is_empty() => Coding::Vocabulary(rule.values.clone()),
        Some(rule) if matches!(rule.r#type, ColumnType::Number | ColumnType::Ordinal) => {
            Coding::Whole
        }
        _ if name == task.target => Coding::Whole,
        _ => Coding::Buckets,
    }
}

/// Why a column whose values do not repeat is not used.
const OWN_VALUE: &str = "nearly every row has a value of its own (free text or an identifier)";

/// What the column is, or why it is not used.
pub(super) fn column<'s>(
    task: &Task,
    column: &'s Surveyed,
    rows: u64,
) -> Result<Taken<'s>, String> {
    let votes = column.votes;
    let present = votes.numbers + votes.texts;
    if present == 0 {
        return Err("it has no value in any training row".to_owned());
    }
    let rule = task.columns.get(&column.name);
    let declared = rule
        .map(|rule| rule.r#type)
        .filter(|&kind| kind != ColumnType::Auto);
    let vocabulary = rule.is_some_and(|rule| !rule.values.is_empty());
    let role = declared.unwrap_or_else(|| guess(column, present));
    let usable = match role {
        ColumnType::Number => votes.numbers,
        ColumnType::Ordinal if !vocabulary => votes.numbers,
        ColumnType::Date => votes.dates,
        _ => present,
    };
    if usable == 0 {
        return Err(format!(
            "the task declares it a {}, and no row has one",
            role.name()
        ));
    }
    if role == ColumnType::Date && declared.is_none() && task.constraints.temporal_check {
        return Err(
            "it is a date that may lie after the prediction (temporal_check); declare it under [columns] as \"date\" if it does not"
                .to_owned(),
        );
    }
    if declared.is_none() && column.is_row_number() {
        return Err("it numbers the rows (an identifier)".to_owned());
    }
    let missing = rows.saturating_sub(usable);
    Ok(Taken {
        column,
        missing,
        texts: present > usable,
        role: match role {
            ColumnType::Number => Role::Number(small(column)),
            ColumnType::Ordinal if !vocabulary => Role::Number(small(column)),
            ColumnType::Ordinal => Role::Ordinal(category(column, missing, true)?.0),
            ColumnType::Date => Role::Date,
            ColumnType::Text => Role::Text(Words::default()),
            _ => {
                let (levels, large) = category(column, missing, declared.is_some())?;
                Role::Category { levels, large }
            }
        },
    })
}

fn small(column: &Surveyed) -> Option<Levels> {
    column
        .all_small()
        .then(|| {
            let numbers = column.votes.numbers;
            levels(Coding::Whole, &column.whole, numbers, MAX_LEVELS)
        })
        .filter(|levels| !levels.slots.is_empty())
}

fn guess(column: &Surveyed, present: u64) -> ColumnType {
    let votes = column.votes;
    if votes.dates * 100 >= present * LEAST_DATES_PERCENT {
        return ColumnType::Date;
    }
    if votes.texts * 100 <= present * MOST_TEXTS_PERCENT {
        return ColumnType::Number;
    }
    let sentences = votes.sentences * 100 >= votes.texts * LEAST_SENTENCES_PERCENT;
    // Sentences from a short list are a category.
    let scattered = column.repeats().map_or(
        column.slots.iter().all(|&rows| rows < MIN_LEVEL_ROWS),
        |repeats| repeats < LEAST_REPEATS,
    );
    if sentences && scattered {
        ColumnType::Text
    } else {
        ColumnType::Category
    }
}

/// The levels of a category, and whether it has more values than those.
fn category(column: &Surveyed, missing: u64, declared: bool) -> Result<(Levels, bool), String> {
    let present = column.votes.numbers + column.votes.texts;
    let whole = column.votes.texts == 0 && column.all_small() && column.coding == Coding::Buckets;
    let levels = if whole {
        levels(Coding::Whole, &column.whole, present, MAX_LEVELS)
    } else {
        levels(column.coding.clone(), &column.slots, present, MAX_LEVELS)
    };
    let scattered = column
        .repeats()
        .is_some_and(|repeats| repeats < LEAST_REPEATS);
    if (scattered && !declared) || (levels.slots.is_empty() && levels.other > 0) {
        return Err(OWN_VALUE.to_owned());
    }
    if levels.slots.len() == 1 && levels.other == 0 && missing == 0 {
        return Err("it is the same in every training row".to_owned());
    }
    let filled = column.slots.iter().filter(|&&rows| rows > 0).count();
    let large = levels.coding == Coding::Buckets && filled > MANY_BUCKETS;
    Ok((levels, large))
}

/// Keeps the `most` most frequent slots that have enough rows.
pub(super) fn levels(coding: Coding, counts: &[u64], present: u64, most: usize) -> Levels {
    let counted = (0_u16..).zip(counts.iter().copied());
    let enough = counted.filter(|&(_, rows)| rows >= MIN_LEVEL_ROWS);
    let frequent = most_frequent(enough, most.min(MAX_ENCODED));
    let kept: u64 = frequent.iter().map(|&(_, rows)| rows).sum();
    let (slots, counts) = frequent.into_iter().unzip();
    Levels {
        coding,
        slots,
        counts,
        other: present.saturating_sub(kept),
    }
}
