//! Values that may mean "missing": found by counting a public list of usual
//! suspects, proposed in the report, applied only when the task lists them.

use serde::{Deserialize, Serialize};

use super::MIN_LEVEL_ROWS;
use super::grid;

/// Numbers that files write for "missing".
const NUMBERS: [f64; 16] = [
    -9999.0, -999.0, -99.0, -98.0, -9.0, -8.0, -1.0, 0.0, 9.0, 88.0, 99.0, 888.0, 999.0, 8888.0,
    9999.0, 99_999.0,
];
/// Words that files write for "missing", in lower case.
const WORDS: [&str; 14] = [
    "unknown",
    "unk",
    "none",
    "missing",
    "not available",
    "not known",
    "no data",
    "undefined",
    "-",
    ".",
    "未知",
    "不详",
    "无记录",
    "缺失",
];
/// Numbers that a survey returns for the suspects of one column.
pub(super) const SUSPECTS: usize = NUMBERS.len() + WORDS.len();
/// Other values lie beyond this factor of the suspect, or of the zero's
/// neighbours: four octaves of nothing in between.
const APART: f64 = 8.0;
/// Least share of the column's values, in percent of a percent.
const LEAST_SHARE: u64 = 10;

/// A value that may mean "missing".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingProposal {
    /// The column.
    pub column: String,
    /// The value; one of a public list, never one that only a site knew.
    pub value: String,
    /// Training rows that have it.
    pub rows: u64,
    /// Why it stands out, and what to write in the task to apply it.
    pub reason: String,
}

/// The suspect that a number is.
pub(super) fn number(value: f64) -> Option<usize> {
    NUMBERS.iter().position(|&suspect| suspect == value)
}

/// The suspect that a text is.
pub(super) fn text(value: &str) -> Option<usize> {
    let lower = value.to_lowercase();
    let place = WORDS.iter().position(|&suspect| suspect == lower)?;
    Some(NUMBERS.len() + place)
}

/// What stands out in a column: `coarse` counts its numbers by magnitude,
/// `suspects` as above.
pub(super) fn proposals(
    column: &str,
    coarse: &[u64],
    suspects: &[u64],
    present: u64,
) -> Vec<MissingProposal> {
    let enough = |rows: u64| rows >= MIN_LEVEL_ROWS && rows * 10_000 >= present * LEAST_SHARE;
    let propose = |value: String, rows: u64, why: &str| MissingProposal {
        column: column.to_owned(),
        reason: format!(
            "{why}; if it means missing, declare missing = [\"{value}\"] for `{column}` under [columns] in the task"
        ),
        value,
        rows,
    };
    let mut found = Vec::new();
    let (numbers, words) = suspects.split_at(NUMBERS.len().min(suspects.len()));
    for (&value, &rows) in NUMBERS.iter().zip(numbers) {
        if enough(rows)
            && let Some(why) = stands_out(value, coarse, numbers)
        {
            found.push(propose(format!("{value}"), rows, why));
        }
    }
    for (&word, &rows) in WORDS.iter().zip(words) {
        if enough(rows) {
            found.push(propose(word.to_owned(), rows, "the word says so"));
        }
    }
    found
}

/// Rows in each coarse cell without the suspects of one sign.
fn without(coarse: &[u64], suspects: &[u64], sign: impl Fn(f64) -> bool) -> Vec<u64> {
    let mut rest = coarse.to_vec();
    for (&value, &rows) in NUMBERS.iter().zip(suspects) {
        if sign(value) {
            let cell = &mut rest[grid::coarse_cell(value)];
            *cell = cell.saturating_sub(rows);
        }
    }
    rest
}

/// Whether a number lies far from all others of its column, the other suspects
/// of its sign aside.
fn stands_out(value: f64, coarse: &[u64], suspects: &[u64]) -> Option<&'static str> {
    let others = without(coarse, suspects, |other| {
        (other < 0.0) == (value < 0.0) && (other == 0.0) == (value == 0.0)
    });
    let first = others.iter().position(|&rows| rows > 0)?;
    let last = others.iter().rposition(|&rows| rows > 0)?;
    let (lowest, highest) = (grid::coarse_edges(first).0, grid::coarse_edges(last).1);
    if value == 0.0 {
        // Zero among quantities that are all far from it: no cholesterol.
        let apart = lowest >= APART && highest / lowest <= 64.0;
        return apart.then_some("it is zero, and every other value is far from zero");
    }
    if value < 0.0 {
        let apart = lowest >= value / APART;
        return apart.then_some("it is negative, and hardly another value is");
    }
    let apart = highest > 0.0 && highest * APART <= value * 2.0;
    apart.then_some("it is far above every other value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[(f64, u64)]) -> Vec<String> {
        let mut coarse = vec![0; grid::COARSE_CELLS];
        let mut suspects = vec![0; SUSPECTS];
        for &(value, rows) in values {
            coarse[grid::coarse_cell(value)] += rows;
            if let Some(place) = number(value) {
                suspects[place] += rows;
            }
        }
        let present = values.iter().map(|(_, rows)| rows).sum();
        let found = proposals("x", &coarse, &suspects, present);
        found.into_iter().map(|found| found.value).collect()
    }

    #[test]
    fn a_cholesterol_of_zero_stands_out() {
        assert_eq!(
            found(&[(0.0, 120), (180.0, 300), (240.0, 300), (560.0, 3)]),
            ["0"]
        );
    }

    #[test]
    fn ordinary_zeros_and_nines_do_not() {
        assert!(found(&[(0.0, 300), (1.0, 200), (2.0, 100), (9.0, 40)]).is_empty());
        // Capital gains: most are zero, the others spread widely.
        assert!(found(&[(0.0, 9000), (114.0, 30), (7298.0, 400), (41310.0, 20)]).is_empty());
        assert!(found(&[(60.0, 50), (75.0, 50), (99.0, 50)]).is_empty());
        assert!(found(&[(-5.0, 50), (-1.0, 50), (3.0, 50)]).is_empty());
    }

    #[test]
    fn far_codes_stand_out() {
        assert_eq!(found(&[(-1.0, 800), (3.0, 100), (500.0, 100)]), ["-1"]);
        assert_eq!(found(&[(-999.0, 40), (3.0, 100), (70.0, 100)]), ["-999"]);
        assert_eq!(found(&[(999.0, 40), (3.0, 100), (70.0, 100)]), ["999"]);
        assert!(
            found(&[(999.0, 3), (3.0, 100), (70.0, 100)]).is_empty(),
            "too few"
        );
    }

    #[test]
    fn words_are_told_in_any_case() {
        let place = text("Unknown").expect("a suspect");
        let mut suspects = vec![0; SUSPECTS];
        suspects[place] = 30;
        let found = proposals("job", &vec![0; grid::COARSE_CELLS], &suspects, 400);
        assert_eq!((found[0].value.as_str(), found[0].rows), ("unknown", 30));
    }
}
