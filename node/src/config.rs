//! The node's configuration: defaults < file < environment < flags.
//!
//! The file is TOML. Every key of it can also be set by an environment variable
//! `COLLEGIUM_NODE_<SECTION>__<KEY>` (two underscores between section and key, lists separated
//! by commas); `[data.map]` names a site's columns and is read from the file only.
//! Relative paths in the file are relative to the file. `configs/node.toml` is the documented
//! sample.
//!
//! Nothing in here reads the process's environment except [`Sources::from_process`], so tests
//! inject what they need.

mod sources;
mod units;

use std::path::{Path, PathBuf};
use std::time::Duration;

use collegium_automl::data::SitePolicy;
use collegium_automl::family::net::TrainingDevice;
use collegium_automl::noise::zcdp;
use collegium_automl::privacy::{MAX_QUASI_IDENTIFIERS, PrivacyError, PrivacyRules};
use collegium_automl::table::TableMapping;
use collegium_protocol::limits::MAX_COHORT_CHANGES;
use serde::{Deserialize, Serialize};

use crate::store::Limit;

pub use sources::{Flags, Sources};
pub use units::{Bytes, Span};

/// Fewest contributors that any consortium can have (secure-sum: max(3, f + 2, ⌈2n/3⌉)).
const FEWEST_CONTRIBUTORS: u16 = 3;
/// Largest consortium whose committee is all of its members.
const MOST_CONTRIBUTORS: u16 = 64;
/// A site that holds back more rows than this should not take part.
const MOST_MIN_ROWS: u64 = 1_000_000;
/// A century: longer is for ever.
const MOST_DAYS: u32 = 36_500;
/// A reconnect pause longer than an hour is a mistake in the unit.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Everything a node can be told, with its defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of keys, database, ledger and reports. Default:
    /// `$XDG_STATE_HOME/collegium/node`, else `~/.local/state/collegium/node`.
    pub state: PathBuf,
    /// Address of the coordinator, `host:port` (UDP). Default: the one in the invitation that
    /// the node joined with.
    pub coordinator: Option<String>,
    /// The site's table.
    pub data: DataConfig,
    /// What is done to the table's columns before a task reads one of them.
    pub privacy: PrivacyRules,
    /// What this site allows.
    pub policy: PolicyConfig,
    /// What all tasks together may tell about one of this site's rows.
    pub budget: BudgetConfig,
    /// The connection to the coordinator.
    pub link: LinkConfig,
    /// Bounds on what the node uses.
    pub limits: LimitsConfig,
    /// What trains models.
    pub training: TrainingConfig,
    /// What is written to standard error.
    pub log: LogConfig,
}

/// Where the site's rows are, and how its words become the consortium's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// A CSV file with one header line. Default: none (the node then refuses every run).
    pub path: Option<PathBuf>,
    /// A TOML file that says how this site's columns become the task's (see `map`).
    /// Default: none.
    pub mapping: Option<PathBuf>,
    /// The same, written here: `map.columns.disease = { from = "num", missing = ["-9"] }`.
    /// Not together with `mapping`. Default: none.
    pub map: Option<TableMapping>,
}

/// What the site allows, whatever the coordinator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// The site's own policy, a Cedar file; what the other keys of this section do not allow, no
    /// policy permits. Default: none, the built-in `configs/site-policy.cedar`, which permits
    /// everything that they allow.
    pub file: Option<PathBuf>,
    /// Names of the tasks this site takes part in. Default: empty, which means every task of
    /// the consortium.
    pub allowed_tasks: Vec<String>,
    /// Fewest members in a sum that this site takes part in, on top of the charter's own
    /// minimum. A number of members, 3 to 64. Default: 3.
    pub minimum_contributors: u16,
    /// Different sets of contributors this site accepts in one run before it refuses to go on.
    /// A count, 1 to 8. Default: 8.
    pub max_cohort_changes: u32,
    /// Whether this site checks the evidence of every step's totals, which lets it see them.
    /// Default: true.
    pub verify_totals: bool,
    /// With fewer training rows, or fewer test rows, than this the site answers zeros for all of
    /// them, and it validates nothing in a fold of fewer; its ledger says so. A number of rows, 0
    /// to 1000000. Default: 0, nothing is held back.
    pub min_rows: u64,
    /// Counts of fewer rows than this in the profile are sent as zero, at some cost in accuracy.
    /// A number of rows, 0 to 1000000. Default: 0, all counts are sent.
    pub min_cell: u64,
}

