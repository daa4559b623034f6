//! Opening a certified sum, and writing down that it was opened.

use collegium_automl::ask::Totals;
use collegium_crypto::rand_core::Rng;
use collegium_crypto::randomness::os_rng;
use collegium_crypto::transcript::{self, domain};
use collegium_protocol::codec;
use collegium_protocol::ids::StepNumber;
use collegium_protocol::message::step::ResultCommitment;
use collegium_protocol::step::Opening;
use serde_json::json;
use tracing::warn;

use super::live::{Live, StepEnd};
use super::{Driver, Stop};
use crate::ledger::{Action as LedgerAction, Entry, Outcome};
use crate::store::Salt;

/// The largest encoded commitment: a number and two digests, rounded up.
const MAX_COMMITMENT_BYTES: usize = 128;

impl Driver {
    /// Opens the certified sum; the ledger has the step before anyone sees it.
    pub(super) async fn open(
        &self,
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
            Ok(sums) => {
                let contributors = opening
                    .contributors()
                    .iter()
                    .map(|member| member.get())
                    .collect();
                let totals = Totals { sums, contributors };
                self.record_opening(live, step, &opening, &totals).await?;
                Ok(StepEnd::Opened(totals))
            }
            Err(failure) => {
                let reason = failure.to_string();
                warn!(run = %self.run, %step, reason, "a sum does not open");
                self.write_step(
                    LedgerAction::StepFailed,
                    Outcome::Failed,
                    live,
                    step,
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
        step: StepNumber,
        opening: &Opening,
        totals: &Totals,
    ) -> Result<(), Stop> {
        let failed = |error: &dyn std::fmt::Display| {
            Stop::Failed(format!("step {step} cannot be recorded: {error}"))
        };
        let mut salt = [0; 32];
        os_rng()
            .map_err(|error| failed(&error))?
            .fill_bytes(&mut salt);
        let salt = self
            .context
            .store
            .record_salt(self.run, step, Salt(salt))
            .await?;
        let encoded = codec::encode(totals).map_err(|error| failed(&error))?;
        let commitment = transcript::hash(domain::TOTALS_COMMITMENT, &[&salt.0, &encoded]);
        let told = ResultCommitment {
            step,
            proposal: opening.proposal(),
            totals: commitment,
        };
        let told = codec::encode(&told).map_err(|error| failed(&error))?;
        // A step opened once more after a crash is in the ledger already.
        let object = self.object_name(step);
        if !live.resumed || !self.context.ledger.states(LedgerAction::Step, &object)? {
            let evidence = json!({ "numbers": totals.sums.len(), "totals": commitment });
            self.write_step(
                LedgerAction::Step,
                Outcome::Done,
                live,
                step,
                opening,
                evidence,
            )
            .await?;
        }
        Ok(self
            .context
            .store
            .record_commitment(self.run, step, &told)
            .await?)
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
        step: StepNumber,
        opening: &Opening,
        mut evidence: serde_json::Value,
    ) -> Result<(), Stop> {
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

    /// What the members are told about the step before.
    pub(super) async fn previous(&self) -> Result<Option<ResultCommitment>, Stop> {
        let Some(bytes) = self.context.store.last_commitment(self.run).await? else {
            return Ok(None);
        };
        codec::decode(&bytes, MAX_COMMITMENT_BYTES)
            .map(Some)
            .map_err(|error| {
                Stop::Failed(format!(
                    "the last step's commitment is damaged: {error}; restore collegium.db"
                ))
            })
    }
}
