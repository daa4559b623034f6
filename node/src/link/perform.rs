//! Carries out what the step machines want, in their order: what is to be persisted is on the
//! disk before anything after it leaves this node.

use std::sync::Arc;

use collegium_automl::ask::{Ask, Part};
use collegium_crypto::encode::Packing;
use collegium_protocol::context::ask_digest;
use collegium_protocol::limits::MAX_ASK_BYTES;
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::StepRef;
use collegium_protocol::quic::Connection;
use collegium_protocol::step::{NodeAction, NodeRecord, ReadyUpload};
use collegium_protocol::{MemberIndex, Refusal, RefusalCode, RunId, StepNumber};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::LinkError;
use super::consent::StepAbout;
use super::member::{Member, Run};
use super::steps::shape;
use super::work::Asked;
use crate::ledger::{Action, Entry, Outcome};
use crate::store::StoreError;
use crate::trainer::Answered;

/// A record as it is stored: key and bytes.
type Row = (String, Vec<u8>);

/// Records that are being written while the trainer computes.
pub(super) struct Unsynced {
    writing: JoinHandle<Result<(), StoreError>>,
    /// Turns true when they are on the disk; closed when they never will be.
    synced: watch::Receiver<bool>,
}

impl Member {
    /// Carries out `actions`. A failure to persist ends the daemon: the machines have moved on,
    /// and only a restart from the disk brings them back in line with it.
    ///
    /// Two things run side by side where their order cannot be seen from outside: the trainer
    /// with the records of the step it answers (the upload waits for them), and a record with the
    /// ledger entry about it (the message waits for both).
    pub(super) async fn perform(&mut self, actions: Vec<NodeAction>) -> Result<(), LinkError> {
        let mut records = Vec::new();
        for action in actions {
            match action {
                NodeAction::Persist(record) => records.push(record),
                NodeAction::Answer { run, step, ask } => {
                    let rows = self.take_rows(&mut records).await?;
                    self.persist_beside(rows);
                    self.ask(run, step, ask.as_slice());
                }
                NodeAction::Upload(ready) => {
                    let rows = self.take_rows(&mut records).await?;
                    self.shared.store.put_records(&rows).await?;
                    self.upload(ready);
                }
                NodeAction::HashBody { opened, upload } => self.shared.spawn_hash(opened, upload),
                NodeAction::Send(message) => {
                    // What is persisted just before a message tells a first one from a repeated
                    // one: the first is in the ledger before it leaves.
                    let entry = self.entry(&message, &records);
                    let rows = self.take_rows(&mut records).await?;
                    self.persist_and_record(rows, entry).await?;
                    self.deliver(message).await?;
                }
            }
        }
        let rows = self.take_rows(&mut records).await?;
        Ok(self.shared.store.put_records(&rows).await?)
    }

    /// Turns records into what is stored of them, after those before are on the disk.
    async fn take_rows(&mut self, records: &mut Vec<NodeRecord>) -> Result<Vec<Row>, LinkError> {
        self.settle().await?;
        let mut rows = Vec::new();
        for record in records.drain(..) {
            rows.push((record.key(), record.to_bytes()?));
            if let (NodeRecord::Release(release), Some(desk)) = (&record, &mut self.desk) {
                desk.cohorts
                    .entry(release.run)
                    .or_default()
                    .insert(release.cohort);
            }
        }
        Ok(rows)
    }

    /// Waits until records that were being written are on the disk.
    async fn settle(&mut self) -> Result<(), LinkError> {
        if let Some(unsynced) = self.unsynced.take() {
            let written = unsynced.writing.await;
            written.map_err(|error| LinkError::Broken(error.to_string()))??;
        }
        Ok(())
    }

    fn persist_beside(&mut self, rows: Vec<Row>) {
        let (done, synced) = watch::channel(false);
        let store = self.shared.store.clone();
        let writing = tokio::spawn(async move {
            let written = store.put_records(&rows).await;
            if written.is_ok() {
                done.send_replace(true);
            }
            written
        });
        self.unsynced = Some(Unsynced { writing, synced });
    }

    async fn persist_and_record(
        &self,
        rows: Vec<Row>,
        entry: Option<Entry>,
    ) -> Result<(), LinkError> {
        let stored = async { Ok(self.shared.store.put_records(&rows).await?) };
        match entry {
            None => stored.await,
            Some(entry) => tokio::try_join!(stored, self.shared.record(entry)).map(drop),
        }
    }

    /// Hands an ask to the trainer, beside the session.
    fn ask(&self, run: RunId, step: StepNumber, bytes: &[u8]) {
        // The shape was derived from these very bytes a moment ago, for a run that is open.
        let (Ok(ask), Some(Run::Open(data))) =
            (Ask::from_bytes(bytes, MAX_ASK_BYTES), self.runs.get(&run))
        else {
            tracing::error!(%run, %step, "an ask that had a shape is none");
            return;
        };
        let about = json!({
            "ask": ask_digest(bytes),
            "sequence": ask.sequence,
            "stage": ask.stage,
            "parts": ask.parts.iter().map(Part::name).collect::<Vec<_>>(),
            "objects": ask.objects(),
        });
        let Some(consent) = self.step_about(run, &ask) else {
            tracing::error!(%run, %step, "an ask of a run that nobody was asked about");
            return;
        };
        let asked = Asked {
            ask,
            about,
            consent,
        };
        self.shared.spawn_answer(run, step, *data, asked);
    }

