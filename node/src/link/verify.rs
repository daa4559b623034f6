//! After a step is opened: this site hashes the body it sent, and checks the evidence of the
//! totals. A coordinator found to lie gets nothing more from this site in that run, also after a
//! restart.

use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::StepRef;
use collegium_protocol::message::verify::{EvidenceReady, LinearHashes, OpenedStep};
use collegium_protocol::step::{DisputeRecord, EvidenceError, NodeAction, NodeRecord};
use collegium_protocol::{Refusal, RefusalCode, RunId};
use serde_json::json;

use super::LinkError;
use super::member::{Member, Run};
use crate::ledger::{Action, Entry, Outcome};

/// Openings of one run whose evidence is awaited at once. The coordinator keeps a few steps in
/// check beside the current one; more would be an attempt to fill this node's memory.
const MAX_AWAITED: usize = 64;

/// What this site knows of a run's opened steps.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What the coordinator committed to, until the evidence was seen.
    awaited: Vec<OpenedStep>,
    verified: u32,
    /// Steps whose evidence is incomplete, because a contributor had left.
    incomplete: u32,
}

impl Watch {
    /// Steps verified, incomplete, and never shown: for the ledger at the run's end.
    pub(super) fn summary(&self) -> serde_json::Value {
        json!({
            "verified": self.verified,
            "unverified": self.incomplete as usize + self.awaited.len(),
        })
    }
}

impl Member {
    /// The coordinator commits to a step's totals.
    pub(super) async fn step_opened(&mut self, opened: OpenedStep) -> Result<(), LinkError> {
        let run = opened.step.run;
        let Some(desk) = &mut self.desk else {
            return Ok(());
        };
        if let Err(refusal) = opened.verify(desk.place.charter()) {
            return self.refuse_step(run, opened.step.step, refusal).await;
        }
        let watch = self.watches.entry(run).or_default();
        let before = watch.awaited.iter().find(|it| it.step == opened.step);
        let contradicts = before.is_some_and(|before| before.commitment != opened.commitment);
        if before.is_none() && watch.awaited.len() < MAX_AWAITED {
            watch.awaited.push(opened);
        }
        let asked = match desk.contributors.get_mut(&run) {
            Some(contributor) => contributor.opened(&opened),
            None => Ok(Vec::new()),
        };
        match asked {
            Ok(_) if contradicts => {
                let why = "two signed commitments for one step";
                self.dispute(opened.step, Refusal::new(RefusalCode::TotalsDisputed, why))
                    .await
            }
            Ok(actions) => self.perform(actions).await,
            Err(refusal) => self.dispute(opened.step, refusal).await,
        }
    }

    /// The body's hash is computed.
    pub(super) async fn body_hashed(
        &mut self,
        opened: OpenedStep,
        result: Result<LinearHashes, Refusal>,
    ) -> Result<(), LinkError> {
        let contributor = self
            .desk
            .as_mut()
            .and_then(|desk| desk.contributors.get_mut(&opened.step.run));
        let actions: Vec<NodeAction> = match (result, contributor) {
            (Ok(hashes), Some(contributor)) => contributor.hashed(&opened, hashes),
            (Err(refusal), _) => {
                tracing::error!(run = %opened.step.run, step = %opened.step.step, %refusal, "the body cannot be hashed");
                Vec::new()
            }
            (Ok(_), None) => Vec::new(),
        };
        self.perform(actions).await
    }

    /// A step's evidence can be had: check it beside the session, if this site checks at all.
    pub(super) fn evidence_ready(&self, ready: EvidenceReady) {
        if let Some(charter) = &self.charter
            && self.shared.policy.verify_totals
        {
            self.shared.spawn_check(ready, charter.clone());
        }
    }

    /// The evidence was checked.
    pub(super) async fn checked(
        &mut self,
        step: StepRef,
        result: Result<OpenedStep, CheckError>,
    ) -> Result<(), LinkError> {
        // The run may be over by now; a lie is recorded all the same.
        let mut over = Watch::default();
        let watch = self.watches.get_mut(&step.run).unwrap_or(&mut over);
        let told = watch.awaited.iter().position(|it| it.step == step);
        let told = told.map(|place| watch.awaited.swap_remove(place));
        let why = match result {
            Ok(shown) if told.is_none_or(|told| told.commitment == shown.commitment) => {
                watch.verified += 1;
                return Ok(());
            }
            Ok(_) => "two signed commitments for one step".to_owned(),
            Err(CheckError::Evidence(error @ EvidenceError::Missing(_))) => {
                watch.incomplete += 1;
                tracing::info!(run = %step.run, step = %step.step, %error, "totals unverified");
                return Ok(());
            }
            Err(CheckError::Evidence(error)) => error.to_string(),
            Err(CheckError::NotHad(error)) => {
                watch.incomplete += 1;
                tracing::warn!(run = %step.run, step = %step.step, error, "no evidence to check");
                return Ok(());
            }
        };
        self.dispute(step, Refusal::new(RefusalCode::TotalsDisputed, why))
            .await
    }

    /// The coordinator showed something that cannot be true: durable, in the ledger, and the end
    /// of this site's part in the run.
    async fn dispute(&mut self, step: StepRef, refusal: Refusal) -> Result<(), LinkError> {
        let run: RunId = step.run;
        tracing::error!(%run, step = %step.step, %refusal, "the coordinator's totals are disputed; this site leaves the run");
        let record = NodeRecord::Dispute(DisputeRecord { step });
        self.perform(vec![NodeAction::Persist(record)]).await?;
        self.disputed.insert(run);
        let entry = Entry::new(
            Action::Verify,
            format!("{run}/{}", step.step),
            Outcome::Refused,
        );
        let evidence = json!({"code": u16::from(refusal.code), "reason": refusal.detail()});
        self.shared.record(entry.evidence(evidence)).await?;
        if let Some(state) = self.runs.get_mut(&run) {
            *state = Run::Refused(refusal.clone());
            self.send(ToCoordinator::RunRefused { run, refusal });
        }
        Ok(())
    }
}

/// Why evidence was not found true.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error("the evidence cannot be had: {0}")]
    NotHad(String),
}
