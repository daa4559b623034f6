//! Requests of people's commands: what each is for the access policy, and the answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use collegium_crypto::identity::Signature;
use collegium_protocol::charter::Reveal;
use collegium_protocol::context::task_digest;
use collegium_protocol::ids::{MemberName, RunId};
use collegium_protocol::limits::{
    MAX_ADMIN_REQUEST_BYTES, MAX_ADMIN_RESPONSE_BYTES, MAX_TASK_BYTES,
};
use collegium_protocol::message::admin::{AdminRequest, AdminResponse, RunStatus, RunSummary};
use collegium_protocol::pki::{Peer, Role};
use collegium_protocol::quic::{FrameReceiver, FrameSender, QuicError};
use collegium_protocol::{Digest, Refusal, RefusalCode};
use tracing::{info, warn};

use crate::app::Context;
use crate::authorize::{Act, Asker, Resource};
use crate::progress::Watched;
use crate::rounds;
use crate::runs;
use crate::store::{RunState, TaskRecord};
use crate::{certificates, charter_service, join_service, ledger_service, members, users};

/// Answers one request of `peer`, which comes from `address`.
pub async fn serve(
    context: &Arc<Context>,
    peer: &Peer,
    address: IpAddr,
    sender: FrameSender,
    mut receiver: FrameReceiver,
) -> Result<(), QuicError> {
    let request: AdminRequest = receiver.expect(MAX_ADMIN_REQUEST_BYTES).await?;
    let asker = Asker::new(peer, address);
    if let Err(refusal) = allowed(context, peer, &asker, &request).await {
        return answer(sender, &AdminResponse::Refused(refusal)).await;
    }
    match request {
        AdminRequest::WatchRun { run, from } => watch(context, run, from, sender).await,
        AdminRequest::ReadLedger => ledger_service::serve(context, sender, receiver).await,
        request => {
            let response = respond(context, peer, request).await;
            answer(sender, &response.unwrap_or_else(AdminResponse::Refused)).await
        }
    }
}

/// Sends a run's events until it is over.
async fn watch(
    context: &Context,
    run: RunId,
    from: u64,
    mut sender: FrameSender,
) -> Result<(), QuicError> {
    let Some(progress) = runs::watch(context, run).await else {
        let refusal = Refusal::new(RefusalCode::UnknownRun, run);
        return answer(sender, &AdminResponse::Refused(refusal)).await;
    };
    let mut next = from;
    while let Watched::Event(number, event) = progress.next(next).await {
        let event = AdminResponse::Event(event.as_bytes().to_vec().into());
        sender.send(&event, MAX_ADMIN_RESPONSE_BYTES).await?;
        next = number + 1;
    }
    sender.delivered().await
}

/// Puts the request to the access policy; the answer is in the ledger when this returns.
async fn allowed(
    context: &Context,
    peer: &Peer,
    asker: &Asker,
    request: &AdminRequest,
) -> Result<(), Refusal> {
    if SystemTime::now() >= peer.not_after {
        let why = "your certificate has ended; ask the operator for a new invitation";
        return Err(Refusal::new(RefusalCode::Expired, why));
    }
    let (act, on) = question(context, peer, request).await?;
    context.authorize(asker, act, on).await
}

