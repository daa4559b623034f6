//! What boosted trees ask of every site.

use serde::{Deserialize, Serialize};

use super::histogram::Layout;
use super::model::{Frame, MAX_STAGES, check_base};
use super::rounding::Rounding;
use super::sample::TreeSeed;
use super::split::{Histogram, Sums};
use super::tree::MAX_NODES;
use crate::ask::{Encoder, MAX_NUMBERS, PartTotals, Segment};
use crate::family::{FamilyPart, Head};
use crate::features::MAX_BINS;
use crate::fixed::MAX_ROWS;
use crate::metric::{LossCounter, LossSums, SEGMENTS};
use crate::object::ObjectId;
use crate::site::{SiteError, SiteView};

/// Asks for one level of all trees of a stage: histograms of gradients and
/// Hessians, and at the first level the validation losses of the stages before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbdtPart {
    /// The candidate's id: seed of its samples.
    pub candidate: ObjectId,
    /// Its sizes.
    pub frame: Frame,
    /// Rows of the whole federation: bounds every sum.
    pub rows: u64,
    /// Bins of every column.
    pub bins: Vec<u16>,
    /// Share of the rows a tree sees.
    pub row_share: f64,
    /// Share of the columns a tree sees.
    pub column_share: f64,
    /// Margins before the first stage, model by model, output by output; none
    /// in the first ask, which counts the classes that they follow from.
    pub base: Vec<f64>,
    /// The finished stages.
    pub stages: Vec<ObjectId>,
    /// The stage that grows, from its second level on.
    pub growing: Option<ObjectId>,
    /// For every tree of the stage the nodes whose histograms are wanted,
    /// ascending.
    pub asked: Vec<Vec<u16>>,
}

/// The totals of a [`GbdtPart`].
#[derive(Clone, Debug, Default)]
pub(super) struct LevelTotals {
    /// Losses of the finished stages' model.
    pub(super) losses: Option<LossSums>,
    /// For every model the rows it trains on, then those of each output's
    /// class, in the first ask.
    pub(super) counts: Vec<u64>,
    /// For every tree the histograms of its asked nodes.
    pub(super) histograms: Vec<Vec<Histogram>>,
}

impl GbdtPart {
    /// Whether validation losses are asked for.
    pub(super) fn scores(&self) -> bool {
        self.growing.is_none() && !self.counts_classes()
    }

    /// Whether this is the first ask, which counts classes instead of summing
    /// gradients.
    pub(super) fn counts_classes(&self) -> bool {
        self.base.is_empty()
    }

    /// How gradients are rounded.
    pub(super) fn rounding(&self) -> Rounding {
        if self.counts_classes() {
            Rounding::counts(self.rows)
        } else {
            Rounding::new(self.frame.head, self.rows)
        }
    }

    /// The seed of a tree's samples.
    pub(super) fn seed(&self, tree: usize) -> TreeSeed {
        TreeSeed {
            candidate: self.candidate,
            stage: self.stages.len() as u32,
            tree: (tree % usize::from(self.frame.forest)) as u32,
        }
    }

    /// The columns of each of the parallel trees.
    pub(super) fn layouts(&self) -> Vec<Layout> {
        let layout = |tree| {
            let columns = self.seed(tree).columns(self.bins.len(), self.column_share);
            Layout::new(columns, &self.bins)
        };
        (0..usize::from(self.frame.forest)).map(layout).collect()
    }

    /// Bins over all asked nodes.
    fn numbers(&self) -> usize {
        let forest = usize::from(self.frame.forest);
        let sizes: Vec<usize> = self.layouts().iter().map(Layout::numbers).collect();
        let asked = self.asked.iter().enumerate();
        asked
            .map(|(tree, nodes)| nodes.len() * sizes[tree % forest])
            .sum()
    }

    /// What comes first, and which segment the histograms begin at.
    fn heading(&self) -> Vec<Segment> {
        if self.scores() {
            LossCounter::segments(self.frame.head, self.rows)
        } else if self.counts_classes() {
            vec![Segment::Count {
                max: self.rows,
                count: self.frame.models() * (1 + self.frame.head.outputs()),
            }]
        } else {
            Vec::new()
        }
    }

