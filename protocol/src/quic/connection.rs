//! One connection: who is on the other side, and its streams.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{CloseCode, FrameReceiver, FrameSender, QuicError};
use crate::Digest;
use crate::limits::{MAX_OBJECT_REQUEST_BYTES, MAX_OBJECT_RESPONSE_BYTES};
use crate::message::session::{ObjectRequest, ObjectResponse};
use crate::pki::Peer;
use crate::refusal::Refusal;

/// What a bidirectional stream is for: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// A node's control stream: one per connection, lives as long as it.
    Control,
    /// One object fetched by its hash.
    Object,
    /// One conversation with an operator, user or node client.
    Admin,
    /// One join request.
    Join,
    /// One request of a person for a certificate.
    Enroll,
}

impl StreamKind {
    fn number(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Object => 2,
            Self::Admin => 3,
            Self::Join => 4,
            Self::Enroll => 5,
        }
    }

    fn from_number(number: u8) -> Result<Self, QuicError> {
        match number {
            1 => Ok(Self::Control),
            2 => Ok(Self::Object),
            3 => Ok(Self::Admin),
            4 => Ok(Self::Join),
            5 => Ok(Self::Enroll),
            other => Err(QuicError::UnknownStream(other)),
        }
    }
}

/// An open connection. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: quinn::Connection,
    peer: Option<Arc<Peer>>,
    /// Keeps a client's socket open as long as its connection is used.
    _endpoint: Option<quinn::Endpoint>,
    /// A joining connection's place among those that may be open, freed with the last handle.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Connection {
    pub(super) fn new(
        inner: quinn::Connection,
        peer: Option<Peer>,
        endpoint: Option<quinn::Endpoint>,
    ) -> Self {
        Self {
            inner,
            peer: peer.map(Arc::new),
            _endpoint: endpoint,
            _place: None,
        }
    }

    pub(super) fn joining(inner: quinn::Connection, place: OwnedSemaphorePermit) -> Self {
        Self {
            _place: Some(Arc::new(place)),
            ..Self::new(inner, None, None)
        }
    }

    /// The peer's verified certificate. `None` only on the server's side of a joining
    /// connection.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_deref()
    }

    /// The peer's address, as it is now (QUIC connections survive address changes).
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// UDP payload bytes sent on this connection.
    pub fn bytes_sent(&self) -> u64 {
        self.inner.stats().udp_tx.bytes
    }

    /// UDP payload bytes received on this connection.
    pub fn bytes_received(&self) -> u64 {
        self.inner.stats().udp_rx.bytes
    }

    /// UDP packets received on this connection; a peer that is there acknowledges what it is sent.
    pub fn packets_received(&self) -> u64 {
        self.inner.stats().udp_rx.datagrams
    }

    /// A number that tells this connection from every other of this process.
    pub fn id(&self) -> usize {
        self.inner.stable_id()
    }

    /// Opens a bidirectional stream.
    pub async fn open(&self, kind: StreamKind) -> Result<(FrameSender, FrameReceiver), QuicError> {
        let (send, receive) = self.inner.open_bi().await?;
        let mut sender = FrameSender::new(send);
        sender.write_kind(kind.number()).await?;
        Ok((sender, FrameReceiver::new(receive)))
    }

    /// Waits for the peer to open a bidirectional stream. Cancel-safe.
    pub async fn accept(&self) -> Result<ArrivingStream, QuicError> {
        let (send, receive) = self.inner.accept_bi().await?;
        Ok(ArrivingStream { send, receive })
    }

    /// Opens a unidirectional stream for an upload.
    pub async fn open_upload(&self) -> Result<FrameSender, QuicError> {
        Ok(FrameSender::new(self.inner.open_uni().await?))
    }

    /// Waits for the peer to begin an upload. Cancel-safe.
    pub async fn accept_upload(&self) -> Result<FrameReceiver, QuicError> {
        Ok(FrameReceiver::new(self.inner.accept_uni().await?))
    }

    /// Fetches an object of at most `cap` bytes by its hash, which the caller checks; the inner error
    /// is the peer's refusal.
    pub async fn fetch(
        &self,
        id: Digest,
        cap: usize,
    ) -> Result<Result<Vec<u8>, Refusal>, QuicError> {
        Ok(match self.request(id).await? {
            Ok((mut receiver, length)) => {
                let bytes = receiver.read_body(length, cap as u64).await?;
                receiver.end().await?;
                Ok(bytes)
            }
            Err(refusal) => Err(refusal),
        })
    }

    /// [`Connection::fetch`], piece by piece as they come, to `pieces`; it ends early when nobody
    /// takes them.
    pub async fn fetch_into(
        &self,
        id: Digest,
        cap: usize,
        pieces: &mpsc::Sender<Vec<u8>>,
    ) -> Result<Result<(), Refusal>, QuicError> {
        let (mut receiver, length) = match self.request(id).await? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut body = receiver.body(length, cap as u64)?;
        while let Some(piece) = body.next_chunk().await? {
            if pieces.send(piece.to_vec()).await.is_err() {
                return Ok(Ok(()));
            }
        }
        receiver.end().await?;
        Ok(Ok(()))
    }

    /// Asks for an object: its stream, and its length.
    async fn request(
        &self,
        id: Digest,
    ) -> Result<Result<(FrameReceiver, u64), Refusal>, QuicError> {
        let (mut sender, mut receiver) = self.open(StreamKind::Object).await?;
        sender
            .send(&ObjectRequest { id }, MAX_OBJECT_REQUEST_BYTES)
            .await?;
        sender.finish();
        Ok(match receiver.expect(MAX_OBJECT_RESPONSE_BYTES).await? {
            ObjectResponse::Refused(refusal) => Err(refusal),
            ObjectResponse::Found { length } => Ok((receiver, length)),
        })
    }

    /// Closes the connection at once, with a reason in words. What was sent and not
    /// yet received may be lost: use [`FrameSender::delivered`] first where it matters.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.inner.close(code.to_varint(), reason.as_bytes());
    }

    /// Waits until the connection is closed by either side, and says why.
    pub async fn closed(&self) -> QuicError {
        self.inner.closed().await.into()
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.inner.close_reason().is_some()
    }

    /// For a client that is done: closes, and waits until the peer was told.
    pub async fn finish(self) {
        self.close(CloseCode::Done, "done");
        if let Some(endpoint) = &self._endpoint {
            endpoint.wait_idle().await;
        }
    }
}

/// A bidirectional stream whose kind is not yet known.
#[derive(Debug)]
pub struct ArrivingStream {
    send: SendStream,
    receive: RecvStream,
}

impl ArrivingStream {
    /// Reads the stream's kind. Do this in the stream's own task: a peer that opens a
    /// stream and sends nothing must hold up nobody else.
    pub async fn identify(self) -> Result<(StreamKind, FrameSender, FrameReceiver), QuicError> {
        let mut receiver = FrameReceiver::new(self.receive);
        let mut sender = FrameSender::new(self.send);
        match StreamKind::from_number(receiver.read_kind().await?) {
            Ok(kind) => Ok((kind, sender, receiver)),
            Err(error) => {
                receiver.stop(CloseCode::Protocol);
                sender.reset(CloseCode::Protocol);
                Err(error)
            }
        }
    }
}
