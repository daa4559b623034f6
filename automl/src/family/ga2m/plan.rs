//! Which columns take part, in how many groups: what fits in a step.

use super::Ga2mCandidate;
use super::group::Grouping;
use crate::family::Head;
use crate::family::additive::{BinCounts, Ground, MAX_COLUMNS, MOST_NUMBERS};
use crate::family::monotone::project;

/// Fewest groups that a column is worth keeping for.
const LEAST_GROUPS: usize = 3;

/// Most parameters of a fold: its systems are then solved in a quarter of a second.
const MOST_PARAMETERS: usize = 1200;

/// How the bins are laid out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Training rows of each fold.
    pub(crate) rows: Vec<u64>,
    /// The way that outputs have to go along each column of the pipeline; 0 where it is free.
    pub(crate) ways: Vec<i8>,
    /// Rows in each group of every column, over all folds.
    pub(crate) weights: Vec<Vec<f64>>,
    /// Groups of every column of the pipeline.
    pub(crate) groupings: Vec<Grouping>,
    /// The columns of each fold, ascending.
    pub(crate) columns: Vec<Vec<usize>>,
    /// Columns on the coarse grid of pairs.
    pub(crate) screened: Vec<(usize, Grouping)>,
    /// The pairs of each fold, by their places in `screened`, once they are known.
    pub(crate) pairs: Vec<Vec<[usize; 2]>>,
}

impl Plan {
    pub(crate) fn new(
        candidate: &Ga2mCandidate,
        ground: &Ground,
        ways: &[i8],
        counts: &[BinCounts],
    ) -> Self {
        let rows: Vec<Vec<u64>> = (0..ground.columns.len())
            .map(|column| rows_of(counts, column))
            .collect();
        let group = |most: usize| -> Vec<Grouping> {
            let columns = rows.iter().zip(&ground.columns);
            columns
                .map(|(rows, column)| Grouping::new(rows, column.ordered, most))
                .collect()
        };
        let most = most_parameters(ground);
        let room = match candidate.pairs {
            // Half the numbers: the candidate with pairs travels in the same step.
            0 => most * 7 / 10,
            _ => most * 9 / 20,
        };
        let columns = chosen(ground, counts, &group(2), room / LEAST_GROUPS);
        let size = |groupings: &[Grouping]| -> usize {
            let folds = columns.iter();
            let sizes = folds.map(|kept| kept.iter().map(|c| groupings[*c].size).sum());
            sizes.max().unwrap_or(0)
        };
        let mut groupings = group(2);
        for groups in 3..=usize::from(candidate.groups) {
            let finer = group(groups);
            if size(&finer) > room {
                break;
            }
            groupings = finer;
        }
        let left = most - 1 - size(&groupings).min(most - 1);
        let mut plan = Self {
            rows: counts
                .iter()
                .map(|fold| fold.totals().iter().sum())
                .collect(),
            ways: ways.to_vec(),
            weights: groupings
                .iter()
                .zip(&rows)
                .map(|(grouping, rows)| grouping.weights(rows))
                .collect(),
            groupings,
            columns,
            screened: Vec::new(),
            pairs: Vec::new(),
        };
        if candidate.pairs > 0 {
            plan.screened = plan.grid(candidate, ground, &rows, left);
        }
        plan
    }

    /// The coarse grid: as many groups a side as the parameters that are left allow for
    /// all pairs that may be taken, and as a step allows for all pairs there are.
    fn grid(
        &self,
        candidate: &Ga2mCandidate,
        ground: &Ground,
        rows: &[Vec<u64>],
        left: usize,
    ) -> Vec<(usize, Grouping)> {
        let users = |column: usize| {
            self.columns
                .iter()
                .filter(|own| own.contains(&column))
                .count()
        };
        // A cell of a pair could turn a monotone effect around.
        let mut columns: Vec<usize> = (0..rows.len())
            .filter(|column| users(*column) > 0 && self.ways[*column] == 0)
            .collect();
        columns.sort_by_key(|column| (std::cmp::Reverse(users(*column)), *column));
        columns.truncate(MAX_COLUMNS);
        columns.sort_unstable();
        let pairs = columns.len() * columns.len().saturating_sub(1) / 2;
        let taken = usize::from(candidate.pairs).min(pairs);
        let fits = |side: usize| {
            taken * side * side <= left && 2 * ground.models() * pairs * side * side <= MOST_NUMBERS
        };
        let Some(side) = (2..=usize::from(candidate.side))
            .rev()
            .find(|side| fits(*side))
        else {
            return Vec::new();
        };
        let grouped = columns.into_iter().map(|column| {
            let ordered = ground.columns[column].ordered;
            (column, Grouping::new(&rows[column], ordered, side))
        });
        grouped.filter(|(_, grouping)| grouping.tells()).collect()
    }
}

