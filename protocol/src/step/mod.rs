//! The three machines of a step: [`Contributor`] and [`Committee`] at the node, [`Aggregator`] at
//! the coordinator. No I/O, no clock, no randomness of their own: events go in, actions come out.
//!
//! # The one rule for every daemon
//!
//! Actions come in an order and are carried out in that order, each finished before the next
//! begins. A `Persist` is finished when it is **synced to disk**; only then may the `Send` after
//! it leave. Several `Persist`s in a row may share one transaction. If a `Persist` fails, stop the
//! daemon: the machine has already moved on.
//!
//! Nothing leaves a node by `Answer`: the trainer may compute while the `Persist`s before it are
//! being synced, if the upload waits for them.
//!
//! # Driving a node
//!
//! ```text
//! at start    place     = Place::new(charter, identity, sealing)        member of the charter?
//!             records   = every NodeRecord on disk
//!             committee = Committee::restore(place, records)            one per node
//!             per run:    Contributor::restore(place, run, records)     one per run
//!
//! Announce    the daemon reads the ask, asks its policy, derives the shape (automl), then
//!               actions = committee.announce(&announce, data_digest)
//!               actions += contributor.announce(&announce, LocalVerdict::Allowed { shape })
//!             -> Persist, Persist, Answer { step, ask }: hand the ask to the trainer
//! trainer     sealing = contributor.seal(step, codes), and on a thread that computes
//!             sealed  = sealing.run(threads, rng, |piece| keep and stream it)
//!             contributor.sealed(sealed.kept(body))   then stream its trailer
//!   or        contributor.failed(step, refusal)       -> Send(StepRefused)
//! Deliver     committee.deliver(&deliver)             -> Send(Verdict)
//! Propose     committee.propose(&propose)             -> Persist, Send(Vote)
//! Certificate committee.certificate(&certificate)     -> Persist, Send(Release)
//! StepDropped contributor.dropped(step)
//! Opened      contributor.opened(&opened)             -> HashBody: off the network's threads, then
//!               contributor.hashed(&opened, hashes)   -> Send(BodyHash)
//! Evidence    fetch the object, StepEvidence::from_bytes(..).verify(&charter): whoever finds it
//!               false refuses the run from then on
//! RunClosed   committee.close(run); drop the contributor
//! reconnect   nothing: the coordinator repeats what this member still needs, and every repeated
//!             message is answered byte for byte as before, or refused
//! ```
//!
//! # Driving the coordinator
//!
//! ```text
//! run         blame = Blame::new(charter); out = blame.left_out(policy, willing, minimum)
//! step        plan = StepPlan::new(charter, run, attempts.next_number(ask_digest), ask, shape)
//!             announce = Announce::sign(plan.context().clone(), ask, deadline_ms, key)
//!             (aggregator, actions) = Aggregator::start_without(out, plan, announce, connected,
//!                                                               timing, now)
//! upload      admission = Admission::begin(&plan, from, header); per chunk admission.chunk(bytes)
//!             (spool the bytes); admitted = admission.finish(trailer); keep `admitted` in the
//!             spool, then aggregator.handle(Event::Uploaded(admitted.receipt()), now)
//! actions     Send { to, message }      to that member's control stream, if it is connected
//!             Deliver { to, dealer }    send spool[dealer].delivery(to)
//!             SyncUploads { members }   add the bodies of these members, in this order, and sync
//!                                       the sum and these members' trailers to disk
//!             Persist(record)           sync, replacing the step's record before
//!             Open(opening)             opening.open(&sum) on a thread of its own: totals, or
//!                                       Event::NotOpened(failure); after the totals are in
//!                                       the journal, forget the step's record and spool
//!             Spoiled(failure)          the sum never opens: the round closes
//!             then                      Verification::begin(..) beside the steps that follow, or
//!                                       before the totals are used where StepPlan::is_short(): send
//!                                       its statement to the contributors, collect their hashes,
//!                                       keep the evidence and tell the members of it
//!             Dropped(dropped)          attempts.dropped(..): again as a new step, or the end
//!             Failed(failure)           the end of the run, with the reason for people
//!             Note(note)                for the log; a complaint for the ledger too, and for
//!                                       blame.take(..), which says what is proven by it
//! time        aggregator.deadline(): send Event::Tick then; any event carries `now`
//! restart     resume(record, charter, connected, timing, now): a certified step is driven on,
//!             any other is dropped and asked again under a higher number
//! ```
//!
//! Everybody on the roster contributes; only who holds a seat is sent `Deliver`, `Propose` and
//! `Certificate`, and only a seat's verdict, vote and release count.
//!
//! A message of a member goes in with the member's index **from its certificate**, never from the
//! message itself.

mod admission;
pub mod aggregator;
mod attempts;
mod blame;
pub mod committee;
pub mod contributor;
mod dealing;
mod evidence;
mod opening;
mod place;
mod plan;
mod record;
mod upload;
mod verification;

pub use admission::{Admission, AdmittedUpload, UploadReceipt};
pub use aggregator::{
    Action, Aggregator, Dropped, Event, Note, OnRestart, Phase, Resumed, Timing, resume,
};
pub use attempts::{Attempts, StepFailure};
pub use blame::{Accusation, Blame, BlamePolicy, Finding};
pub use committee::Committee;
pub use contributor::{Contributor, LocalVerdict};
pub use dealing::Dealing;
pub use evidence::{EvidenceError, ProvedTotals, Statements, StepEvidence};
pub use opening::{OpenedSum, Opening};
pub use place::{Place, PlaceError};
pub use plan::StepPlan;
pub use record::{
    CommitteeRecord, DisputeRecord, GivenVote, NodeRecord, ReleaseRecord, RunRecord, StepRecord,
    UNSEEN_DATA,
};
pub use upload::{KeptBody, ReadyUpload, SealError, Sealed, Sealing};
pub use verification::{HashCheck, Verification};

use std::sync::Arc;

use crate::codec::Blob;
use crate::ids::{RunId, StepNumber};
use crate::message::session::ToCoordinator;
use crate::message::verify::OpenedStep;
use crate::refusal::Refusal;

/// What a node's machine wants done, in order; see the rule in the [module](self) documentation.
#[derive(Debug, Clone)]
pub enum NodeAction {
    /// Sync this record to disk under [`NodeRecord::key`], replacing what stands there, before
    /// anything after it.
    Persist(NodeRecord),
    /// Hand the ask to the trainer; its codes come back through [`Contributor::seal`].
    Answer {
        /// The run.
        run: RunId,
        /// The step.
        step: StepNumber,
        /// The ask's bytes.
        ask: Blob,
    },
    /// Stream this upload on a stream of its own. The same upload may come again after a
    /// reconnect; its bytes are the same.
    Upload(Arc<ReadyUpload>),
    /// Hash the upload under the commitment's challenge ([`ReadyUpload::linear_hashes`]), off
    /// the network's threads; the hashes come back through [`Contributor::hashed`].
    HashBody {
        /// What the coordinator committed to.
        opened: OpenedStep,
        /// The body this member sent.
        upload: Arc<ReadyUpload>,
    },
    /// Send this on the control stream.
    Send(ToCoordinator),
}

fn refuse(run: RunId, step: StepNumber, refusal: Refusal) -> Vec<NodeAction> {
    vec![NodeAction::Send(ToCoordinator::StepRefused {
        run,
        step,
        refusal,
    })]
}
