//! Requests of people's commands: who may ask for what, and the answers.

use std::sync::Arc;

use collegium_protocol::context::task_digest;
use collegium_protocol::ids::{MemberName, RunId};
use collegium_protocol::limits::{
    MAX_ADMIN_REQUEST_BYTES, MAX_ADMIN_RESPONSE_BYTES, MAX_TASK_BYTES,
};
use collegium_protocol::message::admin::{AdminRequest, AdminResponse, RunStatus, RunSummary};
use collegium_protocol::pki::{Peer, Role};
use collegium_protocol::quic::{FrameReceiver, FrameSender, QuicError};
use collegium_protocol::{Refusal, RefusalCode};
use tracing::{info, warn};

use crate::app::Context;
use crate::progress::Watched;
use crate::rounds;
use crate::runs;
use crate::store::{RunState, TaskRecord};
use crate::{charter_service, join_service, members};

/// Answers one request.
pub async fn serve(
    context: &Arc<Context>,
    peer: &Peer,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
) -> Result<(), QuicError> {
    let request: AdminRequest = receiver.expect(MAX_ADMIN_REQUEST_BYTES).await?;
    if let Err(refusal) = allowed(peer.subject.role, &request) {
        warn!(peer = %peer.subject, %refusal, "request denied");
        return answer(sender, &AdminResponse::Refused(refusal)).await;
    }
    if let AdminRequest::WatchRun { run, from } = request {
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
        return sender.delivered().await;
    }
    let response = respond(context, peer, request)
        .await
        .unwrap_or_else(AdminResponse::Refused);
    answer(sender, &response).await
}

async fn answer(mut sender: FrameSender, response: &AdminResponse) -> Result<(), QuicError> {
    sender.send(response, MAX_ADMIN_RESPONSE_BYTES).await?;
    sender.delivered().await
}

/// Who may ask for what. Readable policies come in their own issue; until then
/// this table is the policy, and everything not named is denied.
fn allowed(role: Role, request: &AdminRequest) -> Result<(), Refusal> {
    use AdminRequest as R;
    use Role::{Auditor, Coordinator, Node, Operator, Scientist, Steward, Viewer};
    let fits = match request {
        R::SubmitTask { .. } | R::RerunRun { .. } | R::CancelRun { .. } => {
            matches!(role, Operator | Scientist)
        }
        R::ListRuns | R::WatchRun { .. } | R::Result { .. } => !matches!(role, Coordinator | Node),
        R::Invite { .. } | R::ProposeCharter { .. } => matches!(role, Operator),
        R::ListMembers | R::FetchCharter { .. } => {
            matches!(
                role,
                Auditor | Node | Operator | Scientist | Steward | Viewer
            )
        }
        R::SubmitCharterSignature { .. } => matches!(role, Node),
    };
    if fits {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::NotAllowed,
        format_args!("role {role}"),
    ))
}

async fn respond(
    context: &Arc<Context>,
    peer: &Peer,
    request: AdminRequest,
) -> Result<AdminResponse, Refusal> {
    let actor = peer.subject.to_string();
    match request {
        AdminRequest::SubmitTask { task } => submit(context, &actor, task.as_slice()).await,
        AdminRequest::RerunRun { run } => {
            let next = rounds::rerun(context, run, &actor).await?;
            Ok(AdminResponse::Submitted { run: next })
        }
        AdminRequest::ListRuns => list_runs(context).await,
        AdminRequest::CancelRun { run } => {
            runs::cancel(context, run, &actor).await?;
            Ok(AdminResponse::Done)
        }
        AdminRequest::Result { run } => result(context, run).await,
        AdminRequest::ListMembers => list_members(context).await,
        AdminRequest::Invite { name, address } => invite(context, &actor, &name, address).await,
        AdminRequest::ProposeCharter { members } => {
            let Context {
                store,
                ledger,
                keys,
                ..
            } = context.as_ref();
            charter_service::propose(store, ledger, keys, &actor, &members).await
        }
        AdminRequest::FetchCharter { which } => charter_service::fetch(&context.store, which).await,
        AdminRequest::SubmitCharterSignature {
            charter,
            signature,
            reveal,
        } => {
            let name: MemberName = peer
                .subject
                .name
                .parse()
                .map_err(|error| Refusal::new(RefusalCode::NotAllowed, error))?;
            let (store, ledger) = (&context.store, &context.ledger);
            let response =
                charter_service::sign(store, ledger, &name, charter, signature, reveal).await?;
            context.reload_charter().await.map_err(internal)?;
            Ok(response)
        }
        AdminRequest::WatchRun { .. } => Err(RefusalCode::Internal.into()),
    }
}

async fn invite(
    context: &Context,
    actor: &str,
    name: &MemberName,
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
    join_service::invite(store, ledger, keys, actor, name, &address).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_can_do_what_the_table_says() {
        let run = RunId::from_bytes([1; 16]);
        let submit = AdminRequest::SubmitTask {
            task: Vec::new().into(),
        };
        let cases = [
            (Role::Operator, &submit, true),
            (Role::Scientist, &submit, true),
            (Role::Viewer, &submit, false),
            (Role::Node, &submit, false),
            (Role::Auditor, &AdminRequest::CancelRun { run }, false),
            (Role::Scientist, &AdminRequest::RerunRun { run }, true),
            (Role::Steward, &AdminRequest::RerunRun { run }, false),
            (Role::Viewer, &AdminRequest::WatchRun { run, from: 0 }, true),
            (Role::Node, &AdminRequest::WatchRun { run, from: 0 }, false),
            (
                Role::Scientist,
                &AdminRequest::ProposeCharter { members: vec![] },
                false,
            ),
            (Role::Node, &AdminRequest::ListMembers, true),
            (Role::Coordinator, &AdminRequest::ListRuns, false),
        ];
        for (role, request, expected) in cases {
            assert_eq!(
                allowed(role, request).is_ok(),
                expected,
                "{role} {request:?}"
            );
        }
    }
}
