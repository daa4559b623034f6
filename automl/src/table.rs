//! Tables: what a site's rows look like once read and mapped.
//!
//! A cell is missing, a finite number or a text. Which of the three is decided
//! by the cell alone (see [`Cell`]), never by its neighbours or by the file it
//! came from, so that a row means the same at any site and a profile over five
//! sites equals the profile over one merged table. A column may hold a mixture;
//! what its type is gets voted on later, over all sites.
//!
//! Start with [`Table::open`]; [`TableMapping`] is what a site writes to make
//! its file look like everybody else's.

mod cell;
mod csv;
mod date;
mod mapping;
mod replace;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::object::ObjectId;

pub use cell::{Cell, canonical_number, canonical_text};
pub use date::{civil, days_since_epoch};
pub use mapping::{ColumnMapping, MappingError, TableMapping};
pub use replace::Replacement;

/// Most columns of a table. The schema step spends 3·256 cells on their names,
/// which is safe up to 1.22·512 (see `profile::schema`).
pub const MAX_COLUMNS: usize = 512;
/// Most rows of one site: counts of 64 such sites stay below 2^30, which keeps
/// two lanes in every encrypted number.
pub const MAX_ROWS: usize = 1 << 24;
/// Longest cell in bytes: a page or two of free text.
pub const MAX_CELL_BYTES: usize = 32 * 1024;
/// Longest column name in bytes, as many as the schema step can spell.
pub const MAX_COLUMN_NAME_BYTES: usize = 64;

/// A site's rows, column by column.
#[derive(Clone, Debug)]
pub struct Table {
    source: String,
    columns: Vec<Column>,
    rows: usize,
}

/// One named column.
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    /// One per row, NaN where the cell is no number; `None` when no cell is.
    numbers: Option<Vec<f64>>,
    /// One per row, an index into `dictionary` plus one, 0 where the cell is no
    /// text; `None` when no cell is.
    codes: Option<Vec<u32>>,
    dictionary: Vec<String>,
}

/// Why a table could not be read. Messages name places, never cell values:
/// they may travel to people who must not see the data.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {error}; check the path and its permissions", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The file as a whole is not what is needed.
    #[error("{source_name}: {problem}")]
    File {
        /// The file.
        source_name: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// One line is wrong.
    #[error("{source_name}, line {line}: {problem}")]
    Line {
        /// The file.
        source_name: String,
        /// 1-based record number, the header being line 1.
        line: usize,
        /// What is wrong and what to do.
        problem: String,
    },
    /// One cell is wrong.
    #[error("{source_name}, line {line}, column `{column}`: {problem}")]
    Cell {
        /// The file.
        source_name: String,
        /// 1-based record number, the header being line 1.
        line: usize,
        /// The column as the file calls it.
        column: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The site's column map does not fit the file.
    #[error("{source_name}: {error}")]
    Mapping {
        /// The file.
        source_name: String,
        /// What does not fit.
        #[source]
        error: MappingError,
    },
}

impl Table {
    /// Reads a CSV file.
    ///
    /// # Errors
    /// [`TableError`] names file, line and column.
    pub fn open(path: &Path, mapping: &TableMapping) -> Result<Self, TableError> {
        let io = |error| TableError::Io {
            path: path.to_owned(),
            error,
        };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        Self::read(&path.display().to_string(), BufReader::new(file), mapping)
    }

    /// Reads CSV from anywhere; `source` is what errors call it.
    ///
    /// The first record is the header. The delimiter (comma, semicolon, tab or
    /// bar) is the one the header has most of, unless the mapping says. Cells
    /// are trimmed. A byte-order mark and Windows line ends are fine; a record
    /// with too few or too many cells is an error.
    ///
    /// # Errors
    /// [`TableError`] names file, line and column.
    pub fn read(
        source: &str,
        reader: impl Read,
        mapping: &TableMapping,
    ) -> Result<Self, TableError> {
        csv::read(source, reader, mapping)
    }

    /// A copy in which these values of these columns are missing, compared as
    /// [`canonical_text`]. Columns that are not here are passed over.
    #[must_use]
    pub fn with_missing(mut self, values: &BTreeMap<String, Vec<String>>) -> Self {
        for column in &mut self.columns {
            if let Some(values) = values.get(&column.name) {
                column.remove(values);
            }
        }
        self
    }

    /// A copy with at most `most` of its rows, evenly spaced and in their order.
    #[must_use]
    pub fn thinned(&self, most: usize) -> Self {
        let rows = self.rows.min(most);
        // Products of rows and places stay below 2^49.
        let kept: Vec<usize> = (0..rows).map(|place| place * self.rows / rows).collect();
        Self {
            source: self.source.clone(),
            columns: self.columns.iter().map(|it| it.picked(&kept)).collect(),
            rows,
        }
    }

    /// What errors call the table.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The columns in the file's order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The line of a row in its file: the header is line 1, blank lines and
    /// line breaks inside quotes are not counted.
    #[must_use]
    pub const fn line(row: usize) -> usize {
        row + 2
    }

    /// Hash of the mapped content: names and cells, in row order. Two files
    /// that differ in delimiter, quoting or `63` against `63.0` agree.
    #[must_use]
    pub fn digest(&self) -> ObjectId {
        let mut hasher = blake3::Hasher::new_derive_key("collegium automl table v1");
        hasher.update(&(self.columns.len() as u64).to_le_bytes());
        hasher.update(&(self.rows as u64).to_le_bytes());
        for column in self.sorted() {
            hasher.update(&(column.name.len() as u64).to_le_bytes());
            hasher.update(column.name.as_bytes());
            for row in 0..self.rows {
                column.cell(row).hash_into(&mut hasher);
            }
        }
        ObjectId(*hasher.finalize().as_bytes())
    }

    /// Feeds one row's canonical values, columns in the order of their names,
    /// so that the order of columns in a site's file does not matter.
    pub(crate) fn row_identity(sorted: &[&Column], row: usize, hasher: &mut blake3::Hasher) {
        for column in sorted {
            column.cell(row).hash_into(hasher);
        }
    }

    /// The columns in the order of their names.
    pub(crate) fn sorted(&self) -> Vec<&Column> {
        let mut sorted: Vec<_> = self.columns.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted
    }

    /// The column name that takes the fewest edits to reach `name`.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        let nearest = self
            .columns
            .iter()
            .min_by_key(|c| strsim::damerau_levenshtein(&c.name, name));
        nearest.map(|column| column.name.as_str())
    }
}