/// What a request wants to do, and to what.
async fn question(
    context: &Context,
    peer: &Peer,
    request: &AdminRequest,
) -> Result<(Act, Resource), Refusal> {
    use AdminRequest as R;
    let on_run = async |act, run| Ok((act, run_resource(context, run).await?));
    match request {
        R::SubmitTask { .. } => Ok((Act::SubmitTask, Resource::Consortium)),
        R::ListRuns => Ok((Act::ListRuns, Resource::Consortium)),
        R::WatchRun { run, .. } => on_run(Act::WatchRun, *run).await,
        R::Result { run } => on_run(Act::ReadResult, *run).await,
        R::CancelRun { run } => on_run(Act::CancelRun, *run).await,
        R::RerunRun { run } => on_run(Act::RerunRun, *run).await,
        R::ListMembers => Ok((Act::ListMembers, Resource::Consortium)),
        R::Invite { .. } => Ok((Act::InviteMember, Resource::Consortium)),
        R::ProposeCharter { .. } => Ok((Act::ProposeCharter, Resource::Consortium)),
        R::FetchCharter { .. } => Ok((Act::ReadCharter, Resource::Consortium)),
        // The signer is the certificate's member, whatever the message says.
        R::SubmitCharterSignature { .. } => Ok((
            Act::SignCharter,
            Resource::Member(peer.subject.name.clone()),
        )),
        R::InviteUser { .. } => Ok((Act::InviteUser, Resource::Consortium)),
        R::ListUsers => Ok((Act::ListUsers, Resource::Consortium)),
        R::RevokeUser { .. } => Ok((Act::RevokeUser, Resource::Consortium)),
        R::ListCertificates => Ok((Act::ListCertificates, Resource::Consortium)),
        R::RevokeCertificate { serial } => {
            let holder = certificates::holder(&context.store, serial)
                .await
                .map_err(internal)?;
            let holder = holder.map_or_else(String::new, |holder| holder.to_string());
            let serial = *serial;
            Ok((
                Act::RevokeCertificate,
                Resource::Certificate { serial, holder },
            ))
        }
        R::ReadLedger => Ok((Act::ReadLedger, Resource::Consortium)),
        // The certificate of this very connection.
        R::RenewCertificate { .. } => Ok((
            Act::RenewCertificate,
            Resource::Certificate {
                serial: peer.serial,
                holder: peer.subject.to_string(),
            },
        )),
    }
}

async fn run_resource(context: &Context, run: RunId) -> Result<Resource, Refusal> {
    let record = context.store.run(run).await.map_err(internal)?;
    let (task, submitted_by) = record.map_or_else(Default::default, |record| {
        (record.task.name, record.task.submitted_by)
    });
    Ok(Resource::Run {
        run,
        task,
        submitted_by,
    })
}

async fn answer(mut sender: FrameSender, response: &AdminResponse) -> Result<(), QuicError> {
    sender.send(response, MAX_ADMIN_RESPONSE_BYTES).await?;
    sender.delivered().await
}

/// Carries out a request that the access policy allows.
async fn respond(
    context: &Arc<Context>,
    peer: &Peer,
    request: AdminRequest,
) -> Result<AdminResponse, Refusal> {
    use AdminRequest as R;
    let actor = peer.subject.to_string();
    match request {
        R::SubmitTask { task } => submit(context, &actor, task.as_slice()).await,
        R::RerunRun { run } => {
            let run = rounds::rerun(context, run, &actor).await?;
            Ok(AdminResponse::Submitted { run })
        }
        R::ListRuns => list_runs(context).await,
        R::CancelRun { run } => done(runs::cancel(context, run, &actor).await),
        R::Result { run } => result(context, run).await,
        R::ListMembers => list_members(context).await,
        R::Invite { name, address } => invite(context, &actor, (&name, Role::Node), address).await,
        R::InviteUser {
            name,
            role,
            address,
        } => {
            // A node's role is refused there: this is the request for people.
            users::check(&name, role)?;
            invite(context, &actor, (&name, role), address).await
        }
        R::ListUsers => {
            let users = users::list(&context.store).await.map_err(internal)?;
            Ok(AdminResponse::Users(users))
        }
        R::RevokeUser { name } => done(users::revoke(&context.access(), peer, &name).await),
        R::ListCertificates => {
            let list = certificates::list(&context.store, &context.connections).await;
            Ok(AdminResponse::Certificates(list.map_err(internal)?))
        }
        R::RevokeCertificate { serial } => done(context.access().revoke_one(peer, serial).await),
        R::RenewCertificate { request } => {
            let (access, now) = (context.access(), SystemTime::now());
            access.renew(peer, request.as_slice(), now).await
        }
        R::ProposeCharter { members } => propose(context, &actor, &members).await,
        R::FetchCharter { which } => charter_service::fetch(&context.store, which).await,
        R::SubmitCharterSignature {
            charter,
            signature,
            reveal,
        } => sign(context, peer, charter, (signature, reveal)).await,
        // Conversations of their own, begun before.
        R::WatchRun { .. } | R::ReadLedger => Err(RefusalCode::Internal.into()),
    }
}

fn done<T>(result: Result<T, Refusal>) -> Result<AdminResponse, Refusal> {
    result.map(|_| AdminResponse::Done)
}

async fn propose(
    context: &Context,
    actor: &str,
    members: &[MemberName],
) -> Result<AdminResponse, Refusal> {
    let Context {
        store,
        ledger,
        keys,
        ..
    } = context;
    let policy = context.authorizer.in_force().digest;
    charter_service::propose(store, ledger, keys, actor, policy, members).await
}

