//! What runs beside the session: reading rows, computing answers, fetching objects, the site's
//! report. Each job ends with one [`Event`], whatever happens to the connection meanwhile.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use collegium_automl::ask::Ask;
use collegium_automl::object::ObjectId;
use collegium_protocol::limits::{MAX_EVIDENCE_BYTES, MAX_OBJECT_BYTES};
use collegium_protocol::message::verify::{EvidenceReady, OpenedStep};
use collegium_protocol::pki::keyfile::{self, Access};
use collegium_protocol::quic::{Connection, QuicError};
use collegium_protocol::step::{EvidenceError, ReadyUpload, Statements};
use collegium_protocol::{Digest, Refusal, RefusalCode, RunId, StepNumber, VerifiedCharter};

use tokio::sync::{mpsc, watch};

use super::consent::{Denied, StepAbout};
use super::verify::CheckError;
use super::{Event, Shared};
use crate::store::{BudgetError, RunRecord};
use crate::trainer::{Answered, TrainerError};

/// Pieces of evidence that may wait to be checked: 64 KiB each at most, so at most 1 MiB.
const AHEAD: usize = 16;

/// An ask to answer.
pub(super) struct Asked {
    pub(super) ask: Ask,
    /// What the ledger says of it.
    pub(super) about: serde_json::Value,
    /// What the site's policy is told of it.
    pub(super) consent: StepAbout,
}

/// Why an object could not be had.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the coordinator does not give the object {id}: {refusal}")]
    Refused { id: Digest, refusal: Refusal },
    #[error("what the coordinator gave as the object {0} has another hash")]
    OtherBytes(Digest),
    #[error("the object {id} cannot be fetched: {source}")]
    Quic { id: Digest, source: QuicError },
    #[error("the node stops")]
    Stopped,
}

impl Shared {
    /// Reads the rows for a run.
    pub(super) fn spawn_open(&self, run: RunId, task: Vec<u8>) {
        let shared = self.clone();
        tokio::spawn(async move {
            let result = shared.trainer.open(run, task.clone()).await;
            shared.finish(Event::Opened { run, task, result });
        });
    }

    /// Computes the answer to a step from the rows of hash `data`, with which the run was
    /// accepted, if the site's policy allows it.
    pub(super) fn spawn_answer(&self, run: RunId, step: StepNumber, data: Digest, asked: Asked) {
        let shared = self.clone();
        let Asked {
            ask,
            mut about,
            consent,
        } = asked;
        tokio::spawn(async move {
            let answering = shared.answer(run, ask, data, &consent, &mut about);
            let result = answering.await;
            let result = result.map_err(|error| {
                tracing::error!(%run, %step, %error, "no answer");
                refusal_of(&error)
            });
            shared.finish(Event::Answered {
                run,
                step,
                about,
                result,
            });
        });
    }

    /// Hashes the body that was sent in an opened step.
    pub(super) fn spawn_hash(&self, opened: OpenedStep, upload: Arc<ReadyUpload>) {
        let shared = self.clone();
        tokio::task::spawn_blocking(move || {
            let result = upload.linear_hashes(opened.challenge());
            shared.finish(Event::Hashed { opened, result });
        });
    }

    /// Fetches and checks a step's evidence.
    pub(super) fn spawn_check(&self, ready: EvidenceReady, charter: Arc<VerifiedCharter>) {
        let shared = self.clone();
        tokio::spawn(async move {
            let result = shared.check(ready, charter).await;
            let step = ready.step;
            shared.finish(Event::Checked { step, result });
        });
    }

    /// A connection that breaks in the middle is waited for, and the check begins anew.
    async fn check(
        &self,
        ready: EvidenceReady,
        charter: Arc<VerifiedCharter>,
    ) -> Result<OpenedStep, CheckError> {
        let mut connections = self.connection.subscribe();
        let mut failed = None;
        loop {
            let connection = next(&mut connections, failed)
                .await
                .ok_or_else(|| not_had(FetchError::Stopped))?;
            match check_over(&connection, ready, Arc::clone(&charter)).await {
                Err(CheckError::NotHad(_)) if connection.is_closed() => {
                    failed = Some(connection.id());
                }
                checked => return checked,
            }
        }
    }

    /// Writes the site's report of a finished run.
    pub(super) fn spawn_report(&self, run: RunId, record: RunRecord, champion: Digest) {
        let shared = self.clone();
        tokio::spawn(async move {
            let result = shared.report(run, record, champion).await;
            shared.trainer.close(run);
            let result = result.map(drop).map_err(|error| error.to_string());
            shared.finish(Event::Reported { run, result });
        });
    }

    pub(super) fn finish(&self, event: Event) {
        // The receiver is gone only when the daemon stops.
        let _ = self.events.send(event);
    }

    async fn answer(
        &self,
        run: RunId,
        ask: Ask,
        accepted: Digest,
        consent: &StepAbout,
        about: &mut serde_json::Value,
    ) -> Result<Answered, WorkError> {
        for id in self.trainer.missing(run, ask.clone()).await? {
            let bytes = self.fetch(Digest(id.0)).await?;
            self.trainer.insert(run, bytes).await?;
        }
        // Only now is it known which columns the objects read.
        let columns = self.trainer.columns(run, ask.clone()).await?;
        let columns = columns.into_iter().collect();
        self.may_answer(&ask, columns, consent).await?;
        let noise = self.pay(run, &ask, consent, about).await?;
        let answered = self.trainer.answer(run, ask, noise).await?;
        // The rows may have been read again since the run was accepted (after a fault inside).
        if accepted != answered.data {
            return Err(WorkError::DataChanged);
        }
        Ok(answered)
    }

