//! What the parties of a consortium say to each other, and the rules by which they answer.
//!
//! # In scope
//!
//! - [`ids`], [`limits`], [`codec`], [`domain`]: names, caps, the one place that knows the wire
//!   encoding, and the strings that keep signatures of one kind from passing as another;
//! - [`charter`]: the signed list of members, keys and thresholds, the root of trust;
//! - [`context`]: what a step is about, and the digest every signature of the step covers;
//! - [`message`]: every message, with its cap;
//! - [`ledger`]: the log that both daemons write, and all that is needed to check a copy of it;
//! - [`moment`]: times as people write them;
//! - [`refusal`]: reasons a peer may see, with stable codes;
//! - [`step`]: the three step machines, contributor, committee member and aggregator, without
//!   I/O, clock or hidden randomness: **start reading there**;
//! - [`policy`]: who may do what, in Cedar: loading, checking against a schema, deciding;
//! - [`quic`] and [`pki`]: the only modules that know sockets and certificates.
//!
//! # Out of scope
//!
//! What an ask means (it travels as opaque bytes), the cryptography (`collegium-crypto`), storage
//! (but for the ledger, which is one format for all) and scheduling (the daemons).
#![cfg_attr(
    test,
    expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")
)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod charter;
pub mod codec;
pub mod context;
pub mod domain;
pub mod ids;
pub mod ledger;
pub mod limits;
pub mod message;
pub mod moment;
pub mod pki;
pub mod policy;
pub mod quic;
pub mod refusal;
pub mod step;

pub use collegium_crypto::identity::{IdentityKey, Signature};
pub use collegium_crypto::transcript::Digest;

pub use charter::{Charter, SignedCharter, VerifiedCharter};
pub use codec::{Blob, CodecError};
pub use context::StepContext;
pub use ids::{ConsortiumId, MemberIndex, MemberName, ProcessId, RunId, StepNumber};
pub use refusal::{Refusal, RefusalCode};
