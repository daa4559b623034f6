//! The ledger over the network, for whom the access policy lets read it.
//!
//! The asker is told the checkpoint, and then asks for the tiles that it does not have: names, never
//! paths. Nothing of it has to be trusted by whoever reads: the checkpoint says what the tiles must be.

use std::sync::Arc;

use collegium_protocol::ledger::note::MAX_NOTE_BYTES;
use collegium_protocol::ledger::tile::TileName;
use collegium_protocol::ledger::{COSIGNED, LedgerError};
use collegium_protocol::limits::{
    MAX_ADMIN_RESPONSE_BYTES, MAX_TILE_REQUEST_BYTES, MAX_TILE_RESPONSE_BYTES,
};
use collegium_protocol::message::admin::AdminResponse;
use collegium_protocol::message::ledger::{TileRequest, TileResponse};
use collegium_protocol::quic::{CloseCode, FrameReceiver, FrameSender, QuicError};
use collegium_protocol::{Refusal, RefusalCode};
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::app::Context;
use crate::ledger::Ledger;
use crate::objects::open_file;
use crate::pieces;

/// Serves one reader until it has what it wants.
pub(crate) async fn serve(
    context: &Arc<Context>,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
) -> Result<(), QuicError> {
    let ledger = context.ledger.clone();
    let head = spawn_blocking(move || head(&ledger)).await;
    let head = match head {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => refused(&error),
        Err(error) => refused(&error),
    };
    sender.send(&head, MAX_ADMIN_RESPONSE_BYTES).await?;
    while let Some(TileRequest { tile }) = receiver.recv(MAX_TILE_REQUEST_BYTES).await? {
        // Shared with objects: as many files are open at once for all peers together.
        let Ok(_permit) = context.object_reads.acquire().await else {
            return Ok(());
        };
        let path = context.ledger.log().folder().path().join(tile.to_string());
        let opened = spawn_blocking(move || open_file(path)).await;
        let answer = match opened {
            Ok(Ok(Some((file, length)))) => {
                let found = TileResponse::Found { length };
                sender.send(&found, MAX_TILE_RESPONSE_BYTES).await?;
                if pieces::send(file, length, &mut sender).await? {
                    continue;
                }
                sender.reset(CloseCode::Refused);
                return Ok(());
            }
            Ok(Ok(None)) => TileResponse::Missing,
            Ok(Err(error)) => unreadable(tile, &error),
            Err(error) => unreadable(tile, &error),
        };
        sender.send(&answer, MAX_TILE_RESPONSE_BYTES).await?;
    }
    sender.delivered().await
}

/// The checkpoint over everything so far, and the cosigned one before it.
fn head(ledger: &Ledger) -> Result<AdminResponse, LedgerError> {
    // Read first, so that it is never over more than the checkpoint is.
    let cosigned = ledger
        .log()
        .folder()
        .file(COSIGNED, MAX_NOTE_BYTES as u64)?;
    let checkpoint = ledger.publish()?;
    Ok(AdminResponse::Ledger {
        checkpoint: checkpoint.to_text().into_bytes().into(),
        cosigned: cosigned.map(Into::into),
    })
}

fn refused(error: &dyn std::error::Error) -> AdminResponse {
    warn!(%error, "the ledger cannot be read for a peer");
    let why = "the ledger cannot be read; the coordinator's log says why";
    AdminResponse::Refused(Refusal::new(RefusalCode::Internal, why))
}

fn unreadable(tile: TileName, error: &dyn std::error::Error) -> TileResponse {
    warn!(%tile, %error, "a tile of the ledger cannot be read for a peer");
    let why = format_args!("{tile} cannot be read; the coordinator's log says why");
    TileResponse::Refused(Refusal::new(RefusalCode::Internal, why))
}
