//! How a node's session begins: what the node says of itself, whether it may enter, and whether its
//! member's place is free.
//!
//! One member has one session. A node may dial again before its old path is known to be dead, so the same
//! process takes its own place over at once. Another process with the same keys, which somebody made by
//! copying a state directory, is turned away as long as the first one answers; when it does not, it is
//! dead, and its place is free.

use std::time::UNIX_EPOCH;

use collegium_protocol::ids::{MemberName, ProcessId};
use collegium_protocol::limits::MAX_TO_COORDINATOR_BYTES;
use collegium_protocol::message::session::{ToCoordinator, ToNode, VERSION};
use collegium_protocol::moment;
use collegium_protocol::pki::Peer;
use collegium_protocol::quic::{Connection, FrameReceiver, QuicError};
use collegium_protocol::{Digest, Refusal, RefusalCode};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{FIRST_MESSAGE, member_name};
use crate::app::Context;
use crate::authorize::{Act, Asker, Resource};
use crate::hub::{SessionId, Standing};
use crate::ledger::{Action, Entry, Outcome};

/// A node that is in.
pub(super) struct Arrived {
    pub(super) member: MemberName,
    /// Digest of the charter that it has pinned.
    pub(super) pinned: Option<Digest>,
    pub(super) session: SessionId,
    /// What the hub has for it.
    pub(super) messages: mpsc::Receiver<ToNode>,
}

/// Why a node is not in.
pub(super) enum NotIn {
    /// It is told so.
    Refused(Refusal),
    /// Its connection broke.
    Lost(QuicError),
}

impl From<Refusal> for NotIn {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<QuicError> for NotIn {
    fn from(error: QuicError) -> Self {
        Self::Lost(error)
    }
}

/// Hears the first two messages, and lets the node in.
pub(super) async fn arrive(
    context: &Context,
    connection: &Connection,
    peer: &Peer,
    receiver: &mut FrameReceiver,
) -> Result<Arrived, NotIn> {
    let hello = next(receiver).await?;
    let member = admit(context, connection, peer).await?;
    let pinned = check_hello(context, &member, &hello)?;
    let ToCoordinator::Process(process) = next(receiver).await? else {
        let why = "the second message of a session is Process";
        return Err(Refusal::new(RefusalCode::Malformed, why).into());
    };
    let (session, messages) = take_place(context, connection, peer, &member, process).await?;
    Ok(Arrived {
        member,
        pinned,
        session,
        messages,
    })
}

async fn next(receiver: &mut FrameReceiver) -> Result<ToCoordinator, NotIn> {
    match timeout(FIRST_MESSAGE, receiver.expect(MAX_TO_COORDINATOR_BYTES)).await {
        Ok(message) => Ok(message?),
        Err(_) => {
            let why = "a session begins with Hello and Process, at once";
            Err(Refusal::new(RefusalCode::Malformed, why).into())
        }
    }
}

/// Whether a session may begin, by the access policy; whose it is.
async fn admit(
    context: &Context,
    connection: &Connection,
    peer: &Peer,
) -> Result<MemberName, Refusal> {
    let asker = Asker::new(peer, connection.remote_address().ip());
    let on = Resource::Member(peer.subject.name.clone());
    context.authorize(&asker, Act::Connect, on).await?;
    // Whatever the policy says, only a node's certificate names a member.
    member_name(peer).ok_or_else(|| {
        Refusal::new(
            RefusalCode::NotAllowed,
            format_args!("{} is no member's node", peer.subject),
        )
    })
}

/// Whether what the node says of itself fits; the charter that it has pinned.
fn check_hello(
    context: &Context,
    member: &MemberName,
    hello: &ToCoordinator,
) -> Result<Option<Digest>, Refusal> {
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
        return Ok(*charter);
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
    Ok(*charter)
}

/// Takes the member's place, unless another process is alive there.
async fn take_place(
    context: &Context,
    connection: &Connection,
    peer: &Peer,
    member: &MemberName,
    process: ProcessId,
) -> Result<(SessionId, mpsc::Receiver<ToNode>), Refusal> {
    let mut dead: Option<Box<Standing>> = None;
    loop {
        let entered = context
            .hub
            .enter(member, process, connection, dead.as_deref());
        let standing = match entered.await {
            Ok(place) => return Ok(place),
            Err(standing) => standing,
        };
        if standing.answers(context.config.session.probe_wait.0).await {
            return Err(turned_away(context, connection, peer, member, process, &standing).await);
        }
        warn!(%member, address = %standing.connection.remote_address(), "the member's node does not answer; another one takes its place");
        dead = Some(standing);
    }
}

/// What a node is told whose member's place is taken; the ledger has it, once for each process.
async fn turned_away(
    context: &Context,
    connection: &Connection,
    peer: &Peer,
    member: &MemberName,
    process: ProcessId,
    standing: &Standing,
) -> Refusal {
    let since = standing.since.duration_since(UNIX_EPOCH);
    let since = moment::minute(since.unwrap_or_default().as_secs());
    let other = standing.connection.remote_address();
    let why = format!(
        "the other one is connected since {since} from {other} and goes on; if it should not be there, stop \
         it, or have the operator revoke {} and join again",
        peer.subject
    );
    if context.hub.turn_away(member, process) {
        let evidence = json!({
            "certificate": peer.fingerprint.to_string(),
            "reason": format!("another process with the same keys is connected from {other} since {since}"),
            "address": connection.remote_address().to_string(),
        });
        let actor = peer.subject.to_string();
        let entry = Entry::new(Action::Refuse, &actor, "session", Outcome::Refused);
        if let Err(error) = context.record(entry.evidence(evidence)).await {
            tracing::error!(%error, "the ledger cannot be written");
        }
    }
    Refusal::new(RefusalCode::AlreadyConnected, why)
}
