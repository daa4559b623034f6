//! From finalists to what the round ends with: one of them, or a blend of several.
//!
//! One step sums the products of the finalists' errors, the next scores the blend
//! that follows from them, each group of rows with weights fitted to the other
//! groups. On rows that chose the weights a blend always looks better than its best
//! member; it is kept only when it is better on rows that did not. Any gain there counts: the best
//! finalist was chosen by the same rows, and looks better than it is.

use crate::ask::{Part, Stage};
use crate::blend::{
    BlendPart, Blended, GROUPS, Gram, GramPart, MAX_BLENDED, MAX_MEMBERS, Member, simplex,
};
use crate::calibrate::{Platt, Threshold};
use crate::family::Head;
use crate::federation::FederationError;
use crate::metric::{Metrics, Rows, Scored};
use crate::model::{self, Blend, BlendMember, Champion, Lineage, TaskSummary};
use crate::object::{MAX_OBJECT_BYTES, Object, ObjectId};
use crate::search::budget::Budget;
use crate::search::calibrate;
use crate::search::candidates::Entrant;
use crate::search::observer::{Early, Standing, State};
use crate::search::{Conductor, SearchError};
use crate::task::Task;

/// Most bytes of all models that may go together, so that the champion's file keeps within its
/// cap: a quarter is left for pipelines.
const MOST_BYTES: usize = MAX_OBJECT_BYTES / 4 * 3;

/// A candidate that may be in what the round ends with, and the model it shows.
pub(crate) struct Finalist {
    pub(crate) entrant: Entrant,
    pub(crate) model: Object,
    /// Its figures on validation rows.
    pub(crate) scored: Scored,
}

/// What the round ends with.
pub(crate) struct Chosen {
    /// The models with their weights, the largest first.
    pub(crate) members: Vec<(Finalist, f64)>,
    /// Figures on validation rows, in cross-fitting where there are several.
    pub(crate) validation: Scored,
    pub(crate) calibration: Option<Platt>,
    pub(crate) threshold: Option<Threshold>,
}

impl Chosen {
    fn alone(finalists: Vec<Finalist>) -> Result<Self, SearchError> {
        let best = finalists.into_iter().next();
        let best = best.ok_or(SearchError::NothingScored)?;
        Ok(Self {
            validation: best.scored.clone(),
            members: vec![(best, 1.0)],
            calibration: None,
            threshold: None,
        })
    }
}

/// Weights for the finalists.
struct Weights {
    /// For each group of rows, fitted to the other groups.
    crossed: Vec<Vec<f64>>,
    /// Fitted to all.
    all: Vec<f64>,
}

/// Chooses among finalists, the best first. A sum that does not open leaves the best one alone:
/// `early` then says so.
pub(crate) fn run(
    task: &Task,
    finalists: Vec<Finalist>,
    budget: &Budget,
    early: &mut Option<Early>,
    conductor: &mut Conductor<'_>,
) -> Result<Chosen, SearchError> {
    // Out of time, or with somebody who spoils sums, the round ends as soon as it can.
    let mut hurried = matches!(early, Some(Early::Time | Early::Spoiled { .. }));
    if !hurried && conductor.time_is_up()? {
        *early = Some(Early::Time);
        hurried = true;
    }
    let finalists = contenders(task, finalists);
    let mut found = Found::default();
    if !hurried {
        match weigh(task, &finalists, budget, conductor) {
            Ok(result) => found = result,
            Err(SearchError::Federation(FederationError::Spoiled { sequence, reason })) => {
                *early = Some(Early::Spoiled { sequence, reason });
            }
            Err(error) => return Err(error),
        }
    }
    let mut chosen = choose(finalists, found)?;
    chosen.threshold = calibrate::threshold(task, &chosen);
    Ok(chosen)
}

/// What the two steps found.
#[derive(Default)]
struct Found {
    /// The final weights of a blend that is kept, with its figures.
    blend: Option<(Vec<f64>, Scored)>,
    calibration: Option<Platt>,
}

/// The steps that the budget, the task and the target leave room for.
fn weigh(
    task: &Task,
    finalists: &[Finalist],
    budget: &Budget,
    conductor: &mut Conductor<'_>,
) -> Result<Found, SearchError> {
    let Some(best) = finalists.first() else {
        return Ok(Found::default());
    };
    let two_classes = best.entrant.setting.head == Head::Binary;
    let together = finalists.len() > 1 && budget.has_room(conductor.steps(), 2);
    if !(together || two_classes && budget.has_room(conductor.steps(), 1)) {
        return Ok(Found::default());
    }
    let members = lineup(
        if together { finalists } else { &finalists[..1] },
        conductor,
    )?;
    let mut weights = None;
    if members.len() > 1 {
        conductor.enter(Stage::Ensemble);
        weights = fit(best, &members, conductor)?;
    }
    let mut parts = Vec::new();
    if let Some(weights) = &weights {
        parts.push(blend_part(task, best, &members, weights));
    }
    if two_classes {
        parts.push(alone_part(task, best, members[0]));
    }
    if parts.is_empty() {
        return Ok(Found::default());
    }
    conductor.enter(Stage::Calibrate);
    let asked = parts.iter().cloned().map(Part::Blend).collect();
    let totals = conductor.sum(Stage::Calibrate, asked)?;
    let mut read: Vec<Blended> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        read.push(part.read(&totals.part(at)));
    }
    let alone = two_classes.then(|| read.pop()).flatten();
    Ok(judge(weights, read.pop(), alone))
}

