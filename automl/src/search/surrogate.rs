//! What is worth trying next, from what was tried: a random forest over configurations predicts a
//! loss and how sure it is, and the candidates with the most expected improvement for their cost
//! are proposed. Hutter, Hoos and Leyton-Brown, *Sequential Model-Based Optimization for General
//! Algorithm Configuration* (SMAC), LION 2011; for the cost, Snoek, Larochelle and Adams,
//! *Practical Bayesian Optimization of Machine Learning Algorithms*, NIPS 2012.
//!
//! Losses at several fidelities (steps of training) are learned together, with the fidelity as one
//! more coordinate; proposals are judged at the full one. Seeded: the same tries give the same
//! proposals on every machine.

mod forest;

use crate::random::Stream;
use crate::search::surrogate::forest::Forest;

/// Points drawn at random for each proposal, beside those near the best tries.
const RANDOM_POINTS: usize = 500;
/// The best tries that are searched around, and how many points near each.
const LEADERS: usize = 5;
const NEIGHBOURS: usize = 40;
/// Standard deviation of a neighbour's coordinates, at most; a tenth of it at least.
const STRIDE: f64 = 0.15;
/// With fewer tries than this nothing is learned yet.
pub(crate) const FEWEST_TRIES: usize = 4;

/// What a coordinate of a configuration means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Between two numbers.
    Linear(f64, f64),
    /// Between two positive numbers, equal ratios being equal distances.
    Log(f64, f64),
    /// Whole numbers from the first to the last.
    Whole(u32, u32),
    /// One of so many, without an order.
    Choice(u32),
}

impl Scale {
    /// The value at a coordinate in [0, 1]: the number, or the place of the choice.
    #[must_use]
    pub fn value(self, coordinate: f64) -> f64 {
        let at = coordinate.clamp(0.0, 1.0);
        match self {
            Self::Linear(low, high) => low + at * (high - low),
            Self::Log(low, high) => low * libm::pow(high / low, at),
            Self::Whole(first, last) => f64::from(first) + nth(at, last - first + 1),
            Self::Choice(options) => nth(at, options),
        }
    }

    /// The coordinate of a value; the middle of its stretch for whole numbers and choices.
    #[must_use]
    pub fn coordinate(self, value: f64) -> f64 {
        let at = match self {
            Self::Linear(low, high) => (value - low) / (high - low),
            Self::Log(low, high) => libm::log(value / low) / libm::log(high / low),
            Self::Whole(first, last) => {
                (value - f64::from(first) + 0.5) / f64::from(last - first + 1)
            }
            Self::Choice(options) => (value + 0.5) / f64::from(options),
        };
        at.clamp(0.0, 1.0)
    }

    /// A coordinate near another.
    fn near(self, coordinate: f64, stream: &mut Stream) -> f64 {
        match self {
            // Choices have no neighbours: now and then another one.
            Self::Choice(_) if stream.unit() < 0.8 => coordinate,
            Self::Choice(_) => stream.unit(),
            _ => {
                // Reflected, so that edges are not drawn more often than the inside.
                let stride = STRIDE * libm::pow(0.1, stream.unit());
                let moved = coordinate + stride * stream.normal();
                let folded = libm::fabs(moved);
                let folded = if folded > 1.0 { 2.0 - folded } else { folded };
                folded.clamp(0.0, 1.0)
            }
        }
    }
}

/// Which of `options` equal stretches of [0, 1] a coordinate lies in.
fn nth(at: f64, options: u32) -> f64 {
    libm::floor(at * f64::from(options)).min(f64::from(options) - 1.0)
}

/// A hyperparameter that a search may vary beyond what its family offers at first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// Where it stands in the hyperparameters' JSON: a pointer (RFC 6901) to a number.
    pub pointer: &'static str,
    /// Which values make sense.
    pub scale: Scale,
}

/// Coordinates of a configuration, one for each [`Scale`], in [0, 1].
pub(crate) type Point = Vec<f64>;

/// One configuration that was tried.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Try {
    /// What was tried.
    pub(crate) point: Point,
    /// Share of the full training behind the loss: above 0, at most 1.
    pub(crate) fidelity: f64,
    /// The loss; smaller is better. Infinite and NaN losses count as the worst finite one.
    pub(crate) loss: f64,
    /// What the full training costs, in any unit; above 0.
    pub(crate) cost: f64,
}

/// Proposes up to `count` points, the most promising first; none near each other. At random while too
/// little was tried, or nothing that tells configurations apart.
#[must_use]
pub(crate) fn propose(
    space: &[Scale],
    tries: &[Try],
    count: usize,
    stream: &mut Stream,
) -> Vec<Point> {
    let random = |stream: &mut Stream| -> Point { space.iter().map(|_| stream.unit()).collect() };
    let Some(model) = Model::of(space, tries, stream) else {
        return (0..count).map(|_| random(stream)).collect();
    };
    let mut candidates: Vec<Point> = (0..RANDOM_POINTS).map(|_| random(stream)).collect();
    for leader in model.leaders(tries) {
        for _ in 0..NEIGHBOURS {
            let moved = space.iter().zip(leader);
            candidates.push(moved.map(|(scale, at)| scale.near(*at, stream)).collect());
        }
    }
    let mut scored: Vec<(f64, Point)> = candidates
        .into_iter()
        .map(|point| (model.gain(&point), point))
        .collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut chosen: Vec<Point> = Vec::new();
    for (_, point) in scored {
        if chosen.len() == count {
            break;
        }
        let tried = tries.iter().map(|one| &one.point).chain(&chosen);
        if tried.into_iter().all(|other| !same(space, other, &point)) {
            chosen.push(point);
        }
    }
    chosen
}

