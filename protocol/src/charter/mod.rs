//! The charter: the signed list of members, keys and thresholds. Nodes trust it, not the
//! coordinator, and everything a node checks in a step goes back to it.
//!
//! A charter is in force when it verifies: version 1 by the signature of every founding member,
//! every later version by at least Q members of the version before. [`VerifiedCharter`] is the
//! proof; the step machines accept nothing else.
//!
//! The **roster** is every member, by [`MemberIndex`]; the **committee** is those who hold shares,
//! vote and release, by
//! [`crate::ids::SeatNumber`]. Up to 96 members they are the same people in the same
//! order. Of more members 96 are drawn by a [`beacon`] that needs a reveal of every founding
//! member.

pub mod beacon;
mod error;
mod signed;

pub use beacon::{BeaconNonce, Reveal};
pub use error::CharterError;
pub use signed::{CharterSignature, SignedCharter, VerifiedCharter};

use collegium_crypto::identity::{IdentityKey, Signature, SigningIdentity};
use collegium_crypto::params::{ParamSet, Thresholds};
use collegium_crypto::seal::SealingPublic;
use collegium_crypto::transcript::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::domain;
use crate::ids::{ConsortiumId, MemberIndex, MemberName};
use crate::limits::MAX_TEXT_BYTES;

/// The content that members sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// The consortium's name, for people.
    pub consortium: String,
    /// Its id, the same over all versions.
    pub id: ConsortiumId,
    /// From 1, one more for each change.
    pub version: u32,
    /// Id of a compiled-in parameter set.
    pub params: String,
    /// Key that signs announcements.
    pub coordinator: IdentityKey,
    /// k: seats on the committee; everybody up to 96 members, 96 drawn ones beyond.
    pub committee: u16,
    /// Q: votes that certify a contributing set.
    pub quorum: u16,
    /// t: share sums that open a step.
    pub threshold: u16,
    /// Smallest contributing set; may be above the scheme's own minimum, never below.
    pub min_contributors: u16,
    /// Digest of the access policy that the members agreed on.
    pub policy: Digest,
    /// Digest of the version before; none in version 1.
    pub previous: Option<Digest>,
    /// The members, by index from 1.
    pub members: Vec<CharterMember>,
}

/// One institution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterMember {
    /// Roster index, from 1 in list order.
    pub index: MemberIndex,
    /// Short name.
    pub name: MemberName,
    /// Legal contact, for people.
    pub contact: String,
    /// Key that signs for the member.
    pub identity: IdentityKey,
    /// Key that shares are sealed to.
    pub sealing: SealingPublic,
    /// Commitment to the member's part of the [`beacon`], made when it joined.
    pub commitment: Digest,
}

impl Charter {
    /// A first version for these members, with the scheme's thresholds; indices are given in list
    /// order.
    ///
    /// # Errors
    /// [`CharterError::Form`] when the members do not make a consortium.
    pub fn found(
        consortium: &str,
        id: ConsortiumId,
        coordinator: IdentityKey,
        policy: Digest,
        members: Vec<NewMember>,
    ) -> Result<Self, CharterError> {
        let thresholds = thresholds(members.len())?;
        let members = members
            .into_iter()
            .zip(1u16..)
            .map(|(member, index)| {
                Ok(CharterMember {
                    index: MemberIndex::new(index).map_err(form)?,
                    name: member.name,
                    contact: member.contact,
                    identity: member.identity,
                    sealing: member.sealing,
                    commitment: member.commitment,
                })
            })
            .collect::<Result<_, CharterError>>()?;
        let charter = Self {
            consortium: consortium.to_owned(),
            id,
            version: 1,
            params: ParamSet::current().id().to_owned(),
            coordinator,
            committee: narrow(thresholds.committee)?,
            quorum: narrow(thresholds.quorum)?,
            threshold: narrow(thresholds.threshold)?,
            min_contributors: narrow(thresholds.min_contributors)?,
            policy,
            previous: None,
            members,
        };
        charter.check_form()?;
        Ok(charter)
    }

    /// The version after `previous`, with other members, another access policy or another key of the
    /// coordinator; thresholds follow from the number of members, and a minimum of contributors that the
    /// members had raised stays.
    ///
    /// # Errors
    /// [`CharterError::Form`] when the members do not make a consortium; `CommitteeNotDrawn` when they
    /// are too many for a version that is not the first.
    pub fn following(
        previous: &VerifiedCharter,
        coordinator: IdentityKey,
        policy: Digest,
        members: Vec<NewMember>,
    ) -> Result<Self, CharterError> {
        let before = previous.charter();
        let mut charter = Self::found(&before.consortium, before.id, coordinator, policy, members)?;
        charter.version = before.version.saturating_add(1);
        charter.previous = Some(previous.digest());
        let raised = before.min_contributors.min(narrow(charter.members.len())?);
        charter.min_contributors = charter.min_contributors.max(raised);
        charter.check_form()?;
        Ok(charter)
    }