async fn sign(
    context: &Context,
    peer: &Peer,
    charter: Digest,
    one: (Signature, Option<Reveal>),
) -> Result<AdminResponse, Refusal> {
    let name = peer.subject.name.parse();
    let name = name.map_err(|error| Refusal::new(RefusalCode::NotAllowed, error))?;
    let (store, ledger) = (&context.store, &context.ledger);
    let under_way = context.runs.is_under_way();
    let response = charter_service::sign(store, ledger, &name, charter, one, under_way).await?;
    context.reload_charter().await.map_err(internal)?;
    Ok(response)
}

async fn invite(
    context: &Context,
    actor: &str,
    whom: (&MemberName, Role),
    address: Option<String>,
) -> Result<AdminResponse, Refusal> {
    let address = address
        .or_else(|| context.keys.consortium.address.clone())
        .ok_or_else(|| {
            Refusal::new(
                RefusalCode::Malformed,
                "say with --address where the site reaches the coordinator",
            )
        })?;
    let Context {
        store,
        ledger,
        keys,
        ..
    } = context;
    join_service::invite(store, ledger, keys, actor, whom, &address).await
}

async fn result(context: &Context, run: RunId) -> Result<AdminResponse, Refusal> {
    let record = context.store.run(run).await.map_err(internal)?;
    let record = record.ok_or_else(|| Refusal::new(RefusalCode::UnknownRun, run))?;
    match (record.result, record.reason) {
        (Some(result), _) => Ok(AdminResponse::Result(result.into_bytes().into())),
        (None, Some(reason)) => Err(Refusal::new(RefusalCode::Conflict, reason)),
        (None, None) => Err(Refusal::new(RefusalCode::Conflict, "the run has not ended")),
    }
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    warn!(%error, "a request failed");
    Refusal::new(RefusalCode::Internal, error)
}

async fn submit(
    context: &Arc<Context>,
    actor: &str,
    source: &[u8],
) -> Result<AdminResponse, Refusal> {
    let malformed = |why: &dyn std::fmt::Display| Refusal::new(RefusalCode::Malformed, why);
    if source.len() > MAX_TASK_BYTES {
        return Err(malformed(&format_args!(
            "a task file has at most {MAX_TASK_BYTES} bytes"
        )));
    }
    let text =
        std::str::from_utf8(source).map_err(|_| malformed(&"the task file is not UTF-8 text"))?;
    let task = collegium_automl::task::Task::from_toml(text).map_err(|error| malformed(&error))?;
    let record = TaskRecord {
        digest: task_digest(source),
        name: task.name.clone(),
        source: text.to_owned(),
        submitted_by: actor.to_owned(),
    };
    let run = runs::submit(context, record).await?;
    info!(%run, task = task.name, by = actor, "task submitted");
    Ok(AdminResponse::Submitted { run })
}

async fn list_runs(context: &Context) -> Result<AdminResponse, Refusal> {
    let mut runs = Vec::new();
    for record in context
        .store
        .runs()
        .await
        .map_err(internal)?
        .into_iter()
        .rev()
    {
        runs.push(RunSummary {
            run: record.run,
            task: record.task.name,
            status: match record.state {
                RunState::Queued => RunStatus::Waiting,
                RunState::Running => RunStatus::Running,
                RunState::Champion => RunStatus::Completed,
                RunState::Failed => RunStatus::Failed,
                RunState::Cancelled => RunStatus::Cancelled,
            },
            steps: context
                .store
                .journal_len(record.run)
                .await
                .map_err(internal)?
                .into(),
            submitted: u64::try_from(record.created_at).unwrap_or_default(),
            round: record.round,
            not_before: record.not_before.and_then(|it| u64::try_from(it).ok()),
        });
    }
    Ok(AdminResponse::Runs(runs))
}

async fn list_members(context: &Context) -> Result<AdminResponse, Refusal> {
    let mut list = members::list(&context.store).await.map_err(internal)?;
    let charter = context.charter.borrow().clone();
    for member in &mut list {
        member.connected = context.hub.is_connected(&member.name);
        member.in_charter = charter.as_ref().is_some_and(|charter| {
            charter
                .members()
                .iter()
                .any(|entry| entry.name == member.name)
        });
    }
    Ok(AdminResponse::Members(list))
}
