//! One connection: its streams, each in a task of its own.
//!
//! A node keeps a control stream open for as long as it is connected; uploads
//! and objects come on streams of their own. A person's command opens an admin
//! stream. Who the peer is, only its certificate says.

mod arrival;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use collegium_automl::object::ObjectId;
use collegium_protocol::ids::MemberName;
use collegium_protocol::limits::{
    MAX_OBJECT_REQUEST_BYTES, MAX_OBJECT_RESPONSE_BYTES, MAX_TO_COORDINATOR_BYTES,
    MAX_TO_NODE_BYTES,
};
use collegium_protocol::message::session::{
    ObjectRequest, ObjectResponse, ToCoordinator, ToNode, VERSION,
};
use collegium_protocol::pki::{Peer, Role};
use collegium_protocol::quic::{
    ArrivingStream, CloseCode, Connection, FrameReceiver, FrameSender, QuicError, StreamKind,
};
use collegium_protocol::{Digest, Refusal, RefusalCode, SignedCharter, VerifiedCharter};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::admin;
use crate::app::Context;
use crate::authorize::{self, Act, Asker, Resource};
use crate::charter_service;
use crate::hub::NodeEvent;
use crate::ledger::{Action, Entry, Outcome};
use crate::objects::ObjectError;
use crate::pieces;
use crate::runs;
use crate::upload::UploadError;
use crate::witness;

use arrival::{Arrived, NotIn};

/// How long a peer may take for the first message of a stream.
const FIRST_MESSAGE: Duration = Duration::from_secs(8);

/// Serves a connection whose certificate was verified, until it ends.
pub async fn serve(context: Arc<Context>, connection: Connection) {
    let Some(peer) = connection.peer().cloned() else {
        return;
    };
    let _entered = context.connections.enter(peer.serial, &connection);
    // It may have been taken away between the handshake and the line above.
    if context.keys.revocations.is_revoked(&peer.serial) {
        connection.close(CloseCode::Revoked, "certificate revoked");
        return;
    }
    if let Err(refusal) = context.access().first_use(&peer).await {
        warn!(peer = %peer.subject, %refusal, "older certificates could not be taken away");
    }
    let peer = Arc::new(peer);
    let ends = sleep(
        peer.not_after
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    );
    tokio::pin!(ends);
    let mut tasks = JoinSet::new();
    let end = loop {
        tokio::select! {
            stream = connection.accept() => match stream {
                Ok(stream) => {
                    tasks.spawn(stream_task(context.clone(), connection.clone(), peer.clone(), stream));
                }
                Err(error) => break error,
            },
            upload = connection.accept_upload() => match upload {
                Ok(stream) => {
                    tasks.spawn(upload_task(context.clone(), connection.clone(), peer.clone(), stream));
                }
                Err(error) => break error,
            },
            () = &mut ends => {
                let why = "the certificate has ended; renew it, or ask for a new invitation";
                connection.close(CloseCode::Revoked, why);
                break connection.closed().await;
            }
            // Finished tasks are collected, so that a long session does not pile them up.
            Some(_) = tasks.join_next() => {}
        }
    };
    debug!(peer = %peer.subject.name, reason = %end, "connection ended");
    // Sessions notice the end by themselves and must say goodbye to the hub.
    while tasks.join_next().await.is_some() {}
}

async fn stream_task(
    context: Arc<Context>,
    connection: Connection,
    peer: Arc<Peer>,
    stream: ArrivingStream,
) {
    let identified = timeout(FIRST_MESSAGE, stream.identify()).await;
    let Ok(Ok((kind, mut sender, receiver))) = identified else {
        return;
    };
    let result = match kind {
        StreamKind::Control => control(&context, &connection, &peer, sender, receiver).await,
        StreamKind::Object => object(&context, &connection, &peer, sender, receiver).await,
        StreamKind::Admin => {
            // Who watches a run hears nothing for a while; that must not keep a
            // stream whose connection has ended.
            let address = connection.remote_address().ip();
            tokio::select! {
                served = admin::serve(&context, &peer, address, sender, receiver) => served,
                ended = connection.closed() => Err(ended),
            }
        }
        StreamKind::Join | StreamKind::Enroll => {
            sender.reset(CloseCode::Refused);
            Ok(())
        }
    };
    match result {
        Err(error @ (QuicError::Codec(_) | QuicError::TooLarge { .. } | QuicError::Leftover)) => {
            offend(&context, &connection, &peer, &error.to_string());
        }
        Err(error) => debug!(peer = %peer.subject.name, %error, "stream ended"),
        Ok(()) => {}
    }
}

/// The member a node's certificate names.
fn member_name(peer: &Peer) -> Option<MemberName> {
    if peer.subject.role != Role::Node {
        return None;
    }
    peer.subject.name.parse().ok()
}

