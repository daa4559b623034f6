//! Checking an upload while it streams in, before anything of it is added or passed on.

use std::sync::Arc;

use collegium_crypto::glwe::BodyCheck;
use collegium_crypto::transcript::Digest;

use super::dealing::Dealing;
use super::plan::StepPlan;
use crate::charter::VerifiedCharter;
use crate::ids::{MemberIndex, SeatNumber};
use crate::message::step::{
    Deliver, SealedShare, StepRef, UploadClaim, UploadHeader, UploadTrailer, shares_digest,
};
use crate::refusal::{Refusal, RefusalCode};

/// An upload on its way in. Spool the chunks after [`Admission::chunk`] let them pass; only
/// [`Admission::finish`] makes them usable.
pub struct Admission<'a> {
    plan: &'a StepPlan,
    member: MemberIndex,
    check: BodyCheck,
}

impl<'a> Admission<'a> {
    /// Checks the header: the step in progress, the member of the connection's certificate, the
    /// exact length.
    ///
    /// # Errors
    /// `UnknownStep`, `NotAllowed` or `UploadInvalid`.
    pub fn begin(
        plan: &'a StepPlan,
        from: MemberIndex,
        header: &UploadHeader,
    ) -> Result<Self, Refusal> {
        if header.context != plan.reference().context {
            return Err(RefusalCode::UnknownStep.into());
        }
        if header.member != from || plan.charter().member(from).is_none() {
            return Err(Refusal::new(
                RefusalCode::NotAllowed,
                format_args!("member {from} cannot upload for member {}", header.member),
            ));
        }
        if header.body_len != plan.body_len() {
            return Err(Refusal::new(
                RefusalCode::UploadInvalid,
                format_args!("{} bytes, {} expected", header.body_len, plan.body_len()),
            ));
        }
        Ok(Self {
            plan,
            member: from,
            check: BodyCheck::new(plan.packing().coefficients()),
        })
    }

    /// Checks the next bytes of the body, cut anywhere: no more than the length, every
    /// coefficient below q.
    ///
    /// # Errors
    /// `UploadInvalid`.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.check.push(bytes).map_err(invalid)
    }

    /// Checks the end of the body and the trailer: a sealed share of exact size for every seat of
    /// the committee, and the dealer's signature over all of it.
    ///
    /// # Errors
    /// `UploadInvalid` or `BadSignature`.
    pub fn finish(self, trailer: UploadTrailer) -> Result<AdmittedUpload, Refusal> {
        let body = self.check.finish().map_err(invalid)?;
        AdmittedUpload::check(
            self.plan.charter(),
            self.plan.reference(),
            self.member,
            body,
            trailer,
        )
    }
}

fn invalid(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::UploadInvalid, why)
}

/// An upload whose body and shares passed every check of the coordinator. The aggregator takes
/// nothing else, and bodies are added only of these.
#[derive(Debug, Clone)]
pub struct AdmittedUpload {
    step: StepRef,
    claim: UploadClaim,
    leaves: Arc<[Digest]>,
    trailer: UploadTrailer,
    charter: Arc<VerifiedCharter>,
}

/// What the aggregator keeps of an admitted upload: what the dealer signed, and the leaves that
/// complaints name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadReceipt {
    claim: UploadClaim,
    leaves: Arc<[Digest]>,
}

impl UploadReceipt {
    /// The entry of a contributing set.
    #[must_use]
    pub fn claim(&self) -> &UploadClaim {
        &self.claim
    }

    /// The leaf of the share sealed to a seat.
    #[must_use]
    pub fn leaf(&self, seat: SeatNumber) -> Option<&Digest> {
        self.leaves.get(seat.position())
    }
}

impl AdmittedUpload {
    fn check(
        charter: &Arc<VerifiedCharter>,
        step: StepRef,
        member: MemberIndex,
        body: Digest,
        trailer: UploadTrailer,
    ) -> Result<Self, Refusal> {
        let seats = trailer.shares.iter().map(|share| share.seat);
        if !seats.eq(charter.seats().map(|(seat, _)| seat)) {
            return Err(invalid(
                "there is not one share for every seat, in seat order",
            ));
        }
        let dealing = Dealing::of(charter, member);
        let fits = |share: &SealedShare| share.sealed.len() == dealing.sealed_bytes(share.seat);
        if let Some(wrong) = trailer.shares.iter().find(|share| !fits(share)) {
            return Err(invalid(format_args!(
                "the share sealed to seat {} has {} bytes, {} expected",
                wrong.seat,
                wrong.sealed.len(),
                dealing.sealed_bytes(wrong.seat)
            )));
        }
        let leaves: Arc<[_]> = trailer.shares.iter().map(SealedShare::leaf).collect();
        let shares = shares_digest(&leaves);
        let claim = UploadClaim {
            member,
            body,
            shares,
            signature: trailer.signature,
        };
        claim.verify(&step.context, charter)?;
        Ok(Self {
            step,
            claim,
            leaves,
            trailer,
            charter: Arc::clone(charter),
        })
    }

    /// Takes back an upload from the coordinator's own spool after a restart: the body's digest
    /// was checked when it came in, and the signature ties the trailer to it again.
    ///
    /// # Errors
    /// As [`Admission::finish`], when the spool was damaged.
    pub fn from_spool(
        plan: &StepPlan,
        claim: &UploadClaim,
        trailer: UploadTrailer,
    ) -> Result<Self, Refusal> {
        Self::check(
            plan.charter(),
            plan.reference(),
            claim.member,
            claim.body,
            trailer,
        )
    }

    /// The entry of a contributing set.
    #[must_use]
    pub fn claim(&self) -> UploadClaim {
        self.claim
    }

    /// The trailer, to spool.
    #[must_use]
    pub fn trailer(&self) -> &UploadTrailer {
        &self.trailer
    }

    /// What to tell the aggregator.
    #[must_use]
    pub fn receipt(&self) -> UploadReceipt {
        UploadReceipt {
            claim: self.claim,
            leaves: Arc::clone(&self.leaves),
        }
    }

    /// Takes the sealed shares out, in the trailer's order, for whoever keeps them elsewhere than
    /// in memory; [`AdmittedUpload::deliver`] takes each back.
    #[must_use]
    pub fn take_shares(&mut self) -> Vec<SealedShare> {
        std::mem::take(&mut self.trailer.shares)
    }

    /// The message that delivers a share that was taken out.
    #[must_use]
    pub fn deliver(&self, share: SealedShare) -> Deliver {
        Deliver {
            step: self.step,
            claim: self.claim,
            leaves: self.leaves.to_vec(),
            share,
        }
    }

    /// The message that delivers `recipient`'s share; none when it holds no seat.
    #[must_use]
    pub fn delivery(&self, recipient: MemberIndex) -> Option<Deliver> {
        let seat = self.charter.seat_of(recipient)?;
        let share = self.trailer.shares.get(seat.position())?.clone();
        Some(self.deliver(share))
    }
}
