//! How strongly each effect is held back, estimated from the sums at hand.
//!
//! Every effect has a weight of its own on how rough it is, found by restricted maximum
//! likelihood: Wood and Fasiolo, *A generalized Fellner-Schall method for smoothing
//! parameter optimization*, Biometrics 73, 2017. A weight needs the Hessian and the
//! coefficients, which the coordinator has anyway, so it costs no step and no number,
//! and each fold finds its weights without its validation rows.

use super::Weights;
use super::group::Grouping;
use crate::family::additive::Penalty;
use crate::family::cholesky::Factor;

/// Share of a pair's weight that draws each cell to 0; the whole of it draws to the
/// neighbours.
const CELL_SHARE: f64 = 0.2;
/// Bounds of a weight, and of what one estimate may change.
const WEIGHTS: [f64; 2] = [0.03, 1e6];
const CHANGES: [f64; 2] = [0.05, 20.0];

/// A sparse combination of parameters, counted from the block's first, and the share of
/// the block's weight that its square has.
type Square = (Vec<(usize, f64)>, f64);

/// The parameters of one effect and what holds them back.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The first parameter, and how many.
    start: usize,
    size: usize,
    squares: Vec<Square>,
    floor: f64,
    weight: f64,
}

impl Block {
    /// Of a column alone.
    pub(crate) fn of_column(start: usize, grouping: &Grouping, weights: &Weights) -> Self {
        let ordered = grouping.run > 2;
        let bend = |at: usize| (vec![(at, 1.0), (at + 1, -2.0), (at + 2, 1.0)], 1.0);
        Self {
            start,
            size: grouping.size,
            squares: match ordered {
                true => (0..grouping.run - 2).map(bend).collect(),
                false => (0..grouping.size)
                    .map(|at| (vec![(at, 1.0)], 1.0))
                    .collect(),
            },
            floor: if ordered { weights.line } else { 0.0 },
            weight: if ordered {
                weights.bends
            } else {
                weights.levels
            },
        }
    }

    /// Of a pair of columns: each cell is drawn to 0 and, along columns with an order,
    /// to its neighbours.
    pub(crate) fn of_pair(
        start: usize,
        [first, second]: [&Grouping; 2],
        weights: &Weights,
    ) -> Self {
        let (rows, columns) = (first.size, second.size);
        let mut squares: Vec<Square> = Vec::new();
        for cell in 0..rows * columns {
            let (row, column) = (cell / columns, cell % columns);
            squares.push((vec![(cell, 1.0)], CELL_SHARE));
            if column + 1 < second.run {
                squares.push((vec![(cell, 1.0), (cell + 1, -1.0)], 1.0));
            }
            if row + 1 < first.run {
                squares.push((vec![(cell, 1.0), (cell + columns, -1.0)], 1.0));
            }
        }
        Self {
            start,
            size: rows * columns,
            squares,
            floor: 0.0,
            weight: weights.pairs,
        }
    }

    /// The first parameter after it.
    pub(crate) fn end(&self) -> usize {
        self.start + self.size
    }

    fn add_to(&self, penalty: &mut Penalty, start: usize, times: f64) {
        penalty.ridge(start..start + self.size, times * self.floor);
        for (combination, share) in &self.squares {
            let placed: Vec<(usize, f64)> =
                combination.iter().map(|(at, c)| (start + at, *c)).collect();
            penalty.square(&placed, times * self.weight * share);
        }
    }

    /// How rough the coefficients are: b' S b for a weight of 1.
    fn roughness(&self, coefficients: &[f64]) -> f64 {
        let own = &coefficients[self.start..self.end()];
        let squares = self.squares.iter();
        let square = |(combination, share): &Square| {
            let sum: f64 = combination.iter().map(|(at, c)| c * own[*at]).sum();
            share * sum * sum
        };
        squares.map(square).sum()
    }

    /// The trace of S times the inverse of a matrix, M' · M, whose parameter `start` is
    /// the block's first.
    fn trace(&self, inverse: &[Vec<f64>], start: usize) -> f64 {
        let mut sum = 0.0;
        for row in inverse.iter().skip(start) {
            for (combination, share) in &self.squares {
                let product = |(at, c): &(usize, f64)| c * row.get(start + at).unwrap_or(&0.0);
                let length: f64 = combination.iter().map(product).sum();
                sum += share * length * length;
            }
        }
        sum
    }

