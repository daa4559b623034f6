//! What noisy derivatives say about the weights: a Gaussian belief, updated look by look.
//!
//! The likelihood is taken for quadratic around the place of a look, so that a gradient is a
//! linear measurement of how far the solution is; the update is Kalman's. Everything here is
//! computed from sums that have their noise already, so it costs no privacy.

use crate::family::cholesky;
use crate::noise::Slopes;

/// Standard deviation of a weight of features as they are, before anything is known.
const PRIOR: f64 = 0.5;
/// Mean square error of taking the likelihood for quadratic, as a share of the mean square of
/// the weights that a look led to.
const CURVED: f64 = 0.1;
/// How often a matrix that noise made indefinite gets more on its diagonal, doubling each time:
/// 2^200 is beyond any entry.
const MOST_RIDGES: usize = 200;

/// Weights in the units of clipped rows.
#[derive(Clone, Debug)]
pub(super) struct Belief {
    pub(super) mean: Vec<f64>,
    /// Row by row.
    covariance: Square,
}

/// A look, with what noise does to it told from what the rows do.
struct Look {
    gradient: Vec<f64>,
    curvature: Square,
    /// Variance of the noise of a gradient's number.
    noise: f64,
    /// Mean square error of an element of the curvature.
    error: f64,
}

impl Belief {
    /// Before any look; rows were divided by `clip`, so weights are larger by as much.
    pub(super) fn before(size: usize, clip: f64) -> Self {
        Self {
            mean: vec![0.0; size],
            covariance: Square::scaled(size, PRIOR * PRIOR * clip * clip),
        }
    }

    /// After a look at weights of zero. Rows are a sample: a gradient at the solution of all
    /// rows there might be would vary by the curvature, which is what keeps weights small where
    /// there is little noise.
    pub(super) fn first(&self, slopes: &Slopes) -> Self {
        let look = Look::new(slopes, self.mean.len());
        let sampling = look.curvature.clone();
        self.update(&look, Some(&sampling))
    }

    /// After a look at the mean so far.
    pub(super) fn again(&self, slopes: &Slopes) -> Self {
        let size = self.mean.len();
        let look = Look::new(slopes, size);
        let square: f64 = self.mean.iter().map(|x| x * x).sum::<f64>() / size as f64;
        let mut wider = self.clone();
        wider.covariance.add_diagonal(CURVED * square);
        wider.update(&look, None)
    }

    /// Mean + P H (H P H + R)⁻¹ g, and P - P H (H P H + R)⁻¹ H P.
    fn update(&self, look: &Look, sampling: Option<&Square>) -> Self {
        let size = self.mean.len();
        let spread = look.curvature.times(&self.covariance);
        let mut joint = spread.times(&look.curvature);
        if let Some(sampling) = sampling {
            joint.add(sampling);
        }
        // An error in an element of the curvature is multiplied by how far a weight may be off.
        let far: f64 = self.covariance.trace();
        joint.add_diagonal(look.noise + look.error * far);
        let factor = joint.factor();
        let solved = factor.solve(&look.gradient);
        let back = spread.transposed();
        let gained = back.apply(&solved);
        let mean = self.mean.iter().zip(&gained).map(|(m, g)| m + g).collect();
        let mut covariance = self.covariance.clone();
        for column in 0..size {
            let measured: Vec<f64> = (0..size).map(|row| spread.at(row, column)).collect();
            let known = back.apply(&factor.solve(&measured));
            for (row, value) in known.iter().enumerate() {
                covariance.cells[row * size + column] -= value;
            }
        }
        Self { mean, covariance }
    }
}

impl Look {
    /// Shrinks the curvature off its diagonal towards zero, as far as its elements are no larger
    /// than noise makes them.
    fn new(slopes: &Slopes, size: usize) -> Self {
        let [noise, variance] = slopes.variances;
        let mut curvature = Square::from_lower(&slopes.curvature, size);
        let off = (size * size - size).max(1) as f64;
        let square = |row: usize, column: usize| {
            if row == column {
                0.0
            } else {
                curvature.at(row, column).powi(2)
            }
        };
        let mean: f64 = (0..size)
            .flat_map(|row| (0..size).map(move |column| (row, column)))
            .map(|(row, column)| square(row, column))
            .sum::<f64>()
            / off;
        let signal = (mean - variance).max(0.0);
        let kept = if signal > 0.0 {
            signal / (signal + variance)
        } else {
            0.0
        };
        let level = curvature.trace().max(0.0) / size as f64;
        for row in 0..size {
            for column in 0..size {
                let cell = &mut curvature.cells[row * size + column];
                if row == column {
                    // No feature has a negative square; a little is as good as none.
                    *cell = level + kept * (*cell - level);
                } else {
                    *cell *= kept;
                }
            }
        }
        Self {
            gradient: slopes.gradient.clone(),
            curvature,
            noise,
            error: kept * variance,
        }
    }
}

/// A square matrix.
#[derive(Clone, Debug)]
struct Square {
    size: usize,
    cells: Vec<f64>,
}

impl Square {
    fn scaled(size: usize, value: f64) -> Self {
        let mut square = Self {
            size,
            cells: vec![0.0; size * size],
        };
        square.add_diagonal(value);
        square
    }

    fn from_lower(lower: &[f64], size: usize) -> Self {
        let mut square = Self::scaled(size, 0.0);
        let mut values = lower.iter();
        for row in 0..size {
            for (column, value) in (0..=row).zip(&mut values) {
                square.cells[row * size + column] = *value;
                square.cells[column * size + row] = *value;
            }
        }
        square
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.cells[row * self.size + column]
    }

