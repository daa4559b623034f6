//! A small symmetric solver in a fixed order of operations.
//!
//! Library solvers choose their order by processor and size; decisions of the
//! search must not depend on that.

/// Columns that are worked on at a time: four vector registers of the smallest
/// processors we run on, so that their sums need no memory.
const PANEL: usize = 8;

/// A symmetric matrix by its lower triangle: where an element is.
const fn at(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}

/// The lower factor L of a positive definite matrix L · L'.
#[derive(Clone, Debug)]
pub(crate) struct Factor {
    size: usize,
    /// Row by row.
    lower: Vec<f64>,
}

/// Solves `matrix · x = right` for a positive definite matrix given by its lower
/// triangle, row by row. `None` when the matrix is not positive definite.
pub(crate) fn solve(lower: &[f64], right: &[f64]) -> Option<Vec<f64>> {
    let factor = Factor::new(right.len(), lower)?;
    Some(factor.solve(right))
}

impl Factor {
    /// Of a matrix given by its lower triangle, row by row. `None` when the matrix is not
    /// positive definite.
    ///
    /// Every element is reduced by its products one after the other, from the first
    /// column on, whatever the panels are: they only decide which elements are
    /// worked on side by side.
    pub(crate) fn new(size: usize, lower: &[f64]) -> Option<Self> {
        let mut factor = lower.to_vec();
        let mut panel: Vec<[f64; PANEL]> = vec![[0.0; PANEL]; size];
        for first in (0..size).step_by(PANEL) {
            let end = (first + PANEL).min(size);
            for row in first..size {
                // What the columns before the panel take from this row. The rows of
                // the panel itself come first and fill the panel.
                let inside = row < end;
                let columns = if inside { row + 1 - first } else { end - first };
                let mut sums = [0.0; PANEL];
                let start = at(row, first);
                sums[..columns].copy_from_slice(&factor[start..start + columns]);
                if inside {
                    for (k, lane) in panel[..first].iter_mut().enumerate() {
                        lane[row - first] = factor[at(row, k)];
                    }
                }
                let own = &factor[at(row, 0)..at(row, first)];
                for (value, lane) in own.iter().zip(&panel[..first]) {
                    for (sum, other) in sums.iter_mut().zip(lane) {
                        *sum -= value * other;
                    }
                }
                finish_row(&mut factor, lower, first, row, &mut sums[..columns])?;
            }
        }
        Some(Self {
            size,
            lower: factor,
        })
    }

    /// Solves L · L' · x = right.
    pub(crate) fn solve(&self, right: &[f64]) -> Vec<f64> {
        substitute(&self.lower, right)
    }

    /// The rows of the inverse of L: row i has i + 1 elements. Then the inverse of the
    /// matrix is M' · M, and c' · (M' · M) · c the squared length of M · c.
    pub(crate) fn inverse(&self) -> Vec<Vec<f64>> {
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(self.size);
        for row in 0..self.size {
            let mut new = vec![0.0; row + 1];
            for (k, known) in rows.iter().enumerate() {
                let factor = self.lower[at(row, k)];
                for (sum, value) in new.iter_mut().zip(known) {
                    *sum -= factor * value;
                }
            }
            new[row] = 1.0;
            let diagonal = self.lower[at(row, row)];
            new.iter_mut().for_each(|value| *value /= diagonal);
            rows.push(new);
        }
        rows
    }
}

/// The elements of one row inside a panel, from what is left of them.
fn finish_row(
    factor: &mut [f64],
    lower: &[f64],
    first: usize,
    row: usize,
    sums: &mut [f64],
) -> Option<()> {
    for lane in 0..sums.len() {
        let column = first + lane;
        let mut sum = sums[lane];
        for k in 0..lane {
            sum -= sums[k] * factor[at(column, first + k)];
        }
        sums[lane] = if row > column {
            sum / factor[at(column, column)]
        } else if sum > lower[at(row, row)].abs() * 1e-14 {
            libm::sqrt(sum)
        } else {
            return None;
        };
        factor[at(row, column)] = sums[lane];
    }
    Some(())
}

