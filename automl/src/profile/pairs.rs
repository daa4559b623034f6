//! Pairs of columns by target: which of them tell more together than added up, and what the
//! target is like in each of their cells.
//!
//! One step more, after the bins and the strength of every column are known. All pairs of the columns
//! that tell most are counted, in few bins each, by group of rows, so that encodings of the
//! pairs that are kept need no further step.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::interaction::excess;
use super::part::{MAX_TABLE_NUMBERS, ProfilePart, check_names};
use super::run::{Sum, one};
use super::slots::{SlotKey, most_frequent};
use super::tally::{BinAsk, BinReader, Bins, TableColumn, TargetTable};
use super::target::{Tallies, TargetAsk};
use super::{ColumnProfile, Levels, ProfileError, Values};
use crate::ask::{Encoder, Segment};
use crate::data::{SiteData, SiteDataError};
use crate::family::{self, gbdt};
use crate::split::SplitPlan;
use crate::table::Table;
use crate::task::{Preset, Task};

/// With fewer training rows the cells of a pair say little but noise.
pub const MIN_PAIR_ROWS: u64 = 10_000;
/// Most columns whose pairs are counted, those that tell most by themselves.
pub const MAX_PAIRED: usize = 24;
/// Most pairs that are kept.
pub const MAX_PAIRS: usize = 24;
/// Bins of a column of numbers in a pair.
const PAIR_BINS: usize = 8;
/// Most levels of a category in a pair, all others together.
const PAIR_LEVELS: usize = 16;
/// Most bins of a column in a pair, those of missing values and of other levels among them.
const MAX_PAIR_BINS: usize = PAIR_LEVELS + 2;

/// The cells of two columns: bin 0 of the pair is empty, then for each bin of the first column all of
/// the second's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PairBins(pub [TableColumn; 2]);

/// A pair of columns that tells more about the target than its columns added up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairProfile {
    /// Its columns: "age × job".
    pub name: String,
    /// The likelihood ratio of its cells against effects of the two columns added up, less what
    /// noise would show: above 0.
    pub excess: f64,
    /// Its cells by target and group of rows.
    pub table: TargetTable<PairBins>,
}

/// Counts of pairs by target and group of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairsAsk {
    /// Key of the hash buckets.
    pub key: SlotKey,
    /// How rows are grouped.
    pub plan: SplitPlan,
    /// What is counted in each cell.
    pub target: TargetAsk,
    /// The columns, at most [`MAX_PAIRED`], in the order of their names.
    pub columns: Vec<TableColumn>,
    /// Places of two different columns each, ascending.
    pub pairs: Vec<[u8; 2]>,
}

impl Bins for PairBins {
    fn bins(&self) -> usize {
        let [first, second] = &self.0;
        1 + first.bins.bins() * second.bins.bins()
    }
}

impl PairBins {
    /// The table's columns that it reads.
    pub(crate) fn columns(&self) -> Vec<&str> {
        self.0.iter().flat_map(TableColumn::reads).collect()
    }

    /// Checks what came from elsewhere.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.0.iter().try_for_each(check_column)
    }
}

/// Finds the cell of a row.
pub(crate) struct PairReader<'t> {
    readers: [BinReader<'t>; 2],
    /// Bins of the second column.
    across: usize,
}

impl<'t> PairReader<'t> {
    pub(crate) fn new(table: &'t Table, bins: &'t PairBins, key: SlotKey) -> Result<Self, String> {
        let [first, second] = &bins.0;
        let reader = |of: &'t TableColumn| BinReader::new(table, &of.name, &of.bins, key);
        Ok(Self {
            readers: [reader(first)?, reader(second)?],
            across: second.bins.bins(),
        })
    }

    pub(crate) fn cell(&self, row: usize) -> usize {
        let [first, second] = &self.readers;
        1 + first.bin(row) * self.across + second.bin(row)
    }
}

fn check_column(column: &TableColumn) -> Result<(), String> {
    column.bins.check(&column.name)?;
    if column.bins.bins() > MAX_PAIR_BINS {
        return Err(format!(
            "{} bins of `{}` in a pair are more than {MAX_PAIR_BINS}",
            column.bins.bins(),
            column.name
        ));
    }
    Ok(())
}

