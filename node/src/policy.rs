//! This site's own policy: a Cedar file that the node asks before it takes part in a run, answers
//! a step or votes for a sum, whatever the coordinator says.
//!
//! `configs/site-policy.cedarschema` says what is asked; `configs/site-policy.cedar` is in force
//! where the site names no file. The keys of `[policy]` in the node's configuration are looked at
//! first, so a policy can only take away from what they allow.
//!
//! The clock is an argument ([`Moment`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Datelike, Local, Timelike};
use collegium_automl::ask::{Ask, Part};
use collegium_automl::family::{self, logistic};
use collegium_automl::task::Task;
use collegium_crypto::transcript::{Digest, hash};
use collegium_protocol::policy::{Policies, PolicyError, Question};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

/// The policy in force where the site names no file.
pub const BUILT_IN: &str = include_str!("../../configs/site-policy.cedar");
/// What can be asked.
pub const SCHEMA: &str = include_str!("../../configs/site-policy.cedarschema");

/// Domain of a policy's hash in the ledger.
const DOMAIN: &str = "collegium/site-policy/v1";
/// Numbers in questions: what a JSON number holds exactly is more than any count here.
const MOST: u64 = 1 << 53;
/// From Monday on.
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// Why a policy file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The file is not there or not readable.
    #[error("cannot read the policy {path}: {source}; `policy.file` names this file")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not load.
    #[error("the policy {path} cannot be used: {source}")]
    Policy {
        /// The file, or `(built in)`.
        path: String,
        /// What is wrong, and in which policy.
        source: PolicyError,
    },
}

/// A policy that was loaded.
#[derive(Debug)]
pub struct InForce {
    policies: Policies,
    /// Hash of its text.
    pub digest: Digest,
    /// The file, or `(built in)`.
    pub source: String,
}

/// The policy in force; clones share it.
#[derive(Debug, Clone)]
pub struct SitePolicies {
    file: Option<PathBuf>,
    in_force: Arc<watch::Sender<Arc<InForce>>>,
}

/// What a policy may know of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskFacts {
    name: String,
    digest: String,
    target: String,
    columns: Vec<String>,
    families: Vec<&'static str>,
    preset: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rounds: Option<u32>,
}

/// What this site has given so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Steps answered in this run.
    pub run_steps: u64,
    /// Steps answered in all runs of tasks of this name.
    pub task_steps: u64,
    /// Bytes of encrypted numbers sent in this run.
    pub run_bytes: u64,
    /// Bytes sent in all runs of tasks of this name.
    pub task_bytes: u64,
}

/// When a question is asked, by the clock and time zone of this computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// 0 to 23.
    pub hour: u32,
    /// `monday` to `sunday`.
    pub weekday: &'static str,
}

/// A step's ask, as far as a policy may know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskFacts {
    stage: &'static str,
    kinds: Vec<&'static str>,
    columns: Vec<String>,
    test: bool,
    numbers: u64,
    bytes: u64,
}

/// One run's question: about which task, of how many members, after what was used, and when.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The task.
    pub task: &'a TaskFacts,
    /// Members of the consortium.
    pub members: usize,
    /// What was used so far.
    pub used: Used,
    /// When.
    pub now: Moment,
}

impl TaskFacts {
    /// The facts of a task that may read these columns here.
    #[must_use]
    pub fn new(task: &Task, columns: &[String]) -> Self {
        let limits = &task.constraints;
        let allowed = |name: &str| {
            let named = limits.allowed_models.as_ref();
            named.is_none_or(|names| names.iter().any(|known| known == name))
        };
        let families = family::families().into_iter();
        let private = task.differential_privacy.is_some();
        Self {
            name: task.name.clone(),
            digest: task.digest().to_string(),
            target: task.target.clone(),
            columns: columns.to_vec(),
            families: families
                .filter(|family| !limits.interpretable_only || family.interpretable())
                .map(|family| family.name())
                .filter(|name| allowed(name) && (!private || *name == logistic::NAME))
                .collect(),
            preset: task.preset.name(),
            max_steps: task.max_steps,
            rounds: task.rounds,
        }
    }

    /// The task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Used {
    /// The same with one more step of so many bytes.
    #[must_use]
    pub const fn with(self, bytes: u64) -> Self {
        Self {
            run_steps: self.run_steps.saturating_add(1),
            task_steps: self.task_steps.saturating_add(1),
            run_bytes: self.run_bytes.saturating_add(bytes),
            task_bytes: self.task_bytes.saturating_add(bytes),
        }
    }

    fn as_json(self) -> Value {
        json!({
            "run_steps": self.run_steps.min(MOST),
            "task_steps": self.task_steps.min(MOST),
            "run_bytes": self.run_bytes.min(MOST),
            "task_bytes": self.task_bytes.min(MOST),
        })
    }
}

