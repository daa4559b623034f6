//! Every cap, each with its arithmetic. Nothing that a peer sends is allocated before it was
//! compared with one of these.

use std::time::Duration;

use collegium_crypto::params::{self, Thresholds};
use collegium_crypto::seal;
use collegium_crypto::shamir;

/// Members of a consortium; the reasons stand in `collegium_crypto::params`.
pub const MAX_MEMBERS: usize = params::MAX_MEMBERS;

/// Seats of a committee. Smaller consortia are their own committee; of larger ones so many
/// members are drawn, because every dealer seals one share for each seat.
pub const MAX_COMMITTEE: usize = params::MAX_COMMITTEE;

/// Smallest consortium: with two members each learns the other's contribution from the sum.
pub const MIN_MEMBERS: usize = 3;

/// Bytes of a member's name: it must fit a certificate's common name (64) with a role before it.
pub const MAX_NAME_BYTES: usize = 40;

/// Bytes of a consortium's name or a member's legal contact, for people: a few lines.
pub const MAX_TEXT_BYTES: usize = 512;

/// Bytes of a parameter set's id, such as `collegium-glwe-n4096-q64-cbd80-v2` (33).
pub const MAX_PARAMS_ID_BYTES: usize = 64;

/// Bytes of an ask: the largest one lists 2^15 cells' edges of 512 columns as decimal text of about
/// 19 bytes (0.6 MB); model weights travel as objects, not inside the ask.
pub const MAX_ASK_BYTES: usize = 1 << 20;

/// Bytes of a task file: it is written by a person.
pub const MAX_TASK_BYTES: usize = 64 << 10;

/// Bytes of an object (weights, vocabulary, champion): 8 million parameters as f64 are 64 MB.
pub const MAX_OBJECT_BYTES: usize = 64 << 20;

/// Ring coefficients of one upload: the noise bound's failure probability (2^-60) is stated over
/// 2^24 coefficients, so more may not be opened in one step.
pub const MAX_COEFFICIENTS: usize = 1 << 24;

/// Bytes of one upload's body: 8 bytes for each of [`MAX_COEFFICIENTS`] (128 MiB).
pub const MAX_BODY_BYTES: u64 = 8 * MAX_COEFFICIENTS as u64;

/// Bytes written at once when a body is streamed: large enough to keep a path busy, small enough
/// that 1024 members sending together buffer 64 MiB.
pub const BODY_CHUNK_BYTES: usize = 64 << 10;

/// Bytes of one key share or of a sum of them: 4096 coefficients of 8 bytes.
pub const SHARE_BYTES: usize = shamir::SHARE_BYTES;

/// Bytes of one share that is sealed whole: X-Wing encapsulation (1120) + share (32768) + AEAD
/// tag (16).
pub const SEALED_SHARE_BYTES: usize = seal::OVERHEAD + SHARE_BYTES;

/// Bytes of one share that is sealed as the seed it expands from: 1120 + 32 + 16.
pub const SEALED_SEED_BYTES: usize = seal::OVERHEAD + shamir::SEED_BYTES;

/// What the codec adds to a byte string: its length as a varint (at most 9 bytes).
const LENGTH_BYTES: usize = 9;

/// Bytes of all the sealed shares of one upload: t - 1 seats get a seed, the others their share
/// whole. For 96 seats that is 64 x 1168 + 32 x 33904 = 1 159 680.
#[must_use]
pub const fn sealed_shares_bytes(thresholds: &Thresholds) -> usize {
    let seeded = thresholds.threshold - 1;
    seeded * SEALED_SEED_BYTES + (thresholds.committee - seeded) * SEALED_SHARE_BYTES
}

/// One upload header: context digest (32 + 9), member (3), length (9), rounded up.
pub const MAX_UPLOAD_HEADER_BYTES: usize = 128;

/// One upload trailer: a sealed share with its seat (3) and length (9) for each of 96 seats, 32
/// of them whole and 64 as seeds (the largest committee has the most of both), and a signature
/// (32 x (33904 + 12) + 64 x (1168 + 12) + 64 + 18 = 1 160 914).
pub const MAX_UPLOAD_TRAILER_BYTES: usize = {
    let seeded = 2 * MAX_COMMITTEE / 3;
    let whole = MAX_COMMITTEE - seeded;
    whole * (SEALED_SHARE_BYTES + LENGTH_BYTES + 3)
        + seeded * (SEALED_SEED_BYTES + LENGTH_BYTES + 3)
        + 64
        + 2 * LENGTH_BYTES
};

/// One message from a node: the largest is a release (32 KiB share sum, a run id, digests,
/// a signature), rounded up.
pub const MAX_TO_COORDINATOR_BYTES: usize = SHARE_BYTES + 4096;

/// One message to a node: the largest is the charter ([`MAX_CHARTER_BYTES`] and a tag). An
/// announcement (ask of 1 MiB, context, signature), a proposal (1024 entries of 131 bytes), a
/// delivery (34 KiB share, 96 leaves of 32 bytes) and a checkpoint of the ledger (65 hashes of a
/// proof, a note of 512 bytes) are smaller.
pub const MAX_TO_NODE_BYTES: usize = MAX_CHARTER_BYTES + 64;

