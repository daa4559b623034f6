//! Having the members cosign the ledger, so that rewriting it takes as many of them as the charter's Q.
//!
//! A checkpoint is offered to every connected member when one connects, when a charter comes into
//! force, when a run ends, and now and then between: beside the work, never in the middle of a step.
//! The last checkpoint that enough members cosigned lies in the ledger's folder as `cosigned`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use collegium_protocol::ids::MemberName;
use collegium_protocol::ledger::note::Cosignature;
use collegium_protocol::ledger::tree::prove_consistency;
use collegium_protocol::ledger::{LedgerError, SignedCheckpoint};
use collegium_protocol::message::ledger::{CheckpointOffer, CosignReply};
use collegium_protocol::message::session::ToNode;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, warn};

use crate::app::Context;
use crate::ledger::Ledger;

/// How long a ledger that grows goes without a new offer: each costs every member two syncs.
const EVERY: Duration = Duration::from_secs(60);

/// Who cosigned what; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Witnesses {
    inner: Arc<Mutex<Inner>>,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The checkpoint on offer, with the cosignatures that came.
    offered: Option<SignedCheckpoint>,
    /// Who was asked for that one, and who answered.
    asked: BTreeSet<MemberName>,
    cosigned: BTreeSet<MemberName>,
    /// Entries under the last checkpoint that each member cosigned.
    known: BTreeMap<MemberName, u64>,
    /// Cosignatures under the one that is kept.
    kept: usize,
}

impl Inner {
    /// Makes this the checkpoint on offer, unless it is.
    fn begin(&mut self, note: SignedCheckpoint) {
        let same = |old: &SignedCheckpoint| old.checkpoint() == note.checkpoint();
        if !self.offered.as_ref().is_some_and(same) {
            self.offered = Some(note);
            self.asked.clear();
            self.cosigned.clear();
        }
    }

    /// Whether the cosignatures on hand should replace those that are kept: when they become enough,
    /// and when everybody who was asked has answered.
    fn worth_keeping(&self, quorum: usize) -> bool {
        let count = self.cosigned.len();
        let all = self.asked.is_subset(&self.cosigned);
        (count == quorum || (all && count > quorum)) || (all && self.kept < quorum)
    }
}

impl Witnesses {
    /// Asks for cosignatures now: something worth it was written down.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every section below leaves the maps whole, so a poisoned lock is harmless.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Offers checkpoints until the daemon stops.
pub async fn work(context: Arc<Context>) {
    let mut changes = context.hub.changes();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = context.witnesses.wake.notified() => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
        let members = context.hub.members();
        if members.is_empty() || context.charter.borrow().is_none() {
            continue;
        }
        let publishing = context.ledger.clone();
        match spawn_blocking(move || publishing.publish()).await {
            Ok(Ok(note)) => context.witnesses.lock().begin(note),
            Ok(Err(error)) => {
                error!(%error, "the ledger cannot be published for the members to cosign");
                continue;
            }
            Err(_) => return,
        }
        for member in &members {
            offer(&context, member).await;
        }
    }
}

/// Offers a member the checkpoint on offer, unless it cosigned it.
async fn offer(context: &Context, member: &MemberName) {
    let (note, old) = {
        let mut inner = context.witnesses.lock();
        let Some(note) = inner.offered.clone() else {
            return;
        };
        let old = inner.known.get(member).copied().unwrap_or(0);
        if inner.cosigned.contains(member) || old > note.checkpoint().size {
            return;
        }
        inner.asked.insert(member.clone());
        (note.without_cosignatures(), old)
    };
    let ledger = context.ledger.clone();
    let made = spawn_blocking(move || proved(&ledger, &note, old)).await;
    match made {
        Ok(Ok(offer)) => {
            context.hub.send(member, ToNode::Checkpoint(offer));
        }
        Ok(Err(error)) => error!(%error, "the ledger's consistency cannot be proved"),
        Err(_) => debug!("the daemon stops"),
    }
}

fn proved(
    ledger: &Ledger,
    note: &SignedCheckpoint,
    old: u64,
) -> Result<CheckpointOffer, LedgerError> {
    let size = note.checkpoint().size;
    let mut nodes = ledger.log().folder().nodes(size);
    Ok(CheckpointOffer {
        old,
        proof: prove_consistency(&mut nodes, old, size)?,
        note: note.to_text().into_bytes().into(),
    })
}

/// A member's answer to an offer.
pub(crate) async fn heard(context: &Context, member: &MemberName, reply: CosignReply) {
    match reply {
        CosignReply::Cosigned {
            size,
            time,
            signature,
        } => cosigned(context, member, size, Cosignature { time, signature }).await,
        CosignReply::Stale { size } => {
            let again = {
                let mut inner = context.witnesses.lock();
                let before = inner.known.insert(member.clone(), size);
                let offered = inner.offered.as_ref().map_or(0, |it| it.checkpoint().size);
                if size > offered {
                    error!(%member, size, offered, "the member cosigned a longer ledger than this one: was it put back from an old copy?");
                }
                before != Some(size)
            };
            if again {
                offer(context, member).await;
            }
        }
        CosignReply::Refused(refusal) => {
            error!(%member, %refusal, "the member does not cosign this ledger");
        }
    }
}

async fn cosigned(context: &Context, member: &MemberName, size: u64, cosignature: Cosignature) {
    let Some(charter) = context.charter.borrow().clone() else {
        return;
    };
    let Some(key) = charter.member_named(member).map(|it| it.identity) else {
        return;
    };
    let quorum = usize::from(charter.charter().quorum);
    let keep = {
        let mut inner = context.witnesses.lock();
        let Some(note) = inner.offered.as_mut() else {
            return;
        };
        if note.checkpoint().size != size {
            // It answered an older offer; there is a newer one on its way.
            inner.known.insert(member.clone(), size);
            return;
        }
        if !cosignature.holds(&key, note.checkpoint()) {
            warn!(%member, "a cosignature that does not hold");
            return;
        }
        note.add(&key, cosignature);
        inner.known.insert(member.clone(), size);
        inner.cosigned.insert(member.clone());
        let keep = inner.worth_keeping(quorum);
        if keep {
            inner.kept = inner.cosigned.len();
        }
        inner.offered.clone().filter(|_| keep)
    };
    let Some(note) = keep else { return };
    let ledger = context.ledger.clone();
    match spawn_blocking(move || ledger.log().keep_cosigned(&note)).await {
        Ok(Ok(())) => debug!(size, "the ledger is cosigned"),
        Ok(Err(error)) => error!(%error, "the cosigned checkpoint cannot be kept"),
        Err(_) => {}
    }
}
