//! From cells to numbers.

use super::{BinColumn, Encoding, FeatureError, Input, MAX_BINS, MAX_FEATURE, Matrix, Pipeline};
use crate::profile::{Coding, SlotKey};
use crate::table::{Cell, Column, Table, days_since_epoch};

impl Pipeline {
    /// These rows as numbers. Lenient about cells, as training is: what a
    /// column cannot use counts as missing, and so does a whole column that is
    /// not there.
    pub(crate) fn rows(&self, table: &Table, rows: &[u32]) -> Result<Matrix, FeatureError> {
        let width = self.width();
        if self.binned() {
            let mut bins = vec![0; rows.len() * width];
            for (feature, input) in self.inputs.iter().enumerate() {
                let writer = Writer::new(input, self.key, table);
                for (place, &row) in rows.iter().enumerate() {
                    bins[place * width + feature] = writer.bin(row as usize);
                }
            }
            return Ok(Matrix::bins(rows.len(), width, bins));
        }
        let mut values = vec![0.0; rows.len() * width];
        let mut offset = 0;
        for input in &self.inputs {
            let writer = Writer::new(input, self.key, table);
            for (place, &row) in rows.iter().enumerate() {
                let start = place * width + offset;
                writer.write(row as usize, &mut values[start..start + input.width()]);
            }
            offset += input.width();
        }
        for value in &mut values {
            *value = value.clamp(-MAX_FEATURE, MAX_FEATURE);
        }
        Ok(Matrix::numbers(rows.len(), width, values))
    }

