//! The coordinator's ledger on the wire.
//!
//! Cosigning: it offers a checkpoint, and the member checks that the ledger grew out of what it saw before
//! ([`crate::ledger::witness`]). Reading: after [`crate::message::admin::AdminRequest::ReadLedger`] was
//! answered, any number of [`TileRequest`]s follow on the same stream, each answered by a
//! [`TileResponse`]; finishing the stream ends it.

use collegium_crypto::identity::Signature;
use collegium_crypto::transcript::Digest;
use serde::{Deserialize, Serialize};

use crate::codec::Blob;
use crate::ledger::tile::TileName;
use crate::refusal::Refusal;

/// A checkpoint of the coordinator's ledger, to be cosigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointOffer {
    /// Entries that the member cosigned last, as far as the coordinator knows.
    pub old: u64,
    /// The consistency proof from there, at most [`crate::ledger::tree::MAX_PROOF_HASHES`] hashes.
    pub proof: Vec<Digest>,
    /// The note with the coordinator's signature, at most
    /// [`crate::ledger::note::MAX_CHECKPOINT_BYTES`].
    pub note: Blob,
}

/// What a member says to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CosignReply {
    /// It cosigns.
    Cosigned {
        /// Entries under the checkpoint.
        size: u64,
        /// Seconds since 1970-01-01 UTC by the member's clock.
        time: u64,
        /// Over the time and the checkpoint, as C2SP's cosignatures have it.
        signature: Signature,
    },
    /// The proof begins elsewhere than at what the member cosigned last.
    Stale {
        /// Entries of that.
        size: u64,
    },
    /// It does not cosign; the member's own ledger has the reason.
    Refused(Refusal),
}

/// Asks for a tile. Cap: [`crate::limits::MAX_TILE_REQUEST_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TileRequest {
    /// Which one.
    pub tile: TileName,
}

/// The answer. The receiver trusts none of it: the checkpoint says what must come. Cap:
/// [`crate::limits::MAX_TILE_RESPONSE_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TileResponse {
    /// The tile has this many bytes, at most [`TileName::most_bytes`]; they follow the message as a raw
    /// body.
    Found {
        /// Bytes.
        length: u64,
    },
    /// There is no such tile. A partial one goes when it is full: ask for that.
    Missing,
    /// It cannot be read.
    Refused(Refusal),
}