impl Moment {
    /// The hour and weekday of a time, in this computer's time zone.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let time: DateTime<Local> = time.into();
        let day = time.weekday().num_days_from_monday() as usize;
        Self {
            hour: time.hour(),
            weekday: WEEKDAYS[day % WEEKDAYS.len()],
        }
    }
}

impl AskFacts {
    /// The facts of an ask whose answer depends on these columns and has so many bytes when it is
    /// encrypted.
    #[must_use]
    pub fn new(ask: &Ask, columns: Vec<String>, bytes: u64) -> Self {
        let mut kinds: Vec<&'static str> = ask.parts.iter().flat_map(Part::kinds).collect();
        kinds.sort_unstable();
        kinds.dedup();
        Self {
            stage: ask.stage.name(),
            kinds,
            columns,
            test: ask.parts.iter().any(Part::reads_test),
            numbers: ask.numbers() as u64,
            bytes: bytes.min(MOST),
        }
    }
}

impl InForce {
    fn read(file: Option<&Path>) -> Result<Self, PolicyFileError> {
        let (source, text) = match file {
            None => ("(built in)".to_owned(), BUILT_IN.to_owned()),
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|source| PolicyFileError::Read {
                        path: path.to_owned(),
                        source,
                    })?;
                (path.display().to_string(), text)
            }
        };
        let policies = Policies::parse(&text, SCHEMA).map_err(|error| PolicyFileError::Policy {
            path: source.clone(),
            source: error,
        })?;
        Ok(Self {
            policies,
            digest: hash(DOMAIN, &[text.as_bytes()]),
            source,
        })
    }

    /// How many policies it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether it has none, and so denies everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Whether the site takes part in a run.
    ///
    /// # Errors
    /// Why not, in words that the coordinator may read.
    pub fn take_part(&self, offer: &Offer<'_>) -> Result<(), String> {
        self.ask("takePart", offer.task, offer.context())
    }

    /// Whether it does so without a steward's word.
    #[must_use]
    pub fn unasked(&self, offer: &Offer<'_>) -> bool {
        self.ask("takePartUnasked", offer.task, offer.context())
            .is_ok()
    }

    /// Whether the site answers a step; `offer.used` counts this step already.
    ///
    /// # Errors
    /// Why not, in words that the coordinator may read.
    pub fn answer(&self, offer: &Offer<'_>, ask: &AskFacts) -> Result<(), String> {
        let mut context = offer.context();
        if let (Some(context), Ok(Value::Object(facts))) =
            (context.as_object_mut(), serde_json::to_value(ask))
        {
            context.extend(facts);
        }
        self.ask("answer", offer.task, context)
    }

    /// Whether the site votes for opening a sum over so many contributors.
    ///
    /// # Errors
    /// Why not, in words that the coordinator may read.
    pub fn open(&self, task: &TaskFacts, contributors: usize, now: Moment) -> Result<(), String> {
        let context = json!({ "contributors": contributors, "now": now });
        self.ask("open", task, context)
    }

    fn ask(&self, action: &str, task: &TaskFacts, context: Value) -> Result<(), String> {
        let verdict = self.policies.decide(&Question {
            principal: ("Coordinator", "coordinator"),
            action,
            resource: ("Task", &task.name),
            entities: json!([{
                "uid": { "type": "Task", "id": task.name },
                "attrs": task,
                "parents": [],
            }]),
            context,
        });
        if verdict.allowed {
            return Ok(());
        }
        if let Some(fault) = &verdict.fault {
            // A policy that cannot be evaluated denies; what is wrong with it is for the site.
            tracing::error!(action, task = task.name, fault, "the site's policy failed");
            return Err("this site's policy could not be evaluated".to_owned());
        }
        Err(format!("this site's policy says no: {verdict}"))
    }
}

impl Offer<'_> {
    fn context(&self) -> Value {
        json!({
            "members": self.members,
            "used": self.used.as_json(),
            "now": self.now,
        })
    }
}

impl SitePolicies {
    /// Reads the policy of `file`, or the built-in one.
    ///
    /// # Errors
    /// [`PolicyFileError`], with the file, the policy and what is wrong.
    pub fn load(file: Option<&Path>) -> Result<Self, PolicyFileError> {
        let read = InForce::read(file)?;
        Ok(Self {
            file: file.map(Path::to_owned),
            in_force: Arc::new(watch::Sender::new(Arc::new(read))),
        })
    }

    /// Reads the file again; what it says is not in force yet.
    ///
    /// # Errors
    /// As [`SitePolicies::load`].
    pub fn read(&self) -> Result<InForce, PolicyFileError> {
        InForce::read(self.file.as_deref())
    }

    /// Puts a policy in force, and tells everybody who waits for one.
    pub fn put(&self, policy: InForce) {
        self.in_force.send_replace(Arc::new(policy));
    }

    /// The policy in force now.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.borrow())
    }

    /// Tells of every policy that comes into force from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<InForce>> {
        self.in_force.subscribe()
    }
}

#[cfg(test)]
mod tests;
