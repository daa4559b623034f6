//! Streams one upload: header frame, raw body under flow control, trailer frame.

use std::sync::Arc;

use collegium_protocol::limits::{MAX_UPLOAD_HEADER_BYTES, MAX_UPLOAD_TRAILER_BYTES};
use collegium_protocol::quic::{Connection, QuicError};
use collegium_protocol::step::ReadyUpload;

/// Sends `upload` on a stream of its own; returns the body's bytes once the coordinator has
/// received everything.
pub(super) async fn stream(
    connection: &Connection,
    upload: &Arc<ReadyUpload>,
) -> Result<usize, QuicError> {
    let mut sender = connection.open_upload().await?;
    sender.send(&upload.header, MAX_UPLOAD_HEADER_BYTES).await?;
    for chunk in upload.chunks() {
        sender.write_body(chunk).await?;
    }
    sender
        .send(&upload.trailer, MAX_UPLOAD_TRAILER_BYTES)
        .await?;
    sender.delivered().await?;
    Ok(upload.body().len())
}
