//! Going on after a restart, from the record that was synced.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::certified::Certified;
use super::{Action, Aggregator, Core, State, Timing};
use crate::charter::VerifiedCharter;
use crate::ids::{MemberIndex, RunId, StepNumber};
use crate::refusal::{Refusal, RefusalCode};
use crate::step::plan::StepPlan;
use crate::step::record::RunRecord;

/// What a restarted coordinator does with the record it finds.
pub enum Resumed {
    /// There is a certificate: drive the step on. Load the sum and trailers that were synced.
    Driving(Box<Aggregator>, Vec<Action>),
    /// There is none: put the ask again under a number above this one.
    Dropped {
        /// The run.
        run: RunId,
        /// The number that is used up.
        step: StepNumber,
    },
}

/// Goes on after a restart; waiting for releases begins anew at `now`.
///
/// # Errors
/// A refusal when the record is of another charter or does not fit together.
pub fn resume(
    record: RunRecord,
    charter: Arc<VerifiedCharter>,
    connected: BTreeSet<MemberIndex>,
    timing: Timing,
    now: Duration,
) -> Result<Resumed, Refusal> {
    let (run, step) = (record.run(), record.step());
    let (Some(propose), Some(certificate)) = (record.propose, record.certificate) else {
        return Ok(Resumed::Dropped { run, step });
    };
    if record.announce.context.charter != charter.digest() {
        return Err(RefusalCode::CharterMismatch.into());
    }
    let context = record.announce.context.clone();
    certificate.verify(&context.digest(), &propose.digest(), &charter)?;
    let plan = Arc::new(StepPlan::of_context(charter, context, record.shape)?);
    let core = Core::new(plan, record.announce, connected, timing);
    let state = Certified::new(propose, certificate, now);
    let mut out = Vec::new();
    for member in &core.connected {
        state.bring_up(&core, *member, &mut out);
    }
    let aggregator = Aggregator {
        core,
        state: State::Certified(state),
    };
    Ok(Resumed::Driving(Box::new(aggregator), out))
}
