//! What a round would ask for, before anybody is asked: its steps and the shape of each.
//!
//! Nothing is guessed that can be tried. A sample of one table stands for all sites: every row of it
//! is counted as often as it takes to have as many as are expected. The real profile runs on it,
//! the real families offer their candidates, and each of those trains for a few steps. What cannot
//! be tried on a sample is when candidates that train on and on stop gaining, so for these
//! [`crate::family::Trainer::usual_steps`] says what is usual; and which candidates go on after
//! a rung: the first of each family stand for them.

use std::collections::{BTreeMap, BTreeSet};

use crate::ask::{Ask, MAX_PARTS, Part, Segment, Stage, Totals};
use crate::family::{self, Head, Offer, logistic};
use crate::features;
use crate::federation::{Federation, FederationError, Pooled};
use crate::metric::{Rows, ScorePart};
use crate::object::{Object, ObjectId};
use crate::profile::{self, Profile, ProfilePart};
use crate::search::budget::{Budget, CLOSING_STEPS, ETA, WAVE_NUMBERS};
use crate::search::candidates::{self, Desk, Entrant};
use crate::search::local_search::{self, Plan};
use crate::search::private;
use crate::search::{Conductor, SearchError, Silent};
use crate::simulate;
use crate::table::Table;
use crate::task::Task;

/// Rows of the sample, at most: training on it takes a second or two.
const SAMPLE_ROWS: usize = 1000;
/// Steps that a candidate is tried for, at most: two stages of deep trees, or nearly all that
/// models of Newton steps take.
const TRIED_STEPS: usize = 16;

/// How many rows and sites there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess {
    /// Rows of all sites together, 1 or more.
    pub rows: u64,
    /// Sites, 1 or more.
    pub sites: usize,
}

/// What a round would ask for.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// What the profile says of the sample, its rows counted as often as the guess says.
    pub profile: Profile,
    /// Families with candidates, in the order of reports.
    pub families: Vec<FamilyEstimate>,
    /// The steps, in order.
    pub steps: Vec<StepShape>,
    /// How many steps there are if no candidate comes to an end before the race does.
    pub most: u32,
    /// Rows of the sample that was tried.
    pub sample: usize,
    /// Most rows that a site trains on in the local search; 0 where there is none.
    pub alone_rows: u64,
}

/// What the candidates of one family come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyEstimate {
    /// Its name.
    pub name: &'static str,
    /// How many candidates it offers.
    pub candidates: usize,
    /// Steps of training of all of them together, as far as they were tried.
    pub tried: u32,
    /// The same in the round.
    pub expected: u32,
    /// Steps of training of all of its candidates in a site's local search, at most.
    pub alone: u32,
}

/// One step of the round.
#[derive(Clone, Debug, PartialEq)]
pub struct StepShape {
    /// Its stage.
    pub stage: Stage,
    /// What a site's answer holds.
    pub segments: Vec<Segment>,
}

impl StepShape {
    /// Numbers of a site's answer.
    #[must_use]
    pub fn numbers(&self) -> u64 {
        let counts = self.segments.iter().map(|it| it.count() as u64);
        counts.sum()
    }
}

