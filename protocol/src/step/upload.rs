//! Making an upload: encrypt under a fresh key, share it, seal each share, sign.

use std::sync::Arc;

use collegium_crypto::glwe::{Encryptor, OneTimeKey};
use collegium_crypto::linear::{Challenge, LinearHash, LinearHasher};
use collegium_crypto::rand_core::CryptoRng;
use collegium_crypto::shamir;
use collegium_crypto::transcript::{BodyHasher, Digest, hash};
use zeroize::Zeroizing;

use super::dealing::Dealing;
use super::plan::StepPlan;
use super::seat::Seat;
use crate::codec::Blob;
use crate::domain;
use crate::ids::{MemberIndex, SeatNumber};
use crate::limits::BODY_CHUNK_BYTES;
use crate::message::step::{
    SealedShare, StepRef, UploadClaim, UploadHeader, UploadTrailer, shares_digest,
};
use crate::refusal::{Refusal, RefusalCode};

/// An upload ready to be streamed: header frame, raw body, trailer frame. Nothing in it is
/// secret, and sending it again sends the same bytes.
#[derive(Debug, Clone)]
pub struct ReadyUpload {
    /// The step, for naming it in logs.
    pub step: StepRef,
    /// First frame.
    pub header: UploadHeader,
    body: Blob,
    /// Last frame.
    pub trailer: UploadTrailer,
}

impl ReadyUpload {
    /// The body in pieces to write, each at most [`BODY_CHUNK_BYTES`].
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.body.as_slice().chunks(BODY_CHUNK_BYTES)
    }

    /// h = Σ r^j · c\[j\] over the body's coefficients, for the challenge of a commitment. A few
    /// milliseconds per megabyte.
    ///
    /// # Errors
    /// `Internal`, when the body was damaged.
    pub fn linear_hash(&self, challenge: Challenge) -> Result<LinearHash, Refusal> {
        let mut hasher = LinearHasher::new(challenge);
        hasher.update(self.body.as_slice());
        hasher
            .finish()
            .map_err(|e| Refusal::new(RefusalCode::Internal, e))
    }

    /// The whole body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.as_slice()
    }
}

/// What a sealed share is bound to: moved to another step, dealer, recipient, point or body, it
/// does not open. `point` is the recipient's seat.
pub(super) fn share_binding(
    context: &Digest,
    dealer: MemberIndex,
    recipient: MemberIndex,
    point: SeatNumber,
    body: &Digest,
) -> Digest {
    hash(
        domain::SHARE_BINDING,
        &[
            context.as_bytes(),
            &dealer.get().to_le_bytes(),
            &recipient.get().to_le_bytes(),
            &point.get().to_le_bytes(),
            body.as_bytes(),
        ],
    )
}

/// Encrypts, shares, seals and signs. The key is wiped before this returns.
pub(super) fn make_upload(
    seat: &Seat,
    plan: &StepPlan,
    codes: Zeroizing<Vec<u64>>,
    rng: &mut impl CryptoRng,
) -> Result<Arc<ReadyUpload>, Refusal> {
    let internal = |e: &dyn std::fmt::Display| Refusal::new(RefusalCode::Internal, e);
    let step = plan.reference();
    let dealing = Dealing::of(seat.charter(), seat.index());
    let key = OneTimeKey::generate(rng);
    let key_shares = shamir::deal(
        &key,
        dealing.committee(),
        dealing.threshold(),
        dealing.first(),
        rng,
    )
    .map_err(|e| internal(&e))?;
    let seed = plan.mask_seed();
    let body = Encryptor::new(key, &seed, plan.packing(), &codes, rng)
        .map_err(|e| Refusal::new(RefusalCode::AnswerOutOfRange, e))?
        .into_body();
    drop(codes);
    let mut hasher = BodyHasher::new();
    let body_digest = hasher.update(&body).finish();

    let mut shares = Vec::with_capacity(key_shares.len());
    for ((number, member), share) in seat.charter().seats().zip(&key_shares) {
        let (dealer, recipient) = (seat.index(), member.index);
        let binding = share_binding(&step.context, dealer, recipient, number, &body_digest);
        let sealed = member
            .sealing
            .seal(
                step.context.as_bytes(),
                binding.as_bytes(),
                &share.to_bytes(),
                rng,
            )
            .map_err(|e| internal(&e))?;
        shares.push(SealedShare {
            seat: number,
            sealed: Blob(sealed),
        });
    }
    let leaves: Vec<_> = shares.iter().map(SealedShare::leaf).collect();
    let claim = UploadClaim::sign(
        &step.context,
        seat.index(),
        body_digest,
        shares_digest(&leaves),
        seat.identity(),
    );
    Ok(Arc::new(ReadyUpload {
        step,
        header: UploadHeader {
            context: step.context,
            member: seat.index(),
            body_len: body.len() as u64,
        },
        body: Blob(body),
        trailer: UploadTrailer {
            shares,
            signature: claim.signature,
        },
    }))
}