    fn check_state(&self) -> Result<(), String> {
        if !self.counts_classes() {
            return check_base(&self.base, &self.frame);
        }
        if self.frame.head == Head::Number || !self.stages.is_empty() || self.growing.is_some() {
            return Err("base margins are missing".to_owned());
        }
        Ok(())
    }

    fn check_asked(&self) -> Result<(), String> {
        if self.asked.len() != self.frame.trees() {
            return Err(format!(
                "nodes of {} trees are asked for where {} grow",
                self.asked.len(),
                self.frame.trees()
            ));
        }
        let nodes = if self.growing.is_none() { 1 } else { MAX_NODES };
        for asked in &self.asked {
            let known = asked.iter().all(|node| usize::from(*node) < nodes);
            if !known || !asked.is_sorted_by(|a, b| a < b) {
                return Err("the nodes asked for are not ascending, or too many".to_owned());
            }
        }
        let numbers = 2 * self.numbers();
        if numbers > MAX_NUMBERS {
            return Err(format!(
                "{numbers} numbers, at most {MAX_NUMBERS} are allowed"
            ));
        }
        Ok(())
    }

    /// Reads the totals.
    pub(super) fn read(&self, totals: &PartTotals<'_>) -> LevelTotals {
        let mut read = LevelTotals::default();
        let mut first = 0;
        if self.scores() {
            read.losses = Some(LossSums::read(totals, 0, self.frame.head, self.rows));
            first = SEGMENTS;
        } else if self.counts_classes() {
            read.counts = totals.counts(0);
            first = 1;
        }
        let layouts = self.layouts();
        let forest = layouts.len();
        let (gradients, hessians) = if self.numbers() > 0 {
            (totals.integers(first), totals.integers(first + 1))
        } else {
            (Vec::new(), Vec::new())
        };
        let mut sums = gradients.into_iter().zip(hessians);
        for (tree, nodes) in self.asked.iter().enumerate() {
            let numbers = layouts[tree % forest].numbers();
            let histograms = nodes.iter().map(|_| Histogram {
                bins: sums
                    .by_ref()
                    .take(numbers)
                    .map(|(gradient, hessian)| Sums { gradient, hessian })
                    .collect(),
            });
            read.histograms.push(histograms.collect());
        }
        read
    }
}

impl FamilyPart for GbdtPart {
    fn pipeline(&self) -> ObjectId {
        self.frame.pipeline
    }

    /// Losses or counts of classes where they are due, then all gradients, then
    /// all Hessians: tree by tree, node by node, column by column, bin by bin.
    fn segments(&self) -> Vec<Segment> {
        let mut segments = self.heading();
        let numbers = self.numbers();
        if numbers > 0 {
            segments.extend(self.rounding().segments(numbers));
        }
        segments
    }

    fn objects(&self) -> Vec<ObjectId> {
        self.stages.iter().copied().chain(self.growing).collect()
    }

    fn check(&self) -> Result<(), String> {
        self.frame.check()?;
        if self.rows == 0 || self.rows > MAX_ROWS {
            return Err(format!("{} rows, allowed are 1 to {MAX_ROWS}", self.rows));
        }
        if self.bins.len() != self.frame.width as usize {
            return Err("not as many columns have bins as there are".to_owned());
        }
        if let Some(bins) = self
            .bins
            .iter()
            .find(|bins| !(2..=MAX_BINS).contains(&usize::from(**bins)))
        {
            return Err(format!(
                "a column of {bins} bins, allowed are 2 to {MAX_BINS}"
            ));
        }
        let share = |share: f64| share > 0.0 && share <= 1.0;
        if !share(self.row_share) || !share(self.column_share) {
            return Err("a share of rows or columns is not above 0 and at most 1".to_owned());
        }
        if self.stages.len() > MAX_STAGES {
            return Err(format!("more than {MAX_STAGES} stages"));
        }
        self.check_state()?;
        self.check_asked()
    }

    fn answer(&self, site: &mut SiteView<'_>, out: &mut Encoder) -> Result<(), SiteError> {
        super::site::answer(self, site, out)
    }

    /// A row goes into one bin of each column in every tree, not into all bins.
    fn updates(&self, rows: u64, width: u64) -> u64 {
        let adding = rows.saturating_mul(width.saturating_mul(self.frame.trees() as u64));
        adding.saturating_add(self.numbers() as u64)
    }
}
