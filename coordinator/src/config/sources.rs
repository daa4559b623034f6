//! Where configuration comes from, and how it is merged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Config as Merged, File, FileFormat, Source, Value, ValueKind};

use super::{Config, DEFAULTS, ENVIRONMENT_PREFIX, FILE_VARIABLE};

/// Where configuration comes from besides the defaults. The environment is an
/// argument, so that tests never touch the process's own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables, all of them; others than ours are ignored.
    pub environment: BTreeMap<String, String>,
    /// Flags: dotted key to value, for example `step.straggler_wait` to `10s`.
    pub flags: BTreeMap<String, String>,
}

impl Sources {
    /// The process's own environment, no file and no flags.
    #[must_use]
    pub fn from_process() -> Self {
        Self {
            environment: std::env::vars_os()
                .filter_map(|(key, value)| {
                    Some((key.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            ..Self::default()
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key nobody knows.
    #[error("unknown configuration key `{key}` in {origin}{}", nearest_hint(.nearest))]
    UnknownKey {
        /// The key as written.
        key: String,
        /// File, environment or flags.
        origin: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong kind, or a file that is not TOML.
    #[error("configuration: {0}")]
    Invalid(String),
    /// Neither `state` nor a home directory.
    #[error("no state directory: set `state` (flag --state, or COLLEGIUM_COORDINATOR_STATE)")]
    NoState,
}

fn nearest_hint(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

impl Config {
    /// Merges the sources.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, where it stands, and the nearest known one.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let invalid = |error: config::ConfigError| ConfigError::Invalid(error.to_string());
        let mut builder = Merged::builder();
        for (key, value) in DEFAULTS {
            builder = builder.set_default(key, value).map_err(invalid)?;
        }
        if let Some(state) = default_state(&sources.environment) {
            builder = builder.set_default("state", state).map_err(invalid)?;
        }
        if let Some(path) = &sources.file {
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                path: path.clone(),
                source,
            })?;
            let file = File::from_str(&text, FileFormat::Toml);
            let values = file
                .collect()
                .map_err(|error| ConfigError::Invalid(format!("{}: {error}", path.display())))?;
            refuse_unknown(&values, &path.display().to_string())?;
            builder = builder.add_source(file);
        }
        for (key, value) in environment_keys(&sources.environment) {
            known(&key, "the environment")?;
            builder = builder.set_override(key, value).map_err(invalid)?;
        }
        for (key, value) in &sources.flags {
            known(key, "the command line")?;
            builder = builder.set_override(key, value.as_str()).map_err(invalid)?;
        }
        let config: Self = builder
            .build()
            .map_err(invalid)?
            .try_deserialize()
            .map_err(invalid)?;
        if config.state.as_os_str().is_empty() {
            return Err(ConfigError::NoState);
        }
        Ok(config)
    }
}

/// `COLLEGIUM_COORDINATOR_STEP__VOTE_WAIT` -> `step.vote_wait`.
fn environment_keys(environment: &BTreeMap<String, String>) -> Vec<(String, String)> {
    environment
        .iter()
        .filter(|(name, _)| *name != FILE_VARIABLE)
        .filter_map(|(name, value)| {
            let key = name.strip_prefix(ENVIRONMENT_PREFIX)?;
            Some((key.to_lowercase().replace("__", "."), value.clone()))
        })
        .collect()
}

fn default_state(environment: &BTreeMap<String, String>) -> Option<String> {
    let base = match environment
        .get("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
    {
        Some(state) => PathBuf::from(state),
        None => Path::new(environment.get("HOME").filter(|value| !value.is_empty())?)
            .join(".local/state"),
    };
    Some(base.join("collegium/coordinator").display().to_string())
}

fn refuse_unknown(values: &config::Map<String, Value>, origin: &str) -> Result<(), ConfigError> {
    // Sorted, so that the same file always names the same culprit first.
    let mut leaves = BTreeMap::new();
    for (key, value) in values {
        collect_leaves(key, value, &mut leaves);
    }
    leaves.keys().try_for_each(|key| known(key, origin))
}

fn collect_leaves(key: &str, value: &Value, leaves: &mut BTreeMap<String, ()>) {
    match &value.kind {
        ValueKind::Table(table) if !table.is_empty() => {
            for (name, inner) in table {
                collect_leaves(&format!("{key}.{name}"), inner, leaves);
            }
        }
        _ => {
            leaves.insert(key.to_owned(), ());
        }
    }
}

fn known(key: &str, origin: &str) -> Result<(), ConfigError> {
    let is_section = |known: &str| known.starts_with(&format!("{key}."));
    if DEFAULTS
        .iter()
        .any(|(known, _)| *known == key || is_section(known))
    {
        return Ok(());
    }
    let nearest = DEFAULTS
        .iter()
        .map(|(known, _)| (closeness(known, key), *known))
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .filter(|(score, _)| *score > 0.6)
        .map(|(_, known)| known);
    Err(ConfigError::UnknownKey {
        key: key.to_owned(),
        origin: origin.to_owned(),
        nearest,
    })
}

/// The whole dotted key or its last word, whichever is more alike: a key put
/// into the wrong section is the commonest slip after a misspelt one.
fn closeness(known: &str, key: &str) -> f64 {
    let last = |dotted: &str| {
        dotted
            .rsplit('.')
            .next()
            .map(str::to_owned)
            .unwrap_or_default()
    };
    strsim::jaro_winkler(known, key).max(strsim::jaro_winkler(&last(known), &last(key)))
}
