//! From cells to numbers.

use super::{Encoding, FeatureError, Input, MAX_FEATURE, Matrix, Pipeline};
use crate::profile::{Coding, PairReader, Quantities, SlotKey, Source, words};
use crate::table::{Cell, Column, Table, days_since_epoch};

impl Pipeline {
    /// These rows as numbers; `groups` has the group of each training row (see
    /// [`crate::split::SplitPlan::group`]), `None` for others. Lenient about cells, as training is: what a
    /// column cannot use counts as missing, and so does a whole column that is
    /// not there.
    pub(crate) fn rows(
        &self,
        table: &Table,
        rows: &[u32],
        groups: &[Option<usize>],
    ) -> Result<Matrix, FeatureError> {
        let width = self.width();
        let binned = self.binned();
        let cells = rows.len() * width;
        let (mut bins, mut values) = if binned {
            (vec![0_u8; cells], Vec::new())
        } else {
            (Vec::new(), vec![0.0; cells])
        };
        let mut offset = 0;
        for input in &self.inputs {
            let writer = Writer::new(input, self.key, table).map_err(FeatureError::Transform)?;
            let own = input.width();
            for (place, (&row, &group)) in rows.iter().zip(groups).enumerate() {
                let start = place * width + offset;
                if binned {
                    writer.bins(row as usize, group, &mut bins[start..start + own]);
                } else {
                    writer.write(row as usize, group, &mut values[start..start + own]);
                }
            }
            offset += own;
        }
        if binned {
            return Ok(Matrix::bins(rows.len(), width, bins));
        }
        for value in &mut values {
            *value = value.clamp(-MAX_FEATURE, MAX_FEATURE);
        }
        Ok(Matrix::numbers(rows.len(), width, values))
    }

    /// Refuses a table that lacks a column or has cells of another type.
    pub(super) fn check_table(&self, table: &Table) -> Result<(), FeatureError> {
        for input in &self.inputs {
            for name in input.columns() {
                if table.column(name).is_none() && !self.absent_is_missing {
                    return Err(FeatureError::NoColumn {
                        source_name: table.source().to_owned(),
                        column: name.to_owned(),
                        hint: table
                            .nearest(name)
                            .map_or_else(String::new, |near| format!(" (the nearest is `{near}`)")),
                    });
                }
            }
            let Some(column) = table.column(&input.column).filter(|_| !input.texts) else {
                continue;
            };
            if let Some((row, wanted)) = misfit(input, column, table.rows()) {
                return Err(FeatureError::Type {
                    source_name: table.source().to_owned(),
                    line: Table::line(row),
                    column: input.column.clone(),
                    wanted,
                });
            }
        }
        Ok(())
    }
}

/// The first row whose cell the input cannot take, and what it wants.
fn misfit(input: &Input, column: &Column, rows: usize) -> Option<(usize, &'static str)> {
    let (wanted, date) = match (input.source(), &input.encoding) {
        (
            _,
            Encoding::Levels {
                coding: Coding::Whole,
                ..
            }
            | Encoding::LevelBins {
                coding: Coding::Whole,
                ..
            },
        )
        | (Some(Source::Numbers), _) => ("a number", false),
        (Some(Source::Dates), _) => ("a date", true),
        _ => return None,
    };
    let fits = |row: usize| match column.cell(row) {
        Cell::Missing => true,
        Cell::Number(_) => !date,
        Cell::Text(text) => date && days_since_epoch(text).is_some(),
    };
    (0..rows).find(|&row| !fits(row)).map(|row| (row, wanted))
}

/// Writes the features of one input, with what can be worked out once per
/// distinct text worked out.
struct Writer<'a> {
    input: &'a Input,
    key: SlotKey,
    column: Option<&'a Column>,
    numbers: Quantities<'a>,
    /// The slot of each distinct text.
    slots: Vec<Option<usize>>,
    /// The features of each distinct text that has words.
    words: Vec<Vec<u16>>,
    /// The cells of a pair.
    pair: Option<PairReader<'a>>,
}

impl<'a> Writer<'a> {
    fn new(input: &'a Input, key: SlotKey, table: &'a Table) -> Result<Self, String> {
        let name = &input.column;
        let column = table.column(name);
        let texts = column.map_or(&[][..], Column::dictionary);
        let numbers = match input.source() {
            Some(source) => Quantities::new(table, name, source)?,
            None => Quantities::Absent,
        };
        let slots = match input.coding() {
            Some(coding) => texts
                .iter()
                .map(|text| coding.slot(key, name, Cell::Text(text)))
                .collect(),
            None => Vec::new(),
        };
        let words = match &input.encoding {
            Encoding::Words { buckets, .. } => texts
                .iter()
                .map(|text| {
                    let mut found = words::buckets(key, name, text);
                    found.retain(|bucket| buckets.binary_search(bucket).is_ok());
                    found
                })
                .collect(),
            _ => Vec::new(),
        };
        let pair = match &input.encoding {
            Encoding::Pair { bins, .. } => Some(PairReader::new(table, bins, key)?),
            _ => None,
        };
        Ok(Self {
            input,
            key,
            column,
            numbers,
            slots,
            words,
            pair,
        })
    }

