//! A small symmetric solver in a fixed order of operations.
//!
//! Library solvers choose their order by processor and size; decisions of the
//! search must not depend on that.

/// Solves `matrix · x = right` for a positive definite matrix given by its lower
/// triangle, row by row. `None` when the matrix is not positive definite.
pub(super) fn solve(lower: &[f64], right: &[f64]) -> Option<Vec<f64>> {
    let size = right.len();
    let at = |row: usize, column: usize| row * (row + 1) / 2 + column;
    let mut factor = lower.to_vec();
    for row in 0..size {
        for column in 0..=row {
            let mut sum = factor[at(row, column)];
            for k in 0..column {
                sum -= factor[at(row, k)] * factor[at(column, k)];
            }
            if row > column {
                factor[at(row, column)] = sum / factor[at(column, column)];
            } else if sum > lower[at(row, row)].abs() * 1e-14 {
                factor[at(row, row)] = libm::sqrt(sum);
            } else {
                return None;
            }
        }
    }
    let mut x = right.to_vec();
    for row in 0..size {
        for k in 0..row {
            x[row] -= factor[at(row, k)] * x[k];
        }
        x[row] /= factor[at(row, row)];
    }
    for row in (0..size).rev() {
        for k in row + 1..size {
            x[row] -= factor[at(k, row)] * x[k];
        }
        x[row] /= factor[at(row, row)];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn solves_random_systems() {
        for size in [1usize, 2, 7, 30] {
            let mut stream = Stream::new("collegium/test/cholesky/v1", &[&[size as u8]]);
            let root: Vec<Vec<f64>> = (0..size)
                .map(|_| (0..size).map(|_| stream.normal()).collect())
                .collect();
            let entry = |i: usize, j: usize| -> f64 {
                let dot: f64 = root[i].iter().zip(&root[j]).map(|(a, b)| a * b).sum();
                dot + if i == j { 0.1 } else { 0.0 }
            };
            let truth: Vec<f64> = (0..size).map(|_| stream.normal()).collect();
            let right: Vec<f64> = (0..size)
                .map(|i| (0..size).map(|j| entry(i, j) * truth[j]).sum())
                .collect();
            let lower: Vec<f64> = (0..size)
                .flat_map(|i| (0..=i).map(move |j| (i, j)))
                .map(|(i, j)| entry(i, j))
                .collect();
            let found = solve(&lower, &right).expect("positive definite");
            for (a, b) in found.iter().zip(&truth) {
                assert!((a - b).abs() < 1e-8, "size {size}: {a} {b}");
            }
        }
    }

    #[test]
    fn refuses_a_singular_matrix() {
        assert_eq!(solve(&[1.0, 1.0, 1.0], &[1.0, 1.0]), None);
        assert_eq!(solve(&[-1.0], &[1.0]), None);
    }
}
