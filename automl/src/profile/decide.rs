//! What a column is, decided from its survey.

use super::part::{ColumnAsk, MomentsColumn, RefineColumn, TYPE_COUNTS};
use super::slots::{Coding, WHOLE_SLOTS};
use super::{
    BUCKETS, ColumnProfile, Dropped, Levels, MAX_LEVELS, MIN_LEVEL_ROWS, NumberShape, Values, grid,
};
use crate::task::{ColumnType, Task};

/// Share of rows clipped at each end of a column of numbers.
pub(super) const TAIL: f64 = 0.005;
/// A column of numbers may have this share of texts ("unknown"), in percent;
/// they count as missing.
const MOST_TEXTS_PERCENT: u64 = 10;
/// Share of dates that makes a column of texts a column of dates, in percent.
const LEAST_DATES_PERCENT: u64 = 90;
/// A column whose values fill at least this many of the 256 buckets, none of
/// them above three times the mean, has a value of its own in nearly every
/// row. (721 distinct diagnosis codes still have buckets at 17 times the mean.)
const SCATTERED_BUCKETS: usize = 200;

/// The survey of one column.
pub(super) struct Surveyed {
    pub(super) name: String,
    coding: Coding,
    numbers: u64,
    pub(super) texts: u64,
    dates: u64,
    whole_numbers: u64,
    coarse: Vec<u64>,
    coarse_dates: Vec<u64>,
    whole: Vec<u64>,
    slots: Vec<u64>,
}

/// A column that will be a feature, with what is known so far.
pub(super) struct Taken<'s> {
    pub(super) column: &'s Surveyed,
    missing: u64,
    texts: bool,
    role: Role,
}

enum Role {
    Number(Option<Levels>),
    Date,
    Category(Levels),
}

impl Surveyed {
    pub(super) fn new(ask: ColumnAsk, counts: &[u64]) -> Option<Self> {
        let slots = ask.coding.slots();
        if counts.len() != TYPE_COUNTS + 2 * grid::COARSE_CELLS + WHOLE_SLOTS + slots {
            return None;
        }
        let (types, rest) = counts.split_at(TYPE_COUNTS);
        let (coarse, rest) = rest.split_at(grid::COARSE_CELLS);
        let (coarse_dates, rest) = rest.split_at(grid::COARSE_CELLS);
        let (whole, slots) = rest.split_at(WHOLE_SLOTS);
        Some(Self {
            name: ask.name,
            coding: ask.coding,
            numbers: types[0],
            texts: types[1],
            dates: types[2],
            whole_numbers: types[3],
            coarse: coarse.to_vec(),
            coarse_dates: coarse_dates.to_vec(),
            whole: whole.to_vec(),
            slots: slots.to_vec(),
        })
    }

    /// The grid to lay over its numbers or dates.
    pub(super) fn refined(&self, date: bool) -> RefineColumn {
        let whole = self.whole(date);
        let coarse = if date {
            &self.coarse_dates
        } else {
            &self.coarse
        };
        RefineColumn {
            name: self.name.clone(),
            date,
            edges: grid::refined_edges(coarse, whole),
        }
    }

    /// The grid of the second look, from the rows in the first one's cells.
    pub(super) fn again(&self, first: &RefineColumn, counts: &[u64]) -> RefineColumn {
        RefineColumn {
            name: first.name.clone(),
            date: first.date,
            edges: grid::edges_again(&first.edges, counts, self.whole(first.date)),
        }
    }

    fn whole(&self, date: bool) -> bool {
        date || self.whole_numbers == self.numbers
    }

    /// Whether every number is one of the small whole ones.
    fn all_small(&self) -> bool {
        self.numbers > 0 && self.whole.iter().sum::<u64>() == self.numbers
    }
}

impl Taken<'_> {
    pub(super) fn refined(&self) -> Option<RefineColumn> {
        match self.role {
            Role::Number(_) => Some(self.column.refined(false)),
            Role::Date => Some(self.column.refined(true)),
            Role::Category(_) => None,
        }
    }
}

/// How the survey counts a column's values.
pub(super) fn coding(task: &Task, name: &str) -> Coding {
    match task.columns.get(name) {
        Some(rule) if !rule.values.is_empty() => Coding::Vocabulary(rule.values.clone()),
        Some(rule) if rule.r#type == ColumnType::Number => Coding::Whole,
        _ if name == task.target => Coding::Whole,
        _ => Coding::Buckets,
    }
}

