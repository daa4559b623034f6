//! Sums of products of models' errors.

use serde::{Deserialize, Serialize};

use super::{GROUPS, Lineup, Member, check_members};
use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::Head;
use crate::fixed::MAX_ROWS;
use crate::metric::check_rows_and_folds;
use crate::object::ObjectId;

/// Errors of numbers are cut at 2^5 = 32 target scales, where losses are cut too.
const NUMBER_EXPONENT: i32 = 5;
/// Finest step of an error, 2^-20.
const MAX_BITS: i32 = 20;

/// Asks for Σ (score - truth)ᵢ (score - truth)ⱼ over validation rows, for every pair of members
/// and every group of rows. For two classes the score is the positive one's probability; for more
/// the products are summed over classes; numbers are in units of the target's scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GramPart {
    /// The models.
    pub members: Vec<Member>,
    /// What their scores mean.
    pub head: Head,
    /// Folds of each model.
    pub folds: u8,
    /// Training rows of the whole federation: bounds every sum.
    pub rows: u64,
}

/// How errors are rounded: to integers first, so that products and their sums are exact in any
/// order, and a Gram matrix of rounded errors is one.
#[derive(Clone, Copy, Debug)]
struct Grid {
    /// Largest magnitude of an error.
    bound: f64,
    /// Steps to 1, 2^bits.
    scale: f64,
    /// Largest magnitude of a sum of products, in steps².
    limit: i64,
}

impl Grid {
    fn new(head: Head, rows: u64) -> Self {
        let rows = rows.clamp(1, MAX_ROWS);
        let rows_bits = 64 - (rows - 1).leading_zeros() as i32;
        // Bounds of an error and of a row's product, as powers of two. Over classes, squared
        // errors add up to at most 2, and rounding adds less than another 2.
        let (bound, product) = match head {
            Head::Number => (NUMBER_EXPONENT, 2 * NUMBER_EXPONENT),
            Head::Binary => (0, 0),
            Head::Classes(_) => (0, 2),
        };
        // 2 · rows · 2^(product + 2 bits) codes must not pass 2^46: 2 bits are left to errors of
        // numbers in the largest federation, 16 to probabilities where there are 4000 rows.
        let bits = ((45 - product - rows_bits) / 2).min(MAX_BITS);
        Self {
            bound: libm::ldexp(1.0, bound),
            scale: libm::ldexp(1.0, bits),
            limit: (rows as i64) << (product + 2 * bits),
        }
    }

    /// What is not a number counts as the largest error: it must not look like a good model.
    fn round(&self, error: f64) -> i64 {
        let error = if error.is_nan() { self.bound } else { error };
        (error.clamp(-self.bound, self.bound) * self.scale).round() as i64
    }
}

/// Pairs of members, a member with itself among them.
fn pairs(members: usize) -> usize {
    members * (members + 1) / 2
}

impl GramPart {
    /// Rows of each group, then for each group the lower triangle, row by row.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let limit = Grid::new(self.head, self.rows).limit;
        vec![
            Segment::Count {
                max: self.rows,
                count: GROUPS,
            },
            Segment::Integer {
                min: -limit,
                max: limit,
                count: GROUPS * pairs(self.members.len()),
            },
        ]
    }

    /// Checks the caps.
    ///
    /// # Errors
    /// Names the first one that is broken.
    pub fn check(&self) -> Result<(), String> {
        check_members(&self.members)?;
        self.head.check()?;
        check_rows_and_folds(self.rows, self.folds)
    }

    /// The pipelines and models that a site needs.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        let members = self.members.iter();
        members.flat_map(|m| [m.pipeline, m.model]).collect()
    }

    /// A site's sums.
    ///
    /// # Errors
    /// When there are more rows than the part allows for.
    pub(crate) fn answer(&self, site: &Lineup<'_>, out: &mut Encoder) -> Result<(), EncodeError> {
        let grid = Grid::new(self.head, self.rows);
        let members = self.members.len();
        let width = self.head.scores();
        let mut rows = [0_u64; GROUPS];
        let mut sums = vec![0_i64; GROUPS * pairs(members)];
        let mut scores = vec![0.0; site.width()];
        let mut errors = vec![0_i64; site.width()];
        for (row, target) in site.targets().iter().enumerate() {
            let Some((fold, group)) = site.place(row) else {
                continue;
            };
            site.scores(row, Some(fold), &mut scores);
            rows[group] += 1;
            for (at, (error, score)) in errors.iter_mut().zip(&scores).enumerate() {
                *error = grid.round(self.error(at % width, *score, *target));
            }
            let own = &mut sums[group * pairs(members)..][..pairs(members)];
            let mut own = own.iter_mut();
            for (at, one) in errors.chunks_exact(width).enumerate() {
                for (other, sum) in errors.chunks_exact(width).take(at + 1).zip(&mut own) {
                    *sum += one.iter().zip(other).map(|(a, b)| a * b).sum::<i64>();
                }
            }
        }
        rows.iter().try_for_each(|count| out.count(*count))?;
        sums.iter().try_for_each(|sum| out.integer(*sum))
    }

    /// A score's distance from the truth. The first of two classes counts for nothing: its error
    /// is the second's with another sign.
    fn error(&self, class: usize, score: f64, target: f64) -> f64 {
        match self.head {
            Head::Number => score - target,
            Head::Binary if class == 0 => 0.0,
            Head::Binary | Head::Classes(_) => {
                score - f64::from(u8::from(target as usize == class))
            }
        }
    }

    /// Reads the sums.
    #[must_use]
    pub fn read(&self, totals: &PartTotals<'_>) -> Gram {
        let scale = Grid::new(self.head, self.rows).scale;
        Gram {
            members: self.members.len(),
            rows: totals.counts(0),
            sums: totals.integers(1),
            unit: 1.0 / (scale * scale),
        }
    }
}

