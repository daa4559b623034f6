//! Frames and bodies on one stream.

use quinn::{RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::{FRAME_STEP, MAX_CHUNK};
use super::{CloseCode, QuicError};
use crate::codec;

/// Bytes of a frame's length prefix.
const PREFIX: usize = 4;

/// The sending half of a stream.
#[derive(Debug)]
pub struct FrameSender(SendStream);

impl FrameSender {
    pub(super) fn new(stream: SendStream) -> Self {
        Self(stream)
    }

    /// Sends one message as a frame of at most `cap` bytes.
    ///
    /// Not cancel-safe: a frame that was cut off cannot be taken up again.
    pub async fn send<T: Serialize>(&mut self, message: &T, cap: usize) -> Result<(), QuicError> {
        let frame = codec::encode(message)?;
        self.send_frame(&frame, cap).await
    }

    /// Sends bytes as a frame. Not cancel-safe.
    pub async fn send_frame(&mut self, frame: &[u8], cap: usize) -> Result<(), QuicError> {
        let too_large = || QuicError::TooLarge {
            what: "frame",
            length: frame.len() as u64,
            cap: cap as u64,
        };
        if frame.len() > cap {
            return Err(too_large());
        }
        let length = u32::try_from(frame.len()).map_err(|_| too_large())?;
        self.0.write_all(&length.to_be_bytes()).await?;
        self.0.write_all(frame).await?;
        Ok(())
    }

    /// Sends raw bytes of a body whose length was announced before; waits while the
    /// peer's window is full. The bytes are sent from where they are, without a copy. Not
    /// cancel-safe.
    pub async fn write_body(&mut self, bytes: Vec<u8>) -> Result<(), QuicError> {
        self.0.write_chunk(bytes.into()).await?;
        Ok(())
    }

    /// Says that nothing more follows. What was written is still delivered.
    pub fn finish(&mut self) {
        // The only error is "already closed", which is what is wanted.
        let _ = self.0.finish();
    }

    /// Finishes, and waits until the peer has received everything.
    pub async fn delivered(mut self) -> Result<(), QuicError> {
        self.finish();
        match self.0.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(QuicError::StreamAbandoned(CloseCode::from_number(
                code.into_inner(),
            ))),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(error.into()),
            Err(_) => Err(QuicError::StreamClosed),
        }
    }

    /// Abandons the stream: the peer reads an error, not an end.
    pub fn reset(&mut self, code: CloseCode) {
        let _ = self.0.reset(code.to_varint());
    }

    pub(super) async fn write_kind(&mut self, kind: u8) -> Result<(), QuicError> {
        self.0.write_all(&[kind]).await?;
        Ok(())
    }
}

/// The receiving half of a stream.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: RecvStream,
    /// What has arrived of the current frame, so that reading can be cancelled.
    prefix: [u8; PREFIX],
    prefix_len: usize,
    frame: Vec<u8>,
}

