//! Where the numbers of a column come from, and reading them.

use serde::{Deserialize, Serialize};

use crate::features::transform::{Derived, Function, MAX_INPUTS};
use crate::table::{Cell, Column, Table, days_since_epoch};

/// Where the numbers of a column come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Its cells that are numbers.
    #[default]
    Numbers,
    /// Its cells that are dates, as days since 1970-01-01.
    Dates,
    /// The cells of other columns, by a transform.
    Derived(Derived),
}

impl Source {
    /// The table's columns that a column of this name and source reads.
    pub(crate) fn columns<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        match self {
            Self::Numbers | Self::Dates => vec![name],
            Self::Derived(derived) => derived.columns.iter().map(String::as_str).collect(),
        }
    }

    /// Checks what came from elsewhere.
    pub(crate) fn check(&self, name: &str) -> Result<(), String> {
        match self {
            Self::Derived(derived) if derived.name != name => {
                Err(format!("column `{name}` is derived under another name"))
            }
            Self::Derived(derived) => derived.function().map(drop),
            _ => Ok(()),
        }
    }
}

/// The numbers of one column, row by row.
pub(crate) enum Quantities<'t> {
    /// The table has no such column.
    Absent,
    /// Cells that are numbers.
    Numbers(&'t Column),
    /// Cells that are dates; days of each distinct text.
    Dates(&'t Column, Vec<Option<f64>>),
    /// Computed.
    Derived(Vec<Option<&'t Column>>, Function),
}

impl<'t> Quantities<'t> {
    /// Ready to read a table.
    ///
    /// # Errors
    /// When a derived column is out of bounds or its transform is unknown.
    pub(crate) fn new(table: &'t Table, name: &str, source: &Source) -> Result<Self, String> {
        Ok(match (source, table.column(name)) {
            (Source::Derived(derived), _) => {
                let columns = derived.columns.iter().map(|column| table.column(column));
                Self::Derived(columns.collect(), derived.function()?)
            }
            (_, None) => Self::Absent,
            (Source::Numbers, Some(column)) => Self::Numbers(column),
            (Source::Dates, Some(column)) => {
                let days = column
                    .dictionary()
                    .iter()
                    .map(|text| days_since_epoch(text));
                Self::Dates(
                    column,
                    days.map(|days| days.map(|days| days as f64)).collect(),
                )
            }
        })
    }

    /// The number of a row; `None` is missing.
    pub(crate) fn get(&self, row: usize) -> Option<f64> {
        match self {
            Self::Absent => None,
            Self::Numbers(column) => column.number(row),
            Self::Dates(column, days) => *days.get(column.code(row)?)?,
            Self::Derived(columns, function) => {
                let mut cells = [Cell::Missing; MAX_INPUTS];
                for (cell, column) in cells.iter_mut().zip(columns) {
                    *cell = column.map_or(Cell::Missing, |column| column.cell(row));
                }
                let value = function(cells.get(..columns.len())?)?;
                // Adding zero turns -0 into 0.
                value.is_finite().then_some(value + 0.0)
            }
        }
    }
}
