//! The connection to the coordinator: dialled by the node, kept up by itself.
//!
//! A session is one connection with one control stream. When it ends, for whatever reason but a
//! person's, the node dials again after a pause that grows with each failure. Work that takes
//! long (reading rows, computing answers, fetching objects) runs beside the session and outlives
//! it; what a step needs to be safe is on the disk before anything of it is sent.
//!
//! - `backoff`: the pauses;
//! - `session`: one connection, its control stream, and the loop over both;
//! - `member`: what this node does about each message: the charter, and whose turn it is;
//! - `runs`, `steps`: offers and ends of runs; asks and contributing sets, by the machines of
//!   `protocol::step` and this site's own bounds;
//! - `consent`: what this site's own policy and its stewards say to all of that;
//! - `perform`: carries out what the machines want, in their order;
//! - `work`: what runs beside the session;
//! - `verify`: hashes this site's bodies after an opening, and checks the evidence of totals;
//! - `witness`: cosigns the coordinator's ledger;
//! - `upload`: makes one upload, streams it meanwhile, and again after a reconnect.

mod backoff;
mod budget;
mod consent;
mod member;
mod perform;
mod runs;
mod session;
mod steps;
mod upload;
mod verify;
mod witness;
mod work;

use std::sync::Arc;
use std::time::Duration;

use collegium_crypto::os_rng;
use collegium_crypto::rand_core::Rng as _;
use collegium_protocol::charter::CharterError;
use collegium_protocol::codec::CodecError;
use collegium_protocol::message::step::StepRef;
use collegium_protocol::message::verify::{LinearHashes, OpenedStep};
use collegium_protocol::pki::{HolderFiles, TlsIdentity};
use collegium_protocol::quic::{Client, CloseCode, Connection, QuicError};
use collegium_protocol::step::ReadyUpload;
use collegium_protocol::{MemberName, ProcessId, Refusal, RunId, StepNumber};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::config::{Config, LinkConfig, PolicyConfig};
use crate::keys::{KeyFiles, NodeKeys};
use crate::ledger::{Action, Entry, Ledger, LedgerError, Outcome};
use crate::policy::{PolicyFileError, SitePolicies};
use crate::renew;
use crate::spool::UploadSpool;
use crate::state::{StateDirectory, Status};
use crate::store::{Store, StoreError};
use crate::trainer::{Answered, Opened, Trainer, TrainerError};

use backoff::Backoff;
use member::Member;
use session::End;
use verify::CheckError;

/// A session that stood this long was a good one: the next pause is the shortest again. Shorter
/// ones do not count, or a coordinator that throws this node out at once would be dialled without
/// end.
const SETTLED: Duration = Duration::from_secs(5);

