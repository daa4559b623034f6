//! The messages of one secure sum, in the order of secure-sum.md ("Messages of a step").

use collegium_crypto::identity::{Signature, SigningIdentity};
use collegium_crypto::transcript::{Digest, Hasher, hash};
use serde::{Deserialize, Serialize};

pub use super::complaint::Complaint;
use crate::charter::VerifiedCharter;
use crate::codec::Blob;
use crate::context::StepContext;
use crate::domain;
use crate::ids::{MemberIndex, RunId, SeatNumber, StepNumber};
use crate::refusal::{Refusal, RefusalCode};

/// What the coordinator wants of a member in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Answer the ask, and serve on the committee.
    Contribute,
    /// Serve on the committee only: the upload is already in, or came too late. Sent to members
    /// that reconnect in the middle of a step.
    Serve,
}

/// 1. A step begins. Signed by the coordinator's key in the charter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// What the step is about.
    pub context: StepContext,
    /// The ask, opaque here; its digest stands in the context.
    pub ask: Blob,
    /// Milliseconds after which the coordinator may go on without this member; a hint, since no
    /// machine here has a clock.
    pub deadline_ms: u64,
    /// What is wanted of this member. Not signed: it cannot make a member do anything twice.
    pub part: Part,
    /// By the coordinator's key over context and deadline.
    pub signature: Signature,
}

impl Announce {
    /// What the coordinator signs.
    #[must_use]
    pub fn signed_digest(context: &StepContext, deadline_ms: u64) -> Digest {
        let mut hasher = Hasher::new(domain::ANNOUNCE);
        hasher.part(context.digest().as_bytes()).number(deadline_ms);
        hasher.finish()
    }

    /// Makes and signs an announcement with [`Part::Contribute`].
    #[must_use]
    pub fn sign(
        context: StepContext,
        ask: Blob,
        deadline_ms: u64,
        coordinator: &SigningIdentity,
    ) -> Self {
        let digest = Self::signed_digest(&context, deadline_ms);
        let signature = coordinator.sign(domain::ANNOUNCE, &digest);
        Self {
            context,
            ask,
            deadline_ms,
            part: Part::Contribute,
            signature,
        }
    }

    /// The same announcement asking for another part.
    #[must_use]
    pub fn with_part(&self, part: Part) -> Self {
        Self {
            part,
            ..self.clone()
        }
    }
}

/// 2a. First frame of an upload's stream. Cap: [`crate::limits::MAX_UPLOAD_HEADER_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadHeader {
    /// Digest of the step's context.
    pub context: Digest,
    /// The uploading member.
    pub member: MemberIndex,
    /// Bytes of the body that follows.
    pub body_len: u64,
}

/// 2b. Last frame of an upload's stream, after the raw body. Cap:
/// [`crate::limits::MAX_UPLOAD_TRAILER_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadTrailer {
    /// One for each seat of the committee, in seat order.
    pub shares: Vec<SealedShare>,
    /// By the dealer over context, H(bodies) and H(shares); see [`UploadClaim`].
    pub signature: Signature,
}

/// A key share sealed to the member that holds a seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedShare {
    /// The seat, which is also the point of the share.
    pub seat: SeatNumber,
    /// The share whole ([`crate::limits::SEALED_SHARE_BYTES`] bytes), or the seed it expands from
    /// ([`crate::limits::SEALED_SEED_BYTES`]); which, is not the dealer's choice.
    pub sealed: Blob,
}

impl SealedShare {
    /// This share's leaf in H(shares).
    #[must_use]
    pub fn leaf(&self) -> Digest {
        hash(
            domain::SHARE_LEAF,
            &[&self.seat.get().to_le_bytes(), self.sealed.as_slice()],
        )
    }
}

/// H(shares), from the leaves in seat order. Every recipient gets the leaves beside its own
/// share, so that the dealer's one signature proves each share.
#[must_use]
pub fn shares_digest(leaves: &[Digest]) -> Digest {
    let mut hasher = Hasher::new(domain::SHARES);
    for leaf in leaves {
        hasher.part(leaf.as_bytes());
    }
    hasher.finish()
}

/// What a dealer signs: the entry of a contributing set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadClaim {
    /// The dealer.
    pub member: MemberIndex,
    /// H(bodies).
    pub body: Digest,
    /// H(shares).
    pub shares: Digest,
    /// By the dealer.
    pub signature: Signature,
}

impl UploadClaim {
    fn signed_digest(
        context: &Digest,
        member: MemberIndex,
        body: &Digest,
        shares: &Digest,
    ) -> Digest {
        hash(
            domain::UPLOAD,
            &[
                context.as_bytes(),
                &member.get().to_le_bytes(),
                body.as_bytes(),
                shares.as_bytes(),
            ],
        )
    }