impl PairsAsk {
    fn cells(&self) -> impl Iterator<Item = usize> {
        let bins = |at: u8| {
            let column = self.columns.get(usize::from(at));
            column.map_or(0, |column| column.bins.bins())
        };
        self.pairs.iter().map(move |[a, b]| bins(*a) * bins(*b))
    }

    fn numbers(&self) -> usize {
        self.cells().sum::<usize>() * self.plan.groups() * self.target.figures()
    }

    pub(super) fn segments(&self) -> Vec<Segment> {
        let groups = self.plan.groups();
        let each = self.cells().map(|cells| cells * groups);
        each.flat_map(|bins| self.target.segments(bins)).collect()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.columns.len() > MAX_PAIRED {
            return Err(format!(
                "pairs of {} columns are more than of {MAX_PAIRED}",
                self.columns.len()
            ));
        }
        check_names(
            self.columns
                .iter()
                .map(|column| (column.name.as_str(), column.bins.source())),
        )?;
        self.columns.iter().try_for_each(check_column)?;
        self.target.check()?;
        let known = |[a, b]: &[u8; 2]| a < b && usize::from(*b) < self.columns.len();
        if !self.pairs.iter().all(known) || !self.pairs.is_sorted_by(|a, b| a < b) {
            return Err("pairs of columns are out of order".to_owned());
        }
        if self.numbers() > 4 * MAX_TABLE_NUMBERS {
            return Err(format!("pairs of {} numbers are too large", self.numbers()));
        }
        Ok(())
    }

    pub(super) fn column_names(&self) -> Vec<&str> {
        self.columns.iter().flat_map(TableColumn::reads).collect()
    }

    /// The cells on one site's training rows.
    pub(super) fn answer(&self, data: &SiteData, out: &mut Encoder) -> Result<(), SiteDataError> {
        let tallies = data.grouped_tallies(&self.target, self.plan);
        let bins: Vec<Vec<u8>> = self
            .columns
            .iter()
            .map(|column| {
                let reader = BinReader::new(data.table(), &column.name, &column.bins, self.key)
                    .map_err(|what| SiteDataError::Survey { what })?;
                // Below MAX_PAIR_BINS by `check`.
                let rows = data.train_rows().iter();
                Ok(rows.map(|&row| reader.bin(row as usize) as u8).collect())
            })
            .collect::<Result<_, SiteDataError>>()?;
        for ([a, b], cells) in self.pairs.iter().zip(self.cells()) {
            let (a, b) = (usize::from(*a), usize::from(*b));
            let across = self.columns[b].bins.bins();
            let mut counts = Tallies::new(&self.target, self.plan.groups() * cells);
            let places = bins[a].iter().zip(&bins[b]);
            for ((&first, &second), tally) in places.zip(&tallies) {
                if let Some((group, tally)) = *tally {
                    let cell = usize::from(first) * across + usize::from(second);
                    counts.add(group * cells + cell, tally);
                }
            }
            counts.withhold(&self.target, data.policy().min_cell);
            for count in counts.figures {
                out.count(count)?;
            }
        }
        Ok(())
    }

    /// The pairs that tell more than their columns added up, best first.
    fn read(&self, sums: Vec<Vec<u64>>) -> Vec<PairProfile> {
        let each = self.target.segments(1).len();
        let mut segments = sums.into_iter();
        let mut found: Vec<PairProfile> = Vec::new();
        for [a, b] in &self.pairs {
            let figures: Vec<u64> = segments.by_ref().take(each).flatten().collect();
            let pair = [usize::from(*a), usize::from(*b)].map(|at| self.columns[at].clone());
            let table = self.table(pair, figures);
            let across = table.bins.0[1].bins.bins();
            if let Some(excess) = excess(&self.target, &table.totals()[1..], across) {
                let [first, second] = &table.bins.0;
                found.push(PairProfile {
                    name: format!("{} × {}", first.name, second.name),
                    excess,
                    table,
                });
            }
        }
        // Stable: equals stay in the order of their names.
        found.sort_by(|a, b| b.excess.total_cmp(&a.excess));
        found.truncate(MAX_PAIRS);
        found
    }

    /// The counted cells with the empty bin 0 before them.
    fn table(&self, pair: [TableColumn; 2], figures: Vec<u64>) -> TargetTable<PairBins> {
        let bins = PairBins(pair);
        let cells = bins.bins() - 1;
        let lines = figures.chunks(cells.max(1));
        TargetTable {
            figures: lines
                .flat_map(|line| std::iter::once(0).chain(line.iter().copied()))
                .collect(),
            bins,
            target: self.target.clone(),
            plan: self.plan,
        }
    }
}

