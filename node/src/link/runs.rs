//! Runs: offered, accepted or refused, closed, and the site's own report at the end.

use collegium_automl::task::Task;
use collegium_protocol::codec::Blob;
use collegium_protocol::context::task_digest;
use collegium_protocol::limits::MAX_TASK_BYTES;
use collegium_protocol::message::session::{RunOutcome, ToCoordinator};
use collegium_protocol::{Digest, Refusal, RefusalCode, RunId};
use serde_json::json;

use super::LinkError;
use super::member::{Member, Run, Verdict};
use crate::ledger::{Action, Entry, Outcome};
use crate::store::StoreError;
use crate::trainer::{Opened, TrainerError};

/// Runs that may be open here at once. A coordinator drives one at a time; more than this many
/// that were never closed are a fault or an attempt to fill this node's memory.
const MAX_RUNS: usize = 64;

impl Member {
    /// A run is offered, perhaps again after a reconnect.
    pub(super) async fn offered(
        &mut self,
        run: RunId,
        task: Blob,
        digest: Digest,
    ) -> Result<(), LinkError> {
        match self.runs.get(&run) {
            Some(Run::Open(data)) => {
                let data = *data;
                self.send(ToCoordinator::RunAccepted { run, data });
                return Ok(());
            }
            Some(Run::Opening(_) | Run::Waiting(_)) => return Ok(()),
            // A refusal is looked at afresh: the site's data may be readable by now.
            Some(Run::Refused(_)) | None => {}
        }
        if self.disputed.contains(&run) {
            let refusal = RefusalCode::TotalsDisputed.into();
            return self.refuse_run(run, refusal, json!({"task": digest})).await;
        }
        match self.allowed(&task, digest) {
            Ok(name) => {
                tracing::info!(%run, task = name, "run offered");
                self.runs.insert(run, Run::Opening(Vec::new()));
                self.shared.spawn_open(run, task.0);
                Ok(())
            }
            Err(refusal) => self.refuse_run(run, refusal, json!({"task": digest})).await,
        }
    }

    /// Whether this site takes part in runs of the task; gives its name.
    fn allowed(&self, task: &Blob, digest: Digest) -> Result<String, Refusal> {
        if task.len() > MAX_TASK_BYTES || task_digest(task.as_slice()) != digest {
            return Err(Refusal::new(
                RefusalCode::Malformed,
                "the task is not the one announced",
            ));
        }
        let Some(charter) = self.charter.as_ref().filter(|_| self.desk.is_some()) else {
            return Err(RefusalCode::CharterMissing.into());
        };
        let least = self.shared.policy.minimum_contributors;
        if charter.members().len() < usize::from(least) {
            return Err(Refusal::new(
                RefusalCode::PolicyDenied,
                format_args!("this site wants at least {least} contributors"),
            ));
        }
        if self.runs.len() >= MAX_RUNS {
            return Err(RefusalCode::Busy.into());
        }
        let text = std::str::from_utf8(task.as_slice())
            .map_err(|_| Refusal::new(RefusalCode::Malformed, "the task is not UTF-8"))?;
        let name = Task::from_toml(text)
            .map_err(|error| Refusal::new(RefusalCode::Malformed, error))?
            .name;
        let allowed = &self.shared.policy.allowed_tasks;
        if !allowed.is_empty() && !allowed.contains(&name) {
            return Err(Refusal::new(
                RefusalCode::PolicyDenied,
                "the task is not on this site's list",
            ));
        }
        Ok(name)
    }

    pub(super) async fn refuse_run(
        &mut self,
        run: RunId,
        refusal: Refusal,
        evidence: serde_json::Value,
    ) -> Result<(), LinkError> {
        tracing::warn!(%run, %refusal, "this site does not take part");
        let known = matches!(self.runs.get(&run), Some(Run::Refused(before)) if *before == refusal);
        if !known {
            let entry = Entry::new(Action::Run, run, Outcome::Refused).evidence(
                json!({"code": u16::from(refusal.code), "reason": refusal.detail(), "of": evidence}),
            );
            self.shared.record(entry).await?;
        }
        self.runs.insert(run, Run::Refused(refusal.clone()));
        self.send(ToCoordinator::RunRefused { run, refusal });
        Ok(())
    }

