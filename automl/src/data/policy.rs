//! What a site does not show, whatever is asked.

use crate::data::Slot;

/// A site's own limits. The default shows everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SitePolicy {
    /// With fewer rows than this in a part (training or test) the site answers zeros for
    /// all of it, and with fewer in a fold it validates nothing there. Rows of a part are
    /// counted, never those of a cell.
    pub min_rows: u64,
    /// Counts of fewer rows than this in the profile are sent as zero. It costs accuracy:
    /// rare values vanish at small sites, and a profile over several sites then differs from
    /// the one over a merged table.
    pub min_cell: u64,
}

impl SitePolicy {
    /// Lets rows of folds with too few of them train in every fold instead.
    pub(super) fn apply(self, slots: &mut [Slot], folds: u8) {
        for fold in 0..folds {
            let own = slots.iter().filter(|slot| **slot == Slot::Fold(fold));
            let few = (own.count() as u64) < self.min_rows;
            if few {
                for slot in slots.iter_mut().filter(|slot| **slot == Slot::Fold(fold)) {
                    *slot = Slot::TrainOnly;
                }
            }
        }
    }
}