    /// The trace of S times the inverse of what this block alone adds to the Hessian.
    fn own_trace(&self) -> f64 {
        let mut penalty = Penalty::default();
        self.add_to(&mut penalty, 0, 1.0);
        let mut matrix = vec![0.0; self.size * (self.size + 1) / 2];
        penalty.add_hessian(&mut matrix);
        Factor::new(self.size, &matrix).map_or(0.0, |f| self.trace(&f.inverse(), 0))
    }
}

/// The penalty of these blocks, taken times a number.
pub(crate) fn penalty(blocks: &[Block], times: f64) -> Penalty {
    let mut penalty = Penalty::default();
    for block in blocks {
        block.add_to(&mut penalty, block.start, times);
    }
    penalty
}

/// Estimates the weights anew: `gradient` and `hessian` (lower triangle) are those of
/// the loss at `coefficients`, `noise` the variance of a residual in units of its
/// curvature. Each of the `rounds` solves and estimates once.
pub(crate) fn estimate(
    blocks: &mut [Block],
    coefficients: &[f64],
    gradient: &[f64],
    hessian: &[f64],
    noise: f64,
    rounds: usize,
) {
    for _ in 0..rounds {
        let penalty = penalty(blocks, 1.0);
        let mut matrix = hessian.to_vec();
        penalty.add_hessian(&mut matrix);
        // The intercept has no penalty.
        matrix[0] += 1e-9;
        let Some(factor) = Factor::new(coefficients.len(), &matrix) else {
            return;
        };
        let mut slope = gradient.to_vec();
        penalty.add_product(coefficients, &mut slope);
        let next: Vec<f64> = coefficients
            .iter()
            .zip(factor.solve(&slope))
            .map(|(coefficient, step)| coefficient - step)
            .collect();
        let inverse = factor.inverse();
        for block in blocks.iter_mut() {
            let left = block.own_trace() - block.trace(&inverse, block.start);
            let change = noise * left.max(1e-9) / block.roughness(&next).max(1e-12);
            let weight = block.weight * change.clamp(CHANGES[0], CHANGES[1]);
            block.weight = weight.clamp(WEIGHTS[0], WEIGHTS[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn grouping(size: usize, run: usize) -> Grouping {
        Grouping {
            groups: (0..size as u8).collect(),
            size,
            run,
        }
    }

    /// Estimates the weight of one effect that was measured with noise of variance 1,
    /// `rows` times in each group.
    fn weight(truth: &[f64], rows: f64, run: usize) -> f64 {
        let mut stream = Stream::new("collegium/test/blocks/v1", &[]);
        let size = truth.len();
        let mut gradient = vec![0.0; size + 1];
        let mut hessian = vec![0.0; (size + 1) * (size + 2) / 2];
        for (at, truth) in truth.iter().enumerate() {
            let sum = rows * truth + libm::sqrt(rows) * stream.normal();
            for parameter in [0, at + 1] {
                gradient[parameter] -= sum;
                hessian[parameter * (parameter + 3) / 2] += rows;
            }
            hessian[(at + 1) * (at + 2) / 2] += rows;
        }
        let mut blocks = [Block::of_column(
            1,
            &grouping(size, run),
            &Weights::default(),
        )];
        let zero = vec![0.0; size + 1];
        estimate(&mut blocks, &zero, &gradient, &hessian, 1.0, 30);
        blocks[0].weight
    }

    #[test]
    fn a_straight_effect_is_held_straighter_than_a_wild_one() {
        let line: Vec<f64> = (0..20).map(|at| 0.1 * f64::from(at)).collect();
        let wild: Vec<f64> = (0..20).map(|at| f64::from(at % 3)).collect();
        let (straight, loose) = (weight(&line, 50.0, 20), weight(&wild, 50.0, 20));
        assert!(straight > 300.0, "{straight}");
        assert!(loose < 3.0, "{loose}");
    }

    #[test]
    fn the_ridge_of_levels_is_the_inverse_of_their_variance() {
        let mut stream = Stream::new("collegium/test/blocks/v2", &[]);
        let levels: Vec<f64> = (0..60).map(|_| 0.5 * stream.normal()).collect();
        let found = weight(&levels, 500.0, 0);
        assert!((2.5..6.5).contains(&found), "1 / 0.25 is 4, not {found}");
        let none = weight(&[0.0; 60], 500.0, 0);
        assert!(none > 100.0, "{none}");
    }
}
