//! Metrics from sums: nothing here needs a single row outside its site.

mod built_in;
mod compare;
mod counter;
mod curve;
mod difference;
#[cfg(test)]
mod oracle;
mod rule;
mod score;
mod sums;

pub(crate) use compare::Voice;
pub use compare::{ComparePart, Compared, Contender, MAX_VOTERS, Voter};
pub(crate) use counter::{ScoreCounter, ScoreShape};
pub use curve::{BINS, Curve, LOGIT_LIMIT, bin_of};
pub use difference::Difference;
pub use rule::{MAX_SUMS, Metric, Rule, RuleError, register};
pub(crate) use score::check_rows_and_folds;
pub use score::{Metrics, Rows, ScorePart, Scored};
pub use sums::LossSums;
pub(crate) use sums::{LossCounter, SEGMENTS, likeliest, loss, loss_points};
