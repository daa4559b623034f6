//! What the operator's commands do with a coordinator's state directory, whether its
//! daemon runs or not.
//!
//! A running daemon is asked over its own port with the operator's certificate, like from
//! anywhere else. When none runs, its lock is taken and the database is used directly.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use collegium_protocol::ids::MemberName;
use collegium_protocol::message::admin::{AdminResponse, WhichCharter};
use collegium_protocol::pki::{AuthorityCertificate, Peer, PkiError, Role};
use collegium_protocol::quic::{
    self, AdminClient, AdminError, CharterState, Client, QuicError, RotateError,
};
use collegium_protocol::{Digest, Refusal};

use crate::authorize::{Act, Asker, AuthorizeError, Authorizer, Resource};
use crate::config::{Config, ConfigError, Sources};
use crate::init::{self, Files, InitError, Keys};
use crate::ledger::{Ledger, LedgerError};
use crate::store::{Store, StoreError};
use crate::{charter_service, join_service};

/// A daemon that has just started needs a moment until it listens.
const STARTING: Duration = Duration::from_secs(5);

/// How often to look again in that time.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why an operator's command failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon runs, and this command needs one.
    #[error("no coordinator runs on {0}; start it with `collegium coordinator run --state {0}`")]
    NotRunning(PathBuf),
    /// Nobody said where sites reach the coordinator.
    #[error(
        "say with --address HOST:PORT where sites reach the coordinator: neither the founding nor its listen address tells"
    )]
    NoAddress,
    /// The lock or the address file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The state directory is not a consortium's.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The configuration in it, which names the access policy.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The access policy.
    #[error(transparent)]
    Policy(#[from] AuthorizeError),
    /// The operator's certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// TLS.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The daemon's answer.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A certificate that is not renewed.
    #[error(transparent)]
    Rotate(#[from] RotateError),
    /// A refusal without a daemon in between.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Both charters as the coordinator has them.
#[derive(Clone, Debug, Default)]
pub struct Charters {
    /// The one that steps refer to.
    pub in_force: Option<CharterState>,
    /// The one that is being signed.
    pub proposed: Option<CharterState>,
}

/// The daemon of a state directory, as a command finds it.
enum Daemon {
    /// The daemon runs and listens here.
    Running(String),
    /// No daemon runs, and none can start while this is held.
    Idle(File),
}

impl Daemon {
    async fn of(state: &Path) -> Result<Self, ClientError> {
        // Names a directory that is no consortium's before anything is made in it.
        init::read_consortium(state)?;
        let directory = state.join("run");
        let path = directory.join("lock");
        let io = |source| ClientError::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&directory).map_err(io)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io)?;
        let address = directory.join("address");
        let deadline = tokio::time::Instant::now() + STARTING;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self::Idle(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
            match std::fs::read_to_string(&address) {
                Ok(text) if !text.trim().is_empty() => {
                    return Ok(Self::Running(text.trim().to_owned()));
                }
                _ if tokio::time::Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
                Ok(_) => return Err(ClientError::NotRunning(state.to_owned())),
                Err(source) => {
                    return Err(ClientError::Io {
                        path: address,
                        source,
                    });
                }
            }
        }
    }
}

/// The coordinator's rooms without a daemon, for whoever may write the state directory.
struct Local {
    keys: Keys,
    store: Store,
    ledger: Ledger,
    actor: String,
    /// Digest of the access policy.
    policy: Digest,
}

impl Local {
    /// Opens them for one act, which the access policy must allow.
    async fn open(state: &Path, act: Act) -> Result<Self, ClientError> {
        let sources = Sources {
            file: Some(Files::of(state).config()).filter(|file| file.exists()),
            flags: [("state".to_owned(), state.display().to_string())].into(),
            ..Sources::from_process()
        };
        let authorizer = Authorizer::open(Config::load(&sources)?.policy.file())?;
        let keys = init::load(state)?;
        let store = Store::open(state).await?;
        let ledger = Ledger::open(state, &keys.signing)?;
        let (asker, on) = (Asker::local(), Resource::Consortium);
        authorizer
            .authorize(&ledger, &asker, act, &on, SystemTime::now())
            .map_err(ClientError::Refused)?;
        Ok(Self {
            keys,
            store,
            ledger,
            actor: asker.subject(),
            policy: authorizer.in_force().digest,
        })
    }
}

async fn connect(state: &Path, address: &str) -> Result<AdminClient, ClientError> {
    let files = Files::of(state);
    let identity = files.operator().load()?;
    let authority = AuthorityCertificate::load(&files.authority_certificate())?;
    let client = Client::new(&identity, &authority)?;
    Ok(AdminClient::connect(&client, &dialable(address)).await?)
}

/// A daemon that listens on every address is reached on this computer's own.
fn dialable(address: &str) -> String {
    match address.parse::<std::net::SocketAddr>() {
        Ok(listening) if listening.ip().is_unspecified() => {
            let host = if listening.is_ipv4() {
                "127.0.0.1"
            } else {
                "[::1]"
            };
            format!("{host}:{}", listening.port())
        }
        _ => address.to_owned(),
    }
}

