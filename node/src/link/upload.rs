//! Streams one upload: header frame, raw body under flow control, trailer frame.
//!
//! The body is streamed while it is being encrypted: a thread that computes hands each piece to
//! the spool and, through a short queue, to the stream, so what waits in memory does not grow
//! with the body. After a broken connection the same bytes come from the spool.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use collegium_crypto::os_rng;
use collegium_protocol::limits::{MAX_UPLOAD_HEADER_BYTES, MAX_UPLOAD_TRAILER_BYTES};
use collegium_protocol::message::step::{StepRef, UploadHeader};
use collegium_protocol::quic::{CloseCode, Connection, FrameSender, QuicError};
use collegium_protocol::step::{ReadyUpload, SealError, Sealing};
use collegium_protocol::{Refusal, RefusalCode};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Event, LinkError, Shared};
use crate::ledger::Entry;
use crate::spool::BodyWriter;

/// Pieces that may wait for the network: 32 KiB each while encrypting, 64 KiB from the spool, so
/// at most 1 MiB.
const AHEAD: usize = 16;

/// Why an upload was not delivered.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Quic(#[from] QuicError),
    #[error("the kept upload cannot be read back: {0}")]
    Spool(#[from] io::Error),
    #[error("there is no connection")]
    NotConnected,
}

impl Shared {
    /// Makes an upload of an answer and streams it meanwhile, beside the session. Nothing leaves
    /// before `synced` says that the step's records are on the disk, `entry` is in the ledger, and
    /// what is `given` (a task's name, and bytes) is counted.
    pub(super) fn spawn_seal(
        &self,
        sealing: Sealing,
        entry: Entry,
        given: Option<(String, u64)>,
        synced: watch::Receiver<bool>,
    ) {
        let shared = self.clone();
        tokio::spawn(async move { shared.seal(sealing, entry, given, synced).await });
    }

    async fn seal(
        &self,
        sealing: Sealing,
        entry: Entry,
        given: Option<(String, u64)>,
        synced: watch::Receiver<bool>,
    ) {
        let (step, header) = (sealing.step(), sealing.header());
        let connection = self.connection.borrow().clone();
        let (pieces, mut arriving) = mpsc::channel(AHEAD);
        let writer = self.spool.writer();
        let sealed = spawn_blocking(move || encrypt(sealing, writer, pieces));
        // The first piece shows that the codes fit the ask.
        let first = arriving.recv().await;
        let recorded = match first {
            Some(_) => self.record_synced(step, entry, given, synced).await,
            None => Ok(()),
        };
        let streamed = match (&connection, first) {
            (Some(connection), Some(first)) if recorded.is_ok() => {
                stream(connection, header, first, arriving).await
            }
            _ => {
                // The rest goes to the spool alone.
                drop(arriving);
                Err(Broken::NotConnected)
            }
        };
        let result = joined(sealed.await);
        let ready = result.as_ref().ok().cloned();
        let result = recorded.map(|()| result.map_err(SealError::refusal));
        self.finish(Event::Sealed { step, result });
        let Some(ready) = ready else {
            // The coordinator reads a reset, not an end.
            if let Ok(mut sender) = streamed {
                sender.reset(CloseCode::Refused);
            }
            return;
        };
        let delivered = match streamed {
            Ok(sender) => deliver(sender, &ready).await,
            Err(error) => Err(error),
        };
        self.uploaded(step, connection.as_ref(), delivered);
    }

    /// The step's records, the ledger entry and the count of what was given, each synced while
    /// the others are.
    async fn record_synced(
        &self,
        step: StepRef,
        entry: Entry,
        given: Option<(String, u64)>,
        mut synced: watch::Receiver<bool>,
    ) -> Result<(), LinkError> {
        let records = async {
            match synced.wait_for(|synced| *synced).await {
                Ok(_) => Ok(()),
                Err(_) => Err(LinkError::Broken("a step's records were not stored".into())),
            }
        };
        let count = async {
            if let Some((task, bytes)) = given {
                self.store.add_given(step.run, &task, bytes).await?;
            }
            Ok(())
        };
        tokio::try_join!(self.record(entry), records, count).map(drop)
    }