/// Whether two points stand for practically the same configuration.
fn same(space: &[Scale], one: &Point, other: &Point) -> bool {
    let mut pairs = space.iter().zip(one.iter().zip(other));
    pairs.all(|(scale, (one, other))| match scale {
        Scale::Linear(..) | Scale::Log(..) => libm::fabs(one - other) < 0.02,
        Scale::Whole(..) | Scale::Choice(_) => scale.value(*one) == scale.value(*other),
    })
}

/// What was learned from the tries.
struct Model<'a> {
    space: &'a [Scale],
    losses: Forest,
    /// Of the logarithm of the cost.
    costs: Forest,
    /// The least loss that the model believes of a try at full fidelity: a lucky one does not set the
    /// mark.
    best: f64,
}

impl<'a> Model<'a> {
    fn of(space: &'a [Scale], tries: &[Try], stream: &mut Stream) -> Option<Self> {
        let finite: Vec<f64> = tries
            .iter()
            .map(|one| one.loss)
            .filter(|l| l.is_finite())
            .collect();
        let worst = finite.iter().copied().max_by(f64::total_cmp)?;
        let least = finite.iter().copied().min_by(f64::total_cmp)?;
        if finite.len() < FEWEST_TRIES || least == worst {
            return None;
        }
        let rows: Vec<Vec<f64>> = tries
            .iter()
            .map(|one| row(space, &one.point, one.fidelity))
            .collect();
        let loss = |one: &Try| {
            if one.loss.is_finite() {
                one.loss
            } else {
                worst
            }
        };
        let losses: Vec<f64> = tries.iter().map(loss).collect();
        let losses = ranked(&losses);
        let costs: Vec<f64> = tries.iter().map(|one| libm::log(one.cost)).collect();
        let mut model = Self {
            space,
            losses: Forest::fit(&rows, &losses, stream),
            costs: Forest::fit(&rows, &costs, stream),
            best: f64::INFINITY,
        };
        let believed = tries.iter().map(|one| model.predict(&one.point).0);
        model.best = believed.min_by(f64::total_cmp)?;
        Some(model)
    }

    /// Mean and standard deviation of a point's loss after the full training.
    fn predict(&self, point: &Point) -> (f64, f64) {
        self.losses.predict(&row(self.space, point, 1.0))
    }

    /// Expected improvement over the best, for the point's cost.
    fn gain(&self, point: &Point) -> f64 {
        let (mean, deviation) = self.predict(point);
        let (cost, _) = self.costs.predict(&row(self.space, point, 1.0));
        expected_improvement(mean, deviation, self.best) / libm::exp(cost)
    }

    /// The tries with the least believed losses.
    fn leaders<'t>(&self, tries: &'t [Try]) -> Vec<&'t Point> {
        let mut ordered: Vec<(f64, &Point)> = tries
            .iter()
            .map(|one| (self.predict(&one.point).0, &one.point))
            .collect();
        ordered.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        ordered
            .into_iter()
            .take(LEADERS)
            .map(|(_, point)| point)
            .collect()
    }
}

/// Log-odds of the losses' ranks. A few terrible configurations would otherwise take all of the trees'
/// attention; what counts is what tells the good ones apart (Salinas, Shen and Perrone, *A Quantile-based
/// Approach for Hyperparameter Transfer Learning*, ICML 2020).
fn ranked(losses: &[f64]) -> Vec<f64> {
    let count = losses.len() as f64;
    let share = |loss: f64| {
        let below = losses.iter().filter(|other| **other < loss).count() as f64;
        let equal = losses.iter().filter(|other| **other == loss).count() as f64;
        (below + equal / 2.0) / count
    };
    let odds = |loss: &f64| libm::log(share(*loss) / (1.0 - share(*loss)));
    losses.iter().map(odds).collect()
}

/// What the forest sees of a point: choices as one column each, for they have no order.
fn row(space: &[Scale], point: &Point, fidelity: f64) -> Vec<f64> {
    let mut row = Vec::with_capacity(space.len() + 1);
    for (scale, at) in space.iter().zip(point) {
        match *scale {
            Scale::Choice(options) => {
                let chosen = scale.value(*at);
                row.extend(
                    (0..options).map(|option| f64::from(u8::from(f64::from(option) == chosen))),
                );
            }
            _ => row.push(*at),
        }
    }
    row.push(libm::log(fidelity.max(1e-6)));
    row
}

/// E[max(0, best − loss)] of a normally distributed loss.
fn expected_improvement(mean: f64, deviation: f64, best: f64) -> f64 {
    let ahead = best - mean;
    if deviation <= 0.0 {
        return ahead.max(0.0);
    }
    let z = ahead / deviation;
    let below = 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2);
    let density = libm::exp(-0.5 * z * z) / libm::sqrt(2.0 * std::f64::consts::PI);
    ahead * below + deviation * density
}

#[cfg(test)]
mod tests;
