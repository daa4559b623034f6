//! What the operator's commands do with a coordinator's state directory, whether its
//! daemon runs or not.
//!
//! A running daemon is asked over its own port with the operator's certificate, like from
//! anywhere else. When none runs, its lock is taken and the database is used directly.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use collegium_protocol::Refusal;
use collegium_protocol::ids::MemberName;
use collegium_protocol::message::admin::{AdminResponse, WhichCharter};
use collegium_protocol::pki::{AuthorityCertificate, PkiError, TlsIdentity};
use collegium_protocol::quic::{AdminClient, AdminError, CharterState, Client, QuicError};

use crate::init::{self, Files, InitError};
use crate::ledger::{Ledger, LedgerError};
use crate::store::{Store, StoreError};
use crate::{charter_service, join_service};

/// Who acts when no daemon runs: whoever may write the state directory.
const LOCAL_OPERATOR: &str = "operator/local";

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
    /// The operator's certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// TLS.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The daemon's answer.
    #[error(transparent)]
    Admin(#[from] AdminError),
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

async fn connect(state: &Path, address: &str) -> Result<AdminClient, ClientError> {
    let files = Files::of(state);
    let identity = TlsIdentity::load(&files.operator_certificate(), &files.operator_key())?;
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
            let keys = init::load(state)?;
            let store = Store::open(state).await?;
            let ledger = Ledger::open(state, &keys.signing)?;
            let answer =
                join_service::invite(&store, &ledger, &keys, LOCAL_OPERATOR, name, &address).await;
            store.close().await;
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
            let keys = init::load(state)?;
            let store = Store::open(state).await?;
            let ledger = Ledger::open(state, &keys.signing)?;
            let answer =
                charter_service::propose(&store, &ledger, &keys, LOCAL_OPERATOR, &members).await;
            store.close().await;
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
            let of = |charter| CharterState {
                missing: charter_service::missing(&charter),
                charter,
            };
            let in_force = charter_service::in_force(&store).await?.map(of);
            let proposed = charter_service::proposed(&store).await?.map(of);
            store.close().await;
            Ok(Charters { in_force, proposed })
        }
    }
}
