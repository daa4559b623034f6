//! The coordinator's side of a GA2M.

use super::Ga2mCandidate;
use super::blocks::{Block, estimate, penalty};
use super::pairs::strongest;
use super::plan::Plan;
use crate::ask::PartTotals;
use crate::family::Head;
use crate::family::additive::{
    AdditiveModel, AdditivePart, AdditivePath, BinCounts, Descent, Design, Fitting, Ground,
    PairGrid, PathSums, Penalty, PointSums, ScreenPart, Signs, Slope, SumsPart, Term,
};
use crate::family::monotone;
use crate::metric::LossSums;

/// Newton steps over columns, and over columns and pairs: the first scores where it
/// starts, the others settle to the last gain from any start we have seen.
const MAX_STEPS: u32 = 5;
/// A step that promises less than this many nats a row is the last one: a hundredth of
/// the standard error of the mean loss over a million rows.
const LAST_GAIN: f64 = 3e-6;

/// Steps of a phase that ask for the Hessian; later ones take the last one, which
/// differs little where they are, and send a hundredth of the numbers.
const HESSIANS: u32 = 3;

/// Steps of a phase before which the weights are estimated twice, each time after solving
/// with those at hand; later once, when they hardly change.
const UNSETTLED: u32 = 2;

/// What the next step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Counting,
    Columns,
    Screening,
    Pairs,
}

/// Fits one GA2M a fold, all in lockstep, for some multiples of its penalties.
#[derive(Clone, Debug)]
pub struct Ga2mTrainer {
    candidate: Ga2mCandidate,
    ground: Ground,
    /// The way that outputs have to go along each column.
    ways: Vec<i8>,
    phase: Phase,
    plan: Plan,
    path: AdditivePath,
    /// `[fold][output]`: how each effect is held back.
    blocks: Vec<Vec<Vec<Block>>>,
    /// `[point][fold][output]`: the multiples of that.
    penalties: Vec<Vec<Vec<Penalty>>>,
    /// `[point][fold][output]`.
    descents: Vec<Vec<Vec<Descent>>>,
    /// The point with the least validation loss of the last step.
    best: usize,
    /// The point whose multiple is nearest 1: its Hessian is asked for, and weights are
    /// estimated there.
    reference: usize,
    /// `[fold][output]`: the Hessian that came last.
    hessians: Vec<Vec<Vec<f64>>>,
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
    /// # Errors
    /// When the candidate's monotone columns are none of the ground's with an order.
    pub(crate) fn new(candidate: Ga2mCandidate, ground: Ground) -> Result<Self, String> {
        let ways = monotone::along(&candidate.monotone, ground.head, &ground.columns)?;
        let folds = usize::from(ground.folds);
        let outputs = ground.head.outputs();
        let path = ground.path(
            vec![Design::default(); folds],
            vec![vec![vec![0.0]; outputs]; folds],
        );
        let model = path.model(0);
        Ok(Self {
            candidate,
            ways,
            phase: Phase::Counting,
            plan: Plan::default(),
            path,
            blocks: Vec::new(),
            penalties: Vec::new(),
            descents: Vec::new(),
            best: 0,
            reference: 0,
            hessians: Vec::new(),
            steps: 0,
            noise: vec![vec![1.0; outputs]; folds],
            scored: model.clone(),
            shown: model,
            finished: false,
            ground,
        })
    }

