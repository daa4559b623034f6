//! The candidates that the search tries first.

use serde::{Deserialize, Serialize};

use super::hyperparameters::GbdtHyperparameters;
use crate::ask::MAX_NUMBERS;
use crate::family::portfolio::{Configuration, binned, within};
use crate::family::{Head, Offer, Proposal, monotone};
use crate::features::{Categories, Pipeline};
use crate::search::{Knob, Scale};
use crate::task::Preset;

/// Numbers of a candidate's largest step; so many that a handful of candidates
/// fit one step of the race.
const CANDIDATE_NUMBERS: usize = 350_000;
/// Cells that a site with all rows goes over at a level: above that forests are
/// smaller, as they may be where rows are many.
const LEVEL_CELLS: u64 = 300_000_000;
/// Learning rates summed over the stages of a race: about where boosted trees
/// stop gaining.
const LEARNING: f64 = 12.0;
/// Largest and smallest rate that are tried.
const RATES: (f64, f64) = (0.05, 0.7);

/// Rows of a leaf for each unit of smallest Hessian where a number is predicted.
const ROWS_OF_A_NUMBER: f64 = 8.0;
/// Splits of a level from the seventh level on: deep trees then cost no more
/// numbers than those of six levels, and grow where they gain.
const DEEP_SPLITS: u8 = 16;

/// Depth, row share, column share, λ, smallest Hessian, and a factor on the
/// learning rate.
struct Variant(u8, f64, f64, f64, f64, f64);

/// Variants for two classes and for numbers. Presets take them from the front.
const VARIANTS: [Variant; 10] = [
    Variant(6, 0.7, 0.7, 1.0, 1.0, 1.0),
    Variant(4, 0.7, 0.7, 1.0, 1.0, 1.0),
    Variant(5, 0.8, 0.7, 1.0, 1.0, 1.2),
    Variant(8, 0.7, 0.6, 1.0, 0.5, 1.0),
    Variant(3, 0.7, 0.7, 1.0, 1.0, 0.8),
    Variant(6, 0.8, 0.6, 3.0, 1.0, 0.5),
    Variant(4, 0.7, 0.4, 5.0, 3.0, 0.5),
    Variant(7, 0.6, 0.5, 10.0, 2.0, 1.5),
    Variant(2, 0.8, 0.6, 1.0, 1.0, 1.5),
    Variant(6, 0.9, 0.9, 1.0, 0.3, 0.7),
];

/// Variants for more classes, which want deep trees and small leaves.
const VARIANTS_OF_CLASSES: [Variant; 6] = [
    Variant(8, 0.9, 0.8, 1.0, 0.2, 1.0),
    Variant(6, 0.9, 0.9, 1.0, 0.3, 1.0),
    Variant(8, 0.9, 0.9, 1.0, 0.3, 0.6),
    Variant(4, 0.8, 0.7, 1.0, 0.5, 1.0),
    Variant(6, 0.8, 0.5, 5.0, 1.0, 0.6),
    Variant(3, 0.8, 0.7, 1.0, 0.5, 1.0),
];

/// The variant for encodings of categories, which leave more to choose from than the rows can tell
/// apart: few columns a tree, large leaves, and smaller steps. One that learns faster beside it would
/// take its place after the first rung, and end worse.
const VARIANT_OF_ENCODINGS: [Variant; 1] = [Variant(6, 0.7, 0.4, 10.0, 10.0, 0.75)];

/// The steps of training of a preset, and how many variants it tries.
///
/// Steps are what a race is short of, and a stage takes as many steps as its
/// trees have levels. So the learning rate follows from the depth and the
/// preset's steps, candidates of any depth come equally far by any step, and
/// forests of trees on different samples make up for the few stages.
const fn room(preset: Preset) -> (f64, usize) {
    match preset {
        Preset::Fast => (60.0, 3),
        Preset::Balanced => (180.0, 6),
        Preset::Thorough => (450.0, 10),
    }
}

