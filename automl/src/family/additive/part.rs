//! The parts that the additive families ask for.

use serde::{Deserialize, Serialize};

use super::{AdditivePath, CountPart, ScreenPart, SumsPart};
use crate::ask::{EncodeError, Encoder};
use crate::family::Head;
use crate::features::BinColumn;
use crate::object::ObjectId;
use crate::site::Rows;

/// Something an additive family asks every site to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdditivePart {
    /// Labels by bin.
    Count(CountPart),
    /// Losses, gradients and a Hessian of a path.
    Sums(SumsPart),
    /// What is left to explain on the grids of pairs.
    Screen(ScreenPart),
}

impl AdditivePart {
    /// The path that the part looks at, if any.
    #[must_use]
    pub fn path(&self) -> Option<ObjectId> {
        match self {
            Self::Count(_) => None,
            Self::Sums(part) => Some(part.path),
            Self::Screen(part) => Some(part.path),
        }
    }

    /// This part, about the path of this id.
    pub(crate) fn about(mut self, path: ObjectId) -> Self {
        match &mut self {
            Self::Count(_) => {}
            Self::Sums(part) => part.path = path,
            Self::Screen(part) => part.path = path,
        }
        self
    }

    /// What is predicted.
    pub(crate) fn head(&self) -> Head {
        match self {
            Self::Count(part) => part.head,
            Self::Sums(part) => part.head,
            Self::Screen(part) => part.head,
        }
    }

    /// Whether this part can be answered with these bins and this path.
    pub(crate) fn fits(&self, columns: &[BinColumn], path: Option<&AdditivePath>) -> bool {
        match (self, path) {
            (Self::Count(part), _) => part.fits(columns),
            (Self::Sums(part), Some(path)) => {
                path.width as usize == columns.len() && part.fits(path)
            }
            (Self::Screen(part), Some(path)) => {
                path.width as usize == columns.len() && part.fits(path)
            }
            _ => false,
        }
    }

    /// A site's answer; rows and path must fit the part.
    pub(crate) fn sums(
        &self,
        path: Option<&AdditivePath>,
        rows: &Rows,
        out: &mut Encoder,
    ) -> Result<(), EncodeError> {
        match (self, path) {
            (Self::Count(part), _) => part.answer(rows, out),
            (Self::Sums(part), Some(path)) => part.answer(path, rows, out),
            (Self::Screen(part), Some(path)) => part.answer(path, rows, out),
            // The encoder then says that numbers are missing.
            _ => Ok(()),
        }
    }
}