/// What is asked of pairs.
pub(super) struct Wanted<'p> {
    pub(super) task: &'p Task,
    pub(super) key: SlotKey,
    pub(super) plan: SplitPlan,
    pub(super) rows: u64,
    /// Columns of the table, then derived ones.
    pub(super) columns: Vec<&'p ColumnProfile>,
}

impl Wanted<'_> {
    /// One step; none where nobody would use pairs.
    pub(super) fn look(&self, sum: &mut Sum<'_>) -> Result<Vec<PairProfile>, ProfileError> {
        let Some(ask) = self.ask() else {
            return Ok(Vec::new());
        };
        let sums = one(ProfilePart::Pairs(ask.clone()), sum)?;
        Ok(ask.read(sums.segments))
    }

    fn ask(&self) -> Option<PairsAsk> {
        let target = self.columns.iter().find_map(|it| it.table.as_ref());
        let target = target?.target.clone();
        // Only boosted trees take them, and a feature for each of several classes would be many.
        let trees = family::find(gbdt::NAME).is_some_and(|it| family::allowed(self.task, it));
        if self.task.preset == Preset::Fast
            || self.rows < MIN_PAIR_ROWS
            || target.labels().len() > 2
            || !trees
        {
            return None;
        }
        let mut strongest: Vec<&ColumnProfile> = self.columns.clone();
        // What must rise along a column would not in a pair with another.
        let monotone = &self.task.constraints.monotone;
        strongest.retain(|column| !columns_of(column).any(|name| monotone.contains_key(name)));
        strongest.sort_by(|a, b| b.strength.total_cmp(&a.strength));
        let mut most = MAX_PAIRED;
        loop {
            let mut columns: Vec<(TableColumn, BTreeSet<&str>)> = strongest
                .iter()
                .filter_map(|column| Some((coarse(column)?, columns_of(column).collect())))
                .take(most)
                .collect();
            columns.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
            let ask = PairsAsk {
                key: self.key,
                plan: self.plan,
                target: target.clone(),
                pairs: pairs(&columns),
                columns: columns.into_iter().map(|(column, _)| column).collect(),
            };
            if ask.pairs.is_empty() {
                return None;
            }
            if ask.numbers() <= MAX_TABLE_NUMBERS {
                return Some(ask);
            }
            most = most / 4 * 3;
        }
    }
}

/// The table's columns that a column is made of.
fn columns_of(column: &ColumnProfile) -> impl Iterator<Item = &str> {
    column.source.columns(&column.name).into_iter()
}

/// All pairs of columns that are not made of the same cells.
fn pairs(columns: &[(TableColumn, BTreeSet<&str>)]) -> Vec<[u8; 2]> {
    let mut pairs = Vec::new();
    for (a, (_, first)) in (0_u8..).zip(columns) {
        for (b, (_, second)) in (0_u8..).zip(columns).skip(usize::from(a) + 1) {
            if first.is_disjoint(second) {
                pairs.push([a, b]);
            }
        }
    }
    pairs
}

/// A column in few bins; `None` for texts and where there is only one.
fn coarse(column: &ColumnProfile) -> Option<TableColumn> {
    let bins = match &column.values {
        Values::Number { shape, .. } | Values::Date { shape } => BinAsk::Cuts {
            source: column.source.clone(),
            cuts: shape.cuts(PAIR_BINS),
        },
        Values::Category(levels) | Values::Ordinal(levels) => BinAsk::Slots {
            coding: levels.coding.clone(),
            slots: frequent(levels),
        },
        Values::Text(_) => return None,
    };
    let tells = match &bins {
        BinAsk::Cuts { cuts, .. } => !cuts.is_empty() || column.missing > 0,
        BinAsk::Slots { slots, .. } => !slots.is_empty(),
    };
    tells.then(|| TableColumn {
        name: column.name.clone(),
        bins,
    })
}

/// The most frequent levels, ascending.
fn frequent(levels: &Levels) -> Vec<u16> {
    let counted = levels.slots.iter().copied();
    let counted = counted.zip(levels.counts.iter().copied());
    let kept = most_frequent(counted, PAIR_LEVELS).into_iter();
    kept.map(|(slot, _)| slot).collect()
}
