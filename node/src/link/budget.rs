//! The privacy budget: whether a run can be afforded, and paying for a step before it is answered.

use std::time::SystemTime;

use collegium_automl::ask::Ask;
use collegium_automl::noise::{NoiseKey, charge, zcdp};
use collegium_automl::task::DifferentialPrivacy;
use collegium_protocol::{Digest, RunId};
use serde_json::{Value, json};

use super::Shared;
use super::consent::StepAbout;
use crate::store::{Bill, BudgetError, StoreError};

impl Shared {
    /// Whether this site's own budget has room for all that a task may tell. The inner error is
    /// why not, in words that the coordinator may read.
    pub(super) async fn affords(
        &self,
        run: RunId,
        private: Option<(DifferentialPrivacy, u16)>,
    ) -> Result<Result<(), String>, StoreError> {
        let budget = self.config.budget;
        let Some(limit) = budget.limit() else {
            return Ok(Ok(()));
        };
        let Some((privacy, _)) = private else {
            let refused = "this site keeps a privacy budget and takes part only in tasks with \
                           [differential_privacy]";
            return Ok(budget.exact_tasks.then_some(()).ok_or(refused.to_owned()));
        };
        let others = self.store.told(limit, SystemTime::now(), Some(run)).await?;
        let fits = others + privacy.to_plan() <= limit.rho;
        Ok(fits
            .then_some(())
            .ok_or_else(|| BudgetError::Site.to_string()))
    }

    /// Pays for the answer to a step, and tells the ledger's entry `about` it; gives the key of
    /// the site's noise. `None` for a task of exact sums.
    pub(super) async fn pay(
        &self,
        run: RunId,
        ask: &Ask,
        consent: &StepAbout,
        about: &mut Value,
    ) -> Result<Option<(NoiseKey, u16)>, BudgetError> {
        let Some((privacy, shares)) = consent.private() else {
            return Ok(None);
        };
        let cost = charge(ask, shares)?;
        let receipt = self
            .store
            .spend(&Bill {
                run,
                ask: Digest(ask.digest()?.0),
                task: consent.task(),
                privacy,
                cost,
                limit: self.config.budget.limit(),
                now: SystemTime::now(),
            })
            .await?;
        about["privacy"] = json!({
            "rho": cost,
            "run_rho": receipt.run,
            "run_epsilon": zcdp::epsilon(receipt.run.rho(), privacy.delta),
            "delta": privacy.delta,
            "site_rho": receipt.site_rho,
        });
        let key = self.store.noise_key(run).await?;
        Ok(Some((key, shares)))
    }
}