/// Estimates a round of this task over tables like this one. `tries` is called with the name of
/// each family before its candidates are tried, and with an empty name after the last: whoever
/// wants to know how long they train reads a clock there, as the search has none.
///
/// # Errors
/// As [`crate::search::run`] over this table alone: it lacks the target, says nothing about it, or
/// no family can be trained.
pub fn estimate(
    task: &Task,
    table: &Table,
    guess: Guess,
    tries: &mut dyn FnMut(&str),
) -> Result<Estimate, SearchError> {
    let sample = table.thinned(SAMPLE_ROWS);
    let rows = sample.rows();
    let mut federation = Repeated {
        inner: simulate::federation(task, vec![(String::new(), sample)])?,
        times: (guess.rows / rows.max(1) as u64).max(1),
        sites: guess.sites.max(1),
        asked: Vec::new(),
    };
    let mut nobody = Silent;
    if task.differential_privacy.is_some() {
        let profile = look(task, table, &mut nobody)?;
        return whole(task, profile, federation, tries);
    }
    let mut conductor = Conductor::new(task, &mut federation, &mut nobody);
    let profile = profile::run(task, &mut conductor)?;
    let profiled = conductor.steps() as usize;
    let pipelines = features::pipelines(task, &profile);
    let mut desk = Desk::new(Offer {
        task,
        profile: &profile,
        pipelines: &pipelines,
        head: Head::of(&profile.target),
    });
    let offers = candidates::offered(desk.offer(), None);
    let budget = Budget::new(task.preset, task.max_steps);
    let local = local_search::plan(&mut desk, &offers, &budget, &mut conductor)?;
    // Those that the sites prefer take the places of some of these, and are of their kind.
    let entrants = desk.entrants(offers, &mut conductor)?;
    let scores: Vec<Vec<Segment>> = entrants.iter().map(|it| score(task, it)).collect();
    let mut tried: Vec<Tried> = Vec::new();
    for entrant in entrants {
        if tried
            .last()
            .is_none_or(|last| last.family != entrant.candidate.family)
        {
            tries(&entrant.candidate.family);
        }
        tried.push(Tried::of(entrant, &mut conductor)?);
    }
    tries("");
    let asked = federation.asked.into_iter().take(profiled);
    let mut steps: Vec<StepShape> = asked
        .map(|segments| StepShape {
            stage: Stage::Profile,
            segments,
        })
        .collect();
    steps.extend(local.iter().map(|plan| StepShape {
        stage: Stage::LocalSearch,
        segments: plan.part.segments(),
    }));
    let before = steps.len() as u32;
    let race = Race::of(task, &tried, before);
    let endless = Race::of(task, &endless(&tried), before).steps.len() as u32;
    steps.extend(race.steps);
    let finalists = race.finalists.iter().flat_map(|at| scores[*at].clone());
    let champion = scores[race.finalists.first().copied().unwrap_or(0)].clone();
    steps.push(StepShape {
        stage: Stage::Race,
        segments: finalists.collect(),
    });
    for stage in closing(task, &race.finalists, profile.labels().len()) {
        let segments = champion.clone();
        steps.push(StepShape { stage, segments });
    }
    Ok(Estimate {
        profile,
        families: families(&tried, &race.trained, local.as_ref()),
        alone_rows: local.map_or(0, |plan| plan.part.sample.into()),
        most: before + endless + CLOSING_STEPS,
        steps,
        sample: rows,
    })
}

/// What this table looks like to whoever holds it, without noise.
fn look(task: &Task, table: &Table, nobody: &mut Silent) -> Result<Profile, SearchError> {
    let (task, sample) = (task.unprotected(), table.thinned(SAMPLE_ROWS));
    let mut own = simulate::federation(&task, vec![(String::new(), sample)])?;
    let mut conductor = Conductor::new(&task, &mut own, nobody);
    Ok(profile::run(&task, &mut conductor)?)
}

/// A round under differential privacy is short enough to be tried as a whole: all of its steps
/// but the last are looks at training rows.
fn whole(
    task: &Task,
    profile: Profile,
    mut federation: Repeated,
    tries: &mut dyn FnMut(&str),
) -> Result<Estimate, SearchError> {
    tries(logistic::NAME);
    let outcome = super::run(task, &mut federation, &mut Silent)?;
    tries("");
    let looks = outcome.steps - 1;
    let stages = (1..=outcome.steps).map(|step| match step > looks {
        true => Stage::Test,
        false => Stage::Race,
    });
    let steps = stages.zip(federation.asked);
    Ok(Estimate {
        sample: profile.train_rows as usize,
        profile,
        families: vec![FamilyEstimate {
            name: logistic::NAME,
            candidates: 1,
            tried: looks,
            expected: looks,
            alone: 0,
        }],
        alone_rows: 0,
        most: private::STEPS,
        steps: steps
            .map(|(stage, segments)| StepShape { stage, segments })
            .collect(),
    })
}

/// The stages after the last scores, a step each: a blend's two where one is tried, of which the first
/// has few numbers; the second also where probabilities of two classes are calibrated.
fn closing(task: &Task, finalists: &[usize], classes: usize) -> Vec<Stage> {
    let together = finalists.len() > 1 && !task.constraints.one_model();
    let mut stages = Vec::new();
    if together {
        stages.push(Stage::Ensemble);
    }
    if together || classes == 2 {
        stages.push(Stage::Calibrate);
    }
    stages.push(Stage::Test);
    stages
}

