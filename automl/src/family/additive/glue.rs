//! The additive families as the search knows them.

use serde::{Deserialize, Serialize};

use super::{AdditiveModel, AdditivePart, AdditivePath, Fitting};
use crate::ask::{Encoder, PartTotals, Segment};
use crate::family::{AnyObject, AnyPart, FamilyObject, FamilyPart, FoldModel, Head, Trainer};
use crate::metric::LossSums;
use crate::object::{Object, ObjectId};
use crate::site::{SiteError, SiteView};

/// What an additive family publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdditiveObject {
    /// A model.
    Model(AdditiveModel),
    /// Points of a path, to be asked about.
    Path(AdditivePath),
}

impl AdditiveObject {
    fn path(&self) -> Option<&AdditivePath> {
        match self {
            Self::Model(_) => None,
            Self::Path(path) => Some(path),
        }
    }
}

impl FamilyObject for AdditiveObject {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Model(model) => model.check(),
            Self::Path(path) => path.check(),
        }
    }

    fn model(&self) -> Option<&dyn FoldModel> {
        match self {
            Self::Model(model) => Some(model),
            Self::Path(_) => None,
        }
    }
}

impl FamilyPart for AdditivePart {
    fn pipeline(&self) -> ObjectId {
        match self {
            Self::Count(part) => part.pipeline,
            Self::Sums(part) => part.pipeline,
            Self::Screen(part) => part.pipeline,
        }
    }

    fn objects(&self) -> Vec<ObjectId> {
        self.path().into_iter().collect()
    }

    fn segments(&self) -> Vec<Segment> {
        match self {
            Self::Count(part) => part.segments(),
            Self::Sums(part) => part.segments(),
            Self::Screen(part) => part.segments(),
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Count(part) => part.check(),
            Self::Sums(part) => part.check(),
            Self::Screen(part) => part.check(),
        }
    }

    fn answer(&self, site: &mut SiteView<'_>, out: &mut Encoder) -> Result<(), SiteError> {
        let path = match self.path() {
            Some(id) => {
                let object: &AdditiveObject = site.object(id)?;
                let path = object.path();
                Some(path.ok_or_else(|| SiteError::unfit(id, "it is no path"))?)
            }
            None => None,
        };
        let unfit = |reason| {
            Err(SiteError::unfit(
                self.path().unwrap_or(self.pipeline()),
                reason,
            ))
        };
        if self.head() != Head::of(site.pipeline.target()) {
            return unfit("it has other classes than its pipeline");
        }
        // The pipeline's bins bound every index below.
        let columns = site.pipeline.bin_columns();
        if columns.len() != site.pipeline.width() {
            return unfit("it takes bins where its pipeline makes numbers");
        }
        if !self.fits(&columns, path) {
            return unfit("its sizes differ from what the part announces");
        }
        Ok(self.sums(path, site.rows, out)?)
    }

    /// A row is in one bin of each column, so it adds to one cell of each pair of columns.
    fn updates(&self, rows: u64, width: u64) -> u64 {
        let folds = match self {
            Self::Count(part) => usize::from(part.folds),
            Self::Sums(part) => part.parameters.len(),
            Self::Screen(part) => usize::from(part.folds),
        };
        let cells = width.saturating_mul(width + 1).saturating_mul(folds as u64) / 2;
        let numbers: usize = self.segments().iter().map(Segment::count).sum();
        rows.saturating_mul(cells).saturating_add(numbers as u64)
    }
}

/// Trains one additive candidate.
pub(crate) struct AdditiveTrainer<F> {
    family: &'static str,
    fitting: F,
}

impl<F: Fitting> AdditiveTrainer<F> {
    pub(crate) fn new(family: &'static str, fitting: F) -> Self {
        Self { family, fitting }
    }

    fn object(&self, object: AdditiveObject) -> Object {
        Object::Family(AnyObject::new(self.family, object))
    }
}

impl<F: Fitting> Trainer for AdditiveTrainer<F> {
    fn ask(&self) -> (AnyPart, Vec<Object>) {
        let (part, path) = self.fitting.next();
        let Some(path) = path else {
            return (AnyPart::new(self.family, part), Vec::new());
        };
        let object = self.object(AdditiveObject::Path(path));
        // Coefficients are finite: no step is taken to where they are not.
        let id = object.id().unwrap_or(part.pipeline());
        (AnyPart::new(self.family, part.about(id)), vec![object])
    }

    fn learn(&mut self, totals: &PartTotals<'_>) -> Option<LossSums> {
        self.fitting.take(totals)
    }

    fn finished(&self) -> bool {
        self.fitting.finished()
    }

    fn keep(&mut self) {
        self.fitting.keep();
    }

    fn shown(&self) -> Object {
        self.object(AdditiveObject::Model(self.fitting.shown().clone()))
    }

    fn model(&self) -> Object {
        self.object(AdditiveObject::Model(self.fitting.current()))
    }
}
