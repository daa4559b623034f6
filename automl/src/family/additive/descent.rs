//! The coordinator's side: penalised Newton steps with step halving.

use std::ops::Range;

use super::sums::PointSums;
use crate::family::cholesky::solve;

/// Times a step is halved before the point it started from is kept.
const MAX_HALVINGS: u32 = 6;
/// Most sweeps over the coordinates of a system with signs. Each sweep halves the
/// error or better unless columns are all but equal; those are finished by the solver.
const MAX_SWEEPS: usize = 500;

/// Which signs coefficients may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signs {
    /// Any.
    Free,
    /// All but the intercept are at least 0.
    NonNegative,
}

/// A quadratic penalty ½ b' S b.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Penalty {
    /// Row, column (at most row) and weight of S; what occurs twice adds up.
    entries: Vec<(usize, usize, f64)>,
}

impl Penalty {
    /// ½ weight Σ b².
    pub(crate) fn ridge(&mut self, parameters: Range<usize>, weight: f64) {
        self.entries.extend(parameters.map(|at| (at, at, weight)));
    }

    /// ½ weight Σ (combination of b)², for one combination.
    pub(crate) fn square(&mut self, combination: &[(usize, f64)], weight: f64) {
        for (i, a) in combination {
            for (j, b) in combination.iter().filter(|(j, _)| j <= i) {
                self.entries.push((*i, *j, weight * a * b));
            }
        }
    }

    /// S times a vector, added to another.
    pub(crate) fn add_product(&self, b: &[f64], sum: &mut [f64]) {
        for (i, j, weight) in &self.entries {
            sum[*i] += weight * b[*j];
            if i != j {
                sum[*j] += weight * b[*i];
            }
        }
    }

    fn value(&self, b: &[f64]) -> f64 {
        let mut sum = 0.0;
        for (i, j, weight) in &self.entries {
            let twice = if i == j { 0.5 } else { 1.0 };
            sum += twice * weight * b[*i] * b[*j];
        }
        sum
    }

    /// S added to the lower triangle of a matrix.
    pub(crate) fn add_hessian(&self, lower: &mut [f64]) {
        for (i, j, weight) in &self.entries {
            lower[i * (i + 1) / 2 + j] += weight;
        }
    }
}

/// What a step of one output of a fold is taken from.
pub(crate) struct Slope<'a> {
    pub(crate) sums: &'a PointSums,
    /// Lower triangle of the Hessian, of this point or of one near it.
    pub(crate) hessian: &'a [f64],
    pub(crate) penalty: &'a Penalty,
    pub(crate) signs: Signs,
    /// Training rows, and the gain of a row below which a step is the last.
    pub(crate) rows: u64,
    pub(crate) last_gain: f64,
}

/// Where one output of a fold stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Descent {
    /// The best point so far with its loss.
    accepted: Option<(Vec<f64>, f64)>,
    halvings: u32,
    /// Whether it moves no more.
    pub(crate) settled: bool,
}

impl Descent {
    /// Moves the coefficients, where the sums were taken, to the next point.
    pub(crate) fn learn(&mut self, coefficients: &mut Vec<f64>, slope: &Slope<'_>) {
        if self.accepts(coefficients, slope) {
            self.advance(coefficients, slope);
        }
    }

    /// Whether the coefficients are no worse than where they came from, under the
    /// penalty that led here. If not, they go half the way back.
    pub(crate) fn accepts(&mut self, coefficients: &mut Vec<f64>, slope: &Slope<'_>) -> bool {
        if self.settled {
            return false;
        }
        let Some((best, loss)) = &self.accepted else {
            return true;
        };
        let objective = slope.sums.loss + slope.penalty.value(coefficients);
        let least = loss + slope.penalty.value(best);
        // Rounding may lift the loss by half a unit a row; more is a step too far.
        if objective <= least + 1e-9 * (slope.rows as f64 + least.abs()) {
            return true;
        }
        self.halvings += 1;
        if self.halvings > MAX_HALVINGS {
            coefficients.clone_from(best);
            self.settled = true;
            return false;
        }
        for (coefficient, start) in coefficients.iter_mut().zip(best) {
            *coefficient = 0.5 * (*coefficient + start);
        }
        false
    }

