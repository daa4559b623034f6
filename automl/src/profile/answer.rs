//! How a site answers the asks of the profile: one pass over the training rows
//! per column, whole numbers only.

use super::part::{ColumnAsk, MomentsColumn, ProfilePart, RefineColumn, TYPE_COUNTS};
use super::slots::{Coding, SlotKey, WHOLE_SLOTS, whole_slot};
use super::{classes, decide, grid, schema};
use crate::ask::Encoder;
use crate::data::{SiteData, SiteDataError};
use crate::table::{Cell, Column, days_since_epoch};

/// Answers one part.
///
/// # Errors
/// [`SiteDataError`] when the part asks about a column that the task's filters
/// protect, or about more rows than it has room for.
pub(crate) fn answer(
    data: &SiteData,
    part: &ProfilePart,
    out: &mut Encoder,
) -> Result<(), SiteDataError> {
    for name in part.column_names() {
        data.allowed(name)?;
    }
    match part {
        ProfilePart::Schema { attempt } => {
            let names: Vec<&str> = data.table().columns().iter().map(Column::name).collect();
            let table = schema::encode(*attempt, &names).ok_or(SiteDataError::Schema)?;
            put(out, table)
        }
        ProfilePart::Survey {
            key,
            columns,
            classes,
        } => {
            follows_from_task(data, *key, columns, classes)?;
            let rows = data.counts();
            put(out, [rows.train, rows.test, rows.unlabelled])?;
            put(out, class_counts(data, classes))?;
            columns
                .iter()
                .try_for_each(|column| put(out, survey(data, *key, column)))
        }
        ProfilePart::Refine { columns } => columns
            .iter()
            .try_for_each(|column| put(out, refine(data, column))),
        ProfilePart::Moments {
            bits,
            rows,
            columns,
        } => {
            if data.counts().train > *rows {
                return Err(SiteDataError::TooManyRows { most: *rows });
            }
            let sums: Vec<[u64; 3]> = columns
                .iter()
                .map(|column| moments(data, column, *bits))
                .collect();
            (0..3).try_for_each(|which| put(out, sums.iter().map(|sum| sum[which])))
        }
    }
}

/// Refuses a survey whose vocabularies, classes or key are not the task's own.
fn follows_from_task(
    data: &SiteData,
    key: SlotKey,
    columns: &[ColumnAsk],
    classes: &[String],
) -> Result<(), SiteDataError> {
    let task = data.task();
    let other = |what: String| Err(SiteDataError::Survey { what });
    if key != SlotKey::of(task) {
        return other("hash buckets".to_owned());
    }
    if classes != task.classes {
        return other("the classes of the target".to_owned());
    }
    match columns
        .iter()
        .find(|column| column.coding != decide::coding(task, &column.name))
    {
        Some(column) => other(format!("the values of column `{}`", column.name)),
        None => Ok(()),
    }
}

fn put(out: &mut Encoder, counts: impl IntoIterator<Item = u64>) -> Result<(), SiteDataError> {
    counts
        .into_iter()
        .try_for_each(|count| out.count(count).map_err(SiteDataError::from))
}

fn class_counts(data: &SiteData, declared: &[String]) -> Vec<u64> {
    let mut counts = vec![0; classes::count(declared)];
    let target = data.target();
    for &row in data.train_rows() {
        if let Some(slot) = classes::slot(declared, target.cell(row as usize)) {
            counts[slot] += 1;
        }
    }
    counts
}

/// Number of the days of each text of a column, and its slot, worked out once
/// per distinct text.
struct TextFacts {
    days: Option<i64>,
    slot: Option<usize>,
}

fn survey(data: &SiteData, key: SlotKey, ask: &ColumnAsk) -> Vec<u64> {
    let mut types = [0_u64; TYPE_COUNTS];
    let mut coarse = vec![0_u64; grid::COARSE_CELLS];
    let mut dates = vec![0_u64; grid::COARSE_CELLS];
    let mut whole = vec![0_u64; WHOLE_SLOTS];
    let mut slots = vec![0_u64; ask.coding.slots()];
    if let Some(column) = data.table().column(&ask.name) {
        let facts: Vec<TextFacts> = column
            .dictionary()
            .iter()
            .map(|text| TextFacts {
                days: days_since_epoch(text),
                slot: ask.coding.slot(key, &ask.name, Cell::Text(text)),
            })
            .collect();
        for &row in data.train_rows() {
            let row = row as usize;
            if let Some(number) = column.number(row) {
                types[0] += 1;
                coarse[grid::coarse_cell(number)] += 1;
                types[3] += u64::from(libm::floor(number) == number);
                let small = whole_slot(number);
                if let Some(slot) = small {
                    whole[slot] += 1;
                }
                let slot = match ask.coding {
                    Coding::Whole => small,
                    _ => ask.coding.slot(key, &ask.name, Cell::Number(number)),
                };
                if let Some(slot) = slot {
                    slots[slot] += 1;
                }
            } else if let Some(fact) = text_fact(column, &facts, row) {
                types[1] += 1;
                if let Some(days) = fact.days {
                    types[2] += 1;
                    dates[grid::coarse_cell(days as f64)] += 1;
                }
                if let Some(slot) = fact.slot {
                    slots[slot] += 1;
                }
            }
        }
    }
    let mut counts = types.to_vec();
    counts.extend(coarse);
    counts.extend(dates);
    counts.extend(whole);
    counts.extend(slots);
    counts
}

fn text_fact<'f>(column: &Column, facts: &'f [TextFacts], row: usize) -> Option<&'f TextFacts> {
    let code = *column.codes()?.get(row)? as usize;
    facts.get(code.checked_sub(1)?)
}

/// The number of a row, or its days where a column is read as dates.
pub(crate) fn quantity(column: &Column, row: usize, date: bool) -> Option<f64> {
    if date {
        column
            .text(row)
            .and_then(days_since_epoch)
            .map(|days| days as f64)
    } else {
        column.number(row)
    }
}

fn refine(data: &SiteData, ask: &RefineColumn) -> Vec<u64> {
    let mut counts = vec![0_u64; ask.edges.len().saturating_sub(1)];
    if let Some(column) = data.table().column(&ask.name) {
        for &row in data.train_rows() {
            if let Some(number) = quantity(column, row as usize, ask.date) {
                counts[grid::cell(&ask.edges, number)] += 1;
            }
        }
    }
    counts
}

/// Rows, sum and sum of squares of the codes 0 to 2^bits.
fn moments(data: &SiteData, ask: &MomentsColumn, bits: u32) -> [u64; 3] {
    let levels = f64::from(1_u32 << bits);
    let mut sums = [0_u64; 3];
    if let Some(column) = data.table().column(&ask.name) {
        for &row in data.train_rows() {
            if let Some(number) = quantity(column, row as usize, ask.date) {
                let share = (number.clamp(ask.lo, ask.hi) - ask.lo) / (ask.hi - ask.lo);
                let code = libm::round(share * levels) as u64;
                sums[0] += 1;
                sums[1] += code;
                sums[2] += code * code;
            }
        }
    }
    sums
}
