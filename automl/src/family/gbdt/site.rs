//! The site's side: margins, gradients, and the rows at every node.

use super::GbdtObject;
use super::histogram::{Binned, Layout, Scratch, add};
use super::model::{GbdtStage, scores};
use super::part::GbdtPart;
use super::rounding::{Rounding, derivatives, link};
use super::sample::{RowSample, row_hashes};
use super::tree::{Node, Tree};
use crate::ask::{EncodeError, Encoder};
use crate::family::Head;
use crate::features::{Cells, Pipeline};
use crate::metric::LossCounter;
use crate::object::ObjectId;
use crate::random::derive;
use crate::site::{Rows, SiteError, SiteView, Slot};

/// Most bytes of row numbers that a candidate keeps between asks; above that
/// rows are sent through the growing trees anew at every level.
const MAX_KEPT_BYTES: usize = 32 << 20;

/// What a site keeps of a candidate from ask to ask. It saves time and never
/// changes an answer: everything in it follows from the rows, the ask's fixed
/// fields (whose hash it is kept under) and the stages it names.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Whose rows these are.
    rows: Option<ObjectId>,
    /// The stages that the margins are the sum of.
    stages: Vec<ObjectId>,
    /// Margin by margin (see [`super::model::Frame::margins`]) a number for every row.
    margins: Vec<f64>,
    /// As the margins: packed gradients of these stages; none when not computed.
    words: Vec<u64>,
    /// The rows at the nodes of each growing tree; none when not known.
    placed: Vec<Option<Placed>>,
}

/// The rows of a tree's sample, sorted by the node they are at.
#[derive(Debug)]
struct Placed {
    tree: Tree,
    rows: Vec<u32>,
    /// For every node where its rows begin and end.
    ranges: Vec<(u32, u32)>,
}

/// Numbers of the rows of a pipeline (see [`row_hashes`]).
#[derive(Debug, Default)]
struct RowHashes(Vec<u64>);

/// A site's answer to a part.
pub(super) fn answer(
    part: &GbdtPart,
    site: &mut SiteView<'_>,
    out: &mut Encoder,
) -> Result<(), SiteError> {
    check_pipeline(part, site.pipeline)?;
    let rows = site.rows;
    let hashes_key = derive(
        "collegium automl gbdt hashes v1",
        &[part.frame.pipeline.as_bytes(), rows.digest().as_bytes()],
    );
    let RowHashes(mut hashes) = std::mem::take(site.cache.entry(hashes_key));
    if hashes.len() != rows.len() {
        hashes = row_hashes(rows);
    }
    let key = memory_key(part);
    let mut memory: Memory = std::mem::take(site.cache.entry(key));
    memory.recall(part, rows);
    for id in &part.stages[memory.known_stages()..] {
        memory.add_stage(*id, stage(part, *id, site)?, rows);
    }
    let growing = match part.growing {
        Some(id) => Some(stage(part, id, site)?),
        None => None,
    };
    check_nodes(part, growing)?;
    memory.answer(part, growing, &hashes, rows, out)?;
    *site.cache.entry(key) = memory;
    *site.cache.entry(hashes_key) = RowHashes(hashes);
    Ok(())
}

/// Refuses a part that was not made for the pipeline it names.
fn check_pipeline(part: &GbdtPart, pipeline: &Pipeline) -> Result<(), SiteError> {
    let columns = pipeline.bin_columns();
    let bins = columns.iter().map(|column| column.bins);
    let fits = bins.eq(part.bins.iter().map(|bins| usize::from(*bins)))
        && Head::of(pipeline.target()) == part.frame.head;
    if fits {
        Ok(())
    } else {
        Err(SiteError::unfit(
            part.frame.pipeline,
            "its bins or classes are not those of the part",
        ))
    }
}

/// A stage of the part's candidate.
fn stage<'a>(
    part: &GbdtPart,
    id: ObjectId,
    site: &SiteView<'a>,
) -> Result<&'a GbdtStage, SiteError> {
    match site.object(id)? {
        GbdtObject::Stage(stage) if stage.frame == part.frame => Ok(stage),
        GbdtObject::Stage(_) => Err(SiteError::unfit(id, "its sizes differ")),
        GbdtObject::Model(_) => Err(SiteError::unfit(id, "it is a model, not a stage")),
    }
}

/// Refuses to look at nodes that the growing trees do not have.
fn check_nodes(part: &GbdtPart, growing: Option<&GbdtStage>) -> Result<(), SiteError> {
    let (Some(id), Some(growing)) = (part.growing, growing) else {
        // Only roots are asked for, see `GbdtPart::check`.
        return Ok(());
    };
    let mut trees = growing.trees.iter().zip(&part.asked);
    let known = trees.all(|(tree, asked)| {
        asked
            .last()
            .is_none_or(|node| usize::from(*node) < tree.nodes().len())
    });
    if known {
        Ok(())
    } else {
        Err(SiteError::unfit(id, "it lacks a node that is asked for"))
    }
}