    /// Streams a kept upload again, beside the session.
    pub(super) fn spawn_upload(&self, ready: Arc<ReadyUpload>) {
        let Some(connection) = self.connection.borrow().clone() else {
            return;
        };
        let shared = self.clone();
        tokio::spawn(async move {
            let delivered = stream_kept(&connection, &ready).await;
            shared.uploaded(ready.step, Some(&connection), delivered);
        });
    }

    fn uploaded(
        &self,
        step: StepRef,
        connection: Option<&Connection>,
        delivered: Result<(), Broken>,
    ) {
        let (run, number) = (step.run, step.step);
        let Err(error) = delivered else {
            tracing::debug!(%run, step = %number, "uploaded");
            return;
        };
        tracing::warn!(%run, step = %number, %error, "upload broken off");
        let connection = connection.map(Connection::id);
        self.finish(Event::UploadBroken { step, connection });
    }
}

/// The thread's work: every piece to the spool, and to the stream as long as there is one.
fn encrypt(
    sealing: Sealing,
    mut writer: BodyWriter,
    pieces: mpsc::Sender<Vec<u8>>,
) -> Result<Arc<ReadyUpload>, SealError> {
    let mut rng = os_rng().map_err(|error| Refusal::new(RefusalCode::Internal, error))?;
    let threads = available_parallelism().map_or(1, NonZero::get);
    let mut stream = Some(pieces);
    let sealed = sealing.run(threads, &mut rng, &mut |piece| {
        writer.write(&piece)?;
        if let Some(pieces) = &stream
            && pieces.blocking_send(piece).is_err()
        {
            // The connection broke: the spool gets the rest all the same.
            stream = None;
        }
        Ok(())
    })?;
    Ok(Arc::new(sealed.kept(writer.finish())))
}

fn joined(
    sealed: Result<Result<Arc<ReadyUpload>, SealError>, tokio::task::JoinError>,
) -> Result<Arc<ReadyUpload>, SealError> {
    let result = sealed.unwrap_or_else(|error| {
        tracing::error!(%error, "sealing an answer failed inside");
        Err(Refusal::from(RefusalCode::Internal).into())
    });
    if let Err(SealError::Body(error)) = &result {
        tracing::error!(%error, "an upload cannot be kept; is the disk full?");
    }
    result
}

/// Sends the header and the body's pieces as they come.
async fn stream(
    connection: &Connection,
    header: UploadHeader,
    first: Vec<u8>,
    mut rest: mpsc::Receiver<Vec<u8>>,
) -> Result<FrameSender, Broken> {
    let mut sender = connection.open_upload().await?;
    sender.send(&header, MAX_UPLOAD_HEADER_BYTES).await?;
    sender.write_body(first).await?;
    while let Some(piece) = rest.recv().await {
        sender.write_body(piece).await?;
    }
    Ok(sender)
}

/// Sends the trailer, and waits until the coordinator has received everything.
async fn deliver(mut sender: FrameSender, ready: &ReadyUpload) -> Result<(), Broken> {
    sender
        .send(&ready.trailer, MAX_UPLOAD_TRAILER_BYTES)
        .await?;
    Ok(sender.delivered().await?)
}

async fn stream_kept(connection: &Connection, ready: &Arc<ReadyUpload>) -> Result<(), Broken> {
    let (pieces, mut arriving) = mpsc::channel(AHEAD);
    let body = Arc::clone(ready);
    let reading: JoinHandle<io::Result<()>> = spawn_blocking(move || {
        body.for_each_chunk(&mut |piece| {
            let gone = |_| io::ErrorKind::BrokenPipe.into();
            pieces.blocking_send(piece.to_vec()).map_err(gone)
        })
    });
    let Some(first) = arriving.recv().await else {
        return Err(unread(reading.await));
    };
    let mut sender = stream(connection, ready.header, first, arriving).await?;
    match reading.await {
        Ok(Ok(())) => deliver(sender, ready).await,
        failed => {
            sender.reset(CloseCode::Shutdown);
            Err(unread(failed))
        }
    }
}

fn unread(reading: Result<io::Result<()>, tokio::task::JoinError>) -> Broken {
    match reading {
        Ok(Ok(())) => Broken::Spool(io::ErrorKind::UnexpectedEof.into()),
        Ok(Err(error)) => error.into(),
        Err(error) => Broken::Spool(io::Error::other(error)),
    }
}