    /// The bins of a row, 0 where its value is missing.
    fn bins(&self, row: usize, group: Option<usize>, out: &mut [u8]) {
        // Below MAX_BINS by `Input::check`, so that the casts lose nothing.
        match &self.input.encoding {
            Encoding::Bins { cuts, .. } => {
                out[0] = self.numbers.get(row).map_or(0, |value| {
                    1 + cuts.partition_point(|&cut| cut <= value) as u8
                });
            }
            Encoding::LevelBins {
                coding,
                slots,
                other,
            } => {
                let level = self.level(row, coding).map(|slot| place(slots, slot));
                out[0] = match level {
                    Some(Some(level)) => 1 + level as u8,
                    Some(None) if *other => 1 + slots.len() as u8,
                    _ => 0,
                };
            }
            Encoding::Scores { .. } | Encoding::Pair { .. } => out[0] = self.score(row, group),
            Encoding::Levels {
                coding,
                slots,
                other,
                ..
            } => {
                if let Some(slot) = self.level(row, coding) {
                    out.fill(1);
                    match place(slots, slot) {
                        Some(level) => out[level] = 2,
                        None if *other => out[slots.len()] = 2,
                        None => {}
                    }
                }
            }
            Encoding::Words { buckets, .. } => {
                if let Some(found) = self.found(row) {
                    for (bin, bucket) in out.iter_mut().zip(buckets) {
                        *bin = 1 + u8::from(found.binary_search(bucket).is_ok());
                    }
                }
            }
            _ => {}
        }
    }

    fn write(&self, row: usize, group: Option<usize>, out: &mut [f64]) {
        let present = match &self.input.encoding {
            Encoding::Linear {
                lo,
                hi,
                center,
                scale,
                knots,
                ..
            } => self.numbers.get(row).map(|value| {
                let value = value.clamp(*lo, *hi);
                out[0] = (value - center) / scale;
                for (out, knot) in out[1..].iter_mut().zip(knots) {
                    *out = (value - knot).max(0.0) / scale;
                }
            }),
            Encoding::Curve { at, to, .. } => self
                .numbers
                .get(row)
                .map(|value| out[0] = interpolate(at, to, value)),
            Encoding::Smooth(smooth) => {
                let value = self.numbers.get(row);
                smooth.write(value, &mut out[..smooth.width()]);
                value.map(|_| ())
            }
            Encoding::Levels {
                slots,
                other,
                coding,
                ..
            } => self
                .level(row, coding)
                .map(|slot| match place(slots, slot) {
                    Some(level) => out[level] = 1.0,
                    None if *other => out[slots.len()] = 1.0,
                    None => {}
                }),
            Encoding::Missing {} => self.column.and_then(|column| match column.cell(row) {
                Cell::Missing => None,
                _ => Some(()),
            }),
            Encoding::Scores { values, .. } | Encoding::Pair { values, .. } => {
                let score = usize::from(self.score(row, group));
                let value = score.checked_sub(1).and_then(|place| values.get(place));
                value.map(|&value| out[0] = value)
            }
            Encoding::Words { buckets, .. } => self.found(row).map(|found| {
                for (out, bucket) in out.iter_mut().zip(buckets) {
                    *out = f64::from(u8::from(found.binary_search(bucket).is_ok()));
                }
            }),
            // Bins are written by `Writer::bins`.
            Encoding::Bins { .. } | Encoding::LevelBins { .. } => Some(()),
        };
        if self.input.flag
            && present.is_none()
            && let Some(flag) = out.last_mut()
        {
            *flag = 1.0;
        }
    }

    /// The place of a row's score plus one, 0 where it has none.
    fn score(&self, row: usize, group: Option<usize>) -> u8 {
        let (at, groups) = match (&self.input.encoding, &self.pair) {
            (
                Encoding::Scores {
                    coding,
                    slots,
                    groups,
                    ..
                },
                _,
            ) => {
                let Some(slot) = self.level(row, coding) else {
                    return 0;
                };
                (place(slots, slot).unwrap_or(slots.len()), groups)
            }
            // The empty bin 0 has no score.
            (Encoding::Pair { groups, .. }, Some(reader)) => (reader.cell(row) - 1, groups),
            _ => return 0,
        };
        let own = group.and_then(|group| groups.get(1 + group));
        let places = own.or(groups.first());
        places
            .and_then(|places| places.get(at))
            .copied()
            .unwrap_or(0)
    }

    /// The words of a row's text that have features; `None` when it has no text.
    fn found(&self, row: usize) -> Option<&Vec<u16>> {
        self.words.get(self.column?.code(row)?)
    }

    /// `None` when missing, `Some(None)` for a value without a slot.
    fn level(&self, row: usize, coding: &Coding) -> Option<Option<usize>> {
        if let Some(Source::Derived(_)) = self.input.source() {
            let number = self.numbers.get(row)?;
            return Some(coding.slot(self.key, &self.input.column, Cell::Number(number)));
        }
        let column = self.column?;
        if let Some(number) = column.number(row) {
            return Some(coding.slot(self.key, &self.input.column, Cell::Number(number)));
        }
        let code = column.code(row)?;
        // A text among codes that are numbers is no value (see `texts`).
        if *coding == Coding::Whole {
            return None;
        }
        Some(self.slots.get(code).copied().flatten())
    }
}

/// The place of a slot among those that have a level of their own.
fn place(slots: &[u16], slot: Option<usize>) -> Option<usize> {
    let slot = slot?;
    slots
        .binary_search_by(|&known| usize::from(known).cmp(&slot))
        .ok()
}

/// Linear between the points, constant outside.
fn interpolate(at: &[f64], to: &[f64], value: f64) -> f64 {
    let above = at.partition_point(|&point| point <= value);
    match (above.checked_sub(1), at.get(above)) {
        (None, _) => to[0],
        (Some(last), None) => to[last],
        (Some(below), Some(_)) => {
            let share = (value - at[below]) / (at[above] - at[below]);
            to[below] + (to[above] - to[below]) * share
        }
    }
}
