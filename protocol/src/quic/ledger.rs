//! Reading the coordinator's ledger over the network.

use super::{AdminError, FrameReceiver, FrameSender};
use crate::ledger::tile::TileName;
use crate::limits::{MAX_TILE_REQUEST_BYTES, MAX_TILE_RESPONSE_BYTES};
use crate::message::ledger::{TileRequest, TileResponse};

/// A conversation about the ledger as it was when it began ([`super::AdminClient::ledger`]).
#[derive(Debug)]
pub struct LedgerReader {
    sender: FrameSender,
    receiver: FrameReceiver,
    checkpoint: Vec<u8>,
    cosigned: Option<Vec<u8>>,
}

impl LedgerReader {
    pub(super) fn new(
        (sender, receiver): (FrameSender, FrameReceiver),
        checkpoint: Vec<u8>,
        cosigned: Option<Vec<u8>>,
    ) -> Self {
        Self {
            sender,
            receiver,
            checkpoint,
            cosigned,
        }
    }

    /// The checkpoint's note, unchecked.
    pub fn checkpoint(&self) -> &[u8] {
        &self.checkpoint
    }

    /// The note of the last checkpoint that members cosigned, unchecked.
    pub fn cosigned(&self) -> Option<&[u8]> {
        self.cosigned.as_deref()
    }

    /// The bytes of a tile, unchecked: perhaps of the full one, when a partial one was asked for that is
    /// full by now. `None` when the coordinator has neither.
    pub async fn tile(&mut self, name: TileName) -> Result<Option<Vec<u8>>, AdminError> {
        match self.exactly(name).await? {
            None if !name.is_full() => self.exactly(name.full()).await,
            found => Ok(found),
        }
    }

    async fn exactly(&mut self, tile: TileName) -> Result<Option<Vec<u8>>, AdminError> {
        let request = TileRequest { tile };
        self.sender.send(&request, MAX_TILE_REQUEST_BYTES).await?;
        match self.receiver.expect(MAX_TILE_RESPONSE_BYTES).await? {
            TileResponse::Found { length } => {
                let most = tile.most_bytes() as u64;
                Ok(Some(self.receiver.read_body(length, most).await?))
            }
            TileResponse::Missing => Ok(None),
            TileResponse::Refused(refusal) => Err(AdminError::Refused(refusal)),
        }
    }
}
