//! Bins of a column by target and group of rows: from these follow weight of
//! evidence, information values and target encodings, with no further step.

use serde::{Deserialize, Serialize};

use super::slots::{Coding, SlotKey};
use super::source::{Quantities, Source};
use super::target::{Tallies, Tally, TargetAsk};
use super::{MAX_CELLS, MAX_ENCODED, decide};
use crate::data::{SiteData, SiteDataError};
use crate::split::SplitPlan;
use crate::table::{Cell, Column, Table};
use crate::task::Task;

/// A column of [`super::ProfilePart::Tables`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// What its bins are.
    pub bins: BinAsk,
}

impl TableColumn {
    /// The table's columns that it reads.
    pub(crate) fn reads(&self) -> Vec<&str> {
        match self.bins.source() {
            Some(source) => source.columns(&self.name),
            None => vec![&self.name],
        }
    }
}

/// The bins of a column. Bin 0 is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BinAsk {
    /// Between ascending cuts; a value on a cut is in the bin above it.
    Cuts {
        /// Where the numbers come from.
        source: Source,
        /// At most [`MAX_CELLS`] - 1 of them.
        cuts: Vec<f64>,
    },
    /// One bin a slot, and a last one for every other value.
    Slots {
        /// How a value finds its slot.
        coding: Coding,
        /// Ascending, at most [`MAX_ENCODED`].
        slots: Vec<u16>,
    },
}

impl BinAsk {
    /// Where its numbers come from; `None` for slots.
    pub(crate) const fn source(&self) -> Option<&Source> {
        match self {
            Self::Cuts { source, .. } => Some(source),
            Self::Slots { .. } => None,
        }
    }

    /// Whether its values are counted as the task allows: a vocabulary that nobody
    /// declared would be a list of guesses.
    pub(crate) fn follows_from(&self, task: &Task, name: &str) -> bool {
        match self {
            Self::Slots {
                coding: coding @ Coding::Vocabulary(_),
                ..
            } => *coding == decide::coding(task, name),
            _ => true,
        }
    }

    pub(crate) fn check(&self, name: &str) -> Result<(), String> {
        match self {
            Self::Cuts { source, cuts } => {
                source.check(name)?;
                let finite = cuts.iter().all(|cut| cut.is_finite());
                if cuts.len() >= MAX_CELLS || !finite || !cuts.is_sorted_by(|a, b| a < b) {
                    return Err(format!("cuts of `{name}` are out of bounds"));
                }
            }
            Self::Slots { coding, slots } => {
                let known = slots.iter().all(|&slot| usize::from(slot) < coding.slots());
                if slots.len() > MAX_ENCODED || !known || !slots.is_sorted_by(|a, b| a < b) {
                    return Err(format!("slots of `{name}` are out of bounds"));
                }
            }
        }
        Ok(())
    }
}

/// Rows of each bin, by group of rows and by class (or with the sum of their
/// targets), over the training rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetTable<B = BinAsk> {
    /// What the bins are.
    pub bins: B,
    /// What is counted.
    pub target: TargetAsk,
    /// How the rows are grouped.
    pub plan: SplitPlan,
    /// Figure by figure, in each group by group, in each bin by bin.
    pub figures: Vec<u64>,
}

/// What rows can be counted in: a column's bins, or those of a pair of columns.
pub trait Bins {
    /// Number of bins, that of missing values (bin 0) among them.
    fn bins(&self) -> usize;
}

impl Bins for BinAsk {
    fn bins(&self) -> usize {
        match self {
            Self::Cuts { cuts, .. } => cuts.len() + 2,
            Self::Slots { slots, .. } => slots.len() + 2,
        }
    }
}

impl<B: Bins> TargetTable<B> {
    /// Figures of one bin summed over the groups that `takes` names.
    #[must_use]
    pub fn bin(&self, bin: usize, takes: impl Fn(usize) -> bool) -> Vec<u64> {
        let (groups, bins) = (self.plan.groups(), self.bins.bins());
        (0..self.target.figures())
            .map(|figure| {
                (0..groups)
                    .filter(|&group| takes(group))
                    .filter_map(|group| self.figures.get((figure * groups + group) * bins + bin))
                    .sum()
            })
            .collect()
    }

