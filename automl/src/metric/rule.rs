//! Metrics by name: those of this crate, and those that a program adds.
//!
//! A metric is a [`Rule`]: a figure that follows from sums over rows. It may add
//! sums of its own to what sites answer. Implement it in one file and name it to
//! [`register`] before a task is read; all members' programs have to do the same.

use std::fmt;
use std::sync::{OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::built_in::BUILT_IN;
use super::score::Scored;
use crate::features::TargetCoding;
use crate::task::Kind;

/// Most sums that a metric may add.
pub const MAX_SUMS: usize = 16;

/// How a model is judged.
pub trait Rule: Sync {
    /// Its name in task files and reports: words in lower case joined by `_`.
    fn name(&self) -> &'static str;

    /// Whether it can judge models of this kind.
    fn fits(&self, kind: Kind) -> bool;

    /// Whether a larger value is a better one.
    fn larger_is_better(&self) -> bool;

    /// Its value; `None` where the rows do not allow one (one class only, say).
    fn value(&self, scored: &Scored, target: &TargetCoding) -> Option<f64>;

    /// The value's standard error, where it is known.
    fn standard_error(&self, _scored: &Scored, _target: &TargetCoding) -> Option<f64> {
        None
    }

    /// The sums it needs beside the usual ones, at most [`MAX_SUMS`]: for each the exponent `e`
    /// of the bound 2^`e` that a row's magnitude is cut to, -10 to 20.
    fn exponents(&self) -> &'static [i32] {
        &[]
    }

    /// One row's contribution to its own sums. `scores` are the class probabilities and `target`
    /// the class's index, or both are numbers in units of the target's scale around its mean.
    fn row(&self, _scores: &[f64], _target: f64, _sums: &mut [f64]) {}
}

/// The figure that ranks candidates and is reported first: a registered [`Rule`].
#[derive(Clone, Copy)]
pub struct Metric(&'static dyn Rule);

impl Metric {
    /// The metric of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|metric| metric.name() == name)
    }

    /// All metrics, in the order they were registered.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let rules = registered().read().unwrap_or_else(PoisonError::into_inner);
        rules.iter().map(|rule| Self(*rule)).collect()
    }

    /// A built-in metric.
    pub(super) const fn of(rule: &'static dyn Rule) -> Self {
        Self(rule)
    }

    /// The name used in task files and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Whether it can judge models of this kind.
    #[must_use]
    pub fn fits(self, kind: Kind) -> bool {
        self.0.fits(kind)
    }

    /// Whether a larger value is a better one.
    #[must_use]
    pub fn larger_is_better(self) -> bool {
        self.0.larger_is_better()
    }

    /// How it is computed.
    #[must_use]
    pub fn rule(self) -> &'static dyn Rule {
        self.0
    }

    /// The metric of a task that names none.
    #[must_use]
    pub fn for_kind(kind: Kind) -> Self {
        match kind {
            Kind::Classification => Self::LOG_LOSS,
            Kind::Regression => Self::RMSE,
        }
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metric({})", self.name())
    }
}

// Names are unique.
impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Metric {}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::find(&name).ok_or_else(|| {
            let known: Vec<_> = Self::all().iter().map(|metric| metric.name()).collect();
            serde::de::Error::custom(format!(
                "no metric is called `{name}` here; known are {}",
                known.join(", ")
            ))
        })
    }
}

type Registered = RwLock<Vec<&'static dyn Rule>>;

fn registered() -> &'static Registered {
    static REGISTERED: OnceLock<Registered> = OnceLock::new();
    REGISTERED.get_or_init(|| RwLock::new(BUILT_IN.to_vec()))
}

/// Why a metric was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Another one has the name.
    #[error("a metric called `{0}` is registered already; give yours another name")]
    Taken(&'static str),
    /// Its sums are out of bounds.
    #[error(
        "the metric `{0}` asks for more than {MAX_SUMS} sums, or for bounds outside 2^-10 to 2^20"
    )]
    Sums(&'static str),
}

/// Adds a metric: from now on a task may name it.
///
/// # Errors
/// When the name is taken, or its sums are out of bounds.
pub fn register(rule: &'static dyn Rule) -> Result<Metric, RuleError> {
    let exponents = rule.exponents();
    if exponents.len() > MAX_SUMS || exponents.iter().any(|e| !(-10..=20).contains(e)) {
        return Err(RuleError::Sums(rule.name()));
    }
    let mut rules = registered().write().unwrap_or_else(PoisonError::into_inner);
    if rules.iter().any(|known| known.name() == rule.name()) {
        return Err(RuleError::Taken(rule.name()));
    }
    rules.push(rule);
    Ok(Metric(rule))
}
