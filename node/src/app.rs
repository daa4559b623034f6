//! The daemon: builds its parts, runs the link, and ends in order.

use std::pin::Pin;
use std::time::Duration;

use collegium_automl::family::net::DeviceError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Config;
use crate::data::Tables;
use crate::keys::{KeyError, NodeKeys};
use crate::ledger::{Action, Entry, Ledger, LedgerError, Outcome};
use crate::link::{Link, LinkError};
use crate::policy::{InForce, PolicyFileError, SitePolicies};
use crate::privacy::{SiteKeyError, blinding_key, ensure_site_key};
use crate::spool::UploadSpool;
use crate::state::{StateDirectory, StateError};
use crate::store::{Store, StoreError};
use crate::trainer::{Trainer, Workshop};

/// How long the link may take to end in order. The whole process must end within 10 s of
/// SIGTERM; the rest of that is for closing the files.
const GRACE: Duration = Duration::from_secs(8);

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The trainer's thread.
    #[error("the system gives no thread for the trainer: {0}")]
    Thread(#[from] std::io::Error),
    /// The directory of uploads.
    #[error("STATE/cache/uploads cannot be used: {0}; check the disk's space and permissions")]
    Spool(#[source] std::io::Error),
    /// The site's policy.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// The site's key for hashes of values.
    #[error(transparent)]
    SiteKey(#[from] SiteKeyError),
    /// The device that networks train on.
    #[error("training.device: {0}")]
    Device(#[from] DeviceError),
    /// The connection can never be made as things are.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// A running daemon. Behind a pointer, so that it is compiled here once and not again, with all
/// that it awaits, in every program that runs it.
pub type Running = Pin<Box<dyn Future<Output = Result<(), NodeError>> + Send>>;

/// Runs the daemon until `shutdown` is done; ends within 10 s after that.
///
/// # Errors
/// [`NodeError`], when it cannot start, or when it meets something that only a person can mend.
pub fn run(config: Config, shutdown: impl Future<Output = ()> + Send + 'static) -> Running {
    running(config, Box::pin(shutdown))
}

fn running(config: Config, shutdown: Pin<Box<dyn Future<Output = ()> + Send>>) -> Running {
    Box::pin(serve_tables(config, shutdown))
}

/// Answers from the site's tables.
async fn serve_tables(
    config: Config,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
) -> Result<(), NodeError> {
    config.training.device.choose()?;
    let key = ensure_site_key(&config.state, &config.privacy)?;
    let tables = Tables::new(
        config.data.clone(),
        config.privacy.clone(),
        key,
        config.policy.site(),
    );
    let tables = match blinding_key(&config.state)? {
        Some(key) => tables.blinded(key),
        None => tables,
    };
    run_with(config, tables, shutdown).await
}

/// [`run`] with another source of answers than the site's tables.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    workshop: impl Workshop,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), NodeError> {
    let state = StateDirectory::take(&config.state)?;
    let keys = NodeKeys::load(&config.state)?;
    let store = Store::open(&config.database()).await?;
    let ledger = Ledger::open(&config.ledger(), &keys.identity)?;
    let trainer = Trainer::start(workshop, config.limits.open_runs)?;
    let spool = UploadSpool::open(&config.state).map_err(NodeError::Spool)?;
    let version = env!("CARGO_PKG_VERSION");
    let place = config.state.display().to_string();
    let link = Link::new(
        config,
        keys,
        store.clone(),
        ledger.clone(),
        spool,
        trainer,
        state,
    )?;
    ledger.append(Entry::new(Action::Start, version, Outcome::Done))?;
    ledger.append(in_force(&link.policies().in_force()))?;
    tracing::info!(version, state = place, "node started");
    let reloading = tokio::spawn(reload_on_hangup(link.policies().clone(), ledger.clone()));
    let ended = drive(link, shutdown).await;
    reloading.abort();

    let outcome = if ended.is_ok() {
        Outcome::Done
    } else {
        Outcome::Failed
    };
    let stopped = ledger.append(Entry::new(Action::Stop, version, outcome));
    let stopped = stopped.and_then(|()| ledger.publish());
    store.close().await;
    ended?;
    stopped?;
    tracing::info!("node stopped");
    Ok(())
}

/// What the ledger says of a policy that came into force.
fn in_force(policy: &InForce) -> Entry {
    let evidence = serde_json::json!({ "file": policy.source, "policies": policy.len() });
    Entry::new(Action::Policy, policy.digest, Outcome::Done).evidence(evidence)
}

/// Reads the site's policy again at each SIGHUP. A file that does not load changes nothing, loudly.
async fn reload_on_hangup(policies: SitePolicies, ledger: Ledger) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be handled; restart the node to change its policy");
            return;
        }
    };
    while hangup.recv().await.is_some() {
        let (policies, ledger) = (policies.clone(), ledger.clone());
        let reloaded = tokio::task::spawn_blocking(move || reload(&policies, &ledger)).await;
        if let Ok(Err(error)) = reloaded {
            tracing::error!(%error, "a change of the policy cannot be recorded");
        }
    }
}

/// The ledger has a policy before it is in force.
fn reload(policies: &SitePolicies, ledger: &Ledger) -> Result<(), LedgerError> {
    match policies.read() {
        Ok(read) => {
            ledger.append(in_force(&read))?;
            tracing::info!(
                file = read.source,
                policies = read.len(),
                "another policy is in force"
            );
            policies.put(read);
            Ok(())
        }
        Err(error) => {
            let kept = policies.in_force();
            tracing::error!(
                "{error}; THE POLICY BEFORE STAYS IN FORCE (digest {}): mend the file and send \
                 SIGHUP again",
                kept.digest
            );
            let evidence = serde_json::json!({ "reason": error.to_string() });
            ledger
                .append(Entry::new(Action::Policy, kept.digest, Outcome::Failed).evidence(evidence))
        }
    }
}

async fn drive(
    link: Link,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), NodeError> {
    let (stop, stopping) = watch::channel(false);
    let mut running = tokio::spawn(link.run(stopping));
    tokio::select! {
        ended = &mut running => return finished(ended),
        () = shutdown => tracing::info!("stopping"),
    }
    // The link holds the other end as long as it runs.
    let _ = stop.send(true);
    match timeout(GRACE, &mut running).await {
        Ok(ended) => finished(ended),
        Err(_) => {
            tracing::warn!(
                "the connection did not close in {} s; cut it",
                GRACE.as_secs()
            );
            running.abort();
            Ok(())
        }
    }
}

fn finished(ended: Result<Result<(), LinkError>, tokio::task::JoinError>) -> Result<(), NodeError> {
    match ended {
        Ok(result) => Ok(result?),
        Err(error) => Err(LinkError::Broken(error.to_string()).into()),
    }
}