    /// Takes a Newton step from accepted coefficients.
    pub(crate) fn advance(&mut self, coefficients: &mut Vec<f64>, slope: &Slope<'_>) {
        let Some((next, gain)) = step(coefficients, slope) else {
            self.settled = true;
            return;
        };
        self.accepted = Some((coefficients.clone(), slope.sums.loss));
        self.halvings = 0;
        *coefficients = next;
        self.settled = gain <= slope.last_gain * slope.rows as f64;
    }
}

/// Where a Newton step leads, and the decrease of the objective that it promises.
/// `None` when no positive definite system can be made of the sums.
fn step(coefficients: &[f64], slope: &Slope<'_>) -> Option<(Vec<f64>, f64)> {
    let mut gradient = slope.sums.gradient.clone();
    slope.penalty.add_product(coefficients, &mut gradient);
    let mut matrix = slope.hessian.to_vec();
    slope.penalty.add_hessian(&mut matrix);
    // The intercept has no penalty: where every row is saturated the system is
    // singular, and a growing lift of the diagonal shortens the step instead.
    for lift in [0.0, 1e-9, 1e-6, 1e-3, 1.0] {
        for row in 0..gradient.len() {
            matrix[row * (row + 3) / 2] += lift;
        }
        let Some(direction) = solve(&matrix, &gradient) else {
            continue;
        };
        let next: Vec<f64> = coefficients
            .iter()
            .zip(&direction)
            .map(|(coefficient, step)| coefficient - step)
            .collect();
        if slope.signs == Signs::Free || next[1..].iter().all(|c| *c >= 0.0) {
            let gain: f64 = direction.iter().zip(&gradient).map(|(d, g)| d * g).sum();
            return gain.is_finite().then_some((next, 0.5 * gain));
        }
        let next = non_negative(coefficients, &gradient, &matrix);
        let gain = decrease(coefficients, &next, &gradient, &matrix);
        return Some((next, gain));
    }
    None
}

/// Element of a symmetric matrix given by its lower triangle.
fn element(lower: &[f64], i: usize, j: usize) -> f64 {
    let (row, column) = (i.max(j), i.min(j));
    lower[row * (row + 1) / 2 + column]
}

/// How much the quadratic model falls from `start` to `end`.
fn decrease(start: &[f64], end: &[f64], gradient: &[f64], matrix: &[f64]) -> f64 {
    let step: Vec<f64> = end.iter().zip(start).map(|(e, s)| e - s).collect();
    let mut sum = 0.0;
    for (i, own) in step.iter().enumerate() {
        let curved: f64 = (0..step.len())
            .map(|j| element(matrix, i, j) * step[j])
            .sum();
        sum -= own * (gradient[i] + 0.5 * curved);
    }
    sum
}