impl FrameReceiver {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            prefix: [0; PREFIX],
            prefix_len: 0,
            frame: Vec::new(),
        }
    }

    /// Receives one message of at most `cap` bytes; `None` when the peer has finished.
    ///
    /// Cancel-safe: it may stand in `tokio::select!`, what arrived is kept.
    pub async fn recv<T: Serialize + DeserializeOwned>(
        &mut self,
        cap: usize,
    ) -> Result<Option<T>, QuicError> {
        match self.recv_frame(cap).await? {
            Some(frame) => Ok(Some(codec::decode(&frame, cap)?)),
            None => Ok(None),
        }
    }

    /// Like [`recv`](Self::recv), but an end is an error.
    pub async fn expect<T: Serialize + DeserializeOwned>(
        &mut self,
        cap: usize,
    ) -> Result<T, QuicError> {
        self.recv(cap).await?.ok_or(QuicError::CutOff {
            what: "a conversation",
        })
    }

    /// Receives the bytes of one frame. The announced length is compared with `cap`
    /// before any memory is taken. Cancel-safe.
    pub async fn recv_frame(&mut self, cap: usize) -> Result<Option<Vec<u8>>, QuicError> {
        while let Some(rest) = self
            .prefix
            .get_mut(self.prefix_len..)
            .filter(|r| !r.is_empty())
        {
            match self.stream.read(rest).await? {
                Some(count) => self.prefix_len += count,
                None if self.prefix_len == 0 => return Ok(None),
                None => return Err(QuicError::CutOff { what: "a frame" }),
            }
        }
        let length = u32::from_be_bytes(self.prefix) as usize;
        if length > cap {
            return Err(QuicError::TooLarge {
                what: "frame",
                length: length as u64,
                cap: cap as u64,
            });
        }
        while self.frame.len() < length {
            let wanted = (length - self.frame.len()).min(FRAME_STEP);
            match self.stream.read_chunk(wanted, true).await? {
                Some(chunk) => self.frame.extend_from_slice(&chunk.bytes),
                None => return Err(QuicError::CutOff { what: "a frame" }),
            }
        }
        self.prefix_len = 0;
        Ok(Some(std::mem::take(&mut self.frame)))
    }

    /// Begins to read a body of exactly `length` bytes, if `cap` allows it.
    pub fn body(&mut self, length: u64, cap: u64) -> Result<Body<'_>, QuicError> {
        if length > cap {
            return Err(QuicError::TooLarge {
                what: "body",
                length,
                cap,
            });
        }
        Ok(Body {
            stream: &mut self.stream,
            remaining: length,
            piece: Vec::new(),
        })
    }

    /// Reads a whole body of exactly `length` bytes into memory, if `cap` allows it.
    pub async fn read_body(&mut self, length: u64, cap: u64) -> Result<Vec<u8>, QuicError> {
        let mut body = self.body(length, cap)?;
        // The memory grows with what comes, not with what is announced.
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next_chunk().await? {
            bytes.extend_from_slice(chunk);
        }
        Ok(bytes)
    }

    /// Checks that the peer has finished and sent nothing more.
    pub async fn end(&mut self) -> Result<(), QuicError> {
        let mut byte = [0];
        match self.stream.read(&mut byte).await? {
            None => Ok(()),
            Some(_) => Err(QuicError::Leftover),
        }
    }

    /// Tells the peer that nothing more is wanted.
    pub fn stop(&mut self, code: CloseCode) {
        // The only error is "already closed", which is what is wanted.
        let _ = self.stream.stop(code.to_varint());
    }

    pub(super) async fn read_kind(&mut self) -> Result<u8, QuicError> {
        let mut kind = [0];
        match self.stream.read(&mut kind).await? {
            Some(_) => {
                let [kind] = kind;
                Ok(kind)
            }
            None => Err(QuicError::CutOff {
                what: "a stream's kind",
            }),
        }
    }
}

/// A body being read, piece by piece. At most one piece is held at a time; the rest
/// waits in the stream's window, and beyond that at the sender.
#[derive(Debug)]
pub struct Body<'a> {
    stream: &'a mut RecvStream,
    remaining: u64,
    piece: Vec<u8>,
}

impl Body<'_> {
    /// The next piece, 1 to [`MAX_CHUNK`] bytes: what has arrived, of many packets if it can be,
    /// since whoever hashes pieces is quicker with larger ones. `None` once the whole body was
    /// read. Pieces have no meaning of their own.
    pub async fn next_chunk(&mut self) -> Result<Option<&[u8]>, QuicError> {
        if self.remaining == 0 {
            return Ok(None);
        }
        let wanted = usize::try_from(self.remaining)
            .unwrap_or(MAX_CHUNK)
            .min(MAX_CHUNK);
        self.piece.resize(wanted, 0);
        let read = self.stream.read(&mut self.piece).await?;
        let read = read.ok_or(QuicError::CutOff { what: "a body" })?;
        self.remaining -= read as u64;
        Ok(self.piece.get(..read))
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }
}
