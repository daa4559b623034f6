//! Checkpoints, and signatures under them (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use collegium_crypto::identity::{IdentityKey, Signature, SigningIdentity};
use collegium_crypto::transcript::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes of a checkpoint with its signatures: a cosignature's line has 193 bytes, and there are at
/// most 1024 members, which makes 198 kB; rounded up.
pub const MAX_NOTE_BYTES: usize = 256 << 10;

/// Bytes of a checkpoint with nothing but the log's own signature: names of up to 91 bytes in two
/// lines, a number, 44 and 92 characters of base64; rounded up.
pub const MAX_CHECKPOINT_BYTES: usize = 512;

/// What a signature line begins with: an em dash.
const DASH: &str = "\u{2014} ";

/// Type of a log's own signature.
const ED25519: u8 = 1;

/// Type of a cosignature.
const COSIGNATURE: u8 = 4;

/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// Why a note is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It does not have the form of a checkpoint.
    #[error("it is no checkpoint: {0}")]
    Form(&'static str),
    /// It is another log's.
    #[error("it is a checkpoint of {found}, expected one of {expected}")]
    OtherLog {
        /// The name in it.
        found: String,
        /// The name that was looked for.
        expected: String,
    },
    /// The log's own signature is not under it.
    #[error("the signature of {0} is missing")]
    Unsigned(String),
    /// A signature does not hold.
    #[error("the signature of {0} does not hold: the checkpoint or the signature was changed")]
    Signature(String),
    /// A signature that nobody asked for.
    #[error("a signature of {0}, who is not known")]
    Unknown(String),
    /// Two signatures of one.
    #[error("two signatures of {0}")]
    Twice(String),
}

/// A log and the key that it signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    origin: String,
    key: IdentityKey,
}

impl LogKey {
    /// The coordinator's log; its key stands in the charter.
    #[must_use]
    pub fn coordinator(key: IdentityKey) -> Self {
        Self {
            origin: format!("collegium.ledger/coordinator/{key}"),
            key,
        }
    }

    /// The coordinator's log of this name: whoever trusts the name trusts the key in it.
    #[must_use]
    pub fn from_coordinator(origin: &str) -> Option<Self> {
        let key = origin.strip_prefix("collegium.ledger/coordinator/")?;
        let log = Self::coordinator(key.parse().ok()?);
        (log.origin == origin).then_some(log)
    }

    /// A member's own log; its identity key stands in the charter.
    #[must_use]
    pub fn node(key: IdentityKey) -> Self {
        Self {
            origin: format!("collegium.ledger/node/{key}"),
            key,
        }
    }

    /// The log's name: the first line of its checkpoints, and the name of its key.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &IdentityKey {
        &self.key
    }
}

/// The name under which a member cosigns.
#[must_use]
pub fn witness_name(key: &IdentityKey) -> String {
    format!("collegium.witness/{key}")
}

/// The state of a log: how many entries, and the root of their tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// What is signed: three lines.
    #[must_use]
    pub fn text(&self) -> String {
        let root = BASE64.encode(self.root.0);
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// Signs it as the log.
    #[must_use]
    pub fn sign(self, identity: &SigningIdentity) -> SignedCheckpoint {
        let signature = identity.sign_note(self.text().as_bytes());
        let own = NoteSignature {
            name: self.origin.clone(),
            id: key_id(&self.origin, ED25519, &identity.public()),
            bytes: signature.to_bytes().to_vec(),
        };
        SignedCheckpoint {
            checkpoint: self,
            signatures: vec![own],
        }
    }

    /// Cosigns it as a witness at `time`, in seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn cosign(&self, identity: &SigningIdentity, time: u64) -> Cosignature {
        Cosignature {
            time,
            signature: identity.sign_note(self.cosigned_text(time).as_bytes()),
        }
    }

    fn cosigned_text(&self, time: u64) -> String {
        format!("cosignature/v1\ntime {time}\n{}", self.text())
    }
}

/// A member's statement that, at a moment, this was the largest tree that it saw, and that it
/// holds every one that it saw before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosignature {
    /// Seconds since 1970-01-01 UTC by the member's clock.
    pub time: u64,
    /// Over the time and the checkpoint.
    pub signature: Signature,
}

impl Cosignature {
    /// Whether `key` cosigned `checkpoint`.
    #[must_use]
    pub fn holds(&self, key: &IdentityKey, checkpoint: &Checkpoint) -> bool {
        let text = checkpoint.cosigned_text(self.time);
        key.verify_note(text.as_bytes(), &self.signature).is_ok()
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.time.to_be_bytes().to_vec();
        bytes.extend(self.signature.to_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, signature) = bytes.split_first_chunk::<8>()?;
        let signature: [u8; SIGNATURE_BYTES] = signature.try_into().ok()?;
        Some(Self {
            time: u64::from_be_bytes(*time),
            signature: Signature::from_bytes(signature),
        })
    }
}

/// A line under a note.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl NoteSignature {
    fn is_of(&self, name: &str, kind: u8, key: &IdentityKey) -> bool {
        self.name == name && self.id == key_id(name, kind, key)
    }

    fn line(&self) -> String {
        let mut bytes = self.id.to_vec();
        bytes.extend(&self.bytes);
        format!("{DASH}{} {}\n", self.name, BASE64.encode(bytes))
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, text) = line.strip_prefix(DASH)?.split_once(' ')?;
        let odd = |c: char| c.is_whitespace() || c == '+' || c.is_control();
        if name.is_empty() || name.contains(odd) {
            return None;
        }
        let bytes = BASE64.decode(text).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        Some(Self {
            name: name.to_owned(),
            id: *id,
            bytes: bytes.to_vec(),
        })
    }
}