    /// What members sign, and the name under which a step refers to this charter: a hash of every
    /// field.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(domain::CHARTER);
        hasher
            .part(self.consortium.as_bytes())
            .part(self.id.as_bytes())
            .number(self.version.into())
            .part(self.params.as_bytes())
            .part(&self.coordinator.to_bytes())
            .number(self.committee.into())
            .number(self.quorum.into())
            .number(self.threshold.into())
            .number(self.min_contributors.into())
            .part(self.policy.as_bytes())
            .part(
                self.previous
                    .as_ref()
                    .map_or(&[][..], |digest| digest.as_bytes()),
            )
            .number(self.members.len() as u64);
        for member in &self.members {
            hasher
                .number(member.index.get().into())
                .part(member.name.as_str().as_bytes())
                .part(member.contact.as_bytes())
                .part(&member.identity.to_bytes())
                .part(member.sealing.as_bytes())
                .part(member.commitment.as_bytes());
        }
        hasher.finish()
    }

    /// One member's signature over this charter.
    #[must_use]
    pub fn sign(&self, identity: &SigningIdentity) -> Signature {
        identity.sign(domain::CHARTER_SIGNATURE, &self.digest())
    }

    /// Whether there are more members than seats, so that a committee is drawn and every signer
    /// reveals its part of the [`beacon`].
    #[must_use]
    pub fn draws_committee(&self) -> bool {
        self.members.len() > usize::from(self.committee)
    }

    /// Checks everything that needs no signature: sizes, indices, distinct names and keys,
    /// compiled-in parameters, thresholds as the scheme sets them.
    ///
    /// # Errors
    /// [`CharterError::Form`] or [`CharterError::Threshold`].
    pub fn check_form(&self) -> Result<(), CharterError> {
        ParamSet::by_id(&self.params).map_err(form)?;
        check_text("the consortium's name", &self.consortium, 1)?;
        if (self.version <= 1) != self.previous.is_none() || self.version == 0 {
            return Err(form(
                "version 1 has no previous version, every later one has",
            ));
        }
        for (position, member) in self.members.iter().enumerate() {
            check_text("a contact", &member.contact, 0)?;
            if member.index.position() != position {
                return Err(form("indices must run from 1 in list order"));
            }
        }
        distinct("name", self.members.iter().map(|m| m.name.clone()))?;
        let keys = self.members.iter().map(|m| m.identity.to_bytes());
        distinct("identity key", keys.chain([self.coordinator.to_bytes()]))?;
        distinct(
            "sealing key",
            self.members.iter().map(|m| *m.sealing.as_bytes()),
        )?;
        self.check_thresholds()?;
        if self.draws_committee() && self.version > 1 {
            return Err(CharterError::CommitteeNotDrawn {
                version: self.version,
                members: self.members.len(),
            });
        }
        Ok(())
    }

    fn check_thresholds(&self) -> Result<(), CharterError> {
        let members = self.members.len();
        let needed = thresholds(members)?;
        let exact = [
            ("the committee size", self.committee, needed.committee),
            ("the vote quorum", self.quorum, needed.quorum),
            ("the opening threshold", self.threshold, needed.threshold),
        ];
        for (name, found, needed) in exact {
            if usize::from(found) != needed {
                return Err(CharterError::Threshold {
                    name,
                    found,
                    needed,
                    members,
                });
            }
        }
        let found = self.min_contributors;
        if !(needed.min_contributors..=members).contains(&found.into()) {
            let needed = needed.min_contributors;
            let name = "the minimum of contributors";
            return Err(CharterError::Threshold {
                name,
                found,
                needed,
                members,
            });
        }
        Ok(())
    }

    fn member(&self, index: MemberIndex) -> Option<&CharterMember> {
        self.members.get(index.position())
    }
}

/// A member as it joins, before it has an index.
#[derive(Debug, Clone)]
pub struct NewMember {
    /// Short name.
    pub name: MemberName,
    /// Legal contact, for people.
    pub contact: String,
    /// Key that signs for the member.
    pub identity: IdentityKey,
    /// Key that shares are sealed to.
    pub sealing: SealingPublic,
    /// Commitment to the member's part of the [`beacon`], made when it joined.
    pub commitment: Digest,
}

fn thresholds(members: usize) -> Result<Thresholds, CharterError> {
    Thresholds::for_members(members).map_err(form)
}

fn narrow(count: usize) -> Result<u16, CharterError> {
    u16::try_from(count).map_err(form)
}

fn form(why: impl std::fmt::Display) -> CharterError {
    CharterError::Form(why.to_string())
}

fn check_text(what: &str, text: &str, at_least: usize) -> Result<(), CharterError> {
    if text.len() < at_least || text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(form(format_args!(
            "{what} must be one line of {at_least} to {MAX_TEXT_BYTES} bytes"
        )));
    }
    Ok(())
}

fn distinct<T: Ord>(what: &str, items: impl Iterator<Item = T>) -> Result<(), CharterError> {
    let mut seen = std::collections::BTreeSet::new();
    for item in items {
        if !seen.insert(item) {
            return Err(form(format_args!("the same {what} stands there twice")));
        }
    }
    Ok(())
}
