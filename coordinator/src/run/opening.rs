//! Opening a certified sum, and writing down that it was opened.

use collegium_automl::ask::Totals;
use collegium_protocol::ids::{MemberIndex, MemberName, StepNumber};
use collegium_protocol::step::{HashCheck, OpenedSum, Opening, StepFailure};
use serde_json::json;
use tracing::warn;

use super::live::{Live, StepEnd};
use super::verify::OTHER_KEY;
use super::{Driver, Stop};
use crate::ledger::{Action as LedgerAction, Entry, Outcome};

impl Driver {
    /// Opens the certified sum; the ledger has the step before the search sees its totals, and of a
    /// short sum the contributors have hashed their keys, if they are there to do so. The inner error
    /// is for the machine, which may try again with more releases.
    pub(super) async fn open(
        &mut self,
        live: &mut Live,
        opening: Box<Opening>,
    ) -> Result<Result<StepEnd, StepFailure>, Stop> {
        let sum = live
            .sum
            .take()
            .ok_or_else(|| Stop::Failed("the summed body is not there".to_owned()))?;
        let opened = tokio::task::spawn_blocking(move || (opening.open(&sum), opening, sum));
        let (opened, opening, sum) = opened
            .await
            .map_err(|error| Stop::Failed(format!("opening a sum: {error}")))?;
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                warn!(run = %self.run, reason = %failure, "a sum does not open yet");
                live.sum = Some(sum);
                return Ok(Err(failure));
            }
        };
        let evidence = self.evidence_of(&opening, &opened);
        let totals = Totals {
            sums: opened.take_sums(),
            contributors: opening.contributors().iter().map(|it| it.get()).collect(),
        };
        let (short, contributors) = (opening.plan().is_short(), opening.contributors().to_vec());
        // The contributors hash while the ledger is written.
        let step = self.begin_check(opening.verification(opened, &self.context.keys.signing));
        self.record_opening(live, &contributors, evidence).await?;
        if short && self.hashes_of(step).await? == Some(HashCheck::OtherKey) {
            let failure = StepFailure::NotOpened {
                step,
                contributors,
                reason: OTHER_KEY.to_owned(),
            };
            return Ok(Ok(self.spoiled(live, &failure).await?));
        }
        Ok(Ok(StepEnd::Opened(totals)))
    }

    /// The sum never opens: on record, and not asked for again.
    pub(super) async fn spoiled(
        &self,
        live: &Live,
        failure: &StepFailure,
    ) -> Result<StepEnd, Stop> {
        let step = live.aggregator.plan().reference().step;
        let reason = failure.to_string();
        warn!(run = %self.run, %step, reason, "a sum does not open");
        let contributors = match failure {
            StepFailure::NotOpened { contributors, .. }
            | StepFailure::NotReleased { contributors, .. } => contributors.as_slice(),
            _ => &[],
        };
        self.write_step(
            LedgerAction::StepFailed,
            Outcome::Failed,
            live,
            contributors,
            json!({ "reason": reason }),
        )
        .await?;
        self.context
            .store
            .spoil_step(self.run, step, &reason)
            .await?;
        Ok(StepEnd::Spoiled(reason))
    }

    /// What the ledger says of an opening.
    fn evidence_of(&self, opening: &Opening, opened: &OpenedSum) -> serde_json::Value {
        let mut evidence = json!({
            "numbers": opened.sums().len(),
            "proposal": opening.proposal(),
            "totals": opened.commitment(),
        });
        let liars = self.names(opened.false_releases());
        if !liars.is_empty() {
            let step = opening.plan().reference().step;
            warn!(run = %self.run, %step, ?liars, "members released something false");
            evidence["false_releases"] = json!(liars);
        }
        evidence
    }

    async fn record_opening(
        &self,
        live: &Live,
        contributors: &[MemberIndex],
        evidence: serde_json::Value,
    ) -> Result<(), Stop> {
        // A step opened once more after a crash is in the ledger already.
        let object = self.object_name(live.aggregator.plan().reference().step);
        if live.resumed && self.context.ledger.states(LedgerAction::Step, &object)? {
            return Ok(());
        }
        let (action, done) = (LedgerAction::Step, Outcome::Done);
        self.write_step(action, done, live, contributors, evidence)
            .await
    }

    fn names(&self, members: &[MemberIndex]) -> Vec<&MemberName> {
        members.iter().filter_map(|it| self.name(*it)).collect()
    }

    /// How the ledger names a step.
    pub(super) fn object_name(&self, step: StepNumber) -> String {
        format!("{}/{step}", self.run)
    }

    async fn write_step(
        &self,
        action: LedgerAction,
        outcome: Outcome,
        live: &Live,
        contributors: &[MemberIndex],
        mut evidence: serde_json::Value,
    ) -> Result<(), Stop> {
        let plan = live.aggregator.plan();
        let reference = plan.reference();
        let step = reference.step;
        let names = self.names(contributors);
        if let Some(evidence) = evidence.as_object_mut() {
            evidence.insert("ask".into(), json!(live.ask));
            // As the members' ledgers name them.
            evidence.insert("ask_digest".into(), json!(plan.context().ask));
            evidence.insert("context".into(), json!(reference.context));
            evidence.insert("contributors".into(), json!(names));
            evidence.insert("sequence".into(), json!(live.sequence));
            evidence.insert("stage".into(), json!(live.stage));
            if let Some(rho) = live.rho {
                evidence.insert("rho".into(), json!(rho));
            }
        }
        let entry =
            Entry::new(action, "coordinator", &self.object_name(step), outcome).evidence(evidence);
        Ok(self.context.record(entry).await?)
    }
}