    /// What the site's policy is told of a step of an open run.
    fn step_about(&self, run: RunId, ask: &Ask) -> Option<StepAbout> {
        let charter = self.charter.as_ref()?;
        let roster = charter.members().len();
        let packing = Packing::plan(&shape(ask), roster, charter.params()).ok()?;
        Some(self.abouts.get(&run)?.step(packing.body_len() as u64))
    }

    /// The trainer is done with a step: seal and upload, or refuse.
    pub(super) async fn answered(
        &mut self,
        run: RunId,
        step: StepNumber,
        about: serde_json::Value,
        result: Result<Answered, Refusal>,
    ) -> Result<(), LinkError> {
        let desk = self.desk.as_mut();
        let Some(contributor) = desk.and_then(|desk| desk.contributors.get_mut(&run)) else {
            return Ok(());
        };
        let (codes, withheld) = match result {
            Ok(answered) => (answered.answer.codes, answered.withheld),
            Err(refusal) => {
                let actions = contributor.failed(step, refusal);
                return self.perform(actions).await;
            }
        };
        let numbers = codes.len();
        let Some(sealing) = contributor.seal(step, codes) else {
            return Ok(());
        };
        let entry = Entry::new(Action::Ask, format!("{run}/{step}"), Outcome::Done);
        let mut evidence = json!({
            "asked": about,
            "context": sealing.step().context,
            "numbers": numbers,
            "bytes": sealing.header().body_len,
        });
        if !withheld.is_empty() {
            evidence["withheld"] = json!(withheld);
        }
        let bytes = sealing.header().body_len;
        let given = self.abouts.get_mut(&run).map(|about| {
            about.used = about.used.with(bytes);
            (about.task.name().to_owned(), bytes)
        });
        let synced = match &self.unsynced {
            Some(unsynced) => unsynced.synced.clone(),
            None => watch::channel(true).1,
        };
        self.streams.insert(run, self.connection_id());
        self.shared
            .spawn_seal(sealing, entry.evidence(evidence), given, synced);
        Ok(())
    }

    /// An upload is whole, and kept for as long as its step lives; or there is none.
    pub(super) async fn sealed(
        &mut self,
        step: StepRef,
        result: Result<Arc<ReadyUpload>, Refusal>,
    ) -> Result<(), LinkError> {
        let desk = self.desk.as_mut();
        let Some(contributor) = desk.and_then(|desk| desk.contributors.get_mut(&step.run)) else {
            return Ok(());
        };
        match result {
            Ok(ready) => {
                contributor.sealed(ready);
                Ok(())
            }
            Err(refusal) => {
                let actions = contributor.failed(step.step, refusal);
                self.perform(actions).await
            }
        }
    }

    /// Streams a kept upload over the connection there is now.
    fn upload(&mut self, ready: Arc<ReadyUpload>) {
        self.streams.insert(ready.step.run, self.connection_id());
        self.shared.spawn_upload(ready);
    }

    fn connection_id(&self) -> Option<usize> {
        self.shared.connection.borrow().as_ref().map(Connection::id)
    }

    /// An upload broke off. If there is another connection by now and nothing was streamed over
    /// it, the coordinator asked for the upload while it was not whole yet; else it has it on its
    /// way, or will ask again.
    pub(super) fn upload_again(&mut self, step: StepRef, failed: Option<usize>) {
        let now = self.connection_id();
        let begun = self.streams.get(&step.run).copied().flatten();
        let desk = self.desk.as_ref();
        let contributor = desk.and_then(|desk| desk.contributors.get(&step.run));
        let ready = contributor.and_then(|contributor| contributor.upload(step.step));
        if let Some(ready) = ready.filter(|_| now.is_some() && now != failed && begun == failed) {
            self.upload(ready);
        }
    }

    /// What the ledger says of a message of the committee, if it is a first one.
    fn entry(&self, message: &ToCoordinator, fresh: &[NodeRecord]) -> Option<Entry> {
        match message {
            ToCoordinator::Vote(vote) => {
                let given = fresh.iter().find_map(|record| match record {
                    NodeRecord::Committee(record) => record.given.as_ref(),
                    _ => None,
                })?;
                let object = format!("{}/{}", vote.step.run, vote.step.step);
                let evidence = json!({
                    "proposal": vote.proposal,
                    "contributors": self.names(&given.cohort),
                });
                Some(Entry::new(Action::Vote, object, Outcome::Done).evidence(evidence))
            }
            ToCoordinator::Release(release) => {
                let record = fresh.iter().find_map(|record| match record {
                    NodeRecord::Release(record) => Some(record),
                    _ => None,
                })?;
                let object = format!("{}/{}", release.step.run, release.step.step);
                let evidence = json!({
                    "proposal": release.proposal,
                    "ask": record.ask,
                    "data": record.data,
                    "cohort": record.cohort,
                });
                Some(Entry::new(Action::Release, object, Outcome::Done).evidence(evidence))
            }
            _ => None,
        }
    }

    /// Sends a message of the committee, or a refusal, which is put on record.
    async fn deliver(&mut self, message: ToCoordinator) -> Result<(), LinkError> {
        let ToCoordinator::StepRefused { run, step, refusal } = message else {
            self.send(message);
            return Ok(());
        };
        if refusal.code == RefusalCode::AlreadyAnswered {
            tracing::info!(%run, %step, "answered before the restart; waiting for a new step");
        }
        self.refuse_step(run, step, refusal).await
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
