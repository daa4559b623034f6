//! The proof that one entry is in a ledger, as a file of its own
//! ([tlog-proof](https://c2sp.org/tlog-proof)): whoever has the charter can check it, without the
//! ledger and without the coordinator. Its `extra` line carries the entry itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use collegium_crypto::identity::IdentityKey;
use collegium_crypto::transcript::Digest;
use serde_json::Value;

use super::note::{LogKey, MAX_NOTE_BYTES, NoteError, SignedCheckpoint};
use super::tree::{MAX_PROOF_HASHES, check_inclusion, leaf_hash};
use super::{MAX_ENTRY_BYTES, entry};

/// The first line.
const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// Bytes of a proof: an entry in base64, 65 lines of 45 bytes, a note, rounded up.
pub const MAX_PROOF_BYTES: usize = 2 * MAX_ENTRY_BYTES + 45 * MAX_PROOF_HASHES + MAX_NOTE_BYTES;

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It does not have the form of a proof.
    #[error("it is no proof of an entry: {0}")]
    Form(&'static str),
    /// The checkpoint in it.
    #[error("its checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The hashes do not lead from the entry to the root.
    #[error(
        "entry {index} is not in the ledger of {size} entries: the entry or the proof was changed"
    )]
    NotThere {
        /// The entry.
        index: u64,
        /// Entries under the checkpoint.
        size: u64,
    },
    /// The entry has no form.
    #[error("its entry is {0}")]
    Entry(String),
}

/// One entry's proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Which entry, from 0.
    pub index: u64,
    /// The entry.
    pub entry: Vec<u8>,
    /// From its sibling to the child of the root.
    pub hashes: Vec<Digest>,
    /// The checkpoint whose tree it is in.
    pub note: SignedCheckpoint,
}

/// What a proof shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Proved {
    /// The entry.
    pub entry: Value,
    /// Which members cosigned the checkpoint (places in the list of witnesses), and when, in
    /// seconds since 1970-01-01 UTC.
    pub cosigned: Vec<(usize, u64)>,
}

impl Proof {
    /// The file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let hashes = self.hashes.iter().map(|hash| BASE64.encode(hash.0) + "\n");
        format!(
            "{HEAD}\nextra {}\nindex {}\n{}\n{}",
            BASE64.encode(&self.entry),
            self.index,
            hashes.collect::<String>(),
            self.note.to_text()
        )
    }

    /// Reads a file as [`Self::to_text`] writes it. Nothing is checked yet.
    ///
    /// # Errors
    /// [`ProofError::Form`] and [`ProofError::Note`].
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        if text.len() > MAX_PROOF_BYTES {
            return Err(ProofError::Form("it is too long"));
        }
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(ProofError::Form("no empty line ends its hashes"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEAD) {
            return Err(ProofError::Form("its first line is another"));
        }
        let mut field = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.strip_prefix(' '))
        };
        let entry = field("extra").and_then(|text| BASE64.decode(text).ok());
        let entry = entry.ok_or(ProofError::Form("the entry (extra) is missing"))?;
        let index = field("index").and_then(|text| text.parse().ok());
        let index = index.ok_or(ProofError::Form("the entry's number (index) is missing"))?;
        let hash = |line| Some(Digest(BASE64.decode(line).ok()?.try_into().ok()?));
        let hashes: Option<Vec<_>> = lines.map(hash).collect();
        let proof = Self {
            index,
            entry,
            hashes: hashes.ok_or(ProofError::Form("a line is no hash"))?,
            note: SignedCheckpoint::parse(note.as_bytes())?,
        };
        if proof.to_text() != text {
            return Err(ProofError::Form("it is not written as proofs are"));
        }
        Ok(proof)
    }

    /// Checks it against the keys that the charter names.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn check(&self, log: &LogKey, witnesses: &[IdentityKey]) -> Result<Proved, ProofError> {
        let cosigned = self.note.check_all(log, witnesses)?;
        let checkpoint = self.note.checkpoint();
        let (index, size) = (self.index, checkpoint.size);
        let leaf = leaf_hash(&self.entry);
        if !check_inclusion(&self.hashes, leaf, index, size, &checkpoint.root) {
            return Err(ProofError::NotThere { index, size });
        }
        let entry = entry::parse(&self.entry).map_err(ProofError::Entry)?;
        Ok(Proved { entry, cosigned })
    }
}
