//! Synchronous successive halving: all candidates train in lockstep, and after
//! each rung the better third of every family goes on. Jamieson and Talwalkar,
//! *Non-stochastic Best Arm Identification and Hyperparameter Optimization*,
//! AISTATS 2016.
//!
//! Families are thinned out separately: a linear model is done after five
//! steps, a network is not, so early losses compare only within a family.

use std::collections::BTreeSet;

use crate::ask::{MAX_PARTS, Part, Segment, Stage};
use crate::family::{self, AnyPart, Head};
use crate::federation::FederationError;
use crate::metric::{LossSums, Metrics, Rows, ScorePart, Scored};
use crate::object::Object;
use crate::search::budget::{Budget, ETA, WAVE_NUMBERS};
use crate::search::candidates::Entrant;
use crate::search::ensemble::Finalist;
use crate::search::local_search;
use crate::search::observer::{Early, Standing, State};
use crate::search::path::{self, Ended, History, Rung};
use crate::search::{Conductor, SearchError};
use crate::task::{Kind, Metric, Task};

/// Steps of training after which watchers see the leaderboard again.
const TELL_EVERY: u32 = 10;

/// A candidate in the race.
struct Runner {
    entrant: Entrant,
    /// Validation losses of what it has to show.
    shown: Option<LossSums>,
    /// The model of the closing step, where that is what it shows.
    closed: Option<Object>,
    /// Figures of the closing step, where curves were asked for.
    closing: Option<Scored>,
    /// Steps of training so far.
    steps: u32,
    /// Steps of training behind `shown`.
    shown_steps: u32,
    dropped: bool,
    history: History,
}

/// How a race ends.
pub(crate) struct Finish {
    /// The best first; at least one.
    pub(crate) finalists: Vec<Finalist>,
    pub(crate) leaderboard: Vec<Standing>,
    pub(crate) early: Option<Early>,
}

impl Runner {
    fn new(entrant: Entrant) -> Self {
        let history = History {
            local: entrant.tried.and_then(local_search::mean),
            cost: local_search::cost(entrant.tried),
            ..History::default()
        };
        Self {
            entrant,
            shown: None,
            closed: None,
            closing: None,
            steps: 0,
            shown_steps: 0,
            dropped: false,
            history,
        }
    }

    fn family(&self) -> &str {
        &self.entrant.candidate.family
    }

    fn trains(&self) -> bool {
        let trainer = &self.entrant.trainer;
        let gained = self.steps - self.shown_steps <= trainer.patience();
        !self.dropped && gained && !trainer.finished()
    }

    fn drop_out(&mut self, ended: Ended) {
        self.dropped = true;
        self.history.ended = Some(ended);
    }

    /// Notes what it has to show at the end of a rung, and its place among the `of` candidates of
    /// its family in it.
    fn reach(&mut self, rung: u32, rank: usize, of: usize) {
        let Standing { loss, loss_se, .. } = self.standing();
        self.history.path.push(Rung {
            rung,
            steps: self.steps,
            loss,
            se: loss_se,
            rank: rank as u32,
            of: of as u32,
        });
    }

    fn loss(&self) -> f64 {
        self.shown.as_ref().map_or(f64::INFINITY, LossSums::mean)
    }

    /// Whether a model with these losses replaces what is shown.
    fn supersedes(&self, losses: &LossSums) -> bool {
        match &self.shown {
            Some(old) => self.entrant.trainer.supersedes(losses, old),
            None => true,
        }
    }

    fn show(&mut self, losses: LossSums) {
        self.shown = Some(losses);
        self.shown_steps = self.steps;
    }

    /// The model it shows.
    fn model(&self) -> Object {
        let closed = self.closed.clone();
        closed.unwrap_or_else(|| self.entrant.trainer.shown())
    }

    /// Its validation sums, with curves where the closing step asked for them.
    fn scored(&self) -> Scored {
        self.closing.clone().unwrap_or_else(|| Scored {
            losses: self.shown.unwrap_or_default(),
            ..Scored::default()
        })
    }