/// All variants on the first pipeline that makes bins, the first two on others, and one of its
/// own on encodings.
pub(super) fn candidates(offer: &Offer<'_>) -> Vec<Proposal> {
    let (steps, most) = room(offer.task.preset);
    let variants: &[Variant] = match offer.head {
        Head::Classes(_) => &VARIANTS_OF_CLASSES,
        Head::Binary | Head::Number => &VARIANTS,
    };
    let variants = &variants[..most.min(variants.len())];
    let mut proposals = Vec::new();
    for (place, (pipeline, named)) in offer.pipelines_of(true).enumerate() {
        let encoded = named.spec.categories == Categories::TargetAndFlags;
        let variants = match place {
            0 => variants,
            _ if encoded => &VARIANT_OF_ENCODINGS,
            _ => &variants[..2],
        };
        let Some(monotone) = monotone::ways(offer, &named.pipeline) else {
            continue;
        };
        for (guess, variant) in variants.iter().enumerate() {
            let hyperparameters = GbdtHyperparameters {
                monotone: monotone.clone(),
                ..hyperparameters(variant, steps, offer.head)
            };
            // The best guess may take most of a step for itself, and so may that on encodings:
            // where categories have many values, they tell more than the values themselves.
            let first = guess == 0 && (place == 0 || encoded);
            let most = match (first, offer.head) {
                (true, Head::Classes(_)) => 8,
                (true, Head::Binary | Head::Number) => 4,
                (false, _) => 1,
            };
            let most = most * CANDIDATE_NUMBERS;
            let fitted = within_a_step(hyperparameters, &named.pipeline, most, offer);
            proposals.extend(fitted.and_then(|fitted| proposal(pipeline, &fitted)));
        }
    }
    proposals
}

/// A configuration of the portfolio: what a preset's steps, the kind of target and the room of a
/// step make hyperparameters of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbdtConfiguration {
    /// Whether derived columns are used, where a table has some.
    pub derived: bool,
    /// Levels of splits, 2 to 8.
    pub depth: u8,
    /// Share of the rows a tree sees, 0.3 to 1.
    pub row_share: f64,
    /// Share of the columns a tree sees, 0.1 to 1.
    pub column_share: f64,
    /// L2 penalty on leaf values, 0.1 to 100.
    pub lambda: f64,
    /// Smallest Hessian sum of a leaf for classes, 0.1 to 100; a number's is eight times as much.
    pub min_hessian: f64,
    /// Factor on the learning rate that follows from the depth and the steps, 0.2 to 4.
    pub rate: f64,
}

impl Configuration for GbdtConfiguration {
    fn check(&self) -> Result<(), String> {
        within("depth", f64::from(self.depth), (2.0, 8.0))?;
        within("row_share", self.row_share, (0.3, 1.0))?;
        within("column_share", self.column_share, (0.1, 1.0))?;
        within("lambda", self.lambda, (0.1, 100.0))?;
        within("min_hessian", self.min_hessian, (0.1, 100.0))?;
        within("rate", self.rate, (0.2, 4.0))
    }

    fn propose(&self, offer: &Offer<'_>) -> Option<Proposal> {
        let (pipeline, named) = binned(offer, self.derived)?;
        let variant = Variant(
            self.depth,
            self.row_share,
            self.column_share,
            self.lambda,
            self.min_hessian,
            self.rate,
        );
        let (steps, _) = room(offer.task.preset);
        let hyperparameters = GbdtHyperparameters {
            monotone: monotone::ways(offer, &named.pipeline)?,
            ..hyperparameters(&variant, steps, offer.head)
        };
        let fitted = within_a_step(hyperparameters, &named.pipeline, CANDIDATE_NUMBERS, offer)?;
        proposal(pipeline, &fitted)
    }
}

/// What later rounds vary.
pub(super) fn knobs() -> Vec<Knob> {
    let knob = |pointer, scale| Knob { pointer, scale };
    vec![
        knob("/learning_rate", Scale::Log(RATES.0, RATES.1)),
        knob("/max_depth", Scale::Whole(2, 8)),
        knob("/row_share", Scale::Linear(0.5, 1.0)),
        knob("/column_share", Scale::Linear(0.3, 1.0)),
        knob("/lambda", Scale::Log(0.3, 30.0)),
        knob("/min_hessian", Scale::Log(0.2, 50.0)),
    ]
}