impl PolicyConfig {
    /// What the site does not show, whatever is asked.
    #[must_use]
    pub const fn site(&self) -> SitePolicy {
        SitePolicy {
            min_rows: self.min_rows,
            min_cell: self.min_cell,
        }
    }
}

/// What all tasks together may tell about one of the site's rows: differential privacy over tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Epsilon for one row, over all runs that count. A number, 0.01 to 100. Default: none, no
    /// budget is kept beyond each task's own.
    pub epsilon: Option<f64>,
    /// The delta that goes with it. A number, 1e-12 to 0.01. Default: 1e-5.
    pub delta: f64,
    /// Days after which what a run told counts no more; 0: it counts for ever. A number of days, 0
    /// to 36500. Default: 0.
    pub days: u32,
    /// Whether tasks without differential privacy are taken part in where there is a budget: what
    /// they tell has no bound. Default: false.
    pub exact_tasks: bool,
}

impl BudgetConfig {
    /// The limit that the site keeps, if it keeps one.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        let epsilon = self.epsilon?;
        let day = Duration::from_secs(24 * 3600);
        Some(Limit {
            rho: zcdp::rho(epsilon, self.delta),
            period: (self.days > 0).then(|| day * self.days),
        })
    }
}

/// The connection to the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Pause before the first reconnection; doubles with each failure. A length of time, 10ms
    /// to 1min. Default: 250ms.
    pub reconnect_min: Span,
    /// Longest pause between two attempts to connect. A length of time, at most 1h.
    /// Default: 15s.
    pub reconnect_max: Span,
    /// How long one attempt to connect may take. A length of time, 100ms to 10min.
    /// Default: 10s.
    pub connect_timeout: Span,
}

/// Bounds on what the node uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Free space below which `check` complains. A number of bytes. Default: 256MiB.
    pub free_disk: Bytes,
    /// Runs whose tables are kept in memory at once. A count, 1 to 16. Default: 2.
    pub open_runs: usize,
}

/// What trains models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Where neural networks train: `cpu`, `cuda` (or `cuda:1`, …) or `wgpu`. The last two need a
    /// program that was built with that cargo feature. Default: `cpu`.
    pub device: TrainingDevice,
}

/// What is written to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `human` or `json` (one object a line). Default: `human`.
    pub format: LogFormat,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or a list of `target=level`.
    /// Default: `info`.
    pub level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state: PathBuf::from("."),
            coordinator: None,
            data: DataConfig::default(),
            privacy: PrivacyRules::default(),
            policy: PolicyConfig::default(),
            budget: BudgetConfig::default(),
            link: LinkConfig::default(),
            limits: LimitsConfig::default(),
            training: TrainingConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            file: None,
            allowed_tasks: Vec::new(),
            minimum_contributors: FEWEST_CONTRIBUTORS,
            max_cohort_changes: 8,
            verify_totals: true,
            min_rows: 0,
            min_cell: 0,
        }
    }
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            epsilon: None,
            delta: 1e-5,
            days: 0,
            exact_tasks: false,
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            reconnect_min: Span::millis(250),
            reconnect_max: Span::millis(15_000),
            connect_timeout: Span::millis(10_000),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            free_disk: Bytes(256 << 20),
            open_runs: 2,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            level: "info".to_owned(),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration {path}: {source}; give another file with --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {origin}; did you mean `{nearest}`?")]
    UnknownKey {
        /// File or "the environment".
        origin: String,
        /// The key as written.
        key: String,
        /// The known key that looks most like it.
        nearest: String,
    },
    /// A value of the wrong type.
    #[error("the configuration does not fit: {0}")]
    Type(#[from] config::ConfigError),
    /// A rule for a column that cannot be.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// A value out of its range.
    #[error("`{key}` is {value}, but must be {expected}")]
    Range {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        expected: String,
    },
}

