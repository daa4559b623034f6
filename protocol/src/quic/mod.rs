//! QUIC glue: endpoints, connections, framed messages, streamed bodies.
//!
//! In scope: mutual TLS 1.3 with the consortium's own authority and hybrid
//! post-quantum key exchange, two application protocols ([`ALPN_MEMBER`] for
//! certificate holders, [`ALPN_JOIN`] for those who come to get one), length-prefixed
//! frames whose size is checked before memory is taken, bodies that pass through in
//! chunks. Out of scope: what the messages mean (see [`crate::message`]) and who may
//! send which: this module says who the peer *is*, the daemons decide.
//!
//! Start reading at [`Server`], [`Client`], then [`Connection`]; commands for people use
//! [`AdminClient`].
//!
//! ```text
//! frame:        u32 big-endian length, then that many bytes
//! stream:       bidirectional: 1 byte StreamKind, then frames
//!               unidirectional from the node: upload (header frame, body, trailer frame)
//!               unidirectional from the coordinator: the greeting, once, first
//! ```

mod admin;
mod client;
mod connection;
mod error;
mod frame;
mod ledger;
mod limits;
mod reset;
mod rotate;
mod server;
mod socket;
mod tls;

pub use admin::{AdminClient, AdminError, CharterState, Watch};
pub use client::{Client, join};
pub use connection::{ArrivingStream, Connection, StreamKind};
pub use error::{CloseCode, QuicError};
pub use frame::{Body, FrameReceiver, FrameSender};
pub use ledger::LedgerReader;
pub use limits::{
    CONNECTION_WINDOW, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, KEEP_ALIVE, MAX_CHUNK, MAX_JOINING,
    STREAM_WINDOW,
};
pub use rotate::{RotateError, exchange, rotate};
pub use server::{Accepted, Server, ServerConfig};
pub use tls::{ALPN_JOIN, ALPN_MEMBER};
