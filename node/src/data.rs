//! The site's rows: read from its files, with its words turned into the consortium's and its
//! columns treated as its configuration says, before anything else sees a cell.

use std::path::PathBuf;

use collegium_automl::data::SitePolicy;
use collegium_automl::privacy::{Groups, PrivacyError, PrivacyReport, PrivacyRules};
use collegium_automl::site::TableSite;
use collegium_automl::table::{MappingError, Table, TableMapping};
use collegium_automl::task::Task;
use collegium_crypto::transcript::hash;
use collegium_protocol::Digest;

use zeroize::Zeroizing;

use crate::config::DataConfig;
use crate::trainer::{OpenSite, TrainerError, Workshop};

/// Why the site's rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No file is configured.
    #[error("no data: set `data.path` in the node's configuration, or give --data FILE")]
    NoFile,
    /// The mapping's file cannot be read.
    #[error("cannot read the column mapping {path}: {source}; `data.mapping` names this file")]
    Mapping {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The mapping does not fit.
    #[error("the column mapping {path}: {source}")]
    MappingText {
        /// The file.
        path: PathBuf,
        /// Which line or key.
        source: MappingError,
    },
    /// A file, a column or a value does not fit.
    #[error(transparent)]
    Table(#[from] collegium_automl::table::TableError),
    /// A rule of the section `[privacy]` does not fit the table.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
}

/// The site's rows as a task may read them, and what was done to them.
#[derive(Debug)]
pub struct Loaded {
    /// The treated table.
    pub table: Table,
    /// Which columns were changed or left out.
    pub report: PrivacyReport,
    /// The groups that the quasi-identifiers make, where some are declared.
    pub groups: Option<Groups>,
}

impl Loaded {
    /// Whether the smallest group is as large as the site wants; in words, if it is not.
    ///
    /// # Errors
    /// What is too small, and how to mend it.
    pub fn check_groups(&self, rules: &PrivacyRules) -> Result<(), String> {
        match &self.groups {
            Some(groups) if groups.k < rules.minimum_k => Err(format!(
                "k = {} is below `privacy.minimum_k` = {}: generalize {}, or lower the minimum",
                groups.k,
                rules.minimum_k,
                groups.columns.join(", ")
            )),
            _ => Ok(()),
        }
    }
}

/// Reads the configured file and treats its columns as `rules` say; `key` is the site's key for
/// hashes, where a rule needs it.
///
/// # Errors
/// [`DataError`], with the file and what to do.
pub fn load(
    config: &DataConfig,
    rules: &PrivacyRules,
    key: Option<&[u8; 32]>,
) -> Result<Loaded, DataError> {
    let path = config.path.as_ref().ok_or(DataError::NoFile)?;
    let table = Table::open(path, &mapping(config)?)?;
    rules.check_names(&table)?;
    let (table, report) = rules.apply(table, key)?;
    let groups = rules.groups(&table)?;
    Ok(Loaded {
        table,
        report,
        groups,
    })
}

/// The configured column map.
///
/// # Errors
/// [`DataError::Mapping`] and [`DataError::MappingText`].
pub fn mapping(config: &DataConfig) -> Result<TableMapping, DataError> {
    match (&config.mapping, &config.map) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).map_err(|source| DataError::Mapping {
                path: path.clone(),
                source,
            })?;
            TableMapping::from_toml(&text).map_err(|source| DataError::MappingText {
                path: path.clone(),
                source,
            })
        }
        (None, Some(map)) => Ok(map.clone()),
        (None, None) => Ok(TableMapping::default()),
    }
}

/// The real workshop: tables from the configured file.
pub struct Tables {
    config: DataConfig,
    rules: PrivacyRules,
    key: Option<Zeroizing<[u8; 32]>>,
    policy: SitePolicy,
    blind: Option<Zeroizing<[u8; 32]>>,
}

/// Domain of the hash of a table under differential privacy.
const BLINDED: &str = "collegium/blinded-table/v1";

