//! Stateless resets that survive a restart (RFC 9000, section 10.3).
//!
//! A coordinator that crashed and came back does not know the connections of its former
//! life. With the same key as before it can say so at the first packet of each, and the
//! members dial again at once; without, they would wait for [`super::IDLE_TIMEOUT`].

use std::sync::Arc;

use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionIdGenerator, EndpointConfig};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

const TOKENS: &str = "collegium quic stateless reset tokens v1";
const IDS: &str = "collegium quic connection ids v1";

/// An endpoint whose resets and connection ids are keyed by the server's private key.
pub(super) fn endpoint_config(key: &PrivateKeyDer<'_>) -> EndpointConfig {
    let secret = key.secret_der();
    let mut config = EndpointConfig::new(Arc::new(ResetKey(Zeroizing::new(blake3::derive_key(
        TOKENS, secret,
    )))));
    // Ids of another key are not answered at all, so they have to be the same ones too. This
    // hash keeps noise away and is no secret's guard.
    let [a, b, c, d, e, f, g, h, ..] = blake3::derive_key(IDS, secret);
    let ids = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    config.cid_generator(move || -> Box<dyn ConnectionIdGenerator> {
        Box::new(HashedConnectionIdGenerator::from_key(ids))
    });
    config
}

/// Keyed BLAKE3 as the pseudorandom function that the RFC asks for.
struct ResetKey(Zeroizing<[u8; 32]>);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // `blake3::Hash` compares in constant time.
        let signature = blake3::Hash::from_slice(signature).map_err(|_| CryptoError)?;
        (blake3::keyed_hash(&self.0, data) == signature)
            .then_some(())
            .ok_or(CryptoError)
    }
}
