//! The charter: the signed list of members, keys and thresholds. Nodes trust it, not the
//! coordinator, and everything a node checks in a step goes back to it.
//!
//! A charter is in force when it verifies: version 1 by the signature of every founding member,
//! every later version by at least Q members of the version before. [`VerifiedCharter`] is the
//! proof; the step machines accept nothing else.

use collegium_crypto::identity::{IdentityKey, Signature, SigningIdentity};
use collegium_crypto::params::{ParamSet, Thresholds};
use collegium_crypto::seal::SealingPublic;
use collegium_crypto::transcript::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::domain;
use crate::ids::{ConsortiumId, MemberIndex, MemberName};
use crate::limits::{MAX_CHARTER_BYTES, MAX_CHARTER_TEXT_BYTES, MAX_TEXT_BYTES};
use crate::message::step::strictly_sorted;
use crate::refusal::{Refusal, RefusalCode};

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
    /// k: size of the committee; everybody, up to 64 members.
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
    /// Committee index and Shamir point, from 1 in list order.
    pub index: MemberIndex,
    /// Short name.
    pub name: MemberName,
    /// Legal contact, for people.
    pub contact: String,
    /// Key that signs for the member.
    pub identity: IdentityKey,
    /// Key that shares are sealed to.
    pub sealing: SealingPublic,
}

/// A charter and the signatures collected so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCharter {
    /// What is signed.
    pub charter: Charter,
    /// Strictly sorted by signer.
    pub signatures: Vec<CharterSignature>,
}

/// One member's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterSignature {
    /// The signer's index: in this version if it is the first, in the version before otherwise.
    pub signer: MemberIndex,
    /// Over the charter's digest.
    pub signature: Signature,
}

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
    /// The file cannot be read.
    #[error("the charter file cannot be read: {0}")]
    Text(String),
    /// The bytes cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
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
                .part(member.sealing.as_bytes());
        }
        hasher.finish()
    }

    /// One member's signature over this charter.
    #[must_use]
    pub fn sign(&self, identity: &SigningIdentity) -> Signature {
        identity.sign(domain::CHARTER_SIGNATURE, &self.digest())
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
        self.check_thresholds()
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
}

impl SignedCharter {
    /// A charter that nobody has signed yet.
    #[must_use]
    pub fn unsigned(charter: Charter) -> Self {
        Self {
            charter,
            signatures: Vec::new(),
        }
    }

    /// Adds a signature after checking it. A second one of the same signer replaces the first.
    ///
    /// # Errors
    /// [`CharterError::BadSignature`] when it does not verify under the signer's key (in the
    /// version before, if there is one).
    pub fn add(
        &mut self,
        signer: MemberIndex,
        signature: Signature,
        previous: Option<&VerifiedCharter>,
    ) -> Result<(), CharterError> {
        let signers = previous.map_or(&self.charter, |pinned| &pinned.signed.charter);
        check(signers, signer, &self.charter.digest(), &signature)?;
        self.signatures.retain(|other| other.signer != signer);
        self.signatures.push(CharterSignature { signer, signature });
        self.signatures.sort_by_key(|other| other.signer);
        Ok(())
    }

    /// Verifies this charter: against the pinned version, or as a first version.
    ///
    /// A node pins the result. It must itself be in it ([`crate::step::Seat::new`] checks), and
    /// for version 1 its steward has compared the fingerprints before signing.
    ///
    /// # Errors
    /// A [`CharterError`] that says which rule is broken.
    pub fn verify(
        &self,
        pinned: Option<&VerifiedCharter>,
    ) -> Result<VerifiedCharter, CharterError> {
        let digest = self.charter.digest();
        if let Some(pinned) = pinned {
            if pinned.digest == digest {
                return Ok(pinned.clone());
            }
            self.check_follows(pinned)?;
        } else if self.charter.version != 1 {
            return Err(CharterError::NoPredecessor(self.charter.version));
        }
        self.charter.check_form()?;
        let signers = pinned.map_or(&self.charter, |pinned| &pinned.signed.charter);
        let needed = match pinned {
            Some(pinned) => usize::from(pinned.signed.charter.quorum),
            None => self.charter.members.len(),
        };
        self.check_signatures(signers, needed, &digest)?;
        VerifiedCharter::build(self.clone(), digest)
    }

    fn check_follows(&self, pinned: &VerifiedCharter) -> Result<(), CharterError> {
        let (found, before) = (&self.charter, &pinned.signed.charter);
        if found.id != before.id {
            return Err(CharterError::OtherConsortium {
                found: found.id,
                pinned: before.id,
            });
        }
        if found.version <= before.version {
            return Err(CharterError::NotNewer {
                found: found.version,
                pinned: before.version,
            });
        }
        if found.version - before.version != 1 {
            return Err(CharterError::Gap {
                found: found.version,
                pinned: before.version,
            });
        }
        if found.previous != Some(pinned.digest) {
            return Err(CharterError::WrongPrevious);
        }
        Ok(())
    }

