//! The secure sum's cryptography.
//!
//! **What it is for.** Every member of a consortium encrypts a vector of small integers under a
//! key it uses once; the coordinator adds the ciphertexts; enough members together release the
//! *sum of the keys*, which opens the sum of the vectors and nothing else.
//!
//! **In scope:** the ring and its noise ([`field`], [`ntt`], [`noise`], [`mask`]), encryption and
//! opening ([`glwe`], [`body`]), packing integers into coefficients ([`encode`]), sharing a key among a
//! committee ([`shamir`]), testing that it was shared well ([`degree`]), drawing a committee ([`committee`]), sealing a share to one member ([`seal`]),
//! hashes that add like ciphertexts, for verifying sums ([`linear`]), identities and signatures
//! ([`identity`]), hashing with domain separation ([`transcript`]), and the compiled-in
//! parameters and thresholds ([`params`]).
//!
//! **Out of scope:** sockets, clocks, storage, who may vote when. In particular nothing here stops
//! a coordinator from showing different members different sets of contributors: the vote before
//! release does, and it lives in `collegium-protocol`. `tests/secure_sum/mixing.rs` shows what happens
//! without it.
//!
//! **Where to start reading:** [`glwe`] (the scheme in four lines), then [`encode`].
//!
//! Randomness is always an argument (a [`rand_core::CryptoRng`]); [`randomness::os_rng`] makes the
//! one that daemons use. Secrets are wiped when dropped and have no `Debug`.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")
)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod body;
pub mod committee;
pub mod degree;
pub mod encode;
pub mod error;
pub mod field;
pub mod glwe;
mod hexbytes;
pub mod identity;
pub mod linear;
pub mod mask;
pub mod noise;
pub mod ntt;
pub mod params;
mod quadratic;
pub mod randomness;
pub mod seal;
pub mod shamir;
pub mod transcript;
mod words;
mod xof;

pub use body::{BodyCheck, BodySum};
pub use encode::{Packing, Segment, Shape};
pub use glwe::{Encryptor, MaskSeed, OneTimeKey, Opened, SummedKey, open, rebuilt_hash};
pub use identity::{IdentityKey, Signature, SigningIdentity};
pub use linear::{Challenge, LinearHash, LinearHasher};
pub use params::{ParamSet, Thresholds};
pub use randomness::os_rng;
pub use seal::{SealingPublic, SealingSecret};
pub use shamir::{DealtShare, KeyShare, SharePoint, ShareSum};
pub use transcript::{BodyHasher, Digest, Hasher, domain, hash};

pub use rand_core;
