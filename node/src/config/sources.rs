//! Where the configuration comes from, and which keys it knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Environment, Map, Source, Value, ValueKind};

use super::{Config, ConfigError};

/// Prefix of the environment variables that set keys.
const PREFIX: &str = "COLLEGIUM_NODE";
/// Variables with the prefix that are no keys: the command line reads them itself.
const NOT_KEYS: [&str; 1] = ["COLLEGIUM_NODE_CONFIG"];

/// Every key there is; `*` stands for names that the site chooses.
pub(super) const KEYS: [&str; 37] = [
    "state",
    "coordinator",
    "data.path",
    "data.mapping",
    "data.map.delimiter",
    "data.map.missing",
    "data.map.drop",
    "data.map.columns.*.from",
    "data.map.columns.*.values.*",
    "data.map.columns.*.missing",
    "privacy.columns.*.action",
    "privacy.columns.*.dates",
    "privacy.columns.*.band",
    "privacy.columns.*.prefix",
    "privacy.columns.*.range",
    "privacy.quasi_identifiers",
    "privacy.small_group",
    "privacy.minimum_k",
    "policy.file",
    "policy.allowed_tasks",
    "policy.minimum_contributors",
    "policy.max_cohort_changes",
    "policy.verify_totals",
    "policy.min_rows",
    "policy.min_cell",
    "budget.epsilon",
    "budget.delta",
    "budget.days",
    "budget.exact_tasks",
    "link.reconnect_min",
    "link.reconnect_max",
    "link.connect_timeout",
    "limits.free_disk",
    "limits.open_runs",
    "training.device",
    "log.format",
    "log.level",
];

/// Keys whose values are lists, written in the environment with commas.
const LISTS: [&str; 2] = ["policy.allowed_tasks", "privacy.quasi_identifiers"];

/// What the command line set.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--state DIR`
    pub state: Option<PathBuf>,
    /// `--data FILE`
    pub data: Option<PathBuf>,
    /// `--coordinator HOST:PORT`
    pub coordinator: Option<String>,
    /// `--log-format human|json`
    pub log_format: Option<String>,
    /// `--log-level LEVEL`
    pub log_level: Option<String>,
}

/// All the places a configuration comes from, in the order in which later ones win.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by `--config`; without one, `node.toml` in the state directory is read
    /// where it exists.
    pub file: Option<PathBuf>,
    /// Environment variables (others than ours are ignored, except `HOME` and
    /// `XDG_STATE_HOME`, which give the default state directory).
    pub environment: BTreeMap<String, String>,
    /// The command line.
    pub flags: Flags,
}

impl Sources {
    /// The process's own environment, with the command line given.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>, flags: Flags) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(key, _)| key.starts_with(PREFIX) || key == "HOME" || key == "XDG_STATE_HOME")
            .collect();
        Self {
            file,
            environment,
            flags,
        }
    }

    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        let state = self.state_directory();
        let defaults = Config {
            state: state.clone(),
            ..Config::default()
        };
        let mut builder =
            config::Config::builder().add_source(config::Config::try_from(&defaults)?);
        let file = match &self.file {
            Some(file) => Some(file.clone()),
            None => Some(Config::default_file(&state)).filter(|file| file.exists()),
        };
        if let Some(path) = file {
            builder = builder.add_source(TomlFile::read(&path)?);
        }
        builder = builder.add_source(self.environment_source()?);
        let Flags {
            state,
            data,
            coordinator,
            log_format,
            log_level,
        } = &self.flags;
        let state = state.as_deref().map(text);
        let data = data.as_deref().map(text);
        builder = builder
            .set_override_option("state", state)?
            .set_override_option("data.path", data)?
            .set_override_option("coordinator", coordinator.clone())?
            .set_override_option("log.format", log_format.clone())?
            .set_override_option("log.level", log_level.clone())?;
        builder.build()?.try_deserialize::<Config>()?.checked()
    }

    /// The state directory before any file was read: flag, environment, default.
    fn state_directory(&self) -> PathBuf {
        let variable = |name: &str| {
            let value = self.environment.get(name)?;
            (!value.is_empty()).then(|| PathBuf::from(value))
        };
        self.flags
            .state
            .clone()
            .or_else(|| variable("COLLEGIUM_NODE_STATE"))
            .or_else(|| Some(variable("XDG_STATE_HOME")?.join("collegium/node")))
            .or_else(|| Some(variable("HOME")?.join(".local/state/collegium/node")))
            .unwrap_or_else(|| PathBuf::from("collegium-node"))
    }

    fn environment_source(&self) -> Result<Environment, ConfigError> {
        let mut ours = Map::new();
        for (name, value) in &self.environment {
            let Some(rest) = name.strip_prefix(PREFIX).and_then(|r| r.strip_prefix('_')) else {
                continue;
            };
            if NOT_KEYS.contains(&name.as_str()) {
                continue;
            }
            let key = rest.to_lowercase().replace("__", ".");
            if key.contains('*') || !KEYS.contains(&key.as_str()) {
                let nearest = nearest(&key, KEYS.iter().filter(|k| !k.contains('*')));
                return Err(ConfigError::UnknownKey {
                    origin: "the environment".to_owned(),
                    key: name.clone(),
                    nearest: format!("{PREFIX}_{}", nearest.to_uppercase().replace('.', "__")),
                });
            }
            ours.insert(name.clone(), value.clone());
        }
        let mut source = Environment::with_prefix(PREFIX)
            .prefix_separator("_")
            .separator("__")
            .list_separator(",")
            .try_parsing(true);
        for key in LISTS {
            source = source.with_list_parse_key(key);
        }
        Ok(source.source(Some(ours)))
    }
}

