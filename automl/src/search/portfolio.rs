//! The candidates a race starts with: what every family offers over the
//! pipelines. Fixed and seeded, so that everybody derives the same list.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::family::{self, Family, Head, Offer, Proposal, Setting, Trainer};
use crate::features::NamedPipeline;
use crate::object::{Object, ObjectId};
use crate::profile::Profile;
use crate::random::derive;
use crate::search::{Conductor, SearchError};
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

/// Builds the portfolio over the pipelines, and publishes those that are used.
pub(crate) fn candidates(
    task: &Task,
    profile: &Profile,
    pipelines: &[NamedPipeline],
    conductor: &mut Conductor<'_>,
) -> Result<Vec<Entrant>, SearchError> {
    let head = Head::of(&profile.target);
    let offer = Offer {
        task,
        profile,
        pipelines,
        head,
    };
    let mut published: Vec<Option<(ObjectId, Arc<_>)>> = vec![None; pipelines.len()];
    let mut entrants = Vec::new();
    for family in family::families() {
        if !allowed(task, family) {
            continue;
        }
        for proposal in family.candidates(&offer) {
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
            let trainer = family
                .trainer(&proposal.hyperparameters, &setting)
                .map_err(|problem| SearchError::Candidate {
                    family: family.name(),
                    name: proposal.name.clone(),
                    problem,
                })?;
            entrants.push(Entrant {
                candidate: Candidate {
                    id: setting.id,
                    name: format!("{} {} on {}", family.name(), proposal.name, named.name),
                    features: named.name.clone(),
                    family: family.name().to_owned(),
                    hyperparameters: proposal.hyperparameters,
                },
                setting,
                trainer,
            });
        }
    }
    if entrants.is_empty() {
        return Err(SearchError::NoCandidates(format!(
            "none of the families that the task's constraints allow ({}) can be trained for this \
             target on {} columns; allow others, or use fewer columns",
            family::families()
                .iter()
                .filter(|family| allowed(task, **family))
                .map(|family| family.name())
                .collect::<Vec<_>>()
                .join(", "),
            profile.columns.len()
        )));
    }
    Ok(entrants)
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
