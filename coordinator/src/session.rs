//! One connection: its streams, each in a task of its own.
//!
//! A node keeps a control stream open for as long as it is connected; uploads
//! and objects come on streams of their own. A person's command opens an admin
//! stream. Who the peer is, only its certificate says.

use std::io::Read;
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
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::admin;
use crate::app::Context;
use crate::authorize::{self, Act, Asker, Resource};
use crate::charter_service;
use crate::evidence::PIECE;
use crate::hub::NodeEvent;
use crate::ledger::{Action, Entry, Outcome};
use crate::objects::ObjectError;
use crate::runs;
use crate::upload::UploadError;
use crate::witness;

/// How long a peer may take for the first message of a stream.
const FIRST_MESSAGE: Duration = Duration::from_secs(8);

/// Pieces of an object that are read ahead of the network: 256 KiB.
const PIECES_AHEAD: usize = 4;

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

/// Sends a file as it is; a few pieces of it are in memory at a time.
async fn send_object(
    file: std::fs::File,
    length: u64,
    sender: &mut FrameSender,
) -> Result<(), QuicError> {
    let response = ObjectResponse::Found { length };
    sender.send(&response, MAX_OBJECT_RESPONSE_BYTES).await?;
    let (pieces, mut coming) = mpsc::channel(PIECES_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read_pieces(file.take(length), &pieces));
    while let Some(piece) = coming.recv().await {
        sender.write_body(piece).await?;
    }
    match reading.await.map_err(std::io::Error::other) {
        Ok(Ok(())) => sender.finish(),
        Ok(Err(error)) | Err(error) => {
            warn!(%error, "an object cannot be read to its end");
            sender.reset(CloseCode::Refused);
        }
    }
    Ok(())
}

/// Reads to the end, or until nobody takes the pieces.
fn read_pieces(mut file: impl Read, pieces: &mpsc::Sender<Vec<u8>>) -> std::io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        file.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() || pieces.blocking_send(piece).is_err() {
            return Ok(());
        }
    }
}

/// The control stream of a node.
async fn control(
    context: &Arc<Context>,
    connection: &Connection,
    peer: &Peer,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
) -> Result<(), QuicError> {
    let hello = timeout(FIRST_MESSAGE, receiver.expect(MAX_TO_COORDINATOR_BYTES)).await;
    let Ok(hello) = hello else {
        sender.reset(CloseCode::Protocol);
        return Ok(());
    };
    let hello = hello?;
    let member = match enter(context, connection, peer, &hello).await {
        Ok(member) => member,
        Err(refusal) => {
            warn!(peer = %peer.subject, %refusal, "session refused");
            sender
                .send(&ToNode::Refused(refusal), MAX_TO_NODE_BYTES)
                .await?;
            return sender.delivered().await;
        }
    };
    let member = &member;
    let mut charters = context.charter.subscribe();
    welcome(context, member, &hello, &mut charters, &mut sender).await?;
    let (id, mut messages) = context.hub.enter(member, connection).await;
    info!(%member, address = %connection.remote_address(), "node connected");
    let end = loop {
        tokio::select! {
            message = messages.recv() => {
                // The hub keeps the other end until this session is replaced.
                let Some(message) = message else { break Ok(()) };
                if let Err(error) = sender.send(&message, MAX_TO_NODE_BYTES).await { break Err(error) }
            }
            message = receiver.recv::<ToCoordinator>(MAX_TO_COORDINATOR_BYTES) => match message {
                Ok(Some(message)) => heard(context, member, message).await,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
            changed = charters.changed() => {
                if changed.is_err() { break Ok(()) }
                if let Err(error) = send_charter(&mut charters, &mut sender).await { break Err(error) }
            }
        }
    };
    context.hub.leave(member, id).await;
    info!(%member, "node disconnected");
    end
}

/// A charter that may change while the node is connected.
type Charters = watch::Receiver<Option<Arc<VerifiedCharter>>>;

/// What a node is told first: the charter in force, after those that lead to it from the one it has
/// pinned, and the ends of runs that it has yet to report on.
async fn welcome(
    context: &Context,
    member: &MemberName,
    hello: &ToCoordinator,
    charters: &mut Charters,
    sender: &mut FrameSender,
) -> Result<(), QuicError> {
    let welcome = ToNode::Welcome { version: VERSION };
    sender.send(&welcome, MAX_TO_NODE_BYTES).await?;
    let last = charters.borrow_and_update().clone();
    for charter in missed(context, hello, last.as_deref()).await {
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
    hello: &ToCoordinator,
    last: Option<&VerifiedCharter>,
) -> Vec<SignedCharter> {
    let Some(last) = last else {
        return Vec::new();
    };
    let ToCoordinator::Hello { charter, .. } = hello else {
        return Vec::new();
    };
    let chain = match charter_service::chain(&context.store).await {
        Ok(chain) => chain,
        Err(error) => {
            warn!(%error, "the earlier charters cannot be read");
            return vec![last.signed().clone()];
        }
    };
    let first = match charter {
        None => 0,
        Some(pinned) => {
            let known = chain.iter().position(|one| one.charter.digest() == *pinned);
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

/// Whether a session may begin: by the access policy, and by what the node says of itself.
async fn enter(
    context: &Context,
    connection: &Connection,
    peer: &Peer,
    hello: &ToCoordinator,
) -> Result<MemberName, Refusal> {
    let asker = Asker::new(peer, connection.remote_address().ip());
    let on = Resource::Member(peer.subject.name.clone());
    context.authorize(&asker, Act::Connect, on).await?;
    // Whatever the policy says, only a node's certificate names a member.
    let member = member_name(peer).ok_or_else(|| {
        Refusal::new(
            RefusalCode::NotAllowed,
            format_args!("{} is no member's node", peer.subject),
        )
    })?;
    check_hello(context, &member, hello)?;
    Ok(member)
}

fn check_hello(
    context: &Context,
    member: &MemberName,
    hello: &ToCoordinator,
) -> Result<(), Refusal> {
    let ToCoordinator::Hello {
        version,
        name,
        charter,
    } = hello
    else {
        return Err(Refusal::new(
            RefusalCode::Malformed,
            "a session begins with Hello",
        ));
    };
    if *version != VERSION {
        return Err(Refusal::new(
            RefusalCode::Version,
            format_args!("the node speaks version {version}, the coordinator {VERSION}"),
        ));
    }
    if name != member {
        return Err(Refusal::new(
            RefusalCode::NotAllowed,
            format_args!("the certificate is for {member}, the node says it is {name}"),
        ));
    }
    let in_force = context.charter.borrow().clone();
    let Some(in_force) = in_force else {
        return Ok(());
    };
    if !in_force.members().iter().any(|entry| entry.name == *member) {
        return Err(Refusal::new(
            RefusalCode::UnknownMember,
            format_args!(
                "{member} is not in charter version {}",
                in_force.charter().version
            ),
        ));
    }
    if charter.is_some_and(|pinned: Digest| pinned != in_force.digest()) {
        // The node gets the charter in force and decides whether it follows.
        debug!(%member, "the node has another charter pinned");
    }
    Ok(())
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