    /// Figures of every bin over all groups.
    #[must_use]
    pub fn totals(&self) -> Vec<Vec<u64>> {
        (0..self.bins.bins())
            .map(|bin| self.bin(bin, |_| true))
            .collect()
    }

    /// Training rows of a bin.
    #[must_use]
    pub fn rows(&self, bin: usize) -> u64 {
        rows(&self.target, &self.bin(bin, |_| true))
    }

    /// How much the bins tell about the target: the information value (Siddiqi
    /// 2006; the largest over classes against the rest), or for a number the
    /// share of its variance between bins. What as many bins of noise would show
    /// on average is taken off.
    #[must_use]
    pub fn strength(&self) -> f64 {
        strength(&self.target, &self.totals())
    }

    /// Weight of evidence of each bin for one class against all others:
    /// ln(share of the class's rows / share of the others' rows), with half a
    /// row added to each. `None` for a numeric target.
    #[must_use]
    pub fn weights_of_evidence(&self, class: usize) -> Option<Vec<f64>> {
        match self.target {
            TargetAsk::Classes { .. } => Some(evidence(&self.totals(), class).0),
            TargetAsk::Number { .. } => None,
        }
    }
}

/// Rows that the figures of a bin count.
pub(crate) fn rows(target: &TargetAsk, figures: &[u64]) -> u64 {
    match target {
        TargetAsk::Classes { .. } => figures.iter().sum(),
        TargetAsk::Number { .. } => figures.first().copied().unwrap_or(0),
    }
}

/// See [`TargetTable::strength`].
pub(crate) fn strength(target: &TargetAsk, bins: &[Vec<u64>]) -> f64 {
    match target {
        TargetAsk::Classes { labels } => {
            // Of two classes either says the same.
            let classes = if labels.len() == 2 { 1 } else { labels.len() };
            (0..classes)
                .map(|class| excess(bins, class))
                .fold(0.0, f64::max)
        }
        TargetAsk::Number { .. } => between(bins),
    }
}

/// Weights of evidence and the information value.
fn evidence(bins: &[Vec<u64>], class: usize) -> (Vec<f64>, f64) {
    let split = |bin: &Vec<u64>| {
        let own = bin.get(class).copied().unwrap_or(0);
        (own, bin.iter().sum::<u64>() - own)
    };
    let (own, other) = bins
        .iter()
        .map(split)
        .fold((0, 0), |sum, bin| (sum.0 + bin.0, sum.1 + bin.1));
    if own == 0 || other == 0 {
        return (vec![0.0; bins.len()], 0.0);
    }
    let mut value = 0.0;
    let weights = bins.iter().map(|bin| {
        let (a, b) = split(bin);
        if a + b == 0 {
            return 0.0;
        }
        let p = (a as f64 + 0.5) / (own as f64 + 0.5);
        let q = (b as f64 + 0.5) / (other as f64 + 0.5);
        let weight = libm::log(p / q);
        value += (a as f64 / own as f64 - b as f64 / other as f64) * weight;
        weight
    });
    (weights.collect(), value)
}

/// The information value less its mean under independence, (bins - 1)·(1/n₁ + 1/n₀).
fn excess(bins: &[Vec<u64>], class: usize) -> f64 {
    let own: u64 = bins.iter().filter_map(|bin| bin.get(class)).sum();
    let all: u64 = bins.iter().flatten().sum();
    if own == 0 || own == all {
        return 0.0;
    }
    let used = bins.iter().filter(|bin| bin.iter().any(|&rows| rows > 0));
    let free = used.count().saturating_sub(1) as f64;
    let noise = free * (1.0 / own as f64 + 1.0 / (all - own) as f64);
    (evidence(bins, class).1 - noise).max(0.0)
}

