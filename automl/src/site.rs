//! The site's side of the narrow waist: a pure function of the site's data, the
//! ask and the objects it names.

mod compare;
mod noise;
mod rows;
mod trial;
mod view;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::ask::{Answer, Ask, AskError, EncodeError, Encoder, Part, Stage};
use crate::blend::{BlendPart, GramPart, Lineup, Member};
use crate::data::{SiteData, SiteDataError, SitePolicy, Withheld};
use crate::family::{FoldModel, Head};
use crate::features::Pipeline;
use crate::metric::Rows as ScoredRows;
use crate::noise::{NoiseError, NoiseKey};
use crate::object::{ObjectError, ObjectId, Objects};
use crate::profile::ProfilePart;
use crate::table::Table;
use crate::task::Task;

pub use crate::data::Slot;
pub use rows::Rows;
pub use view::{Cache, SiteView};

/// Answers asks about one site's data.
pub trait Site: Send {
    /// The objects the ask names that this site does not hold.
    fn missing(&self, ask: &Ask) -> Vec<ObjectId>;

    /// Takes an object in and returns the hash of its bytes; the caller
    /// compares it with the one asked for.
    ///
    /// # Errors
    /// When the bytes are no valid object.
    fn insert(&mut self, bytes: &[u8]) -> Result<ObjectId, SiteError>;

    /// Computes the answer.
    ///
    /// # Errors
    /// When the ask is of another task or out of bounds, an object is missing,
    /// or the data do not fit.
    fn answer(&mut self, ask: &Ask) -> Result<Answer, SiteError>;

    /// The columns of the site's table whose cells the answer to this ask depends on. The objects
    /// that it names are here.
    ///
    /// # Errors
    /// When an object is missing or is not what the part says it is.
    fn columns(&self, ask: &Ask) -> Result<BTreeSet<String>, SiteError>;

    /// From now on the site draws its noise with this key, and believes that so many shares of
    /// noise are in every sum from members who do not collude. Without it a site answers nothing
    /// under differential privacy.
    fn noise_with(&mut self, _key: NoiseKey, _shares: u16) {}

    /// What the site's own limits keep out of its answer to this ask, whose objects it holds: for
    /// the site's eyes only, as peers cannot tell it from having no such rows.
    fn withheld(&self, _ask: &Ask) -> BTreeSet<Withheld> {
        BTreeSet::new()
    }
}

/// Why a site cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The data do not fit the task or the pipeline.
    #[error(transparent)]
    Data(#[from] SiteDataError),
    /// An object is malformed.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The ask is out of bounds.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The ask serves a task this site was not set up for.
    #[error("the ask is for task {asked}, this site was set up for task {own}")]
    OtherTask {
        /// Task of the ask.
        asked: ObjectId,
        /// Task of the site.
        own: ObjectId,
    },
    /// An object was not inserted before.
    #[error("object {0} is not here; fetch it from the coordinator first")]
    Missing(ObjectId),
    /// An object is not what the part says it is.
    #[error("object {id} does not fit the ask: {reason}")]
    Unfit {
        /// The object.
        id: ObjectId,
        /// What does not fit.
        reason: String,
    },
    /// The ask reads test rows before the round's last stage.
    #[error(
        "part {part} of the ask reads test rows in the stage `{stage}`; they are sealed until the \
         stage `test`, so nothing of the ask is answered"
    )]
    Sealed {
        /// Place of the part, from 1.
        part: usize,
        /// The ask's stage.
        stage: &'static str,
    },
    /// The ask cannot be answered under differential privacy.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// A value left the bounds the ask announced.
    #[error("the answer does not fit the ask's bounds: {0}")]
    Encode(#[from] EncodeError),
}

impl SiteError {
    /// An object that is not what a part needs.
    #[must_use]
    pub fn unfit(id: ObjectId, reason: &str) -> Self {
        Self::Unfit {
            id,
            reason: reason.to_owned(),
        }
    }
}

/// Pipelines whose training rows are kept: more than a search publishes, or every step would make
/// them anew.
const MAX_CACHED: usize = 16;

/// A site with one table.
pub struct TableSite {
    task: ObjectId,
    data: SiteData,
    objects: Objects,
    training: BTreeMap<ObjectId, Rows>,
    cache: Cache,
    noise: noise::Guard,
}

impl TableSite {
    /// Sets a site up for a task.
    ///
    /// # Errors
    /// When the table does not fit the task: says which column and what to do.
    pub fn new(task: &Task, table: Table) -> Result<Self, SiteError> {
        Self::with_policy(task, table, SitePolicy::default())
    }

    /// The same, under the site's own limits on what it shows.
    ///
    /// # Errors
    /// As [`TableSite::new`].
    pub fn with_policy(task: &Task, table: Table, policy: SitePolicy) -> Result<Self, SiteError> {
        Ok(Self {
            task: task.digest(),
            data: SiteData::new(task, table)?.with_policy(policy),
            objects: Objects::default(),
            training: BTreeMap::new(),
            cache: Cache::default(),
            noise: noise::Guard::default(),
        })
    }

