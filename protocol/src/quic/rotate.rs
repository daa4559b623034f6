//! A holder's new key and certificate, over its own connection.

use super::{AdminClient, AdminError, Client, QuicError};
use crate::pki::{AuthorityCertificate, HolderFiles, Peer, PkiError, TlsIdentity};

/// Why a certificate is not renewed. The old one stays in use.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// Files, or a certificate that is not what was asked for.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The connection.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The coordinator.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A fault inside.
    #[error("the renewal failed inside: {0}; please report this")]
    Broken(String),
}

/// Makes a new key, has the coordinator certify it, and puts both in place of the old pair. The old
/// certificate counts until the new one is first used.
///
/// # Errors
/// [`RotateError`].
pub async fn exchange(
    files: HolderFiles,
    client: &AdminClient,
) -> Result<TlsIdentity, RotateError> {
    let broken = |error: tokio::task::JoinError| RotateError::Broken(error.to_string());
    // Locks and disks take their time.
    let begun = tokio::task::spawn_blocking(move || files.exchange());
    let exchange = begun.await.map_err(broken)??;
    let certificate = client.renew_certificate(exchange.request()?).await?;
    let finished = tokio::task::spawn_blocking(move || exchange.finish(&certificate));
    Ok(finished.await.map_err(broken)??)
}

/// [`exchange`], and one connection with the new certificate, which takes the old one away: connections
/// that are open with it are closed, and it is refused from then on.
///
/// # Errors
/// [`RotateError`].
pub async fn rotate(
    files: HolderFiles,
    authority: &AuthorityCertificate,
    address: &str,
) -> Result<Peer, RotateError> {
    let client = AdminClient::connect(&Client::new(&files.load()?, authority)?, address).await?;
    let identity = exchange(files, &client).await?;
    client.finish().await;
    let renewed = Client::new(&identity, authority)?;
    // An answer shows that the coordinator has served the connection.
    let client = AdminClient::connect(&renewed, address).await?;
    client.members().await?;
    client.finish().await;
    Ok(identity.peer().clone())
}
