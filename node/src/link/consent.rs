//! This site's consent: what its policy and its stewards say to runs, asks and sums.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use collegium_automl::ask::Ask;
use collegium_automl::noise::honest_shares;
use collegium_automl::task::{DifferentialPrivacy, Task};
use collegium_protocol::context::task_digest;
use collegium_protocol::{Digest, Refusal, RefusalCode, RunId};
use serde_json::json;
use tokio::task::JoinHandle;

use super::member::{Member, Run};
use super::{Event, LinkError, Shared};
use crate::ledger::{Action, Entry, Outcome};
use crate::policy::{AskFacts, Moment, Offer, TaskFacts, Used};
use crate::store::{Decision, Request, StoreError};
use crate::trainer::Opened;

/// How often a waiting run looks for a steward's word: a person waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of a run that this site was offered, for questions to its policy.
#[derive(Clone)]
pub(super) struct About {
    pub(super) task: Arc<TaskFacts>,
    members: usize,
    pub(super) used: Used,
    /// The steward's approval that it rests on.
    approval: Option<Digest>,
    /// What the task promises, and the shares of noise that are in every sum from members who do
    /// not collude; `None` for exact sums.
    private: Option<(DifferentialPrivacy, u16)>,
}

/// A question about one step: with `used` after it, and its body's bytes.
#[derive(Clone)]
pub(super) struct StepAbout {
    about: About,
    bytes: u64,
}

/// A run that waits for a steward; looking for the answer ends with it.
pub(super) struct Waiting {
    task: Vec<u8>,
    look: JoinHandle<()>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.look.abort();
    }
}

/// Why a step is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    /// The policy or a steward; the coordinator may read it.
    #[error("{0}")]
    Policy(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StepAbout {
    /// The task's name.
    pub(super) fn task(&self) -> &str {
        self.about.task.name()
    }

    /// See [`About::private`].
    pub(super) const fn private(&self) -> Option<(DifferentialPrivacy, u16)> {
        self.about.private
    }
}

impl About {
    fn offer(&self, used: Used) -> Offer<'_> {
        Offer {
            task: &self.task,
            members: self.members,
            used,
            now: Moment::of(SystemTime::now()),
        }
    }

    /// The same for a step whose answer has so many bytes.
    pub(super) fn step(&self, bytes: u64) -> StepAbout {
        StepAbout {
            about: self.clone(),
            bytes,
        }
    }
}

impl Member {
    /// A run's rows were read: the policy says whether this site takes part, and whether a steward
    /// has to.
    pub(super) async fn consent(
        &mut self,
        run: RunId,
        task: &[u8],
        opened: &Opened,
    ) -> Result<(), LinkError> {
        let evidence = json!({ "task": task_digest(task) });
        let Some(mut about) = self.about(run, task, opened).await? else {
            let refusal = Refusal::new(RefusalCode::Malformed, "the task cannot be read");
            return self.refuse_run(run, refusal, evidence).await;
        };
        if let Err(reason) = self.shared.affords(run, about.private).await? {
            let refusal = Refusal::new(RefusalCode::PolicyDenied, reason);
            return self.refuse_run(run, refusal, evidence).await;
        }
        let policy = self.shared.policies.in_force();
        let offer = about.offer(about.used);
        if let Err(reason) = policy.take_part(&offer) {
            let refusal = Refusal::new(RefusalCode::PolicyDenied, reason);
            return self.refuse_run(run, refusal, evidence).await;
        }
        if !policy.unasked(&offer) {
            let request = self.request(run, task, opened, about.members).await?;
            match request.decision {
                Decision::Approved => about.approval = Some(request.id),
                Decision::Pending => {
                    self.wait(run, task, &request);
                    return Ok(());
                }
                Decision::Refused => {
                    let refusal = Refusal::new(RefusalCode::PolicyDenied, refused_by(&request));
                    return self.refuse_run(run, refusal, evidence).await;
                }
            }
        }
        self.abouts.insert(run, about);
        self.accept(run, task, opened).await
    }

    async fn about(
        &self,
        run: RunId,
        task: &[u8],
        opened: &Opened,
    ) -> Result<Option<About>, LinkError> {
        // It was read before, when the run was offered.
        let parsed = std::str::from_utf8(task)
            .ok()
            .and_then(|text| Task::from_toml(text).ok());
        let (Some(parsed), Some(charter)) = (parsed, &self.charter) else {
            return Ok(None);
        };
        let facts = TaskFacts::new(&parsed, &opened.columns);
        let used = self.shared.store.given(run, facts.name()).await?;
        Ok(Some(About {
            task: Arc::new(facts),
            members: charter.members().len(),
            used,
            approval: None,
            private: parsed.differential_privacy.map(|privacy| {
                let least = usize::from(charter.charter().min_contributors);
                (privacy, honest_shares(least, charter.members().len()))
            }),
        }))
    }