/// A TOML file whose keys are all known and whose paths are relative to itself.
#[derive(Debug, Clone)]
struct TomlFile {
    origin: String,
    table: toml::Table,
}

impl TomlFile {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut table: toml::Table = text.parse().map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            reason: format!("{error}"),
        })?;
        let origin = path.display().to_string();
        if let Some(key) = unknown(&table, &Patterns::all(), "") {
            return Err(ConfigError::UnknownKey {
                nearest: nearest(&key, KEYS.iter()),
                origin,
                key,
            });
        }
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        if let Some(state) = table.get_mut("state") {
            anchor(state, base);
        }
        for (section, keys) in [("data", &["path", "mapping"][..]), ("policy", &["file"])] {
            if let Some(toml::Value::Table(section)) = table.get_mut(section) {
                for key in keys {
                    if let Some(path) = section.get_mut(*key) {
                        anchor(path, base);
                    }
                }
            }
        }
        Ok(Self { origin, table })
    }
}

impl Source for TomlFile {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let convert = |(key, value): (&String, &toml::Value)| (key.clone(), self.value(value));
        Ok(self.table.iter().map(convert).collect())
    }
}

impl TomlFile {
    fn value(&self, value: &toml::Value) -> Value {
        let kind = match value {
            toml::Value::String(text) => ValueKind::String(text.clone()),
            toml::Value::Integer(number) => ValueKind::I64(*number),
            toml::Value::Float(number) => ValueKind::Float(*number),
            toml::Value::Boolean(flag) => ValueKind::Boolean(*flag),
            toml::Value::Datetime(date) => ValueKind::String(date.to_string()),
            toml::Value::Array(items) => {
                ValueKind::Array(items.iter().map(|item| self.value(item)).collect())
            }
            toml::Value::Table(table) => ValueKind::Table(
                table
                    .iter()
                    .map(|(key, value)| (key.clone(), self.value(value)))
                    .collect(),
            ),
        };
        Value::new(Some(&self.origin), kind)
    }
}

fn anchor(value: &mut toml::Value, base: &Path) {
    if let toml::Value::String(path) = value {
        *path = text(&base.join(&*path));
    }
}

/// Paths in configuration are text; what is not UTF-8 cannot be written in TOML anyway.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The first key that no pattern knows, with its sections.
fn unknown(table: &toml::Table, at: &Patterns, path: &str) -> Option<String> {
    for (key, value) in table {
        let full = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let below = at.descend(key);
        match value {
            toml::Value::Table(inner) if below.is_section() => {
                if let Some(found) = unknown(inner, &below, &full) {
                    return Some(found);
                }
            }
            // A section that holds a plain value is a type error; the deserializer says so.
            _ if below.is_key() || below.is_section() => {}
            _ => return Some(full),
        }
    }
    None
}

/// The patterns that still fit after some names were read. Names are matched one by one and
/// not as dotted text, because a site's column name may hold dots itself.
struct Patterns {
    rest: Vec<&'static str>,
}

impl Patterns {
    fn all() -> Self {
        Self {
            rest: KEYS.to_vec(),
        }
    }

    fn descend(&self, name: &str) -> Self {
        let rest = self.rest.iter().filter_map(|pattern| {
            let (first, rest) = pattern.split_once('.').unwrap_or((pattern, ""));
            (!first.is_empty() && (first == "*" || first == name)).then_some(rest)
        });
        Self {
            rest: rest.collect(),
        }
    }

    fn is_key(&self) -> bool {
        self.rest.contains(&"")
    }

    fn is_section(&self) -> bool {
        self.rest.iter().any(|rest| !rest.is_empty())
    }
}

/// The key or section that looks most like `key`: as a whole, or by its last name, since a key
/// in the wrong section is the commonest slip after a misspelt one.
fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a &'static str>) -> String {
    let depth = key.split('.').count();
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let alike = |a: &str, b: &str| strsim::normalized_damerau_levenshtein(a, b);
    let mut best = (0.0, String::new());
    for pattern in known {
        let parts: Vec<&str> = pattern.split('.').collect();
        let section = parts[..parts.len().min(depth)].join(".");
        let by_name = alike(&last(key), &last(pattern));
        for (score, name) in [
            (alike(key, pattern).max(by_name), (*pattern).to_owned()),
            (alike(key, &section), section),
        ] {
            if score > best.0 {
                best = (score, name);
            }
        }
    }
    best.1
}
