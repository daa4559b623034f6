//! Carries out what the step machines want, in their order: what is to be persisted is on the
//! disk before anything after it leaves this node.

use std::sync::Arc;

use collegium_automl::ask::{Answer, Ask, Part};
use collegium_crypto::os_rng;
use collegium_protocol::context::ask_digest;
use collegium_protocol::limits::MAX_ASK_BYTES;
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::step::{NodeAction, NodeRecord, ReadyUpload};
use collegium_protocol::{MemberIndex, Refusal, RefusalCode, RunId, StepNumber};
use serde_json::json;

use super::member::Member;
use super::{LinkError, upload};
use crate::ledger::{Action, Entry, Outcome};

impl Member {
    /// Carries out `actions`. A failure to persist ends the daemon: the machines have moved on,
    /// and only a restart from the disk brings them back in line with it.
    pub(super) async fn perform(&mut self, actions: Vec<NodeAction>) -> Result<(), LinkError> {
        let mut records = Vec::new();
        for action in actions {
            if let NodeAction::Persist(record) = action {
                records.push(record);
                continue;
            }
            // What was persisted just before a message tells a first one from a repeated one.
            let fresh = std::mem::take(&mut records);
            self.persist(&fresh).await?;
            match action {
                NodeAction::Persist(_) => {}
                NodeAction::Answer { run, step, ask } => self.ask(run, step, ask.as_slice()),
                NodeAction::Upload(ready) => self.upload(ready),
                NodeAction::HashBody { opened, upload } => self.shared.spawn_hash(opened, upload),
                NodeAction::Send(message) => self.deliver(message, &fresh).await?,
            }
        }
        self.persist(&records).await
    }

    async fn persist(&mut self, records: &[NodeRecord]) -> Result<(), LinkError> {
        if records.is_empty() {
            return Ok(());
        }
        let rows: Vec<(String, Vec<u8>)> = records
            .iter()
            .map(|record| Ok((record.key(), record.to_bytes()?)))
            .collect::<Result<_, LinkError>>()?;
        self.shared.store.put_records(&rows).await?;
        for record in records {
            if let (NodeRecord::Release(release), Some(desk)) = (record, &mut self.desk) {
                desk.cohorts
                    .entry(release.run)
                    .or_default()
                    .insert(release.cohort);
            }
        }
        Ok(())
    }

    /// Hands an ask to the trainer, beside the session.
    fn ask(&self, run: RunId, step: StepNumber, bytes: &[u8]) {
        match Ask::from_bytes(bytes, MAX_ASK_BYTES) {
            Ok(ask) => {
                let about = json!({
                    "ask": ask_digest(bytes),
                    "sequence": ask.sequence,
                    "stage": ask.stage,
                    "parts": ask.parts.iter().map(kind).collect::<Vec<_>>(),
                    "objects": ask.objects(),
                });
                self.shared.spawn_answer(run, step, ask, about);
            }
            // The shape was derived from these very bytes a moment ago.
            Err(error) => tracing::error!(%run, %step, %error, "an ask that had a shape is none"),
        }
    }

    /// The trainer is done with a step: encrypt and upload, or refuse.
    pub(super) async fn answered(
        &mut self,
        run: RunId,
        step: StepNumber,
        about: serde_json::Value,
        result: Result<Answer, Refusal>,
    ) -> Result<(), LinkError> {
        let Some(desk) = &mut self.desk else {
            return Ok(());
        };
        let Some(mut contributor) = desk.contributors.remove(&run) else {
            return Ok(());
        };
        let numbers = result.as_ref().map_or(0, |answer| answer.codes.len());
        // Encryption computes for a while; it must not hold up the network's threads.
        let mut rng = os_rng()?;
        let encrypted = tokio::task::spawn_blocking(move || {
            let actions = match result {
                Ok(answer) => contributor.answered(step, answer.codes, &mut rng),
                Err(refusal) => contributor.failed(step, refusal),
            };
            (contributor, actions)
        });
        let (contributor, actions) = encrypted
            .await
            .map_err(|error| LinkError::Broken(error.to_string()))?;
        if let Some(desk) = &mut self.desk {
            desk.contributors.insert(run, contributor);
        }
        if let Some(NodeAction::Upload(ready)) = actions.last() {
            let entry = Entry::new(Action::Ask, format!("{run}/{step}"), Outcome::Done);
            let evidence = json!({
                "asked": about,
                "context": ready.step.context,
                "numbers": numbers,
                "bytes": ready.body().len(),
            });
            self.shared.record(entry.evidence(evidence)).await?;
        }
        self.perform(actions).await
    }

    /// Streams an upload beside the session. If the connection breaks, the coordinator announces
    /// the step again, and the same bytes are streamed again.
    fn upload(&self, ready: Arc<ReadyUpload>) {
        let Some(connection) = self.shared.connection.borrow().clone() else {
            return;
        };
        tokio::spawn(async move {
            let step = ready.step;
            match upload::stream(&connection, &ready).await {
                Ok(bytes) => tracing::debug!(run = %step.run, step = %step.step, bytes, "uploaded"),
                Err(error) => {
                    tracing::warn!(run = %step.run, step = %step.step, %error, "upload broken off");
                }
            }
        });
    }

    /// Sends a message of the committee or a refusal; the first of each is in the ledger before
    /// it leaves.
    async fn deliver(
        &mut self,
        message: ToCoordinator,
        fresh: &[NodeRecord],
    ) -> Result<(), LinkError> {
        match &message {
            ToCoordinator::StepRefused { run, step, refusal } => {
                let (run, step, refusal) = (*run, *step, refusal.clone());
                if refusal.code == RefusalCode::AlreadyAnswered {
                    tracing::info!(%run, %step, "answered before the restart; waiting for a new step");
                }
                return self.refuse_step(run, step, refusal).await;
            }
            ToCoordinator::Vote(vote) => {
                let given = fresh.iter().find_map(|record| match record {
                    NodeRecord::Committee(record) => record.given.as_ref(),
                    _ => None,
                });
                if let Some(given) = given {
                    let object = format!("{}/{}", vote.step.run, vote.step.step);
                    let evidence = json!({
                        "proposal": vote.proposal,
                        "contributors": self.names(&given.cohort),
                    });
                    let entry = Entry::new(Action::Vote, object, Outcome::Done);
                    self.shared.record(entry.evidence(evidence)).await?;
                }
            }
            ToCoordinator::Release(release) => {
                let record = fresh.iter().find_map(|record| match record {
                    NodeRecord::Release(record) => Some(record),
                    _ => None,
                });
                if let Some(record) = record {
                    let object = format!("{}/{}", release.step.run, release.step.step);
                    let evidence = json!({
                        "proposal": release.proposal,
                        "ask": record.ask,
                        "data": record.data,
                        "cohort": record.cohort,
                    });
                    let entry = Entry::new(Action::Release, object, Outcome::Done);
                    self.shared.record(entry.evidence(evidence)).await?;
                }
            }
            _ => {}
        }
        self.send(message);
        Ok(())
    }

    fn names(&self, members: &[MemberIndex]) -> Vec<String> {
        let name = |index: &MemberIndex| {
            let member = self
                .charter
                .as_ref()
                .and_then(|charter| charter.member(*index));
            member.map_or_else(|| index.to_string(), |member| member.name.to_string())
        };
        members.iter().map(name).collect()
    }
}

/// The kind of a part, as the steward reads it in the ledger.
fn kind(part: &Part) -> &'static str {
    match part {
        Part::Profile(_) => "profile",
        Part::Newton(_) => "newton",
        Part::Descend(_) => "descend",
        Part::Score(_) => "score",
    }
}