    async fn report(
        &self,
        run: RunId,
        record: RunRecord,
        champion: Digest,
    ) -> Result<PathBuf, WorkError> {
        let opened = self.trainer.open(run, record.task).await?;
        if opened.data != record.data {
            return Err(WorkError::DataChanged);
        }
        let bytes = self.fetch(champion).await?;
        let mut report = self.trainer.report(run, bytes).await?;
        if let Some(fields) = report.as_object_mut() {
            fields.insert("run".to_owned(), run.to_string().into());
            fields.insert("site".to_owned(), self.name.as_str().into());
        }
        let directory = self.config.run_directory(&run.to_string());
        let file = directory.join("local.json");
        let mut text = serde_json::to_vec_pretty(&report)
            .map_err(|error| TrainerError::Ask(error.to_string()))?;
        text.push(b'\n');
        keyfile::create_private_dir(&directory)?;
        keyfile::replace(&file, &text, Access::Private)?;
        Ok(file)
    }

    /// Fetches an object and checks its hash. A connection that breaks is waited for: the work
    /// that needs the object outlives it.
    async fn fetch(&self, id: Digest) -> Result<Vec<u8>, FetchError> {
        let mut connections = self.connection.subscribe();
        let mut failed = None;
        loop {
            let connection = next(&mut connections, failed)
                .await
                .ok_or(FetchError::Stopped)?;
            match connection.fetch(id, MAX_OBJECT_BYTES).await {
                Ok(Ok(bytes)) if ObjectId::of(&bytes).0 == id.0 => return Ok(bytes),
                Ok(Ok(_)) => return Err(FetchError::OtherBytes(id)),
                Ok(Err(refusal)) => return Err(FetchError::Refused { id, refusal }),
                Err(_) if connection.is_closed() => failed = Some(connection.id()),
                Err(source) => return Err(FetchError::Quic { id, source }),
            }
        }
    }
}

fn not_had(error: impl std::fmt::Display) -> CheckError {
    CheckError::NotHad(error.to_string())
}

/// Fetches evidence and checks it as it comes in: neither end has it in memory as a whole.
async fn check_over(
    connection: &Connection,
    ready: EvidenceReady,
    charter: Arc<VerifiedCharter>,
) -> Result<OpenedStep, CheckError> {
    let id = ready.object;
    let (pieces, coming) = mpsc::channel(AHEAD);
    let checking = tokio::task::spawn_blocking(move || {
        let mut object = Incoming::new(coming);
        let proved = Statements::read_proved(&charter, &id, &mut object)?;
        // What is found wrong early leaves the rest to be read.
        io::copy(&mut object, &mut io::sink())?;
        Ok::<_, io::Error>(proved)
    });
    let fetched = connection.fetch_into(id, MAX_EVIDENCE_BYTES, &pieces).await;
    drop(pieces);
    let checked = checking.await.map_err(not_had)?;
    match fetched {
        Ok(Ok(())) => {}
        Ok(Err(refusal)) => return Err(not_had(FetchError::Refused { id, refusal })),
        Err(source) => return Err(not_had(FetchError::Quic { id, source })),
    }
    let opened = match checked.map_err(not_had)? {
        Ok(statements) => statements.opened,
        Err(EvidenceError::OtherName) => return Err(not_had(FetchError::OtherBytes(id))),
        Err(error) => return Err(error.into()),
    };
    if opened.step != ready.step {
        let why = "it is of another step than announced";
        return Err(EvidenceError::Form(why.to_owned()).into());
    }
    Ok(opened)
}

/// An object on its way in, read by a thread that computes.
struct Incoming {
    coming: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Incoming {
    fn new(coming: mpsc::Receiver<Vec<u8>>) -> Self {
        Self {
            coming,
            piece: io::Cursor::default(),
        }
    }
}

impl io::BufRead for Incoming {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.fill_buf()?.is_empty() {
            match self.coming.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => break,
            }
        }
        self.piece.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.piece.consume(amount);
    }
}

impl io::Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = io::Read::read(&mut io::BufRead::fill_buf(self)?, into)?;
        io::BufRead::consume(self, read);
        Ok(read)
    }
}

/// The connection, once there is another one than `failed`; `None` when the daemon stops.
async fn next(
    connections: &mut watch::Receiver<Option<Connection>>,
    failed: Option<usize>,
) -> Option<Connection> {
    let usable = |connection: &Option<Connection>| {
        connection
            .as_ref()
            .is_some_and(|connection| Some(connection.id()) != failed)
    };
    connections.wait_for(usable).await.ok()?.clone()
}

/// Why a piece of work has no result. Stays in this site's log.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    File(#[from] collegium_protocol::pki::PkiError),
    #[error(
        "the data changed since this site accepted the run; this site sits out: put the data \
         back as it was, or wait for the next run"
    )]
    DataChanged,
}

/// What the coordinator may know of it: a stable code, and no word about the data.
fn refusal_of(error: &WorkError) -> Refusal {
    match error {
        WorkError::Fetch(FetchError::Refused { .. }) => Refusal::new(
            RefusalCode::UnknownObject,
            "an object the ask names was not to be had",
        ),
        WorkError::Denied(Denied::Policy(reason)) => {
            Refusal::new(RefusalCode::PolicyDenied, reason)
        }
        WorkError::Budget(error @ (BudgetError::Task(_) | BudgetError::Site)) => {
            Refusal::new(RefusalCode::PolicyDenied, error)
        }
        WorkError::Trainer(TrainerError::NotOpen(_)) => RefusalCode::UnknownRun.into(),
        _ => RefusalCode::TrainerFailed.into(),
    }
}
