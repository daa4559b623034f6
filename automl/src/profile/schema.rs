//! The names of the columns, learned from a sum.
//!
//! An invertible Bloom lookup table (Goodrich and Mitzenmacher 2011) with
//! multiplicities. Each site adds each of its column names into three cells
//! chosen by a hash: one to the cell's count, the name's bytes to the cell's
//! bytes, four check bytes to its check. In the sum over all sites, a cell that
//! holds one name only, c times, shows it: its sums are c times the name. The
//! name is taken out of its other two cells, which may leave those with one
//! name, and so on. With three hashes this comes to an end below 0.81 names a
//! cell; 512 names in 768 cells are 0.67. It fails where two names share all
//! three cells (for 512 names one time in 130, for 50 names one in 14 000); the
//! next attempt then hashes differently.

use std::collections::BTreeMap;

use crate::table::{MAX_COLUMN_NAME_BYTES, MAX_COLUMNS};

/// Cells of each of the three parts of the table.
const PART_CELLS: usize = MAX_COLUMNS / 2;
const PARTS: usize = 3;
const CHECK_BYTES: usize = 4;
/// Numbers of one cell: count, name, check.
const CELL_NUMBERS: usize = 1 + MAX_COLUMN_NAME_BYTES + CHECK_BYTES;
/// Numbers of the whole table: 768 cells of 69, 53 k.
pub(super) const NUMBERS: usize = PARTS * PART_CELLS * CELL_NUMBERS;
/// Most names of one site in one cell. The mean is 2 for a full table, and a
/// Poisson variable of mean 2 exceeds 24 with probability below 10^-18.
const MAX_PER_CELL: u64 = 24;
/// Largest number of one site.
pub(super) const MAX_SUM: u64 = MAX_PER_CELL * 255;
/// Tries before the run gives up: (1/130)^4 is below 10^-8.
pub(super) const ATTEMPTS: u8 = 4;

/// A name's three cells, one in each part, and its check bytes.
fn places(attempt: u8, name: &str) -> ([usize; PARTS], [u8; CHECK_BYTES]) {
    let mut hasher = blake3::Hasher::new_derive_key("collegium automl schema v1");
    hasher.update(&[attempt]).update(name.as_bytes());
    let hash = *hasher.finalize().as_bytes();
    let word = |at: usize| usize::from(hash[at]) | usize::from(hash[at + 1]) << 8;
    let cells = std::array::from_fn(|part| part * PART_CELLS + word(2 * part) % PART_CELLS);
    (cells, [hash[28], hash[29], hash[30], hash[31]])
}

/// The numbers a name adds to a cell.
fn numbers(name: &str, check: [u8; CHECK_BYTES]) -> impl Iterator<Item = u64> {
    let bytes = name.bytes().map(u64::from).chain(std::iter::repeat(0));
    std::iter::once(1)
        .chain(bytes.take(MAX_COLUMN_NAME_BYTES))
        .chain(check.map(u64::from))
}

/// A site's answer; `None` when too many names meet in one cell.
pub(super) fn encode(attempt: u8, names: &[&str]) -> Option<Vec<u64>> {
    let mut table = vec![0_u64; NUMBERS];
    for name in names {
        let (cells, check) = places(attempt, name);
        for cell in cells {
            let start = cell * CELL_NUMBERS;
            for (sum, number) in table[start..start + CELL_NUMBERS]
                .iter_mut()
                .zip(numbers(name, check))
            {
                *sum += number;
            }
        }
    }
    table.iter().all(|&sum| sum <= MAX_SUM).then_some(table)
}

/// The names in a sum over sites, each with the number of sites that have it;
/// `None` when they cannot be told apart.
pub(super) fn decode(attempt: u8, mut table: Vec<u64>) -> Option<BTreeMap<String, u64>> {
    if table.len() != NUMBERS {
        return None;
    }
    let mut names = BTreeMap::new();
    let mut open: Vec<usize> = (0..PARTS * PART_CELLS).collect();
    while let Some(cell) = open.pop() {
        let Some((name, times)) = single(attempt, &table, cell) else {
            continue;
        };
        let (cells, check) = places(attempt, &name);
        for place in cells {
            let start = place * CELL_NUMBERS;
            for (sum, number) in table[start..start + CELL_NUMBERS]
                .iter_mut()
                .zip(numbers(&name, check))
            {
                *sum = sum.checked_sub(number * times)?;
            }
            open.push(place);
        }
        if names.insert(name, times).is_some() || names.len() > MAX_COLUMNS {
            return None;
        }
    }
    table.iter().all(|&sum| sum == 0).then_some(names)
}

/// The name of a cell that holds one name only, and how often.
fn single(attempt: u8, table: &[u64], cell: usize) -> Option<(String, u64)> {
    let numbers = &table[cell * CELL_NUMBERS..(cell + 1) * CELL_NUMBERS];
    let (&times, sums) = numbers.split_first()?;
    if times == 0 {
        return None;
    }
    let mut bytes = Vec::with_capacity(sums.len());
    for sum in sums {
        let byte = sum / times;
        if byte * times != *sum {
            return None;
        }
        bytes.push(u8::try_from(byte).ok()?);
    }
    let check = bytes.split_off(MAX_COLUMN_NAME_BYTES);
    let length = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    bytes.truncate(length);
    let name = String::from_utf8(bytes).ok()?;
    let (cells, expected) = places(attempt, &name);
    (cells.contains(&cell) && check == expected).then_some((name, times))
}
