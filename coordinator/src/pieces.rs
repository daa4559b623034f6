//! Files on their way to a peer, a few pieces in memory at a time.

use std::fs::File;
use std::io::Read;

use collegium_protocol::quic::{FrameSender, QuicError};
use tokio::sync::mpsc;
use tracing::warn;

use crate::evidence::PIECE;

/// Pieces of a file that are read ahead of the network: 256 KiB.
const PIECES_AHEAD: usize = 4;

/// Sends the first `length` bytes of a file as a raw body; whether they could be read to their end. The
/// stream stays open.
pub(crate) async fn send(
    file: File,
    length: u64,
    sender: &mut FrameSender,
) -> Result<bool, QuicError> {
    let (pieces, mut coming) = mpsc::channel(PIECES_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read(file, length, &pieces));
    while let Some(piece) = coming.recv().await {
        sender.write_body(piece).await?;
    }
    match reading.await.map_err(std::io::Error::other) {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) | Err(error) => {
            warn!(%error, "a file cannot be read to its end");
            Ok(false)
        }
    }
}

/// Reads to the end, or until nobody takes the pieces.
fn read(file: File, length: u64, pieces: &mpsc::Sender<Vec<u8>>) -> std::io::Result<()> {
    let mut rest = file.take(length);
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        rest.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return match rest.limit() {
                0 => Ok(()),
                missing => Err(std::io::Error::other(format!(
                    "{missing} bytes are missing"
                ))),
            };
        }
        if pieces.blocking_send(piece).is_err() {
            return Ok(());
        }
    }
}