    fn trace(&self) -> f64 {
        (0..self.size).map(|at| self.at(at, at)).sum()
    }

    fn add(&mut self, other: &Self) {
        self.cells
            .iter_mut()
            .zip(&other.cells)
            .for_each(|(a, b)| *a += b);
    }

    fn add_diagonal(&mut self, value: f64) {
        for at in 0..self.size {
            self.cells[at * self.size + at] += value;
        }
    }

    fn transposed(&self) -> Self {
        let size = self.size;
        let cells = (0..size * size).map(|at| self.at(at % size, at / size));
        Self {
            size,
            cells: cells.collect(),
        }
    }

    fn apply(&self, vector: &[f64]) -> Vec<f64> {
        let rows = self.cells.chunks_exact(self.size);
        rows.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
            .collect()
    }

    fn times(&self, other: &Self) -> Self {
        let size = self.size;
        let mut product = Self::scaled(size, 0.0);
        for (row, out) in product.cells.chunks_exact_mut(size).enumerate() {
            for (k, line) in other.cells.chunks_exact(size).enumerate() {
                let factor = self.at(row, k);
                out.iter_mut()
                    .zip(line)
                    .for_each(|(sum, value)| *sum += factor * value);
            }
        }
        product
    }

    /// The Cholesky factor of the matrix, of which noise may have made the smallest eigenvalues
    /// negative: with as much more on the diagonal as it takes.
    fn factor(&self) -> cholesky::Factor {
        let mut ridge = 1e-9 * self.trace().abs().max(1e-9) / self.size as f64;
        let mut matrix = self.clone();
        for _ in 0..MOST_RIDGES {
            let lower: Vec<f64> = (0..self.size)
                .flat_map(|row| (0..=row).map(move |column| (row, column)))
                .map(|(row, column)| matrix.at(row, column))
                .collect();
            if let Some(factor) = cholesky::Factor::new(self.size, &lower) {
                return factor;
            }
            matrix.add_diagonal(ridge);
            ridge *= 2.0;
        }
        unreachable!("a matrix of finite numbers with 2^190 on its diagonal is positive definite")
    }
}

/// The trace of a matrix given by its lower triangle.
pub(super) fn trace(lower: &[f64], size: usize) -> f64 {
    (0..size)
        .filter_map(|row| lower.get(row * (row + 3) / 2))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Derivatives of Σ ln σ(y θ'x) of random rows at `weights`, and those rows' best weights.
    fn slopes(weights: &[f64], noise: f64, random: &mut Stream) -> Slopes {
        let mut rows = Stream::new("collegium/test/belief/v1", &[b"rows"]);
        let size = weights.len();
        let mut gradient = vec![0.0; size];
        let mut curvature = vec![0.0; size * (size + 1) / 2];
        for _ in 0..2000 {
            let x: Vec<f64> = (0..size).map(|_| 0.5 * rows.normal()).collect();
            let p = |w: &[f64]| {
                let logit: f64 = w.iter().zip(&x).map(|(w, x)| w * x).sum();
                crate::family::sigmoid(logit)
            };
            let target = f64::from(u8::from(rows.unit() < p(&TRUTH)));
            let p = p(weights);
            let mut place = 0;
            for i in 0..size {
                gradient[i] += (target - p) * x[i];
                for j in 0..=i {
                    curvature[place] += p * (1.0 - p) * x[i] * x[j];
                    place += 1;
                }
            }
        }
        let noisy = gradient.iter_mut().chain(&mut curvature);
        noisy.for_each(|value| *value += noise * random.normal());
        Slopes {
            gradient,
            curvature,
            variances: [noise * noise; 2],
        }
    }

    const TRUTH: [f64; 4] = [1.5, -1.0, 0.0, 0.5];

    fn distance(mean: &[f64], from: &[f64]) -> f64 {
        let square: f64 = mean.iter().zip(from).map(|(a, b)| (a - b).powi(2)).sum();
        square.sqrt()
    }

    #[test]
    fn looks_lead_to_the_solution_and_noise_keeps_weights_small() {
        let mut random = Stream::new("collegium/test/belief/v1", &[b"noise"]);
        let prior = Belief::before(4, 2.0);
        let look =
            |belief: &Belief, noise, random: &mut Stream| slopes(&belief.mean, noise, random);
        let mut belief = prior.first(&look(&prior, 0.01, &mut random));
        for _ in 0..4 {
            belief = belief.again(&look(&belief, 0.01, &mut random));
        }
        // At the solution of these rows there is no slope left.
        let left = look(&belief, 0.0, &mut random);
        assert!(
            left.gradient.iter().all(|slope| slope.abs() < 1.0),
            "{left:?}"
        );
        assert!(distance(&belief.mean, &TRUTH) < 0.4, "{belief:?}");
        let clear = prior.first(&look(&prior, 1.0, &mut random));
        let noisy = prior.first(&look(&prior, 1000.0, &mut random));
        assert!(distance(&clear.mean, &TRUTH) < 0.7, "{clear:?}");
        assert!(distance(&noisy.mean, &[0.0; 4]) < 0.5, "{noisy:?}");
        assert!(clear.covariance.trace() < noisy.covariance.trace());
    }

    #[test]
    fn a_matrix_that_noise_made_indefinite_has_a_factor() {
        let mut square = Square::scaled(2, 1.0);
        square.cells = vec![1.0, 5.0, 5.0, 1.0];
        let solved = square.factor().solve(&[1.0, 0.0]);
        assert!(solved.iter().all(|x| x.is_finite()), "{solved:?}");
        assert_eq!(trace(&[1.0, 7.0, 2.0, 8.0, 9.0, 4.0], 3), 7.0);
    }
}
