//! Opening a certified sum, and writing down that it was opened.

use collegium_automl::ask::Totals;
use collegium_protocol::ids::{MemberIndex, MemberName, StepNumber};
use collegium_protocol::step::{OpenedSum, Opening, StepFailure};
use serde_json::json;
use tracing::warn;

use super::live::{Live, StepEnd};
use super::{Driver, Stop};
use crate::ledger::{Action as LedgerAction, Entry, Outcome};

impl Driver {
    /// Opens the certified sum; the ledger has the step before anyone sees it. The inner error is
    /// for the machine, which may try again with more releases.
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
        let opened = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                warn!(run = %self.run, reason = %failure, "a sum does not open yet");
                live.sum = Some(sum);
                return Ok(Err(failure));
            }
        };
        let totals = Totals {
            sums: opened.sums().to_vec(),
            contributors: opening.contributors().iter().map(|it| it.get()).collect(),
        };
        self.record_opening(live, &opening, &opened).await?;
        let verification = opening.verification(opened, &self.context.keys.signing);
        self.begin_check(verification);
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
            StepFailure::NotOpened { contributors, .. } => contributors.as_slice(),
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

    async fn record_opening(
        &self,
        live: &Live,
        opening: &Opening,
        opened: &OpenedSum,
    ) -> Result<(), Stop> {
        // A step opened once more after a crash is in the ledger already.
        let object = self.object_name(opening.plan().reference().step);
        if live.resumed && self.context.ledger.states(LedgerAction::Step, &object)? {
            return Ok(());
        }
        let mut evidence = json!({
            "numbers": opened.sums().len(),
            "proposal": opening.proposal(),
            "totals": opened.commitment(),
        });
        let liars = self.names(opened.false_releases());
        if !liars.is_empty() {
            warn!(run = %self.run, step = object, ?liars, "members released something false");
            evidence["false_releases"] = json!(liars);
        }
        let contributors = opening.contributors();
        self.write_step(
            LedgerAction::Step,
            Outcome::Done,
            live,
            contributors,
            evidence,
        )
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
        let step = live.aggregator.plan().reference().step;
        let names = self.names(contributors);
        if let Some(evidence) = evidence.as_object_mut() {
            evidence.insert("ask".into(), json!(live.ask));
            evidence.insert("contributors".into(), json!(names));
            evidence.insert("sequence".into(), json!(live.sequence));
            evidence.insert("stage".into(), json!(live.stage));
        }
        let entry =
            Entry::new(action, "coordinator", &self.object_name(step), outcome).evidence(evidence);
        Ok(self.context.record(entry).await?)
    }
}