/// Keeps the blend if it gains, and calibrates what is kept.
fn judge(weights: Option<Weights>, blended: Option<Blended>, alone: Option<Blended>) -> Found {
    if let (Some(weights), Some(blended)) = (weights, blended)
        && blended
            .difference
            .is_some_and(|difference| difference.mean() > 0.0)
    {
        return Found {
            calibration: calibrate::calibration(&blended.groups),
            blend: Some((weights.all, blended.scored)),
        };
    }
    Found {
        blend: None,
        calibration: alone.and_then(|alone| calibrate::calibration(&alone.groups)),
    }
}

/// The finalists that may go together, the best first: no model twice, as two that learned
/// nothing can be the same, and all together small enough for one file.
fn contenders(task: &Task, finalists: Vec<Finalist>) -> Vec<Finalist> {
    let most = if task.constraints.one_model() {
        1
    } else {
        MAX_MEMBERS
    };
    let mut ids: Vec<ObjectId> = Vec::new();
    let mut bytes = 0;
    let mut kept: Vec<Finalist> = Vec::new();
    for finalist in finalists {
        if kept.len() == most {
            break;
        }
        // One that cannot be written is left out, unless it is the best: then that is an error,
        // when it is published.
        let written = finalist.model.to_bytes().unwrap_or_default();
        let id = ObjectId::of(&written);
        let fits = !written.is_empty() && bytes + written.len() <= MOST_BYTES;
        if kept.is_empty() || fits && !ids.contains(&id) {
            bytes += written.len();
            ids.push(id);
            kept.push(finalist);
        }
    }
    kept
}

/// These finalists as members of a part; published, because a race that closes early may never
/// have asked for their models.
fn lineup(
    finalists: &[Finalist],
    conductor: &mut Conductor<'_>,
) -> Result<Vec<Member>, SearchError> {
    let members = finalists.iter().map(|finalist| {
        Ok(Member {
            pipeline: finalist.entrant.setting.pipeline,
            model: conductor.publish(finalist.model.clone())?,
        })
    });
    members.collect()
}

/// One step: the weights of the least squared error; `None` where that is one finalist by itself.
fn fit(
    best: &Finalist,
    members: &[Member],
    conductor: &mut Conductor<'_>,
) -> Result<Option<Weights>, SearchError> {
    let setting = &best.entrant.setting;
    let part = GramPart {
        members: members.to_vec(),
        head: setting.head,
        folds: setting.folds,
        rows: setting.rows,
    };
    let totals = conductor.sum(Stage::Ensemble, vec![Part::Gram(part.clone())])?;
    Ok(Weights::of(&part.read(&totals.part(0)), members.len()))
}

impl Weights {
    /// The weights of the least squared error, of as many members as do best on rows that had no say in
    /// them: every further weight fits a little more of what chance brought. `None` where
    /// they name one member by itself.
    fn of(gram: &Gram, members: usize) -> Option<Self> {
        let fitted = |most: usize, without: Option<usize>| {
            simplex::weights(members, &gram.mean_without(without)?, most)
        };
        let mut best: Option<(f64, Self)> = None;
        for most in 2..=members.min(MAX_BLENDED) {
            let all = fitted(most, None)?;
            // Without rows in the other groups nothing is known better than the final weights.
            let crossed: Vec<Vec<f64>> = (0..GROUPS)
                .map(|group| fitted(most, Some(group)).unwrap_or_else(|| all.clone()))
                .collect();
            let errors = crossed.iter().enumerate();
            let error: f64 = errors
                .map(|(group, weights)| gram.squared_error(group, weights))
                .sum();
            if best.as_ref().is_none_or(|(least, _)| error < *least) {
                best = Some((error, Self { crossed, all }));
            }
        }
        let (_, weights) = best?;
        let named = weights.all.iter().filter(|weight| **weight > 0.0);
        (named.count() > 1).then_some(weights)
    }
}

fn blend_part(task: &Task, best: &Finalist, members: &[Member], weights: &Weights) -> BlendPart {
    // The best stays, to be compared with; others without any weight need not predict.
    let used: Vec<usize> = (0..members.len())
        .filter(|at| *at == 0 || weights.crossed.iter().any(|line| line[*at] > 0.0))
        .collect();
    let line = |line: &Vec<f64>| used.iter().map(|at| line[*at]).collect();
    BlendPart {
        members: used.iter().map(|at| members[*at]).collect(),
        weights: weights.crossed.iter().map(line).collect(),
        rival: Some(0),
        ..alone_part(task, best, members[0])
    }
}