    /// The run's rows were read: the run is accepted or refused, and its waiting messages are
    /// handled.
    pub(super) async fn opened(
        &mut self,
        run: RunId,
        task: Vec<u8>,
        result: Result<Opened, TrainerError>,
    ) -> Verdict {
        let held = match self.runs.remove(&run) {
            Some(Run::Opening(held)) => held,
            Some(other) => {
                self.runs.insert(run, other);
                return Ok(None);
            }
            None => return Ok(None),
        };
        let evidence = json!({"task": task_digest(&task)});
        match result {
            Ok(opened) => self.consent(run, &task, &opened).await?,
            Err(TrainerError::Withheld(reason)) => {
                let refusal = Refusal::new(RefusalCode::PolicyDenied, reason);
                self.refuse_run(run, refusal, evidence).await?;
            }
            Err(error) => {
                // What is wrong with the data is the site's own business.
                tracing::error!(%run, %error, "this site cannot take part");
                self.shared
                    .report_status(self, true, Some(error.to_string()));
                let refusal = Refusal::new(
                    RefusalCode::TrainerFailed,
                    "the site's data does not fit the task; its log says what to mend",
                );
                self.refuse_run(run, refusal, evidence).await?;
            }
        }
        for message in held {
            if let Some(reason) = Box::pin(self.message(message)).await? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    pub(super) async fn accept(
        &mut self,
        run: RunId,
        task: &[u8],
        opened: &Opened,
    ) -> Result<(), LinkError> {
        let data = opened.data;
        let known = self.shared.store.run(run).await?.is_some();
        match self.shared.store.accept_run(run, task, data).await {
            Ok(_) => {}
            Err(StoreError::Conflict { what, .. }) => {
                let detail = format!("the site's {what} changed since the run began");
                let refusal = Refusal::new(RefusalCode::TrainerFailed, detail);
                return self
                    .refuse_run(run, refusal, json!({"task": task_digest(task)}))
                    .await;
            }
            Err(error) => return Err(error.into()),
        }
        if !known {
            let evidence = json!({"task": task_digest(task), "data": data});
            let entry = Entry::new(Action::Run, run, Outcome::Done).evidence(evidence);
            self.shared.record(entry).await?;
        }
        tracing::info!(%run, rows = opened.rows, "this site takes part");
        self.runs.insert(run, Run::Open(data));
        self.send(ToCoordinator::RunAccepted { run, data });
        Ok(())
    }

    /// A run is over: nothing more is given in it, and this site writes its own report.
    pub(super) async fn closed(
        &mut self,
        run: RunId,
        outcome: RunOutcome,
        champion: Option<Digest>,
    ) -> Result<(), LinkError> {
        if let Some(desk) = &mut self.desk {
            let actions = desk.committee.close(run);
            desk.contributors.remove(&run);
            self.perform(actions).await?;
        }
        self.runs.remove(&run);
        self.abouts.remove(&run);
        self.streams.remove(&run);
        let watch = self.watches.remove(&run).unwrap_or_default();
        let Some(record) = self.shared.store.run(run).await? else {
            // This site never took part.
            return Ok(());
        };
        if !record.closed {
            let (result, how) = match &outcome {
                RunOutcome::Completed => (Outcome::Done, "completed".to_owned()),
                RunOutcome::Failed(refusal) => (Outcome::Failed, refusal.to_string()),
                RunOutcome::Cancelled => (Outcome::Refused, "cancelled".to_owned()),
            };
            tracing::info!(%run, how, "run closed");
            let entry = Entry::new(Action::Close, run, result);
            self.shared
                .record(entry.evidence(json!({
                    "how": how,
                    "champion": champion,
                    "totals": watch.summary(),
                })))
                .await?;
            self.shared.store.close_run(run).await?;
        }
        match champion {
            _ if record.reported => self.send(ToCoordinator::RunReportReady { run }),
            Some(champion) => {
                if self.reporting.insert(run) {
                    self.shared.spawn_report(run, record, champion);
                }
            }
            None => self.shared.trainer.close(run),
        }
        Ok(())
    }

    /// The site's report is written. Its figures stay here; the coordinator learns only that it
    /// is there.
    pub(super) async fn reported(
        &mut self,
        run: RunId,
        result: Result<(), String>,
    ) -> Result<(), LinkError> {
        self.reporting.remove(&run);
        match result {
            Ok(()) => {
                self.shared
                    .record(Entry::new(Action::Report, run, Outcome::Done))
                    .await?;
                self.shared.store.mark_reported(run).await?;
                tracing::info!(%run, "the site's own report is written");
                self.send(ToCoordinator::RunReportReady { run });
            }
            Err(reason) => {
                tracing::error!(%run, reason, "the site's own report cannot be written");
                let entry = Entry::new(Action::Report, run, Outcome::Failed);
                self.shared
                    .record(entry.evidence(json!({"reason": reason})))
                    .await?;
            }
        }
        Ok(())
    }
}
