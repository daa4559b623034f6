//! The rows that a pipeline makes, as one block.

/// Features row by row: what a model trains on and predicts from.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Features of a row.
    pub width: usize,
    /// Row-major, `rows * width` of them.
    pub cells: Cells,
}

/// Features as the pipeline makes them.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Scaled numbers.
    Numbers(Vec<f64>),
    /// Places in the columns' bins: 0 is missing. A byte a cell, because trees go over
    /// every cell once a level.
    Bins(Vec<u8>),
}

/// One row of features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    /// Scaled numbers.
    Numbers(&'a [f64]),
    /// Places in the columns' bins.
    Bins(&'a [u8]),
}

impl Matrix {
    /// A matrix of numbers, row-major.
    #[must_use]
    pub fn numbers(rows: usize, width: usize, values: Vec<f64>) -> Self {
        Self {
            rows,
            width,
            cells: Cells::Numbers(values),
        }
    }

    /// A matrix of bins, row-major.
    #[must_use]
    pub fn bins(rows: usize, width: usize, bins: Vec<u8>) -> Self {
        Self {
            rows,
            width,
            cells: Cells::Bins(bins),
        }
    }

    /// These rows, in this order.
    #[must_use]
    pub fn picked(&self, rows: &[usize]) -> Self {
        let range = |row: &usize| row * self.width..(row + 1) * self.width;
        let cells = match &self.cells {
            Cells::Numbers(values) => {
                let picked = rows.iter().flat_map(|row| &values[range(row)]);
                Cells::Numbers(picked.copied().collect())
            }
            Cells::Bins(bins) => {
                let picked = rows.iter().flat_map(|row| &bins[range(row)]);
                Cells::Bins(picked.copied().collect())
            }
        };
        Self {
            rows: rows.len(),
            width: self.width,
            cells,
        }
    }

    /// One row.
    #[must_use]
    pub fn row(&self, index: usize) -> Row<'_> {
        let range = index * self.width..(index + 1) * self.width;
        match &self.cells {
            Cells::Numbers(values) => Row::Numbers(&values[range]),
            Cells::Bins(bins) => Row::Bins(&bins[range]),
        }
    }
}

impl<'a> Row<'a> {
    /// The scaled numbers; none for a row of bins, which is never handed to a model that
    /// takes numbers (see [`crate::family::FoldModel::binned`]).
    #[must_use]
    pub fn numbers(self) -> &'a [f64] {
        match self {
            Self::Numbers(values) => values,
            Self::Bins(_) => &[],
        }
    }

    /// The bins; none for a row of numbers.
    #[must_use]
    pub fn bins(self) -> &'a [u8] {
        match self {
            Self::Numbers(_) => &[],
            Self::Bins(bins) => bins,
        }
    }
}
