//! Joining: the one request that needs no certificate, on `collegium-join/1`.
//!
//! The site opens one [`crate::quic::StreamKind::Join`] stream, sends a [`JoinRequest`] and
//! receives a [`JoinResponse`]. All private keys stay at the site. A person sends an [`EnrollRequest`] and
//! receives the same.

use collegium_crypto::identity::{IdentityKey, Signature, SigningIdentity};
use collegium_crypto::seal::SealingPublic;
use collegium_crypto::transcript::{Digest, hash};
use serde::{Deserialize, Serialize};

use crate::codec::Blob;
use crate::domain;
use crate::ids::MemberName;
use crate::refusal::{Refusal, RefusalCode};

/// The version of these messages.
pub const VERSION: u16 = 2;

/// What a site sends to become a member. Cap: [`crate::limits::MAX_JOIN_REQUEST_BYTES`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// [`VERSION`] of the site.
    pub version: u16,
    /// The invitation's one-time secret.
    pub secret: [u8; 16],
    /// The member's name, as in the invitation.
    pub name: MemberName,
    /// Legal contact, for people; goes into the charter.
    pub contact: String,
    /// Key that will sign for the member.
    pub identity: IdentityKey,
    /// Key that shares will be sealed to.
    pub sealing: SealingPublic,
    /// Commitment to the member's part of the beacon; goes into the charter.
    pub commitment: Digest,
    /// PKCS#10 request (DER) for the TLS key.
    pub request: Blob,
    /// By `identity`, over [`JoinRequest::digest`]: the site holds the key it names, and means
    /// it for this name, sealing key, commitment and TLS key.
    pub signature: Signature,
}

impl JoinRequest {
    /// Builds and signs a request.
    #[must_use]
    pub fn new(
        secret: [u8; 16],
        name: MemberName,
        contact: String,
        identity: &SigningIdentity,
        sealing: SealingPublic,
        commitment: Digest,
        request: Vec<u8>,
    ) -> Self {
        let mut unsigned = Self {
            version: VERSION,
            secret,
            name,
            contact,
            identity: identity.public(),
            sealing,
            commitment,
            request: Blob(request),
            signature: Signature::from_bytes([0; 64]),
        };
        unsigned.signature = identity.sign(domain::JOIN, &unsigned.digest());
        unsigned
    }

    /// What the signature covers: everything else in the request.
    #[must_use]
    pub fn digest(&self) -> Digest {
        hash(
            domain::JOIN,
            &[
                &VERSION.to_be_bytes(),
                &self.secret,
                self.name.as_str().as_bytes(),
                self.contact.as_bytes(),
                &self.identity.to_bytes(),
                self.sealing.as_bytes(),
                self.commitment.as_bytes(),
                self.request.as_slice(),
            ],
        )
    }

    /// Checks version and signature.
    ///
    /// # Errors
    /// `Version` or `BadSignature`.
    pub fn verify(&self) -> Result<(), Refusal> {
        if self.version != VERSION {
            return Err(Refusal::new(
                RefusalCode::Version,
                format_args!(
                    "this coordinator joins by version {VERSION}, the site by {}",
                    self.version
                ),
            ));
        }
        self.identity
            .verify(domain::JOIN, &self.digest(), &self.signature)
            .map_err(|_| Refusal::new(RefusalCode::BadSignature, "the join request"))
    }
}

/// The secret is a password until it is used, so it is not printed.
impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest")
            .field("name", &self.name)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// The answer. Cap: [`crate::limits::MAX_JOIN_RESPONSE_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinResponse {
    /// The site is a member now; the charter has yet to name it.
    Joined {
        /// The site's certificate, PEM.
        certificate: String,
        /// The consortium's authority, PEM. The site compares it with the invitation's
        /// fingerprint.
        authority: String,
        /// The consortium's name, for people.
        consortium: String,
    },
    /// The invitation or the request is not acceptable. Nothing was changed.
    Refused(Refusal),
}

/// What a person sends to get a certificate, on a [`crate::quic::StreamKind::Enroll`] stream. The role
/// is the invitation's. Cap: [`crate::limits::MAX_JOIN_REQUEST_BYTES`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// [`VERSION`] of the person's program.
    pub version: u16,
    /// The invitation's one-time secret.
    pub secret: [u8; 16],
    /// The person's name, as in the invitation.
    pub name: MemberName,
    /// PKCS#10 request (DER) for the TLS key; its signature proves that the key is there.
    pub request: Blob,
}

/// The secret is a password until it is used, so it is not printed.
impl std::fmt::Debug for EnrollRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrollRequest")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use collegium_crypto::os_rng;
    use collegium_crypto::seal::SealingSecret;

    use super::*;
    use crate::{codec, limits};

    fn request() -> JoinRequest {
        let mut rng = os_rng().expect("randomness");
        let identity = SigningIdentity::generate(&mut rng);
        let sealing = SealingSecret::generate(&mut rng);
        JoinRequest::new(
            [7; 16],
            MemberName::new("hospital-a").expect("a name"),
            "Hospital A".to_owned(),
            &identity,
            sealing.public().clone(),
            Digest([5; 32]),
            vec![1, 2, 3],
        )
    }

    #[test]
    fn a_request_proves_possession_of_its_identity_key() {
        let good = request();
        assert_eq!(good.verify(), Ok(()));
        let changes: [fn(&mut JoinRequest); 6] = [
            |r| r.commitment = Digest([6; 32]),
            |r| r.secret = [8; 16],
            |r| r.name = MemberName::new("hospital-b").expect("a name"),
            |r| r.contact.push('!'),
            |r| r.request = Blob(vec![1, 2, 4]),
            |r| r.identity = request().identity,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(bad.verify().is_err(), "change {number} went unnoticed");
        }
    }

    #[test]
    fn the_largest_request_fits_its_cap() {
        let mut big = request();
        big.name = MemberName::new(&"a".repeat(limits::MAX_NAME_BYTES)).expect("a name");
        big.contact = "x".repeat(limits::MAX_TEXT_BYTES);
        big.request = Blob(vec![0; crate::pki::MAX_REQUEST]);
        assert!(codec::encode(&big).expect("encodes").len() <= limits::MAX_JOIN_REQUEST_BYTES);
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert!(!format!("{:?}", request()).contains("secret"));
    }
}