impl Plan {
    /// Projects one output's coefficients in a fold to effects that go the ways asked for.
    pub(crate) fn project(&self, fold: usize, coefficients: &mut [f64]) {
        let mut start = 1;
        for column in &self.columns[fold] {
            let grouping = &self.groupings[*column];
            let way = self.ways[*column];
            if way != 0 {
                let run = &mut coefficients[start..start + grouping.run];
                project(run, &self.weights[*column], way);
            }
            start += grouping.size;
        }
    }
}

/// The most parameters of a fold whose Hessians, one for each output and fold, fit in
/// what one candidate may ask for.
fn most_parameters(ground: &Ground) -> usize {
    let each = MOST_NUMBERS / ground.models().max(1);
    (libm::sqrt(2.0 * each as f64) as usize).clamp(LEAST_GROUPS, MOST_PARAMETERS)
}

/// Rows in each bin of a column, over all folds: no label is looked at.
fn rows_of(counts: &[BinCounts], column: usize) -> Vec<u64> {
    let mut sum: Vec<u64> = Vec::new();
    for fold in counts {
        let rows = fold.rows(column);
        sum.resize(rows.len(), 0);
        for (sum, rows) in sum.iter_mut().zip(rows) {
            *sum += rows;
        }
    }
    sum
}

/// The columns of each fold: those that tell rows apart, at most `most` and at most
/// [`MAX_COLUMNS`] of them, by how much they say about the target in that fold.
fn chosen(
    ground: &Ground,
    counts: &[BinCounts],
    groupings: &[Grouping],
    most: usize,
) -> Vec<Vec<usize>> {
    let telling = (0..groupings.len()).filter(|column| groupings[*column].tells());
    let telling: Vec<usize> = telling.collect();
    let most = most.min(MAX_COLUMNS);
    counts
        .iter()
        .map(|fold| {
            let mut kept: Vec<(usize, f64)> = telling
                .iter()
                .map(|column| (*column, gain(ground.head, fold, *column)))
                .collect();
            if kept.len() > most {
                kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                kept.truncate(most);
            }
            let mut kept: Vec<usize> = kept.into_iter().map(|(column, _)| column).collect();
            kept.sort_unstable();
            kept
        })
        .collect()
}

/// How much a column alone says about the target, less what chance would: the
/// likelihood ratio of its table for classes (for two classes about what information
/// value measures), the explained sum of squares for a number.
fn gain(head: Head, fold: &BinCounts, column: usize) -> f64 {
    let rows = fold.rows(column);
    let all: u64 = rows.iter().sum();
    if all == 0 {
        return 0.0;
    }
    let used = rows
        .iter()
        .filter(|rows| **rows > 0)
        .count()
        .saturating_sub(1) as f64;
    if head == Head::Number {
        let targets = &fold.targets[column];
        let total: f64 = targets.iter().sum();
        let filled = targets.iter().zip(&rows).filter(|(_, rows)| **rows > 0);
        let explained: f64 = filled.map(|(sum, rows)| sum * sum / *rows as f64).sum();
        // Targets have a variance of about 1.
        return explained - total * total / all as f64 - used;
    }
    let totals = fold.totals();
    let mut sum = 0.0;
    for (bin, rows) in fold.classes[column].iter().zip(&rows) {
        for (own, total) in bin.iter().zip(&totals) {
            if *own > 0 {
                let expected = *rows as f64 * *total as f64 / all as f64;
                sum += 2.0 * *own as f64 * libm::log(*own as f64 / expected);
            }
        }
    }
    sum - used * totals.len().saturating_sub(1) as f64
}