    /// Hash of the data this site answers from.
    #[must_use]
    pub fn data_digest(&self) -> ObjectId {
        self.data.digest()
    }

    /// The data half of the site.
    #[must_use]
    pub fn data(&self) -> &SiteData {
        &self.data
    }

    fn pipeline(&self, id: ObjectId) -> Result<&Pipeline, SiteError> {
        view::pipeline(&self.objects, id)
    }

    fn model(&self, id: ObjectId, pipeline: ObjectId) -> Result<&dyn FoldModel, SiteError> {
        let model = self.objects.get(id).ok_or(SiteError::Missing(id))?;
        let model = model.model().ok_or_else(|| unfit(id, "it is no model"))?;
        view::check_model(id, model, pipeline, self.pipeline(pipeline)?)?;
        Ok(model)
    }

    /// Builds the training rows of a pipeline unless they are cached. They are
    /// a function of data and pipeline only, so caching changes no answer.
    fn prepare(&mut self, pipeline: ObjectId) -> Result<(), SiteError> {
        if !self.training.contains_key(&pipeline) {
            if self.training.len() >= MAX_CACHED {
                self.training.clear();
            }
            let object = self.pipeline(pipeline)?;
            let rows = Rows::new(self.data.training(object)?, object.target());
            self.training.insert(pipeline, rows);
        }
        Ok(())
    }

    /// The same for several pipelines, without letting go of one of them for another.
    fn prepare_all(&mut self, members: &[Member]) -> Result<(), SiteError> {
        let new = |member: &&Member| !self.training.contains_key(&member.pipeline);
        if self.training.len() + members.iter().filter(new).count() > MAX_CACHED {
            let needed = |id: &ObjectId| members.iter().any(|member| member.pipeline == *id);
            self.training.retain(|id, _| needed(id));
        }
        members
            .iter()
            .try_for_each(|member| self.prepare(member.pipeline))
    }

    /// The members' models with their training rows, which are prepared.
    fn lineup(&self, members: &[Member], head: Head, folds: u8) -> Result<Lineup<'_>, SiteError> {
        let lined = members.iter().map(|member| {
            let model = self.model(member.model, member.pipeline)?;
            Ok((member.model, model, self.training(member.pipeline)?))
        });
        Lineup::new(lined.collect::<Result<_, SiteError>>()?, head, folds)
    }

    /// A blend's answer over the sealed test rows.
    fn sealed_blend(&self, part: &BlendPart, out: &mut Encoder) -> Result<(), SiteError> {
        let mut sealed: BTreeMap<ObjectId, Rows> = BTreeMap::new();
        for member in &part.members {
            if let Entry::Vacant(place) = sealed.entry(member.pipeline) {
                let pipeline = self.pipeline(member.pipeline)?;
                let rows = Rows::new(self.data.sealed_test(pipeline)?, pipeline.target());
                place.insert(rows);
            }
        }
        let lined = part.members.iter().map(|member| {
            let model = self.model(member.model, member.pipeline)?;
            let rows = sealed.get(&member.pipeline);
            Ok((
                member.model,
                model,
                rows.ok_or(SiteError::Missing(member.pipeline))?,
            ))
        });
        let lined = lined.collect::<Result<_, SiteError>>()?;
        Ok(part.answer(&Lineup::new(lined, part.head, part.folds)?, out)?)
    }

    fn training(&self, pipeline: ObjectId) -> Result<&Rows, SiteError> {
        self.training
            .get(&pipeline)
            .ok_or(SiteError::Missing(pipeline))
    }

    fn answer_part(&mut self, part: &Part) -> Result<Vec<u64>, SiteError> {
        let mut out = Encoder::new(&part.segments());
        match part {
            Part::Profile(part) => self.data.answer(part, &mut out)?,
            Part::Compare(part) => self.answer_compare(part, &mut out)?,
            Part::Trial(part) => self.answer_trial(part, &mut out)?,
            // Without noise there is no answer: see `noise::Guard`.
            Part::Noisy(_) => return Err(NoiseError::NotPrivate.into()),
            Part::Train(part) => {
                self.prepare(part.pipeline())?;
                let mut view = SiteView::new(
                    part.pipeline(),
                    self.training
                        .get(&part.pipeline())
                        .ok_or(SiteError::Missing(part.pipeline()))?,
                    &self.objects,
                    &mut self.cache,
                )?;
                part.answer(&mut view, &mut out)?;
            }
            Part::Score(part) => {
                self.prepare(part.pipeline)?;
                let model = self.model(part.model, part.pipeline)?;
                if model.head() != part.head || model.folds() != usize::from(part.folds) {
                    return Err(unfit(part.model, "its classes or folds differ"));
                }
                match part.on {
                    ScoredRows::Validation => {
                        part.answer(model, self.training(part.pipeline)?, &mut out)?;
                    }
                    ScoredRows::Test => {
                        let pipeline = self.pipeline(part.pipeline)?;
                        let sealed = self.data.sealed_test(pipeline)?;
                        part.answer(model, &Rows::new(sealed, pipeline.target()), &mut out)?;
                    }
                }
            }
            Part::Gram(part) => {
                self.prepare_all(&part.members)?;
                let site = self.lineup(&part.members, part.head, part.folds)?;
                part.answer(&site, &mut out)?;
            }
            Part::Blend(part) if part.on == ScoredRows::Test => {
                self.sealed_blend(part, &mut out)?;
            }
            Part::Blend(part) => {
                self.prepare_all(&part.members)?;
                let site = self.lineup(&part.members, part.head, part.folds)?;
                part.answer(&site, &mut out)?;
            }
        }
        Ok(out.finish()?)
    }
}