/// What the column is, or why it is not used.
pub(super) fn column<'s>(
    task: &Task,
    column: &'s Surveyed,
    rows: u64,
) -> Result<Taken<'s>, String> {
    let present = column.numbers + column.texts;
    if present == 0 {
        return Err("it has no value in any training row".to_owned());
    }
    let rule = task.columns.get(&column.name).map(|rule| rule.r#type);
    let role = rule.unwrap_or_else(|| guess(column, present));
    let usable = match role {
        ColumnType::Number => column.numbers,
        ColumnType::Date => column.dates,
        ColumnType::Category | ColumnType::Ignore => present,
    };
    if usable == 0 {
        return Err(format!(
            "the task declares it a {}, and no row has one",
            role.name()
        ));
    }
    if role == ColumnType::Date && rule.is_none() && task.constraints.temporal_check {
        return Err(
            "it is a date that may lie after the prediction (temporal_check); declare it under [columns] as \"date\" if it does not"
                .to_owned(),
        );
    }
    let missing = rows.saturating_sub(usable);
    let texts = role != ColumnType::Category && present > usable;
    let role = match role {
        ColumnType::Number => {
            let small = column
                .all_small()
                .then(|| levels(Coding::Whole, &column.whole, column.numbers));
            Role::Number(small.filter(|levels| !levels.slots.is_empty()))
        }
        ColumnType::Date => Role::Date,
        ColumnType::Category | ColumnType::Ignore => {
            Role::Category(category(column, missing, rule.is_some())?)
        }
    };
    Ok(Taken {
        column,
        missing,
        texts,
        role,
    })
}

fn guess(column: &Surveyed, present: u64) -> ColumnType {
    if column.dates * 100 >= present * LEAST_DATES_PERCENT {
        ColumnType::Date
    } else if column.texts * 100 <= present * MOST_TEXTS_PERCENT {
        ColumnType::Number
    } else {
        ColumnType::Category
    }
}

fn category(column: &Surveyed, missing: u64, declared: bool) -> Result<Levels, String> {
    let present = column.numbers + column.texts;
    let levels = if column.texts == 0 && column.all_small() && column.coding == Coding::Buckets {
        levels(Coding::Whole, &column.whole, present)
    } else {
        levels(column.coding.clone(), &column.slots, present)
    };
    let scattered = !declared && column.coding == Coding::Buckets && scattered(&column.slots);
    if scattered || (levels.slots.is_empty() && levels.other > 0) {
        return Err(
            "nearly every row has a value of its own (free text or an identifier)".to_owned(),
        );
    }
    if levels.slots.len() == 1 && levels.other == 0 && missing == 0 {
        return Err("it is the same in every training row".to_owned());
    }
    Ok(levels)
}

fn scattered(slots: &[u64]) -> bool {
    let occupied = slots.iter().filter(|&&rows| rows > 0).count();
    let total: u64 = slots.iter().sum();
    let largest = slots.iter().copied().max().unwrap_or(0);
    occupied >= SCATTERED_BUCKETS && largest * (BUCKETS as u64) < 3 * total
}

/// Keeps the most frequent slots that have enough rows.
fn levels(coding: Coding, counts: &[u64], present: u64) -> Levels {
    let mut frequent: Vec<(u16, u64)> = (0_u16..)
        .zip(counts.iter().copied())
        .filter(|&(_, rows)| rows >= MIN_LEVEL_ROWS)
        .collect();
    frequent.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    frequent.truncate(MAX_LEVELS);
    frequent.sort_unstable();
    let kept: u64 = frequent.iter().map(|&(_, rows)| rows).sum();
    let (slots, counts) = frequent.into_iter().unzip();
    Levels {
        coding,
        slots,
        counts,
        other: present.saturating_sub(kept),
    }
}

/// Where a column's numbers are clipped: at the quantiles of `tail`, or at the
/// ends of its grid where nearly all rows share one value.
pub(super) fn bounds(column: &RefineColumn, counts: &[u64], tail: f64) -> MomentsColumn {
    let edges = &column.edges;
    let ends = (
        edges.first().copied().unwrap_or(0.0),
        edges.last().copied().unwrap_or(1.0),
    );
    let lo = grid::quantile(edges, counts, tail);
    let hi = grid::quantile(edges, counts, 1.0 - tail);
    let one_cell = grid::cell(edges, lo) == grid::cell(edges, hi);
    let (lo, hi) = if tail == 0.0 || one_cell {
        ends
    } else {
        (lo, hi)
    };
    MomentsColumn {
        name: column.name.clone(),
        date: column.date,
        lo,
        hi,
    }
}

/// Puts the column together, now that its distribution is known.
pub(super) fn finished(
    taken: Taken<'_>,
    shape: Option<NumberShape>,
) -> Result<ColumnProfile, Dropped> {
    let gone = |reason: &str| Dropped {
        column: taken.column.name.clone(),
        reason: reason.to_owned(),
    };
    let values = match (taken.role, shape) {
        (Role::Category(levels), _) => Values::Category(levels),
        (_, None) => return Err(gone("its distribution is not known")),
        (_, Some(shape)) if shape.sd == 0.0 && taken.missing == 0 => {
            return Err(gone("it is the same in every training row"));
        }
        (Role::Number(small), Some(shape)) => Values::Number { shape, small },
        (Role::Date, Some(shape)) => Values::Date { shape },
    };
    Ok(ColumnProfile {
        name: taken.column.name.clone(),
        missing: taken.missing,
        texts: taken.texts,
        values,
    })
}
