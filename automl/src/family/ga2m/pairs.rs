//! Which pairs of columns act together.

use crate::family::additive::PairGrid;
use crate::family::cholesky::solve;

/// Ridge of a cell's effect while pairs are compared: one row of evidence or so.
const RIDGE: f64 = 1.0;
/// A pair is taken when what it explains is this many standard deviations above what
/// chance explains: the largest of 1000 pairs that explain nothing stays below.
const LEAST_Z: f64 = 3.5;

/// How much a pair explains beyond its columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Strong {
    /// Its place among the pairs.
    pub(crate) pair: usize,
    /// Twice the gain in units of noise, less its mean under chance.
    pub(crate) excess: f64,
}

/// The strongest pairs of a fold, at most `most`: `grids[pair][output]`, `sizes[pair]`
/// the sides of its grid, `noise[output]` the variance of a residual in units of its
/// curvature (1 for classes).
pub(crate) fn strongest(
    grids: &[Vec<PairGrid>],
    sizes: &[[usize; 2]],
    noise: &[f64],
    most: usize,
) -> Vec<Strong> {
    let mut strong: Vec<Strong> = Vec::new();
    for (pair, (outputs, size)) in grids.iter().zip(sizes).enumerate() {
        let mut excess = 0.0;
        let mut degrees = 0.0;
        for (grid, noise) in outputs.iter().zip(noise) {
            let (gain, freedom) = interaction(grid, *size);
            excess += 2.0 * gain / noise - freedom;
            degrees += freedom;
        }
        if degrees > 0.0 && excess > LEAST_Z * libm::sqrt(2.0 * degrees) {
            strong.push(Strong { pair, excess });
        }
    }
    strong.sort_by(|a, b| b.excess.total_cmp(&a.excess).then(a.pair.cmp(&b.pair)));
    strong.truncate(most);
    strong
}

/// What cells explain beyond their rows and columns, with its degrees of freedom.
fn interaction(grid: &PairGrid, [rows, columns]: [usize; 2]) -> (f64, f64) {
    let cells = || (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)));
    let size = rows + columns;
    let mut gradient = vec![0.0; size];
    let mut hessian = vec![0.0; size * (size + 1) / 2];
    let mut full = 0.0;
    let mut filled = 0;
    let mut seen = vec![false; size];
    for (row, column) in cells() {
        let at = row * columns + column;
        let (g, h) = (grid.gradient[at], grid.hessian[at]);
        let second = rows + column;
        gradient[row] += g;
        gradient[second] += g;
        hessian[row * (row + 3) / 2] += h;
        hessian[second * (second + 3) / 2] += h;
        hessian[second * (second + 1) / 2 + row] += h;
        full += 0.5 * g * g / (h + RIDGE);
        if h > 0.0 {
            filled += 1;
            seen[row] = true;
            seen[second] = true;
        }
    }
    for at in 0..size {
        hessian[at * (at + 3) / 2] += RIDGE;
    }
    let marginal = solve(&hessian, &gradient).map_or(0.0, |effects| {
        0.5 * effects
            .iter()
            .zip(&gradient)
            .map(|(e, g)| e * g)
            .sum::<f64>()
    });
    let margins = seen.iter().filter(|seen| **seen).count();
    let freedom = (filled + 1_usize).saturating_sub(margins);
    (full - marginal, freedom as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// A grid of residuals with a planted interaction of this size, and margins.
    fn grid(stream: &mut Stream, planted: f64, margin: f64) -> PairGrid {
        let mut grid = PairGrid {
            gradient: vec![0.0; 16],
            hessian: vec![0.0; 16],
        };
        for cell in 0..16 {
            let (row, column) = (cell / 4, cell % 4);
            let rows = 50.0 + 20.0 * stream.unit();
            let sign = if (row < 2) == (column < 2) { 1.0 } else { -1.0 };
            let effect = planted * sign + margin * (row as f64 - 1.5);
            grid.hessian[cell] = rows * 0.25;
            grid.gradient[cell] = -effect * rows * 0.25 + libm::sqrt(rows * 0.25) * stream.normal();
        }
        grid
    }

    #[test]
    fn a_planted_interaction_is_found_and_a_margin_is_none() {
        for seed in 0..20_u64 {
            println!("seed {seed}");
            let mut stream = Stream::new("collegium/test/pairs/v1", &[&seed.to_le_bytes()]);
            let mut grids: Vec<Vec<PairGrid>> =
                (0..40).map(|_| vec![grid(&mut stream, 0.0, 0.0)]).collect();
            grids.push(vec![grid(&mut stream, 0.0, 0.7)]);
            grids.push(vec![grid(&mut stream, 0.5, 0.0)]);
            let sizes = vec![[4, 4]; grids.len()];
            let found = strongest(&grids, &sizes, &[1.0], 3);
            assert_eq!(found.first().map(|strong| strong.pair), Some(41));
            assert!(found.len() <= 2, "{found:?}");
            assert!(found.iter().all(|strong| strong.pair != 40), "{found:?}");
        }
    }

    #[test]
    fn an_empty_grid_is_no_pair() {
        let empty = PairGrid {
            gradient: vec![0.0; 4],
            hessian: vec![0.0; 4],
        };
        assert!(strongest(&[vec![empty]], &[[2, 2]], &[1.0], 5).is_empty());
    }
}