/// The minimum of the quadratic model where all but the intercept are at least 0: by
/// coordinates, then exactly on those that ended above 0.
fn non_negative(start: &[f64], gradient: &[f64], matrix: &[f64]) -> Vec<f64> {
    let size = start.len();
    let mut x = start.to_vec();
    let mut slope = gradient.to_vec();
    for _ in 0..MAX_SWEEPS {
        let mut largest = 0.0_f64;
        for (i, own) in x.iter_mut().enumerate() {
            let curvature = element(matrix, i, i);
            let target = *own - slope[i] / curvature;
            let target = if i == 0 { target } else { target.max(0.0) };
            let moved = target - *own;
            if moved != 0.0 {
                *own = target;
                for (j, other) in slope.iter_mut().enumerate() {
                    *other += element(matrix, i, j) * moved;
                }
            }
            largest = largest.max(moved * moved * curvature);
        }
        if largest < 1e-18 {
            break;
        }
    }
    let free: Vec<usize> = (0..size).filter(|i| *i == 0 || x[*i] > 0.0).collect();
    let mut lower = Vec::with_capacity(free.len() * (free.len() + 1) / 2);
    for (at, i) in free.iter().enumerate() {
        lower.extend(free[..=at].iter().map(|j| element(matrix, *i, *j)));
    }
    let right: Vec<f64> = free.iter().map(|i| slope[*i]).collect();
    if let Some(correction) = solve(&lower, &right) {
        let mut exact = x.clone();
        for (i, step) in free.iter().zip(&correction) {
            exact[*i] -= step;
        }
        if exact[1..].iter().all(|c| *c >= 0.0) {
            return exact;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope<'a>(sums: &'a PointSums, hessian: &'a [f64], penalty: &'a Penalty) -> Slope<'a> {
        Slope {
            sums,
            hessian,
            penalty,
            signs: Signs::Free,
            rows: 1,
            last_gain: 1e-9,
        }
    }

    #[test]
    fn a_penalised_quadratic_is_solved_in_one_step() {
        // ½ (4 w² - 16 w) + ½ 4 w², the intercept being right already.
        let sums = PointSums {
            loss: 0.0,
            gradient: vec![0.0, -8.0],
        };
        let mut penalty = Penalty::default();
        penalty.ridge(1..2, 4.0);
        let mut coefficients = vec![0.0, 0.0];
        Descent::default().learn(&mut coefficients, &slope(&sums, &[1.0, 0.0, 4.0], &penalty));
        assert!((coefficients[1] - 1.0).abs() < 1e-12 && coefficients[0] == 0.0);
    }

    #[test]
    fn a_worse_point_is_halved_back() {
        let sums = |loss: f64| PointSums {
            loss,
            gradient: vec![-1.0],
        };
        let penalty = Penalty::default();
        let mut coefficients = vec![0.0];
        let mut descent = Descent::default();
        descent.learn(&mut coefficients, &slope(&sums(1.0), &[1.0], &penalty));
        assert_eq!(coefficients, [1.0]);
        descent.learn(&mut coefficients, &slope(&sums(2.0), &[1.0], &penalty));
        assert_eq!(coefficients, [0.5]);
        descent.learn(&mut coefficients, &slope(&sums(0.5), &[1.0], &penalty));
        assert_eq!(coefficients, [1.5]);
    }

    #[test]
    fn squares_of_combinations_add_up() {
        let mut penalty = Penalty::default();
        for at in 1..3 {
            penalty.square(&[(at, 1.0), (at + 1, -2.0), (at + 2, 1.0)], 2.0);
        }
        assert_eq!(penalty.value(&[9.0, 1.0, 2.0, 3.0, 4.0]), 0.0);
        // Second differences 0 and -2.
        assert_eq!(penalty.value(&[9.0, 1.0, 2.0, 3.0, 2.0]), 4.0);
        let mut gradient = vec![0.0; 5];
        penalty.add_product(&[9.0, 1.0, 2.0, 3.0, 2.0], &mut gradient);
        assert_eq!(gradient, [0.0, 0.0, -4.0, 8.0, -4.0]);
    }

    #[test]
    fn coefficients_stay_at_zero_where_they_would_be_negative() {
        // Minimum at (1, -1) of ½ x'Ax - right'x with correlated columns.
        let matrix = [1.0, 0.0, 2.0, 0.0, 1.0, 2.0];
        let sums = PointSums {
            loss: 0.0,
            gradient: vec![0.5, -1.0, 1.0],
        };
        let penalty = Penalty::default();
        let own = Slope {
            signs: Signs::NonNegative,
            ..slope(&sums, &matrix, &penalty)
        };
        let (next, gain) = step(&[0.0, 0.0, 0.0], &own).expect("positive definite");
        assert_eq!(next, [-0.5, 0.5, 0.0]);
        assert!((gain - (0.125 + 0.25)).abs() < 1e-12, "{gain}");
    }
}