/// Connects to the running daemon as its operator.
///
/// # Errors
/// [`ClientError::NotRunning`], or what stands in the way.
pub async fn operator(state: &Path) -> Result<AdminClient, ClientError> {
    match Daemon::of(state).await? {
        Daemon::Running(address) => connect(state, &address).await,
        Daemon::Idle(_) => Err(ClientError::NotRunning(state.to_owned())),
    }
}

/// A new key and certificate for the founding operator; the old one is taken away.
///
/// # Errors
/// [`ClientError`].
pub async fn rotate(state: &Path) -> Result<Peer, ClientError> {
    let Daemon::Running(address) = Daemon::of(state).await? else {
        return Err(ClientError::NotRunning(state.to_owned()));
    };
    let files = Files::of(state);
    let authority = AuthorityCertificate::load(&files.authority_certificate())?;
    Ok(quic::rotate(files.operator(), &authority, &dialable(&address)).await?)
}

/// What the founding operator's certificate says.
///
/// # Errors
/// [`ClientError`].
pub fn certificate(state: &Path) -> Result<Peer, ClientError> {
    init::read_consortium(state)?;
    Ok(Files::of(state).operator().load()?.peer().clone())
}

/// Where people reach the daemon: `address`, or the founding's, or the one the daemon listens on.
///
/// # Errors
/// [`ClientError::NoAddress`].
pub async fn reachable(state: &Path, address: Option<&str>) -> Result<String, ClientError> {
    let consortium = init::read_consortium(state)?;
    if let Some(known) = address.map(str::to_owned).or(consortium.address) {
        return Ok(known);
    }
    match Daemon::of(state).await? {
        Daemon::Running(listening) if dialable(&listening) == listening => Ok(listening),
        Daemon::Running(_) => Err(ClientError::NoAddress),
        Daemon::Idle(_) => Err(ClientError::NotRunning(state.to_owned())),
    }
}

/// Makes an invitation and returns its line. `address` is where the site will reach the
/// coordinator; without it, the founding's address, or the one the daemon listens on.
///
/// # Errors
/// [`ClientError`].
pub async fn invite(
    state: &Path,
    name: &MemberName,
    address: Option<&str>,
) -> Result<String, ClientError> {
    let consortium = init::read_consortium(state)?;
    let known = address.map(str::to_owned).or(consortium.address);
    match Daemon::of(state).await? {
        Daemon::Running(listening) => {
            let concrete = dialable(&listening) == listening;
            let address = known
                .or(concrete.then(|| listening.clone()))
                .ok_or(ClientError::NoAddress)?;
            let client = connect(state, &listening).await?;
            let code = client.invite(name, Some(&address)).await?;
            client.finish().await;
            Ok(code)
        }
        Daemon::Idle(_lock) => {
            let address = known.ok_or(ClientError::NoAddress)?;
            let local = Local::open(state, Act::InviteMember).await?;
            let Local {
                keys,
                store,
                ledger,
                ..
            } = &local;
            let whom = (name, Role::Node);
            let answer =
                join_service::invite(store, ledger, keys, &local.actor, whom, &address).await;
            local.store.close().await;
            match answer.map_err(ClientError::Refused)? {
                AdminResponse::Invited { code } => Ok(code),
                _ => Err(AdminError::Unexpected.into()),
            }
        }
    }
}

/// Proposes a charter of these members; none means all that have joined.
///
/// # Errors
/// [`ClientError`].
pub async fn propose(state: &Path, members: Vec<MemberName>) -> Result<CharterState, ClientError> {
    match Daemon::of(state).await? {
        Daemon::Running(address) => {
            let client = connect(state, &address).await?;
            let proposal = client.propose_charter(members).await?;
            client.finish().await;
            Ok(proposal)
        }
        Daemon::Idle(_lock) => {
            let local = Local::open(state, Act::ProposeCharter).await?;
            let Local {
                keys,
                store,
                ledger,
                actor,
                policy,
            } = &local;
            let answer =
                charter_service::propose(store, ledger, keys, actor, *policy, &members).await;
            local.store.close().await;
            match answer.map_err(ClientError::Refused)? {
                AdminResponse::Charter { charter, missing } => Ok(CharterState {
                    charter: *charter,
                    missing,
                }),
                _ => Err(AdminError::Unexpected.into()),
            }
        }
    }
}

/// Reads both charters.
///
/// # Errors
/// [`ClientError`].
pub async fn charters(state: &Path) -> Result<Charters, ClientError> {
    match Daemon::of(state).await? {
        Daemon::Running(address) => {
            let client = connect(state, &address).await?;
            let charters = Charters {
                in_force: client.fetch_charter(WhichCharter::InForce).await?,
                proposed: client.fetch_charter(WhichCharter::Proposed).await?,
            };
            client.finish().await;
            Ok(charters)
        }
        Daemon::Idle(_lock) => {
            let store = Store::open(state).await?;
            let in_force = charter_service::in_force(&store).await?;
            let proposed = charter_service::proposed(&store).await?;
            store.close().await;
            let proposed = proposed.map(|charter| CharterState {
                missing: charter_service::missing(&charter, in_force.as_ref()),
                charter,
            });
            let in_force = in_force.map(|charter| CharterState {
                missing: Vec::new(),
                charter,
            });
            Ok(Charters { in_force, proposed })
        }
    }
}