fn unfit(id: ObjectId, reason: &str) -> SiteError {
    SiteError::unfit(id, reason)
}

impl Site for TableSite {
    fn missing(&self, ask: &Ask) -> Vec<ObjectId> {
        let mut ids = ask.objects();
        ids.retain(|id| !self.objects.holds(*id));
        ids
    }

    fn insert(&mut self, bytes: &[u8]) -> Result<ObjectId, SiteError> {
        Ok(self.objects.insert(bytes)?)
    }

    fn answer(&mut self, ask: &Ask) -> Result<Answer, SiteError> {
        ask.check()?;
        if ask.task != self.task {
            return Err(SiteError::OtherTask {
                asked: ask.task,
                own: self.task,
            });
        }
        check_sealed(ask)?;
        let mut codes = Vec::with_capacity(ask.numbers());
        if let Some(privacy) = self.data.task().differential_privacy {
            codes = self.answer_noisy(ask, privacy)?;
        } else {
            for part in &ask.parts {
                codes.extend(self.answer_part(part)?);
            }
        }
        // Pipelines whose rows are at hand will be needed in the next step.
        let mut needed = ask.objects();
        needed.extend(self.training.keys());
        self.objects.used(&needed);
        self.cache.asked();
        Ok(Answer { codes })
    }

    fn noise_with(&mut self, key: NoiseKey, shares: u16) {
        self.noise.arm(key, shares);
    }

    fn columns(&self, ask: &Ask) -> Result<BTreeSet<String>, SiteError> {
        let mut columns = BTreeSet::new();
        let mut pipelines = BTreeSet::new();
        for part in &ask.parts {
            match part {
                // The names of the columns, no cells.
                Part::Profile(ProfilePart::Schema { .. }) => continue,
                Part::Profile(part) => {
                    columns.extend(part.column_names().into_iter().map(str::to_owned));
                }
                Part::Compare(part) => {
                    pipelines.extend(part.voters().map(|voter| voter.pipeline));
                }
                Part::Trial(part) => pipelines.extend(part.objects()),
                Part::Noisy(part) => {
                    pipelines.insert(part.pipeline());
                }
                Part::Train(part) => {
                    pipelines.insert(part.pipeline());
                }
                Part::Score(part) => {
                    pipelines.insert(part.pipeline);
                }
                Part::Gram(GramPart { members, .. }) | Part::Blend(BlendPart { members, .. }) => {
                    pipelines.extend(members.iter().map(|member| member.pipeline));
                }
            }
            columns.insert(self.data.target().name().to_owned());
        }
        for id in pipelines {
            columns.extend(self.pipeline(id)?.inputs().map(str::to_owned));
        }
        Ok(columns)
    }

    fn withheld(&self, ask: &Ask) -> BTreeSet<Withheld> {
        let mut withheld = BTreeSet::new();
        for part in &ask.parts {
            if part.reads_test() {
                if self.data.withholds_test() {
                    withheld.insert(Withheld::Test);
                }
                continue;
            }
            let (pipelines, grouped) = match part {
                Part::Compare(part) => {
                    withheld.extend(self.compare_withheld(part));
                    continue;
                }
                Part::Trial(part) => {
                    withheld.extend(self.trial_withheld(part));
                    continue;
                }
                // Names of columns, no rows; and what no limit holds back.
                Part::Profile(ProfilePart::Schema { .. }) | Part::Noisy(_) => continue,
                Part::Profile(_) => (Vec::new(), false),
                Part::Train(part) => (vec![part.pipeline()], false),
                Part::Score(part) => (vec![part.pipeline], false),
                Part::Gram(GramPart { members, .. }) | Part::Blend(BlendPart { members, .. }) => {
                    (members.iter().map(|m| m.pipeline).collect(), true)
                }
            };
            if self.data.withholds_training() {
                withheld.insert(Withheld::Training);
            }
            let mut pipelines = pipelines.iter().filter_map(|id| self.pipeline(*id).ok());
            let held = pipelines.any(|pipeline| {
                let group = grouped && self.data.withholds_group(pipeline);
                group || self.data.withholds_fold(pipeline)
            });
            if held {
                withheld.insert(Withheld::Fold);
            }
        }
        withheld
    }
}

/// Refuses test rows before the last stage, whatever the coordinator wants with them: what is
/// chosen by their help is not tested by them.
fn check_sealed(ask: &Ask) -> Result<(), SiteError> {
    if ask.stage == Stage::Test {
        return Ok(());
    }
    match ask.parts.iter().position(Part::reads_test) {
        None => Ok(()),
        Some(at) => Err(SiteError::Sealed {
            part: at + 1,
            stage: ask.stage.name(),
        }),
    }
}
