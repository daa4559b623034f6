//! The coordinator's side of a GA2M.

use super::group::Grouping;
use super::pairs::strongest;
use super::plan::Plan;
use super::{Ga2mCandidate, Strength, penalty};
use crate::ask::PartTotals;
use crate::family::Head;
use crate::family::additive::{
    AdditiveModel, AdditivePart, AdditivePath, BinCounts, Descent, Design, Fitting, Ground,
    PathSums, Penalty, ScreenPart, Signs, Slope, SumsPart, Term,
};
use crate::metric::LossSums;

/// Newton steps over columns, and over columns and pairs: the first scores where it
/// starts, the others settle to the last gain from any start we have seen.
const MAX_STEPS: u32 = 5;
/// A step that promises less than this many nats a row is the last one: a hundredth of
/// the standard error of the mean loss over a million rows.
const LAST_GAIN: f64 = 3e-6;

/// What the next step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Counting,
    Columns,
    Screening,
    Pairs,
}

/// Fits one GA2M a fold, all in lockstep, over a grid of penalties.
#[derive(Clone, Debug)]
pub struct Ga2mTrainer {
    candidate: Ga2mCandidate,
    ground: Ground,
    phase: Phase,
    plan: Plan,
    path: AdditivePath,
    /// `[point][fold]`.
    penalties: Vec<Vec<Penalty>>,
    /// `[point][fold][output]`.
    descents: Vec<Vec<Vec<Descent>>>,
    /// The point with the least validation loss so far: its Hessian is asked for.
    best: usize,
    /// The columns' penalty that went into the pairs.
    strength: Option<Strength>,
    /// Steps of this phase.
    steps: u32,
    /// `[fold][output]`: variance of a residual in units of its curvature.
    noise: Vec<Vec<f64>>,
    /// The model whose losses were learned last, and the one that is shown.
    scored: AdditiveModel,
    shown: AdditiveModel,
    finished: bool,
}

impl Ga2mTrainer {
    pub(crate) fn new(candidate: Ga2mCandidate, ground: Ground) -> Self {
        let folds = usize::from(ground.folds);
        let outputs = ground.head.outputs();
        let path = ground.path(
            vec![Design::default(); folds],
            vec![vec![vec![0.0]; outputs]; folds],
        );
        let model = path.model(0);
        Self {
            candidate,
            phase: Phase::Counting,
            plan: Plan::default(),
            path,
            penalties: Vec::new(),
            descents: Vec::new(),
            best: 0,
            strength: None,
            steps: 0,
            noise: vec![vec![1.0; outputs]; folds],
            scored: model.clone(),
            shown: model,
            finished: false,
            ground,
        }
    }

    fn sums_part(&self) -> SumsPart {
        SumsPart::of(&self.path, self.ground.rows, Some(self.best))
    }

    fn screen_part(&self) -> ScreenPart {
        let columns = self.plan.screened.iter();
        ScreenPart {
            pipeline: self.ground.pipeline,
            path: self.ground.pipeline,
            head: self.ground.head,
            folds: self.ground.folds,
            rows: self.ground.rows,
            columns: columns
                .map(|(column, grouping)| grouping.coarse(*column))
                .collect(),
        }
    }

    /// Lays out the effects of columns, with nothing but the intercept above 0.
    fn start(&mut self, counts: &[BinCounts]) {
        self.plan = Plan::new(&self.candidate, &self.ground, counts);
        let outputs = self.ground.head.outputs();
        let mut designs = Vec::new();
        let mut point = Vec::new();
        for (fold, counts) in counts.iter().enumerate() {
            let columns = self.plan.columns[fold].iter();
            let design = Design {
                terms: columns
                    .map(|column| self.plan.groupings[*column].term(*column))
                    .collect(),
            };
            let mut zeros = vec![0.0; design.parameters()];
            let coefficients = (0..outputs).map(|output| {
                zeros[0] = prior(self.ground.head, counts, output);
                zeros.clone()
            });
            point.push(coefficients.collect());
            designs.push(design);
        }
        self.path = self.ground.path(designs, point);
        self.phase = Phase::Columns;
        self.steps = 0;
    }