    /// Makes and signs a claim.
    #[must_use]
    pub fn sign(
        context: &Digest,
        member: MemberIndex,
        body: Digest,
        shares: Digest,
        identity: &SigningIdentity,
    ) -> Self {
        let digest = Self::signed_digest(context, member, &body, &shares);
        Self {
            member,
            body,
            shares,
            signature: identity.sign(domain::UPLOAD, &digest),
        }
    }

    /// Whether a roster member of that index signed this in this context.
    ///
    /// # Errors
    /// `UnknownMember` or `BadSignature`.
    pub fn verify(&self, context: &Digest, charter: &VerifiedCharter) -> Result<(), Refusal> {
        let digest = Self::signed_digest(context, self.member, &self.body, &self.shares);
        charter.check_signature(
            self.member,
            domain::UPLOAD,
            &digest,
            &self.signature,
            "an upload",
        )
    }
}

/// Which step a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepRef {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepNumber,
    /// Digest of the step's context.
    pub context: Digest,
}

impl StepRef {
    /// The reference to the step of `context`.
    #[must_use]
    pub fn of(context: &StepContext) -> Self {
        Self {
            run: context.run,
            step: context.step,
            context: context.digest(),
        }
    }
}

/// 3. A dealer's share for the recipient of this message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    /// The step.
    pub step: StepRef,
    /// What the dealer signed.
    pub claim: UploadClaim,
    /// Leaves of all the dealer's sealed shares, in seat order.
    pub leaves: Vec<Digest>,
    /// The share sealed to this member.
    pub share: SealedShare,
}

/// 3'. What the recipient found. Not binding: the aggregator may leave the dealer out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The step.
    pub step: StepRef,
    /// The dealer.
    pub dealer: MemberIndex,
    /// H(shares) of the delivery this is about.
    pub shares: Digest,
    /// `None`: the share is in order. Boxed, because verdicts are many and complaints few.
    pub complaint: Option<Box<Complaint>>,
}

/// 4. The proposed contributing set U.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// The step.
    pub step: StepRef,
    /// U, strictly sorted by member.
    pub entries: Vec<UploadClaim>,
}

impl Propose {
    /// H(U): members, what each uploaded, and their signatures.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(domain::PROPOSAL);
        hasher.part(self.step.context.as_bytes());
        for entry in &self.entries {
            hasher
                .part(&entry.member.get().to_le_bytes())
                .part(entry.body.as_bytes())
                .part(entry.shares.as_bytes())
                .part(&entry.signature.to_bytes());
        }
        hasher.finish()
    }

    /// The members of U.
    #[must_use]
    pub fn members(&self) -> Vec<MemberIndex> {
        self.entries.iter().map(|entry| entry.member).collect()
    }
}

/// The digest of a set of members of a founding charter, whatever they uploaded: two steps with the same
/// one have the same cohort. [`cohort_under`] is for any charter.
#[must_use]
pub fn cohort_digest(members: &[MemberIndex]) -> Digest {
    let mut hasher = Hasher::new(domain::COHORT);
    for member in members {
        hasher.part(&member.get().to_le_bytes());
    }
    hasher.finish()
}

/// The digest of a set of members under a charter, by which seats know a set again, also in another run
/// and under another version of the charter. A founding charter's members are known by their indices;
/// later versions may give an index to somebody else, so theirs are known by their keys. Sets under
/// the founding version and under later ones never count as the same.
#[must_use]
pub fn cohort_under(charter: &VerifiedCharter, members: &[MemberIndex]) -> Digest {
    if charter.charter().version == 1 {
        return cohort_digest(members);
    }
    let mut keys: Vec<_> = members
        .iter()
        .filter_map(|index| charter.member(*index))
        .map(|member| member.identity.to_bytes())
        .collect();
    keys.sort_unstable();
    let mut hasher = Hasher::new(domain::COHORT_BY_KEY);
    for key in &keys {
        hasher.part(key);
    }
    // Indices that the charter does not have make a set of their own.
    hasher.number(members.len() as u64).finish()
}

/// 5. One member's vote for a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The step.
    pub step: StepRef,
    /// The voter.
    pub voter: MemberIndex,
    /// H(U).
    pub proposal: Digest,
    /// By the voter over context and H(U).
    pub signature: Signature,
}

impl Vote {
    fn signed_digest(context: &Digest, proposal: &Digest) -> Digest {
        hash(domain::VOTE, &[context.as_bytes(), proposal.as_bytes()])
    }

