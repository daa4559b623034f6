//! After an opening, beside the steps that follow: the contributors hash the bodies they sent, and
//! the evidence of the totals is kept and shown to the members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use collegium_protocol::Digest;
use collegium_protocol::ids::{MemberIndex, StepNumber};
use collegium_protocol::message::session::ToNode;
use collegium_protocol::message::verify::{BodyHash, EvidenceReady};
use collegium_protocol::step::Verification;
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

/// How long a run's end waits for the last hashes of members that are connected.
const LAST_HASHES: Duration = Duration::from_secs(10);

/// Opened steps whose hashes come in.
#[derive(Default)]
pub(super) struct Checks {
    open: BTreeMap<StepNumber, Verification>,
    /// Evidence on its way to the disk and the ledger.
    writing: JoinSet<()>,
}

impl Driver {
    /// Tells the members what was committed to, which asks the contributors for their hashes.
    pub(super) fn begin_check(&mut self, verification: Verification) {
        let statement = verification.statement();
        for name in self.context.hub.members() {
            self.context.hub.send(&name, ToNode::Opened(statement));
        }
        self.checks.open.insert(statement.step.step, verification);
        while self.checks.open.len() > MOST_CHECKS {
            if let Some((_, oldest)) = self.checks.open.pop_first() {
                self.end_check(oldest);
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
        if verification.adds_up().is_some()
            && let Some(verification) = self.checks.open.remove(&step)
        {
            self.end_check(verification);
        }
    }

    /// Waits for the hashes that connected members still owe, for a while, and for the evidence.
    pub(super) async fn settle_checks(&mut self) -> Result<(), Stop> {
        let until = Instant::now() + LAST_HASHES;
        while self.checks.open.values().any(|it| self.owed(it)) && Instant::now() < until {
            self.hear(Some(until)).await?;
        }
        while let Some((_, verification)) = self.checks.open.pop_first() {
            self.end_check(verification);
        }
        while self.checks.writing.join_next().await.is_some() {}
        Ok(())
    }

    fn owed(&self, verification: &Verification) -> bool {
        let connected = |index: &MemberIndex| {
            self.name(*index)
                .is_some_and(|name| self.context.hub.is_connected(name))
        };
        verification.missing().iter().any(connected)
    }

    /// Keeps the evidence, writes down whether the totals are proved, and tells the members.
    fn end_check(&mut self, verification: Verification) {
        let missing = verification.missing();
        let missing = missing.iter().filter_map(|index| self.name(*index));
        let missing: Vec<_> = missing.map(ToString::to_string).collect();
        let object = self.object_name(verification.step().step);
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
    let (step, adds_up) = (verification.step(), verification.adds_up());
    let commitment = verification.statement().commitment;
    let objects = context.objects.clone();
    let written = tokio::task::spawn_blocking(move || {
        let bytes = verification
            .evidence()
            .to_bytes()
            .map_err(|error| error.to_string())?;
        objects.put(&bytes).map_err(|error| error.to_string())
    });
    let written = written.await.map_err(|error| error.to_string())?;
    let id = written.as_ref().ok().map(|id| Digest(id.0));
    let outcome = match adds_up {
        Some(true) => Outcome::Done,
        Some(false) | None => Outcome::Failed,
    };
    let mut evidence = json!({ "totals": commitment, "evidence": id });
    match adds_up {
        Some(true) => {}
        Some(false) => {
            warn!(
                step = object,
                "the contributors' hashes do not add up to the sum"
            );
            evidence["reason"] =
                "a contributor hashed another body than it sent; it cannot be told which".into();
        }
        None => {
            evidence["reason"] = "contributors left before they hashed their bodies".into();
            evidence["missing"] = json!(missing);
        }
    }
    let entry = Entry::new(Action::Verify, "coordinator", object, outcome).evidence(evidence);
    context
        .record(entry)
        .await
        .map_err(|error| error.to_string())?;
    let object = Digest(written?.0);
    if adds_up != Some(false) {
        // Hashes that do not add up would make every member dispute honest totals.
        let ready = ToNode::Evidence(EvidenceReady { step, object });
        context.hub.send_all(&ready);
    }
    Ok(())
}
