//! The models of a champion beside its first, and what they predict together.

use serde::{Deserialize, Serialize};

use super::{Champion, ChampionError};
use crate::blend::{MAX_BLENDED, mix};
use crate::family::{FoldModel, Head};
use crate::features::{FeatureError, Pipeline, TargetCoding};
use crate::metric::likeliest;
use crate::object::{Object, ObjectId};
use crate::search::Candidate;
use crate::table::Table;

/// How far weights may miss 1 together: they come from a division.
const SUM_TOLERANCE: f64 = 1e-9;

/// The other models of a champion that is a weighted mean of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blend {
    /// Weight of the champion's own model, the largest. All weights add up to 1.
    pub weight: f64,
    /// The others, the larger weights first.
    pub others: Vec<BlendMember>,
    /// Their pipelines, each once, without the champion's own. A model names its pipeline by
    /// hash.
    pub pipelines: Vec<Pipeline>,
}

/// One of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlendMember {
    /// The candidate it was.
    pub candidate: Candidate,
    /// Its weight, above 0.
    pub weight: f64,
    /// One model per fold; it counts with their average.
    pub model: Object,
}

/// A model of a champion, ready to predict.
pub(crate) struct Voice<'a> {
    pub(crate) weight: f64,
    /// Place of its pipeline in [`Champion::pipelines`].
    pub(crate) pipeline: usize,
    pub(crate) model: &'a dyn FoldModel,
    pub(crate) object: &'a Object,
}

/// A blend in a few words: families with their weights.
pub(crate) fn in_words<'a>(members: impl Iterator<Item = (&'a str, f64)>) -> String {
    let words = members.map(|(family, weight)| format!("{family} {weight:.2}"));
    format!("blend of {}", words.collect::<Vec<_>>().join(", "))
}

fn fits(model: &dyn FoldModel, pipeline: &Pipeline) -> Result<(), ChampionError> {
    let reason = if model.width() != pipeline.width() {
        "its model takes another number of columns than its pipeline makes"
    } else if model.binned() != pipeline.binned() {
        "its model takes numbers where its pipeline makes bins, or bins for numbers"
    } else if model.head() != Head::of(pipeline.target()) {
        "its model has other classes than its pipeline"
    } else {
        return Ok(());
    };
    Err(ChampionError::Inconsistent(reason))
}

impl Champion {
    /// Its own pipeline, then those of the others.
    pub(crate) fn pipelines(&self) -> Vec<&Pipeline> {
        let others = self.blend.iter().flat_map(|blend| &blend.pipelines);
        std::iter::once(&self.pipeline).chain(others).collect()
    }

