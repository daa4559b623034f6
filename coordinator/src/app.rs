//! The daemon: open everything, serve, stop in order.

mod upkeep;

use std::fs::{File, TryLockError};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use collegium_automl::federation::Federation;
use collegium_automl::search::{self, Observer, Round, SearchError};
use collegium_automl::task::Task;
use collegium_protocol::VerifiedCharter;
use collegium_protocol::message::session::ToNode;
use collegium_protocol::quic::{Accepted, CloseCode, QuicError, Server, ServerConfig};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::authorize::{AuthorizeError, Authorizer};
use crate::certificates::{self, Access};
use crate::config::{Config, Log, LogFormat};
use crate::connections::Connections;
use crate::evidence::EvidenceStore;
use crate::hub::Hub;
use crate::init::{self, InitError, Keys};
use crate::ledger::{Action, Entry, Ledger, LedgerError, Outcome};
use crate::objects::{self, ObjectError, ObjectStore};
use crate::runs::{self, Runs, RunsError};
use crate::spool::Spool;
use crate::stepfiles::StepFiles;
use crate::store::{Store, StoreError};
use crate::witness::{self, Witnesses};
use crate::{charter_service, join_service, session};

use upkeep::Upkeep;

/// Objects being sent at once, each with a file and a piece of 64 KiB: 16 MiB. One member has at most
/// 64 streams, so that no single one that reads slowly keeps the others from theirs.
const OBJECT_READS: usize = 256;

/// The process must end within 10 s of SIGTERM: this long for the run under way
/// to come to a stop (it may be adding bodies), ...
const STOP_RUN: Duration = Duration::from_secs(3);

/// ... this long at most for the nodes to hang up and connections to drain, ...
const MAX_GRACE: Duration = Duration::from_secs(5);

/// ... and this long for the database to close, which makes 9 s.
const CLOSE_STORE: Duration = Duration::from_secs(1);

/// Everything the daemon's rooms share. Holds secrets, hence no `Debug`.
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// Certificates and the signing key.
    pub keys: Keys,
    /// The database.
    pub store: Store,
    /// The log.
    pub ledger: Ledger,
    /// Models.
    pub objects: ObjectStore,
    /// Proofs of totals.
    pub evidence: EvidenceStore,
    /// Uploads on their way.
    pub spool: Spool,
    /// What a step keeps beside the database.
    pub step_files: StepFiles,
    /// Which nodes are connected.
    pub hub: Hub,
    /// Which connections are open with which certificate.
    pub connections: Connections,
    /// Who may do what.
    pub authorizer: Arc<Authorizer>,
    /// The charter in force.
    pub charter: watch::Sender<Option<Arc<VerifiedCharter>>>,
    /// The runs.
    pub runs: Runs,
    /// Bounds the files and the memory that objects being sent take.
    pub object_reads: Semaphore,
    /// What a run does with its sums.
    pub search: Search,
    /// Who cosigned the ledger.
    pub witnesses: Witnesses,
}

/// What a run does with its sums: [`search::round`], or in a measurement a stand-in that asks for
/// vectors of chosen lengths.
pub type Search = fn(
    &Task,
    &Round,
    &mut dyn Federation,
    &mut dyn Observer,
) -> Result<search::Outcome, SearchError>;

