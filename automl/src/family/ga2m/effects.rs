//! The effects of an additive model as tables that can be drawn.

use serde::{Deserialize, Serialize};

use crate::family::additive::{AdditiveModel, Term};
use crate::features::{BinColumn, Pipeline};

/// Says what rows in these bins of a column hold.
type Name<'a> = &'a dyn Fn(usize, &[u8]) -> String;

/// Effects of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnEffect {
    /// The column of the table.
    pub column: String,
    /// Whether the conditions stand in an order, missing values apart: a line rather
    /// than bars.
    pub ordered: bool,
    /// What rows hold, in words; missing values last.
    pub conditions: Vec<String>,
    /// `effects[output][condition]`: what is added to the output.
    pub effects: Vec<Vec<f64>>,
}

/// Effects of two columns together, on top of each alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairEffect {
    /// The columns.
    pub columns: [String; 2],
    /// What rows hold in each, in words.
    pub conditions: [Vec<String>; 2],
    /// `effects[output][condition of the first][condition of the second]`.
    pub effects: Vec<Vec<Vec<f64>>>,
}

/// All that an additive model says: an output is the intercept plus the effects that a
/// row meets. Outputs are log-odds for classes, target scales for a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effects {
    /// Of each output.
    pub intercept: Vec<f64>,
    /// Single columns, the widest effect first.
    pub columns: Vec<ColumnEffect>,
    /// Pairs, the widest effect first.
    pub pairs: Vec<PairEffect>,
}

impl Effects {
    /// The effects of a model: the average of its folds, which is what it predicts. What
    /// a fold does not use counts as 0 there.
    #[must_use]
    pub fn of(model: &AdditiveModel, pipeline: &Pipeline) -> Self {
        Self::with(model, &pipeline.bin_columns(), &|at, bins| {
            pipeline.bins_name(at, bins)
        })
    }

    /// As [`Effects::of`], with conditions in the words of `name`.
    pub(crate) fn with(model: &AdditiveModel, known: &[BinColumn], name: Name<'_>) -> Self {
        let outputs = model.head.outputs();
        let folds = model.folds.len().max(1) as f64;
        let intercept = (0..outputs)
            .map(|output| {
                let folds_sum: f64 = model.folds.iter().map(|f| f.coefficients[output][0]).sum();
                folds_sum / folds
            })
            .collect();
        let mut columns: Vec<ColumnEffect> = (0..known.len())
            .filter_map(|column| column_effect(model, known, name, column))
            .collect();
        columns.sort_by(|a, b| spread(&b.effects).total_cmp(&spread(&a.effects)));
        let mut pairs: Vec<PairEffect> = pairs_of(model)
            .into_iter()
            .map(|pair| pair_effect(model, known, name, pair))
            .collect();
        let wide = |pair: &PairEffect| {
            let flat: Vec<Vec<f64>> = pair.effects.iter().map(|output| output.concat()).collect();
            spread(&flat)
        };
        pairs.sort_by(|a, b| wide(b).total_cmp(&wide(a)));
        Self {
            intercept,
            columns,
            pairs,
        }
    }
}

/// Largest difference of two effects on one output.
fn spread(effects: &[Vec<f64>]) -> f64 {
    let of_output = effects.iter().map(|own| {
        let low = own.iter().copied().fold(f64::INFINITY, f64::min);
        let high = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if own.is_empty() { 0.0 } else { high - low }
    });
    of_output.fold(0.0, f64::max)
}

/// The terms of all folds, with where their parameters begin.
fn terms(model: &AdditiveModel) -> impl Iterator<Item = (usize, usize, &Term)> {
    model.folds.iter().enumerate().flat_map(|(fold, own)| {
        own.design.terms.iter().scan(1, move |start, term| {
            let at = *start;
            *start += term.parameters();
            Some((fold, at, term))
        })
    })
}