    /// Its models with their weights.
    ///
    /// # Errors
    /// When an object is no model, a pipeline is missing or a model does not fit it.
    pub(crate) fn voices(&self) -> Result<Vec<Voice<'_>>, ChampionError> {
        let own = self.fold_model()?;
        fits(own, &self.pipeline)?;
        let mut voices = vec![Voice {
            weight: self.blend.as_ref().map_or(1.0, |blend| blend.weight),
            pipeline: 0,
            model: own,
            object: &self.model,
        }];
        let Some(blend) = &self.blend else {
            return Ok(voices);
        };
        // A champion's own model was trained on its own pipeline, whatever hash that has.
        let mut ids: Vec<ObjectId> = vec![own.pipeline()];
        for pipeline in &blend.pipelines {
            if pipeline.target() != self.pipeline.target() {
                return Err(ChampionError::Inconsistent(
                    "its pipelines differ in target",
                ));
            }
            ids.push(Object::Pipeline(pipeline.clone()).id()?);
        }
        for member in &blend.others {
            let model = member
                .model
                .model()
                .ok_or(ChampionError::Inconsistent("one of its models is none"))?;
            let pipeline = ids.iter().position(|id| *id == model.pipeline()).ok_or(
                ChampionError::Inconsistent("the pipeline of a model is missing"),
            )?;
            fits(model, self.pipelines()[pipeline])?;
            if model.folds() != own.folds() {
                return Err(ChampionError::Inconsistent("its models differ in folds"));
            }
            voices.push(Voice {
                weight: member.weight,
                pipeline,
                model,
                object: &member.model,
            });
        }
        Ok(voices)
    }

    /// Checks what only a whole file can get wrong.
    pub(super) fn check(&self) -> Result<(), ChampionError> {
        let voices = self.voices()?;
        for voice in &voices {
            voice.object.to_bytes()?;
        }
        for pipeline in self.pipelines() {
            Object::Pipeline(pipeline.clone()).to_bytes()?;
        }
        let sum: f64 = voices.iter().map(|voice| voice.weight).sum();
        let shares = voices.iter().all(|v| v.weight > 0.0 && v.weight <= 1.0);
        if voices.len() > MAX_BLENDED || !shares || (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(ChampionError::Inconsistent(
                "it has more than 8 models, or weights that do not add up to 1",
            ));
        }
        let binary = self.classes.len() == 2;
        let calibration = self.calibration.map_or(Ok(()), |c| c.check());
        let threshold = self.threshold.map_or(Ok(()), |t| t.check());
        let two = binary || (self.calibration.is_none() && self.threshold.is_none());
        if calibration.is_err() || threshold.is_err() || !two {
            return Err(ChampionError::Inconsistent(
                "its calibration or its threshold is none, or not for two classes",
            ));
        }
        Ok(())
    }

    /// `blend` for several models, the family's name for one.
    #[must_use]
    pub fn family(&self) -> &str {
        match self.blend {
            Some(_) => "blend",
            None => &self.candidate.family,
        }
    }

    /// What it is, in a few words, as on the leaderboard of its round.
    #[must_use]
    pub fn description(&self) -> String {
        let Some(blend) = &self.blend else {
            return self.candidate.name.clone();
        };
        let others = blend.others.iter();
        let others = others.map(|it| (it.candidate.family.as_str(), it.weight));
        in_words(std::iter::once((self.candidate.family.as_str(), blend.weight)).chain(others))
    }

    /// How many models predict together.
    #[must_use]
    pub fn models(&self) -> usize {
        1 + self.blend.as_ref().map_or(0, |blend| blend.others.len())
    }

    /// Scores of each row, in order: class probabilities that sum to 1, or the
    /// one number in the target's unit.
    ///
    /// # Errors
    /// When the table's columns do not fit; names the column.
    pub fn scores(&self, table: &Table) -> Result<Vec<Vec<f64>>, FeatureError> {
        let Ok(voices) = self.voices() else {
            return Ok(Vec::new());
        };
        let mut designs = Vec::new();
        for pipeline in self.pipelines() {
            designs.push(pipeline.design(table)?);
        }
        let width = voices[0].model.head().scores();
        let weights: Vec<f64> = voices.iter().map(|voice| voice.weight).collect();
        let mut all = vec![0.0; voices.len() * width];
        let mut scores = vec![0.0; width];
        let rows = (0..designs[0].rows).map(|row| {
            for (voice, own) in voices.iter().zip(all.chunks_exact_mut(width)) {
                let features = designs[voice.pipeline].row(row);
                voice.model.predict_average(features, own);
            }
            mix(&weights, &all, &mut scores);
            if let Some(calibration) = self.calibration {
                calibration.apply(&mut scores);
            }
            if let TargetCoding::Number { mean, scale } = self.pipeline.target() {
                scores[0] = scores[0] * scale + mean;
            }
            scores.clone()
        });
        Ok(rows.collect())
    }

    /// The class that these scores call a row: of two the positive one from the threshold on (one
    /// half where the champion has none), of more the likeliest. `None` for a number.
    #[must_use]
    pub fn class(&self, scores: &[f64]) -> Option<&str> {
        let class = match (self.classes.len(), scores) {
            (2, [_, positive]) => {
                let threshold = self.threshold.map_or(0.5, |it| it.probability);
                usize::from(*positive >= threshold)
            }
            _ => likeliest(scores),
        };
        self.classes.get(class).map(String::as_str)
    }
}