impl Column {
    /// Its name, after the site's mapping.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cell of a row. A row past the end is missing.
    #[must_use]
    pub fn cell(&self, row: usize) -> Cell<'_> {
        if let Some(number) = self.number(row) {
            return Cell::Number(number);
        }
        self.text(row).map_or(Cell::Missing, Cell::Text)
    }

    /// The number of a row, where its cell is one.
    #[must_use]
    pub fn number(&self, row: usize) -> Option<f64> {
        self.numbers
            .as_ref()
            .and_then(|numbers| numbers.get(row))
            .copied()
            .filter(|n| !n.is_nan())
    }

    /// The text of a row, where its cell is one.
    #[must_use]
    pub fn text(&self, row: usize) -> Option<&str> {
        let code = *self.codes.as_ref()?.get(row)? as usize;
        self.dictionary
            .get(code.checked_sub(1)?)
            .map(String::as_str)
    }

    /// A copy with the cells of these rows only.
    fn picked(&self, rows: &[usize]) -> Self {
        let numbers = self.numbers.as_ref();
        let codes = self.codes.as_ref();
        Self {
            name: self.name.clone(),
            numbers: numbers.map(|all| rows.iter().map(|row| all[*row]).collect()),
            codes: codes.map(|all| rows.iter().map(|row| all[*row]).collect()),
            dictionary: self.dictionary.clone(),
        }
    }

    /// Makes these values missing.
    fn remove(&mut self, values: &[String]) {
        let values: Vec<String> = values.iter().map(|value| canonical_text(value)).collect();
        let is_removed = |value: &str| values.iter().any(|removed| removed == value);
        if let Some(numbers) = &mut self.numbers {
            for number in numbers.iter_mut().filter(|number| !number.is_nan()) {
                if is_removed(&canonical_number(*number)) {
                    *number = f64::NAN;
                }
            }
            if numbers.iter().all(|number| number.is_nan()) {
                self.numbers = None;
            }
        }
        let removed: Vec<bool> = self
            .dictionary
            .iter()
            .map(|text| is_removed(text))
            .collect();
        if let Some(codes) = &mut self.codes {
            for code in codes.iter_mut() {
                let place = (*code as usize).checked_sub(1);
                if place.is_some_and(|place| removed.get(place) == Some(&true)) {
                    *code = 0;
                }
            }
        }
    }

    /// The place of a row's text in [`Column::dictionary`].
    pub(crate) fn code(&self, row: usize) -> Option<usize> {
        (*self.codes.as_ref()?.get(row)? as usize).checked_sub(1)
    }

    /// The distinct texts, in order of first appearance.
    pub(crate) fn dictionary(&self) -> &[String] {
        &self.dictionary
    }
}

#[cfg(test)]
mod tests;
