//! Families by name: those of this crate, and those that a program adds.
//!
//! A part of an ask and a published object are JSON objects with one key, the
//! family's name. Whoever reads them looks the family up here, so a family is
//! added by implementing [`Family`] in one file and naming it to [`register`]
//! before a task is read. A node answers only families that its own binary
//! registers: the list of what a coordinator can ask stays closed.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock, RwLock};

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _};
use serde::{Deserializer, Serialize};

use super::{FoldModel, Head, Setting, Trainer, ga2m, gbdt, logistic, net, scorecard};
use crate::ask::{Encoder, Segment};
use crate::features::NamedPipeline;
use crate::object::ObjectId;
use crate::profile::Profile;
use crate::search::Knob;
use crate::site::{SiteError, SiteView};
use crate::task::Task;

/// A model family: all that the search has to know of it.
pub trait Family: Sync {
    /// Its name in task files, asks, objects and reports: a word in lower case.
    fn name(&self) -> &'static str;

    /// Whether a person can read its models: the only ones tried where a task says
    /// `interpretable_only`.
    fn interpretable(&self) -> bool {
        false
    }

    /// Whether it keeps to a task's `monotone` columns; those that do not are left out where a
    /// task has some.
    fn monotone(&self) -> bool {
        false
    }

    /// The candidates it offers for this task, the best guess first; none where
    /// it cannot serve.
    fn candidates(&self, offer: &Offer<'_>) -> Vec<Proposal>;

    /// Candidates beyond [`Family::candidates`], the best guess first, for searches with time for
    /// a local search: each takes part in the race only where the sites, training alone, prefer
    /// it to what it would replace. None unless the family says so.
    fn further(&self, _offer: &Offer<'_>) -> Vec<Proposal> {
        Vec::new()
    }

    /// The same configuration as a site tries it alone, where steps cost nothing and numbers need
    /// not travel: cheaper, and told apart from its like by the same things. Hyperparameters that
    /// are none of this family's come back as they are.
    fn at_a_site(&self, hyperparameters: &serde_json::Value) -> serde_json::Value {
        hyperparameters.clone()
    }

    /// A trainer for hyperparameters as [`Family::candidates`] wrote them.
    ///
    /// # Errors
    /// When they are none of this family's.
    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String>;

    /// What a later round may vary beyond [`Family::candidates`], by what earlier rounds showed: numbers
    /// in the hyperparameters. None unless the family says so.
    fn knobs(&self) -> Vec<Knob> {
        Vec::new()
    }

    /// A candidate of its own on the pipeline at this place, after [`Family::knobs`] of another were
    /// changed; what follows from them and from the rows is put right. `None` where the result makes
    /// no sense.
    fn varied(
        &self,
        _offer: &Offer<'_>,
        _pipeline: usize,
        _hyperparameters: &serde_json::Value,
    ) -> Option<Proposal> {
        None
    }

    /// How its parts and objects are read: [`Reads::of`] its two types.
    fn reads(&self) -> Reads;
}

/// Reads one thing of a family; the error says why the JSON is none.
type Read<T> = fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<Arc<T>, erased_serde::Error>;

/// How a family's JSON is read.
#[derive(Clone, Copy)]
pub struct Reads {
    part: Read<dyn FamilyPart>,
    object: Read<dyn FamilyObject>,
}

impl Reads {
    /// Of a family that asks sites for `P` and publishes `O`; each may be an enum.
    #[must_use]
    pub fn of<P, O>() -> Self
    where
        P: FamilyPart + DeserializeOwned,
        O: FamilyObject + DeserializeOwned,
    {
        Self {
            part: |json| Ok(Arc::new(erased_serde::deserialize::<P>(json)?)),
            object: |json| Ok(Arc::new(erased_serde::deserialize::<O>(json)?)),
        }
    }
}

/// What a family makes its candidates for.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The task.
    pub task: &'a Task,
    /// What is known about the rows of all sites.
    pub profile: &'a Profile,
    /// The variants of preprocessing, the best guess first.
    pub pipelines: &'a [NamedPipeline],
    /// What is predicted.
    pub head: Head,
}

