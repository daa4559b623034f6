//! What the daemon does beside serving: it keeps its own certificates alive, and its access policy up
//! to date.

use std::time::{Duration, SystemTime};

use collegium_protocol::Refusal;
use collegium_protocol::quic::Server;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Interval, interval_at};
use tracing::{error, info, warn};

use super::Context;
use crate::authorize::{Act, Asker, Loaded, Resource};
use crate::ledger::{Action, Entry, Outcome};
use crate::{certificates, init};

/// How often the coordinator looks whether its own certificates are near their end.
const LOOK_AT_OWN: Duration = Duration::from_secs(6 * 60 * 60);

/// Something to do.
pub(super) enum Chore {
    /// SIGHUP came.
    ReloadPolicy,
    /// It is time to look at the own certificates.
    RenewOwn,
}

/// Says when there is something to do.
pub(super) struct Upkeep {
    hangups: Option<Signal>,
    renewals: Interval,
}

impl Upkeep {
    /// From here on SIGHUP does not end the process.
    pub(super) fn begin() -> Self {
        let hangups = signal(SignalKind::hangup()).map_err(|error| {
            warn!(%error, "SIGHUP cannot be handled; restart the daemon to change the access policy");
        });
        Self {
            hangups: hangups.ok(),
            // `Context::open` has looked just now.
            renewals: interval_at(Instant::now() + LOOK_AT_OWN, LOOK_AT_OWN),
        }
    }

    /// The next chore. Cancel-safe.
    pub(super) async fn next(&mut self) -> Chore {
        let Some(hangups) = &mut self.hangups else {
            self.renewals.tick().await;
            return Chore::RenewOwn;
        };
        tokio::select! {
            Some(()) = hangups.recv() => Chore::ReloadPolicy,
            _ = self.renewals.tick() => Chore::RenewOwn,
        }
    }
}

impl Chore {
    pub(super) async fn carry_out(self, context: &Context, server: &Server) {
        match self {
            Self::ReloadPolicy => context.reload_policy().await,
            Self::RenewOwn => renew_own(context, server).await,
        }
    }
}

impl Context {
    /// Puts one question to the access policy and writes the answer into the ledger, off the
    /// network's threads.
    ///
    /// # Errors
    /// `NotAllowed`, with the policy that denied it; `Internal` when the ledger cannot be written.
    pub async fn authorize(&self, asker: &Asker, act: Act, on: Resource) -> Result<(), Refusal> {
        let (authorizer, ledger, asker) =
            (self.authorizer.clone(), self.ledger.clone(), asker.clone());
        let now = SystemTime::now();
        let decide = move || authorizer.authorize(&ledger, &asker, act, &on, now);
        match tokio::task::spawn_blocking(decide).await {
            Ok(decided) => decided,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Reads the access policy again. One that does not load changes nothing.
    pub async fn reload_policy(&self) {
        let (policy, outcome, evidence) = match self.authorizer.reload() {
            Ok(loaded) => (loaded, Outcome::Done, None),
            Err(error) => {
                error!(%error, "THE ACCESS POLICY IS REFUSED; the one before stays in force");
                let in_force = self.authorizer.in_force();
                (in_force, Outcome::Refused, Some(error.to_string()))
            }
        };
        self.state_policy(&policy, outcome, evidence).await;
    }

    /// The policy in force is a fact for the ledger, and should be the one that the members agreed on.
    pub(super) async fn state_policy(
        &self,
        policy: &Loaded,
        outcome: Outcome,
        refused: Option<String>,
    ) {
        let agreed = self.charter.borrow().as_ref().map(|c| c.charter().policy);
        let differs = agreed.is_some_and(|agreed| agreed != policy.digest);
        if differs {
            warn!(
                policy = %policy.digest, charter = ?agreed,
                "the access policy is another one than the charter names; propose a charter to have the \
                 members agree on it"
            );
        }
        info!(policy = %policy.digest, policies = policy.len(), from = policy.origin, "access policy in force");
        let mut evidence = json!({
            "policies": policy.len(),
            "origin": policy.origin,
            "charter_agrees": agreed.map(|_| !differs),
        });
        if let Some(refused) = refused {
            evidence["refused"] = refused.into();
        }
        let object = policy.digest.to_string();
        let entry = Entry::new(Action::Policy, "coordinator", &object, outcome).evidence(evidence);
        if let Err(error) = self.record(entry).await {
            error!(%error, "the ledger cannot be written");
        }
    }
}

/// Renews what the coordinator issues to itself, in time. A failure is tried again, and loud, for a
/// month.
async fn renew_own(context: &Context, server: &Server) {
    let before = context.keys.tls.peer().serial;
    let now = SystemTime::now();
    let own = match init::renew_own(&context.config.state, &context.keys.authority, now) {
        Ok(own) if own.tls.peer().serial == before => return,
        Ok(own) => own,
        Err(error) => return error!(%error, "the coordinator's own certificate cannot be renewed"),
    };
    if let Err(error) = server.set_identity(&own.tls) {
        return error!(%error, "the renewed certificate cannot be used; restart the daemon");
    }
    let peers = [own.tls.peer().clone(), own.operator];
    if let Err(error) = certificates::register_known(&context.store, &peers).await {
        error!(%error, "the renewed certificates could not be noted");
    }
}