    fn standing(&self) -> Standing {
        let losses = self.shown.as_ref();
        let finite = |value: f64| value.is_finite().then_some(value);
        Standing {
            id: self.entrant.candidate.id,
            name: self.entrant.candidate.name.clone(),
            family: self.family().to_owned(),
            loss: losses.and_then(|l| finite(l.mean())),
            loss_se: losses.and_then(|l| finite(l.standard_error())),
            steps: self.shown_steps,
            state: if self.dropped {
                State::Dropped
            } else {
                State::Running
            },
            history: Some(self.history.clone()),
        }
    }
}

/// Runs the race to its end.
pub(crate) fn run(
    task: &Task,
    entrants: Vec<Entrant>,
    budget: &Budget,
    conductor: &mut Conductor<'_>,
) -> Result<Finish, SearchError> {
    let mut runners: Vec<Runner> = entrants.into_iter().map(Runner::new).collect();
    conductor.expect_steps(budget.about(conductor.steps()));
    let rungs = budget.rungs.len() as u32;
    let mut step = 0;
    let mut waves = 1;
    let mut early = None;
    let mut rung = 1;
    'race: for end in &budget.rungs {
        while step < *end && runners.iter().any(Runner::trains) {
            // However small the budget, one step of training makes a champion.
            let spent = conductor.steps();
            if step > 0 {
                early = spent_budget(budget, waves, conductor)?;
            }
            if early.is_none() {
                early = train_unless_spoiled(&mut runners, step, conductor)?;
            }
            if early.is_some() {
                break 'race;
            }
            waves = conductor.steps() - spent;
            step += 1;
            conductor.expect_steps(budget.about_from(conductor.steps(), step, waves));
            if step.is_multiple_of(TELL_EVERY) && step < *end {
                conductor.leaderboard(&standings(&runners));
            }
        }
        if rung < rungs {
            thin_out(&mut runners, rung, rungs);
            rung += 1;
        }
        conductor.leaderboard(&standings(&runners));
    }
    conductor.expect_steps(conductor.steps() + budget.closing());
    settle(&mut runners, rungs, early.as_ref());
    close(task, &mut runners, conductor)?;
    for runner in runners.iter_mut().filter(|runner| !runner.dropped) {
        runner.history.metric = figure(task, runner);
    }
    for family in family::names() {
        note_ranks(&mut runners, family, rung);
    }
    finish(task, runners, early)
}

/// Which budget leaves no room for another step of training, if one does.
fn spent_budget(
    budget: &Budget,
    waves: u32,
    conductor: &mut Conductor<'_>,
) -> Result<Option<Early>, FederationError> {
    Ok(if !budget.allows(conductor.steps(), waves) {
        Some(Early::Steps)
    } else if conductor.time_is_up()? {
        Some(Early::Time)
    } else {
        None
    })
}

/// One step of training. After the first, a sum that does not open ends the training, and the
/// round goes on with what was learned before it.
fn train_unless_spoiled(
    runners: &mut [Runner],
    step: u32,
    conductor: &mut Conductor<'_>,
) -> Result<Option<Early>, SearchError> {
    match train(runners, conductor) {
        Ok(()) => Ok(None),
        Err(FederationError::Spoiled { sequence, reason }) if step > 0 => {
            Ok(Some(Early::Spoiled { sequence, reason }))
        }
        Err(error) => Err(error.into()),
    }
}

