//! What holds the effects of a design back.

use super::Strength;
use super::group::Grouping;
use crate::family::additive::Penalty;

/// The penalty of effects of single columns, which come first in a design.
pub(crate) fn of_columns(groupings: &[&Grouping], strength: Strength) -> Penalty {
    let mut penalty = Penalty::default();
    let mut start = 1;
    for grouping in groupings {
        penalty.ridge(start..start + grouping.size, strength.ridge);
        penalty.bends(start..start + grouping.run, strength.bends);
        start += grouping.size;
    }
    penalty
}

/// Adds the penalty of pairs that begin at parameter `start`: each cell is drawn to 0
/// and, along columns with an order, to its neighbours.
pub(crate) fn add_pairs(
    penalty: &mut Penalty,
    mut start: usize,
    pairs: &[[&Grouping; 2]],
    weight: f64,
) {
    for [first, second] in pairs {
        let (rows, columns) = (first.size, second.size);
        penalty.ridge(start..start + rows * columns, weight);
        let cell = |row: usize, column: usize| start + row * columns + column;
        for row in 0..rows {
            for column in 0..columns {
                if column + 1 < second.run {
                    let step = [(cell(row, column), 1.0), (cell(row, column + 1), -1.0)];
                    penalty.square(&step, weight);
                }
                if row + 1 < first.run {
                    let step = [(cell(row, column), 1.0), (cell(row + 1, column), -1.0)];
                    penalty.square(&step, weight);
                }
            }
        }
        start += rows * columns;
    }
}
