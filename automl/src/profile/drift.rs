//! How far the rows of one profile have moved from those of another.
//!
//! [`Profile::drift`] compares two profiles as they are. Between two rounds the sites count
//! again: [`Profile::counted`] lays the bins down, [`Profile::recount`] asks for the same bins of the
//! rows as they are now, and [`Profile::moved`] compares the counts.

use serde::{Deserialize, Serialize};

use super::part::ProfilePart;
use super::tally::{BinAsk, Bins as _, TableColumn, TargetTable};
use super::{ColumnProfile, Levels, NumberShape, Profile, Values};

/// Bins that shapes are compared in.
const BINS: usize = 10;

/// How far one column has moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// The column.
    pub column: String,
    /// Population stability index: Σ (p - q)·ln(p/q) over ten bins of the older
    /// profile, or over the levels of a category, missing apart. Below 0.1 is
    /// stable, above 0.25 has moved.
    pub psi: f64,
    /// What two samples of one population, as large as these, would show on average.
    pub chance: f64,
}

/// Rows of one column in bins that stay the same from round to round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnCounts {
    /// The column.
    pub column: String,
    /// Its bins: at most ten of numbers with about equally many rows in each, or the levels of a
    /// category, and the rest. Values are told apart by hash buckets, never by name, unless the
    /// task names them.
    pub bins: BinAsk,
    /// Training rows of each bin, missing ones first.
    pub rows: Vec<u64>,
}

impl Profile {
    /// How far the columns of a `newer` profile of the same task have moved,
    /// in the order of their names; a column that only one of them has, or
    /// whose values are counted in another way, is left out.
    #[must_use]
    pub fn drift(&self, newer: &Self) -> Vec<Drift> {
        let mut moved = Vec::new();
        for column in &self.columns {
            let other = newer.columns.iter().find(|c| c.name == column.name);
            let psi = other.and_then(|other| {
                let (old, new) = shares(column, other, self.key == newer.key)?;
                let rows = (self.train_rows as f64, newer.train_rows as f64);
                let chance = chance(&old, rows.0, &new, rows.1);
                Some((index(&old, rows.0, &new, rows.1), chance))
            });
            if let Some((psi, chance)) = psi {
                moved.push(Drift {
                    column: column.name.clone(),
                    psi,
                    chance,
                });
            }
        }
        moved
    }

    /// Every column but free text in bins that a later round can count again, by name.
    #[must_use]
    pub fn counted(&self) -> Vec<ColumnCounts> {
        let counted = self.columns.iter().filter_map(|column| {
            let (bins, mut rows) = match (&column.values, column.shape()) {
                (Values::Category(levels) | Values::Ordinal(levels), _) => {
                    let mut rows = levels.counts.clone();
                    rows.push(levels.other);
                    let (coding, slots) = (levels.coding.clone(), levels.slots.clone());
                    (BinAsk::Slots { coding, slots }, rows)
                }
                (_, Some(shape)) => {
                    let (cuts, source) = (shape.cuts(BINS), column.source.clone());
                    // Cuts are edges of the grid, where the counts are whole numbers.
                    let between = between(shape, &cuts);
                    let rows = between.iter().map(|rows| *rows as u64).collect();
                    (BinAsk::Cuts { source, cuts }, rows)
                }
                (_, None) => return None,
            };
            let present: u64 = rows.iter().sum();
            rows.insert(0, self.train_rows.saturating_sub(present));
            Some(ColumnCounts {
                column: column.name.clone(),
                bins,
                rows,
            })
        });
        counted.collect()
    }

    /// What to ask for the rows of these bins as they are now; `None` where there is nothing to
    /// ask. Columns that this profile does not have are left out.
    #[must_use]
    pub fn recount(&self, older: &[ColumnCounts]) -> Option<ProfilePart> {
        let target = self.columns.iter().find_map(|column| column.table.as_ref());
        let target = target.map(|table| table.target.clone())?;
        let still = older.iter().filter(|older| self.has(&older.column));
        let columns: Vec<TableColumn> = still
            .map(|older| TableColumn {
                name: older.column.clone(),
                bins: older.bins.clone(),
            })
            .collect();
        (!columns.is_empty()).then(|| ProfilePart::Tables {
            key: self.key,
            plan: self.plan,
            target,
            columns,
        })
    }

