//! After an opening: the contributors hash the bodies and keys of what they sent, and the evidence of
//! the totals is kept and shown to the members. That goes on beside the steps that follow; only the
//! totals of a short sum wait for the hashes, since of those the noise check alone says too little.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use collegium_protocol::Digest;
use collegium_protocol::ids::{MemberIndex, StepNumber};
use collegium_protocol::message::session::ToNode;
use collegium_protocol::message::verify::{BodyHash, EvidenceReady};
use collegium_protocol::step::{HashCheck, Verification};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Driver, Stop};
use crate::app::Context;
use crate::ledger::{Action, Entry, Outcome};

/// Steps in check at once, beside the one under way: their totals are held in memory meanwhile. A
/// contributor hashes as soon as it hears of the opening, so more than one is seldom needed.
const MOST_CHECKS: usize = 2;

/// How long hashes of members that are connected are waited for: those of a short sum, and the last
/// ones at a run's end.
const HASHES_WAIT: Duration = Duration::from_secs(10);

/// Why the totals of a short sum are not used.
pub(super) const OTHER_KEY: &str = "the key that was released is not the sum of the keys that the \
    contributors hashed: a seat released something false, or a contributor hashed another key";

/// Opened steps whose hashes come in.
#[derive(Default)]
pub(super) struct Checks {
    open: BTreeMap<StepNumber, Verification>,
    /// Members that restarted and have no body of theirs to hash any more.
    lost: BTreeSet<(StepNumber, MemberIndex)>,
    /// What the hashes of the step that was checked last say.
    last: Option<(StepNumber, HashCheck)>,
    /// A short sum whose totals should not have been used: its hashes came too late.
    doubt: Option<StepNumber>,
    /// Evidence on its way to the disk and the ledger.
    writing: JoinSet<()>,
}

impl Driver {
    /// Tells the members what was committed to, which asks the contributors for their hashes.
    pub(super) fn begin_check(&mut self, verification: Verification) -> StepNumber {
        let statement = verification.statement();
        for name in self.context.hub.members() {
            self.context.hub.send(&name, ToNode::Opened(statement));
        }
        let step = statement.step.step;
        self.checks.open.insert(step, verification);
        while self.checks.open.len() > MOST_CHECKS {
            if let Some((_, oldest)) = self.checks.open.pop_first() {
                self.end_check(oldest);
            }
        }
        step
    }

    /// A member that comes back may have missed a commitment.
    pub(super) fn remind(&self, member: MemberIndex) {
        let owed = |it: &&Verification| it.missing().contains(&member);
        for verification in self.checks.open.values().filter(owed) {
            if let Some(name) = self.name(member) {
                let statement = ToNode::Opened(verification.statement());
                self.context.hub.send(name, statement);
            }
        }
    }

    /// A contributor's hash of its body.
    pub(super) fn body_hash(&mut self, from: MemberIndex, hash: BodyHash) {
        let step = hash.step.step;
        let Some(verification) = self.checks.open.get_mut(&step) else {
            debug!(run = %self.run, %step, member = %from, "a hash came too late");
            return;
        };
        if let Err(why) = verification.hashed(from, hash) {
            debug!(run = %self.run, %step, member = %from, why, "a hash was passed over");
            return;
        }
        if let Some(check) = verification.check()
            && let Some(verification) = self.checks.open.remove(&step)
        {
            self.checks.last = Some((step, check));
            if check == HashCheck::OtherKey && verification.is_short() {
                self.checks.doubt = Some(step);
            }
            self.end_check(verification);
        }
    }

    /// What the contributors' hashes of a step say; `None` when not all can be had in time.
    pub(super) async fn hashes_of(&mut self, step: StepNumber) -> Result<Option<HashCheck>, Stop> {
        let until = Instant::now() + HASHES_WAIT;
        loop {
            if let Some((_, check)) = self.checks.last.filter(|(last, _)| *last == step) {
                // It is acted on at once.
                self.checks.doubt.take_if(|doubt| *doubt == step);
                return Ok(Some(check));
            }
            let open = self.checks.open.get(&step);
            if !open.is_some_and(|it| self.owed(it)) || Instant::now() >= until {
                return Ok(None);
            }
            // What else is heard meanwhile has no bearing on a step that is opened.
            self.hear(Some(until)).await?;
        }
    }