/// A candidate that was tried.
#[derive(Clone)]
struct Tried {
    family: String,
    pipeline: ObjectId,
    /// What its steps asked for, as far as it was tried: not empty.
    parts: Vec<Vec<Segment>>,
    /// Steps of training until it ends by itself.
    steps: u32,
}

impl Tried {
    fn of(entrant: Entrant, conductor: &mut Conductor<'_>) -> Result<Self, FederationError> {
        let Entrant {
            candidate,
            setting,
            mut trainer,
            ..
        } = entrant;
        let usual = trainer.usual_steps();
        let mut parts: Vec<Vec<Segment>> = Vec::new();
        while !trainer.finished() && parts.len() < TRIED_STEPS {
            let (part, objects) = trainer.ask();
            let segments = part.segments();
            // Whoever trains on and on with equal asks shows nothing new.
            if usual.is_some() && parts.len() > 1 && parts.last() == Some(&segments) {
                break;
            }
            for object in objects {
                conductor.publish(object)?;
            }
            let totals = conductor.sum(Stage::Race, vec![Part::Train(part)])?;
            trainer.learn(&totals.part(0));
            parts.push(segments);
        }
        let steps = match usual {
            _ if trainer.finished() => parts.len() as u32,
            Some(usual) => usual.max(parts.len() as u32),
            // Nearly there, as a rule.
            None => TRIED_STEPS as u32 + 2,
        };
        Ok(Self {
            family: candidate.family,
            pipeline: setting.pipeline,
            parts,
            steps,
        })
    }

    /// What its step `step` (from 0) asks for: the later ones go on as the second half of those
    /// that were tried.
    fn part(&self, step: usize) -> &[Segment] {
        let tried = self.parts.len();
        if step < tried {
            return &self.parts[step];
        }
        let half = tried / 2;
        let period = (tried - half).max(1);
        self.parts
            .get(half + (step - tried) % period)
            .map_or(&[], Vec::as_slice)
    }
}

/// The same candidates, if none ever came to an end.
fn endless(tried: &[Tried]) -> Vec<Tried> {
    let endless = |it: &Tried| Tried {
        steps: u32::MAX,
        ..it.clone()
    };
    tried.iter().map(endless).collect()
}

/// A race that nobody ran.
#[derive(Default)]
struct Race {
    steps: Vec<StepShape>,
    /// Steps of training of each candidate.
    trained: Vec<u32>,
    finalists: Vec<usize>,
}

impl Race {
    fn of(task: &Task, tried: &[Tried], before: u32) -> Self {
        let budget = Budget::new(task.preset, task.max_steps);
        let mut race = Self {
            trained: vec![0; tried.len()],
            finalists: (0..tried.len()).collect(),
            ..Self::default()
        };
        let mut step = 0;
        for (rung, end) in (1..).zip(&budget.rungs) {
            while step < *end {
                let trains = |at: &usize| step < tried[*at].steps;
                let due: Vec<usize> = race.finalists.iter().copied().filter(trains).collect();
                let spent = before + race.steps.len() as u32;
                if due.is_empty() || (step > 0 && !budget.allows(spent, 1)) {
                    break;
                }
                race.train(&due, tried, step);
                step += 1;
            }
            if rung < budget.rungs.len() {
                race.thin_out(tried, step);
            }
        }
        race
    }

    /// One step of training, in as many waves as its numbers need.
    fn train(&mut self, due: &[usize], tried: &[Tried], step: u32) {
        let mut wave = StepShape {
            stage: Stage::Race,
            segments: Vec::new(),
        };
        let mut parts = 0;
        for at in due {
            let part = tried[*at].part(step as usize);
            let more: usize = part.iter().map(Segment::count).sum();
            let full = wave.numbers() as usize + more > WAVE_NUMBERS || parts == MAX_PARTS;
            if full && parts > 0 {
                self.steps.push(StepShape {
                    stage: Stage::Race,
                    segments: std::mem::take(&mut wave.segments),
                });
                parts = 0;
            }
            wave.segments.extend_from_slice(part);
            parts += 1;
            self.trained[*at] += 1;
        }
        self.steps.push(wave);
    }

