//! What every party works out for itself from a step's context: packing, lengths, mask.

use std::sync::Arc;

use collegium_crypto::encode::{Packing, Shape};
use collegium_crypto::glwe::{BodySum, MaskSeed};

use crate::charter::VerifiedCharter;
use crate::context::{StepContext, ask_digest};
use crate::ids::{RunId, StepNumber};
use crate::limits::{MAX_ASK_BYTES, MAX_BODY_BYTES, MIN_MEMBERS, SHORT_SUM};
use crate::message::step::StepRef;
use crate::refusal::{Refusal, RefusalCode};

/// One step as a party understands it. Making one proves that the shape fits the parameters and
/// the roster.
#[derive(Debug, Clone)]
pub struct StepPlan {
    charter: Arc<VerifiedCharter>,
    context: StepContext,
    reference: StepRef,
    shape: Shape,
    packing: Packing,
}

impl StepPlan {
    /// Plans a step at the coordinator.
    ///
    /// # Errors
    /// `AskTooLarge` or `ShapeMismatch` when ask or shape do not fit.
    pub fn new(
        charter: Arc<VerifiedCharter>,
        run: RunId,
        step: StepNumber,
        ask: &[u8],
        shape: Shape,
    ) -> Result<Self, Refusal> {
        if ask.len() > MAX_ASK_BYTES {
            return Err(Refusal::new(
                RefusalCode::AskTooLarge,
                format_args!(
                    "the ask has {} bytes, the cap is {MAX_ASK_BYTES}",
                    ask.len()
                ),
            ));
        }
        let context = StepContext {
            params: charter.params().id().to_owned(),
            charter: charter.digest(),
            run,
            step,
            ask: ask_digest(ask),
            shape: shape.digest(),
        };
        Self::of_context(charter, context, shape)
    }

    /// Plans a step from its context, with the shape the party derived itself.
    ///
    /// # Errors
    /// `ShapeMismatch` when the shape is not the context's, `RosterTooSmall`, `AskTooLarge` when
    /// it cannot be packed.
    pub fn of_context(
        charter: Arc<VerifiedCharter>,
        context: StepContext,
        shape: Shape,
    ) -> Result<Self, Refusal> {
        if shape.digest() != context.shape {
            return Err(RefusalCode::ShapeMismatch.into());
        }
        let roster = charter.members().len();
        if roster < MIN_MEMBERS {
            return Err(RefusalCode::RosterTooSmall.into());
        }
        let packing = Packing::plan(&shape, roster, charter.params())
            .map_err(|e| Refusal::new(RefusalCode::AskTooLarge, e))?;
        if packing.body_len() as u64 > MAX_BODY_BYTES {
            return Err(RefusalCode::AskTooLarge.into());
        }
        let reference = StepRef::of(&context);
        Ok(Self {
            charter,
            context,
            reference,
            shape,
            packing,
        })
    }

    /// The charter the step runs under.
    #[must_use]
    pub fn charter(&self) -> &Arc<VerifiedCharter> {
        &self.charter
    }

    /// What the step is about.
    #[must_use]
    pub fn context(&self) -> &StepContext {
        &self.context
    }

    /// Run, step and context digest.
    #[must_use]
    pub fn reference(&self) -> StepRef {
        self.reference
    }

    /// The answer's shape.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How codes lie in coefficients.
    #[must_use]
    pub fn packing(&self) -> &Packing {
        &self.packing
    }

    /// Bytes of every contributor's body, exactly.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        self.packing.body_len() as u64
    }

    /// Whether the noise check says too little of a sum of this length: its totals are to be used
    /// only once the contributors' hashes of their keys add up to the key that was released
    /// ([`super::Verification::check`]), where those can be had. See [`SHORT_SUM`].
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.packing.coefficients() < SHORT_SUM
    }

    /// The seed of the step's public masks, which every node derives itself and nobody chooses.
    #[must_use]
    pub fn mask_seed(&self) -> MaskSeed {
        let StepContext {
            charter,
            run,
            step,
            ask,
            ..
        } = &self.context;
        MaskSeed::derive(self.charter.params(), charter, run.as_bytes(), step.0, ask)
    }

    /// A sum of no bodies, to add to.
    #[must_use]
    pub fn empty_sum(&self) -> BodySum {
        BodySum::new(self.packing.coefficients())
    }
}