/// Products of errors over all sites, by group.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    members: usize,
    rows: Vec<u64>,
    sums: Vec<i64>,
    unit: f64,
}

impl Gram {
    /// Σ over the rows of a group of the squared error of members blended by these weights.
    #[must_use]
    pub fn squared_error(&self, group: usize, weights: &[f64]) -> f64 {
        let pairs = pairs(self.members);
        let own = self.sums.chunks_exact(pairs).nth(group).unwrap_or(&[]);
        let mut own = own.iter();
        let mut error = 0.0;
        for (at, one) in weights.iter().enumerate() {
            for (with, (other, sum)) in weights[..=at].iter().zip(&mut own).enumerate() {
                let twice = if with == at { 1.0 } else { 2.0 };
                error += twice * one * other * *sum as f64 * self.unit;
            }
        }
        error
    }

    /// Mean products over all groups but one, as a lower triangle row by row; `None` where those
    /// groups have no rows.
    #[must_use]
    pub fn mean_without(&self, group: Option<usize>) -> Option<Vec<f64>> {
        let pairs = pairs(self.members);
        let mut rows = 0;
        let mut sums = vec![0_i64; pairs];
        for (at, own) in self.sums.chunks_exact(pairs).enumerate() {
            if Some(at) != group {
                rows += self.rows.get(at).copied().unwrap_or(0);
                sums.iter_mut().zip(own).for_each(|(sum, it)| *sum += it);
            }
        }
        let mean = |sum: &i64| *sum as f64 * self.unit / rows as f64;
        (rows > 0).then(|| sums.iter().map(mean).collect())
    }
}

#[cfg(test)]
impl Gram {
    /// Of the errors of each row's members, by group.
    pub(crate) fn of(groups: &[Vec<Vec<f64>>]) -> Self {
        let grid = Grid::new(Head::Binary, MAX_ROWS);
        let members = groups[0][0].len();
        let mut sums = Vec::new();
        for rows in groups {
            for one in 0..members {
                for other in 0..=one {
                    let products = rows
                        .iter()
                        .map(|row| grid.round(row[one]) * grid.round(row[other]));
                    sums.push(products.sum());
                }
            }
        }
        Self {
            members,
            rows: groups.iter().map(|rows| rows.len() as u64).collect(),
            sums,
            unit: 1.0 / (grid.scale * grid.scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::MAX_CODE;

    #[test]
    fn a_blend_s_squared_error_follows_from_the_products() {
        let groups = [
            vec![vec![0.5, -0.25, 0.125], vec![-0.75, 0.5, 0.25]],
            vec![vec![0.25, 0.25, -0.5]],
        ];
        let weights = [0.5, 0.25, 0.25];
        for (group, rows) in groups.iter().enumerate() {
            let blended =
                |row: &Vec<f64>| -> f64 { row.iter().zip(weights).map(|(e, w)| e * w).sum() };
            let error: f64 = rows.iter().map(|row| blended(row) * blended(row)).sum();
            assert!((Gram::of(&groups).squared_error(group, &weights) - error).abs() < 1e-9);
        }
    }

    #[test]
    fn sums_stay_below_the_code_cap() {
        for rows in [1, 3, 740, 1 << 20, MAX_ROWS] {
            for head in [Head::Binary, Head::Classes(32), Head::Number] {
                let grid = Grid::new(head, rows);
                assert!(2 * grid.limit as u64 <= MAX_CODE, "{head:?} {rows}");
                let worst = grid.round(f64::INFINITY);
                let row = match head {
                    // All of the probability on one wrong class, and the other thirty rounded up.
                    Head::Classes(_) => 2 * worst * worst + 30,
                    _ => worst * worst,
                };
                assert!(row * rows as i64 <= grid.limit, "{head:?} {rows}");
                assert_eq!(grid.round(f64::NAN), worst);
            }
        }
    }
}
