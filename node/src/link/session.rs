//! One session: a connection, its control stream, and the loop over messages and results.

use collegium_protocol::limits::{MAX_MEMBERS, MAX_TO_COORDINATOR_BYTES, MAX_TO_NODE_BYTES};
use collegium_protocol::message::session::{ToCoordinator, ToNode, VERSION};
use collegium_protocol::pki::TlsIdentity;
use collegium_protocol::quic::{CloseCode, Connection, FrameSender, QuicError, StreamKind};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};

use super::member::Member;
use super::{Event, LinkError, stopped};

/// Messages that may wait for the coordinator to read them. A step has at most one verdict for each
/// member, a vote and a release; more than this many waiting means that nobody reads.
const OUTBOX: usize = 2 * (MAX_MEMBERS + 8);
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How a session ended.
pub(super) enum End {
    /// The daemon stops.
    Stopped,
    /// The certificate was renewed; the next session shows the new one.
    Renewed(TlsIdentity),
    /// The connection broke, or the coordinator closed it.
    Lost(QuicError),
    /// One side cannot work with the other as things are, or the coordinator goes away for a
    /// while; in words.
    Refused(String),
}

/// Says hello and works until the session ends, or until `renewal` has a new certificate.
pub(super) async fn run(
    member: &mut Member,
    connection: Connection,
    renewal: impl Future<Output = TlsIdentity>,
    events: &mut mpsc::UnboundedReceiver<Event>,
    stopping: &mut watch::Receiver<bool>,
) -> Result<End, LinkError> {
    let opened = connection.open(StreamKind::Control).await;
    let (sender, mut receiver) = match opened {
        Ok(streams) => streams,
        Err(error) => return Ok(End::Lost(error)),
    };
    let (outbox, outgoing) = mpsc::channel(OUTBOX);
    let writer = tokio::spawn(write(sender, outgoing));
    let hello = ToCoordinator::Hello {
        version: VERSION,
        name: member.name().clone(),
        charter: member.charter_digest(),
    };
    member.begin(connection.clone(), outbox, hello);

    tokio::pin!(renewal);
    let end = loop {
        let step = tokio::select! {
            () = stopped(stopping) => break End::Stopped,
            identity = &mut renewal => break End::Renewed(identity),
            message = receiver.recv::<ToNode>(MAX_TO_NODE_BYTES) => match message {
                Ok(Some(message)) => member.message(message).await,
                Ok(None) => break End::Refused("the coordinator ended the session".to_owned()),
                Err(error) => break End::Lost(because(&connection, error).await),
            },
            // The sender lives as long as the member.
            Ok(()) = member.policies.changed() => member.policy_changed().await.map(|()| None),
            event = events.recv() => match event {
                Some(event) => member.event(event).await,
                None => break End::Stopped,
            },
        };
        match step {
            Ok(None) => {}
            Ok(Some(reason)) => break End::Refused(reason),
            Err(error) => {
                member.end();
                connection.close(CloseCode::Shutdown, "the node failed inside");
                return Err(error);
            }
        }
        if member.outbox_is_full() {
            break End::Refused("the coordinator does not read what it is sent".to_owned());
        }
    };

    // Dropping the outbox ends the writer once it has written what was in it.
    member.end();
    let _ = timeout(GOODBYE, writer).await;
    match &end {
        End::Lost(_) => {}
        End::Stopped => connection.close(CloseCode::Shutdown, "the node stops"),
        End::Refused(_) | End::Renewed(_) => {
            connection.close(CloseCode::Done, "the node will dial again");
        }
    }
    // Gives the close a moment to leave; the connection is gone either way.
    let _ = timeout(GOODBYE, connection.finish()).await;
    Ok(end)
}

/// Writes the outbox to the control stream, in order.
async fn write(mut sender: FrameSender, mut outgoing: mpsc::Receiver<ToCoordinator>) {
    while let Some(message) = outgoing.recv().await {
        if let Err(error) = sender.send(&message, MAX_TO_COORDINATOR_BYTES).await {
            // The reading side of the loop sees the same broken connection and ends the session.
            tracing::debug!(%error, "cannot send");
            return;
        }
    }
    let _ = sender.delivered().await;
}

/// The connection's own reason where there is one: it says more than a stream's.
async fn because(connection: &Connection, error: QuicError) -> QuicError {
    if connection.is_closed() {
        connection.closed().await
    } else {
        error
    }
}
