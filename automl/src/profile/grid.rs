//! Grids over numbers: coarse by powers of two, then fine where the rows are.

use super::MAX_CELLS;

/// Magnitudes below 2^-40 count as zero, above 2^56 as the largest.
const LOWEST_EXPONENT: i32 = -40;
const EXPONENTS: usize = 96;
/// Cells of the coarse grid: negative magnitudes from large to small, zero,
/// positive magnitudes from small to large.
pub(super) const COARSE_CELLS: usize = 2 * EXPONENTS + 1;
const ZERO_CELL: usize = EXPONENTS;

/// The coarse cell of a finite number, from its exponent bits alone.
pub(super) fn coarse_cell(number: f64) -> usize {
    let exponent = ((number.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    if exponent < LOWEST_EXPONENT {
        return ZERO_CELL;
    }
    let place = ((exponent - LOWEST_EXPONENT) as usize).min(EXPONENTS - 1);
    if number > 0.0 {
        ZERO_CELL + 1 + place
    } else {
        ZERO_CELL - 1 - place
    }
}

fn power(exponent: i32) -> f64 {
    libm::ldexp(1.0, exponent)
}

/// Lower and upper edge of a coarse cell.
fn coarse_edges(cell: usize) -> (f64, f64) {
    let magnitude = |place: usize| {
        let exponent = LOWEST_EXPONENT + i32::try_from(place).unwrap_or(0);
        (power(exponent), power(exponent + 1))
    };
    match cell.cmp(&ZERO_CELL) {
        std::cmp::Ordering::Greater => magnitude(cell - ZERO_CELL - 1),
        std::cmp::Ordering::Equal => (-power(LOWEST_EXPONENT), power(LOWEST_EXPONENT)),
        std::cmp::Ordering::Less => {
            let (small, large) = magnitude(ZERO_CELL - 1 - cell);
            (-large, -small)
        }
    }
}

/// A stretch of the line with a count of rows.
#[derive(Clone, Copy)]
struct Piece {
    lo: f64,
    hi: f64,
    rows: u64,
    divisible: bool,
}

/// Ascending edges of at most [`MAX_CELLS`] cells that cover every non-empty
/// coarse cell, finer where there are more rows. Empty when nothing was
/// counted. For columns of whole numbers no cell is narrower than one.
pub(super) fn refined_edges(coarse: &[u64], whole: bool) -> Vec<f64> {
    let mut pieces = pieces(coarse);
    while pieces.len() > MAX_CELLS / 2 {
        pieces = pieces
            .chunks(2)
            .map(|pair| Piece {
                lo: pair[0].lo,
                hi: pair[pair.len() - 1].hi,
                rows: pair.iter().map(|piece| piece.rows).sum(),
                divisible: true,
            })
            .collect();
    }
    lay(&pieces, whole)
}

/// Edges again, from the rows in the cells of a first grid: neighbours with few rows are one
/// piece, so that the cells go to where the rows are, however narrow that is.
pub(super) fn edges_again(edges: &[f64], counts: &[u64], whole: bool) -> Vec<f64> {
    let total: u64 = counts.iter().sum();
    let light = total / (MAX_CELLS as u64 / 2);
    let mut pieces: Vec<Piece> = Vec::new();
    for (bounds, &rows) in edges.windows(2).zip(counts) {
        match pieces.last_mut() {
            Some(last) if last.rows + rows <= light => {
                last.hi = bounds[1];
                last.rows += rows;
            }
            _ => pieces.push(Piece {
                lo: bounds[0],
                hi: bounds[1],
                rows,
                // What the first grid calls zero is one value.
                divisible: bounds[0] != -power(LOWEST_EXPONENT),
            }),
        }
    }
    if pieces.len() >= MAX_CELLS {
        return edges.to_vec();
    }
    lay(&pieces, whole)
}

/// Cuts between at most `most` bins of about equally many rows, each an inner edge.
pub(super) fn cuts(edges: &[f64], counts: &[u64], most: usize) -> Vec<f64> {
    let total: u64 = counts.iter().sum();
    let mut cuts = Vec::new();
    let (mut below, mut here) = (0, 0);
    for (bounds, &rows) in edges.windows(2).zip(counts) {
        // A bin is closed where taking this cell in would make it larger than what is left
        // for each of the bins to come.
        let bins_left = most.saturating_sub(cuts.len()) as u64;
        if here > 0 && rows > 0 && bins_left > 1 && (here + rows) * bins_left > total - below {
            cuts.push(bounds[0]);
            below += here;
            here = 0;
        }
        here += rows;
    }
    cuts
}

/// Edges over neighbouring pieces: every piece is a cell, and the cells that are left go to
/// pieces by their rows.
fn lay(pieces: &[Piece], whole: bool) -> Vec<f64> {
    let total: u64 = pieces.iter().map(|piece| piece.rows).sum();
    if total == 0 {
        return Vec::new();
    }
    let spare = (MAX_CELLS - pieces.len()) as u64;
    let mut edges = vec![pieces[0].lo];
    for piece in pieces {
        let share = u128::from(spare) * u128::from(piece.rows) / u128::from(total);
        let mut cells = 1 + share as usize;
        if whole {
            cells = cells.min(((piece.hi - piece.lo) as usize).max(1));
        }
        if !piece.divisible {
            cells = 1;
        }
        for step in 1..=cells {
            let share = step as f64 / cells as f64;
            let edge = if step == cells {
                piece.hi
            } else {
                piece.lo + (piece.hi - piece.lo) * share
            };
            // Very narrow pieces may round to the same float.
            if edges.last().is_some_and(|&last| edge > last) {
                edges.push(edge);
            }
        }
    }
    edges
}

/// Non-empty cells and the gaps between them, from the first to the last.
fn pieces(coarse: &[u64]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let last = coarse.iter().rposition(|&rows| rows > 0);
    let first = coarse.iter().position(|&rows| rows > 0);
    let (Some(first), Some(last)) = (first, last) else {
        return pieces;
    };
    for (cell, &rows) in coarse.iter().enumerate().take(last + 1).skip(first) {
        let (lo, hi) = coarse_edges(cell);
        match pieces.last_mut() {
            Some(gap) if rows == 0 && gap.rows == 0 => gap.hi = hi,
            _ => pieces.push(Piece {
                lo,
                hi,
                rows,
                divisible: rows > 0 && cell != ZERO_CELL,
            }),
        }
    }
    pieces
}

/// The cell of a number; what lies outside goes to the first or last.
pub(super) fn cell(edges: &[f64], number: f64) -> usize {
    let above = edges.partition_point(|&edge| edge <= number);
    above.saturating_sub(1).min(edges.len().saturating_sub(2))
}

/// The value that a share `p` of the rows lies below.
pub(super) fn quantile(edges: &[f64], counts: &[u64], p: f64) -> f64 {
    let total: u64 = counts.iter().sum();
    let wanted = p.clamp(0.0, 1.0) * total as f64;
    let mut below = 0.0;
    for (bounds, &rows) in edges.windows(2).zip(counts) {
        let here = rows as f64;
        if rows > 0 && below + here >= wanted {
            let share = ((wanted - below) / here).clamp(0.0, 1.0);
            return bounds[0] + (bounds[1] - bounds[0]) * share;
        }
        below += here;
    }
    edges.last().copied().unwrap_or(0.0)
}
