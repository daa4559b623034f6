//! The real daemons, with a search and sites that only ask and answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::PathBuf;
use std::time::Instant;

use collegium_automl::ask::{Answer, Ask};
use collegium_automl::federation::Federation;
use collegium_automl::object::ObjectId;
use collegium_automl::search::{Observer, Outcome, Round, SearchError};
use collegium_automl::site::{Site, SiteError};
use collegium_automl::task::Task;
use collegium_coordinator::config as coordinator_config;
use collegium_node::config as node_config;
use collegium_node::trainer::{OpenSite, TrainerError, Workshop};
use collegium_protocol::Digest;

use crate::asks;

/// The coordinator's daemon until it is killed; figures go to standard output.
pub fn coordinator(state: PathBuf) {
    let sources = coordinator_config::Sources {
        file: Some(state.join("coordinator.toml")),
        environment: BTreeMap::new(),
        flags: [("log.level".to_owned(), "warn".to_owned())].into(),
    };
    let config = coordinator_config::Config::load(&sources).expect("a configuration");
    collegium_coordinator::app::start_logging(&config.log).expect("a log");
    let running = collegium_coordinator::app::run_with(config, search, std::future::pending());
    runtime().block_on(running).expect("the coordinator runs");
}

/// A node's daemon until it is killed.
pub fn node(state: PathBuf) {
    let flags = node_config::Flags {
        state: Some(state.clone()),
        log_level: Some("warn".to_owned()),
        ..node_config::Flags::default()
    };
    let sources = node_config::Sources {
        file: None,
        environment: BTreeMap::new(),
        flags,
    };
    let config = node_config::Config::load(&sources).expect("a configuration");
    collegium_node::logging::start(&config.log).expect("a log");
    let running =
        collegium_node::app::run_with(config, Ready { salt: salt(&state) }, std::future::pending());
    runtime().block_on(running).expect("the node runs");
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("threads")
}

/// Different at every site; the coordinator knows them all, to check the sums.
pub fn salt(state: &std::path::Path) -> u64 {
    let name = state.file_name().and_then(|name| name.to_str());
    crate::consortium::MEMBERS
        .iter()
        .position(|member| Some(*member) == name)
        .expect("a member's directory") as u64
}

/// Asks for every size in turn, and times each sum as the search sees it: from the ask to the
/// totals, which are in the journal by then.
fn search(
    task: &Task,
    _: &Round,
    federation: &mut dyn Federation,
    _: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    let mut sequence = 0;
    for (weights, steps) in asks::SIZES {
        for step in 0..=steps {
            sequence += 1;
            let ask = asks::ask(task, sequence, weights);
            let began = Instant::now();
            let totals = federation.sum(&ask)?;
            let took = began.elapsed();
            if step == 0 {
                check(&ask, &totals.sums);
                println!("numbers {}", ask.numbers());
            } else {
                println!("took {}", took.as_micros());
            }
        }
        wait("size");
    }
    // There is no champion; the measurement is over.
    Err(SearchError::NothingScored)
}

/// Tells the parent that a size is done, and waits until it has looked at the memory.
pub fn wait(what: &str) {
    println!("done {what}");
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .expect("the parent answers");
}

/// Compares the totals with the sum over all sites, without a vector of them beside: the
/// process's memory is measured.
fn check(ask: &Ask, sums: &[u64]) {
    let mut sites: Vec<_> = (0..crate::consortium::MEMBERS.len() as u64)
        .map(|salt| asks::numbers(ask, salt))
        .collect();
    let mut expected = || sites.iter_mut().map(Iterator::next).sum::<Option<u64>>();
    let right = sums.iter().all(|sum| expected() == Some(*sum));
    assert!(right && expected().is_none(), "the sum over all sites");
}

/// A workshop whose sites answer without rows.
struct Ready {
    salt: u64,
}

impl Workshop for Ready {
    fn open(&mut self, _: &Task) -> Result<OpenSite, TrainerError> {
        Ok(OpenSite {
            site: Box::new(Ready { salt: self.salt }),
            data: Digest([self.salt as u8; 32]),
            rows: 0,
            columns: Vec::new(),
        })
    }

    fn report(&mut self, _: &Task, _: &[u8]) -> Result<serde_json::Value, TrainerError> {
        Err(TrainerError::Data("there are no rows".to_owned()))
    }
}

impl Site for Ready {
    fn missing(&self, _: &Ask) -> Vec<ObjectId> {
        Vec::new()
    }

    fn insert(&mut self, bytes: &[u8]) -> Result<ObjectId, SiteError> {
        Ok(ObjectId::of(bytes))
    }

    fn columns(&self, _ask: &Ask) -> Result<BTreeSet<String>, SiteError> {
        Ok(BTreeSet::new())
    }

    fn answer(&mut self, ask: &Ask) -> Result<Answer, SiteError> {
        Ok(Answer {
            codes: asks::converted(ask, self.salt, |code| code),
        })
    }
}
