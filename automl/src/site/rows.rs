//! The rows that parts of an ask work on.

use crate::data::{Design, Slot};
use crate::features::{Cells, Matrix, Row, TargetCoding};
use crate::object::ObjectId;

/// The rows a part works on, ready for a family: features, targets (class index
/// or scaled number) and slots, in the table's row order.
#[derive(Clone, Debug)]
pub struct Rows {
    matrix: Matrix,
    /// Class index, or the number in units of the target's scale.
    pub targets: Vec<f64>,
    /// Where each row belongs in cross-validation.
    pub slots: Vec<Slot>,
    /// Its group for cross-fitting, see [`crate::split::GROUPS`].
    pub groups: Vec<Slot>,
    /// Hash of the features: tells sites apart where each draws its own random
    /// numbers. Not the hash of the whole table, which test rows are part of.
    digest: ObjectId,
}

fn digest(matrix: &Matrix) -> ObjectId {
    let mut hasher = blake3::Hasher::new();
    match &matrix.cells {
        Cells::Numbers(values) => {
            for value in values {
                hasher.update(&value.to_le_bytes());
            }
        }
        Cells::Bins(bins) => {
            hasher.update(bins);
        }
    }
    ObjectId(*hasher.finalize().as_bytes())
}

impl Rows {
    pub(crate) fn new(design: Design, target: &TargetCoding) -> Self {
        let mut targets = design.targets;
        if let TargetCoding::Number { mean, scale } = target {
            for value in &mut targets {
                *value = (*value - mean) / scale;
            }
        }
        Self {
            digest: digest(&design.matrix),
            matrix: design.matrix,
            targets,
            slots: design.slots,
            groups: design.groups,
        }
    }

    /// These rows alone, in this order.
    pub(crate) fn picked(&self, rows: &[usize]) -> Self {
        let matrix = self.matrix.picked(rows);
        Self {
            digest: digest(&matrix),
            matrix,
            targets: rows.iter().map(|row| self.targets[*row]).collect(),
            slots: rows.iter().map(|row| self.slots[*row]).collect(),
            groups: rows.iter().map(|row| self.groups[*row]).collect(),
        }
    }

    /// Rows that did not come from a site's table, for tests.
    #[cfg(test)]
    pub(crate) fn from_parts(matrix: Matrix, targets: Vec<f64>, slots: Vec<Slot>) -> Self {
        Self {
            digest: digest(&matrix),
            matrix,
            targets,
            groups: slots.clone(),
            slots,
        }
    }

    /// Hash of the features.
    #[must_use]
    pub fn digest(&self) -> ObjectId {
        self.digest
    }

    /// Features of one row.
    #[must_use]
    pub fn row(&self, index: usize) -> Row<'_> {
        self.matrix.row(index)
    }

    /// The features of all rows.
    #[must_use]
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Whether this row is in the training part of a fold.
    #[must_use]
    pub fn trains(&self, index: usize, fold: usize) -> bool {
        self.slots[index] != Slot::Fold(fold as u8)
    }
}
