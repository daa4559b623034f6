//! The local search: one step in which every site trains more candidates alone than a race has
//! room for, and what the race then takes.
//!
//! A loss at a site says which configurations suit tables of this kind, not how well a model of all
//! sites will do, so it decides only over part of a family's places, and never alone: the first
//! third of what the family would race anyhow stays, so does the first on each pipeline, and some places are
//! drawn by lot.

use std::collections::BTreeSet;

use crate::ask::{MAX_ASK_BYTES, Part, Stage};
use crate::family;
use crate::federation::FederationError;
use crate::metric::LossSums;
use crate::random::Stream;
use crate::search::budget::Budget;
use crate::search::candidates::{self, Candidate, Desk, Offered};
use crate::search::observer::{Standing, State};
use crate::search::path::{Cost, Ended, History};
use crate::search::{Conductor, SearchError};
use crate::task::Preset;
use crate::trial::{
    MAX_HYPERPARAMETER_BYTES, MAX_PIPELINES, MAX_STEPS, MAX_TRIALS, Trial, TrialPart, Tried,
};

/// Part of a family's own candidates that races whatever the sites say: the first in this many.
const FRONT_ONE_IN: usize = 3;
/// Places that are drawn by lot: one in this many of a family's places, rounded.
const LOT_ONE_IN: usize = 10;

/// Steps of training: one of so many parts of the race's first rung. Twice as many rank no better.
const RUNG_PARTS: u32 = 2;
/// Rows of all sites together that a candidate is trained on, and most and fewest of one site where
/// there are many: the race goes over all rows at each step.
const SAMPLED_ROWS: usize = 8192;
const SITE_ROWS: (usize, usize) = (256, 2048);
/// Features of a row above which samples are smaller.
const WIDE: usize = 128;
/// Row-feature updates of a site for a candidate: about a second of one core.
const WORK: u64 = 1 << 30;
/// Bytes of candidates in the ask; those that do not fit are not tried.
const TRIAL_BYTES: usize = MAX_ASK_BYTES / 2;
/// Bytes of a candidate's JSON beside its hyperparameters, at most.
const HEADING_BYTES: usize = 256;

/// Who races, and who lost in the local search.
pub(super) struct Chosen {
    pub(super) offers: Vec<Offered>,
    pub(super) behind: Vec<Standing>,
}

/// What is to be asked, and of whom.
pub(super) struct Plan {
    pools: Vec<Pool>,
    pub(super) part: TrialPart,
}

/// One family's candidates.
struct Pool {
    family: &'static str,
    /// Places in the race: as many as without a local search.
    places: usize,
    /// Race anyhow.
    front: Vec<Offered>,
    /// Compete for the other places.
    others: Vec<Other>,
}

struct Other {
    offered: Offered,
    candidate: Candidate,
    /// Place among the part's candidates, if it is tried.
    trial: Option<usize>,
}

/// What a local search would ask; `None` where no family has more candidates than places, the
/// preset is the shortest, or the first rung of the race would not fit `max_steps` after it.
///
/// # Errors
/// When a pipeline cannot be published.
pub(super) fn plan(
    desk: &mut Desk<'_>,
    offers: &[Offered],
    budget: &Budget,
    conductor: &mut Conductor<'_>,
) -> Result<Option<Plan>, SearchError> {
    let offer = *desk.offer();
    let rung = budget.rungs.first().copied().unwrap_or(0);
    let room = budget.allows(conductor.steps() + 1, rung);
    if offer.task.preset == Preset::Fast || !room {
        return Ok(None);
    }
    let further = new_ones(candidates::further(&offer), offers);
    if further.is_empty() {
        return Ok(None);
    }
    let pools = pools(offers, further, desk, conductor)?;
    let width = |other: &Other| {
        let named = offer.pipelines.get(other.offered.proposal.pipeline);
        named.map_or(1, |named| named.pipeline.width())
    };
    let widest = pools.iter().flat_map(|pool| &pool.others).map(width).max();
    let mut plan = Plan {
        part: TrialPart {
            candidates: Vec::new(),
            head: offer.head,
            rows: offer.profile.train_rows,
            sample: sample(conductor.members(), widest.unwrap_or(1)) as u32,
            steps: (rung / RUNG_PARTS).clamp(1, MAX_STEPS),
            work: WORK,
        },
        pools,
    };
    plan.list_trials(desk, conductor)?;
    Ok(Some(plan).filter(|plan| !plan.part.candidates.is_empty()))
}

