//! What a site does not show, whatever is asked.

use serde::Serialize;

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

/// Rows that a site held back from an answer, because they are fewer than its `min_rows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// All training rows: zeros were sent.
    Training,
    /// All test rows: zeros were sent.
    Test,
    /// The rows of at least one fold: nothing was validated on them.
    Fold,
}

impl SitePolicy {
    /// Lets rows of folds with too few of them train in every fold instead.
    pub(crate) fn apply(self, slots: &mut [Slot], folds: u8) {
        let held = self.held_folds(slots, folds);
        for slot in slots {
            if let Slot::Fold(fold) = *slot
                && held.contains(&fold)
            {
                *slot = Slot::TrainOnly;
            }
        }
    }

    /// Folds that have rows here, but fewer than `min_rows`.
    pub(crate) fn held_folds(self, slots: &[Slot], folds: u8) -> Vec<u8> {
        let few = |fold: &u8| {
            let own = slots.iter().filter(|slot| **slot == Slot::Fold(*fold));
            (1..self.min_rows).contains(&(own.count() as u64))
        };
        (0..folds).filter(few).collect()
    }
}
