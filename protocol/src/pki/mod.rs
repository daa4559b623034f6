//! The consortium's X.509 certificates: who may open a connection, and as whom.
//!
//! In scope: the consortium's own authority, certificates signed from requests made
//! at the site, roles and names inside certificates, key files, revocation by serial,
//! and the one-line invitation. Out of scope: the signatures that matter to privacy
//! (charter, votes, uploads) — those use Ed25519 identity keys pinned by the charter,
//! so a dishonest authority can shut members out but cannot impersonate them in a sum.
//!
//! Start reading at [`Authority`] (coordinator) and [`TlsKey`] (site).

mod authority;
mod certificate;
mod error;
mod fingerprint;
mod invite;
pub mod keyfile;
pub mod passphrase;
mod renewal;
mod revocation;
mod subject;

pub use authority::{Authority, CERTIFICATE_DAYS, IssuedCertificate, MAX_REQUEST, SERVER_NAME};
pub use certificate::{AuthorityCertificate, Peer, TlsIdentity, TlsKey, is_for};
pub use error::PkiError;
pub use fingerprint::Fingerprint;
pub use invite::{INVITE_DAYS, InviteCode, InviteSecret};
pub use renewal::{Exchange, HolderFiles, renew_at, wait_to_renew};
pub use revocation::{Revocations, Serial};
pub use subject::{Role, Subject};

use std::time::{Duration, SystemTime};

/// `now` plus `days` whole days.
fn days_after(now: SystemTime, days: u64) -> SystemTime {
    now + Duration::from_secs(days * 24 * 60 * 60)
}

/// Fills `out` from the operating system's generator through the TLS provider.
fn fill_random(out: &mut [u8]) -> Result<(), PkiError> {
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(out)
        .map_err(|_| PkiError::NoRandomness)
}