/// A peer sent what no correct program sends: the connection is closed, and the
/// ledger has it. Once for each connection, so the ledger cannot be flooded
/// faster than handshakes are made.
fn offend(context: &Context, connection: &Connection, peer: &Peer, what: &str) {
    if connection.is_closed() {
        return;
    }
    connection.close(CloseCode::Protocol, what);
    warn!(peer = %peer.subject.name, what, "connection closed after a malformed or forbidden message");
    let entry = Entry::new(
        Action::Refuse,
        &peer.subject.to_string(),
        "connection",
        Outcome::Refused,
    )
    .evidence(json!({ "certificate": peer.fingerprint.to_string(), "reason": what }));
    context.write_down(entry);
}

/// Whether a node may do what its session consists of. An answer that allows it is part of the
/// session's or the step's own entry; a denial has one, and ends the connection.
fn in_session(context: &Context, connection: &Connection, peer: &Peer, act: Act) -> bool {
    let asker = Asker::new(peer, connection.remote_address().ip());
    let on = Resource::Member(peer.subject.name.clone());
    let verdict = context
        .authorizer
        .decide(&asker, act, &on, SystemTime::now());
    if !verdict.allowed && !connection.is_closed() {
        let refusal = authorize::denied(&asker, act, &verdict);
        connection.close(CloseCode::Refused, refusal.detail());
        warn!(peer = %peer.subject, %refusal, "request denied");
        context.write_down(authorize::entry(&asker, act, &on, &verdict));
    }
    verdict.allowed
}

async fn upload_task(
    context: Arc<Context>,
    connection: Connection,
    peer: Arc<Peer>,
    mut stream: FrameReceiver,
) {
    if !in_session(&context, &connection, &peer, Act::Upload) {
        stream.stop(CloseCode::Refused);
        return;
    }
    let (Some(member), Some(step)) = (member_name(&peer), context.hub.step()) else {
        // An upload for a step that has just ended is no offence.
        stream.stop(CloseCode::Refused);
        return;
    };
    match step.receive(&member, &mut stream).await {
        Ok(arrived) => {
            context
                .hub
                .report(NodeEvent::Uploaded(member, Box::new(arrived)))
                .await
        }
        Err(UploadError::Refused(refusal)) if is_late(&refusal) => {
            debug!(%member, %refusal, "an upload came too late");
        }
        Err(UploadError::Refused(refusal)) => {
            offend(&context, &connection, &peer, &refusal.to_string())
        }
        Err(error @ UploadError::Spool(_)) => warn!(%member, %error, "an upload was lost"),
        Err(UploadError::Transport(error)) => debug!(%member, %error, "an upload was cut off"),
    }
}

/// Uploads cross with a step's end or with their own repetition.
fn is_late(refusal: &Refusal) -> bool {
    matches!(
        refusal.code,
        RefusalCode::UnknownStep | RefusalCode::UploadDuplicate
    )
}

async fn object(
    context: &Context,
    connection: &Connection,
    peer: &Peer,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
) -> Result<(), QuicError> {
    let request: ObjectRequest = receiver.expect(MAX_OBJECT_REQUEST_BYTES).await?;
    if !in_session(context, connection, peer, Act::FetchObject) {
        return Ok(());
    }
    let Ok(_permit) = context.object_reads.acquire().await else {
        return Ok(());
    };
    let (objects, evidence) = (context.objects.clone(), context.evidence.clone());
    let id = ObjectId(request.id.0);
    let find = move || match objects.file(id)? {
        Some(found) => Ok(Some(found)),
        None => evidence.file(id),
    };
    let found: Result<Result<_, ObjectError>, _> = tokio::task::spawn_blocking(find).await;
    let refusal = match found {
        Ok(Ok(Some((file, length)))) => {
            return send_object(file, length, &mut sender).await;
        }
        Ok(Ok(None)) => Refusal::new(RefusalCode::UnknownObject, request.id),
        Ok(Err(error)) => {
            warn!(%error, "an object cannot be read");
            RefusalCode::Internal.into()
        }
        Err(_) => RefusalCode::Internal.into(),
    };
    let response = ObjectResponse::Refused(refusal);
    sender.send(&response, MAX_OBJECT_RESPONSE_BYTES).await?;
    sender.finish();
    Ok(())
}

/// Sends a file as it is.
async fn send_object(
    file: std::fs::File,
    length: u64,
    sender: &mut FrameSender,
) -> Result<(), QuicError> {
    let response = ObjectResponse::Found { length };
    sender.send(&response, MAX_OBJECT_RESPONSE_BYTES).await?;
    if pieces::send(file, length, sender).await? {
        sender.finish();
    } else {
        sender.reset(CloseCode::Refused);
    }
    Ok(())
}

