//! The Gram matrix of the columns of numbers and the target: correlations,
//! ridge regression and discriminant analysis follow from it with no further
//! step.

use serde::{Deserialize, Serialize};

use super::source::{Quantities, Source};
use super::target::{TARGET_BITS, Tally, TargetAsk};
use crate::ask::Segment;
use crate::data::{SiteData, SiteDataError};

/// Most columns of a Gram matrix: its cost at a site grows with their square.
pub const MAX_GRAM: usize = 128;

/// A column of [`super::ProfilePart::Gram`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GramColumn {
    /// Its name.
    pub name: String,
    /// Where its numbers come from.
    pub source: Source,
    /// Smaller values count as this.
    pub lo: f64,
    /// Larger values count as this.
    pub hi: f64,
    /// Missing values count as this: the median, roughly.
    pub fill: f64,
}

/// Sums of products over the training rows. The variables are a constant one,
/// the columns, and the target (an indicator of each class, or its number), all
/// as whole numbers from 0 to 2^bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gram {
    /// Precision of the variables.
    pub bits: u32,
    /// The columns.
    pub columns: Vec<GramColumn>,
    /// The target.
    pub target: TargetAsk,
    /// Row by row of the upper triangle, diagonal included.
    pub sums: Vec<u64>,
}

/// Variables that the target adds.
fn outcomes(target: &TargetAsk) -> usize {
    match target {
        TargetAsk::Classes { labels } => labels.len(),
        TargetAsk::Number { .. } => 1,
    }
}

/// Numbers of a Gram matrix.
fn triangle(variables: usize) -> usize {
    variables * (variables + 1) / 2
}

pub(super) fn segments(
    columns: &[GramColumn],
    target: &TargetAsk,
    bits: u32,
    rows: u64,
) -> Vec<Segment> {
    vec![Segment::Count {
        max: rows << (2 * bits),
        count: triangle(1 + columns.len() + outcomes(target)),
    }]
}

pub(super) fn check(columns: &[GramColumn]) -> Result<(), String> {
    if columns.len() > MAX_GRAM {
        return Err(format!(
            "{} columns are more than {MAX_GRAM}",
            columns.len()
        ));
    }
    for column in columns {
        column.source.check(&column.name)?;
        let inside = column.lo <= column.fill && column.fill <= column.hi;
        if !(column.lo < column.hi && (column.hi - column.lo).is_finite() && inside) {
            return Err(format!("bounds of `{}` are not ascending", column.name));
        }
    }
    Ok(())
}

/// A number between bounds as a whole number from 0 to 2^bits.
pub(super) fn code(number: f64, lo: f64, hi: f64, bits: u32) -> u64 {
    let share = (number.clamp(lo, hi) - lo) / (hi - lo);
    libm::round(share * f64::from(1_u32 << bits)) as u64
}

/// One site's sums.
pub(super) fn answer(
    data: &SiteData,
    columns: &[GramColumn],
    target: &TargetAsk,
    bits: u32,
) -> Result<Vec<u64>, SiteDataError> {
    let mut readers = Vec::with_capacity(columns.len());
    for column in columns {
        let reader = Quantities::new(data.table(), &column.name, &column.source);
        readers.push(reader.map_err(|what| SiteDataError::Survey { what })?);
    }
    let variables = 1 + columns.len() + outcomes(target);
    let mut sums = vec![0_u64; triangle(variables)];
    let mut row_codes = vec![0_u64; variables];
    for &row in data.train_rows() {
        let row = row as usize;
        let Some(tally) = target.tally(data.target().cell(row)) else {
            continue;
        };
        let (numbers, outcome) = row_codes.split_at_mut(1 + columns.len());
        numbers[0] = 1 << bits;
        for ((value, column), reader) in numbers[1..].iter_mut().zip(columns).zip(&readers) {
            let number = reader.get(row).unwrap_or(column.fill);
            *value = code(number, column.lo, column.hi, bits);
        }
        outcome.fill(0);
        match tally {
            Tally::Class(class) => outcome[class] = 1 << bits,
            // As finely as tables have it, or as coarsely as this sum must.
            Tally::Number(number) if bits >= TARGET_BITS => {
                outcome[0] = number << (bits - TARGET_BITS);
            }
            Tally::Number(number) => outcome[0] = number >> (TARGET_BITS - bits),
        }
        let mut place = 0;
        for (first, &own) in row_codes.iter().enumerate() {
            for &other in &row_codes[first..] {
                sums[place] += own * other;
                place += 1;
            }
        }
    }
    Ok(sums)
}

impl Gram {
    fn variables(&self) -> usize {
        1 + self.columns.len() + outcomes(&self.target)
    }

    fn product(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (a.min(b), a.max(b));
        let before = a * self.variables() - a * a.saturating_sub(1) / 2;
        self.sums.get(before + b - a).copied().unwrap_or(0) as f64
    }

    fn covariance(&self, a: usize, b: usize) -> f64 {
        let rows = self.product(0, 0);
        if rows == 0.0 {
            return 0.0;
        }
        // Codes are at most 2^16 and rows 2^30: nothing cancels that 53 bits
        // cannot spare for a correlation.
        self.product(a, b) / rows - self.product(0, a) / rows * (self.product(0, b) / rows)
    }

    /// Correlation of two variables, 0 where one is constant.
    fn between(&self, a: usize, b: usize) -> f64 {
        let scale = self.covariance(a, a) * self.covariance(b, b);
        if scale <= 0.0 {
            return 0.0;
        }
        (self.covariance(a, b) / libm::sqrt(scale)).clamp(-1.0, 1.0)
    }

    /// Pearson correlation of two columns with missing values at their medians;
    /// `None` when one is not in the matrix.
    #[must_use]
    pub fn correlation(&self, a: &str, b: &str) -> Option<f64> {
        let place = |name: &str| self.columns.iter().position(|column| column.name == name);
        Some(self.between(1 + place(a)?, 1 + place(b)?))
    }

    /// Correlation of a column with the target: with the indicator of class
    /// `class`, or (class 0) with the number.
    #[must_use]
    pub fn with_target(&self, column: &str, class: usize) -> Option<f64> {
        let place = self.columns.iter().position(|known| known.name == column)?;
        let known = class < outcomes(&self.target);
        known.then(|| self.between(1 + place, 1 + self.columns.len() + class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_found_in_the_triangle() {
        let column = |name: &str| GramColumn {
            name: name.to_owned(),
            source: Source::Numbers,
            lo: 0.0,
            hi: 1.0,
            fill: 0.0,
        };
        // Variables 1, a, b, y; two rows (a, b, y) = (0, 1, 1) and (1, 0, 1), one bit.
        let rows = [[2_u64, 0, 2, 2], [2, 2, 0, 2]];
        let mut sums = Vec::new();
        for a in 0..4 {
            for b in a..4 {
                sums.push(rows.iter().map(|row| row[a] * row[b]).sum());
            }
        }
        let gram = Gram {
            bits: 1,
            columns: vec![column("a"), column("b")],
            target: TargetAsk::Number { lo: 0.0, hi: 1.0 },
            sums,
        };
        assert_eq!(gram.correlation("a", "b"), Some(-1.0));
        assert_eq!(gram.correlation("a", "a"), Some(1.0));
        assert_eq!(
            gram.with_target("a", 0),
            Some(0.0),
            "the target is constant"
        );
        assert_eq!(gram.correlation("a", "c"), None);
    }
}