impl Tables {
    /// Reads `config`'s file whenever a run is opened, treats its columns as `rules` say with the
    /// site's `key`, and shows what `policy` allows.
    #[must_use]
    pub fn new(
        config: DataConfig,
        rules: PrivacyRules,
        key: Option<Zeroizing<[u8; 32]>>,
        policy: SitePolicy,
    ) -> Self {
        Self {
            config,
            rules,
            key,
            policy,
            blind: None,
        }
    }

    /// With a secret key for the hash by which a table is known under differential privacy.
    #[must_use]
    pub fn blinded(mut self, key: Zeroizing<[u8; 32]>) -> Self {
        self.blind = Some(key);
        self
    }

    /// The hash that others get of the rows of a task. A plain one would let whoever knows all
    /// rows but one confirm a guess at that one; with the key it only says whether rows changed.
    fn hash(&self, task: &Task, plain: Digest) -> Result<Digest, TrainerError> {
        if task.differential_privacy.is_none() {
            return Ok(plain);
        }
        let none =
            || TrainerError::Data("this node has no keys: join a consortium first".to_owned());
        let key = self.blind.as_ref().ok_or_else(none)?;
        Ok(hash(BLINDED, &[key.as_slice(), plain.as_bytes()]))
    }

    /// The rows for a task, if the site's rules let it have them.
    fn table(&self, task: &Task) -> Result<Table, TrainerError> {
        let loaded = load(&self.config, &self.rules, self.key.as_deref())
            .map_err(|error| TrainerError::Data(error.to_string()))?;
        for left_out in &loaded.report.refused {
            tracing::warn!(
                "left out: {left_out}; to use the column, give it a rule under [privacy.columns]"
            );
        }
        loaded.check_groups(&self.rules).map_err(|why| {
            tracing::error!(why, "the site's rows are not given");
            TrainerError::Withheld(
                "this site's rows do not meet its own rule on small groups".to_owned(),
            )
        })?;
        match loaded.report.refuses(task) {
            None => Ok(loaded.table),
            // How many cells gave it away is for this site alone.
            Some(found) => Err(TrainerError::Withheld(format!(
                "the task names a column that this site does not give: `{}` looks like {}",
                found.column,
                found.kind.plural()
            ))),
        }
    }
}

impl Workshop for Tables {
    fn open(&mut self, task: &Task) -> Result<OpenSite, TrainerError> {
        let table = self.table(task)?;
        let rows = table.rows();
        let site = TableSite::with_policy(task, table, self.policy)
            .map_err(|error| TrainerError::Data(error.to_string()))?;
        let data = self.hash(task, Digest(site.data_digest().0))?;
        let columns = site.data().touched();
        Ok(OpenSite {
            site: Box::new(site),
            data,
            rows,
            columns,
        })
    }