    /// Makes and signs a vote.
    #[must_use]
    pub fn sign(
        step: StepRef,
        voter: MemberIndex,
        proposal: Digest,
        identity: &SigningIdentity,
    ) -> Self {
        let digest = Self::signed_digest(&step.context, &proposal);
        Self {
            step,
            voter,
            proposal,
            signature: identity.sign(domain::VOTE, &digest),
        }
    }
}

/// 6. Proof that at least Q seats voted for the same set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The step.
    pub step: StepRef,
    /// H(U).
    pub proposal: Digest,
    /// Voters and their signatures, strictly sorted by voter.
    pub votes: Vec<CertifiedVote>,
}

/// One vote in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedVote {
    /// The voter.
    pub voter: MemberIndex,
    /// As in [`Vote`].
    pub signature: Signature,
}

impl Certificate {
    /// Whether the members of at least Q distinct seats voted for `proposal` in `context`, each vote valid.
    ///
    /// # Errors
    /// `CertificateInvalid` when votes are too few, unsorted, repeated, or one does not verify.
    pub fn verify(
        &self,
        context: &Digest,
        proposal: &Digest,
        charter: &VerifiedCharter,
    ) -> Result<(), Refusal> {
        let wrong =
            |why: &dyn std::fmt::Display| Refusal::new(RefusalCode::CertificateInvalid, why);
        if self.step.context != *context || self.proposal != *proposal {
            return Err(wrong(&"it certifies another set or step"));
        }
        let quorum = charter.thresholds().quorum;
        if self.votes.len() < quorum {
            return Err(wrong(&format_args!(
                "{} votes, {quorum} are needed",
                self.votes.len()
            )));
        }
        if !strictly_sorted(self.votes.iter().map(|vote| vote.voter)) {
            return Err(wrong(&"voters are not strictly sorted"));
        }
        let digest = Vote::signed_digest(context, proposal);
        for vote in &self.votes {
            charter
                .check_seat_signature(vote.voter, domain::VOTE, &digest, &vote.signature, "a vote")
                .map_err(|refusal| wrong(&refusal.detail()))?;
        }
        Ok(())
    }
}

impl Vote {
    /// Whether the voter holds a seat and signed this.
    ///
    /// # Errors
    /// `NoSeat` or `BadSignature`.
    pub fn verify(&self, charter: &VerifiedCharter) -> Result<SeatNumber, Refusal> {
        let digest = Self::signed_digest(&self.step.context, &self.proposal);
        charter.check_seat_signature(self.voter, domain::VOTE, &digest, &self.signature, "a vote")
    }
}

/// 7. The sum of one member's shares over the certified set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The step.
    pub step: StepRef,
    /// The releasing member.
    pub releaser: MemberIndex,
    /// H(U).
    pub proposal: Digest,
    /// [`crate::limits::SHARE_BYTES`] bytes.
    pub share_sum: Blob,
    /// By the releaser over context, H(U) and the bytes.
    pub signature: Signature,
}

impl Release {
    fn signed_digest(context: &Digest, proposal: &Digest, share_sum: &[u8]) -> Digest {
        let sum = hash(domain::SHARE_SUM, &[share_sum]);
        hash(
            domain::RELEASE,
            &[context.as_bytes(), proposal.as_bytes(), sum.as_bytes()],
        )
    }

    /// Makes and signs a release.
    #[must_use]
    pub fn sign(
        step: StepRef,
        releaser: MemberIndex,
        proposal: Digest,
        share_sum: Blob,
        identity: &SigningIdentity,
    ) -> Self {
        let digest = Self::signed_digest(&step.context, &proposal, share_sum.as_slice());
        let signature = identity.sign(domain::RELEASE, &digest);
        Self {
            step,
            releaser,
            proposal,
            share_sum,
            signature,
        }
    }

    /// Whether the releaser holds a seat and signed this; the seat, where its shares were taken.
    ///
    /// # Errors
    /// `NoSeat` or `BadSignature`.
    pub fn verify(&self, charter: &VerifiedCharter) -> Result<SeatNumber, Refusal> {
        let digest = Self::signed_digest(
            &self.step.context,
            &self.proposal,
            self.share_sum.as_slice(),
        );
        charter.check_seat_signature(
            self.releaser,
            domain::RELEASE,
            &digest,
            &self.signature,
            "a release",
        )
    }
}

/// Whether each element is above the one before.
pub(crate) fn strictly_sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
    let mut items = items.into_iter();
    let Some(mut last) = items.next() else {
        return true;
    };
    for item in items {
        if item <= last {
            return false;
        }
        last = item;
    }
    true
}
