//! The daemon: builds its parts, runs the link, and ends in order.

use std::time::Duration;

use collegium_automl::family::net::DeviceError;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Config;
use crate::data::Tables;
use crate::keys::{KeyError, NodeKeys};
use crate::ledger::{Action, Entry, Ledger, LedgerError, Outcome};
use crate::link::{Link, LinkError};
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
    /// The device that networks train on.
    #[error("training.device: {0}")]
    Device(#[from] DeviceError),
    /// The connection can never be made as things are.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Runs the daemon until `shutdown` is done; ends within 10 s after that.
///
/// # Errors
/// [`NodeError`], when it cannot start, or when it meets something that only a person can mend.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), NodeError> {
    config.training.device.choose()?;
    let tables = Tables::new(config.data.clone(), config.policy.site());
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
    ledger.append(Entry::new(Action::Start, version, Outcome::Done))?;
    tracing::info!(version, state = %config.state.display(), "node started");

    let link = Link::new(
        config,
        keys,
        store.clone(),
        ledger.clone(),
        spool,
        trainer,
        state,
    );
    let ended = drive(link, shutdown).await;

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
