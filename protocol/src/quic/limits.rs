//! Every bound of the transport, with its arithmetic.

use std::time::Duration;

/// A connection with nothing to say sends a packet this often, so that a silent peer
/// is told apart from a dead one.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A connection is given up after this long without a packet: four keep-alives lost.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// A handshake, from the first packet to the greeting, must end within this.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);

/// Bytes of one stream that a peer may send before they are read: at 1 MiB a link of
/// 100 ms round trip carries 80 Mbit/s on one stream.
pub const STREAM_WINDOW: u32 = 1 << 20;

/// Bytes of all streams of one connection together. The coordinator holds at most
/// 4 MiB for each member when every one of them sends and none is read (256 MiB for 64,
/// 4 GiB for 1024); in a step it reads them all, so the usual figure is far below.
pub const CONNECTION_WINDOW: u32 = 4 << 20;

/// Bytes that wait to be sent or acknowledged, on the sender's side.
pub const SEND_WINDOW: u64 = 4 << 20;

/// Bytes that may wait in the kernel for one socket. A packet of 1452 bytes is charged about twice
/// that, so Linux's usual 208 KiB hold some 70 packets: four sites that upload at once overrun
/// them, and 3 % of the packets were sent again (2 cores, loopback).
pub const SOCKET_BUFFER: usize = 4 << 20;

/// Streams that a peer may have open at once: one control stream, and objects or
/// administration beside it.
pub const MAX_BIDIRECTIONAL: u32 = 64;

/// Uploads that a peer may have open at once: one step at a time, plus one that was
/// abandoned and not yet closed, with room to spare.
pub const MAX_UNIDIRECTIONAL: u32 = 8;

/// Largest piece of a body that is handed over at once.
pub const MAX_CHUNK: usize = 64 * 1024;

/// Connections that may be in their handshake at once; further ones must first prove
/// their address (a stateless retry), and beyond twice this many are dropped.
pub const MAX_HANDSHAKES: usize = 64;

/// Connections without a certificate that may be open at once. Anybody can open one, so
/// together they hold at most 16 x 4 MiB = 64 MiB; each lasts seconds, and a consortium joins
/// once.
pub const MAX_JOINING: usize = 16;

/// Admitted connections that wait to be picked up by the daemon.
pub const ACCEPT_QUEUE: usize = 16;

/// A frame's memory is taken in steps of this size as its bytes arrive, so that a
/// claimed length alone costs a peer nothing and us nothing.
pub const FRAME_STEP: usize = 64 * 1024;
