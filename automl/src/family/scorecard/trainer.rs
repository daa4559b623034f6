//! The coordinator's side of a scorecard.

use super::ScorecardCandidate;
use super::woe::{Classing, Rule, classing};
use crate::ask::PartTotals;
use crate::family::additive::{
    AdditiveModel, AdditivePart, AdditivePath, BinCounts, Descent, Design, Fitting, Ground,
    Penalty, Signs, Slope, SumsPart, Term,
};
use crate::family::monotone;
use crate::metric::LossSums;

/// Most columns of a scorecard: people have to read it.
const MAX_COLUMNS: usize = 60;
/// Newton steps until a model is taken as it is; five are usual.
const MAX_STEPS: u32 = 12;
/// A step that promises less than this many nats a row is the last one.
const LAST_GAIN: f64 = 1e-8;

/// Fits one scorecard a fold, all in lockstep.
#[derive(Clone, Debug)]
pub struct ScorecardTrainer {
    candidate: ScorecardCandidate,
    ground: Ground,
    /// The way that the risk has to go along each column.
    ways: Vec<i8>,
    /// The designs once labels have been counted; one point for each ridge.
    path: AdditivePath,
    counted: bool,
    /// `[point][fold]`.
    descents: Vec<Vec<Descent>>,
    /// The point with the least validation loss: its Hessian is asked for.
    best: usize,
    /// The model whose losses were learned last, and the one that is shown.
    scored: AdditiveModel,
    shown: AdditiveModel,
    steps: u32,
    finished: bool,
}

impl ScorecardTrainer {
    /// # Errors
    /// When the candidate's monotone columns are none of the ground's with an order.
    pub(crate) fn new(candidate: ScorecardCandidate, ground: Ground) -> Result<Self, String> {
        let ways = monotone::along(&candidate.monotone, ground.head, &ground.columns)?;
        let designs = vec![Design::default(); usize::from(ground.folds)];
        let path = ground.path(designs, vec![vec![vec![0.0]]; usize::from(ground.folds)]);
        let model = path.model(0);
        Ok(Self {
            candidate,
            ground,
            ways,
            path,
            counted: false,
            descents: Vec::new(),
            best: 0,
            scored: model.clone(),
            shown: model,
            steps: 0,
            finished: false,
        })
    }

    fn sums_part(&self) -> SumsPart {
        SumsPart::of(&self.path, self.ground.rows, Some(self.best))
    }

    /// Coarse classing, and the first guess: the intercept of the prior, every
    /// coefficient 1, which is naive Bayes.
    fn start(&mut self, counts: &[BinCounts]) {
        let mut designs = Vec::new();
        let mut points = Vec::new();
        for fold in counts {
            let terms = self.terms(fold);
            // Columns that say the same would count twice: the more there are, the
            // further naive Bayes goes too far. Newton steps mend that.
            let start = if terms.is_empty() {
                0.0
            } else {
                1.0 / libm::sqrt(terms.len() as f64)
            };
            let mut coefficients = vec![start; 1 + terms.len()];
            coefficients[0] = prior(&fold.totals());
            designs.push(Design { terms });
            points.push(vec![coefficients]);
        }
        let ridges = self.candidate.ridges.len();
        self.descents = vec![vec![Descent::default(); counts.len()]; ridges];
        self.path = self.ground.path(designs, points);
        self.path.points = vec![self.path.points[0].clone(); ridges];
        self.counted = true;
    }

    fn terms(&self, fold: &BinCounts) -> Vec<Term> {
        let rows: u64 = fold.totals().iter().sum();
        let chance = chance(&fold.totals());
        let rule = Rule {
            most: usize::from(self.candidate.groups),
            least_rows: libm::ceil(self.candidate.least_share * rows as f64).max(1.0) as u64,
            shape: self.candidate.shape,
            way: 0,
        };
        let mut kept: Vec<(usize, Classing)> = Vec::new();
        for (at, column) in self.ground.columns.iter().enumerate() {
            let bins: Vec<[u64; 2]> = fold.classes[at].iter().map(|c| [c[0], c[1]]).collect();
            let way = self.ways[at];
            let classing = classing(&bins, column.ordered, &Rule { way, ..rule });
            let tells = classing.woe.iter().any(|woe| *woe != 0.0);
            let least = chance * classing.groups as f64;
            if tells && classing.value >= least.max(self.candidate.least_value) {
                kept.push((at, classing));
            }
        }
        kept.sort_by(|a, b| b.1.value.total_cmp(&a.1.value).then(a.0.cmp(&b.0)));
        kept.truncate(MAX_COLUMNS);
        kept.sort_by_key(|(at, _)| *at);
        kept.iter()
            .map(|(at, classing)| classing.term(*at))
            .collect()
    }
}

impl Fitting for ScorecardTrainer {
    fn next(&self) -> (AdditivePart, Option<AdditivePath>) {
        if !self.counted {
            return (AdditivePart::Count(self.ground.count_part()), None);
        }
        (
            AdditivePart::Sums(self.sums_part()),
            Some(self.path.clone()),
        )
    }

    fn take(&mut self, totals: &PartTotals<'_>) -> Option<LossSums> {
        if !self.counted {
            let counts = self.ground.count_part().read(totals);
            self.start(&counts);
            return None;
        }
        let sums = self.sums_part().read(totals);
        let means = sums.validation.iter().map(LossSums::mean);
        self.best = means
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(0, |(point, _)| point);
        self.scored = self.path.model(self.best);
        self.steps += 1;
        let before = self.path.points[self.best].clone();
        for (point, folds) in self.descents.iter_mut().enumerate() {
            for (fold, descent) in folds.iter_mut().enumerate() {
                let mut penalty = Penalty::default();
                let coefficients = &mut self.path.points[point][fold][0];
                penalty.ridge(1..coefficients.len(), self.candidate.ridges[point]);
                let slope = Slope {
                    sums: &sums.points[point][fold][0],
                    hessian: &sums.hessians[fold][0],
                    penalty: &penalty,
                    signs: Signs::NonNegative,
                    rows: self.ground.rows,
                    last_gain: LAST_GAIN,
                };
                descent.learn(coefficients, &slope);
            }
        }
        let moved = self.path.points[self.best] != before;
        self.finished = !moved || self.steps >= MAX_STEPS;
        sums.validation.get(self.best).copied()
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

/// Information value of a group that chance may well give: 4 in units of χ², which the
/// information value is times rows · share of positives · share of negatives.
fn chance(totals: &[u64]) -> f64 {
    let [negative, positive] = totals else {
        return 0.0;
    };
    let (negative, positive) = (*negative as f64, *positive as f64);
    4.0 * (negative + positive) / (negative * positive).max(1.0)
}

/// Log-odds of the classes, with half a row more of each.
fn prior(totals: &[u64]) -> f64 {
    match totals {
        [negative, positive] => libm::log((*positive as f64 + 0.5) / (*negative as f64 + 0.5)),
        _ => 0.0,
    }
}
