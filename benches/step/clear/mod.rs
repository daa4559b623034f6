//! What the encrypted step is compared with: the same asks, round trips, records, ledger entries,
//! syncs, streams and journal, over the daemons' own QUIC, store, ledger and spool, with values as
//! `f32` in clear. No keys, shares, signatures of messages, hashes or openings, no evidence
//! afterwards. It is part of this program alone.

pub mod coordinator;
pub mod node;

use collegium_protocol::codec::Blob;
use serde::{Deserialize, Serialize};

/// Bytes of the records that a vote and a release leave, about: a set of four signed entries.
pub const RECORD: usize = 800;

/// From the coordinator, on the control stream.
#[derive(Serialize, Deserialize)]
pub enum Down {
    Announce { step: u64, ask: Blob },
    Deliver { dealer: u16 },
    Propose(Blob),
    Certificate(Blob),
}

/// From a node, on the control stream.
#[derive(Serialize, Deserialize)]
pub enum Up {
    Verdict { dealer: u16 },
    Vote(Blob),
    Release(Blob),
}

/// Bytes of a message of the size that the real one has.
pub fn filler(bytes: usize) -> Blob {
    Blob(vec![7; bytes])
}

/// Values as they are sent and stored: four bytes each, little-endian.
pub fn bytes_of(values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * 4];
    for (place, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
    bytes
}