/// The best finalist as a blend of one: its curve in each group.
fn alone_part(task: &Task, best: &Finalist, member: Member) -> BlendPart {
    let setting = &best.entrant.setting;
    BlendPart {
        members: vec![member],
        weights: vec![vec![1.0]; GROUPS],
        rival: None,
        calibration: None,
        on: Rows::Validation,
        head: setting.head,
        folds: setting.folds,
        rows: setting.rows,
        metric: task.metric_with_sums(),
    }
}

fn choose(finalists: Vec<Finalist>, found: Found) -> Result<Chosen, SearchError> {
    let Some((weights, validation)) = found.blend else {
        let mut chosen = Chosen::alone(finalists)?;
        chosen.calibration = found.calibration;
        return Ok(chosen);
    };
    let mut members: Vec<(Finalist, f64)> = finalists
        .into_iter()
        .zip(weights)
        .filter(|(_, weight)| *weight > 0.0)
        .collect();
    // Stable: the better finalist comes first among equal weights.
    members.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    Ok(Chosen {
        members,
        validation,
        calibration: found.calibration,
        threshold: None,
    })
}

impl Chosen {
    /// Marks its models on the leaderboard and puts it first; a blend gets a line of its own.
    pub(crate) fn lead(&self, leaderboard: &mut Vec<Standing>) {
        let several = self.members.len() > 1;
        let own = |id: ObjectId| {
            let mut members = self.members.iter();
            members.any(|(member, _)| member.entrant.candidate.id == id)
        };
        for standing in leaderboard.iter_mut().filter(|standing| own(standing.id)) {
            standing.state = if several {
                State::Member
            } else {
                State::Champion
            };
        }
        if several {
            let steps = leaderboard.iter().filter(|standing| own(standing.id));
            let steps = steps.map(|standing| standing.steps).max().unwrap_or(0);
            leaderboard.insert(0, self.standing(steps));
        } else {
            leaderboard.sort_by_key(|standing| standing.state != State::Champion);
        }
    }

    fn standing(&self, steps: u32) -> Standing {
        let mut hasher = blake3::Hasher::new_derive_key("collegium automl blend v1");
        for (member, weight) in &self.members {
            hasher.update(member.entrant.candidate.id.as_bytes());
            hasher.update(&weight.to_le_bytes());
        }
        let members = self.members.iter();
        let members = members.map(|(it, weight)| (it.entrant.candidate.family.as_str(), *weight));
        let finite = |value: f64| value.is_finite().then_some(value);
        Standing {
            id: ObjectId(*hasher.finalize().as_bytes()),
            name: model::in_words(members),
            family: "blend".to_owned(),
            history: None,
            loss: finite(self.validation.losses.mean()),
            loss_se: finite(self.validation.losses.standard_error()),
            steps,
            state: State::Champion,
        }
    }

    /// The champion, not tested yet.
    pub(crate) fn champion(self, task: &Task, lineage: Lineage) -> Result<Champion, SearchError> {
        let mut members = self.members.into_iter();
        let (own, weight) = members.next().ok_or(SearchError::NothingScored)?;
        let own_pipeline = own.entrant.setting.pipeline;
        let pipeline = own.entrant.setting.features.as_ref().clone();
        let validation = Metrics::from_scored(&self.validation, pipeline.target());
        let mut others = Vec::new();
        let mut ids = vec![own_pipeline];
        let mut pipelines = Vec::new();
        for (member, weight) in members {
            let setting = &member.entrant.setting;
            if !ids.contains(&setting.pipeline) {
                ids.push(setting.pipeline);
                pipelines.push(setting.features.as_ref().clone());
            }
            others.push(BlendMember {
                candidate: member.entrant.candidate,
                weight,
                model: member.model,
            });
        }
        let summary = TaskSummary::new(task, pipeline.target());
        let candidate = own.entrant.candidate;
        let mut champion =
            Champion::new(summary, candidate, pipeline, own.model, validation, lineage);
        champion.blend = (!others.is_empty()).then_some(Blend {
            weight,
            others,
            pipelines,
        });
        champion.calibration = self.calibration;
        champion.threshold = self.threshold;
        Ok(champion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Errors of eight models alike, which a blend of all would halve.
    fn errors(seed: u64, rows: usize) -> Gram {
        let mut random = Stream::new("collegium/test/blend/v1", &[&seed.to_le_bytes()]);
        let mut row = || -> Vec<f64> {
            let common = 0.1 * random.normal();
            (0..8).map(|_| common + 0.1 * random.normal()).collect()
        };
        let groups: Vec<Vec<Vec<f64>>> = (0..GROUPS)
            .map(|_| (0..rows).map(|_| row()).collect())
            .collect();
        Gram::of(&groups)
    }

    #[test]
    fn a_blend_has_as_many_members_as_rows_can_tell() {
        let members = |rows: usize| -> usize {
            let each = (0..10).map(|seed| {
                let weights = Weights::of(&errors(seed, rows), 8);
                weights.map_or(1, |it| {
                    it.all.iter().filter(|weight| **weight > 0.0).count()
                })
            });
            each.sum()
        };
        let (few, many) = (members(6), members(400));
        assert!(few < many && many > 10 * 5, "{few} {many}");
    }
}