    /// Refuses a table that lacks a column or has cells of another type.
    pub(super) fn check_table(&self, table: &Table) -> Result<(), FeatureError> {
        for input in &self.inputs {
            let Some(column) = table.column(&input.column) else {
                return Err(FeatureError::NoColumn {
                    source_name: table.source().to_owned(),
                    column: input.column.clone(),
                    hint: table
                        .nearest(&input.column)
                        .map_or_else(String::new, |near| format!(" (the nearest is `{near}`)")),
                });
            };
            if input.texts {
                continue;
            }
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
    let (wanted, date) = match &input.encoding {
        Encoding::Linear { date: true, .. }
        | Encoding::Curve { date: true, .. }
        | Encoding::Bins { date: true, .. } => ("a date", true),
        Encoding::Smooth(smooth) if smooth.date => ("a date", true),
        Encoding::Linear { .. }
        | Encoding::Curve { .. }
        | Encoding::Smooth(_)
        | Encoding::Bins { .. }
        | Encoding::Levels {
            coding: Coding::Whole,
            ..
        }
        | Encoding::LevelBins {
            coding: Coding::Whole,
            ..
        } => ("a number", false),
        Encoding::Levels { .. } | Encoding::LevelBins { .. } | Encoding::Missing {} => return None,
    };
    let fits = |row: usize| match column.cell(row) {
        Cell::Missing => true,
        Cell::Number(_) => !date,
        Cell::Text(text) => date && days_since_epoch(text).is_some(),
    };
    (0..rows).find(|&row| !fits(row)).map(|row| (row, wanted))
}

impl Input {
    pub(super) fn width(&self) -> usize {
        let own = match &self.encoding {
            Encoding::Linear { knots, .. } => 1 + knots.len(),
            Encoding::Smooth(smooth) => smooth.width(),
            Encoding::Curve { .. } | Encoding::Bins { .. } | Encoding::LevelBins { .. } => 1,
            Encoding::Levels { slots, other, .. } => slots.len() + usize::from(*other),
            Encoding::Missing {} => 0,
        };
        own + usize::from(self.flag)
    }

    pub(super) fn names(&self) -> Vec<String> {
        let column = &self.column;
        let mut names = match &self.encoding {
            Encoding::Linear { knots, .. } => std::iter::once(column.clone())
                .chain(knots.iter().map(|knot| format!("{column} above {knot:.4}")))
                .collect(),
            Encoding::Curve { .. } => vec![format!("{column} (rank)")],
            Encoding::Smooth(smooth) => smooth.names(column),
            Encoding::Levels {
                coding,
                slots,
                other,
            } => slots
                .iter()
                .map(|&slot| format!("{column} = {}", coding.slot_name(slot)))
                .chain(other.then(|| format!("{column} = other")))
                .collect(),
            Encoding::Bins { .. } | Encoding::LevelBins { .. } => vec![column.clone()],
            Encoding::Missing {} => Vec::new(),
        };
        if self.flag {
            names.push(format!("{column} missing"));
        }
        names
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let bad = |what: &str| Err(format!("feature of `{}`: {what}", self.column));
        match &self.encoding {
            Encoding::Linear {
                lo,
                hi,
                center,
                scale,
                knots,
                ..
            } => {
                let numbers = [*lo, *hi, *center, *scale];
                if numbers
                    .iter()
                    .chain(knots)
                    .any(|number| !number.is_finite())
                    || lo > hi
                    || *scale <= 0.0
                {
                    return bad("bounds or scale are out of bounds");
                }
            }
            Encoding::Curve { at, to, .. } => {
                let finite = at.iter().chain(to).all(|number| number.is_finite());
                if at.len() != to.len() || at.is_empty() || !at.is_sorted() || !finite {
                    return bad("the points of its curve are out of order");
                }
            }
            Encoding::Smooth(smooth) => smooth.flaw().map_or(Ok(()), bad)?,
            Encoding::Levels { coding, slots, .. } => {
                let known = slots.iter().all(|&slot| usize::from(slot) < coding.slots());
                if !known || !slots.is_sorted_by(|a, b| a < b) {
                    return bad("its levels are out of order");
                }
            }
            Encoding::Bins { cuts, .. } => {
                let ascending = cuts.is_sorted_by(|a, b| a < b);
                let finite = cuts.iter().all(|cut| cut.is_finite());
                if cuts.len() > MAX_BINS - 2 || !ascending || !finite || self.flag {
                    return bad("its cuts are out of order or too many");
                }
            }
            Encoding::LevelBins { coding, slots, .. } => {
                let known = slots.iter().all(|&slot| usize::from(slot) < coding.slots());
                if !known
                    || !slots.is_sorted_by(|a, b| a < b)
                    || slots.len() > MAX_BINS - 2
                    || self.flag
                {
                    return bad("its levels are out of order or too many");
                }
            }
            Encoding::Missing {} => {}
        }
        Ok(())
    }

    pub(super) fn binned(&self) -> bool {
        matches!(
            self.encoding,
            Encoding::Bins { .. } | Encoding::LevelBins { .. }
        )
    }

    pub(super) fn bin_column(&self) -> Option<BinColumn> {
        let (bins, ordered) = match &self.encoding {
            Encoding::Bins { cuts, .. } => (cuts.len() + 2, true),
            Encoding::LevelBins { slots, other, .. } => {
                (slots.len() + 1 + usize::from(*other), false)
            }
            _ => return None,
        };
        Some(BinColumn {
            name: self.column.clone(),
            bins,
            ordered,
        })
    }

    pub(super) fn bin_name(&self, bin: usize) -> String {
        let column = &self.column;
        let Some(place) = bin.checked_sub(1) else {
            return format!("{column} missing");
        };
        match &self.encoding {
            Encoding::Bins { cuts, .. } => match (place.checked_sub(1), cuts.get(place)) {
                (None, None) => format!("{column} present"),
                (None, Some(high)) => format!("{column} < {high}"),
                (Some(below), None) => format!("{column} >= {}", cuts[below]),
                (Some(below), Some(high)) => format!("{} <= {column} < {high}", cuts[below]),
            },
            Encoding::LevelBins { coding, slots, .. } => match slots.get(place) {
                Some(&slot) => format!("{column} = {}", coding.slot_name(slot)),
                None => format!("{column} = other"),
            },
            _ => String::new(),
        }
    }
}

/// Writes the features of one input, with what can be worked out once per
/// distinct text worked out.
struct Writer<'a> {
    input: &'a Input,
    key: SlotKey,
    column: Option<&'a Column>,
    /// Per distinct text: its slot, or its days.
    texts: Vec<Known>,
}

enum Known {
    Slot(Option<usize>),
    Days(Option<f64>),
}

impl<'a> Writer<'a> {
    fn new(input: &'a Input, key: SlotKey, table: &'a Table) -> Self {
        let column = table.column(&input.column);
        let texts = column.map_or(&[][..], Column::dictionary);
        let texts = texts
            .iter()
            .map(|text| match &input.encoding {
                Encoding::Levels { coding, .. } | Encoding::LevelBins { coding, .. } => {
                    Known::Slot(coding.slot(key, &input.column, Cell::Text(text)))
                }
                _ => Known::Days(days_since_epoch(text).map(|days| days as f64)),
            })
            .collect();
        Self {
            input,
            key,
            column,
            texts,
        }
    }