/// Solves with the factor and with its transpose.
fn substitute(factor: &[f64], right: &[f64]) -> Vec<f64> {
    let size = right.len();
    let mut x = right.to_vec();
    for row in 0..size {
        for k in 0..row {
            x[row] -= factor[at(row, k)] * x[k];
        }
        x[row] /= factor[at(row, row)];
    }
    // Row by row, so that memory is read in order: each element still loses the
    // later ones from the last to the next.
    for row in (0..size).rev() {
        x[row] /= factor[at(row, row)];
        let solved = x[row];
        for (k, left) in x[..row].iter_mut().enumerate() {
            *left -= factor[at(row, k)] * solved;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// A positive definite matrix, the truth and its right side.
    fn system(size: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let mut stream = Stream::new("collegium/test/cholesky/v1", &[&size.to_le_bytes()]);
        let mut lower = vec![0.0; at(size, 0)];
        for _ in 0..3 {
            let root: Vec<f64> = (0..size).map(|_| stream.normal()).collect();
            for i in 0..size {
                for j in 0..=i {
                    lower[at(i, j)] += root[i] * root[j];
                }
            }
        }
        for i in 0..size {
            lower[at(i, i)] += 0.1;
        }
        let truth: Vec<f64> = (0..size).map(|_| stream.normal()).collect();
        let entry = |i: usize, j: usize| lower[at(i.max(j), i.min(j))];
        let right = (0..size)
            .map(|i| (0..size).map(|j| entry(i, j) * truth[j]).sum())
            .collect();
        (lower, right, truth)
    }

    /// One element after the other, as it stands in textbooks.
    fn textbook(lower: &[f64], right: &[f64]) -> Option<Vec<f64>> {
        let mut factor = lower.to_vec();
        for row in 0..right.len() {
            for column in 0..=row {
                let mut sum = factor[at(row, column)];
                for k in 0..column {
                    sum -= factor[at(row, k)] * factor[at(column, k)];
                }
                factor[at(row, column)] = if row > column {
                    sum / factor[at(column, column)]
                } else if sum > 0.0 {
                    libm::sqrt(sum)
                } else {
                    return None;
                };
            }
        }
        Some(substitute(&factor, right))
    }

    #[test]
    fn solves_random_systems() {
        for size in [1usize, 2, 7, 8, 9, 16, 30, 65] {
            let (lower, right, truth) = system(size);
            let found = solve(&lower, &right).expect("positive definite");
            for (a, b) in found.iter().zip(&truth) {
                assert!((a - b).abs() < 1e-8, "size {size}: {a} {b}");
            }
        }
    }

    #[test]
    fn panels_change_no_bit() {
        for size in [3usize, 8, 20, 67] {
            let (lower, right, _) = system(size);
            assert_eq!(solve(&lower, &right), textbook(&lower, &right), "{size}");
        }
    }

    #[test]
    fn the_inverse_gives_squared_lengths() {
        let (lower, _, _) = system(20);
        let factor = Factor::new(20, &lower).expect("positive definite");
        let inverse = factor.inverse();
        let mut c = vec![0.0; 20];
        (c[3], c[17]) = (1.0, -2.0);
        let direct: f64 = factor.solve(&c).iter().zip(&c).map(|(x, c)| x * c).sum();
        let length: f64 = inverse
            .iter()
            .map(|row| row.iter().zip(&c).map(|(m, c)| m * c).sum::<f64>().powi(2))
            .sum();
        assert!((direct - length).abs() < 1e-9 * direct, "{direct} {length}");
    }

    #[test]
    fn refuses_a_singular_matrix() {
        assert_eq!(solve(&[1.0, 1.0, 1.0], &[1.0, 1.0]), None);
        assert_eq!(solve(&[-1.0], &[1.0]), None);
    }
}