/// Share of the variance of the target between the bins, less what as many bins
/// of noise would show (adjusted R²).
fn between(bins: &[Vec<u64>]) -> f64 {
    let figure = |bin: &Vec<u64>, at: usize| bin.get(at).copied().unwrap_or(0) as f64;
    let sum = |at: usize| bins.iter().map(|bin| figure(bin, at)).sum::<f64>();
    let (rows, total, squares) = (sum(0), sum(1), sum(2));
    let used = bins.iter().filter(|bin| figure(bin, 0) > 0.0);
    let free = rows - used.clone().count() as f64;
    if free < 1.0 {
        return 0.0;
    }
    let explained: f64 = used
        .map(|bin| figure(bin, 1) * figure(bin, 1) / figure(bin, 0))
        .sum();
    let variance = (squares - total * total / rows) / (rows - 1.0);
    if variance <= 0.0 {
        return 0.0;
    }
    (1.0 - (squares - explained) / free / variance).max(0.0)
}

impl TargetTable {
    /// The bins of a column on one site's training rows.
    pub(crate) fn count(
        data: &SiteData,
        column: &TableColumn,
        plan: SplitPlan,
        key: SlotKey,
        tallies: &[Option<(usize, Tally)>],
        target: &TargetAsk,
    ) -> Result<Vec<u64>, SiteDataError> {
        let bins = column.bins.bins();
        let reader = BinReader::new(data.table(), &column.name, &column.bins, key)
            .map_err(|what| SiteDataError::Survey { what })?;
        let mut counts = Tallies::new(target, plan.groups() * bins);
        for (&row, tally) in data.train_rows().iter().zip(tallies) {
            if let Some((group, tally)) = *tally {
                counts.add(group * bins + reader.bin(row as usize), tally);
            }
        }
        counts.withhold(target, data.policy().min_cell);
        Ok(counts.figures)
    }
}

/// Finds the bin of a row.
pub(crate) struct BinReader<'t> {
    ask: &'t BinAsk,
    name: &'t str,
    key: SlotKey,
    numbers: Quantities<'t>,
    column: Option<&'t Column>,
    /// Slots of the distinct texts.
    texts: Vec<Option<usize>>,
}

impl<'t> BinReader<'t> {
    pub(crate) fn new(
        table: &'t Table,
        name: &'t str,
        ask: &'t BinAsk,
        key: SlotKey,
    ) -> Result<Self, String> {
        let column = table.column(name);
        let (numbers, texts) = match ask {
            BinAsk::Cuts { source, .. } => (Quantities::new(table, name, source)?, Vec::new()),
            BinAsk::Slots { coding, .. } => {
                let texts = column.map_or(&[][..], Column::dictionary).iter();
                let slots = texts.map(|text| coding.slot(key, name, Cell::Text(text)));
                (Quantities::Absent, slots.collect())
            }
        };
        Ok(Self {
            ask,
            name,
            key,
            numbers,
            column,
            texts,
        })
    }

    pub(crate) fn bin(&self, row: usize) -> usize {
        match self.ask {
            BinAsk::Cuts { cuts, .. } => self
                .numbers
                .get(row)
                .map_or(0, |number| 1 + cuts.partition_point(|&cut| cut <= number)),
            BinAsk::Slots { coding, slots } => {
                let Some(column) = self.column else { return 0 };
                let slot = match column.number(row) {
                    Some(number) => coding.slot(self.key, self.name, Cell::Number(number)),
                    None => match column.code(row) {
                        // A text among codes that are numbers is no value.
                        None => return 0,
                        Some(_) if *coding == Coding::Whole => return 0,
                        Some(code) => self.texts.get(code).copied().flatten(),
                    },
                };
                let known = slot.and_then(|slot| {
                    slots
                        .binary_search_by(|&known| usize::from(known).cmp(&slot))
                        .ok()
                });
                1 + known.unwrap_or(slots.len())
            }
        }
    }
}
