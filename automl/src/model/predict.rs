//! Scoring new rows with a champion.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::features::FeatureError;
use crate::model::{Champion, ChampionError};
use crate::table::{Table, TableError, TableMapping};

/// Column of the class that a row is called. Columns of scores begin with `p_`.
const CLASS: &str = "class";

/// Why rows were not scored.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The rows cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The columns do not fit the champion; names the first one that does not.
    #[error("{input}: {source}")]
    Columns {
        /// The file with the rows.
        input: String,
        /// Which column, and what is wrong with it.
        source: FeatureError,
    },
    /// The champion cannot predict.
    #[error(transparent)]
    Champion(#[from] ChampionError),
    /// The output cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The output.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicted {
    /// Rows scored.
    pub rows: usize,
    /// Columns of the output.
    pub columns: Vec<String>,
}

impl Champion {
    /// Columns of scores: `p_<class>` for each class, or `prediction`.
    #[must_use]
    pub fn score_columns(&self) -> Vec<String> {
        if self.classes.is_empty() {
            return vec!["prediction".to_owned()];
        }
        self.classes
            .iter()
            .map(|class| format!("p_{class}"))
            .collect()
    }
}

/// Scores every row of a CSV file and writes one line for each, in order: its scores, and for
/// classes a last column `class` with the one it is called ([`Champion::class`]).
/// `mapping` is the site's column map, where the rows need one.
///
/// # Errors
/// When a file cannot be read or written, or the columns do not fit: then
/// nothing is written.
pub fn predict_csv(
    champion: &Champion,
    input: &Path,
    mapping: &TableMapping,
    output: &Path,
) -> Result<Predicted, PredictError> {
    champion.voices()?;
    predict_table(champion, &Table::open(input, mapping)?, output)
}

/// The same for rows that were read, and perhaps treated, before.
///
/// # Errors
/// As [`predict_csv`].
pub fn predict_table(
    champion: &Champion,
    table: &Table,
    output: &Path,
) -> Result<Predicted, PredictError> {
    champion.voices()?;
    let rows = champion
        .scores(table)
        .map_err(|source| PredictError::Columns {
            input: table.source().to_owned(),
            source,
        })?;
    let mut columns = champion.score_columns();
    if !champion.classes.is_empty() {
        columns.push(CLASS.to_owned());
    }
    let written = write(output, &columns, champion, &rows);
    written.map_err(|source| PredictError::Write {
        path: output.display().to_string(),
        source,
    })?;
    Ok(Predicted {
        rows: rows.len(),
        columns,
    })
}

fn write(
    output: &Path,
    columns: &[String],
    champion: &Champion,
    rows: &[Vec<f64>],
) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(output)?);
    let quoted: Vec<String> = columns.iter().map(|name| quote(name)).collect();
    writeln!(file, "{}", quoted.join(","))?;
    for row in rows {
        let mut cells: Vec<String> = row.iter().map(f64::to_string).collect();
        cells.extend(champion.class(row).map(quote));
        writeln!(file, "{}", cells.join(","))?;
    }
    file.flush()
}

/// A CSV cell, quoted where it must be (RFC 4180).
fn quote(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