/// One step of training for every candidate in the race, in as many waves as
/// the numbers need.
fn train(runners: &mut [Runner], conductor: &mut Conductor<'_>) -> Result<(), FederationError> {
    let mut due: Vec<usize> = (0..runners.len())
        .filter(|at| runners[*at].trains())
        .collect();
    while !due.is_empty() {
        let mut wave: Vec<(usize, AnyPart)> = Vec::new();
        let mut numbers = 0;
        for at in &due {
            let (part, objects) = runners[*at].entrant.trainer.ask();
            numbers += numbers_of(&part);
            let full = numbers > WAVE_NUMBERS || wave.len() == MAX_PARTS;
            if full && !wave.is_empty() {
                break;
            }
            for object in objects {
                conductor.publish(object)?;
            }
            wave.push((*at, part));
        }
        due.drain(..wave.len());
        let parts = wave.iter().map(|(_, part)| Part::Train(part.clone()));
        let totals = conductor.sum(Stage::Race, parts.collect())?;
        for (index, (at, part)) in wave.into_iter().enumerate() {
            let runner = &mut runners[at];
            runner.history.cost.add(1, numbers_of(&part));
            let scored = runner.entrant.trainer.learn(&totals.part(index));
            if let Some(losses) = scored
                && runner.supersedes(&losses)
            {
                runner.entrant.trainer.keep();
                runner.show(losses);
            }
            runner.steps += 1;
        }
    }
    Ok(())
}

fn numbers_of(part: &AnyPart) -> usize {
    part.segments().iter().map(Segment::count).sum()
}

/// Keeps the better third of each family, at least one, and of those nobody who is left far behind
/// for good. The best on each pipeline goes on too while it still learns: a rung shows who learns fast, and
/// what features are worth may take slow learning.
fn thin_out(runners: &mut [Runner], rung: u32, rungs: u32) {
    for family in family::names() {
        let ranked = note_ranks(runners, family, rung);
        let kept = ranked.len().div_ceil(ETA);
        let Some(leader) = ranked.first().map(|at| runners[*at].history.path.clone()) else {
            continue;
        };
        let mut pipelines = BTreeSet::new();
        for (place, at) in ranked.iter().enumerate() {
            let runner = &mut runners[*at];
            let best_on_it = pipelines.insert(runner.entrant.setting.pipeline);
            if place >= kept && !(best_on_it && runner.trains()) {
                runner.drop_out(Ended::Outranked {
                    rung,
                    rungs,
                    rank: place as u32 + 1,
                    of: ranked.len() as u32,
                    kept: kept as u32,
                });
            } else if let Some(behind) = path::left_behind(&runner.history.path, &leader) {
                runner.drop_out(Ended::LeftBehind {
                    rung,
                    rungs,
                    behind,
                });
            }
        }
    }
}

/// Notes where the candidates of a family stand at the end of a rung that they were in; returns
/// them, the best first.
fn note_ranks(runners: &mut [Runner], family: &str, rung: u32) -> Vec<usize> {
    let mut ranked: Vec<usize> = (0..runners.len())
        .filter(|at| !runners[*at].dropped && runners[*at].family() == family)
        .collect();
    ranked.sort_by(|a, b| runners[*a].loss().total_cmp(&runners[*b].loss()));
    for (place, at) in ranked.iter().enumerate() {
        runners[*at].reach(rung, place + 1, ranked.len());
    }
    ranked
}

/// Notes why the finalists train no further.
fn settle(runners: &mut [Runner], rungs: u32, early: Option<&Early>) {
    for runner in runners.iter_mut().filter(|runner| !runner.dropped) {
        let ended = match early {
            _ if runner.entrant.trainer.finished() => Ended::Trained {
                steps: runner.steps,
            },
            _ if !runner.trains() => Ended::NoGain {
                steps: runner.steps - runner.shown_steps,
            },
            Some(early) => Ended::Closed {
                early: early.clone(),
            },
            None => Ended::LastRung { rungs },
        };
        runner.history.ended = Some(ended);
    }
}