    fn known(&self, row: usize) -> Option<&Known> {
        let code = *self.column?.codes()?.get(row)? as usize;
        self.texts.get(code.checked_sub(1)?)
    }

    /// The number of a row, or its days.
    fn quantity(&self, row: usize, date: bool) -> Option<f64> {
        match (date, self.known(row)) {
            (true, Some(Known::Days(days))) => *days,
            (true, _) => None,
            (false, _) => self.column?.number(row),
        }
    }

    /// The bin of a row, 0 where its value is missing.
    fn bin(&self, row: usize) -> u8 {
        // Below MAX_BINS by `Input::check`, so that the casts lose nothing.
        match &self.input.encoding {
            Encoding::Bins { date, cuts } => self.quantity(row, *date).map_or(0, |value| {
                1 + cuts.partition_point(|&cut| cut <= value) as u8
            }),
            Encoding::LevelBins {
                coding,
                slots,
                other,
            } => {
                let level = self.level(row, coding).map(|slot| place(slots, slot));
                match level {
                    Some(Some(level)) => 1 + level as u8,
                    Some(None) if *other => 1 + slots.len() as u8,
                    _ => 0,
                }
            }
            _ => 0,
        }
    }

    fn write(&self, row: usize, out: &mut [f64]) {
        let present = match &self.input.encoding {
            Encoding::Linear {
                date,
                lo,
                hi,
                center,
                scale,
                knots,
            } => self.quantity(row, *date).map(|value| {
                let value = value.clamp(*lo, *hi);
                out[0] = (value - center) / scale;
                for (out, knot) in out[1..].iter_mut().zip(knots) {
                    *out = (value - knot).max(0.0) / scale;
                }
            }),
            Encoding::Curve { date, at, to } => self
                .quantity(row, *date)
                .map(|value| out[0] = interpolate(at, to, value)),
            Encoding::Smooth(smooth) => {
                let value = self.quantity(row, smooth.date);
                smooth.write(value, &mut out[..smooth.width()]);
                value.map(|_| ())
            }
            Encoding::Levels {
                slots,
                other,
                coding,
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
            // Bins are written by `Writer::bin`.
            Encoding::Bins { .. } | Encoding::LevelBins { .. } => Some(()),
        };
        if self.input.flag
            && present.is_none()
            && let Some(flag) = out.last_mut()
        {
            *flag = 1.0;
        }
    }

    /// `None` when missing, `Some(None)` for a value without a slot.
    fn level(&self, row: usize, coding: &Coding) -> Option<Option<usize>> {
        if let Some(number) = self.column?.number(row) {
            return Some(coding.slot(self.key, &self.input.column, Cell::Number(number)));
        }
        match self.known(row)? {
            // A text among codes that are numbers is no value (see `texts`).
            Known::Slot(_) if *coding == Coding::Whole => None,
            Known::Slot(slot) => Some(*slot),
            Known::Days(_) => None,
        }
    }
}

/// Linear between the points, constant outside.
/// The place of a slot among those that have a level of their own.
fn place(slots: &[u16], slot: Option<usize>) -> Option<usize> {
    let slot = slot?;
    slots
        .binary_search_by(|&known| usize::from(known).cmp(&slot))
        .ok()
}

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