/// The hash of everything that stays the same from ask to ask.
pub(super) fn memory_key(part: &GbdtPart) -> ObjectId {
    let fixed = GbdtPart {
        stages: Vec::new(),
        growing: None,
        asked: Vec::new(),
        ..part.clone()
    };
    // Its numbers are finite (see `GbdtPart::check`), so it has bytes.
    let bytes = serde_json::to_vec(&fixed).unwrap_or_default();
    derive("collegium automl gbdt memory v1", &[&bytes])
}

impl Memory {
    /// Begins anew unless this is what these stages begin with.
    pub(super) fn recall(&mut self, part: &GbdtPart, rows: &Rows) {
        let fits = self.rows == Some(rows.digest())
            && self.margins.len() == rows.len() * part.frame.margins()
            && part.stages.starts_with(&self.stages);
        if fits {
            return;
        }
        *self = Self {
            rows: Some(rows.digest()),
            ..Self::default()
        };
        for margin in 0..part.frame.margins() {
            let base = part.base.get(margin).copied().unwrap_or(0.0);
            self.margins.resize(self.margins.len() + rows.len(), base);
        }
    }

    /// How many of the part's stages the margins hold.
    pub(super) fn known_stages(&self) -> usize {
        self.stages.len()
    }

    /// Adds a stage to the margins.
    pub(super) fn add_stage(&mut self, id: ObjectId, stage: &GbdtStage, rows: &Rows) {
        let forest = usize::from(stage.frame.forest);
        for (trees, margins) in stage
            .trees
            .chunks_exact(forest)
            .zip(self.margins.chunks_exact_mut(rows.len().max(1)))
        {
            // Row by row, tree by tree: the order in which a model adds up too.
            for (row, margin) in margins.iter_mut().enumerate() {
                let bins = rows.row(row).bins();
                for tree in trees {
                    *margin += f64::from(tree.value(bins));
                }
            }
        }
        self.stages.push(id);
        self.words.clear();
        self.placed.clear();
    }

    /// Writes the answer; the margins must hold all stages.
    pub(super) fn answer(
        &mut self,
        part: &GbdtPart,
        growing: Option<&GbdtStage>,
        hashes: &[u64],
        rows: &Rows,
        out: &mut Encoder,
    ) -> Result<(), EncodeError> {
        if part.scores() {
            self.score(part, rows).encode(out)?;
        } else if part.counts_classes() {
            count_classes(part, rows, out)?;
        }
        let rounding = part.rounding();
        if self.words.is_empty() {
            self.words = self.gradients(part, &rounding, rows);
        }
        let (gradients, hessians) = self.histograms(part, growing, hashes, rows, &rounding);
        let all = gradients.into_iter().chain(hessians);
        all.into_iter().try_for_each(|sum| out.integer(sum))
    }

    fn score(&self, part: &GbdtPart, rows: &Rows) -> LossCounter {
        let head = part.frame.head;
        let outputs = head.outputs();
        let mut losses = LossCounter::new(head, part.rows);
        let mut margins = vec![0.0; outputs];
        let mut row_scores = vec![0.0; head.scores()];
        for (row, slot) in rows.slots.iter().enumerate() {
            let Slot::Fold(fold) = *slot else { continue };
            if fold >= part.frame.folds {
                continue;
            }
            for (output, margin) in margins.iter_mut().enumerate() {
                let at = usize::from(fold) * outputs + output;
                *margin = self.margins[at * rows.len() + row];
            }
            scores(head, &mut margins, &mut row_scores);
            losses.add(&row_scores, rows.targets[row]);
        }
        losses
    }

    /// Packed gradients of all margins.
    fn gradients(&self, part: &GbdtPart, rounding: &Rounding, rows: &Rows) -> Vec<u64> {
        let head = part.frame.head;
        let outputs = head.outputs();
        let mut words = vec![0; self.margins.len()];
        let mut link_of = vec![0.0; outputs];
        for model in 0..part.frame.models() {
            for (row, target) in rows.targets.iter().enumerate() {
                let at = |output: usize| (model * outputs + output) * rows.len() + row;
                for (output, score) in link_of.iter_mut().enumerate() {
                    *score = self.margins[at(output)];
                }
                link(head, &mut link_of);
                for (output, score) in link_of.iter().enumerate() {
                    let (gradient, hessian) = if part.counts_classes() {
                        (class_indicator(head, *target, output), 1.0)
                    } else {
                        derivatives(head, *score, *target, output)
                    };
                    words[at(output)] =
                        Rounding::pack(rounding.gradient(gradient), rounding.hessian(hessian));
                }
            }
        }
        words
    }