/// Scores what is still unscored, in one step: the finalists' last weights, and
/// the curves of all finalists.
fn close(
    task: &Task,
    runners: &mut [Runner],
    conductor: &mut Conductor<'_>,
) -> Result<(), SearchError> {
    let metric = task.metric_with_sums();
    let mut asked: Vec<(usize, Option<Object>, ScorePart)> = Vec::new();
    for (at, runner) in runners.iter().enumerate().filter(|(_, r)| !r.dropped) {
        let setting = &runner.entrant.setting;
        let curves = setting.head != Head::Number;
        let mut ask = |object: Object, current: bool| {
            let part = ScorePart {
                pipeline: setting.pipeline,
                model: conductor.publish(object.clone())?,
                on: Rows::Validation,
                head: setting.head,
                folds: setting.folds,
                rows: setting.rows,
                curves,
                metric,
            };
            asked.push((at, current.then_some(object), part));
            Ok::<(), FederationError>(())
        };
        // What is shown first: the current model may replace it below.
        if (curves || metric.is_some()) && runner.shown.is_some() {
            ask(runner.model(), false)?;
        }
        if runner.trains() || runner.shown.is_none() {
            ask(runner.entrant.trainer.model(), true)?;
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    let parts = asked
        .iter()
        .map(|(_, _, p)| Part::Score(p.clone()))
        .collect();
    let totals = conductor.sum(Stage::Race, parts)?;
    let mut before = None;
    for (index, (at, current, part)) in asked.into_iter().enumerate() {
        let scored = part.read(&totals.part(index));
        let runner = &mut runners[at];
        // Some have two parts in this one step.
        let steps = u32::from(before.replace(at) != Some(at));
        runner.history.cost.add(steps, Part::Score(part).numbers());
        match current {
            None => runner.closing = Some(scored),
            Some(model) if runner.supersedes(&scored.losses) => {
                runner.show(scored.losses);
                runner.closed = Some(model);
                runner.closing = Some(scored);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Those still in the race first, and of equals the one with the smaller loss.
fn standings(runners: &[Runner]) -> Vec<Standing> {
    let mut order: Vec<&Runner> = runners.iter().collect();
    order.sort_by(|a, b| {
        let by_loss = a.loss().total_cmp(&b.loss());
        a.dropped.cmp(&b.dropped).then(by_loss)
    });
    order.into_iter().map(Runner::standing).collect()
}

/// The task's metric, where the sums give it.
fn figure(task: &Task, runner: &Runner) -> Option<f64> {
    let figures = Metrics::from_scored(&runner.scored(), runner.entrant.setting.features.target());
    figures.get(metric(task, runner))
}

fn metric(task: &Task, runner: &Runner) -> Metric {
    let kind = match runner.entrant.setting.head {
        Head::Number => Kind::Regression,
        Head::Binary | Head::Classes(_) => Kind::Classification,
    };
    task.metric_for(kind)
}

/// What the task ranks finalists by, smaller being better: its metric where the
/// sums give it, the validation loss elsewhere.
fn rank(task: &Task, runner: &Runner) -> f64 {
    match runner.history.metric {
        Some(value) if metric(task, runner).larger_is_better() => -value,
        Some(value) => value,
        None => runner.loss(),
    }
}

/// The candidates that are left, the best first, and behind them those that were dropped and yet
/// are better than the worst that is left: another family's best, which may need them.
fn finish(task: &Task, runners: Vec<Runner>, early: Option<Early>) -> Result<Finish, SearchError> {
    let leaderboard = standings(&runners);
    let left = |runner: &&Runner| !runner.dropped && runner.loss().is_finite();
    let losses = runners.iter().filter(left).map(Runner::loss);
    let worst = losses
        .max_by(f64::total_cmp)
        .ok_or(SearchError::NothingScored)?;
    let near = runners.into_iter().filter(|it| it.loss() <= worst);
    let mut ranked: Vec<(f64, Runner)> = near.map(|it| (rank(task, &it), it)).collect();
    // Ranks first (those that were dropped have no curves, so only their own compare), then
    // losses, then the portfolio's order.
    ranked.sort_by(|(rank, a), (other, b)| {
        let by_rank = a.dropped.cmp(&b.dropped).then(rank.total_cmp(other));
        by_rank.then(a.loss().total_cmp(&b.loss()))
    });
    let finalists = ranked.into_iter().map(|(_, runner)| Finalist {
        model: runner.model(),
        scored: runner.scored(),
        entrant: runner.entrant,
    });
    Ok(Finish {
        finalists: finalists.collect(),
        leaderboard,
        early,
    })
}
