//! The node's certificate: renewed in time over the running connection, and by hand.

use std::path::Path;
use std::time::{Duration, SystemTime};

use collegium_protocol::pki::{HolderFiles, Peer, TlsIdentity, wait_to_renew};
use collegium_protocol::quic::{self, AdminClient, Connection, RotateError};

use crate::charter::address;
use crate::config::ConfigError;
use crate::keys::{KeyError, KeyFiles, NodeKeys};

/// Pause after a renewal that failed. There are weeks left; the coordinator's operator may be mending
/// something.
const TRY_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Why a certificate is not renewed by hand. The old one stays in use.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node's keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Files, the connection, or the coordinator.
    #[error(transparent)]
    Rotate(#[from] RotateError),
}

/// Waits until the certificate of `peer` is due, renews it over `connection`, and returns the new
/// pair, which is on the disk then. Failures are logged and tried again.
pub(crate) async fn in_time(files: HolderFiles, peer: Peer, connection: Connection) -> TlsIdentity {
    while let Some(wait) = wait_to_renew(&peer, SystemTime::now()) {
        tokio::time::sleep(wait).await;
    }
    let client = AdminClient::new(connection);
    loop {
        match quic::exchange(files.clone(), &client).await {
            Ok(identity) => return identity,
            Err(error) => {
                let left = peer.not_after.duration_since(SystemTime::now());
                let days_left = left.unwrap_or_default().as_secs() / (24 * 60 * 60);
                tracing::error!(%error, days_left, "the certificate could not be renewed; will try again");
            }
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Renews the certificate of the node in `state` now, whatever is left of it, with a new key. The old
/// certificate is taken away at once. A daemon that runs goes on with the new one.
///
/// # Errors
/// [`RenewError`].
pub async fn rotate(state: &Path) -> Result<Peer, RenewError> {
    let keys = NodeKeys::load(state)?;
    let address = address(state, &keys)?;
    let files = KeyFiles::of(state).holder();
    Ok(quic::rotate(files, &keys.authority, &address).await?)
}

/// What the certificate of the node in `state` says.
///
/// # Errors
/// [`RenewError::Keys`].
pub fn certificate(state: &Path) -> Result<Peer, RenewError> {
    Ok(NodeKeys::load(state)?.certificate)
}
