//! The candidates a race starts with: fixed and seeded, so that everybody
//! derives the same list.

use serde::{Deserialize, Serialize};

use crate::family::logistic::{LogisticCandidate, LogisticTrainer, MAX_WIDTH};
use crate::family::mlp::{MlpCandidate, MlpTrainer};
use crate::family::{Head, Setting, Trainer};
use crate::features::{NamedPipeline, Pipeline};
use crate::object::{Object, ObjectId};
use crate::random::derive;
use crate::search::{Conductor, SearchError};
use crate::task::{ModelFamily, Task};

/// Ridge strengths of linear candidates, against losses summed over rows.
const RIDGES: [f64; 3] = [1.0, 10.0, 50.0];

/// A family with its hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "snake_case")]
pub enum Hyperparameters {
    /// Logistic regression, or linear regression for a number.
    Logistic(LogisticCandidate),
    /// A small neural network.
    Mlp(MlpCandidate),
}

impl Hyperparameters {
    /// Which family this is.
    #[must_use]
    pub fn family(&self) -> ModelFamily {
        match self {
            Self::Logistic(_) => ModelFamily::Logistic,
            Self::Mlp(_) => ModelFamily::Mlp,
        }
    }
}

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
    /// Family and hyperparameters.
    pub hyperparameters: Hyperparameters,
}

/// A candidate ready to train.
pub(crate) struct Entrant {
    pub(crate) candidate: Candidate,
    pub(crate) pipeline: Pipeline,
    pub(crate) setting: Setting,
    pub(crate) trainer: Box<dyn Trainer>,
}

/// Builds the portfolio over the pipelines, and publishes them.
pub(crate) fn candidates(
    task: &Task,
    pipelines: &[NamedPipeline],
    train_rows: u64,
    conductor: &mut Conductor<'_>,
) -> Result<Vec<Entrant>, SearchError> {
    let allowed = |family: ModelFamily| match &task.constraints.allowed_models {
        Some(families) => families.contains(&family),
        None => true,
    };
    let mut entrants = Vec::new();
    for (index, named) in pipelines.iter().enumerate() {
        let mut settings = Vec::new();
        // Linear models and networks take numbers, not bins.
        let numbers = !named.pipeline.binned();
        if numbers && allowed(ModelFamily::Logistic) && named.pipeline.width() <= MAX_WIDTH as usize
        {
            settings.extend(linear());
        }
        if numbers && allowed(ModelFamily::Mlp) && index == 0 {
            settings.extend(networks());
        }
        if settings.is_empty() {
            continue;
        }
        let setting = Setting {
            pipeline: conductor.publish(Object::Pipeline(named.pipeline.clone()))?,
            head: Head::of(named.pipeline.target()),
            folds: named.pipeline.folds(),
            width: named.pipeline.width(),
            rows: train_rows,
            members: conductor.members(),
        };
        for hyperparameters in settings {
            entrants.push(entrant(task, named, setting, hyperparameters));
        }
    }
    if entrants.is_empty() {
        return Err(SearchError::NoCandidates(format!(
            "the pipelines make {} columns, of which linear models take at most {MAX_WIDTH}, \
             and allowed_models leaves nothing else; allow \"mlp\" or use fewer columns",
            pipelines.first().map_or(0, |named| named.pipeline.width())
        )));
    }
    Ok(entrants)
}

fn linear() -> impl Iterator<Item = Hyperparameters> {
    RIDGES
        .into_iter()
        .map(|ridge| Hyperparameters::Logistic(LogisticCandidate { ridge }))
}

fn networks() -> impl Iterator<Item = Hyperparameters> {
    let network = |hidden: &[u32], learning_rate, weight_decay, dropout| MlpCandidate {
        hidden: hidden.to_vec(),
        learning_rate,
        weight_decay,
        dropout,
        epochs: 1,
        batch: 32,
    };
    [
        network(&[32], 0.01, 1.0, 0.5),
        network(&[16], 0.01, 0.3, 0.2),
        network(&[32], 0.005, 1.0, 0.3),
        network(&[16, 16], 0.005, 1.0, 0.2),
    ]
    .into_iter()
    .map(Hyperparameters::Mlp)
}

fn entrant(
    task: &Task,
    named: &NamedPipeline,
    setting: Setting,
    hyperparameters: Hyperparameters,
) -> Entrant {
    // The canonical bytes of a candidate: pipeline, family, hyperparameters and
    // the task's seed.
    let described = serde_json::to_vec(&hyperparameters).unwrap_or_default();
    let id = derive(
        "collegium automl candidate v1",
        &[
            setting.pipeline.as_bytes(),
            &described,
            &task.seed.to_le_bytes(),
        ],
    );
    let (name, trainer): (String, Box<dyn Trainer>) = match &hyperparameters {
        Hyperparameters::Logistic(linear) => (
            format!("logistic ridge {} on {}", linear.ridge, named.name),
            Box::new(LogisticTrainer::new(*linear, setting)),
        ),
        Hyperparameters::Mlp(network) => (
            format!(
                "mlp {:?} lr {} dropout {} on {}",
                network.hidden, network.learning_rate, network.dropout, named.name
            ),
            Box::new(MlpTrainer::new(network.clone(), setting, id)),
        ),
    };
    Entrant {
        candidate: Candidate {
            id,
            name,
            features: named.name.clone(),
            hyperparameters,
        },
        pipeline: named.pipeline.clone(),
        setting,
        trainer,
    }
}
