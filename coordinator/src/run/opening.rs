//! Opening a certified sum, and writing down that it was opened.

use collegium_automl::ask::Totals;
use collegium_protocol::ids::StepNumber;
use collegium_protocol::step::{OpenedSum, Opening};
use serde_json::json;
use tracing::warn;

use super::live::{Live, StepEnd};
use super::{Driver, Stop};
use crate::ledger::{Action as LedgerAction, Entry, Outcome};

impl Driver {
    /// Opens the certified sum; the ledger has the step before anyone sees it.
    pub(super) async fn open(
        &mut self,
        live: &mut Live,
        opening: Box<Opening>,
    ) -> Result<StepEnd, Stop> {
        let sum = live
            .sum
            .take()
            .ok_or_else(|| Stop::Failed("the summed body is not there".to_owned()))?;
        let opened = tokio::task::spawn_blocking(move || (opening.open(&sum), opening));
        let (opened, opening) = opened
            .await
            .map_err(|error| Stop::Failed(format!("opening a sum: {error}")))?;
        let step = opening.plan().reference().step;
        match opened {
            Ok(opened) => {
                let contributors = opening
                    .contributors()
                    .iter()
                    .map(|member| member.get())
                    .collect();
                let totals = Totals {
                    sums: opened.sums().to_vec(),
                    contributors,
                };
                self.record_opening(live, &opening, &opened).await?;
                let key = &self.context.keys.signing;
                let verification = opening.verification(opened, key);
                self.begin_check(verification);
                Ok(StepEnd::Opened(totals))
            }
            Err(failure) => {
                let reason = failure.to_string();
                warn!(run = %self.run, %step, reason, "a sum does not open");
                self.write_step(
                    LedgerAction::StepFailed,
                    Outcome::Failed,
                    live,
                    &opening,
                    json!({ "reason": reason }),
                )
                .await?;
                self.context
                    .store
                    .spoil_step(self.run, step, &reason)
                    .await?;
                Ok(StepEnd::Spoiled(reason))
            }
        }
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
        let evidence = json!({ "numbers": opened.sums().len(), "totals": opened.commitment() });
        self.write_step(LedgerAction::Step, Outcome::Done, live, opening, evidence)
            .await
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
        opening: &Opening,
        mut evidence: serde_json::Value,
    ) -> Result<(), Stop> {
        let step = opening.plan().reference().step;
        let names = opening
            .contributors()
            .iter()
            .filter_map(|member| self.name(*member));
        if let Some(evidence) = evidence.as_object_mut() {
            evidence.insert("ask".into(), json!(live.ask));
            evidence.insert("contributors".into(), json!(names.collect::<Vec<_>>()));
            evidence.insert("proposal".into(), json!(opening.proposal()));
            evidence.insert("sequence".into(), json!(live.sequence));
            evidence.insert("stage".into(), json!(live.stage));
        }
        let entry =
            Entry::new(action, "coordinator", &self.object_name(step), outcome).evidence(evidence);
        Ok(self.context.record(entry).await?)
    }
}
