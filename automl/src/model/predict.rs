//! Scoring new rows with a champion.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::features::{FeatureError, TargetCoding};
use crate::model::{Champion, ChampionError};
use crate::table::{Table, TableError, TableMapping};

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
    /// Columns of a prediction: `p_<class>` for each class, or `prediction`.
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

    /// Scores of each row, in order: class probabilities that sum to 1, or the
    /// one number in the target's unit.
    ///
    /// # Errors
    /// When the table's columns do not fit; names the column.
    pub fn scores(&self, table: &Table) -> Result<Vec<Vec<f64>>, FeatureError> {
        let design = self.pipeline.design(table)?;
        let Ok(model) = self.fold_model() else {
            return Ok(Vec::new());
        };
        let mut scores = vec![0.0; model.head().scores()];
        let rows = (0..design.rows).map(|row| {
            model.predict_average(design.row(row), &mut scores);
            if let TargetCoding::Number { mean, scale } = self.pipeline.target() {
                scores[0] = scores[0] * scale + mean;
            }
            scores.clone()
        });
        Ok(rows.collect())
    }
}

/// Scores every row of a CSV file and writes one line for each, in order.
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
    champion.fold_model()?;
    let table = Table::open(input, mapping)?;
    let rows = champion
        .scores(&table)
        .map_err(|source| PredictError::Columns {
            input: input.display().to_string(),
            source,
        })?;
    let columns = champion.score_columns();
    let written = write(output, &columns, &rows);
    written.map_err(|source| PredictError::Write {
        path: output.display().to_string(),
        source,
    })?;
    Ok(Predicted {
        rows: rows.len(),
        columns,
    })
}

fn write(output: &Path, columns: &[String], rows: &[Vec<f64>]) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(output)?);
    let quoted: Vec<String> = columns.iter().map(|name| quote(name)).collect();
    writeln!(file, "{}", quoted.join(","))?;
    for row in rows {
        let cells: Vec<String> = row.iter().map(f64::to_string).collect();
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