    /// That totals were used which turned out false since; said once.
    pub(super) fn take_doubt(&mut self) -> Option<String> {
        let step = self.checks.doubt.take()?;
        Some(format!(
            "step {step}, whose totals were used before this was known: {OTHER_KEY}"
        ))
    }

    /// Waits for the hashes that connected members still owe, for a while, and for the evidence.
    pub(super) async fn settle_checks(&mut self) -> Result<(), Stop> {
        let until = Instant::now() + HASHES_WAIT;
        while self.checks.open.values().any(|it| self.owed(it)) && Instant::now() < until {
            self.hear(Some(until)).await?;
        }
        while let Some((_, verification)) = self.checks.open.pop_first() {
            self.end_check(verification);
        }
        while self.checks.writing.join_next().await.is_some() {}
        Ok(())
    }

    /// A member refuses something of a step; of one in check that means that its body is lost.
    pub(super) fn hash_refused(&mut self, from: MemberIndex, step: StepNumber) {
        if self.checks.open.contains_key(&step) {
            self.checks.lost.insert((step, from));
        }
    }

    /// Whether hashes are missing that can be had.
    fn owed(&self, verification: &Verification) -> bool {
        let step = verification.step().step;
        let connected = |index: &MemberIndex| {
            self.name(*index)
                .is_some_and(|name| self.context.hub.is_connected(name))
        };
        let lost = |index: &MemberIndex| self.checks.lost.contains(&(step, *index));
        let mut missing = verification.missing().into_iter();
        missing.any(|index| connected(&index) && !lost(&index))
    }

    /// Keeps the evidence, writes down whether the totals are proved, and tells the members.
    fn end_check(&mut self, verification: Verification) {
        let missing = verification.missing();
        let missing = missing.iter().filter_map(|index| self.name(*index));
        let missing: Vec<_> = missing.map(ToString::to_string).collect();
        let step = verification.step().step;
        self.checks.lost.retain(|(of, _)| *of != step);
        let object = self.object_name(step);
        let context = Arc::clone(&self.context);
        self.checks.writing.spawn(async move {
            if let Err(why) = publish(&context, verification, &object, &missing).await {
                warn!(step = object, why, "no evidence of this step");
            }
        });
    }
}

async fn publish(
    context: &Arc<Context>,
    verification: Verification,
    object: &str,
    missing: &[String],
) -> Result<(), String> {
    let (step, check) = (verification.step(), verification.check());
    let commitment = verification.statement().commitment;
    let store = context.evidence.clone();
    let written = tokio::task::spawn_blocking(move || {
        let (statements, phases) = (verification.statements(), verification.phases());
        store
            .put(|mut out| statements.write(phases, &mut out))
            .map_err(|error| error.to_string())
    });
    let written = written.await.map_err(|error| error.to_string())?;
    let id = written.as_ref().ok().map(|id| Digest(id.0));
    let outcome = match check {
        Some(HashCheck::Proved) => Outcome::Done,
        Some(HashCheck::OtherBody | HashCheck::OtherKey) | None => Outcome::Failed,
    };
    let mut evidence = json!({ "totals": commitment, "evidence": id });
    let reason = match check {
        Some(HashCheck::Proved) => None,
        Some(HashCheck::OtherBody) => {
            Some("a contributor hashed another body than it sent; it cannot be told which")
        }
        Some(HashCheck::OtherKey) => Some(OTHER_KEY),
        None => {
            evidence["missing"] = json!(missing);
            Some("contributors left before they hashed their bodies")
        }
    };
    if let Some(reason) = reason {
        evidence["reason"] = reason.into();
    }
    if check.is_some_and(|check| check != HashCheck::Proved) {
        warn!(
            step = object,
            reason, "the contributors' hashes do not add up to the sum"
        );
    }
    let entry = Entry::new(Action::Verify, "coordinator", object, outcome).evidence(evidence);
    context
        .record(entry)
        .await
        .map_err(|error| error.to_string())?;
    let object = Digest(written?.0);
    if matches!(check, Some(HashCheck::Proved) | None) {
        // Hashes that do not add up would make every member dispute honest totals.
        let ready = ToNode::Evidence(EvidenceReady { step, object });
        context.hub.send_all(&ready);
    }
    Ok(())
}