    /// One Newton step at every point.
    fn descend(&mut self, sums: &PathSums) -> LossSums {
        let means = sums.validation.iter().map(LossSums::mean);
        let best = means
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(0, |(point, _)| point);
        self.scored = self.path.model(best);
        let losses = sums.validation[best];
        self.measure_noise(sums, best);
        let first = self.steps == 0;
        self.steps += 1;
        if first {
            self.spread();
        } else {
            self.best = best;
        }
        for point in 0..self.path.points.len() {
            let own = &sums.points[if first { 0 } else { point }];
            for (fold, outputs) in own.iter().enumerate() {
                for (output, sums_of) in outputs.iter().enumerate() {
                    let slope = Slope {
                        sums: sums_of,
                        hessian: &sums.hessians[fold][output],
                        penalty: &self.penalties[point][fold],
                        signs: Signs::Free,
                        rows: self.ground.rows,
                        last_gain: LAST_GAIN / self.ground.head.outputs() as f64,
                    };
                    let coefficients = &mut self.path.points[point][fold][output];
                    self.descents[point][fold][output].learn(coefficients, &slope);
                }
            }
        }
        let mut best_ones = self.descents[self.best].iter().flatten();
        if best_ones.all(|descent| descent.settled) || self.steps >= MAX_STEPS {
            self.close_phase();
        }
        losses
    }

    fn measure_noise(&mut self, sums: &PathSums, best: usize) {
        if self.ground.head != Head::Number {
            return;
        }
        for (fold, outputs) in sums.points[best].iter().enumerate() {
            let rows = self.plan.rows.get(fold).copied().unwrap_or(0).max(1);
            for (noise, own) in self.noise[fold].iter_mut().zip(outputs) {
                *noise = (2.0 * own.loss / rows as f64).max(1e-9);
            }
        }
    }

    /// From one point to one for every penalty.
    fn spread(&mut self) {
        let strengths: Vec<(Strength, f64)> = match self.strength {
            None => self.candidate.strengths.iter().map(|s| (*s, 0.0)).collect(),
            Some(strength) => {
                let weights = self.candidate.pair_strengths.iter();
                weights.map(|weight| (strength, *weight)).collect()
            }
        };
        self.penalties = strengths
            .iter()
            .map(|(strength, weight)| {
                (0..self.path.designs.len())
                    .map(|fold| self.penalty(fold, *strength, *weight))
                    .collect()
            })
            .collect();
        let point = self.path.points[0].clone();
        self.path.points = vec![point; strengths.len()];
        let outputs = self.ground.head.outputs();
        let fold = vec![Descent::default(); outputs];
        self.descents = vec![vec![fold; self.path.designs.len()]; strengths.len()];
        // Until losses tell, the middle of the grid stands for all of it.
        self.best = strengths.len() / 2;
    }

    fn penalty(&self, fold: usize, strength: Strength, weight: f64) -> Penalty {
        let columns: Vec<&Grouping> = self.plan.columns[fold]
            .iter()
            .map(|column| &self.plan.groupings[*column])
            .collect();
        let mut penalty = penalty::of_columns(&columns, strength);
        let start = 1 + columns.iter().map(|grouping| grouping.size).sum::<usize>();
        if let Some(pairs) = self.plan.pairs.get(fold) {
            let side = |at: usize| &self.plan.screened[at].1;
            let pairs: Vec<[&Grouping; 2]> = pairs.iter().map(|pair| pair.map(side)).collect();
            penalty::add_pairs(&mut penalty, start, &pairs, weight);
        }
        penalty
    }

    fn close_phase(&mut self) {
        let wants_pairs = self.phase == Phase::Columns && self.plan.screened.len() >= 2;
        if !wants_pairs {
            self.finished = true;
            return;
        }
        self.strength = self.candidate.strengths.get(self.best).copied();
        self.path.points = vec![self.path.points.swap_remove(self.best)];
        self.best = 0;
        self.phase = Phase::Screening;
    }

