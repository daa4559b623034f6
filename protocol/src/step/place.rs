//! A member's place in the charter, with the keys that prove it, and the checks of an
//! announcement that both machines of the node make.
//!
//! The place always has a roster index, under which the member contributes. Whether it comes with
//! a numbered seat on the committee is the charter's to say.

use std::sync::Arc;

use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::params::ParamSet;
use collegium_crypto::seal::SealingSecret;

use crate::charter::VerifiedCharter;
use crate::context::ask_digest;
use crate::domain;
use crate::ids::{MemberIndex, SeatNumber};
use crate::limits::MAX_ASK_BYTES;
use crate::message::step::Announce;
use crate::refusal::{Refusal, RefusalCode};

/// A member's place on the roster of one charter. Holds secrets, hence no `Debug`.
pub struct Place {
    charter: Arc<VerifiedCharter>,
    index: MemberIndex,
    seat: Option<SeatNumber>,
    identity: Arc<SigningIdentity>,
    sealing: Arc<SealingSecret>,
}

/// Why this node has no place in the charter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The identity key is not in the charter.
    #[error(
        "this node's identity key is not in the charter (version {0}): it is not a member, or it \
         joined under another key; join again and have a new charter signed"
    )]
    NotAMember(u32),
    /// The identity is, with another sealing key.
    #[error(
        "the charter lists another sealing key for {0} than this node holds: do not take part, \
         and ask the other members who changed it"
    )]
    OtherSealingKey(crate::ids::MemberName),
}

impl Place {
    /// Finds the member whose keys these are.
    ///
    /// # Errors
    /// [`PlaceError`] when the charter does not list exactly these keys.
    pub fn new(
        charter: Arc<VerifiedCharter>,
        identity: Arc<SigningIdentity>,
        sealing: Arc<SealingSecret>,
    ) -> Result<Self, PlaceError> {
        let own = identity.public();
        let Some(member) = charter
            .members()
            .iter()
            .find(|member| member.identity == own)
        else {
            return Err(PlaceError::NotAMember(charter.charter().version));
        };
        if member.sealing != *sealing.public() {
            return Err(PlaceError::OtherSealingKey(member.name.clone()));
        }
        let index = member.index;
        let seat = charter.seat_of(index);
        Ok(Self {
            charter,
            index,
            seat,
            identity,
            sealing,
        })
    }

    /// The charter.
    #[must_use]
    pub fn charter(&self) -> &Arc<VerifiedCharter> {
        &self.charter
    }

    /// This member's index in the roster.
    #[must_use]
    pub fn index(&self) -> MemberIndex {
        self.index
    }

    /// This member's seat on the committee, if it has one.
    #[must_use]
    pub fn seat(&self) -> Option<SeatNumber> {
        self.seat
    }

    /// The seat, for what only its holder may do.
    pub(super) fn serving(&self) -> Result<SeatNumber, Refusal> {
        self.seat.ok_or_else(|| RefusalCode::NoSeat.into())
    }

    pub(super) fn identity(&self) -> &SigningIdentity {
        &self.identity
    }

    pub(super) fn sealing(&self) -> &SealingSecret {
        &self.sealing
    }

    /// What both machines check of an announcement before anything else: it names the charter in
    /// force and compiled-in parameters, the coordinator of the charter signed it, and the ask is
    /// within its cap and the one announced.
    ///
    /// Cheap: a daemon may call it before it reads the ask.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn check_announce(&self, announce: &Announce) -> Result<(), Refusal> {
        let context = &announce.context;
        if context.charter != self.charter.digest() {
            return Err(RefusalCode::CharterMismatch.into());
        }
        let params = ParamSet::by_id(&context.params)
            .map_err(|e| Refusal::new(RefusalCode::UnknownParameters, e))?;
        if params.id() != self.charter.params().id() {
            return Err(Refusal::new(
                RefusalCode::UnknownParameters,
                "not the charter's set",
            ));
        }
        let digest = Announce::signed_digest(context, announce.deadline_ms);
        let coordinator = &self.charter.charter().coordinator;
        coordinator
            .verify(domain::ANNOUNCE, &digest, &announce.signature)
            .map_err(|_| Refusal::new(RefusalCode::BadSignature, "the announcement"))?;
        if announce.ask.len() > MAX_ASK_BYTES {
            return Err(RefusalCode::AskTooLarge.into());
        }
        if ask_digest(announce.ask.as_slice()) != context.ask {
            return Err(RefusalCode::AskMismatch.into());
        }
        Ok(())
    }
}
