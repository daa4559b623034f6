//! The dialling side. Nodes and people only dial out.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quinn::{ClientConfig, ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::limits::HANDSHAKE_TIMEOUT;
use super::server::GREETING;
use super::{Connection, QuicError, socket, tls};
use crate::pki::{AuthorityCertificate, Fingerprint, Peer, SERVER_NAME, TlsIdentity};

/// Dials the coordinator with a certificate.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
}

impl Client {
    /// A client that shows `identity` and trusts servers of `authority` alone.
    pub fn new(
        identity: &TlsIdentity,
        authority: &AuthorityCertificate,
    ) -> Result<Self, QuicError> {
        Ok(Self {
            config: tls::client_config(identity, authority)?,
        })
    }

    /// Connects to `address` (`host:port`). Returns only when the server has verified
    /// the certificate and admitted the connection; a refusal is an error that says why.
    pub async fn connect(&self, address: &str) -> Result<Connection, QuicError> {
        dial(&self.config, address).await
    }
}

/// Connects for joining: no certificate is shown, and the server is recognised by the
/// authority's fingerprint from the invitation.
pub async fn join(address: &str, authority: Fingerprint) -> Result<Connection, QuicError> {
    dial(&tls::joining_config(authority)?, address).await
}

async fn dial(config: &ClientConfig, address: &str) -> Result<Connection, QuicError> {
    let mut last = None;
    for remote in resolve(address).await? {
        match timeout(HANDSHAKE_TIMEOUT, dial_one(config, address, remote)).await {
            Ok(Ok(connection)) => return Ok(connection),
            // A server that answered and refused is the answer; other addresses of
            // the same name are tried only when nobody answered.
            Ok(Err(error)) if !error.is_transient() => return Err(error),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {
                last = Some(QuicError::NoAnswer {
                    address: address.to_owned(),
                });
            }
        }
    }
    Err(last.unwrap_or_else(|| QuicError::Resolve {
        address: address.to_owned(),
        reason: "the name has no address".to_owned(),
    }))
}

async fn resolve(address: &str) -> Result<Vec<SocketAddr>, QuicError> {
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .map_err(|error| QuicError::Resolve {
            address: address.to_owned(),
            reason: error.to_string(),
        })?
        .collect();
    // A UDP port where nobody listens costs a whole timeout, and a host name with both
    // kinds of address more often has a service on IPv4 alone than on IPv6 alone.
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(found)
}

async fn dial_one(
    config: &ClientConfig,
    address: &str,
    remote: SocketAddr,
) -> Result<Connection, QuicError> {
    let local: SocketAddr = if remote.is_ipv6() {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    };
    let failed = |source| QuicError::Socket {
        address: local,
        source,
    };
    let endpoint = Endpoint::new(
        EndpointConfig::default(),
        None,
        socket::bind(local).map_err(failed)?,
        Arc::new(TokioRuntime),
    )
    .map_err(failed)?;
    let connection = endpoint
        .connect_with(config.clone(), remote, SERVER_NAME)
        .map_err(|error| QuicError::cannot_start(address, &error))?
        .await
        .map_err(|error| QuicError::connecting(address, error))?;
    await_greeting(&connection, address).await?;
    let peer = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .and_then(|chain| chain.into_iter().next())
        .map(|certificate| Peer::from_der(&certificate))
        .transpose()?;
    Ok(Connection::new(connection, peer, Some(endpoint)))
}

async fn await_greeting(connection: &quinn::Connection, address: &str) -> Result<(), QuicError> {
    let failed = |error: ConnectionError| QuicError::connecting(address, error);
    let mut stream = connection.accept_uni().await.map_err(failed)?;
    let mut greeting = [0; GREETING.len()];
    match stream.read_exact(&mut greeting).await {
        Ok(()) if greeting == GREETING => Ok(()),
        Ok(()) => Err(QuicError::Version {
            address: address.to_owned(),
            greeting,
        }),
        Err(quinn::ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error))) => {
            Err(failed(error))
        }
        Err(_) => Err(QuicError::CutOff {
            what: "the greeting",
        }),
    }
}