/// Why the link ended for good: only a person can mend these.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The coordinator does not accept this node's certificate, or it cannot be used.
    #[error(transparent)]
    Rejected(QuicError),
    /// The coordinator took this node's certificate away while it was connected.
    #[error(
        "the coordinator ended this node's access: {0}; ask its operator why, and for a new invitation if the \
         node is to come back"
    )]
    Revoked(String),
    /// Something could not be written; going on could break a promise made to the others.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry could not be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A stored record cannot be read.
    #[error(
        "the node's database holds a record that cannot be read ({0}); put it back from a backup"
    )]
    Record(#[from] CodecError),
    /// The stored charter cannot be read.
    #[error("the pinned charter cannot be used: {0}; put the node's database back from a backup")]
    Pinned(#[from] CharterError),
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(#[from] collegium_crypto::error::RandomnessError),
    /// A fault inside.
    #[error("the node failed inside: {0}; please report this")]
    Broken(String),
}

impl LinkError {
    /// What no waiting mends, in words for the site.
    fn of_final(error: QuicError) -> Self {
        match error {
            QuicError::Closed {
                code: CloseCode::Revoked,
                reason,
            } => Self::Revoked(reason),
            error => Self::Rejected(error),
        }
    }
}

/// What all parts of the link use. Clones are handles to the same things.
#[derive(Clone)]
struct Shared {
    name: MemberName,
    policy: Arc<PolicyConfig>,
    /// The site's own policy, asked after the settings above.
    policies: SitePolicies,
    config: Arc<Config>,
    store: Store,
    ledger: Ledger,
    spool: UploadSpool,
    trainer: Trainer,
    /// The connection as it is now, for work that outlives a session.
    connection: Arc<watch::Sender<Option<Connection>>>,
    /// Where work beside the session puts its results.
    events: mpsc::UnboundedSender<Event>,
    state: Arc<StateDirectory>,
}

/// A result of work beside the session.
enum Event {
    /// A run's rows were read, or not.
    Opened {
        run: RunId,
        task: Vec<u8>,
        result: Result<Opened, TrainerError>,
    },
    /// A steward has spoken about a run that waits for it.
    Decided { run: RunId },
    /// The trainer's answer to a step.
    Answered {
        run: RunId,
        step: StepNumber,
        /// What was asked, for the ledger.
        about: serde_json::Value,
        result: Result<Answered, Refusal>,
    },
    /// The body sent in an opened step is hashed.
    Hashed {
        opened: OpenedStep,
        result: Result<LinearHashes, Refusal>,
    },
    /// A step's evidence was fetched and checked; what it says was committed to.
    Checked {
        step: StepRef,
        result: Result<OpenedStep, CheckError>,
    },
    /// A step's answer was sealed, and perhaps streamed; or it could not be.
    Sealed {
        step: StepRef,
        result: Result<Result<Arc<ReadyUpload>, Refusal>, LinkError>,
    },
    /// A step's upload did not arrive over the connection of this number, or there was none.
    UploadBroken {
        step: StepRef,
        connection: Option<usize>,
    },
    /// The site's report of a run is written, or not.
    Reported {
        run: RunId,
        result: Result<(), String>,
    },
}

/// The link, ready to run.
pub struct Link {
    shared: Shared,
    keys: NodeKeys,
    client: Client,
    address: String,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Link {
    /// Takes everything the link works with, and reads the site's policy.
    ///
    /// # Errors
    /// [`PolicyFileError`], when the site's policy cannot be read or does not load.
    pub fn new(
        config: Config,
        keys: NodeKeys,
        store: Store,
        ledger: Ledger,
        spool: UploadSpool,
        trainer: Trainer,
        state: StateDirectory,
    ) -> Result<Self, PolicyFileError> {
        let policies = SitePolicies::load(config.policy.file.as_deref())?;
        let client = keys.client.clone();
        let address = config
            .coordinator
            .clone()
            .unwrap_or_else(|| keys.coordinator.clone());
        let (sender, events) = mpsc::unbounded_channel();
        let shared = Shared {
            name: keys.member.clone(),
            policy: Arc::new(config.policy.clone()),
            policies,
            config: Arc::new(config),
            store,
            ledger,
            spool,
            trainer,
            connection: Arc::new(watch::Sender::new(None)),
            events: sender,
            state: Arc::new(state),
        };
        Ok(Self {
            shared,
            keys,
            client,
            address,
            events,
        })
    }

    /// The site's policy: what is read again there is in force here.
    #[must_use]
    pub fn policies(&self) -> &SitePolicies {
        &self.shared.policies
    }

    /// Keeps the connection up until `stopping` turns true.
    ///
    /// # Errors
    /// [`LinkError`], for what no waiting mends.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) -> Result<(), LinkError> {
        let mut rng = os_rng()?;
        let mut process = [0; 16];
        rng.fill_bytes(&mut process);
        let process = ProcessId::from_bytes(process);
        let mut member = Member::load(self.shared.clone(), &self.keys, process).await?;
        let LinkConfig {
            reconnect_min,
            reconnect_max,
            connect_timeout,
        } = self.shared.config.link.clone();
        let mut backoff = Backoff::new(reconnect_min.0, reconnect_max.0);
        let result = loop {
            self.shared.report_status(&member, false, None);
            let dialled = tokio::select! {
                dialled = self.dial(connect_timeout.0) => dialled,
                () = stopped(&mut stopping) => break Ok(()),
            };
            let started = Instant::now();
            let end = match dialled {
                Ok(connection) => {
                    let renewal = renew::in_time(
                        self.holder(),
                        self.keys.certificate.clone(),
                        connection.clone(),
                    );
                    let events = &mut self.events;
                    session::run(&mut member, connection, renewal, events, &mut stopping).await?
                }
                Err(error) => End::Lost(error),
            };
            let problem = match end {
                End::Stopped => break Ok(()),
                End::Renewed(identity) => {
                    self.take(&identity).await?;
                    continue;
                }
                End::Lost(error) if is_final(&error) => {
                    if !self.take_renewed().await? {
                        break Err(LinkError::of_final(error));
                    }
                    error.to_string()
                }
                End::Lost(error) => {
                    self.shared.record_offence(&error).await?;
                    error.to_string()
                }
                End::Refused(reason) => reason,
            };
            if member.take_greeted() && started.elapsed() >= SETTLED {
                backoff.reset();
            }
            let pause = backoff.pause(&mut rng);
            tracing::warn!(coordinator = %self.address, problem, retry_in = ?pause, "not connected");
            self.shared.report_status(&member, false, Some(problem));
            tokio::select! {
                () = sleep(pause) => {}
                () = stopped(&mut stopping) => break Ok(()),
            }
        };
        self.shared.state.remove_status();
        result
    }

    fn holder(&self) -> HolderFiles {
        KeyFiles::of(&self.shared.config.state).holder()
    }

    /// Goes on with another certificate of this node.
    async fn take(&mut self, identity: &TlsIdentity) -> Result<(), LinkError> {
        let peer = identity.peer();
        self.client = Client::new(identity, &self.keys.authority).map_err(LinkError::Rejected)?;
        self.keys.certificate = peer.clone();
        tracing::info!(serial = %peer.serial, "certificate renewed");
        let entry = Entry::new(Action::Certificate, peer.serial, Outcome::Done);
        let evidence = serde_json::json!({ "certificate": peer.fingerprint.to_string() });
        self.shared.record(entry.evidence(evidence)).await
    }

    /// When the coordinator does not take the certificate any more: whether another one lies on the
    /// disk by now, because somebody renewed it by hand.
    async fn take_renewed(&mut self) -> Result<bool, LinkError> {
        let files = self.holder();
        let loaded = tokio::task::spawn_blocking(move || files.load()).await;
        match loaded.map_err(|error| LinkError::Broken(error.to_string()))? {
            Ok(identity) if identity.peer().serial != self.keys.certificate.serial => {
                self.take(&identity).await?;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) => {
                tracing::error!(%error, "the node's certificate cannot be read");
                Ok(false)
            }
        }
    }

    async fn dial(&self, patience: Duration) -> Result<Connection, QuicError> {
        tracing::debug!(coordinator = %self.address, "connecting");
        let no_answer = |_| QuicError::NoAnswer {
            address: self.address.clone(),
        };
        timeout(patience, self.client.connect(&self.address))
            .await
            .map_err(no_answer)?
    }
}

/// Waits until the daemon is to stop, or nobody is left to say so.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Whether no waiting mends this: the certificate itself is not accepted.
fn is_final(error: &QuicError) -> bool {
    match error {
        QuicError::CertificateRefused { .. } => true,
        QuicError::Closed { code, .. } => {
            matches!(code, CloseCode::Revoked | CloseCode::NoCertificate)
        }
        _ => false,
    }
}

impl Shared {
    /// Appends to the ledger off the network's threads; durable when this returns.
    async fn record(&self, entry: Entry) -> Result<(), LinkError> {
        let ledger = self.ledger.clone();
        let appended = tokio::task::spawn_blocking(move || ledger.append(entry)).await;
        Ok(appended.map_err(|error| LinkError::Broken(error.to_string()))??)
    }

    /// A coordinator that sends what no correct program sends is on record.
    async fn record_offence(&self, error: &QuicError) -> Result<(), LinkError> {
        if !matches!(
            error,
            QuicError::Codec(_) | QuicError::TooLarge { .. } | QuicError::CutOff { .. }
        ) {
            return Ok(());
        }
        let entry = Entry::new(Action::Message, "coordinator", Outcome::Refused);
        let evidence = serde_json::json!({"reason": error.to_string()});
        self.record(entry.evidence(evidence)).await
    }

    /// Writes the status file; a status that cannot be written stops nothing.
    fn report_status(&self, member: &Member, connected: bool, problem: Option<String>) {
        let status = Status {
            member: self.name.to_string(),
            pid: std::process::id(),
            connected,
            charter: member.charter_digest().map(|digest| digest.to_string()),
            problem,
        };
        if let Err(error) = self.state.write_status(&status) {
            tracing::warn!(%error, "cannot write the status");
        }
    }
}
