//! The champion: a model file that predicts on its own.

mod blend;
mod predict;
mod test;

pub(crate) use blend::in_words;
pub use blend::{Blend, BlendMember};
pub use predict::{PredictError, Predicted, predict_csv, predict_table};

use serde::{Deserialize, Serialize};

use crate::calibrate::{Platt, Threshold};
use crate::family::FoldModel;
use crate::features::{Dropped, Pipeline, TargetCoding};
use crate::metric::Metrics;
use crate::object::{MAX_OBJECT_BYTES, Object, ObjectError, ObjectId};
use crate::search::Candidate;
use crate::task::{Kind, Metric, Task};

/// What the file says it is.
pub const FORMAT: &str = "collegium-champion";
/// Version of the file's layout. Version 1 knew one model only, and is still read; readers refuse
/// every other one.
pub const VERSION: u32 = 2;
/// The oldest version that is read.
const OLDEST: u32 = 1;

/// The task, as far as whoever uses the model needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSummary {
    /// Name of the task.
    pub name: String,
    /// The predicted column.
    pub target: String,
    /// Classification or regression.
    pub kind: Kind,
    /// What candidates were ranked by.
    pub metric: Metric,
    /// The class of interest, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// Seed of splits and search.
    pub seed: u64,
    /// Hash of the whole task.
    pub digest: ObjectId,
}

impl TaskSummary {
    /// The summary of a task whose target turned out to be `target`.
    #[must_use]
    pub fn new(task: &Task, target: &TargetCoding) -> Self {
        let (kind, positive) = match target {
            TargetCoding::Number { .. } => (Kind::Regression, None),
            TargetCoding::Classes { labels } if labels.len() == 2 => {
                (Kind::Classification, labels.last().cloned())
            }
            TargetCoding::Classes { .. } => (Kind::Classification, None),
        };
        Self {
            name: task.name.clone(),
            target: task.target.clone(),
            kind,
            metric: task.metric_for(kind),
            positive,
            seed: task.seed,
            digest: task.digest(),
        }
    }
}

/// Where a champion comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// Secure sums of the round.
    pub steps: u32,
    /// Hash over the task and over every ask with its totals: a replay of the
    /// journal must reach it.
    pub digest: ObjectId,
}

/// What a round ends with: a pipeline and fold models, or a weighted mean of several such.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Champion {
    format: String,
    version: u32,
    /// What it predicts.
    pub task: TaskSummary,
    /// The classes in the order of the scores; empty for a number.
    pub classes: Vec<String>,
    /// The winning candidate; of a blend the one with the largest weight.
    pub candidate: Candidate,
    /// How rows become numbers for its model.
    pub pipeline: Pipeline,
    /// Columns that are not used, with the reason.
    pub dropped: Vec<Dropped>,
    /// One model per fold; the champion predicts their average.
    pub model: Object,
    /// The other models, where several predict together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blend: Option<Blend>,
    /// What is done to the positive class's probability afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Platt>,
    /// From which probability a row is called positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// Figures on validation rows, which also chose the champion: of a blend with weights fitted
    /// to other rows than the row at hand, and before any calibration.
    pub validation: Metrics,
    /// Figures on the sealed test rows of all members.
    pub test: Metrics,
    /// Where it comes from.
    pub lineage: Lineage,
}

/// Bytes that are no champion of this version.
#[derive(Debug, thiserror::Error)]
pub enum ChampionError {
    /// Too many bytes.
    #[error("a champion file of {0} bytes is larger than the cap of {MAX_OBJECT_BYTES}")]
    TooLarge(usize),
    /// Not JSON, or fields that are missing or unknown.
    #[error("this is no champion file: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another format or version.
    #[error(
        "this file says it is `{format}` version {version}; this program reads \
         `{FORMAT}` versions {OLDEST} to {VERSION}"
    )]
    OtherVersion {
        /// What the file says it is.
        format: String,
        /// Which version it says it has.
        version: u32,
    },
    /// The pipeline or the model inside is malformed.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Parts of the file contradict each other.
    #[error("this champion file contradicts itself: {0}")]
    Inconsistent(&'static str),
}

#[derive(Deserialize)]
struct Heading {
    format: String,
    version: u32,
}

impl Champion {
    pub(crate) fn new(
        task: TaskSummary,
        candidate: Candidate,
        pipeline: Pipeline,
        model: Object,
        validation: Metrics,
        lineage: Lineage,
    ) -> Self {
        let classes = match pipeline.target() {
            TargetCoding::Classes { labels } => labels.clone(),
            TargetCoding::Number { .. } => Vec::new(),
        };
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            task,
            classes,
            candidate,
            pipeline,
            dropped: Vec::new(),
            model,
            blend: None,
            calibration: None,
            threshold: None,
            validation,
            test: Metrics::default(),
            lineage,
        }
    }

    /// The file's bytes: JSON, the same for the same champion.
    ///
    /// # Errors
    /// When a number is not finite, which JSON cannot carry.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ChampionError> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a file and checks that it can predict.
    ///
    /// # Errors
    /// When it is too large, of another version, malformed or inconsistent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChampionError> {
        if bytes.len() > MAX_OBJECT_BYTES {
            return Err(ChampionError::TooLarge(bytes.len()));
        }
        let Heading { format, version } = serde_json::from_slice(bytes)?;
        if format != FORMAT || !(OLDEST..=VERSION).contains(&version) {
            return Err(ChampionError::OtherVersion { format, version });
        }
        let champion: Self = serde_json::from_slice(bytes)?;
        let later = [
            champion.blend.is_some(),
            champion.calibration.is_some(),
            champion.threshold.is_some(),
        ];
        if version == 1 && later.contains(&true) {
            return Err(ChampionError::Inconsistent(
                "it says version 1, which has one model as it is",
            ));
        }
        champion.check()?;
        Ok(champion)
    }

    /// Content hash of the file's bytes.
    ///
    /// # Errors
    /// When the bytes cannot be made, see [`Champion::to_bytes`].
    pub fn id(&self) -> Result<ObjectId, ChampionError> {
        Ok(ObjectId::of(&self.to_bytes()?))
    }

    /// The model.
    ///
    /// # Errors
    /// When the file holds none; [`Champion::from_bytes`] has checked that.
    pub fn fold_model(&self) -> Result<&dyn FoldModel, ChampionError> {
        self.model
            .model()
            .ok_or(ChampionError::Inconsistent("its model is a pipeline"))
    }
}