/// Hyperparameters whose knobs were changed: what follows from the depth and from the room of a step
/// is put right.
pub(super) fn varied(
    offer: &Offer<'_>,
    pipeline: usize,
    hyperparameters: &serde_json::Value,
) -> Option<Proposal> {
    let named = offer.pipelines.get(pipeline)?;
    let read = GbdtHyperparameters::deserialize(hyperparameters).ok()?;
    let changed = GbdtHyperparameters {
        level_splits: level_splits(read.max_depth),
        monotone: monotone::ways(offer, &named.pipeline)?,
        ..read
    };
    let fitted = within_a_step(changed, &named.pipeline, CANDIDATE_NUMBERS, offer)?;
    fitted.check().ok()?;
    proposal(pipeline, &fitted)
}

fn proposal(pipeline: usize, fitted: &GbdtHyperparameters) -> Option<Proposal> {
    Some(Proposal {
        pipeline,
        name: name(fitted),
        hyperparameters: serde_json::to_value(fitted).ok()?,
    })
}

fn name(candidate: &GbdtHyperparameters) -> String {
    format!(
        "depth {} lr {} forest {} lambda {} columns {}",
        candidate.max_depth,
        candidate.learning_rate,
        candidate.forest,
        candidate.lambda,
        candidate.column_share
    )
}

fn hyperparameters(variant: &Variant, steps: f64, head: Head) -> GbdtHyperparameters {
    let Variant(depth, row_share, column_share, lambda, min_hessian, factor) = *variant;
    let stages = steps / f64::from(depth);
    // The Hessian of a number's row is 1, that of a class at most about 1/4.
    let hessian = match head {
        Head::Classes(_) | Head::Binary => min_hessian,
        Head::Number => ROWS_OF_A_NUMBER * min_hessian,
    };
    let rate = (factor * LEARNING / stages).clamp(RATES.0, RATES.1);
    // Two digits, for people.
    let plain = GbdtHyperparameters::new(libm::round(rate * 100.0) / 100.0, depth);
    GbdtHyperparameters {
        row_share,
        column_share,
        lambda,
        min_hessian: hessian,
        level_splits: level_splits(depth),
        ..plain
    }
}

/// Most splits of a level of trees of this depth.
fn level_splits(depth: u8) -> u8 {
    if depth > 6 {
        DEEP_SPLITS
    } else {
        GbdtHyperparameters::new(1.0, depth).level_splits
    }
}

/// The widest forest that fits the numbers of a step; where a single tree does
/// not, fewer splits a level and fewer columns. `None` where nothing fits.
fn within_a_step(
    mut candidate: GbdtHyperparameters,
    pipeline: &Pipeline,
    most: usize,
    offer: &Offer<'_>,
) -> Option<GbdtHyperparameters> {
    let bins: usize = pipeline
        .bin_columns()
        .iter()
        .map(|column| column.bins)
        .sum();
    let folds = usize::from(pipeline.folds());
    // With one validation part there is a second model of all rows.
    let models = (folds + usize::from(folds == 1)) * offer.head.outputs();
    let numbers = |candidate: &GbdtHyperparameters| {
        let level = 1 << candidate.max_depth.saturating_sub(2);
        let nodes = usize::from(candidate.level_splits).min(level);
        let columns = bins as f64 * candidate.column_share;
        2 * models * usize::from(candidate.forest) * nodes * libm::ceil(columns) as usize
    };
    let cells = offer.profile.train_rows * (pipeline.width() * models) as u64;
    for forest in [8, 4, 2, 1] {
        candidate.forest = forest;
        let few_cells = cells.saturating_mul(u64::from(forest)) <= LEVEL_CELLS;
        if numbers(&candidate) <= most && (few_cells || forest == 1) {
            return Some(candidate);
        }
    }
    while numbers(&candidate) > 4 * CANDIDATE_NUMBERS && candidate.level_splits > 4 {
        candidate.level_splits /= 2;
    }
    while numbers(&candidate) > 4 * CANDIDATE_NUMBERS && candidate.column_share > 0.1 {
        candidate.column_share = libm::round(candidate.column_share * 50.0) / 100.0;
    }
    (numbers(&candidate) <= MAX_NUMBERS / 2).then_some(candidate)
}