/// Rows of a site's sample.
fn sample(members: usize, widest: usize) -> usize {
    let (fewest, most) = SITE_ROWS;
    let each = (SAMPLED_ROWS / members.max(1)).min(most);
    (each * WIDE / widest.max(WIDE)).max(fewest)
}

/// What no family proposes already.
fn new_ones(further: Vec<Offered>, offers: &[Offered]) -> Vec<Offered> {
    let mut new: Vec<Offered> = Vec::new();
    for offered in further {
        let same = |other: &Offered| {
            let (a, b) = (&offered.proposal, &other.proposal);
            offered.family.name() == other.family.name()
                && (a.pipeline, &a.hyperparameters) == (b.pipeline, &b.hyperparameters)
        };
        if !offers.iter().chain(&new).any(same) {
            new.push(offered);
        }
    }
    new
}

/// Every family's candidates, those of a family without further ones all in front.
fn pools(
    offers: &[Offered],
    further: Vec<Offered>,
    desk: &mut Desk<'_>,
    conductor: &mut Conductor<'_>,
) -> Result<Vec<Pool>, SearchError> {
    let families = family::names();
    let most = MAX_TRIALS / families.len().max(1);
    let mut pools = Vec::new();
    for family in families {
        let of_family = |offered: &&Offered| offered.family.name() == family;
        let mut front: Vec<Offered> = offers.iter().filter(of_family).cloned().collect();
        let places = front.len();
        let more: Vec<Offered> = further.iter().filter(of_family).cloned().collect();
        let mut others = Vec::new();
        if !more.is_empty() {
            let rest;
            (front, rest) = in_front(front);
            for offered in rest.into_iter().chain(more).take(most) {
                if let Some((candidate, _)) = desk.candidate(&offered, conductor)? {
                    others.push(Other {
                        offered,
                        candidate,
                        trial: None,
                    });
                }
            }
        }
        pools.push(Pool {
            family,
            places,
            front,
            others,
        });
    }
    Ok(pools)
}

/// A family's own candidates that race anyhow, and the others: the first third, and the first on each
/// pipeline. Which features are worth something shows on all rows, not on a sample at a site.
fn in_front(own: Vec<Offered>) -> (Vec<Offered>, Vec<Offered>) {
    let third = own.len().div_ceil(FRONT_ONE_IN);
    let mut pipelines = BTreeSet::new();
    let (mut front, mut rest) = (Vec::new(), Vec::new());
    for (place, offered) in own.into_iter().enumerate() {
        let first = pipelines.insert(offered.proposal.pipeline);
        let side = if place < third || first {
            &mut front
        } else {
            &mut rest
        };
        side.push(offered);
    }
    (front, rest)
}

impl Plan {
    /// Lists the candidates that are tried, as far as they fit an ask.
    fn list_trials(
        &mut self,
        desk: &mut Desk<'_>,
        conductor: &mut Conductor<'_>,
    ) -> Result<(), SearchError> {
        let mut bytes = 0;
        let contested = self.pools.iter_mut().filter(|pool| pool.contested());
        for other in contested.flat_map(|pool| &mut pool.others) {
            let own = other.candidate.hyperparameters.to_string().len();
            let all = bytes + own + HEADING_BYTES;
            if own > MAX_HYPERPARAMETER_BYTES || all > TRIAL_BYTES {
                continue;
            }
            let Some((candidate, setting)) = desk.candidate(&other.offered, conductor)? else {
                continue;
            };
            let pipelines = self.part.objects();
            if pipelines.len() >= MAX_PIPELINES && !pipelines.contains(&setting.pipeline) {
                continue;
            }
            bytes = all;
            other.trial = Some(self.part.candidates.len());
            self.part.candidates.push(Trial {
                family: candidate.family,
                pipeline: setting.pipeline,
                hyperparameters: candidate.hyperparameters,
            });
        }
        Ok(())
    }

    /// Candidates of a family that are tried.
    pub(super) fn trials(&self, family: &str) -> usize {
        let all = self.part.candidates.iter();
        all.filter(|trial| trial.family == family).count()
    }