/// Why the daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The state directory is not there.
    #[error("the state directory {0} does not exist: run `collegium coordinator init --state {0}`")]
    NoState(PathBuf),
    /// Another process uses it.
    #[error("another coordinator runs on the state directory {0}: stop it first")]
    InUse(PathBuf),
    /// Something in it cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Keys or certificates.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The access policy.
    #[error(transparent)]
    Policy(#[from] AuthorizeError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The object directory.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The network.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The charter in the database does not hold.
    #[error("the stored charter is not valid: {0}; restore collegium.db from a backup")]
    Charter(String),
    /// A run met a fault that makes going on unsafe.
    #[error(transparent)]
    Runs(#[from] RunsError),
}

impl Context {
    /// Opens the state directory.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn open(config: Config, search: Search) -> Result<Arc<Self>, AppError> {
        let state = config.state.clone();
        let authorizer = Arc::new(Authorizer::open(config.policy.file())?);
        let keys = init::load(&state)?;
        let store = Store::open(&state).await?;
        let ledger = Ledger::open(&state, &keys.signing)?;
        let objects = ObjectStore::open(&state)?;
        let evidence = EvidenceStore::open(&state, config.evidence.keep.0)?;
        let spool = Spool::open(&state, config.spool.memory.0).map_err(|source| AppError::Io {
            path: state.join("spool"),
            source,
        })?;
        let step_files = StepFiles::open(&state).map_err(|source| AppError::Io {
            path: state.join("step"),
            source,
        })?;
        let charter = load_charter(&store).await?;
        let own = [keys.tls.peer().clone(), keys.operator.clone()];
        certificates::register_known(&store, &own).await?;
        certificates::load_revocations(&store, &keys.revocations).await?;
        Ok(Arc::new(Self {
            config,
            keys,
            store,
            ledger,
            objects,
            evidence,
            spool,
            step_files,
            hub: Hub::default(),
            connections: Connections::default(),
            authorizer,
            charter: watch::Sender::new(charter),
            runs: Runs::default(),
            object_reads: Semaphore::new(OBJECT_READS),
            search,
            witnesses: Witnesses::default(),
        }))
    }

    /// Writes a fact into the ledger that nobody waits for. When the disk fails,
    /// the next step, which does wait, ends with the same error.
    pub fn write_down(&self, entry: Entry) {
        if let Err(error) = self.ledger.append(entry) {
            error!(%error, "the ledger cannot be written");
        }
    }

    /// Writes a fact into the ledger; it is durable when this returns. The disk
    /// may take its time, so it does not hold up the network's threads.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn record(&self, entry: Entry) -> Result<(), LedgerError> {
        let ledger = self.ledger.clone();
        match tokio::task::spawn_blocking(move || ledger.append(entry)).await {
            Ok(appended) => appended,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Everything that knows of certificates.
    #[must_use]
    pub fn access(&self) -> Access<'_> {
        Access {
            store: &self.store,
            ledger: &self.ledger,
            keys: &self.keys,
            connections: &self.connections,
        }
    }

    /// Reads the charter in force again, after it may have changed, and tells
    /// every session.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn reload_charter(&self) -> Result<(), AppError> {
        let charter = load_charter(&self.store).await?;
        self.charter.send_if_modified(|current| {
            let changed =
                current.as_ref().map(|c| c.digest()) != charter.as_ref().map(|c| c.digest());
            *current = charter;
            changed
        });
        self.witnesses.wake();
        Ok(())
    }
}

async fn load_charter(store: &Store) -> Result<Option<Arc<VerifiedCharter>>, AppError> {
    let Some(signed) = charter_service::in_force(store).await? else {
        return Ok(None);
    };
    let verified = VerifiedCharter::from_pinned(signed)
        .map_err(|error| AppError::Charter(error.to_string()))?;
    Ok(Some(Arc::new(verified)))
}

/// Holds the state directory and its `run/address` file for one process.
struct Claim {
    address: PathBuf,
    _lock: File,
}