    fn sums_part(&self) -> SumsPart {
        let hessian_at = (self.steps < HESSIANS).then_some(self.reference);
        SumsPart::of(&self.path, self.ground.rows, hessian_at)
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
        self.plan = Plan::new(&self.candidate, &self.ground, &self.ways, counts);
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
            let mut blocks: Vec<Block> = Vec::new();
            for column in &self.plan.columns[fold] {
                let start = blocks.last().map_or(1, Block::end);
                let grouping = &self.plan.groupings[*column];
                blocks.push(Block::of_column(start, grouping, &self.candidate.weights));
            }
            self.blocks.push(vec![blocks; outputs]);
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
    fn descend(&mut self, sums: PathSums) -> LossSums {
        let means = sums.validation.iter().map(LossSums::mean);
        let best = means
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(0, |(point, _)| point);
        self.scored = self.path.model(best);
        let losses = sums.validation[best];
        self.measure_noise(&sums, best);
        if !sums.hessians.is_empty() {
            self.hessians = sums.hessians;
        }
        let first = self.steps == 0;
        self.steps += 1;
        if first {
            self.spread();
        } else {
            self.best = best;
        }
        self.step(&sums.points, first);
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

    /// From one point to one for every multiple.
    fn spread(&mut self) {
        let points = self.candidate.multiples.len();
        let point = self.path.points[0].clone();
        self.path.points = vec![point; points];
        let outputs = self.ground.head.outputs();
        let folds = self.path.designs.len();
        self.descents = vec![vec![vec![Descent::default(); outputs]; folds]; points];
        self.penalties = vec![vec![vec![Penalty::default(); outputs]; folds]; points];
        self.reference = self.candidate.reference();
        self.best = self.reference;
    }

    /// One step of every output of every fold at every point: those that came too far go
    /// back half the way, the others on, under weights that are estimated anew first.
    fn step(&mut self, points: &[Vec<Vec<PointSums>>], first: bool) {
        for fold in 0..self.path.designs.len() {
            for output in 0..self.ground.head.outputs() {
                // In the first step there is one point for all multiples.
                let many = self.path.points.len();
                let asked = points
                    .iter()
                    .cycle()
                    .take(if first { many } else { points.len() });
                let own: Vec<&PointSums> = asked.map(|sums| &sums[fold][output]).collect();
                let goes: Vec<bool> = (0..own.len())
                    .map(|point| self.at(point, fold, output, own[point], Descent::accepts))
                    .collect();
                if goes[self.reference] {
                    self.weigh(fold, output, own[self.reference]);
                }
                for point in (0..own.len()).filter(|point| goes[*point]) {
                    self.at(
                        point,
                        fold,
                        output,
                        own[point],
                        |descent, coefficients, slope| {
                            descent.advance(coefficients, slope);
                            true
                        },
                    );
                    // A step that this makes too far is halved: what lies between two sets of
                    // monotone effects is monotone.
                    let coefficients = &mut self.path.points[point][fold][output];
                    self.plan.project(fold, coefficients);
                }
            }
        }
    }

    /// Moves one output of a fold at one point.
    fn at(
        &mut self,
        point: usize,
        fold: usize,
        output: usize,
        sums: &PointSums,
        move_on: impl Fn(&mut Descent, &mut Vec<f64>, &Slope<'_>) -> bool,
    ) -> bool {
        let slope = Slope {
            sums,
            hessian: &self.hessians[fold][output],
            penalty: &self.penalties[point][fold][output],
            signs: Signs::Free,
            rows: self.ground.rows,
            last_gain: LAST_GAIN / self.ground.head.outputs() as f64,
        };
        let coefficients = &mut self.path.points[point][fold][output];
        move_on(
            &mut self.descents[point][fold][output],
            coefficients,
            &slope,
        )
    }

    /// Estimates the weights of one output of a fold, and renews its penalties.
    fn weigh(&mut self, fold: usize, output: usize, sums: &PointSums) {
        let blocks = &mut self.blocks[fold][output];
        if self.candidate.weights.estimated {
            let rounds = if self.steps <= UNSETTLED { 2 } else { 1 };
            estimate(
                blocks,
                &self.path.points[self.reference][fold][output],
                &sums.gradient,
                &self.hessians[fold][output],
                self.noise[fold][output],
                rounds,
            );
        }
        for (penalties, times) in self.penalties.iter_mut().zip(&self.candidate.multiples) {
            penalties[fold][output] = penalty(blocks, *times);
        }
    }

    fn close_phase(&mut self) {
        let wants_pairs = self.phase == Phase::Columns && self.plan.screened.len() >= 2;
        if !wants_pairs {
            self.finished = true;
            return;
        }
        self.path.points = vec![self.path.points.swap_remove(self.best)];
        (self.best, self.reference) = (0, 0);
        self.phase = Phase::Screening;
    }

    /// Adds the strongest pairs of each fold, with no effect yet. `grids` are by fold,
    /// pair and output.
    fn add_pairs(&mut self, grids: &[Vec<Vec<PairGrid>>]) {
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
                let start = self.path.designs[fold].parameters();
                let sides = [&first.1, &second.1];
                let block = Block::of_pair(start, sides, &self.candidate.weights);
                for blocks in &mut self.blocks[fold] {
                    blocks.push(block.clone());
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
                Some(self.descend(sums))
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