    fn report(&mut self, task: &Task, champion: &[u8]) -> Result<serde_json::Value, TrainerError> {
        let report = collegium_automl::local::local_report(task, self.table(task)?, champion)
            .map_err(|error| TrainerError::Ask(error.to_string()))?;
        serde_json::to_value(&report).map_err(|error| TrainerError::Ask(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use collegium_automl::ask::{Ask, Part, Stage};
    use collegium_automl::data::Withheld;
    use collegium_automl::profile::{Coding, ColumnAsk, ProfilePart, SlotKey};

    const ROWS: &str = "age;num;chol\n63;0;233\n41;2;0\n57;1;354\n";
    const TASK: &str = "name = \"heart\"\ntarget = \"disease\"\n";

    fn plain(config: &DataConfig) -> Result<Table, DataError> {
        load(config, &PrivacyRules::default(), None).map(|loaded| loaded.table)
    }

    fn tables(config: DataConfig, policy: SitePolicy) -> Tables {
        Tables::new(config, PrivacyRules::default(), None, policy)
    }

    fn site(directory: &std::path::Path) -> DataConfig {
        let path = directory.join("rows.csv");
        std::fs::write(&path, ROWS).expect("writes");
        let map = TableMapping::from_toml(
            "[columns.disease]\nfrom = \"num\"\nvalues = { 2 = \"1\" }\n\
             [columns.chol]\nmissing = [\"0\"]\n",
        );
        DataConfig {
            path: Some(path),
            mapping: None,
            map: Some(map.expect("a mapping")),
        }
    }

    #[test]
    fn rows_are_read_in_the_consortiums_words() {
        let directory = tempfile::tempdir().expect("tempdir");
        let mut config = site(directory.path());
        let table = plain(&config).expect("loads");
        assert_eq!(table.rows(), 3);
        let disease = table.column("disease").expect("renamed");
        assert_eq!(
            (0..3).map(|row| disease.number(row)).collect::<Vec<_>>(),
            [Some(0.0), Some(1.0), Some(1.0)]
        );
        assert_eq!(table.column("chol").expect("kept").number(1), None);

        // The same mapping from a file of its own.
        let mapping = directory.path().join("site.toml");
        let text = "[columns.disease]\nfrom = \"num\"\nvalues = { 2 = \"1\" }\n\
                    [columns.chol]\nmissing = [\"0\"]\n";
        std::fs::write(&mapping, text).expect("writes");
        config.map = None;
        config.mapping = Some(mapping);
        assert_eq!(plain(&config).expect("loads").digest(), table.digest());
    }

    #[test]
    fn the_hash_follows_the_rows() {
        let directory = tempfile::tempdir().expect("tempdir");
        let config = site(directory.path());
        let task = Task::from_toml(TASK).expect("a task");
        let mut tables = tables(config.clone(), SitePolicy::default());
        let first = tables.open(&task).expect("opens");
        assert_eq!(first.rows, 3);
        assert_eq!(tables.open(&task).expect("opens").data, first.data);
        let path = config.path.expect("a path");
        std::fs::write(path, format!("{ROWS}70;0;200\n")).expect("writes");
        assert_ne!(tables.open(&task).expect("opens").data, first.data);
    }

    /// Under differential privacy the hash of the rows is another at every site, and tells only
    /// whether they changed.
    #[test]
    fn the_hash_of_a_private_task_needs_the_sites_key() {
        let directory = tempfile::tempdir().expect("tempdir");
        let config = site(directory.path());
        let plain = Task::from_toml(TASK).expect("a task");
        let private = Task::from_toml(&format!(
            "{TASK}kind = \"classification\"\nclasses = [\"0\", \"1\"]\n\
             [differential_privacy]\nepsilon = 1\ndelta = 1e-5\n\
             [columns]\nage = {{ type = \"number\", min = 0, max = 120 }}\n"
        ));
        let private = private.expect("a task");
        let open = |key: Option<u8>, task: &Task| {
            let tables = tables(config.clone(), SitePolicy::default());
            let mut tables = match key {
                Some(key) => tables.blinded(Zeroizing::new([key; 32])),
                None => tables,
            };
            tables.open(task).map(|open| open.data)
        };
        assert!(open(None, &private).is_err(), "no key");
        let first = open(Some(1), &private).expect("opens");
        assert_eq!(open(Some(1), &private).expect("opens"), first);
        assert_ne!(open(Some(2), &private).expect("opens"), first);
        let known = open(Some(1), &plain).expect("opens");
        assert!(known != first && open(None, &plain).expect("opens") == known);
    }

    /// A task that names what looks like a personal identifier gets no rows, and neither does one
    /// at a site whose groups are too small; the coordinator reads no figure of it.
    #[test]
    fn rows_are_withheld_from_a_task_by_the_sites_own_rules() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("rows.csv");
        let rows = "phone,age,disease\n212-555-0100,63,0\n212-555-0101,41,1\n";
        std::fs::write(&path, rows).expect("writes");
        let config = DataConfig {
            path: Some(path),
            ..DataConfig::default()
        };
        let rules = |text: &str| toml::from_str::<PrivacyRules>(text).expect("rules");
        let open = |rules: PrivacyRules, task: &str| {
            let task = Task::from_toml(task).expect("a task");
            let key = Some(Zeroizing::new([1; 32]));
            Tables::new(config.clone(), rules, key, SitePolicy::default()).open(&task)
        };
        let withheld = |rules: PrivacyRules, task: &str| match open(rules, task) {
            Err(TrainerError::Withheld(reason)) => reason,
            Err(error) => panic!("another error: {error}"),
            Ok(_) => panic!("the rows were given"),
        };
        let named = "name = \"heart\"\ntarget = \"disease\"\nentity = \"phone\"\n";
        assert_eq!(
            withheld(rules(""), named),
            "the task names a column that this site does not give: `phone` looks like telephone \
             numbers"
        );
        let opened = open(rules(""), TASK).expect("the task does not name it");
        assert_eq!(opened.columns, ["age", "disease"]);
        let hashed = rules("[columns.phone]\naction = \"hash\"\n");
        let opened = open(hashed, named).expect("hashed, it may be named");
        assert_eq!(opened.columns, ["phone", "age", "disease"]);
        let strict = rules("quasi_identifiers = [\"age\"]\nminimum_k = 2\n");
        assert_eq!(
            withheld(strict, TASK),
            "this site's rows do not meet its own rule on small groups"
        );
    }

    /// A site with fewer rows than its own limit answers zeros, and knows it; what others asked
    /// for cannot tell.
    #[test]
    fn few_rows_are_answered_with_zeros() {
        let directory = tempfile::tempdir().expect("tempdir");
        let config = site(directory.path());
        let task = Task::from_toml(TASK).expect("a task");
        let column = |name: &str, coding| ColumnAsk {
            name: name.to_owned(),
            coding,
        };
        let survey = ProfilePart::Survey {
            key: SlotKey::of(&task),
            columns: vec![
                column("age", Coding::Buckets),
                column("chol", Coding::Buckets),
                column("disease", Coding::Whole),
            ],
            classes: Vec::new(),
        };
        let ask = Ask {
            sequence: 1,
            stage: Stage::Profile,
            task: task.digest(),
            parts: vec![Part::Profile(survey)],
        };
        let answered = |min_rows: u64| {
            let policy = SitePolicy {
                min_rows,
                min_cell: 0,
            };
            let mut open = tables(config.clone(), policy).open(&task).expect("opens");
            let answer = open.site.answer(&ask).expect("answers");
            (answer.codes, open.site.withheld(&ask))
        };
        let (shown, none) = answered(0);
        assert!(none.is_empty() && shown.iter().any(|code| *code > 0));
        let (held, withheld) = answered(100);
        assert_eq!(Vec::from_iter(withheld), [Withheld::Training]);
        assert_eq!(held, vec![0; shown.len()]);
    }

    #[test]
    fn problems_name_the_file_and_the_column() {
        let directory = tempfile::tempdir().expect("tempdir");
        let text = |error: DataError| error.to_string();
        let none = plain(&DataConfig::default()).map_err(text);
        assert!(none.expect_err("no file").contains("data.path"));

        let mut config = site(directory.path());
        let task = Task::from_toml("name = \"x\"\ntarget = \"diseased\"\n").expect("a task");
        let error = tables(config.clone(), SitePolicy::default())
            .open(&task)
            .map(|site| site.rows);
        let error = error.expect_err("no such column").to_string();
        assert!(error.contains("diseased"), "{error}");

        config.path = Some(directory.path().join("gone.csv"));
        let error = text(plain(&config).expect_err("no such file"));
        assert!(error.contains("gone.csv"), "{error}");

        let mapping = directory.path().join("site.toml");
        std::fs::write(&mapping, "[colums.disease]\n").expect("writes");
        config.map = None;
        config.mapping = Some(mapping);
        let error = text(plain(&config).expect_err("a misspelt key"));
        assert!(
            error.contains("site.toml") && error.contains("colums"),
            "{error}"
        );
    }
}