    fn check_signatures(
        &self,
        signers: &Charter,
        needed: usize,
        digest: &Digest,
    ) -> Result<(), CharterError> {
        if !strictly_sorted(self.signatures.iter().map(|s| s.signer)) {
            return Err(form("signatures must be strictly sorted by signer"));
        }
        for one in &self.signatures {
            check(signers, one.signer, digest, &one.signature)?;
        }
        let found = self.signatures.len();
        if found < needed {
            let signed = |index| self.signatures.iter().any(|s| s.signer == index);
            let missing: Vec<_> = signers
                .members
                .iter()
                .filter(|member| !signed(member.index))
                .map(|member| member.name.as_str())
                .collect();
            let missing = missing.join(", ");
            return Err(CharterError::MissingSignatures {
                found,
                needed,
                missing,
            });
        }
        Ok(())
    }

    /// The file for people.
    ///
    /// # Errors
    /// [`CharterError::Text`]; none for a charter of this crate.
    pub fn to_toml(&self) -> Result<String, CharterError> {
        toml::to_string(self).map_err(|e| CharterError::Text(e.to_string()))
    }

    /// Reads the file for people. Nothing is verified yet.
    ///
    /// # Errors
    /// [`CharterError::Text`] when the text is too long or not a charter.
    pub fn from_toml(text: &str) -> Result<Self, CharterError> {
        if text.len() > MAX_CHARTER_TEXT_BYTES {
            return Err(CharterError::Text(format!(
                "it is over {MAX_CHARTER_TEXT_BYTES} bytes"
            )));
        }
        toml::from_str(text).map_err(|e| CharterError::Text(e.to_string()))
    }

    /// The bytes to store or send.
    ///
    /// # Errors
    /// [`CharterError::Codec`]; none for a charter of this crate.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CharterError> {
        Ok(codec::encode(self)?)
    }

    /// Reads stored bytes. Nothing is verified yet.
    ///
    /// # Errors
    /// [`CharterError::Codec`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CharterError> {
        Ok(codec::decode(bytes, MAX_CHARTER_BYTES)?)
    }
}

/// A charter that is in force: its form and signatures were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCharter {
    signed: SignedCharter,
    digest: Digest,
    params: &'static ParamSet,
    thresholds: Thresholds,
}

impl VerifiedCharter {
    fn build(signed: SignedCharter, digest: Digest) -> Result<Self, CharterError> {
        let params = ParamSet::by_id(&signed.charter.params).map_err(form)?;
        let mut thresholds = thresholds(signed.charter.members.len())?;
        thresholds.min_contributors = signed.charter.min_contributors.into();
        Ok(Self {
            signed,
            digest,
            params,
            thresholds,
        })
    }

    /// Takes back a charter that this very process verified and pinned on its own disk. A later
    /// version's predecessor need not be kept, so its signatures are not checked again; never
    /// call this on what a peer sent.
    ///
    /// # Errors
    /// [`CharterError`] when the stored charter is not well formed.
    pub fn from_pinned(signed: SignedCharter) -> Result<Self, CharterError> {
        signed.charter.check_form()?;
        let digest = signed.charter.digest();
        Self::build(signed, digest)
    }

    /// The digest by which steps name this charter.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The content.
    #[must_use]
    pub fn charter(&self) -> &Charter {
        &self.signed.charter
    }

    /// Content and signatures, to store or show.
    #[must_use]
    pub fn signed(&self) -> &SignedCharter {
        &self.signed
    }

    /// The compiled-in parameter set.
    #[must_use]
    pub fn params(&self) -> &'static ParamSet {
        self.params
    }

    /// k, Q, t, the minimum of contributors (as raised by the charter) and f.
    #[must_use]
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// The members, by index.
    #[must_use]
    pub fn members(&self) -> &[CharterMember] {
        &self.signed.charter.members
    }

    /// The member with this index.
    #[must_use]
    pub fn member(&self, index: MemberIndex) -> Option<&CharterMember> {
        self.signed.charter.member(index)
    }

    /// The member with this name.
    #[must_use]
    pub fn member_named(&self, name: &MemberName) -> Option<&CharterMember> {
        self.members().iter().find(|member| member.name == *name)
    }

    /// Checks a member's signature.
    ///
    /// # Errors
    /// `UnknownMember` or `BadSignature`, naming `what` was signed.
    pub fn check_signature(
        &self,
        member: MemberIndex,
        domain: &'static str,
        digest: &Digest,
        signature: &Signature,
        what: &str,
    ) -> Result<(), Refusal> {
        let Some(found) = self.member(member) else {
            return Err(Refusal::new(
                RefusalCode::UnknownMember,
                format_args!("member {member}"),
            ));
        };
        found
            .identity
            .verify(domain, digest, signature)
            .map_err(|_| {
                let name = &found.name;
                Refusal::new(RefusalCode::BadSignature, format_args!("{what} of {name}"))
            })
    }
}

fn check(
    signers: &Charter,
    signer: MemberIndex,
    digest: &Digest,
    signature: &Signature,
) -> Result<(), CharterError> {
    let member = signers
        .member(signer)
        .ok_or(CharterError::BadSignature(signer))?;
    member
        .identity
        .verify(domain::CHARTER_SIGNATURE, digest, signature)
        .map_err(|_| CharterError::BadSignature(signer))
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
