//! The site's rows: read from its files, with its words turned into the consortium's.

use std::path::PathBuf;

use collegium_automl::site::TableSite;
use collegium_automl::table::{MappingError, Table, TableMapping};
use collegium_automl::task::Task;
use collegium_protocol::Digest;

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
}

/// Reads the configured file.
///
/// # Errors
/// [`DataError`], with the file and what to do.
pub fn load(config: &DataConfig) -> Result<Table, DataError> {
    let path = config.path.as_ref().ok_or(DataError::NoFile)?;
    Ok(Table::open(path, &mapping(config)?)?)
}

fn mapping(config: &DataConfig) -> Result<TableMapping, DataError> {
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
}

impl Tables {
    /// Reads `config`'s file whenever a run is opened.
    #[must_use]
    pub fn new(config: DataConfig) -> Self {
        Self { config }
    }

    fn table(&self) -> Result<Table, TrainerError> {
        load(&self.config).map_err(|error| TrainerError::Data(error.to_string()))
    }
}

impl Workshop for Tables {
    fn open(&mut self, task: &Task) -> Result<OpenSite, TrainerError> {
        let table = self.table()?;
        let rows = table.rows();
        let site =
            TableSite::new(task, table).map_err(|error| TrainerError::Data(error.to_string()))?;
        let data = Digest(site.data_digest().0);
        Ok(OpenSite {
            site: Box::new(site),
            data,
            rows,
        })
    }

    fn report(&mut self, task: &Task, champion: &[u8]) -> Result<serde_json::Value, TrainerError> {
        let report = collegium_automl::local::local_report(task, self.table()?, champion)
            .map_err(|error| TrainerError::Ask(error.to_string()))?;
        serde_json::to_value(&report).map_err(|error| TrainerError::Ask(error.to_string()))
    }
}