impl Config {
    /// Reads the configuration from `sources`.
    ///
    /// # Errors
    /// Any of [`ConfigError`]; the message names the file, the key and what to do.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        sources.load()
    }

    /// Directory of one run's private results at this site.
    #[must_use]
    pub fn run_directory(&self, run: &str) -> PathBuf {
        self.state.join("runs").join(run)
    }

    /// Where `check` and the daemon look for the database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state.join("node.db")
    }

    /// The file of the coordinator's checkpoint that this node cosigned last.
    #[must_use]
    pub fn witness(&self) -> PathBuf {
        self.state.join("witness/checkpoint")
    }

    /// The ledger's directory.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.state.join("ledger")
    }

    /// The file that `join` writes and that is read when no other is named.
    #[must_use]
    pub fn default_file(state: &Path) -> PathBuf {
        state.join("node.toml")
    }

    /// Checks the ranges that types cannot.
    fn checked(self) -> Result<Self, ConfigError> {
        let fits =
            |fine: bool, key: &'static str, value: &dyn std::fmt::Display, expected: &str| {
                fine.then_some(()).ok_or_else(|| ConfigError::Range {
                    key,
                    value: value.to_string(),
                    expected: expected.to_owned(),
                })
            };
        let Self {
            privacy,
            policy,
            budget,
            link,
            limits,
            ..
        } = &self;
        privacy.check()?;
        let quasi = privacy.quasi_identifiers.len();
        fits(
            quasi <= MAX_QUASI_IDENTIFIERS,
            "privacy.quasi_identifiers",
            &format!("{quasi} columns"),
            &format!("at most {MAX_QUASI_IDENTIFIERS}"),
        )?;
        fits(
            (FEWEST_CONTRIBUTORS..=MOST_CONTRIBUTORS).contains(&policy.minimum_contributors),
            "policy.minimum_contributors",
            &policy.minimum_contributors,
            &format!("a number of members from {FEWEST_CONTRIBUTORS} to {MOST_CONTRIBUTORS}"),
        )?;
        fits(
            (1..=MAX_COHORT_CHANGES).contains(&(policy.max_cohort_changes as usize)),
            "policy.max_cohort_changes",
            &policy.max_cohort_changes,
            &format!("from 1 to {MAX_COHORT_CHANGES}"),
        )?;
        for (key, rows) in [
            ("privacy.small_group", privacy.small_group),
            ("privacy.minimum_k", privacy.minimum_k),
            ("policy.min_rows", policy.min_rows),
            ("policy.min_cell", policy.min_cell),
        ] {
            let expected = format!("a number of rows from 0 to {MOST_MIN_ROWS}");
            fits(rows <= MOST_MIN_ROWS, key, &rows, &expected)?;
        }
        for (key, value, [least, most]) in [
            ("budget.epsilon", budget.epsilon, zcdp::EPSILON),
            ("budget.delta", Some(budget.delta), zcdp::DELTA),
        ] {
            let within = value.is_none_or(|value| (least..=most).contains(&value));
            let expected = format!("a number from {least} to {most}");
            fits(within, key, &value.unwrap_or_default(), &expected)?;
        }
        fits(
            budget.days <= MOST_DAYS,
            "budget.days",
            &budget.days,
            &format!("a number of days from 0 to {MOST_DAYS}"),
        )?;
        fits(
            (Span::millis(10)..=Span::millis(60_000)).contains(&link.reconnect_min),
            "link.reconnect_min",
            &link.reconnect_min,
            "from 10ms to 1min",
        )?;
        fits(
            (link.reconnect_min..=Span(LONGEST_PAUSE)).contains(&link.reconnect_max),
            "link.reconnect_max",
            &link.reconnect_max,
            "from link.reconnect_min to 1h",
        )?;
        fits(
            (Span::millis(100)..=Span::millis(600_000)).contains(&link.connect_timeout),
            "link.connect_timeout",
            &link.connect_timeout,
            "from 100ms to 10min",
        )?;
        fits(
            (1..=16).contains(&limits.open_runs),
            "limits.open_runs",
            &limits.open_runs,
            "from 1 to 16",
        )?;
        if let Some(address) = &self.coordinator {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
            let fine = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
            fits(fine, "coordinator", address, "host:port")?;
        }
        if self.data.mapping.is_some() && self.data.map.is_some() {
            let value = "set together with data.map";
            fits(false, "data.mapping", &value, "one of the two")?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
