//! What can go wrong between two daemons, told for people.

use std::net::SocketAddr;

use quinn::{ConnectError, ConnectionError, ReadError, TransportErrorCode, VarInt, WriteError};

use super::limits::IDLE_TIMEOUT;
use crate::codec::CodecError;
use crate::pki::PkiError;

/// Why a side closed a connection or a stream. The numbers are part of the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCode {
    /// The daemon stops; come back later.
    Shutdown,
    /// `collegium/1` was asked for without a certificate.
    NoCertificate,
    /// The peer broke the protocol.
    Protocol,
    /// The certificate was revoked.
    Revoked,
    /// A newer connection of the same member took over.
    Replaced,
    /// Not allowed, for a reason given in words.
    Refused,
    /// A message or body was larger than its cap.
    TooLarge,
    /// Too much to do; come back later.
    Busy,
    /// Nothing is wrong, the work is done.
    Done,
    /// A number that this version does not know.
    Unknown(u64),
}

impl CloseCode {
    /// The number on the wire.
    pub fn number(self) -> u64 {
        match self {
            Self::Shutdown => 0,
            Self::NoCertificate => 1,
            Self::Protocol => 2,
            Self::Revoked => 3,
            Self::Replaced => 4,
            Self::Refused => 5,
            Self::TooLarge => 6,
            Self::Busy => 7,
            Self::Done => 8,
            Self::Unknown(number) => number,
        }
    }

    /// The code behind a number.
    pub fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Shutdown,
            1 => Self::NoCertificate,
            2 => Self::Protocol,
            3 => Self::Revoked,
            4 => Self::Replaced,
            5 => Self::Refused,
            6 => Self::TooLarge,
            7 => Self::Busy,
            8 => Self::Done,
            other => Self::Unknown(other),
        }
    }

    pub(super) fn to_varint(self) -> VarInt {
        VarInt::from_u64(self.number()).unwrap_or(VarInt::MAX)
    }
}

/// An error of the transport.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The server's UDP port is taken.
    #[error(
        "cannot listen on UDP {address}: another program already uses this port; \
         stop it (is a coordinator already running?) or choose another port"
    )]
    PortInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The server or client socket cannot be opened.
    #[error("cannot open a UDP socket on {address}: {source}")]
    Socket {
        /// The address asked for.
        address: SocketAddr,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The coordinator's name does not resolve.
    #[error(
        "cannot find the address of `{address}`: {reason}; it must be HOST:PORT, and the host \
         must be known to this computer's DNS"
    )]
    Resolve {
        /// What was looked up.
        address: String,
        /// Why it failed.
        reason: String,
    },
    /// The server refused our certificate, or we have none.
    #[error(
        "{address} refused this certificate: {reason}; it may be revoked, expired or of another \
         consortium: ask the coordinator's operator for a new invitation"
    )]
    CertificateRefused {
        /// The server.
        address: String,
        /// The alert's meaning.
        reason: String,
    },
    /// The server's certificate is not one of this consortium's coordinator.
    #[error(
        "{address} is not this consortium's coordinator, or a clock is wrong: {reason}; check the \
         address and both computers' date and time"
    )]
    ServerRefused {
        /// The server.
        address: String,
        /// What the verification found.
        reason: String,
    },
    /// Nothing answered.
    #[error(
        "no answer from {address} within {} s: check that the coordinator runs there and that \
         firewalls let UDP through to this port",
        IDLE_TIMEOUT.as_secs()
    )]
    NoAnswer {
        /// The server.
        address: String,
    },
    /// The connection could not be made, for another reason.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// The server.
        address: String,
        /// Why.
        reason: String,
    },
    /// The server speaks another version of the protocol.
    #[error(
        "{address} speaks another version of the protocol (greeting {greeting:02x?}); \
         use the same version of collegium on both sides"
    )]
    Version {
        /// The server.
        address: String,
        /// What it sent.
        greeting: [u8; 4],
    },
    /// The peer closed the connection.
    #[error("the peer closed the connection: {reason} ({code:?})")]
    Closed {
        /// Its code.
        code: CloseCode,
        /// Its words.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// We closed the connection ourselves.
    #[error("the connection was closed on this side")]
    LocallyClosed,
    /// The peer abandoned one stream.
    #[error("the peer abandoned the stream ({0:?})")]
    StreamAbandoned(CloseCode),
    /// The stream was already finished on this side.
    #[error("the stream is already closed on this side")]
    StreamClosed,
    /// The stream ended inside a frame or body.
    #[error("the stream ended in the middle of {what}")]
    CutOff {
        /// What was being read.
        what: &'static str,
    },
    /// Something follows where nothing may.
    #[error("the peer sent more bytes after the end of the message")]
    Leftover,
    /// A frame or body is larger than its cap. Nothing was allocated for it.
    #[error("a {what} of {length} bytes is larger than its cap of {cap} bytes")]
    TooLarge {
        /// `frame` or `body`.
        what: &'static str,
        /// Announced length.
        length: u64,
        /// The cap.
        cap: u64,
    },
    /// A stream began with an unknown kind.
    #[error("the peer opened a stream of unknown kind {0}")]
    UnknownStream(u8),
    /// A message does not decode.
    #[error("a message cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// Certificates or keys are not usable.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The TLS library refused the configuration.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl From<rustls::Error> for QuicError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error.to_string())
    }
}

