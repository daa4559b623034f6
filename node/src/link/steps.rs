//! Steps: what is announced and proposed, this site's own bounds, and refusals on record.

use std::collections::BTreeSet;
use std::sync::Arc;

use collegium_automl::ask::Ask;
use collegium_crypto::{Segment, Shape};
use collegium_protocol::limits::MAX_ASK_BYTES;
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::{Announce, Propose, cohort_under};
use collegium_protocol::step::{Contributor, LocalVerdict, UNSEEN_DATA};
use collegium_protocol::{Refusal, RefusalCode, RunId, StepNumber};
use serde_json::json;

use super::LinkError;
use super::member::{Member, Run};
use crate::ledger::{Action, Entry, Outcome};

impl Member {
    /// A step is announced.
    pub(super) async fn announced(&mut self, announce: Announce) -> Result<(), LinkError> {
        let (run, step) = (announce.context.run, announce.context.step);
        let verdict = match self.runs.get(&run) {
            Some(Run::Open(_)) => shape_of(announce.ask.as_slice()),
            Some(Run::Refused(refusal)) => Err(refusal.clone()),
            Some(Run::Waiting(_)) => Err(Refusal::new(
                RefusalCode::PolicyDenied,
                "a steward of this site has not approved the task yet",
            )),
            Some(Run::Opening(_)) | None => Err(RefusalCode::UnknownRun.into()),
        };
        let verdict = match verdict {
            Ok(shape) => LocalVerdict::Allowed { shape },
            Err(refusal) => LocalVerdict::Refused(refusal),
        };
        let data = match self.runs.get(&run) {
            Some(Run::Open(data)) => *data,
            _ => self
                .shared
                .store
                .run(run)
                .await?
                .map_or(UNSEEN_DATA, |record| record.data),
        };
        if !self.seat_at(run).await? {
            let refusal = RefusalCode::CharterMissing.into();
            self.send(ToCoordinator::StepRefused { run, step, refusal });
            return Ok(());
        }
        let Some(desk) = &mut self.desk else {
            return Ok(());
        };
        let mut actions = desk.committee.announce(&announce, data);
        if let Some(contributor) = desk.contributors.get_mut(&run) {
            actions.extend(contributor.announce(&announce, verdict));
        }
        self.perform(actions).await
    }

    /// Makes sure the run has its contributor; false without a place in the charter.
    async fn seat_at(&mut self, run: RunId) -> Result<bool, LinkError> {
        let Some(desk) = &self.desk else {
            return Ok(false);
        };
        if !desk.contributors.contains_key(&run) {
            let records = self.records().await?;
            if let Some(desk) = &mut self.desk {
                let place = Arc::clone(&desk.place);
                desk.contributors
                    .insert(run, Contributor::restore(place, run, &records));
            }
        }
        Ok(true)
    }

    /// A contributing set is proposed: this site's own bounds first, then the scheme's rules.
    pub(super) async fn proposed(&mut self, propose: Propose) -> Result<(), LinkError> {
        let run = propose.step.run;
        let opening = self.may_open(run, propose.entries.len());
        let Some(desk) = &mut self.desk else {
            return Ok(());
        };
        let policy = &self.shared.policy;
        let cohort = cohort_under(desk.place.charter(), &propose.members());
        let known = desk.cohorts.get(&run);
        let fresh = known.is_none_or(|known| !known.contains(&cohort));
        let refusal = if propose.entries.len() < usize::from(policy.minimum_contributors) {
            let least = policy.minimum_contributors;
            Some(Refusal::new(
                RefusalCode::PolicyDenied,
                format_args!("this site wants at least {least} contributors"),
            ))
        } else if fresh && known.map_or(0, BTreeSet::len) >= policy.max_cohort_changes as usize {
            let most = policy.max_cohort_changes;
            Some(Refusal::new(
                RefusalCode::CohortLimit,
                format_args!("this site lets {most} different sets through in a run"),
            ))
        } else {
            opening.err()
        };
        match refusal {
            Some(refusal) => self.refuse_step(run, propose.step.step, refusal).await,
            None => {
                let actions = desk.committee.propose(&propose);
                self.perform(actions).await
            }
        }
    }

    /// Refuses to go on in a step, on record; the same refusal again is not recorded again.
    pub(super) async fn refuse_step(
        &mut self,
        run: RunId,
        step: StepNumber,
        refusal: Refusal,
    ) -> Result<(), LinkError> {
        tracing::warn!(%run, %step, %refusal, "refused");
        let this = (run, step, refusal.code);
        if self.last_refusal != Some(this) {
            self.last_refusal = Some(this);
            let entry = Entry::new(Action::Ask, format!("{run}/{step}"), Outcome::Refused);
            let evidence = json!({"code": u16::from(refusal.code), "reason": refusal.detail()});
            self.shared.record(entry.evidence(evidence)).await?;
        }
        self.send(ToCoordinator::StepRefused { run, step, refusal });
        Ok(())
    }
}

/// The answer's shape, derived here from the ask: only the closed, capped kinds have one.
fn shape_of(ask: &[u8]) -> Result<Shape, Refusal> {
    let ask = Ask::from_bytes(ask, MAX_ASK_BYTES)
        .map_err(|error| Refusal::new(RefusalCode::AskNotUnderstood, error))?;
    Ok(shape(&ask))
}

/// The shape of an ask's answer.
pub(super) fn shape(ask: &Ask) -> Shape {
    let segment = |segment: collegium_automl::ask::Segment| Segment {
        max: segment.max_code(),
        count: segment.count(),
    };
    Shape(ask.segments().into_iter().map(segment).collect())
}
