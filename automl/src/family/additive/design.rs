//! Which parameters a row picks.

use serde::{Deserialize, Serialize};

use crate::features::MAX_BINS;

/// Most parameters of a fold, the intercept among them: the Hessian of one fold
/// then has 2 Mi numbers.
pub const MAX_PARAMETERS: usize = 2048;
/// Values of a scaled term are within ±2^3: a WOE of 8 is odds of 3000 to 1
/// against the average.
pub(crate) const VALUE_EXPONENT: i32 = 3;

/// One term of an additive model. A bin beyond the lists counts as bin 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Term {
    /// One parameter for each group of a column's bins.
    Groups {
        /// The column.
        column: u16,
        /// Groups, 1 to 256.
        size: u16,
        /// The group of each bin, below `size`.
        groups: Vec<u8>,
    },
    /// One parameter for each pair of groups of two columns.
    Pair {
        /// The columns.
        columns: [u16; 2],
        /// Groups of each.
        sizes: [u16; 2],
        /// The group of each bin.
        groups: [Vec<u8>; 2],
    },
    /// One parameter, taken times a value of the column's bin.
    Scaled {
        /// The column.
        column: u16,
        /// The value of each bin, within ±8.
        values: Vec<f64>,
    },
}

impl Term {
    /// How many parameters it has.
    #[must_use]
    pub fn parameters(&self) -> usize {
        match self {
            Self::Groups { size, .. } => usize::from(*size),
            Self::Pair { sizes, .. } => usize::from(sizes[0]) * usize::from(sizes[1]),
            Self::Scaled { .. } => 1,
        }
    }

    /// The parameter that a row of bins picks, and what it is taken times.
    #[must_use]
    pub fn pick(&self, bins: &[u8]) -> (usize, f64) {
        match self {
            Self::Groups { column, groups, .. } => (group(groups, bins, *column), 1.0),
            Self::Pair {
                columns,
                sizes,
                groups,
            } => {
                let [first, second] = [0, 1].map(|side| group(&groups[side], bins, columns[side]));
                (first * usize::from(sizes[1]) + second, 1.0)
            }
            Self::Scaled { column, values } => {
                let bin = usize::from(bins[usize::from(*column)]);
                (0, values.get(bin).copied().unwrap_or(values[0]))
            }
        }
    }

    fn check(&self, width: u32) -> Result<(), String> {
        let grouped = |column: u16, size: u16, groups: &[u8]| {
            u32::from(column) < width
                && (1..=MAX_BINS).contains(&usize::from(size))
                && (1..=MAX_BINS).contains(&groups.len())
                && groups.iter().all(|group| u16::from(*group) < size)
        };
        let sound = match self {
            Self::Groups {
                column,
                size,
                groups,
            } => grouped(*column, *size, groups),
            Self::Pair {
                columns,
                sizes,
                groups,
            } => {
                columns[0] != columns[1]
                    && [0, 1]
                        .iter()
                        .all(|&side| grouped(columns[side], sizes[side], &groups[side]))
            }
            Self::Scaled { column, values } => {
                let bound = libm::ldexp(1.0, VALUE_EXPONENT);
                u32::from(*column) < width
                    && (1..=MAX_BINS).contains(&values.len())
                    && values.iter().all(|value| value.abs() <= bound)
            }
        };
        if sound {
            return Ok(());
        }
        Err("a term of an additive model names a column or a group that is not there, or a value out of bounds".to_owned())
    }
}

fn group(groups: &[u8], bins: &[u8], column: u16) -> usize {
    let bin = usize::from(bins[usize::from(column)]);
    usize::from(groups.get(bin).copied().unwrap_or(groups[0]))
}

/// The terms of one fold's model. Parameter 0 is the intercept, then come the
/// terms' in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// The terms.
    pub terms: Vec<Term>,
}

impl Design {
    /// How many parameters, the intercept among them.
    #[must_use]
    pub fn parameters(&self) -> usize {
        1 + self.terms.iter().map(Term::parameters).sum::<usize>()
    }

    /// The parameters that a row of bins picks, ascending, the intercept first.
    pub fn pick(&self, bins: &[u8], picked: &mut Vec<(usize, f64)>) {
        picked.clear();
        picked.push((0, 1.0));
        let mut start = 1;
        for term in &self.terms {
            let (parameter, value) = term.pick(bins);
            picked.push((start + parameter, value));
            start += term.parameters();
        }
    }

    pub(crate) fn check(&self, width: u32) -> Result<(), String> {
        if self.terms.len() >= MAX_PARAMETERS || self.parameters() > MAX_PARAMETERS {
            return Err(format!(
                "an additive model of more than {MAX_PARAMETERS} parameters"
            ));
        }
        self.terms.iter().try_for_each(|term| term.check(width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn design() -> Design {
        Design {
            terms: vec![
                Term::Groups {
                    column: 0,
                    size: 2,
                    groups: vec![0, 1, 1],
                },
                Term::Pair {
                    columns: [1, 0],
                    sizes: [3, 2],
                    groups: [vec![0, 1, 2], vec![0, 0, 1]],
                },
                Term::Scaled {
                    column: 1,
                    values: vec![0.0, -0.5, 2.0],
                },
            ],
        }
    }

    #[test]
    fn a_row_picks_one_parameter_of_every_term() {
        let design = design();
        design.check(2).expect("sound");
        assert_eq!(design.parameters(), 1 + 2 + 6 + 1);
        let mut picked = Vec::new();
        design.pick(&[2, 1], &mut picked);
        assert_eq!(picked, [(0, 1.0), (2, 1.0), (3 + 2 + 1, 1.0), (9, -0.5)]);
        // A bin that no list knows is taken for a missing value.
        design.pick(&[9, 9], &mut picked);
        assert_eq!(picked, [(0, 1.0), (1, 1.0), (3, 1.0), (9, 0.0)]);
    }

    #[test]
    fn terms_out_of_bounds_are_refused() {
        assert!(design().check(1).is_err(), "a column that is not there");
        let mut bad = design();
        bad.terms[0] = Term::Groups {
            column: 0,
            size: 1,
            groups: vec![0, 1],
        };
        assert!(bad.check(2).is_err(), "a group that is not there");
        bad.terms[0] = Term::Scaled {
            column: 0,
            values: vec![9.0],
        };
        assert!(bad.check(2).is_err(), "a value above 8");
        bad.terms = vec![
            Term::Groups {
                column: 0,
                size: 200,
                groups: vec![0],
            };
            11
        ];
        assert!(bad.check(2).is_err(), "too many parameters");
    }
}