impl Offer<'_> {
    /// The pipelines whose features are bins (or are numbers), with their places.
    pub fn pipelines_of(&self, binned: bool) -> impl Iterator<Item = (usize, &NamedPipeline)> {
        let all = self.pipelines.iter().enumerate();
        all.filter(move |(_, named)| named.pipeline.binned() == binned)
    }
}

/// One candidate that a family offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Place of its pipeline in [`Offer::pipelines`].
    pub pipeline: usize,
    /// Hyperparameters in a few words, for people; the family's and the
    /// pipeline's names are put around them.
    pub name: String,
    /// Hyperparameters, as [`Family::trainer`] reads them.
    pub hyperparameters: serde_json::Value,
}

/// Something a family asks every site to compute.
pub trait FamilyPart: erased_serde::Serialize + fmt::Debug + Send + Sync + Any {
    /// The pipeline whose rows it works on.
    fn pipeline(&self) -> ObjectId;
    /// The objects it needs beside the pipeline.
    fn objects(&self) -> Vec<ObjectId>;
    /// What it returns, in order; known before any site answers.
    fn segments(&self) -> Vec<Segment>;
    /// Checks every cap, before anything is computed or allocated from the part.
    ///
    /// # Errors
    /// Names the first one that is broken.
    fn check(&self) -> Result<(), String>;
    /// A site's answer: a function of its rows, the part and the objects alone.
    ///
    /// # Errors
    /// When an object does not fit the part.
    fn answer(&self, site: &mut SiteView<'_>, out: &mut Encoder) -> Result<(), SiteError>;

    /// About how many row-feature updates (a number of a row added to a sum, or multiplied into
    /// one) an answer over so many rows of so many features takes: what bounds the work of a
    /// site's local search. One for each row and number unless the part says otherwise.
    fn updates(&self, rows: u64, _width: u64) -> u64 {
        let numbers: usize = self.segments().iter().map(Segment::count).sum();
        rows.saturating_mul(numbers as u64)
    }
}

/// Something a family publishes under its hash: a model, or a piece of one.
pub trait FamilyObject: erased_serde::Serialize + fmt::Debug + Send + Sync + Any {
    /// Checks what came from elsewhere.
    ///
    /// # Errors
    /// Says what is out of bounds or contradicts itself.
    fn check(&self) -> Result<(), String>;
    /// The model it is; `None` for a piece of one.
    fn model(&self) -> Option<&dyn FoldModel>;
}

erased_serde::serialize_trait_object!(FamilyPart);
erased_serde::serialize_trait_object!(FamilyObject);

/// A part of any family, with the family's name.
#[derive(Clone, Debug)]
pub struct AnyPart {
    family: &'static str,
    part: Arc<dyn FamilyPart>,
}

/// An object of any family, with the family's name.
#[derive(Clone, Debug)]
pub struct AnyObject {
    family: &'static str,
    object: Arc<dyn FamilyObject>,
}

macro_rules! named {
    ($any:ident, $field:ident, $of:ident, $article:literal) => {
        impl $any {
            #[doc = concat!("Names ", $article, " ", stringify!($field), " of a family.")]
            #[must_use]
            pub fn new(family: &'static str, $field: impl $of) -> Self {
                Self {
                    family,
                    $field: Arc::new($field),
                }
            }

            /// The family's name.
            #[must_use]
            pub fn family(&self) -> &'static str {
                self.family
            }

            /// It, as this type, if it is one.
            #[must_use]
            pub fn downcast<T: $of>(&self) -> Option<&T> {
                let any: &dyn Any = &*self.$field;
                any.downcast_ref()
            }
        }

        impl std::ops::Deref for $any {
            type Target = dyn $of;

            fn deref(&self) -> &Self::Target {
                &*self.$field
            }
        }

        // Equal when their canonical bytes are.
        impl PartialEq for $any {
            fn eq(&self, other: &Self) -> bool {
                let json = |any: &Self| serde_json::to_vec(any.$field.as_ref()).ok();
                self.family == other.family && json(self) == json(other)
            }
        }

        impl Serialize for $any {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.$field.serialize(serializer)
            }
        }
    };
}

