//! The candidates that a race starts with: what every family offers over the
//! pipelines. Fixed and seeded, so that everybody derives the same list.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::family::{self, Family, Offer, Proposal, Setting, Trainer};
use crate::features::{NamedPipeline, Pipeline};
use crate::object::{Object, ObjectId};
use crate::profile::Profile;
use crate::random::derive;
use crate::search::explore;
use crate::search::memory::Notes;
use crate::search::{Conductor, SearchError, warm};
use crate::task::Task;
use crate::trial::Tried;

/// One pipeline with a model family and its hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Hash over everything below and the pipeline.
    pub id: ObjectId,
    /// In a few words, for people.
    pub name: String,
    /// Name of the pipeline variant.
    pub features: String,
    /// Name of the family.
    pub family: String,
    /// Its hyperparameters.
    pub hyperparameters: serde_json::Value,
}

/// A candidate ready to train.
pub(crate) struct Entrant {
    pub(crate) candidate: Candidate,
    pub(crate) setting: Setting,
    pub(crate) trainer: Box<dyn Trainer>,
    /// What it came to in the local search, where it took part in one.
    pub(crate) tried: Option<Tried>,
}

/// A candidate that is not built yet.
#[derive(Clone)]
pub(crate) struct Offered {
    pub(crate) family: &'static dyn Family,
    pub(crate) proposal: Proposal,
    /// Whether it comes from an earlier round alone: its family may not take it any more.
    pub(crate) remembered: bool,
    /// What it came to in the local search, where it took part in one.
    pub(crate) tried: Option<Tried>,
}

impl Offered {
    /// Family, hyperparameters and pipeline in a few words.
    pub(crate) fn name(&self, pipelines: &[NamedPipeline]) -> String {
        let features = pipelines.get(self.proposal.pipeline);
        let features = features.map_or("", |named| named.name.as_str());
        format!(
            "{} {} on {features}",
            self.family.name(),
            self.proposal.name
        )
    }
}

/// What every family offers over the pipelines, family by family: the whole portfolio, or what the
/// memory of earlier rounds makes of it.
pub(crate) fn offered(offer: &Offer<'_>, notes: Option<&Notes>) -> Vec<Offered> {
    let offers = proposals(offer, |family| family.candidates(offer));
    let Some(notes) = notes else {
        return offers;
    };
    let new = explore::configurations(offer, &offers, notes);
    let mut chosen = warm::choose(offer.task, offers, offer.pipelines, notes);
    chosen.extend(new);
    chosen
}

/// What every family offers beyond that.
pub(crate) fn further(offer: &Offer<'_>) -> Vec<Offered> {
    proposals(offer, |family| family.further(offer))
}

/// What the families that the task allows propose, in their order.
fn proposals(offer: &Offer<'_>, of: impl Fn(&'static dyn Family) -> Vec<Proposal>) -> Vec<Offered> {
    let families = family::families().into_iter();
    let allowed = families.filter(|it| family::allowed(offer.task, *it));
    let all = allowed.flat_map(|family| {
        of(family).into_iter().map(move |proposal| Offered {
            family,
            proposal,
            remembered: false,
            tried: None,
        })
    });
    all.filter(|offered| offered.proposal.pipeline < offer.pipelines.len())
        .collect()
}

/// Turns what is offered into candidates, and publishes the pipelines that they use, each once.
pub(crate) struct Desk<'a> {
    offer: Offer<'a>,
    published: Vec<Option<(ObjectId, Arc<Pipeline>)>>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(offer: Offer<'a>) -> Self {
        Self {
            published: vec![None; offer.pipelines.len()],
            offer,
        }
    }

    /// What is offered for.
    pub(crate) const fn offer(&self) -> &Offer<'a> {
        &self.offer
    }

    /// A candidate without its trainer; `None` where its pipeline is not there.
    pub(crate) fn candidate(
        &mut self,
        offered: &Offered,
        conductor: &mut Conductor<'_>,
    ) -> Result<Option<(Candidate, Setting)>, SearchError> {
        let Offer {
            task,
            profile,
            pipelines,
            head,
        } = self.offer;
        let (family, proposal) = (offered.family, &offered.proposal);
        let Some(named) = pipelines.get(proposal.pipeline) else {
            return Ok(None);
        };
        let (pipeline, features) = match &self.published[proposal.pipeline] {
            Some((id, features)) => (*id, Arc::clone(features)),
            None => {
                let id = conductor.publish(Object::Pipeline(named.pipeline.clone()))?;
                let features = Arc::new(named.pipeline.clone());
                self.published[proposal.pipeline] = Some((id, Arc::clone(&features)));
                (id, features)
            }
        };
        let setting = Setting {
            id: id(task, family.name(), pipeline, proposal),
            pipeline,
            head,
            folds: features.folds(),
            width: features.width(),
            features,
            rows: profile.train_rows,
            members: conductor.members(),
        };
        let candidate = Candidate {
            id: setting.id,
            name: offered.name(pipelines),
            features: named.name.clone(),
            family: family.name().to_owned(),
            hyperparameters: proposal.hyperparameters.clone(),
        };
        Ok(Some((candidate, setting)))
    }

    /// The candidates of a race, ready to train, each once.
    pub(crate) fn entrants(
        mut self,
        offers: Vec<Offered>,
        conductor: &mut Conductor<'_>,
    ) -> Result<Vec<Entrant>, SearchError> {
        let mut entrants: Vec<Entrant> = Vec::new();
        for offered in offers {
            let Some((candidate, setting)) = self.candidate(&offered, conductor)? else {
                continue;
            };
            let known = |known: &Entrant| known.candidate.id == setting.id;
            if entrants.iter().any(known) {
                continue;
            }
            let family = offered.family;
            match family.trainer(&candidate.hyperparameters, &setting) {
                Ok(trainer) => entrants.push(Entrant {
                    candidate,
                    setting,
                    trainer,
                    tried: offered.tried,
                }),
                Err(_) if offered.remembered => {}
                Err(problem) => {
                    return Err(SearchError::Candidate {
                        family: family.name(),
                        name: offered.proposal.name,
                        problem,
                    });
                }
            }
        }
        if entrants.is_empty() {
            return Err(nothing_to_train(self.offer.task, self.offer.profile));
        }
        Ok(entrants)
    }
}

fn nothing_to_train(task: &Task, profile: &Profile) -> SearchError {
    SearchError::NoCandidates(format!(
        "none of the families that the task's constraints allow ({}) can be trained for this \
         target on {} columns; allow others, or use fewer columns",
        family::families()
            .iter()
            .filter(|it| family::allowed(task, **it))
            .map(|family| family.name())
            .collect::<Vec<_>>()
            .join(", "),
        profile.columns.len()
    ))
}

/// The hash over a candidate's pipeline, family, hyperparameters and the task's seed.
fn id(task: &Task, family: &str, pipeline: ObjectId, proposal: &Proposal) -> ObjectId {
    let described = proposal.hyperparameters.to_string();
    derive(
        "collegium automl candidate v2",
        &[
            pipeline.as_bytes(),
            family.as_bytes(),
            described.as_bytes(),
            &task.seed.to_le_bytes(),
        ],
    )
}