/// The first 4 bytes of SHA-256(name ‖ newline ‖ type ‖ key).
fn key_id(name: &str, kind: u8, key: &IdentityKey) -> [u8; 4] {
    let hash = Sha256::new_with_prefix(name)
        .chain_update([b'\n', kind])
        .chain_update(key.to_bytes())
        .finalize();
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash);
    [a, b, c, d]
}

/// A checkpoint with the signatures under it, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    signatures: Vec<NoteSignature>,
}

impl SignedCheckpoint {
    /// Reads a note. Only what [`Self::to_text`] writes is accepted: three lines, an empty one,
    /// signature lines.
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Form("it is too long"));
        }
        let text = str::from_utf8(bytes).map_err(|_| NoteError::Form("it is not text"))?;
        let (body, signatures) = text
            .split_once("\n\n")
            .ok_or(NoteError::Form("no empty line ends its text"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Form("its text has not three lines"));
        };
        let size = size
            .parse()
            .map_err(|_| NoteError::Form("its second line is no number of entries"))?;
        let root = BASE64.decode(root).ok().and_then(|it| it.try_into().ok());
        let root = root.ok_or(NoteError::Form("its third line is no hash"))?;
        let signatures = signatures
            .split_terminator('\n')
            .map(NoteSignature::parse)
            .collect::<Option<Vec<_>>>()
            .ok_or(NoteError::Form("a line under its text is no signature"))?;
        let note = Self {
            checkpoint: Checkpoint {
                origin: origin.to_owned(),
                size,
                root: Digest(root),
            },
            signatures,
        };
        if origin.is_empty() || note.to_text() != text {
            return Err(NoteError::Form("it is not written as checkpoints are"));
        }
        Ok(note)
    }

    /// The note.
    #[must_use]
    pub fn to_text(&self) -> String {
        let lines = self.signatures.iter().map(NoteSignature::line);
        format!("{}\n{}", self.checkpoint.text(), lines.collect::<String>())
    }

    /// The checkpoint, whoever signed it.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The same with the log's own signature only.
    #[must_use]
    pub fn without_cosignatures(&self) -> Self {
        let own = |it: &&NoteSignature| it.name == self.checkpoint.origin;
        Self {
            checkpoint: self.checkpoint.clone(),
            signatures: self.signatures.iter().filter(own).cloned().collect(),
        }
    }

    /// Adds a cosignature that the caller has checked; a second one of the same witness replaces
    /// the first.
    pub fn add(&mut self, key: &IdentityKey, cosignature: Cosignature) {
        let name = witness_name(key);
        self.signatures.retain(|other| other.name != name);
        self.signatures.push(NoteSignature {
            id: key_id(&name, COSIGNATURE, key),
            name,
            bytes: cosignature.to_bytes(),
        });
        // The log's own first; names of logs come before those of witnesses.
        self.signatures
            .sort_by(|left, right| left.name.cmp(&right.name));
    }

    /// Checks that the log signed it.
    ///
    /// # Errors
    /// [`NoteError`], when it is another log's or the signature is missing or false.
    pub fn check_log(&self, log: &LogKey) -> Result<(), NoteError> {
        let checkpoint = &self.checkpoint;
        if checkpoint.origin != log.origin {
            return Err(NoteError::OtherLog {
                found: checkpoint.origin.clone(),
                expected: log.origin.clone(),
            });
        }
        let own = |it: &&NoteSignature| it.is_of(&log.origin, ED25519, &log.key);
        let own = self.signatures.iter().find(own);
        let own = own.ok_or_else(|| NoteError::Unsigned(log.origin.clone()))?;
        let bytes: Option<[u8; SIGNATURE_BYTES]> = own.bytes.as_slice().try_into().ok();
        bytes
            .map(Signature::from_bytes)
            .filter(|it| {
                log.key
                    .verify_note(checkpoint.text().as_bytes(), it)
                    .is_ok()
            })
            .map(|_| ())
            .ok_or_else(|| NoteError::Signature(log.origin.clone()))
    }

    /// Checks every line under it: the log's own signature, and cosignatures of `witnesses`. Gives
    /// which of the witnesses cosigned, by their place in the list, with the time. A line of
    /// anybody else is an error: nothing in a ledger is there without a reason.
    ///
    /// # Errors
    /// [`NoteError`], naming the first line that is wrong.
    pub fn check_all(
        &self,
        log: &LogKey,
        witnesses: &[IdentityKey],
    ) -> Result<Vec<(usize, u64)>, NoteError> {
        self.check_log(log)?;
        let mut cosigned = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for line in &self.signatures {
            if !seen.insert(&line.name) {
                return Err(NoteError::Twice(line.name.clone()));
            }
            if line.is_of(&log.origin, ED25519, &log.key) {
                continue;
            }
            let of = |key: &IdentityKey| line.is_of(&witness_name(key), COSIGNATURE, key);
            let place = witnesses.iter().position(of);
            let place = place.ok_or_else(|| NoteError::Unknown(line.name.clone()))?;
            let cosignature = Cosignature::from_bytes(&line.bytes)
                .filter(|it| {
                    witnesses
                        .get(place)
                        .is_some_and(|key| it.holds(key, &self.checkpoint))
                })
                .ok_or_else(|| NoteError::Signature(line.name.clone()))?;
            cosigned.push((place, cosignature.time));
        }
        Ok(cosigned)
    }
}
