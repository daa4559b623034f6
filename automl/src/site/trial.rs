//! Candidates that this site trains alone, on a sample of its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::view::Cache;
use super::{MAX_CACHED, Rows, SiteError, SiteView, Slot, TableSite, unfit};
use crate::ask::{Ask, Encoder, Part, Stage, Totals};
use crate::data::Withheld;
use crate::family::{self, AnyPart, Head, Setting, Trainer};
use crate::features::Pipeline;
use crate::metric::LossSums;
use crate::object::{ObjectId, Objects};
use crate::random::{Stream, derive};
use crate::trial::{Trial, TrialPart};

/// Fewest rows that a candidate is trained on, and fewest of the second most frequent class: with
/// less a loss says nothing about hyperparameters.
const FEWEST_ROWS: usize = 40;
const FEWEST_OF_CLASS: usize = 8;

/// What candidates of one pipeline are trained on.
struct Sample {
    features: Arc<Pipeline>,
    rows: Rows,
}

impl TableSite {
    /// Answers what each candidate comes to here: nothing where it cannot be trained.
    ///
    /// # Errors
    /// When a pipeline is missing or is not for this task, or the sums do not fit the part.
    pub(super) fn answer_trial(
        &mut self,
        part: &TrialPart,
        out: &mut Encoder,
    ) -> Result<(), SiteError> {
        let pipelines = part.objects();
        let new = pipelines
            .iter()
            .filter(|id| !self.training.contains_key(id));
        // All of them are needed at once: making one must not throw away another.
        if self.training.len() + new.count() > MAX_CACHED {
            self.training.retain(|id, _| pipelines.contains(id));
        }
        let mut samples: BTreeMap<ObjectId, Sample> = BTreeMap::new();
        for id in pipelines {
            let features = self.pipeline(id)?;
            if Head::of(features.target()) != part.head {
                return Err(unfit(id, "it has other classes than the part says"));
            }
            let features = Arc::new(features.clone());
            self.prepare(id)?;
            let rows = self.sample(part, id)?;
            if teaches(&rows, part.head) {
                samples.insert(id, Sample { features, rows });
            }
        }
        let tried = part.candidates.iter().map(|trial| {
            let sample = samples.get(&trial.pipeline);
            sample.map_or_else(
                || Ok(LossSums::default()),
                |it| self.attempt(part, trial, it),
            )
        });
        Ok(part.encode(&tried.collect::<Result<Vec<_>, _>>()?, out)?)
    }

    /// The rows that the part is answered from, in the table's order: at most so many, drawn by the
    /// task's seed, and the site's own limits applied to what is left of each fold. Those of the
    /// first folds validate.
    fn sample(&self, part: &TrialPart, pipeline: ObjectId) -> Result<Rows, SiteError> {
        let rows = self.training(pipeline)?;
        let picked = drawn(self.data.task().seed, rows.len(), part.sample as usize);
        let mut sample = rows.picked(&picked);
        let folds = self.pipeline(pipeline)?.folds();
        self.data.policy().apply(&mut sample.slots, folds);
        for slot in &mut sample.slots {
            *slot = match *slot {
                Slot::Fold(fold) if fold < validating(folds) => Slot::Fold(0),
                _ => Slot::TrainOnly,
            };
        }
        Ok(sample)
    }

    /// Trains a candidate; the least validation sums that it had to show, or zeros where it cannot
    /// be trained within the part's bounds.
    fn attempt(
        &self,
        part: &TrialPart,
        trial: &Trial,
        sample: &Sample,
    ) -> Result<LossSums, SiteError> {
        let Sample { features, rows } = sample;
        let setting = Setting {
            id: derive(
                "collegium automl trial v1",
                &[
                    trial.pipeline.as_bytes(),
                    trial.family.as_bytes(),
                    trial.hyperparameters.to_string().as_bytes(),
                    &self.data.task().seed.to_le_bytes(),
                ],
            ),
            pipeline: trial.pipeline,
            head: part.head,
            // One model a candidate: folds only make losses sharper, and samples do that for less.
            folds: 1,
            width: features.width(),
            features: Arc::clone(features),
            rows: rows.len() as u64,
            members: 1,
        };
        let Some(family) = family::find(&trial.family) else {
            return Ok(LossSums::default());
        };
        let hyperparameters = family.at_a_site(&trial.hyperparameters);
        // Hyperparameters out of bounds are the coordinator's affair: no site stops a step for them.
        let Ok(trainer) = family.trainer(&hyperparameters, &setting) else {
            return Ok(LossSums::default());
        };
        let alone = Alone {
            task: self.task,
            pipeline: trial.pipeline,
            width: setting.width as u64,
            rows,
            objects: self.objects.only(trial.pipeline),
            cache: Cache::default(),
        };
        alone.train(trainer, part)
    }