named!(AnyPart, part, FamilyPart, "a");
named!(AnyObject, object, FamilyObject, "an");

/// Reads the value under a family's name.
pub(crate) struct PartOf(pub(crate) &'static dyn Family);
/// Reads the value under a family's name.
pub(crate) struct ObjectOf(pub(crate) &'static dyn Family);

impl<'de> DeserializeSeed<'de> for PartOf {
    type Value = AnyPart;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<AnyPart, D::Error> {
        let mut json = <dyn erased_serde::Deserializer<'_>>::erase(json);
        let part = (self.0.reads().part)(&mut json).map_err(D::Error::custom)?;
        Ok(AnyPart {
            family: self.0.name(),
            part,
        })
    }
}

impl<'de> DeserializeSeed<'de> for ObjectOf {
    type Value = AnyObject;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<AnyObject, D::Error> {
        let mut json = <dyn erased_serde::Deserializer<'_>>::erase(json);
        let object = (self.0.reads().object)(&mut json).map_err(D::Error::custom)?;
        Ok(AnyObject {
            family: self.0.name(),
            object,
        })
    }
}

/// The families of this crate, in the order of reports.
static BUILT_IN: [&dyn Family; 5] = [
    &logistic::Logistic,
    &scorecard::Scorecard,
    &ga2m::Ga2m,
    &gbdt::Gbdt,
    &net::Net,
];

type Registered = RwLock<Vec<&'static dyn Family>>;

fn registered() -> &'static Registered {
    static REGISTERED: OnceLock<Registered> = OnceLock::new();
    REGISTERED.get_or_init(|| RwLock::new(BUILT_IN.to_vec()))
}

/// All families, in the order they were registered.
#[must_use]
pub fn families() -> Vec<&'static dyn Family> {
    // Nothing panics while it is locked.
    registered()
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone()
}

/// Their names, in the same order.
#[must_use]
pub fn names() -> Vec<&'static str> {
    families().iter().map(|family| family.name()).collect()
}

/// The family of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Family> {
    families().into_iter().find(|family| family.name() == name)
}

/// Whether the task's constraints leave a family in.
pub(crate) fn allowed(task: &Task, family: &dyn Family) -> bool {
    let limits = &task.constraints;
    let named = match &limits.allowed_models {
        Some(families) => families.iter().any(|name| name == family.name()),
        None => true,
    };
    named
        && (family.interpretable() || !limits.interpretable_only)
        && (family.monotone() || limits.monotone.is_empty())
}

/// Why a family was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Another one has the name.
    #[error("a family called `{0}` is registered already; give yours another name")]
    Taken(&'static str),
    /// A key of asks or objects that is not a family's.
    #[error("`{0}` is a word of the protocol; give your family another name")]
    Reserved(&'static str),
}

/// Keys of asks and objects that are not families.
const RESERVED: [&str; 8] = [
    "profile", "score", "gram", "blend", "compare", "noisy", "trial", "pipeline",
];

/// Adds a family: from now on it is known in task files, its candidates take part in every
/// search, and this program's sites answer its asks. Call it in `main`, before tasks are read;
/// all members' programs have to do the same.
///
/// # Errors
/// When the name is taken.
pub fn register(family: &'static dyn Family) -> Result<(), RegisterError> {
    let name = family.name();
    if RESERVED.contains(&name) {
        return Err(RegisterError::Reserved(name));
    }
    let mut all = registered()
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if all.iter().any(|known| known.name() == name) {
        return Err(RegisterError::Taken(name));
    }
    all.push(family);
    Ok(())
}
