//! What a seat says about a share that it cannot use.

use collegium_crypto::identity::{Signature, SigningIdentity};
use collegium_crypto::transcript::{Digest, hash};
use serde::{Deserialize, Serialize};

use crate::charter::VerifiedCharter;
use crate::domain;
use crate::ids::{MemberIndex, SeatNumber};
use crate::refusal::{Refusal, RefusalCode};

/// A seat's statement that it cannot use the share it was dealt, signed so that it stands as
/// evidence of who said what about whom. It does not prove the share wrong: nobody else can open
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// Leaf of the sealed share this is about.
    pub leaf: Digest,
    /// Why. The code is signed; the line of detail is for people.
    pub reason: Refusal,
    /// By the complaining member over context, dealer, H(shares), leaf and the reason's code.
    pub signature: Signature,
}

impl Complaint {
    fn signed_digest(
        context: &Digest,
        dealer: MemberIndex,
        shares: &Digest,
        leaf: &Digest,
        code: RefusalCode,
    ) -> Digest {
        hash(
            domain::COMPLAINT,
            &[
                context.as_bytes(),
                &dealer.get().to_le_bytes(),
                shares.as_bytes(),
                leaf.as_bytes(),
                &u16::from(code).to_le_bytes(),
            ],
        )
    }

    /// Makes and signs a complaint about the share with this leaf in the dealer's H(shares).
    #[must_use]
    pub fn sign(
        context: &Digest,
        dealer: MemberIndex,
        shares: &Digest,
        leaf: Digest,
        reason: Refusal,
        identity: &SigningIdentity,
    ) -> Self {
        let digest = Self::signed_digest(context, dealer, shares, &leaf, reason.code);
        Self {
            leaf,
            signature: identity.sign(domain::COMPLAINT, &digest),
            reason,
        }
    }

    /// Whether `by` holds a seat and signed this about that dealing.
    ///
    /// # Errors
    /// `UnknownMember`, `NoSeat` or `BadSignature`.
    pub fn verify(
        &self,
        context: &Digest,
        by: MemberIndex,
        dealer: MemberIndex,
        shares: &Digest,
        charter: &VerifiedCharter,
    ) -> Result<SeatNumber, Refusal> {
        let digest = Self::signed_digest(context, dealer, shares, &self.leaf, self.reason.code);
        let what = "a complaint";
        charter.check_seat_signature(by, domain::COMPLAINT, &digest, &self.signature, what)
    }
}