    /// The request to the steward, asked now if it was not before; the ledger has what happened.
    async fn request(
        &self,
        run: RunId,
        task: &[u8],
        opened: &Opened,
        members: usize,
    ) -> Result<Request, LinkError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let members = u16::try_from(members).unwrap_or(u16::MAX);
        let asked = Request::new(run, task, &opened.columns, members, now);
        if self.shared.store.request(asked.id).await?.is_none() {
            let entry = Entry::new(Action::Request, asked.id, Outcome::Done);
            let evidence = json!({ "run": run, "task": task_digest(task) });
            self.shared.record(entry.evidence(evidence)).await?;
        }
        let request = self.shared.store.put_request(&asked).await?;
        let outcome = match request.decision {
            Decision::Approved => Outcome::Done,
            Decision::Refused => Outcome::Refused,
            Decision::Pending => return Ok(request),
        };
        if !request.recorded {
            let entry = Entry::new(Action::Approval, request.id, outcome);
            let evidence = json!({
                "run": run,
                "task": task_digest(task),
                "steward": request.steward,
                "reason": request.reason,
            });
            self.shared.record(entry.evidence(evidence)).await?;
            self.shared.store.mark_recorded(request.id).await?;
        }
        Ok(request)
    }

    /// Says nothing to the coordinator until a steward has spoken.
    fn wait(&mut self, run: RunId, task: &[u8], request: &Request) {
        let id = request.short_id();
        tracing::warn!(
            %run,
            "a steward has to approve this task: see `collegium node requests`, then `collegium \
             node approve {id}` or `refuse {id}`"
        );
        self.shared.report_status(
            self,
            true,
            Some(format!("the request {id} waits for a steward")),
        );
        let waiting = Waiting {
            task: task.to_vec(),
            look: self.shared.spawn_look(run, request.id),
        };
        self.runs.insert(run, Run::Waiting(waiting));
    }

    /// A steward has spoken about a run that waits: it is looked at afresh.
    pub(super) fn decided(&mut self, run: RunId) {
        if let Some(Run::Waiting(waiting)) = self.runs.get(&run) {
            let task = waiting.task.clone();
            self.reopen(run, task);
        }
    }

    /// Another policy is in force: every run that this site takes part in is asked about again.
    pub(super) async fn policy_changed(&mut self) -> Result<(), LinkError> {
        let mut again = Vec::new();
        for (run, state) in &self.runs {
            let task = match state {
                Run::Open(_) => self.shared.store.run(*run).await?.map(|record| record.task),
                Run::Waiting(waiting) => Some(waiting.task.clone()),
                Run::Opening(_) | Run::Refused(_) => None,
            };
            again.extend(task.map(|task| (*run, task)));
        }
        for (run, task) in again {
            self.reopen(run, task);
        }
        Ok(())
    }

    /// Reads a run's rows and asks about it once more; its messages wait meanwhile.
    fn reopen(&mut self, run: RunId, task: Vec<u8>) {
        self.runs.insert(run, Run::Opening(Vec::new()));
        self.shared.spawn_open(run, task);
    }

    /// Whether the policy lets this site vote for a sum of its run over so many contributors.
    pub(super) fn may_open(&self, run: RunId, contributors: usize) -> Result<(), Refusal> {
        let (Some(Run::Open(_)), Some(about)) = (self.runs.get(&run), self.abouts.get(&run)) else {
            // Nothing of this site is in the sum.
            return Ok(());
        };
        let now = Moment::of(SystemTime::now());
        let policy = self.shared.policies.in_force();
        policy
            .open(&about.task, contributors, now)
            .map_err(|reason| Refusal::new(RefusalCode::PolicyDenied, reason))
    }
}

impl Shared {
    /// Looks for a steward's word until there is one.
    fn spawn_look(&self, run: RunId, id: Digest) -> JoinHandle<()> {
        let shared = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                match shared.store.request(id).await {
                    Ok(Some(request)) if request.decision != Decision::Pending => break,
                    Ok(_) => {}
                    Err(error) => tracing::error!(%run, %error, "cannot look for a steward's word"),
                }
            }
            shared.finish(Event::Decided { run });
        })
    }

    /// Whether the policy, and the steward's approval if the run rests on one, let this site
    /// answer an ask whose objects the trainer holds.
    pub(super) async fn may_answer(
        &self,
        ask: &Ask,
        columns: Vec<String>,
        step: &StepAbout,
    ) -> Result<(), Denied> {
        let StepAbout { about, bytes } = step;
        let facts = AskFacts::new(ask, columns, *bytes);
        let offer = about.offer(about.used.with(*bytes));
        let policy = self.policies.in_force();
        policy.answer(&offer, &facts).map_err(Denied::Policy)?;
        if let Some(id) = about.approval {
            match self.store.request(id).await? {
                Some(request) if request.decision == Decision::Approved => {}
                Some(request) => return Err(Denied::Policy(refused_by(&request))),
                None => return Err(Denied::Policy("the steward's approval is gone".to_owned())),
            }
        }
        Ok(())
    }
}

/// What the coordinator reads of a steward's refusal.
fn refused_by(request: &Request) -> String {
    let why = match request.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!("a steward of this site does not approve the task{why}")
}
