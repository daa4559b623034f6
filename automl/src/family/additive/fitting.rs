//! What training an additive model consists of, whatever the family.

use super::{AdditiveModel, AdditivePart, AdditivePath};
use crate::ask::PartTotals;
use crate::metric::LossSums;

/// Fits one candidate, a step at a time, from sums alone.
pub(crate) trait Fitting {
    /// What to ask next, and the path that it looks at, if any.
    fn next(&self) -> (AdditivePart, Option<AdditivePath>);

    /// Takes the totals in; the validation losses of the model that was scored, if one
    /// was.
    fn take(&mut self, totals: &PartTotals<'_>) -> Option<LossSums>;

    /// Whether there is nothing more to ask.
    fn finished(&self) -> bool;

    /// The model that was scored last is from now on the one to show.
    fn keep(&mut self);

    /// The model kept last; before that, one that knows nothing.
    fn shown(&self) -> &AdditiveModel;

    /// The model as it is now.
    fn current(&self) -> AdditiveModel;
}
