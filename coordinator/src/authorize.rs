//! May this principal do that? Every request at the coordinator is one question to the access policy,
//! written in Cedar, and every answer is a fact for the ledger.
//!
//! The default policy is `configs/policy.cedar`, compiled in; `policy.file` names another one. What may
//! be asked stands in `configs/policy.cedarschema`. [`Act::ALL`] is the list of what there is to do;
//! `docs/roles.md` is generated from it and from the default policy by a test.

mod question;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use collegium_crypto::transcript::{Digest, hash};
use collegium_protocol::policy::{MAX_POLICY_BYTES, Policies, PolicyError, Verdict};
use collegium_protocol::{Refusal, RefusalCode};
use serde_json::json;
use tracing::warn;

use crate::ledger::{Action, Entry, Ledger, Outcome};

pub use question::{Act, Asker, Resource};

/// The policy that is in force unless the configuration names a file.
pub const DEFAULT_POLICY: &str = include_str!("../../configs/policy.cedar");

/// What questions there are.
const SCHEMA: &str = include_str!("../../configs/policy.cedarschema");

/// Domain of a policy text's digest, which stands in the charter and in the ledger.
const POLICY_DOMAIN: &str = "collegium/access-policy/v2";

/// Why a policy is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    /// The file cannot be read.
    #[error("policy.file: cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a policy, or does not fit the schema.
    #[error(
        "the access policy {origin} is refused: {source}; what can be asked stands in \
         configs/policy.cedarschema"
    )]
    Refused {
        /// The file, or that it is the built-in one.
        origin: String,
        /// What is wrong with it.
        source: PolicyError,
    },
}

/// A policy as it was loaded.
#[derive(Debug)]
pub struct Loaded {
    policies: Policies,
    /// Of the text.
    pub digest: Digest,
    /// Where it came from, for people.
    pub origin: String,
}

impl Loaded {
    /// How many policies there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there are none: everything is denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }
}

/// Holds the policy in force.
#[derive(Debug)]
pub struct Authorizer {
    file: Option<PathBuf>,
    in_force: RwLock<Arc<Loaded>>,
}

impl Authorizer {
    /// Loads the policy of `file`, or the built-in one.
    ///
    /// # Errors
    /// [`AuthorizeError`], naming the file and what is wrong in it.
    pub fn open(file: Option<&Path>) -> Result<Self, AuthorizeError> {
        Ok(Self {
            file: file.map(Path::to_owned),
            in_force: RwLock::new(Arc::new(load(file)?)),
        })
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// [`AuthorizeError`]; the policy before stays in force.
    pub fn reload(&self) -> Result<Arc<Loaded>, AuthorizeError> {
        let loaded = Arc::new(load(self.file.as_deref())?);
        // The lock holds one pointer, which is whole whatever panicked.
        *self
            .in_force
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::clone(&loaded);
        Ok(loaded)
    }

    /// The policy in force.
    #[must_use]
    pub fn in_force(&self) -> Arc<Loaded> {
        let in_force = self.in_force.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&in_force)
    }

    /// Decides, and writes nothing down.
    #[must_use]
    pub fn decide(&self, asker: &Asker, act: Act, on: &Resource, now: SystemTime) -> Verdict {
        let in_force = self.in_force();
        question::put(&in_force.policies, asker, act, on, now)
    }

    /// Decides, and writes the answer into the ledger; it is durable when this returns. The disk may
    /// take its time: call it from a thread that may wait.
    ///
    /// # Errors
    /// `NotAllowed`, with the policy that denied it; `Internal` when the ledger cannot be written.
    pub fn authorize(
        &self,
        ledger: &Ledger,
        asker: &Asker,
        act: Act,
        on: &Resource,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let verdict = self.decide(asker, act, on, now);
        ledger
            .append(entry(asker, act, on, &verdict))
            .map_err(|error| {
                tracing::error!(%error, "the ledger cannot be written");
                let why = "the coordinator's ledger cannot be written";
                Refusal::new(RefusalCode::Internal, why)
            })?;
        if verdict.allowed {
            return Ok(());
        }
        warn!(who = asker.subject(), act = act.id(), on = %on, %verdict, "request denied");
        Err(denied(asker, act, &verdict))
    }
}

/// What whoever asked is told.
pub(crate) fn denied(asker: &Asker, act: Act, verdict: &Verdict) -> Refusal {
    let why = format_args!("{} may not {}: {verdict}", asker.subject(), act.id());
    Refusal::new(RefusalCode::NotAllowed, why)
}

/// The fact for the ledger.
pub(crate) fn entry(asker: &Asker, act: Act, on: &Resource, verdict: &Verdict) -> Entry {
    let outcome = if verdict.allowed {
        Outcome::Done
    } else {
        Outcome::Refused
    };
    let object = format!("{} {on}", act.id());
    let mut evidence = json!({
        "certificate": asker.certificate(),
        "policies": verdict.policies,
    });
    if !verdict.allowed {
        evidence["reason"] = verdict.to_string().into();
    }
    Entry::new(Action::Request, &asker.subject(), &object, outcome).evidence(evidence)
}

fn load(file: Option<&Path>) -> Result<Loaded, AuthorizeError> {
    let (text, origin) = match file {
        None => (DEFAULT_POLICY.to_owned(), "that is built in".to_owned()),
        Some(path) => (read(path)?, path.display().to_string()),
    };
    let policies = Policies::parse(&text, SCHEMA).map_err(|source| AuthorizeError::Refused {
        origin: origin.clone(),
        source,
    })?;
    Ok(Loaded {
        policies,
        digest: hash(POLICY_DOMAIN, &[text.as_bytes()]),
        origin,
    })
}

/// Reads at most one byte more than a policy may have, which `Policies::parse` refuses.
fn read(path: &Path) -> Result<String, AuthorizeError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| {
            file.take(MAX_POLICY_BYTES as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(|source| AuthorizeError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    Ok(text)
}

#[cfg(test)]
pub(crate) mod tests;
