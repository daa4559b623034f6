//! Grids over numbers: coarse by powers of two, then fine where the rows are.

use super::{MAX_CELLS, MAX_GRID};

/// Cells of all columns of one look together: at 18 bytes an edge about half of the largest ask.
const ALL_CELLS: usize = 1 << 15;

/// Most cells of a column in a look at this many columns: [`MAX_GRID`], less where the ask
/// would grow too large, never under [`MAX_CELLS`].
pub(super) fn cells_each(columns: usize) -> usize {
    (ALL_CELLS / columns.max(1)).clamp(MAX_CELLS, MAX_GRID)
}

/// Magnitudes below 2^-40 count as zero, above 2^56 as the largest.
const LOWEST_EXPONENT: i32 = -40;
const EXPONENTS: usize = 96;
/// Cells of the coarse grid: negative magnitudes from large to small, zero,
/// positive magnitudes from small to large.
pub(super) const COARSE_CELLS: usize = 2 * EXPONENTS + 1;
pub(super) const ZERO_CELL: usize = EXPONENTS;

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

/// The octave that half of the magnitudes lie below, as its lower edge.
pub(super) fn middle_magnitude(coarse: &[u64]) -> f64 {
    let total: u64 = coarse.iter().sum();
    let mut below = coarse.get(ZERO_CELL).copied().unwrap_or(0);
    for place in 0..EXPONENTS {
        let at = |cell: usize| coarse.get(cell).copied().unwrap_or(0);
        below += at(ZERO_CELL + 1 + place) + at(ZERO_CELL - 1 - place);
        if 2 * below >= total {
            return coarse_edges(ZERO_CELL + 1 + place).0;
        }
    }
    0.0
}

/// Whether whole numbers, each of which occurs once, fill their range evenly from 1 on:
/// each octave between 64 and the largest then holds the same share of its width.
pub(super) fn without_gaps(coarse: &[u64]) -> bool {
    let octave = |exponent: i32| {
        let cell = ZERO_CELL + 1 + (exponent - LOWEST_EXPONENT) as usize;
        coarse.get(cell).copied().unwrap_or(0)
    };
    let Some(last) = (0..50).rev().find(|&exponent| octave(exponent) > 0) else {
        return false;
    };
    let negative = coarse.iter().take(ZERO_CELL).any(|&rows| rows > 0);
    let inner: Vec<f64> = (6..last)
        .map(|exponent| octave(exponent) as f64 / power(exponent))
        .collect();
    let most = inner.iter().copied().fold(0.0, f64::max);
    // A share of 64 rows is off by a tenth now and then, for lack of test rows.
    let even = inner.iter().all(|&share| share > 0.7 * most);
    !negative && inner.len() >= 3 && most > 0.3 && most <= 1.0 && even
}

fn power(exponent: i32) -> f64 {
    libm::ldexp(1.0, exponent)
}

/// Lower and upper edge of a coarse cell.
pub(super) fn coarse_edges(cell: usize) -> (f64, f64) {
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

/// Ascending edges of at most `most` cells that cover every non-empty coarse cell, finer where there are more rows. Empty when nothing was
/// counted. For columns of whole numbers no cell is narrower than one.
pub(super) fn refined_edges(coarse: &[u64], whole: bool, most: usize) -> Vec<f64> {
    lay(&pieces(coarse), whole, most)
}

/// Edges again, from the rows in the cells of a first grid: neighbours with few rows are one
/// piece, so that the cells go to where the rows are, however narrow that is.
pub(super) fn edges_again(edges: &[f64], counts: &[u64], whole: bool, most: usize) -> Vec<f64> {
    let pieces: Vec<Piece> = edges
        .windows(2)
        .zip(counts)
        .map(|(bounds, &rows)| Piece {
            lo: bounds[0],
            hi: bounds[1],
            rows,
            // What the first grid calls zero is one value.
            divisible: bounds[0] != -power(LOWEST_EXPONENT),
        })
        .collect();
    lay(&pieces, whole, most)
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

impl Piece {
    /// Cells of it when a cell holds at most `most` rows, as far as rows are spread evenly.
    fn cells(&self, most: u64, whole: bool) -> usize {
        if !self.divisible {
            return 1;
        }
        let wanted = usize::try_from(self.rows.div_ceil(most)).unwrap_or(usize::MAX);
        let width = if whole {
            ((self.hi - self.lo) as usize).max(1)
        } else {
            usize::MAX
        };
        wanted.clamp(1, width)
    }
}

/// Neighbours that hold at most `most` rows together, as one.
fn merged(pieces: &[Piece], most: u64) -> Vec<Piece> {
    let mut merged: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match merged.last_mut() {
            Some(last) if last.divisible && piece.divisible && last.rows + piece.rows <= most => {
                last.hi = piece.hi;
                last.rows += piece.rows;
            }
            _ => merged.push(*piece),
        }
    }
    merged
}

/// Edges over neighbouring pieces: cells of about equally many rows, with as few rows
/// in each as `room` of them allow.
fn lay(pieces: &[Piece], whole: bool, room: usize) -> Vec<f64> {
    let total: u64 = pieces.iter().map(|piece| piece.rows).sum();
    if total == 0 {
        return Vec::new();
    }
    let cells = |most: u64| -> usize {
        let merged = merged(pieces, most).into_iter();
        merged.fold(0, |sum, piece| sum.saturating_add(piece.cells(most, whole)))
    };
    // With room for all rows in a cell there are at most three: below zero, zero, above.
    let (mut low, mut most) = (1, total);
    while low < most {
        let middle = low + (most - low) / 2;
        if cells(middle) <= room {
            most = middle;
        } else {
            low = middle + 1;
        }
    }
    let pieces = merged(pieces, most);
    let mut edges = vec![pieces[0].lo];
    for piece in pieces {
        let cells = piece.cells(most, whole);
        for step in 1..=cells {
            let share = step as f64 / cells as f64;
            let inside = piece.lo + (piece.hi - piece.lo) * share;
            let edge = if step == cells {
                piece.hi
            } else if whole {
                libm::floor(inside)
            } else {
                inside
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
                divisible: cell != ZERO_CELL,
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

/// Rows below a value, by linear interpolation inside its cell.
pub(super) fn below(edges: &[f64], counts: &[u64], value: f64) -> f64 {
    let mut below = 0.0;
    for (bounds, &rows) in edges.windows(2).zip(counts) {
        if value >= bounds[1] {
            below += rows as f64;
        } else {
            let share = (value - bounds[0]) / (bounds[1] - bounds[0]);
            return below + rows as f64 * share.max(0.0);
        }
    }
    below
}
