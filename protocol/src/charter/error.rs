//! Why a charter is not in force.

use crate::codec::CodecError;
use crate::ids::{ConsortiumId, MemberIndex};

/// Why a charter is not in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CharterError {
    /// A rule of form is broken.
    #[error("the charter is not well formed: {0}")]
    Form(String),
    /// A threshold differs from what the scheme needs for this many members.
    #[error(
        "the charter sets {name} to {found}, but {members} members need {needed}: \
         do not sign it, and ask who changed it"
    )]
    Threshold {
        /// Which threshold.
        name: &'static str,
        /// In the charter.
        found: u16,
        /// In the scheme.
        needed: usize,
        /// Members in the charter.
        members: usize,
    },
    /// It is another consortium's.
    #[error("the charter belongs to consortium {found}, the pinned one to {pinned}")]
    OtherConsortium {
        /// In the charter.
        found: ConsortiumId,
        /// In the pinned one.
        pinned: ConsortiumId,
    },
    /// An old version, or another one with the pinned version's number.
    #[error("version {found} is not newer than the pinned version {pinned}")]
    NotNewer {
        /// In the charter.
        found: u32,
        /// In the pinned one.
        pinned: u32,
    },
    /// Versions in between are missing.
    #[error(
        "version {found} does not follow version {pinned}: fetch the versions in between first"
    )]
    Gap {
        /// In the charter.
        found: u32,
        /// In the pinned one.
        pinned: u32,
    },
    /// Nothing is pinned, so only version 1 can be verified.
    #[error("version {0} cannot be verified without the version before it")]
    NoPredecessor(u32),
    /// Its predecessor is not the pinned version.
    #[error("the charter names another previous version than the pinned one")]
    WrongPrevious,
    /// Some needed signatures are missing.
    #[error("{found} of {needed} needed signatures; missing: {missing}")]
    MissingSignatures {
        /// Valid signatures.
        found: usize,
        /// Needed ones.
        needed: usize,
        /// Names of those who have not signed.
        missing: String,
    },
    /// A signature does not verify, or its signer is not a member.
    #[error("the signature of member {0} does not verify: the charter or the key was changed")]
    BadSignature(MemberIndex),
    /// A committee is to be drawn, and a signer did not reveal its part of the beacon.
    #[error(
        "member {0} signed without revealing the randomness it committed to, and the committee \
         cannot be drawn without it: let it sign again"
    )]
    MissingReveal(MemberIndex),
    /// What a signer revealed is not what it committed to.
    #[error(
        "what member {0} revealed is not the randomness it committed to: ask it, and found the \
         consortium anew if it cannot sign properly"
    )]
    WrongReveal(MemberIndex),
    /// Something was revealed where nothing is drawn.
    #[error(
        "member {0} revealed randomness that this charter does not ask for; it is not secret any \
         more and must not draw a committee"
    )]
    NeedlessReveal(MemberIndex),
    /// A later version is too large for this program.
    #[error(
        "version {version} has {members} members: this program draws a committee for a founding \
         charter only"
    )]
    CommitteeNotDrawn {
        /// In the charter.
        version: u32,
        /// In the charter.
        members: usize,
    },
    /// The file cannot be read.
    #[error("the charter file cannot be read: {0}")]
    Text(String),
    /// The bytes cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