    /// Asks the sites, and chooses.
    ///
    /// A sum that does not open costs the choice and nothing else: the race is then one without a
    /// local search.
    ///
    /// # Errors
    /// When the step has no totals.
    pub(super) fn run(
        self,
        offers: Vec<Offered>,
        seed: u64,
        conductor: &mut Conductor<'_>,
    ) -> Result<Chosen, SearchError> {
        let asked = vec![Part::Trial(self.part.clone())];
        let tried = match conductor.sum(Stage::LocalSearch, asked) {
            Ok(totals) => self.part.read(&totals.part(0)),
            Err(FederationError::Spoiled { .. }) => {
                return Ok(Chosen {
                    offers,
                    behind: Vec::new(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        let mut chosen = Chosen {
            offers: Vec::new(),
            behind: Vec::new(),
        };
        for pool in self.pools {
            pool.choose(&tried, seed, &mut chosen);
        }
        Ok(chosen)
    }
}

impl Pool {
    /// Whether there is anything to decide.
    fn contested(&self) -> bool {
        self.places > self.front.len()
    }

    fn choose(self, tried: &[Tried], seed: u64, chosen: &mut Chosen) {
        chosen.offers.extend(self.front.iter().cloned());
        if !self.contested() {
            return;
        }
        let of = |other: &Other| other.trial.and_then(|at| tried.get(at)).copied();
        let losses: Vec<f64> = self
            .others
            .iter()
            .map(|other| LossSums::from(of(other).unwrap_or_default()).mean())
            .collect();
        let ranked = ranked(&losses);
        let domain = "collegium automl local search v1";
        let mut stream = Stream::new(domain, &[&seed.to_le_bytes(), self.family.as_bytes()]);
        let (best, lots) = shares(self.places, self.front.len());
        let picks = picks(&ranked, best, lots, &mut stream);
        let mut lost = Vec::new();
        for (at, mut other) in self.others.into_iter().enumerate() {
            let result = of(&other);
            if picks.contains(&at) {
                other.offered.tried = result;
                chosen.offers.push(other.offered);
                continue;
            }
            let rank = ranked.iter().position(|it| *it == at).unwrap_or(0) as u32 + 1;
            let ended = Ended::LocalSearch {
                rank,
                of: ranked.len() as u32,
                kept: best as u32,
                lots: lots as u32,
            };
            lost.push((rank, behind(other.candidate, result, ended)));
        }
        lost.sort_by_key(|(rank, _)| *rank);
        chosen.behind.extend(lost.into_iter().map(|(_, line)| line));
    }
}

/// Places for the best by local loss, and for the lot, beside those in front.
fn shares(places: usize, front: usize) -> (usize, usize) {
    let room = places.saturating_sub(front);
    let lots = ((places + LOT_ONE_IN / 2) / LOT_ONE_IN).min(room);
    (room - lots, lots)
}

/// Everybody by loss, those without one last; of equals in the order they were offered.
fn ranked(losses: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..losses.len()).collect();
    order.sort_by(|a, b| losses[*a].total_cmp(&losses[*b]));
    order
}

/// The first `best` of the ranked, and `lots` drawn from the others.
fn picks(ranked: &[usize], best: usize, lots: usize, stream: &mut Stream) -> BTreeSet<usize> {
    let (first, rest) = ranked.split_at(best.min(ranked.len()));
    let mut rest = rest.to_vec();
    // Drawn in the order they were offered, so that the lot does not follow the losses.
    rest.sort_unstable();
    stream.shuffle(&mut rest);
    first
        .iter()
        .chain(rest.iter().take(lots))
        .copied()
        .collect()
}

/// The line of a candidate that does not race.
fn behind(candidate: Candidate, tried: Option<Tried>, ended: Ended) -> Standing {
    Standing {
        id: candidate.id,
        name: candidate.name,
        family: candidate.family,
        loss: None,
        loss_se: None,
        steps: 0,
        state: State::Dropped,
        history: Some(History {
            local: tried.and_then(mean),
            cost: cost(tried),
            ended: Some(ended),
            ..History::default()
        }),
    }
}

/// Mean loss over the rows of all sites that a candidate was validated on; `None` where there are
/// none.
pub(super) fn mean(tried: Tried) -> Option<f64> {
    Some(LossSums::from(tried).mean()).filter(|loss| loss.is_finite())
}

/// What being tried cost.
pub(super) fn cost(tried: Option<Tried>) -> Cost {
    let mut cost = Cost::default();
    if tried.is_some() {
        cost.add(1, NUMBERS);
    }
    cost
}

/// Numbers that a candidate takes in the step.
const NUMBERS: usize = 3;

#[cfg(test)]
mod tests;
