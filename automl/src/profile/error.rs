//! Why there is no profile.

use crate::federation::FederationError;

/// Why no profile could be made.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A step failed.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The names of the columns could not be told apart.
    #[error(
        "the sites' column names could not be read from their sum in {0} tries; are there more than 512 different names over all sites?"
    )]
    Schema(u8),
    /// The target is not at every site.
    #[error(
        "the target `{target}` is a column at {sites} of {of} sites; map it in the other sites' column maps{hint}"
    )]
    NoTarget {
        /// The target.
        target: String,
        /// Sites that have it.
        sites: u64,
        /// Sites in the sum.
        of: u64,
        /// A near name, if any.
        hint: String,
    },
    /// A column that the task declares is nowhere.
    #[error(
        "the task's `{key}` names `{column}`, which is {or} column of any site; did you mean `{nearest}`?"
    )]
    NoColumn {
        /// The key of the task file.
        key: &'static str,
        /// What it names.
        column: String,
        /// "no", or "neither a known kind nor a" for the privacy filter.
        or: &'static str,
        /// The nearest column.
        nearest: String,
    },
    /// No site has a labelled training row.
    #[error("no site has a training row with a target")]
    NoRows,
    /// One value of the target in all rows.
    #[error(
        "the target `{target}` is `{class}` in all {rows} training rows of all sites, so there is nothing to learn; check the sites' column maps"
    )]
    OneClass {
        /// The target.
        target: String,
        /// Its one value.
        class: String,
        /// Training rows.
        rows: u64,
    },
    /// One value of a numeric target in all rows.
    #[error(
        "the target `{target}` is the same number in all {rows} training rows of all sites, so there is nothing to learn; check the sites' column maps"
    )]
    OneValue {
        /// The target.
        target: String,
        /// Training rows.
        rows: u64,
    },
    /// Target values that nobody named.
    #[error(
        "{rows} training rows have a target `{target}` that is neither a whole number from -1 to 30 nor a word such as yes or no, or not among the task's `classes`; values never leave a site, so name them all in the task: classes = [\"…\", \"…\"]"
    )]
    UnknownClasses {
        /// The target.
        target: String,
        /// Training rows with such a value.
        rows: u64,
    },
    /// A regression target with texts.
    #[error(
        "{rows} training rows have a target `{target}` that is not a number; correct them, map them to missing, or make the task a classification"
    )]
    NotANumber {
        /// The target.
        target: String,
        /// Training rows with a text.
        rows: u64,
    },
    /// The positive class does not occur.
    #[error(
        "the positive class `{positive}` does not occur in the training rows; the classes are {found}"
    )]
    NoPositive {
        /// What the task says.
        positive: String,
        /// The classes found.
        found: String,
    },
    /// A positive class among more than two.
    #[error(
        "the task names `{positive}` as the positive class, but there are more than two: {found}; remove `positive`, or map the others together in the sites' column maps"
    )]
    NotTwo {
        /// What the task says.
        positive: String,
        /// The classes found.
        found: String,
    },
    /// A threshold for a target that has not two classes.
    #[error(
        "the task has a [decision], which is for two classes, and the target has {found}; remove it, name \
         the two `classes`, or map the others together in the sites' column maps"
    )]
    DecisionOfMany {
        /// The classes found.
        found: String,
    },
    /// Nothing is left to learn from.
    #[error("no column is left as a feature; each was dropped: {0}")]
    NoFeatures(String),
    /// The totals do not have the shape of the ask.
    #[error("the totals of a profile step do not fit its ask: {0}")]
    Totals(&'static str),
}
