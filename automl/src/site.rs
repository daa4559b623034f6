//! The site's side of the narrow waist: a pure function of the site's data, the
//! ask and the objects it names.

use std::collections::BTreeMap;

use crate::ask::{Answer, Ask, AskError, EncodeError, Encoder, Part};
use crate::data::{Design, SiteData, SiteDataError};
use crate::family::{FoldModel, Head};
use crate::features::{Cells, Matrix, Pipeline, Row, TargetCoding};
use crate::metric::Rows as ScoredRows;
use crate::object::{Object, ObjectError, ObjectId, Objects};
use crate::table::Table;
use crate::task::Task;

pub use crate::data::Slot;

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
    /// A value left the bounds the ask announced.
    #[error("the answer does not fit the ask's bounds: {0}")]
    Encode(#[from] EncodeError),
}

/// The rows a part works on, ready for a family: features, targets (class index
/// or scaled number) and slots, in the table's row order.
#[derive(Clone, Debug)]
pub struct Rows {
    matrix: Matrix,
    /// Class index, or the number in units of the target's scale.
    pub targets: Vec<f64>,
    /// Where each row belongs in cross-validation.
    pub slots: Vec<Slot>,
    /// Hash of the features: tells sites apart where each draws its own random
    /// numbers. Not the hash of the whole table, which test rows are part of.
    digest: ObjectId,
}

fn digest(matrix: &Matrix) -> ObjectId {
    let mut hasher = blake3::Hasher::new();
    match &matrix.cells {
        Cells::Numbers(values) => {
            for value in values {
                hasher.update(&value.to_le_bytes());
            }
        }
        Cells::Bins(bins) => {
            hasher.update(bins);
        }
    }
    ObjectId(*hasher.finalize().as_bytes())
}

impl Rows {
    pub(crate) fn new(design: Design, target: &TargetCoding) -> Self {
        let mut targets = design.targets;
        if let TargetCoding::Number { mean, scale } = target {
            for value in &mut targets {
                *value = (*value - mean) / scale;
            }
        }
        Self {
            digest: digest(&design.matrix),
            matrix: design.matrix,
            targets,
            slots: design.slots,
        }
    }

    /// Rows that did not come from a site's table, for tests.
    #[cfg(test)]
    pub(crate) fn from_parts(matrix: Matrix, targets: Vec<f64>, slots: Vec<Slot>) -> Self {
        Self {
            digest: digest(&matrix),
            matrix,
            targets,
            slots,
        }
    }

    /// Hash of the features.
    #[must_use]
    pub fn digest(&self) -> ObjectId {
        self.digest
    }

    /// Features of one row.
    #[must_use]
    pub fn row(&self, index: usize) -> Row<'_> {
        self.matrix.row(index)
    }

    /// The features of all rows.
    #[must_use]
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Whether this row is in the training part of a fold.
    #[must_use]
    pub fn trains(&self, index: usize, fold: usize) -> bool {
        self.slots[index] != Slot::Fold(fold as u8)
    }
}

/// Pipelines whose training rows are kept: twice what a search publishes.
const MAX_CACHED: usize = 8;

/// A site with one table.
pub struct TableSite {
    task: ObjectId,
    data: SiteData,
    objects: Objects,
    training: BTreeMap<ObjectId, Rows>,
}

impl TableSite {
    /// Sets a site up for a task.
    ///
    /// # Errors
    /// When the table does not fit the task: says which column and what to do.
    pub fn new(task: &Task, table: Table) -> Result<Self, SiteError> {
        Ok(Self {
            task: task.digest(),
            data: SiteData::new(task, table)?,
            objects: Objects::default(),
            training: BTreeMap::new(),
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
        match self.objects.get(id) {
            Some(Object::Pipeline(pipeline)) => Ok(pipeline),
            Some(_) => Err(unfit(id, "it is no pipeline")),
            None => Err(SiteError::Missing(id)),
        }
    }

    fn object(&self, id: ObjectId) -> Result<&Object, SiteError> {
        self.objects.get(id).ok_or(SiteError::Missing(id))
    }

    fn model(&self, id: ObjectId, pipeline: ObjectId) -> Result<&dyn FoldModel, SiteError> {
        let model = self
            .object(id)?
            .model()
            .ok_or_else(|| unfit(id, "it is no model"))?;
        if model.pipeline() != pipeline {
            return Err(unfit(id, "it was trained on another pipeline"));
        }
        let pipeline = self.pipeline(pipeline)?;
        if model.width() != pipeline.width() {
            return Err(unfit(
                id,
                "it takes another number of columns than its pipeline makes",
            ));
        }
        if model.binned() != pipeline.binned() {
            return Err(unfit(
                id,
                "it takes numbers where its pipeline makes bins, or bins for numbers",
            ));
        }
        if model.head() != Head::of(pipeline.target()) {
            return Err(unfit(id, "it has other classes than its pipeline"));
        }
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

    fn training(&self, pipeline: ObjectId) -> Result<&Rows, SiteError> {
        self.training
            .get(&pipeline)
            .ok_or(SiteError::Missing(pipeline))
    }

    fn answer_part(&mut self, part: &Part) -> Result<Vec<u64>, SiteError> {
        let mut out = Encoder::new(&part.segments());
        match part {
            Part::Profile(part) => self.data.answer(part, &mut out)?,
            Part::Newton(part) => {
                self.prepare(part.pipeline)?;
                self.model(part.model, part.pipeline)?;
                match self.object(part.model)? {
                    Object::Logistic(model) if part.fits(model) => {
                        part.answer(model, self.training(part.pipeline)?, &mut out)?;
                    }
                    _ => return Err(unfit(part.model, "its family or sizes differ")),
                }
            }
            Part::Descend(part) => {
                self.prepare(part.pipeline)?;
                self.model(part.model, part.pipeline)?;
                match self.object(part.model)? {
                    Object::Mlp(model) if part.fits(model) => {
                        part.answer(model, self.training(part.pipeline)?, &mut out)?;
                    }
                    _ => return Err(unfit(part.model, "its family or sizes differ")),
                }
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
        }
        Ok(out.finish()?)
    }
}

fn unfit(id: ObjectId, reason: &str) -> SiteError {
    SiteError::Unfit {
        id,
        reason: reason.to_owned(),
    }
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
        let mut codes = Vec::with_capacity(ask.numbers());
        for part in &ask.parts {
            codes.extend(self.answer_part(part)?);
        }
        // What this ask did not need can be fetched again; pipelines whose rows
        // are at hand will be needed in the next step.
        let needed = ask.objects();
        let training = &self.training;
        self.objects
            .retain(|id| training.contains_key(&id) || needed.contains(&id));
        Ok(Answer { codes })
    }
}
