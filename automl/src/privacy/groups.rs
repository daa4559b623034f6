//! How many rows share the same quasi-identifiers.

use std::collections::HashMap;

use serde::Serialize;

use crate::table::{Cell, Column};

/// The groups of rows with the same values in all quasi-identifiers. A missing cell is a value
/// of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Groups {
    /// The columns.
    pub columns: Vec<String>,
    /// Rows of the smallest group; 0 where there are no rows.
    pub k: u64,
    /// How many groups there are.
    pub groups: u64,
    /// Groups of fewer rows than this are small.
    pub small: u64,
    /// Rows in small groups.
    pub small_rows: u64,
    /// All rows.
    pub rows: u64,
}

impl Groups {
    /// Counts the groups of the rows of these columns.
    pub(super) fn count(columns: &[&Column], rows: usize, small: u64) -> Self {
        // Each column splits the groups that those before it made. Maps are only looked up in,
        // never walked through.
        let mut group_of: Vec<u32> = vec![0; rows];
        for column in columns {
            let mut values: HashMap<Value<'_>, u32> = HashMap::new();
            let mut parts: HashMap<(u32, u32), u32> = HashMap::new();
            for (row, group) in group_of.iter_mut().enumerate() {
                let next = number_of(values.len());
                let value = *values.entry(Value::of(column.cell(row))).or_insert(next);
                let next = number_of(parts.len());
                *group = *parts.entry((*group, value)).or_insert(next);
            }
        }
        let groups = group_of.iter().max().map_or(0, |last| *last as usize + 1);
        let mut sizes = vec![0_u64; groups];
        for group in &group_of {
            sizes[*group as usize] += 1;
        }
        Self {
            columns: columns.iter().map(|it| it.name().to_owned()).collect(),
            k: sizes.iter().min().copied().unwrap_or(0),
            groups: groups as u64,
            small,
            small_rows: sizes.iter().filter(|size| **size < small).sum(),
            rows: rows as u64,
        }
    }
}

/// A table has at most 2^24 rows.
fn number_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A cell that can be looked up.
#[derive(PartialEq, Eq, Hash)]
enum Value<'a> {
    Missing,
    Number(u64),
    Text(&'a str),
}

impl<'a> Value<'a> {
    fn of(cell: Cell<'a>) -> Self {
        match cell {
            Cell::Missing => Self::Missing,
            Cell::Number(number) => Self::Number(number.to_bits()),
            Cell::Text(text) => Self::Text(text),
        }
    }
}