    /// What the site's limits keep out of the answer.
    pub(super) fn trial_withheld(&self, part: &TrialPart) -> BTreeSet<Withheld> {
        let mut withheld = BTreeSet::new();
        if self.data.withholds_training() {
            withheld.insert(Withheld::Training);
        }
        let held = |id: ObjectId| {
            let (Ok(rows), Ok(pipeline)) = (self.training(id), self.pipeline(id)) else {
                return false;
            };
            let picked = drawn(self.data.task().seed, rows.len(), part.sample as usize);
            let slots: Vec<Slot> = picked.iter().map(|row| rows.slots[*row]).collect();
            let policy = self.data.policy();
            self.data.withholds_fold(pipeline)
                || !policy.held_folds(&slots, pipeline.folds()).is_empty()
        };
        if part.objects().into_iter().any(held) {
            withheld.insert(Withheld::Fold);
        }
        withheld
    }
}

/// One site as a federation of its own, for one candidate.
struct Alone<'a> {
    task: ObjectId,
    pipeline: ObjectId,
    width: u64,
    rows: &'a Rows,
    objects: Objects,
    cache: Cache,
}

impl Alone<'_> {
    /// Trains within the part's bounds, as the race does: a model that supersedes is kept, and
    /// training ends where nothing was gained for as long as the trainer is patient.
    fn train(
        mut self,
        mut trainer: Box<dyn Trainer>,
        part: &TrialPart,
    ) -> Result<LossSums, SiteError> {
        let mut shown: Option<LossSums> = None;
        let (mut step, mut shown_at, mut work) = (0, 0, 0_u64);
        while step < part.steps && step - shown_at <= trainer.patience() && !trainer.finished() {
            let (asked, objects) = trainer.ask();
            work = work.saturating_add(asked.updates(self.rows.len() as u64, self.width));
            let ask = self.ask(step + 1, asked);
            // What no step of a race may ask for is not asked for here either.
            if work > part.work || ask.check().is_err() {
                break;
            }
            for object in objects {
                self.objects.keep(object)?;
            }
            let totals = self.sum(&ask)?;
            step += 1;
            let Some(losses) = trainer.learn(&totals.part(&ask, 0)) else {
                continue;
            };
            if shown.is_none_or(|old| trainer.supersedes(&losses, &old)) {
                trainer.keep();
                shown = Some(losses);
                shown_at = step;
            }
        }
        Ok(shown.unwrap_or_default())
    }

    fn ask(&self, sequence: u32, part: AnyPart) -> Ask {
        Ask {
            sequence,
            stage: Stage::LocalSearch,
            task: self.task,
            parts: vec![Part::Train(part)],
        }
    }

    /// The totals of a federation of one member.
    fn sum(&mut self, ask: &Ask) -> Result<Totals, SiteError> {
        let mut sums = Vec::with_capacity(ask.numbers());
        for part in &ask.parts {
            let Part::Train(part) = part else { continue };
            let mut out = Encoder::new(&part.segments());
            let mut view = SiteView::new(self.pipeline, self.rows, &self.objects, &mut self.cache)?;
            part.answer(&mut view, &mut out)?;
            sums.extend(out.finish()?);
        }
        self.objects.used(&ask.objects());
        self.cache.asked();
        Ok(Totals {
            sums,
            contributors: vec![1],
        })
    }
}

/// Folds whose rows validate, all together; those of the others train.
fn validating(folds: u8) -> u8 {
    folds.div_ceil(3)
}

/// At most so many of `rows` rows, ascending. Those of a smaller sample are among those of a larger.
fn drawn(seed: u64, rows: usize, most: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..rows).collect();
    if rows > most {
        let mut stream = Stream::new("collegium automl local sample v1", &[&seed.to_le_bytes()]);
        for place in 0..most {
            let other = place + stream.below(rows - place);
            all.swap(place, other);
        }
        all.truncate(most);
        all.sort_unstable();
    }
    all
}

/// Whether enough rows are here, some of them validating, and of two classes.
fn teaches(rows: &Rows, head: Head) -> bool {
    let validates = rows.slots.iter().any(|slot| *slot != Slot::TrainOnly);
    if rows.len() < FEWEST_ROWS || !validates {
        return false;
    }
    if head == Head::Number {
        return true;
    }
    let mut classes = vec![0_usize; head.scores()];
    for target in &rows.targets {
        if let Some(count) = classes.get_mut(*target as usize) {
            *count += 1;
        }
    }
    let frequent = classes.iter().filter(|count| **count >= FEWEST_OF_CLASS);
    frequent.count() >= 2
}

#[cfg(test)]
mod tests;