/// The control stream of a node.
async fn control(
    context: &Arc<Context>,
    connection: &Connection,
    peer: &Peer,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
) -> Result<(), QuicError> {
    let arrived = arrival::arrive(context, connection, peer, &mut receiver).await;
    let arrived = match arrived {
        Ok(arrived) => arrived,
        Err(NotIn::Lost(error)) => return Err(error),
        Err(NotIn::Refused(refusal)) => {
            warn!(peer = %peer.subject, %refusal, "session refused");
            sender
                .send(&ToNode::Refused(refusal), MAX_TO_NODE_BYTES)
                .await?;
            return sender.delivered().await;
        }
    };
    let (member, session) = (arrived.member.clone(), arrived.session);
    info!(%member, address = %connection.remote_address(), "node connected");
    let end = work(context, arrived, sender, receiver).await;
    context.hub.leave(&member, session).await;
    info!(%member, "node disconnected");
    end
}

/// The session of a node that is in, until it ends.
async fn work(
    context: &Arc<Context>,
    arrived: Arrived,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
) -> Result<(), QuicError> {
    let Arrived {
        member,
        pinned,
        mut messages,
        ..
    } = arrived;
    let mut charters = context.charter.subscribe();
    welcome(context, &member, pinned, &mut charters, &mut sender).await?;
    loop {
        tokio::select! {
            message = messages.recv() => {
                // The hub keeps the other end until this session is replaced.
                let Some(message) = message else { return Ok(()) };
                sender.send(&message, MAX_TO_NODE_BYTES).await?;
            }
            message = receiver.recv::<ToCoordinator>(MAX_TO_COORDINATOR_BYTES) => match message? {
                Some(message) => heard(context, &member, message).await,
                None => return Ok(()),
            },
            changed = charters.changed() => {
                if changed.is_err() { return Ok(()) }
                send_charter(&mut charters, &mut sender).await?;
            }
        }
    }
}

/// A charter that may change while the node is connected.
type Charters = watch::Receiver<Option<Arc<VerifiedCharter>>>;

/// What a node is told first: the charter in force, after those that lead to it from the one it has
/// pinned, and the ends of runs that it has yet to report on.
async fn welcome(
    context: &Context,
    member: &MemberName,
    pinned: Option<Digest>,
    charters: &mut Charters,
    sender: &mut FrameSender,
) -> Result<(), QuicError> {
    let welcome = ToNode::Welcome { version: VERSION };
    sender.send(&welcome, MAX_TO_NODE_BYTES).await?;
    let last = charters.borrow_and_update().clone();
    for charter in missed(context, pinned, last.as_deref()).await {
        sender
            .send(&ToNode::Charter(charter), MAX_TO_NODE_BYTES)
            .await?;
    }
    for closed in runs::closed_for(context, member).await {
        sender.send(&closed, MAX_TO_NODE_BYTES).await?;
    }
    Ok(())
}

/// The charters that a node has yet to see, in order; the last one alone when what it has pinned is none
/// of ours.
async fn missed(
    context: &Context,
    pinned: Option<Digest>,
    last: Option<&VerifiedCharter>,
) -> Vec<SignedCharter> {
    let Some(last) = last else {
        return Vec::new();
    };
    let chain = match charter_service::chain(&context.store).await {
        Ok(chain) => chain,
        Err(error) => {
            warn!(%error, "the earlier charters cannot be read");
            return vec![last.signed().clone()];
        }
    };
    let first = match pinned {
        None => 0,
        Some(pinned) => {
            let known = chain.iter().position(|one| one.charter.digest() == pinned);
            // The one that it has goes with it: a node that pinned nothing else is told where it is.
            known.unwrap_or(chain.len().saturating_sub(1))
        }
    };
    chain.into_iter().skip(first).collect()
}

async fn send_charter(charters: &mut Charters, sender: &mut FrameSender) -> Result<(), QuicError> {
    let charter = charters
        .borrow_and_update()
        .as_ref()
        .map(|charter| charter.signed().clone());
    match charter {
        Some(charter) => {
            sender
                .send(&ToNode::Charter(charter), MAX_TO_NODE_BYTES)
                .await
        }
        None => Ok(()),
    }
}

async fn heard(context: &Arc<Context>, member: &MemberName, message: ToCoordinator) {
    if let ToCoordinator::RunReportReady { run } = message {
        if let Err(error) = context.store.record_report(run, member).await {
            warn!(%member, %error, "a report could not be noted");
        }
        return;
    }
    if let ToCoordinator::Cosign(reply) = message {
        return witness::heard(context, member, reply).await;
    }
    context
        .hub
        .report(NodeEvent::Said(member.clone(), message))
        .await;
}
