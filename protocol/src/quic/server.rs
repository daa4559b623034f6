//! The listening side.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::HandshakeData;
use quinn::{Endpoint, Incoming, TokioRuntime};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::limits::{ACCEPT_QUEUE, HANDSHAKE_TIMEOUT, MAX_HANDSHAKES, MAX_JOINING};
use super::tls::{self, ALPN_JOIN, ALPN_MEMBER};
use super::{CloseCode, Connection, QuicError, reset, socket};
use crate::pki::{AuthorityCertificate, Peer, Revocations, TlsIdentity};

/// First bytes that the server sends on a new connection, as a unidirectional stream:
/// a TLS 1.3 client believes the handshake done before the server has verified its
/// certificate, so without this a refusal would surface later, in some other place.
pub(super) const GREETING: [u8; 4] = *b"CLG1";

/// What a server needs.
#[derive(Debug)]
pub struct ServerConfig {
    /// Where to listen. Port 0 lets the operating system choose one.
    pub listen: SocketAddr,
    /// The coordinator's certificate and key.
    pub identity: TlsIdentity,
    /// The consortium's authority.
    pub authority: AuthorityCertificate,
    /// Revoked serials; the caller keeps a clone to add to.
    pub revocations: Revocations,
}

/// A connection that passed the handshake.
#[derive(Debug)]
pub enum Accepted {
    /// The peer showed a valid certificate: `connection.peer()` is `Some`.
    Known(Connection),
    /// The peer has no certificate yet and may do one thing: join.
    Joining(Connection),
}

/// A listening endpoint.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    authority: AuthorityCertificate,
    revocations: Revocations,
    address: SocketAddr,
    accepted: Mutex<mpsc::Receiver<Accepted>>,
    listener: AbortHandle,
}

impl Server {
    /// Opens the port and begins to accept. Must be called inside a tokio runtime.
    pub fn bind(config: ServerConfig) -> Result<Self, QuicError> {
        let tls = tls::server_config(
            &config.identity,
            &config.authority,
            config.revocations.clone(),
        )?;
        let failed = |source: std::io::Error| match source.kind() {
            ErrorKind::AddrInUse => QuicError::PortInUse {
                address: config.listen,
            },
            _ => QuicError::Socket {
                address: config.listen,
                source,
            },
        };
        let socket = socket::bind(config.listen).map_err(failed)?;
        let endpoint = Endpoint::new(
            reset::endpoint_config(&config.identity.key()),
            Some(tls),
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(failed)?;
        let address = endpoint.local_addr().map_err(failed)?;
        let (sender, receiver) = mpsc::channel(ACCEPT_QUEUE);
        let revocations = config.revocations;
        let listener = tokio::spawn(listen(endpoint.clone(), revocations.clone(), sender));
        Ok(Self {
            endpoint,
            authority: config.authority,
            revocations,
            address,
            accepted: Mutex::new(receiver),
            listener: listener.abort_handle(),
        })
    }

    /// Shows another certificate to whoever connects from now on; open connections keep theirs. For a
    /// certificate that is renewed with the same key: what tells peers of a crash is keyed by it.
    pub fn set_identity(&self, identity: &TlsIdentity) -> Result<(), QuicError> {
        let tls = tls::server_config(identity, &self.authority, self.revocations.clone())?;
        self.endpoint.set_server_config(Some(tls));
        Ok(())
    }

    /// Where the server listens, with the port that was really chosen.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection that passed its handshake; `None` after [`close`](Self::close).
    /// Cancel-safe.
    pub async fn accept(&self) -> Option<Accepted> {
        self.accepted.lock().await.recv().await
    }

    /// Accepts nobody any more and closes every connection.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.endpoint.close(code.to_varint(), reason.as_bytes());
    }

    /// Waits until every connection's end was told to its peer.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(endpoint: Endpoint, revocations: Revocations, accepted: mpsc::Sender<Accepted>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let door = Door {
        revocations,
        joining: Arc::new(Semaphore::new(MAX_JOINING)),
    };
    while let Some(incoming) = endpoint.accept().await {
        let remote = incoming.remote_address();
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            warn!(%remote, "too many handshakes at once, connection turned away");
            incoming.refuse();
            continue;
        };
        // Under load, a peer proves first that it can receive at the address it names.
        if handshakes.available_permits() < MAX_HANDSHAKES / 2
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            if let Err(error) = incoming.retry() {
                debug!(%remote, %error, "retry not possible");
            }
            continue;
        }
        let accepted = accepted.clone();
        let door = door.clone();
        tokio::spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, admit(incoming, &door)).await {
                Ok(Ok(connection)) => {
                    drop(permit);
                    // The receiver is gone only when the server is.
                    let _ = accepted.send(connection).await;
                }
                Ok(Err(error)) => warn!(%remote, %error, "connection refused"),
                Err(_) => debug!(%remote, "handshake not finished in time"),
            }
        });
    }
}

/// Who may come in.
#[derive(Clone)]
struct Door {
    revocations: Revocations,
    /// Places for connections without a certificate.
    joining: Arc<Semaphore>,
}

/// Finishes the handshake and decides what the connection may be used for.
async fn admit(incoming: Incoming, door: &Door) -> Result<Accepted, QuicError> {
    let connection = incoming.accept()?.await?;
    let protocol = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    let certificate = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .and_then(|chain| chain.into_iter().next());
    match (protocol.as_deref(), certificate) {
        (Some(ALPN_MEMBER), Some(certificate)) => {
            let peer = Peer::from_der(&certificate)?;
            if door.revocations.is_revoked(&peer.serial) {
                return Err(refuse(
                    &connection,
                    CloseCode::Revoked,
                    "certificate revoked",
                ));
            }
            greet(&connection).await?;
            Ok(Accepted::Known(Connection::new(
                connection,
                Some(peer),
                None,
            )))
        }
        (Some(ALPN_JOIN), None) => {
            let Ok(place) = Arc::clone(&door.joining).try_acquire_owned() else {
                let why = "too many sites join at this moment; try again in a minute";
                return Err(refuse(&connection, CloseCode::Busy, why));
            };
            greet(&connection).await?;
            Ok(Accepted::Joining(Connection::joining(connection, place)))
        }
        (Some(ALPN_MEMBER), None) => Err(refuse(
            &connection,
            CloseCode::NoCertificate,
            "a client certificate is required; without one only joining is possible",
        )),
        _ => Err(refuse(
            &connection,
            CloseCode::Protocol,
            "a certificate holder does not join",
        )),
    }
}

async fn greet(connection: &quinn::Connection) -> Result<(), QuicError> {
    let mut stream = connection.open_uni().await?;
    stream.write_all(&GREETING).await?;
    // The stream was just opened, so it cannot be closed already.
    let _ = stream.finish();
    Ok(())
}

fn refuse(connection: &quinn::Connection, code: CloseCode, reason: &str) -> QuicError {
    connection.close(code.to_varint(), reason.as_bytes());
    QuicError::Closed {
        code,
        reason: reason.to_owned(),
    }
}