/// The pairs of all folds, each once.
fn pairs_of(model: &AdditiveModel) -> Vec<[u16; 2]> {
    let mut pairs: Vec<[u16; 2]> = terms(model)
        .filter_map(|(_, _, term)| match term {
            Term::Pair { columns, .. } => Some(*columns),
            _ => None,
        })
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// Bins of equal effects together, neighbours only where there is an order; missing
/// values last.
fn alike(bins: usize, ordered: bool, same: impl Fn(usize, usize) -> bool) -> Vec<Vec<u8>> {
    let mut runs: Vec<Vec<u8>> = Vec::new();
    for bin in 1..bins {
        let first = |run: &Vec<u8>| same(usize::from(run[0]), bin);
        let place = if ordered {
            runs.len().checked_sub(1).filter(|at| first(&runs[*at]))
        } else {
            runs.iter().position(first)
        };
        match place {
            Some(place) => runs[place].push(bin as u8),
            None => runs.push(vec![bin as u8]),
        }
    }
    runs.push(vec![0]);
    runs
}

fn column_effect(
    model: &AdditiveModel,
    known: &[BinColumn],
    name: Name<'_>,
    column: usize,
) -> Option<ColumnEffect> {
    let bins = known[column].bins;
    let folds = model.folds.len() as f64;
    let mut effects = vec![vec![0.0; bins]; model.head.outputs()];
    let mut row = vec![0_u8; known.len()];
    let mut used = false;
    for (fold, start, term) in terms(model) {
        let own = match term {
            Term::Groups { column, .. } | Term::Scaled { column, .. } => usize::from(*column),
            Term::Pair { .. } => continue,
        };
        if own != column {
            continue;
        }
        used = true;
        for bin in 0..bins {
            row[column] = bin as u8;
            let (parameter, value) = term.pick(&row);
            for (output, effects) in effects.iter_mut().enumerate() {
                let coefficients = &model.folds[fold].coefficients[output];
                effects[bin] += coefficients[start + parameter] * value / folds;
            }
        }
    }
    if !used {
        return None;
    }
    let ordered = known[column].ordered;
    let runs = alike(bins, ordered, |a, b| {
        effects.iter().all(|own| own[a] == own[b])
    });
    Some(ColumnEffect {
        column: known[column].name.clone(),
        ordered,
        conditions: runs.iter().map(|run| name(column, run)).collect(),
        effects: effects
            .iter()
            .map(|own| runs.iter().map(|run| own[usize::from(run[0])]).collect())
            .collect(),
    })
}

fn pair_effect(
    model: &AdditiveModel,
    known: &[BinColumn],
    name: Name<'_>,
    pair: [u16; 2],
) -> PairEffect {
    let [first, second] = pair.map(usize::from);
    let bins = [known[first].bins, known[second].bins];
    let folds = model.folds.len() as f64;
    let mut cells = vec![vec![vec![0.0; bins[1]]; bins[0]]; model.head.outputs()];
    let mut row = vec![0_u8; known.len()];
    for (fold, start, term) in terms(model) {
        if !matches!(term, Term::Pair { columns, .. } if *columns == pair) {
            continue;
        }
        for a in 0..bins[0] {
            for b in 0..bins[1] {
                row[first] = a as u8;
                row[second] = b as u8;
                let (parameter, _) = term.pick(&row);
                for (output, cells) in cells.iter_mut().enumerate() {
                    let coefficients = &model.folds[fold].coefficients[output];
                    cells[a][b] += coefficients[start + parameter] / folds;
                }
            }
        }
    }
    let rows = alike(bins[0], known[first].ordered, |a, b| {
        cells.iter().all(|own| own[a] == own[b])
    });
    let columns = alike(bins[1], known[second].ordered, |a, b| {
        let mut lines = cells.iter().flatten();
        lines.all(|line| line[a] == line[b])
    });
    let of_row = |line: &Vec<f64>| -> Vec<f64> {
        columns
            .iter()
            .map(|run| line[usize::from(run[0])])
            .collect()
    };
    PairEffect {
        columns: [first, second].map(|at| known[at].name.clone()),
        conditions: [
            rows.iter().map(|run| name(first, run)).collect(),
            columns.iter().map(|run| name(second, run)).collect(),
        ],
        effects: cells
            .iter()
            .map(|own| {
                rows.iter()
                    .map(|run| of_row(&own[usize::from(run[0])]))
                    .collect()
            })
            .collect(),
    }
}