    fn thin_out(&mut self, tried: &[Tried], step: u32) {
        let mut kept = Vec::new();
        for family in family::names() {
            let finalists = self.finalists.iter();
            let of_family: Vec<usize> = finalists
                .copied()
                .filter(|at| tried[*at].family == family)
                .collect();
            let most = of_family.len().div_ceil(ETA);
            let mut pipelines = BTreeSet::new();
            // As in the race: the best third, and the best on each pipeline that still learns.
            for (place, at) in of_family.into_iter().enumerate() {
                let first = pipelines.insert(tried[at].pipeline);
                if place < most || first && tried[at].steps > step {
                    kept.push(at);
                }
            }
        }
        self.finalists = kept;
    }
}

fn families(tried: &[Tried], trained: &[u32], local: Option<&Plan>) -> Vec<FamilyEstimate> {
    let mut sums: BTreeMap<&str, (usize, u32, u32, u64)> = BTreeMap::new();
    for (tried, trained) in tried.iter().zip(trained) {
        let (candidates, steps, expected, ends) = sums.entry(&tried.family).or_default();
        *candidates += 1;
        *steps += tried.parts.len() as u32;
        *expected += trained;
        *ends += u64::from(tried.steps);
    }
    let known = family::names().into_iter();
    known
        .filter_map(|name| {
            let (candidates, tried, expected, ends) = *sums.get(name)?;
            let each = ends / candidates.max(1) as u64;
            Some(FamilyEstimate {
                alone: local.map_or(0, |plan| {
                    plan.trials(name) as u32 * (u64::from(plan.part.steps).min(each) as u32)
                }),
                name,
                candidates,
                tried,
                expected,
            })
        })
        .collect()
}

/// What the closing step asks of a finalist.
fn score(task: &Task, entrant: &Entrant) -> Vec<Segment> {
    let setting = &entrant.setting;
    let part = ScorePart {
        pipeline: setting.pipeline,
        model: setting.id,
        on: Rows::Validation,
        head: setting.head,
        folds: setting.folds,
        rows: setting.rows,
        curves: setting.head != Head::Number,
        metric: task.metric_with_sums(),
    };
    part.segments()
}

/// One site in this process that stands for many: each of its rows is counted `times` times, and
/// the sums are those of `sites` sites that share these rows.
struct Repeated {
    inner: Pooled,
    times: u64,
    sites: usize,
    /// What was asked, step by step.
    asked: Vec<Vec<Segment>>,
}

impl Repeated {
    /// What `sites` sites would have summed up where one sent `code`.
    fn sum_of(&self, segment: &Segment, code: u64) -> u64 {
        let sites = self.sites as u64;
        match *segment {
            Segment::Count { .. } => code * self.times,
            // Codes are values above the least one, which every site subtracts.
            Segment::Integer { min, .. } => {
                let value = (code as i64 + min) * self.times as i64;
                (value - min * self.sites as i64) as u64
            }
            // An average over rows, in which every site weighs what it does alone.
            Segment::Real { .. } => code * sites,
        }
    }
}

impl Federation for Repeated {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        self.inner.publish(object)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        let one = self.inner.sum(ask)?;
        let segments = ask.segments();
        // Names of columns are counted by site, everything else by row.
        let names = matches!(ask.parts[..], [Part::Profile(ProfilePart::Schema { .. })]);
        let mut codes = one.sums.iter();
        let mut sums = Vec::with_capacity(one.sums.len());
        for segment in &segments {
            let own = codes.by_ref().take(segment.count());
            sums.extend(own.map(|code| match names {
                true => code * self.sites as u64,
                false => self.sum_of(segment, *code),
            }));
        }
        self.asked.push(segments);
        Ok(Totals {
            sums,
            contributors: (1..=self.sites as u16).collect(),
        })
    }

    fn members(&self) -> usize {
        self.sites
    }

    fn time_is_up(&mut self, _steps: u32) -> Result<bool, FederationError> {
        Ok(false)
    }
}
