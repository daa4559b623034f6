//! This node as a witness of the coordinator's ledger: it cosigns a checkpoint only if the ledger
//! begins with everything that it cosigned before. What it cosigned is on the disk, in
//! `STATE/witness/checkpoint` and in the node's own ledger, before the cosignature leaves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use collegium_crypto::SigningIdentity;
use collegium_protocol::ledger::note::Cosignature;
use collegium_protocol::ledger::witness::{Offer, Witness, WitnessError};
use collegium_protocol::ledger::{Checkpoint, LogKey};
use collegium_protocol::message::ledger::{CheckpointOffer, CosignReply};
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::{Refusal, RefusalCode};
use serde_json::json;

use super::LinkError;
use super::member::Member;
use crate::ledger::{Action, Entry, Ledger, LedgerError, Outcome};

impl Member {
    /// The coordinator wants its ledger cosigned. Without a charter nobody knows its key.
    pub(super) async fn checkpoint_offered(
        &mut self,
        offer: CheckpointOffer,
    ) -> Result<(), LinkError> {
        let Some(charter) = &self.charter else {
            return Ok(());
        };
        let log = LogKey::coordinator(charter.charter().coordinator);
        let (witness, identity) = (Arc::clone(&self.witness), Arc::clone(&self.identity));
        let ledger = self.shared.ledger.clone();
        let judged =
            tokio::task::spawn_blocking(move || judge(&witness, &ledger, &identity, &log, &offer));
        let judged = judged
            .await
            .map_err(|error| LinkError::Broken(error.to_string()))??;
        let reply = match judged {
            Ok((size, cosignature)) => CosignReply::Cosigned {
                size,
                time: cosignature.time,
                signature: cosignature.signature,
            },
            Err(WitnessError::Stale { seen, .. }) => CosignReply::Stale { size: seen },
            Err(error) => CosignReply::Refused(self.not_cosigned(&error).await?),
        };
        self.send(ToCoordinator::Cosign(reply));
        Ok(())
    }

    /// A ledger that was rewritten is on record, once for each thing that is wrong with it.
    async fn not_cosigned(&mut self, error: &WitnessError) -> Result<Refusal, LinkError> {
        tracing::error!(%error, "the coordinator's ledger is not cosigned; tell the other members and the auditor");
        if self.not_cosigned.as_ref() != Some(error) {
            let object = match error {
                WitnessError::Rollback { offered, .. } | WitnessError::Fork { offered, .. } => {
                    offered.to_string()
                }
                WitnessError::Note(_) | WitnessError::Stale { .. } => String::new(),
            };
            let entry = Entry::new(Action::Witness, object, Outcome::Refused);
            let evidence = json!({"reason": error.to_string()});
            self.shared.record(entry.evidence(evidence)).await?;
            self.not_cosigned = Some(error.clone());
        }
        Ok(Refusal::new(RefusalCode::LedgerRewritten, error))
    }
}

/// Checks, writes down, remembers, signs: in this order.
fn judge(
    witness: &Mutex<Witness>,
    ledger: &Ledger,
    identity: &SigningIdentity,
    log: &LogKey,
    offer: &CheckpointOffer,
) -> Result<Result<(u64, Cosignature), WitnessError>, LedgerError> {
    // The memory is whole after every statement.
    let mut witness = witness.lock().unwrap_or_else(PoisonError::into_inner);
    let considered = witness.consider(
        &Offer {
            old: offer.old,
            proof: &offer.proof,
            note: offer.note.as_slice(),
        },
        log,
    );
    let note = match considered {
        Ok(note) => note,
        Err(error) => return Ok(Err(error)),
    };
    let checkpoint = note.checkpoint().clone();
    let last = witness.last(log).map(|note| note.checkpoint());
    if last != Some(&checkpoint) {
        let Checkpoint { origin, size, root } = &checkpoint;
        let evidence = json!({"log": origin, "size": size, "root": root});
        let entry = Entry::new(Action::Witness, size, Outcome::Done);
        ledger.append(entry.evidence(evidence))?;
        witness.keep(note)?;
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = time.map_or(0, |now| now.as_secs());
    Ok(Ok((checkpoint.size, checkpoint.cosign(identity, time))))
}