/// One request for an object: its digest.
pub const MAX_OBJECT_REQUEST_BYTES: usize = 64;

/// The answer's head: the object's length, or a refusal. The object follows as a raw body of at
/// most [`MAX_OBJECT_BYTES`], or [`MAX_EVIDENCE_BYTES`] if it is evidence.
pub const MAX_OBJECT_RESPONSE_BYTES: usize = 4096;

/// One request for a tile of the ledger: a path of at most 50 bytes (`tile/entries/`, seven groups of
/// five characters, `.p/255`), rounded up.
pub const MAX_TILE_REQUEST_BYTES: usize = 64;

/// The answer's head: the tile's length, or a refusal. The tile follows as a raw body of at most
/// [`crate::ledger::tile::MAX_ENTRIES_BYTES`].
pub const MAX_TILE_RESPONSE_BYTES: usize = 4096;

/// A signed charter: 1024 x (sealing key 1216 + identity 32 + commitment 32 + signature 64 +
/// reveal 33 + name 41 + contact 515 + indices 6 = 1939) is 1.94 MB, rounded up.
pub const MAX_CHARTER_BYTES: usize = 2 << 20;

/// A signed charter as text for people: 1024 x (keys, digests and signature in hexadecimal 2754
/// + name 40 + a contact of 512 that may need escapes 1024 + field names and quotes 250) is
///   4.2 MB, rounded up.
pub const MAX_CHARTER_TEXT_BYTES: usize = 5 << 20;

/// Bytes of a refusal's detail: one line for a log.
pub const MAX_DETAIL_BYTES: usize = 300;

/// A node's durable record: the largest is a vote with its share sum (32 KiB) and 1024
/// indices of 3 bytes.
pub const MAX_NODE_RECORD_BYTES: usize = SHARE_BYTES + 8192;

/// The coordinator's durable record of a step: ask (1 MiB), shape (65 536 segments of at most 18
/// bytes), proposal (1024 x 131 bytes) and certificate (96 x 67 bytes).
pub const MAX_RUN_RECORD_BYTES: usize = MAX_ASK_BYTES + 65_536 * 18 + (256 << 10);

/// What a step's evidence states beside the phases: shape (65 536 segments of at most 18 bytes),
/// proposal (1024 x 131 bytes), certificate (96 x 67), the contributors' hashes (1024 x 230 bytes),
/// key (32 KiB) and context are 1.6 MB, rounded up.
pub const MAX_STATEMENTS_BYTES: usize = 2 << 20;

/// A step's evidence: what is stated, and 8 bytes for each coefficient.
pub const MAX_EVIDENCE_BYTES: usize = 4 + MAX_STATEMENTS_BYTES + MAX_BODY_BYTES as usize;

/// Different contributing sets a member lets through in one run. Sums with and without a site
/// differ by about that site, so changes of the cohort are counted (secure-sum.md allows 8).
pub const MAX_COHORT_CHANGES: usize = 8;

/// How long the coordinator waits for a connected member once enough others are in.
pub const STRAGGLER_WAIT: Duration = Duration::from_secs(30);

/// How long a step may take from its announcement until its minimum of uploads is in: training
/// on a large site takes minutes.
pub const UPLOAD_WAIT: Duration = Duration::from_secs(600);

/// How long a proposed step may take to gather its votes: a vote is one signature and one disk
/// sync away; a member that restarts needs some seconds.
pub const VOTE_WAIT: Duration = Duration::from_secs(60);

/// How long a certified step waits for one more release before its round is closed without it.
/// Seats that are only away for a while should be back by then; after it, what keeps the step from
/// opening is a seat that voted and withholds its release, or one that was dealt a bad share while
/// it was away and has nothing to release.
pub const RELEASE_WAIT: Duration = Duration::from_secs(3600);

/// Sums of fewer coefficients are short: two polynomials. A seat that knows which t releases will be
/// used can choose a false one so that the 4096 coefficients of one polynomial come out as it
/// wishes, noise in bound. To reach a whole second polynomial as well it would have to solve a
/// lattice problem of dimension 8192 (docs/parameters.md).
pub const SHORT_SUM: usize = 2 * 4096;

/// How often one ask may be put again, as a new step, before its run ends with an error.
pub const MAX_ATTEMPTS: u32 = 8;

/// One join request: certificate request (4096), sealing key (1216), identity key (32),
/// commitment (32), signature (64), name (40), contact (512), secret (16) and lengths, rounded
/// up.
pub const MAX_JOIN_REQUEST_BYTES: usize = 8 << 10;

/// One answer to it: two certificates of about 1 KiB in PEM, and the consortium's name (512).
pub const MAX_JOIN_RESPONSE_BYTES: usize = 16 << 10;

/// One administrative request: the largest is a task file (64 KiB); 1024 member names of
/// 41 bytes are 42 KB.
pub const MAX_ADMIN_REQUEST_BYTES: usize = MAX_TASK_BYTES + 4096;

/// One administrative answer: the largest is the charter with the names of those who have yet
/// to sign it (1024 x 41 bytes). 1024 members (650 bytes each) and a result with the champion's
/// description as JSON (a few hundred features of about 1 KiB) are smaller.
pub const MAX_ADMIN_RESPONSE_BYTES: usize = MAX_CHARTER_BYTES + (64 << 10);