impl Claim {
    fn of(state: &Path) -> Result<Self, AppError> {
        if !state.is_dir() {
            return Err(AppError::NoState(state.to_owned()));
        }
        let directory = state.join("run");
        let path = directory.join("lock");
        let io = |source| AppError::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&directory).map_err(io)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                address: directory.join("address"),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(AppError::InUse(state.to_owned())),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Says where the daemon listens, for scripts and tests.
    fn write_address(&self, address: SocketAddr) -> Result<(), AppError> {
        objects::write_atomically(&self.address, address.to_string().as_bytes()).map_err(|source| {
            AppError::Io {
                path: self.address.clone(),
                source,
            }
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A file that stays names a port where nobody answers: harmless.
        let _ = std::fs::remove_file(&self.address);
    }
}

/// A running daemon. Behind a pointer, so that it is compiled here once and not again, with all
/// that it awaits, in every program that runs it.
pub type Running = Pin<Box<dyn Future<Output = Result<(), AppError>> + Send>>;

/// Runs the daemon until `shutdown` resolves or a fault makes going on unsafe.
///
/// # Errors
/// [`AppError`] says what is wrong, where, and what to do.
pub fn run(config: Config, shutdown: impl Future<Output = ()> + Send + 'static) -> Running {
    run_with(config, search::round, shutdown)
}

/// [`run`] with another search in the place of the one that looks for models.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    config: Config,
    search: Search,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Running {
    running(config, search, Box::pin(shutdown))
}

fn running(
    config: Config,
    search: Search,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
) -> Running {
    Box::pin(serve(config, search, shutdown))
}

async fn serve(
    config: Config,
    search: Search,
    mut shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
) -> Result<(), AppError> {
    let claim = Claim::of(&config.state)?;
    let context = Context::open(config, search).await?;
    let server = Server::bind(ServerConfig {
        listen: context.config.listen,
        identity: context.keys.tls.clone(),
        authority: context.keys.authority.certificate().clone(),
        revocations: context.keys.revocations.clone(),
    })?;
    let address = server.local_address();
    context.ledger.append(
        Entry::new(
            Action::Start,
            "coordinator",
            &address.to_string(),
            Outcome::Done,
        )
        .evidence(json!({ "version": env!("CARGO_PKG_VERSION") })),
    )?;
    let in_force = context.authorizer.in_force();
    context.state_policy(&in_force, Outcome::Done, None).await;
    let mut upkeep = Upkeep::begin();
    claim.write_address(address)?;
    info!(%address, state = %context.config.state.display(), "ready");

    let (stop, stopping) = watch::channel(false);
    let mut runs = tokio::spawn(runs::work(context.clone(), stopping));
    let witnessing = tokio::spawn(witness::work(context.clone()));
    let mut connections = JoinSet::new();
    let fault = loop {
        tokio::select! {
            accepted = server.accept() => match accepted {
                Some(Accepted::Known(connection)) => {
                    connections.spawn(session::serve(context.clone(), connection));
                }
                Some(Accepted::Joining(connection)) => {
                    let context = context.clone();
                    connections.spawn(async move {
                        join_service::serve(connection, context.access()).await;
                    });
                }
                None => break None,
            },
            () = &mut shutdown => break None,
            ended = &mut runs => break Some(ended),
            chore = upkeep.next() => chore.carry_out(&context, &server).await,
            Some(_) = connections.join_next() => {}
        }
    };
    info!("stopping");
    let _ = stop.send(true);
    let ended = match fault {
        Some(ended) => ended,
        None => timeout(STOP_RUN, runs).await.unwrap_or(Ok(Ok(()))),
    };
    witnessing.abort();
    close(&context, &server, connections).await;
    match ended {
        Ok(result) => result.map_err(AppError::from),
        Err(panic) => Err(AppError::Runs(RunsError::Panicked(panic.to_string()))),
    }
}

async fn close(context: &Context, server: &Server, mut connections: JoinSet<()>) {
    let grace = context.config.shutdown.grace.0.min(MAX_GRACE);
    context.hub.send_all(&ToNode::Shutdown);
    let mut changes = context.hub.changes();
    let farewell = async {
        // Nodes hang up when they read the farewell.
        while !context.hub.members().is_empty() {
            if changes.changed().await.is_err() {
                break;
            }
        }
    };
    if timeout(grace / 2, farewell).await.is_err() {
        warn!("not every node hung up in time");
    }
    server.close(CloseCode::Shutdown, "the coordinator stops");
    let drain = async {
        while connections.join_next().await.is_some() {}
        server.wait_idle().await;
    };
    if timeout(grace / 2, drain).await.is_err() {
        warn!("some connections did not drain in time");
    }
    context.write_down(Entry::new(Action::Stop, "coordinator", "", Outcome::Done));
    if let Err(error) = context.ledger.publish() {
        error!(%error, "the ledger's last entries stay pending");
    }
    let _ = timeout(CLOSE_STORE, context.store.close()).await;
    info!("stopped");
}

/// Sets up logging for a binary. A second call changes nothing.
pub fn start_logging(log: &Log) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.level)
        .map_err(|error| format!("log.level `{}`: {error}", log.level))?;
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let coloured = wanted && std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(coloured)
        .with_writer(std::io::stderr);
    let _ = match log.format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}
