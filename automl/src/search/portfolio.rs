//! The candidates a race starts with: what every family offers over the
//! pipelines. Fixed and seeded, so that everybody derives the same list.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::family::{self, Family, Head, Offer, Proposal, Setting, Trainer};
use crate::features::NamedPipeline;
use crate::object::{Object, ObjectId};
use crate::profile::Profile;
use crate::random::derive;
use crate::search::explore;
use crate::search::memory::Notes;
use crate::search::{Conductor, SearchError, warm};
use crate::task::Task;

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
}

/// A candidate that is not built yet.
#[derive(Clone)]
pub(crate) struct Offered {
    pub(crate) family: &'static dyn Family,
    pub(crate) proposal: Proposal,
    /// Whether it comes from an earlier round alone: its family may not take it any more.
    pub(crate) remembered: bool,
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

/// Builds the candidates over the pipelines, and publishes the pipelines that are used: the whole
/// portfolio, or what the memory of earlier rounds makes of it.
pub(crate) fn candidates(
    task: &Task,
    profile: &Profile,
    pipelines: &[NamedPipeline],
    notes: Option<&Notes>,
    conductor: &mut Conductor<'_>,
) -> Result<Vec<Entrant>, SearchError> {
    let head = Head::of(&profile.target);
    let offer = Offer {
        task,
        profile,
        pipelines,
        head,
    };
    let mut offers = offers(&offer);
    if let Some(notes) = notes {
        let new = explore::configurations(&offer, &offers, notes);
        offers = warm::choose(task, offers, pipelines, notes);
        offers.extend(new);
    }
    let mut published: Vec<Option<(ObjectId, Arc<_>)>> = vec![None; pipelines.len()];
    let mut entrants: Vec<Entrant> = Vec::new();
    for offered in offers {
        let name = offered.name(pipelines);
        let Offered {
            family,
            proposal,
            remembered,
        } = offered;
        let Some(named) = pipelines.get(proposal.pipeline) else {
            continue;
        };
        let (pipeline, features) = match &published[proposal.pipeline] {
            Some((id, features)) => (*id, Arc::clone(features)),
            None => {
                let id = conductor.publish(Object::Pipeline(named.pipeline.clone()))?;
                let features = Arc::new(named.pipeline.clone());
                published[proposal.pipeline] = Some((id, Arc::clone(&features)));
                (id, features)
            }
        };
        let setting = Setting {
            id: id(task, family.name(), pipeline, &proposal),
            pipeline,
            head,
            folds: features.folds(),
            width: features.width(),
            features,
            rows: profile.train_rows,
            members: conductor.members(),
        };
        if entrants
            .iter()
            .any(|known| known.candidate.id == setting.id)
        {
            continue;
        }
        let trainer = match family.trainer(&proposal.hyperparameters, &setting) {
            Ok(trainer) => trainer,
            Err(_) if remembered => continue,
            Err(problem) => {
                return Err(SearchError::Candidate {
                    family: family.name(),
                    name: proposal.name,
                    problem,
                });
            }
        };
        entrants.push(Entrant {
            candidate: Candidate {
                id: setting.id,
                name,
                features: named.name.clone(),
                family: family.name().to_owned(),
                hyperparameters: proposal.hyperparameters,
            },
            setting,
            trainer,
        });
    }
    if entrants.is_empty() {
        return Err(nothing_to_train(task, profile));
    }
    Ok(entrants)
}

/// What every family offers, family by family.
fn offers(offer: &Offer<'_>) -> Vec<Offered> {
    let (task, pipelines) = (offer.task, offer.pipelines);
    let families = family::families();
    let allowed = families.into_iter().filter(|family| allowed(task, *family));
    let offers = allowed.flat_map(|family| {
        let proposals = family.candidates(offer).into_iter();
        proposals.map(move |proposal| Offered {
            family,
            proposal,
            remembered: false,
        })
    });
    offers
        .filter(|offered| offered.proposal.pipeline < pipelines.len())
        .collect()
}

fn nothing_to_train(task: &Task, profile: &Profile) -> SearchError {
    SearchError::NoCandidates(format!(
        "none of the families that the task's constraints allow ({}) can be trained for this \
         target on {} columns; allow others, or use fewer columns",
        family::families()
            .iter()
            .filter(|family| allowed(task, **family))
            .map(|family| family.name())
            .collect::<Vec<_>>()
            .join(", "),
        profile.columns.len()
    ))
}

/// Whether the task's constraints leave a family in.
fn allowed(task: &Task, family: &dyn Family) -> bool {
    let limits = &task.constraints;
    let named = match &limits.allowed_models {
        Some(families) => families.iter().any(|name| name == family.name()),
        None => true,
    };
    named
        && (family.interpretable() || !limits.interpretable_only)
        && (family.monotone() || limits.monotone.is_empty())
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
