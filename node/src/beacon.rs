//! This member's part of the beacon that draws a large consortium's committee: secret until its
//! steward signs the charter, and then revealed for that one charter only.

use std::path::PathBuf;

use collegium_crypto::identity::IdentityKey;
use collegium_protocol::charter::{BeaconNonce, Reveal};
use collegium_protocol::pki::keyfile::{self, Access};
use collegium_protocol::{Charter, Digest};

use crate::keys::KeyError;

/// The randomness, and the file that names the charter it was revealed for. Cannot be printed.
pub struct BeaconPart {
    nonce: BeaconNonce,
    revealed: PathBuf,
}

impl BeaconPart {
    /// The randomness of a key file; `revealed` is where the one charter is written down.
    #[must_use]
    pub fn new(nonce: BeaconNonce, revealed: PathBuf) -> Self {
        Self { nonce, revealed }
    }

    /// What the charter must name as this member's commitment.
    #[must_use]
    pub fn commitment(&self, identity: &IdentityKey) -> Digest {
        self.nonce.commitment(identity)
    }

    /// The part, for a charter that was signed; `None` when that charter draws no committee. For
    /// which charter it was revealed is on disk before it is given out: with the parts of all
    /// members known, a second charter could be made to draw whom its author wants.
    ///
    /// # Errors
    /// [`KeyError::Revealed`] when it was revealed for another charter.
    pub fn reveal(&self, charter: &Charter) -> Result<Option<Reveal>, KeyError> {
        if !charter.draws_committee() {
            return Ok(None);
        }
        let digest = charter.digest().to_string();
        if self.revealed.exists() {
            let before = keyfile::read_public(&self.revealed)?;
            let before = String::from_utf8_lossy(&before).trim_end().to_owned();
            if before != digest {
                return Err(KeyError::Revealed { charter: before });
            }
        } else {
            let line = format!("{digest}\n");
            keyfile::create(&self.revealed, line.as_bytes(), Access::Private)?;
        }
        Ok(Some(self.nonce.reveal()))
    }
}

#[cfg(test)]
mod tests {
    use collegium_crypto::{SealingSecret, SigningIdentity, os_rng};
    use collegium_protocol::charter::NewMember;
    use collegium_protocol::ids::ConsortiumId;

    use super::*;
    use crate::keys::NodeKeys;
    use crate::keys::tests::joined;

    /// A charter of this site and others.
    fn charter(own: &NodeKeys, consortium: &str, members: u8) -> Charter {
        let mut rng = os_rng().expect("randomness");
        let mut list = vec![NewMember {
            name: own.member.clone(),
            contact: String::new(),
            identity: own.identity.public(),
            sealing: own.sealing.public().clone(),
            commitment: own.commitment(),
        }];
        list.extend((1..members).map(|number| NewMember {
            name: format!("other-{number}").parse().expect("a name"),
            contact: String::new(),
            identity: SigningIdentity::generate(&mut rng).public(),
            sealing: SealingSecret::generate(&mut rng).public().clone(),
            commitment: Digest([number; 32]),
        }));
        let coordinator = SigningIdentity::generate(&mut rng).public();
        let (id, policy) = (ConsortiumId::from_bytes([1; 16]), Digest([2; 32]));
        Charter::found(consortium, id, coordinator, policy, list).expect("a charter")
    }

    #[test]
    fn the_part_is_revealed_for_one_charter_only() {
        let state = tempfile::tempdir().expect("tempdir");
        let load = || joined(state.path(), "site-a").unwrap_or_else(|error| panic!("{error}"));
        let keys = load();
        // Where nobody is drawn nothing is revealed, and nothing is used up.
        let small = keys.beacon.reveal(&charter(&keys, "small", 4));
        assert_eq!(small.expect("needs none"), None);
        let one = charter(&keys, "one", 97);
        let reveal = keys.beacon.reveal(&one).expect("reveals").expect("a part");
        assert!(reveal.opens(&keys.commitment(), &keys.identity.public()));
        // The same charter again gets the same, also after a restart; another one gets none.
        let again = NodeKeys::load(state.path()).unwrap_or_else(|error| panic!("{error}"));
        let repeated = again.beacon.reveal(&one).expect("the same charter");
        assert_eq!(repeated, Some(reveal));
        let other = again.beacon.reveal(&charter(&keys, "two", 97));
        let error = other.expect_err("revealed before").to_string();
        assert!(error.contains(&one.digest().to_string()), "{error}");
        // Joining again keeps the keys and commits to fresh randomness.
        let fresh = load();
        assert_eq!(fresh.identity.public(), keys.identity.public());
        assert_ne!(fresh.commitment(), keys.commitment());
        assert!(fresh.beacon.reveal(&charter(&fresh, "two", 97)).is_ok());
    }
}