    /// Adds the strongest pairs of each fold, with no effect yet. `grids` are by fold,
    /// pair and output.
    fn add_pairs(&mut self, grids: &[Vec<Vec<crate::family::additive::PairGrid>>]) {
        let part = self.screen_part();
        let all: Vec<[usize; 2]> = part.pairs().map(|(a, b)| [a, b]).collect();
        let size = |at: usize| self.plan.screened[at].1.size;
        for (fold, grids) in grids.iter().enumerate() {
            let kept = &self.plan.columns[fold];
            let known = |at: usize| kept.contains(&self.plan.screened[at].0);
            // A pair acts on top of its columns.
            let open: Vec<usize> = (0..all.len())
                .filter(|pair| all[*pair].iter().all(|at| known(*at)))
                .collect();
            let own: Vec<_> = open.iter().map(|pair| grids[*pair].clone()).collect();
            let sizes: Vec<[usize; 2]> = open.iter().map(|pair| all[*pair].map(size)).collect();
            let most = usize::from(self.candidate.pairs);
            let strong = strongest(&own, &sizes, &self.noise[fold], most);
            let pairs: Vec<[usize; 2]> = strong.iter().map(|s| all[open[s.pair]]).collect();
            for pair in &pairs {
                let [first, second] = pair.map(|at| &self.plan.screened[at]);
                let term = Term::Pair {
                    columns: [first.0 as u16, second.0 as u16],
                    sizes: [first.1.size as u16, second.1.size as u16],
                    groups: [first.1.groups.clone(), second.1.groups.clone()],
                };
                for output in &mut self.path.points[0][fold] {
                    output.extend(std::iter::repeat_n(0.0, term.parameters()));
                }
                self.path.designs[fold].terms.push(term);
            }
            self.plan.pairs.push(pairs);
        }
        self.finished = self.plan.pairs.iter().all(Vec::is_empty);
        self.phase = Phase::Pairs;
        self.steps = 0;
    }
}

impl Fitting for Ga2mTrainer {
    fn next(&self) -> (AdditivePart, Option<AdditivePath>) {
        let part = match self.phase {
            Phase::Counting => return (AdditivePart::Count(self.ground.count_part()), None),
            Phase::Columns | Phase::Pairs => AdditivePart::Sums(self.sums_part()),
            Phase::Screening => AdditivePart::Screen(self.screen_part()),
        };
        (part, Some(self.path.clone()))
    }

    fn take(&mut self, totals: &PartTotals<'_>) -> Option<LossSums> {
        match self.phase {
            Phase::Counting => {
                let counts = self.ground.count_part().read(totals);
                self.start(&counts);
                None
            }
            Phase::Screening => {
                let grids = self.screen_part().read(totals);
                self.add_pairs(&grids);
                None
            }
            Phase::Columns | Phase::Pairs => {
                let sums = self.sums_part().read(totals);
                Some(self.descend(&sums))
            }
        }
    }

    fn finished(&self) -> bool {
        self.finished
    }

    fn keep(&mut self) {
        self.shown = self.scored.clone();
    }

    fn shown(&self) -> &AdditiveModel {
        &self.shown
    }

    fn current(&self) -> AdditiveModel {
        if self.finished {
            return self.scored.clone();
        }
        self.path.model(self.best)
    }
}

/// What an output is where nothing is known of a row.
fn prior(head: Head, counts: &BinCounts, output: usize) -> f64 {
    let totals = counts.totals();
    let all: u64 = totals.iter().sum();
    let class = match head {
        Head::Number => {
            let sum: f64 = counts.targets.first().map_or(0.0, |bins| bins.iter().sum());
            return sum / all.max(1) as f64;
        }
        Head::Binary => 1,
        Head::Classes(_) => output,
    };
    let own = totals.get(class).copied().unwrap_or(0);
    libm::log((own as f64 + 0.5) / ((all - own) as f64 + 0.5))
}