    fn histograms(
        &mut self,
        part: &GbdtPart,
        growing: Option<&GbdtStage>,
        hashes: &[u64],
        rows: &Rows,
        rounding: &Rounding,
    ) -> (Vec<i64>, Vec<i64>) {
        let Cells::Bins(cells) = &rows.matrix().cells else {
            return (Vec::new(), Vec::new());
        };
        let table = Binned {
            cells,
            width: rows.matrix().width,
        };
        let layouts = part.layouts();
        let forest = layouts.len();
        let keep = part.asked.len().saturating_mul(rows.len()) <= MAX_KEPT_BYTES / size_of::<u32>();
        let root = Tree::default();
        let mut placed = std::mem::take(&mut self.placed);
        placed.resize_with(part.asked.len(), || None);
        let mut scratch = Scratch::default();
        let (mut gradients, mut hessians) = (Vec::new(), Vec::new());
        for (at, (asked, kept)) in part.asked.iter().zip(&mut placed).enumerate() {
            if asked.is_empty() || rows.is_empty() {
                *kept = None;
                let numbers = asked.len() * layouts[at % forest].numbers();
                gradients.resize(gradients.len() + numbers, 0);
                hessians.resize(hessians.len() + numbers, 0);
                continue;
            }
            let tree = growing.map_or(&root, |stage| &stage.trees[at]);
            let mut at_nodes = match kept.take() {
                Some(older) if tree.grew_from(&older.tree) => older,
                _ => {
                    let model = at / (forest * part.frame.head.outputs());
                    let sample = part.seed(at).rows(part.row_share);
                    Placed::new(rows, model, sample, hashes)
                }
            };
            at_nodes.follow(tree, table);
            let words = &self.words[at / forest * rows.len()..][..rows.len()];
            let layout: &Layout = &layouts[at % forest];
            for node in asked {
                let (from, to) = at_nodes.ranges[usize::from(*node)];
                let node_rows = &at_nodes.rows[from as usize..to as usize];
                let out = (&mut gradients, &mut hessians);
                add(table, layout, node_rows, words, rounding, &mut scratch, out);
            }
            *kept = keep.then_some(at_nodes);
        }
        self.placed = placed;
        (gradients, hessians)
    }
}

impl Placed {
    /// All rows of the sample at the root.
    fn new(rows: &Rows, model: usize, sample: RowSample, hashes: &[u64]) -> Self {
        let all = (0_u32..)
            .zip(hashes)
            .filter(|(row, hash)| rows.trains(*row as usize, model) && sample.keeps(**hash));
        let rows: Vec<u32> = all.map(|(row, _)| row).collect();
        Self {
            tree: Tree::default(),
            ranges: vec![(0, rows.len() as u32)],
            rows,
        }
    }

    /// Sends the rows on through the splits that are new in `tree`.
    fn follow(&mut self, tree: &Tree, table: Binned<'_>) {
        let mut right = Vec::new();
        for (at, node) in tree.nodes().iter().enumerate() {
            let Node::Split {
                feature,
                test,
                left,
            } = node
            else {
                continue;
            };
            if matches!(self.tree.nodes().get(at), Some(Node::Split { .. })) {
                continue;
            }
            let (from, to) = self.ranges[at];
            let rows = &mut self.rows[from as usize..to as usize];
            // Stable, so that rows stay in the order they have in memory.
            right.clear();
            let mut kept = 0;
            for place in 0..rows.len() {
                let row = rows[place];
                let bin = table.cells[row as usize * table.width + usize::from(*feature)];
                if test.left(bin) {
                    rows[kept] = row;
                    kept += 1;
                } else {
                    right.push(row);
                }
            }
            rows[kept..].copy_from_slice(&right);
            let middle = from + kept as u32;
            let children = usize::from(*left);
            self.ranges.resize(children + 2, (0, 0));
            self.ranges[children] = (from, middle);
            self.ranges[children + 1] = (middle, to);
        }
        self.tree.clone_from(tree);
    }
}

/// 1 for a row of the class that the output stands for.
fn class_indicator(head: Head, target: f64, output: usize) -> f64 {
    match head {
        Head::Binary | Head::Number => target,
        Head::Classes(_) => f64::from(u8::from(target as usize == output)),
    }
}

/// For every model the rows it trains on and how many of each output's class.
fn count_classes(part: &GbdtPart, rows: &Rows, out: &mut Encoder) -> Result<(), EncodeError> {
    let outputs = part.frame.head.outputs();
    for model in 0..part.frame.models() {
        let mut counts = vec![0; 1 + outputs];
        for (row, target) in rows.targets.iter().enumerate() {
            if !rows.trains(row, model) {
                continue;
            }
            counts[0] += 1;
            for (output, count) in counts[1..].iter_mut().enumerate() {
                *count += class_indicator(part.frame.head, *target, output) as u64;
            }
        }
        counts.into_iter().try_for_each(|count| out.count(count))?;
    }
    Ok(())
}
