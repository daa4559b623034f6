//! Sums of gradients and Hessians per bin: where a site spends its time.

use super::rounding::Rounding;

/// Rows of bins, row by row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binned<'a> {
    /// `rows · width` bins.
    pub(super) cells: &'a [u8],
    /// Columns of a row.
    pub(super) width: usize,
}

/// The columns of a histogram and where their bins stand in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Columns, ascending.
    pub(super) columns: Vec<u16>,
    /// Bins of each.
    pub(super) bins: Vec<u16>,
    all: bool,
}

impl Layout {
    /// The layout of these columns of a table whose columns have `bins`.
    pub(super) fn new(columns: Vec<u16>, bins: &[u16]) -> Self {
        Self {
            bins: columns.iter().map(|c| bins[usize::from(*c)]).collect(),
            all: columns.len() == bins.len(),
            columns,
        }
    }

    /// Bins of all its columns.
    pub(super) fn numbers(&self) -> usize {
        self.bins.iter().map(|bins| usize::from(*bins)).sum()
    }
}

/// Room for the words of one node, kept from node to node.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    words: Vec<u64>,
}

/// Adds the sums of a node's rows to `gradients` and `hessians`, bins of the
/// layout's columns one after the other. `words` holds each row's packed
/// gradient and Hessian; bins beyond a column's last are counted as the last.
pub(super) fn add(
    table: Binned<'_>,
    layout: &Layout,
    rows: &[u32],
    words: &[u64],
    rounding: &Rounding,
    scratch: &mut Scratch,
    out: (&mut Vec<i64>, &mut Vec<i64>),
) {
    // A few strides, so that the bounds of a column's words are known when this
    // is compiled, and none is a power of two, which would crowd the cache.
    match layout.bins.iter().copied().max().unwrap_or(0) {
        0..=24 => add_with::<24>(table, layout, rows, words, rounding, scratch, out),
        25..=40 => add_with::<40>(table, layout, rows, words, rounding, scratch, out),
        41..=72 => add_with::<72>(table, layout, rows, words, rounding, scratch, out),
        73..=136 => add_with::<136>(table, layout, rows, words, rounding, scratch, out),
        _ => add_with::<256>(table, layout, rows, words, rounding, scratch, out),
    }
}

fn add_with<const STRIDE: usize>(
    table: Binned<'_>,
    layout: &Layout,
    rows: &[u32],
    words: &[u64],
    rounding: &Rounding,
    scratch: &mut Scratch,
    (gradients, hessians): (&mut Vec<i64>, &mut Vec<i64>),
) {
    let start = gradients.len();
    gradients.resize(start + layout.numbers(), 0);
    hessians.resize(start + layout.numbers(), 0);
    for chunk in rows.chunks(rounding.rows_in_a_word()) {
        scratch.words.clear();
        scratch.words.resize(layout.columns.len() * STRIDE, 0);
        let (columns, _) = scratch.words.as_chunks_mut::<STRIDE>();
        if layout.all {
            count_all(table, chunk, words, columns);
        } else {
            count_some(table, &layout.columns, chunk, words, columns);
        }
        let mut at = start;
        for (column, bins) in columns.iter().zip(&layout.bins) {
            for word in &column[..usize::from(*bins)] {
                let (gradient, hessian) = Rounding::unpack(*word);
                gradients[at] += gradient;
                hessians[at] += hessian;
                at += 1;
            }
        }
    }
}

fn count_all<const STRIDE: usize>(
    table: Binned<'_>,
    rows: &[u32],
    words: &[u64],
    columns: &mut [[u64; STRIDE]],
) {
    for &row in rows {
        let row = row as usize;
        let word = words[row];
        let cells = &table.cells[row * table.width..][..table.width];
        for (column, &bin) in columns.iter_mut().zip(cells) {
            let sum = &mut column[usize::from(bin).min(STRIDE - 1)];
            *sum = sum.wrapping_add(word);
        }
    }
}

fn count_some<const STRIDE: usize>(
    table: Binned<'_>,
    chosen: &[u16],
    rows: &[u32],
    words: &[u64],
    columns: &mut [[u64; STRIDE]],
) {
    for &row in rows {
        let row = row as usize;
        let word = words[row];
        let cells = &table.cells[row * table.width..][..table.width];
        for (column, &at) in columns.iter_mut().zip(chosen) {
            let bin = cells[usize::from(at)];
            let sum = &mut column[usize::from(bin).min(STRIDE - 1)];
            *sum = sum.wrapping_add(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::Head;
    use crate::random::Stream;

    #[test]
    fn sums_are_those_of_the_definition() {
        let mut stream = Stream::new("collegium/test/v1", &[b"histogram"]);
        for bins in [2_u16, 33, 65, 100, 256] {
            let (n, width) = (300_usize, 5_usize);
            let cells: Vec<u8> = (0..n * width)
                .map(|_| stream.below(usize::from(bins)) as u8)
                .collect();
            // So few rows to a word that words are emptied on the way.
            let rounding = Rounding::new(Head::Binary, 1 << 10);
            let rows: Vec<u32> = (0..n as u32).filter(|row| row % 3 != 0).collect();
            let parts: Vec<(i64, i64)> = (0..n)
                .map(|_| {
                    (
                        rounding.gradient(2.0 * stream.unit() - 1.0),
                        rounding.hessian(0.25 * stream.unit()),
                    )
                })
                .collect();
            let words: Vec<u64> = parts.iter().map(|&(g, h)| Rounding::pack(g, h)).collect();
            for columns in [vec![0, 1, 2, 3, 4], vec![1, 4]] {
                let layout = Layout::new(columns.clone(), &[bins; 5]);
                let (mut g, mut h) = (Vec::new(), Vec::new());
                let table = Binned {
                    cells: &cells,
                    width,
                };
                let mut scratch = Scratch::default();
                let out = (&mut g, &mut h);
                add(table, &layout, &rows, &words, &rounding, &mut scratch, out);
                let sum = |column: u16, bin: usize| {
                    rows.iter()
                        .map(|row| *row as usize)
                        .filter(|row| usize::from(cells[row * width + usize::from(column)]) == bin)
                        .fold((0, 0), |sum, row| {
                            (sum.0 + parts[row].0, sum.1 + parts[row].1)
                        })
                };
                let mut at = 0;
                for column in columns {
                    for bin in 0..usize::from(bins) {
                        assert_eq!((g[at], h[at]), sum(column, bin), "{column} {bin}");
                        at += 1;
                    }
                }
                assert_eq!(at, g.len());
            }
        }
    }

    #[test]
    fn full_words_are_emptied() {
        let rounding = Rounding::new(Head::Binary, 1 << 10);
        let n = 3 * rounding.rows_in_a_word() + 5;
        let cells = vec![1_u8; n];
        let words = vec![Rounding::pack(-(1 << 20), 1 << 20); n];
        let rows: Vec<u32> = (0..n as u32).collect();
        let layout = Layout::new(vec![0], &[3]);
        let (mut g, mut h) = (Vec::new(), Vec::new());
        let table = Binned {
            cells: &cells,
            width: 1,
        };
        let mut scratch = Scratch::default();
        let out = (&mut g, &mut h);
        add(table, &layout, &rows, &words, &rounding, &mut scratch, out);
        let sum = (n as i64) << 20;
        assert_eq!((g, h), (vec![0, -sum, 0], vec![0, sum, 0]));
    }
}
