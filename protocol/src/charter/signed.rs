//! Signatures under a charter, and what makes it valid.

use collegium_crypto::committee;
use collegium_crypto::identity::Signature;
use collegium_crypto::params::{ParamSet, Thresholds};
use collegium_crypto::transcript::Digest;
use serde::{Deserialize, Serialize};

use super::beacon::{Reveal, beacon};
use super::{Charter, CharterError, CharterMember, form, thresholds};
use crate::codec;
use crate::domain;
use crate::ids::{MemberIndex, MemberName, SeatNumber};
use crate::limits::{MAX_CHARTER_BYTES, MAX_CHARTER_TEXT_BYTES};
use crate::message::step::strictly_sorted;
use crate::refusal::{Refusal, RefusalCode};

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
    /// The signer's part of the beacon; there exactly when a committee is drawn. It needs no
    /// signature of its own: only one value opens the commitment that every member signed.
    pub reveal: Option<Reveal>,
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

    /// Adds a signature after checking it and what it reveals. A second one of the same signer
    /// replaces the first.
    ///
    /// # Errors
    /// [`CharterError::BadSignature`] when it does not verify under the signer's key (in the
    /// version before, if there is one); `MissingReveal`, `WrongReveal` or `NeedlessReveal`.
    pub fn add(
        &mut self,
        signature: CharterSignature,
        previous: Option<&VerifiedCharter>,
    ) -> Result<(), CharterError> {
        let signers = previous.map_or(&self.charter, |pinned| &pinned.signed.charter);
        check(signers, &self.charter.digest(), &signature)?;
        self.check_reveal(&signature)?;
        self.signatures
            .retain(|other| other.signer != signature.signer);
        self.signatures.push(signature);
        self.signatures.sort_by_key(|other| other.signer);
        Ok(())
    }

    /// Verifies this charter: against the pinned version, or as a first version.
    ///
    /// A node pins the result. It must itself be in it ([`crate::step::Place::new`] checks), and
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

    /// Whether this is the version after the pinned one, whoever may have signed it so far.
    ///
    /// # Errors
    /// `OtherConsortium`, `NotNewer`, `Gap` or `WrongPrevious`.
    pub fn check_follows(&self, pinned: &VerifiedCharter) -> Result<(), CharterError> {
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
            check(signers, digest, one)?;
            self.check_reveal(one)?;
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

    /// Whether a signer revealed its part of the beacon, if and only if one is needed.
    fn check_reveal(&self, one: &CharterSignature) -> Result<(), CharterError> {
        match (self.charter.draws_committee(), &one.reveal) {
            (false, None) => Ok(()),
            (false, Some(_)) => Err(CharterError::NeedlessReveal(one.signer)),
            (true, None) => Err(CharterError::MissingReveal(one.signer)),
            (true, Some(reveal)) => {
                let member = self.charter.member(one.signer);
                member
                    .filter(|member| reveal.opens(&member.commitment, &member.identity))
                    .map(|_| ())
                    .ok_or(CharterError::WrongReveal(one.signer))
            }
        }
    }

    /// The members that sit on the committee, in seat order: everybody, or those that the beacon
    /// draws.
    fn committee(&self, digest: &Digest) -> Result<Vec<MemberIndex>, CharterError> {
        let members = &self.charter.members;
        if !self.charter.draws_committee() {
            return Ok(members.iter().map(|member| member.index).collect());
        }
        // Only a founding charter comes here, and its signers are its members.
        let mut reveals = Vec::with_capacity(members.len());
        for member in members {
            let of_member = |one: &&CharterSignature| one.signer == member.index;
            let one = self.signatures.iter().find(of_member);
            let one = one.ok_or(CharterError::MissingReveal(member.index))?;
            self.check_reveal(one)?;
            reveals.extend(one.reveal);
        }
        let beacon = beacon(digest, &reveals);
        committee::draw(&beacon, members.len(), self.charter.committee.into())
            .into_iter()
            .map(|index| MemberIndex::new(index).map_err(form))
            .collect()
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
    /// In seat order, which is also roster order.
    committee: Vec<MemberIndex>,
}

impl VerifiedCharter {
    fn build(signed: SignedCharter, digest: Digest) -> Result<Self, CharterError> {
        let params = ParamSet::by_id(&signed.charter.params).map_err(form)?;
        let mut thresholds = thresholds(signed.charter.members.len())?;
        thresholds.min_contributors = signed.charter.min_contributors.into();
        let committee = signed.committee(&digest)?;
        Ok(Self {
            signed,
            digest,
            params,
            thresholds,
            committee,
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

    /// The members that hold seats, in seat order.
    #[must_use]
    pub fn committee(&self) -> &[MemberIndex] {
        &self.committee
    }

    /// Every seat with the member that holds it, in seat order.
    pub fn seats(&self) -> impl Iterator<Item = (SeatNumber, &CharterMember)> {
        let numbers = (1..).map_while(|number| SeatNumber::new(number).ok());
        let members = self
            .committee
            .iter()
            .filter_map(|index| self.member(*index));
        numbers.zip(members)
    }

    /// The seat that a member holds, if it holds one.
    #[must_use]
    pub fn seat_of(&self, member: MemberIndex) -> Option<SeatNumber> {
        let position = self.committee.binary_search(&member).ok()?;
        SeatNumber::new(u16::try_from(position + 1).ok()?).ok()
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

impl VerifiedCharter {
    /// Checks the signature of a member in its office as committee member.
    ///
    /// # Errors
    /// As [`VerifiedCharter::check_signature`], and `NoSeat` when the member holds no seat.
    pub fn check_seat_signature(
        &self,
        member: MemberIndex,
        domain: &'static str,
        digest: &Digest,
        signature: &Signature,
        what: &str,
    ) -> Result<SeatNumber, Refusal> {
        let Some(seat) = self.seat_of(member) else {
            return Err(Refusal::new(
                RefusalCode::NoSeat,
                format_args!("{what} of member {member}"),
            ));
        };
        self.check_signature(member, domain, digest, signature, what)?;
        Ok(seat)
    }
}

fn check(signers: &Charter, digest: &Digest, one: &CharterSignature) -> Result<(), CharterError> {
    let signer = one.signer;
    let member = signers
        .member(signer)
        .ok_or(CharterError::BadSignature(signer))?;
    member
        .identity
        .verify(domain::CHARTER_SIGNATURE, digest, &one.signature)
        .map_err(|_| CharterError::BadSignature(signer))
}
