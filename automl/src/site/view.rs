//! What a site gives to a family's part: rows, objects, and a memory that only
//! saves time.

use std::any::Any;
use std::collections::BTreeMap;

use super::{Rows, SiteError, unfit};
use crate::family::{FamilyObject, FoldModel, Head};
use crate::features::Pipeline;
use crate::object::{Object, ObjectId, Objects};

/// Asks after which a memory that nobody used is dropped: a candidate that is out of the race is
/// not asked about again. A step of training may take a few asks (waves).
const KEPT_ASKS: u64 = 64;

/// What families remember between asks. It may be gone at any moment, so nothing in it may change
/// an answer: it holds what would otherwise be computed anew from rows and objects.
#[derive(Default)]
pub struct Cache {
    entries: BTreeMap<ObjectId, Entry>,
    asks: u64,
}

struct Entry {
    memory: Box<dyn Any + Send + Sync>,
    used: u64,
}

impl Cache {
    /// One more ask is answered; forgets what was not used for long.
    pub(super) fn asked(&mut self) {
        self.asks += 1;
        let asks = self.asks;
        self.entries
            .retain(|_, entry| asks - entry.used <= KEPT_ASKS);
    }

    /// The memory under this key, new where there is none of this type.
    pub fn entry<T: Any + Send + Sync + Default>(&mut self, key: ObjectId) -> &mut T {
        let asks = self.asks;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            memory: Box::new(T::default()),
            used: asks,
        });
        entry.used = asks;
        if !entry.memory.is::<T>() {
            entry.memory = Box::new(T::default());
        }
        match entry.memory.downcast_mut() {
            Some(memory) => memory,
            None => unreachable!("the memory was made of this type above"),
        }
    }
}

/// A site, as a family's part sees it.
pub struct SiteView<'a> {
    /// Training rows of the part's pipeline.
    pub rows: &'a Rows,
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// What may be remembered.
    pub cache: &'a mut Cache,
    id: ObjectId,
    objects: &'a Objects,
}

impl<'a> SiteView<'a> {
    pub(super) fn new(
        id: ObjectId,
        rows: &'a Rows,
        objects: &'a Objects,
        cache: &'a mut Cache,
    ) -> Result<Self, SiteError> {
        Ok(Self {
            rows,
            pipeline: pipeline(objects, id)?,
            cache,
            id,
            objects,
        })
    }

    /// The object of this id, which the part listed in
    /// [`FamilyPart::objects`](crate::family::FamilyPart::objects).
    ///
    /// # Errors
    /// When it is not here, or is of another type.
    pub fn object<T: FamilyObject>(&self, id: ObjectId) -> Result<&'a T, SiteError> {
        match self.objects.get(id) {
            Some(Object::Family(object)) => object
                .downcast()
                .ok_or_else(|| unfit(id, "its family or kind differs")),
            Some(Object::Pipeline(_)) => Err(unfit(id, "it is a pipeline")),
            None => Err(SiteError::Missing(id)),
        }
    }

    /// The model of this id, which takes the features of the part's pipeline.
    ///
    /// # Errors
    /// As [`SiteView::object`], and when it does not fit the pipeline.
    pub fn model<T: FamilyObject>(&self, id: ObjectId) -> Result<&'a T, SiteError> {
        let object: &T = self.object(id)?;
        let model = object.model().ok_or_else(|| unfit(id, "it is no model"))?;
        check_model(id, model, self.id, self.pipeline)?;
        Ok(object)
    }
}

pub(super) fn pipeline(objects: &Objects, id: ObjectId) -> Result<&Pipeline, SiteError> {
    match objects.get(id) {
        Some(Object::Pipeline(pipeline)) => Ok(pipeline),
        Some(_) => Err(unfit(id, "it is no pipeline")),
        None => Err(SiteError::Missing(id)),
    }
}

/// Refuses a model that does not take what the pipeline makes.
pub(super) fn check_model(
    id: ObjectId,
    model: &dyn FoldModel,
    pipeline: ObjectId,
    features: &Pipeline,
) -> Result<(), SiteError> {
    let reason = if model.pipeline() != pipeline {
        "it was trained on another pipeline"
    } else if model.width() != features.width() {
        "it takes another number of columns than its pipeline makes"
    } else if model.binned() != features.binned() {
        "it takes numbers where its pipeline makes bins, or bins for numbers"
    } else if model.head() != Head::of(features.target()) {
        "it has other classes than its pipeline"
    } else {
        return Ok(());
    };
    Err(unfit(id, reason))
}