impl From<ConnectionError> for QuicError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                code: CloseCode::from_number(close.error_code.into_inner()),
                reason: printable(&close.reason),
            },
            ConnectionError::LocallyClosed => Self::LocallyClosed,
            ConnectionError::TimedOut => Self::Lost(format!(
                "nothing was heard from the peer for {} s",
                IDLE_TIMEOUT.as_secs()
            )),
            ConnectionError::Reset => Self::Lost(
                "the peer has restarted and does not know this connection any more".to_owned(),
            ),
            other => Self::Lost(other.to_string()),
        }
    }
}

impl From<ReadError> for QuicError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => {
                Self::StreamAbandoned(CloseCode::from_number(code.into_inner()))
            }
            ReadError::ConnectionLost(error) => error.into(),
            _ => Self::StreamClosed,
        }
    }
}

impl From<WriteError> for QuicError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => {
                Self::StreamAbandoned(CloseCode::from_number(code.into_inner()))
            }
            WriteError::ConnectionLost(error) => error.into(),
            _ => Self::StreamClosed,
        }
    }
}

impl QuicError {
    /// An error of the handshake with `address`, as the connecting side sees it.
    pub(super) fn connecting(address: &str, error: ConnectionError) -> Self {
        let address = address.to_owned();
        match error {
            ConnectionError::TimedOut => Self::NoAnswer { address },
            // Our own verification failed: the server is not who it should be.
            ConnectionError::TransportError(error) if alert(error.code).is_some() => {
                Self::ServerRefused {
                    address,
                    reason: error.reason,
                }
            }
            // The server's verification failed: it does not like our certificate.
            ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
                Some(alert) => Self::CertificateRefused {
                    address,
                    reason: alert_meaning(alert).to_owned(),
                },
                None => Self::Connect {
                    address,
                    reason: close.to_string(),
                },
            },
            ConnectionError::ApplicationClosed(close) => {
                let code = CloseCode::from_number(close.error_code.into_inner());
                let reason = printable(&close.reason);
                match code {
                    CloseCode::NoCertificate | CloseCode::Revoked => {
                        Self::CertificateRefused { address, reason }
                    }
                    _ => Self::Closed { code, reason },
                }
            }
            other => Self::Connect {
                address,
                reason: other.to_string(),
            },
        }
    }

    pub(super) fn cannot_start(address: &str, error: &ConnectError) -> Self {
        Self::Connect {
            address: address.to_owned(),
            reason: error.to_string(),
        }
    }

    /// Whether trying again later can help without anybody doing anything: network
    /// trouble and shutdowns, as opposed to refusals.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. }
            | Self::Connect { .. }
            | Self::Resolve { .. }
            | Self::Lost(_)
            | Self::Socket { .. } => true,
            Self::Closed { code, .. } | Self::StreamAbandoned(code) => {
                matches!(
                    code,
                    CloseCode::Shutdown | CloseCode::Busy | CloseCode::Done
                )
            }
            _ => false,
        }
    }
}

/// TLS alerts travel as QUIC error codes 0x100 + alert (RFC 9001, 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    let number = u64::from(code);
    (number & !0xff == 0x100).then_some((number & 0xff) as u8)
}

/// Alert descriptions of RFC 8446, 6 that a refused certificate can cause.
fn alert_meaning(alert: u8) -> &'static str {
    match alert {
        42 => "the certificate is malformed",
        44 => "the certificate was revoked",
        45 => "the certificate has expired, or a clock is wrong",
        46 | 49 => "the certificate is not accepted there",
        48 => "the certificate was not signed by this consortium's authority",
        51 => "the certificate's signature does not verify",
        116 => "a certificate is required",
        120 => "it does not speak this protocol",
        _ => "the TLS handshake failed",
    }
}

/// A peer's words, made safe for a terminal and a log.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}