    /// How far each column of a [`Profile::recount`] has moved, from the segments of its answer.
    #[must_use]
    pub fn moved(
        &self,
        older: &[ColumnCounts],
        part: &ProfilePart,
        segments: Vec<Vec<u64>>,
    ) -> Vec<Drift> {
        let ProfilePart::Tables {
            plan,
            target,
            columns,
            ..
        } = part
        else {
            return Vec::new();
        };
        let mut segments = segments.into_iter();
        let mut moved = Vec::new();
        for column in columns {
            let taken = target.segments(plan.groups() * column.bins.bins()).len();
            let figures = segments.by_ref().take(taken).flatten().collect();
            let table = TargetTable {
                bins: column.bins.clone(),
                target: target.clone(),
                plan: *plan,
                figures,
            };
            let now = (0..column.bins.bins()).map(|bin| table.rows(bin));
            let now: Vec<u64> = now.collect();
            if let Some(older) = older.iter().find(|older| older.column == column.name) {
                moved.push(Drift::of(&column.name, &older.rows, &now));
            }
        }
        moved
    }

    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }
}

impl Drift {
    /// From the rows of the same bins, then and now.
    pub(crate) fn of(name: &str, then: &[u64], now: &[u64]) -> Self {
        let floats = |rows: &[u64]| -> Vec<f64> { rows.iter().map(|&rows| rows as f64).collect() };
        let (then, now) = (floats(then), floats(now));
        let (all_then, all_now) = (then.iter().sum(), now.iter().sum());
        Self {
            column: name.to_owned(),
            psi: index(&then, all_then, &now, all_now),
            chance: chance(&then, all_then, &now, all_now),
        }
    }
}

/// Rows of both in the bins of the older, the missing ones first.
fn shares(
    old: &ColumnProfile,
    new: &ColumnProfile,
    same_key: bool,
) -> Option<(Vec<f64>, Vec<f64>)> {
    let mut pair = match (&old.values, &new.values) {
        (Values::Category(a), Values::Category(b)) | (Values::Ordinal(a), Values::Ordinal(b)) => {
            (a.coding == b.coding && same_key).then(|| by_level(a, b))?
        }
        _ => by_quantile(old.shape()?, new.shape()?),
    };
    pair.0.push(old.missing as f64);
    pair.1.push(new.missing as f64);
    Some(pair)
}

fn by_level(old: &Levels, new: &Levels) -> (Vec<f64>, Vec<f64>) {
    let of = |levels: &Levels, slot: u16| {
        let place = levels.slots.binary_search(&slot);
        place.map_or(0.0, |place| levels.counts[place] as f64)
    };
    let mut rows: (Vec<f64>, Vec<f64>) = old
        .slots
        .iter()
        .map(|&slot| (of(old, slot), of(new, slot)))
        .unzip();
    let rest = |levels: &Levels, named: &[f64]| {
        let all = levels.counts.iter().sum::<u64>() + levels.other;
        all as f64 - named.iter().sum::<f64>()
    };
    let others = (rest(old, &rows.0), rest(new, &rows.1));
    rows.0.push(others.0);
    rows.1.push(others.1);
    rows
}

fn by_quantile(old: &NumberShape, new: &NumberShape) -> (Vec<f64>, Vec<f64>) {
    let cuts = old.cuts(BINS);
    (between(old, &cuts), between(new, &cuts))
}

/// Rows of a distribution between cuts, one more than there are cuts.
fn between(shape: &NumberShape, cuts: &[f64]) -> Vec<f64> {
    let below = cuts.iter().map(|&cut| shape.below(cut));
    let mut rows = Vec::with_capacity(cuts.len() + 1);
    let mut before = 0.0;
    for here in below.chain([shape.rows as f64]) {
        rows.push((here - before).max(0.0));
        before = here;
    }
    rows
}

/// Expected index of two samples of one population: (bins - 1)·(1/n + 1/m), over the bins that
/// have rows.
fn chance(old: &[f64], old_rows: f64, new: &[f64], new_rows: f64) -> f64 {
    let used = old.iter().zip(new).filter(|(a, b)| **a + **b > 0.0);
    let free = used.count().saturating_sub(1) as f64;
    free * (1.0 / old_rows.max(1.0) + 1.0 / new_rows.max(1.0))
}

/// The index, with half a row added to every bin.
fn index(old: &[f64], old_rows: f64, new: &[f64], new_rows: f64) -> f64 {
    let share = |rows: f64, all: f64| (rows + 0.5) / (all + 0.5);
    let terms = old.iter().zip(new).map(|(&a, &b)| {
        let (p, q) = (share(a, old_rows), share(b, new_rows));
        (p - q) * libm::log(p / q)
    });
    terms.sum()
}
