//! TLS 1.3 configuration of both sides.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};

use super::QuicError;
use super::limits;
use crate::pki::{AuthorityCertificate, Fingerprint, Peer, Revocations, Role, TlsIdentity};

/// Application protocol of certificate holders.
pub const ALPN_MEMBER: &[u8] = b"collegium/1";

/// Application protocol of those who come to get a certificate.
pub const ALPN_JOIN: &[u8] = b"collegium-join/1";

/// The one provider, with hybrid post-quantum key exchange first. X25519 alone stays
/// as the second choice for a build whose provider lacks ML-KEM; TLS 1.3 protects the
/// choice itself, so an attacker on the path cannot force it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
        ],
        ..aws_lc_rs::default_provider()
    })
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, QuicError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

/// The server's side: certificate and authority in the chain (a joining site has only
/// the authority's fingerprint), client certificates verified in the handshake.
pub(super) fn server_config(
    identity: &TlsIdentity,
    authority: &AuthorityCertificate,
    revocations: Revocations,
) -> Result<quinn::ServerConfig, QuicError> {
    let provider = provider();
    // A certificate that is shown is always verified. Showing none is possible because
    // joining sites have none; the server closes such a connection unless it speaks
    // `collegium-join/1` (see `server::admit`).
    let webpki =
        WebPkiClientVerifier::builder_with_provider(roots(authority.der())?, Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| QuicError::Tls(error.to_string()))?;
    let mut chain = identity.chain().to_vec();
    chain.push(authority.der().clone());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(NotRevoked {
            inner: webpki,
            revocations,
        }))
        .with_single_cert(chain, identity.key())?;
    config.alpn_protocols = vec![ALPN_MEMBER.to_vec(), ALPN_JOIN.to_vec()];
    // A resumed session would carry an identity over without asking the verifier
    // again, and so outlive a revocation. Handshakes are rare here: none is resumed.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let crypto =
        QuicServerConfig::try_from(config).map_err(|error| QuicError::Tls(error.to_string()))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport()?);
    Ok(config)
}

/// A member's or person's side.
pub(super) fn client_config(
    identity: &TlsIdentity,
    authority: &AuthorityCertificate,
) -> Result<quinn::ClientConfig, QuicError> {
    let provider = provider();
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(
            WebPkiServerVerifier::builder_with_provider(roots(authority.der())?, provider)
                .build()
                .map_err(|error| QuicError::Tls(error.to_string()))?,
        )
        .with_client_auth_cert(identity.chain().to_vec(), identity.key())?;
    finish_client(config, ALPN_MEMBER)
}

/// A joining site's side: no certificate of its own, the authority known by its
/// fingerprint alone.
pub(super) fn joining_config(authority: Fingerprint) -> Result<quinn::ClientConfig, QuicError> {
    let provider = provider();
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KnownAuthority {
            authority,
            provider,
        }))
        .with_no_client_auth();
    finish_client(config, ALPN_JOIN)
}

fn finish_client(
    mut config: rustls::ClientConfig,
    protocol: &[u8],
) -> Result<quinn::ClientConfig, QuicError> {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    let crypto =
        QuicClientConfig::try_from(config).map_err(|error| QuicError::Tls(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport()?);
    Ok(config)
}

/// Windows, timeouts and stream counts, the same on both sides.
fn transport() -> Result<Arc<TransportConfig>, QuicError> {
    let idle = IdleTimeout::try_from(limits::IDLE_TIMEOUT)
        .map_err(|error| QuicError::Tls(error.to_string()))?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(limits::KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::MAX_BIDIRECTIONAL))
        .max_concurrent_uni_streams(VarInt::from_u32(limits::MAX_UNIDIRECTIONAL))
        .stream_receive_window(VarInt::from_u32(limits::STREAM_WINDOW))
        .receive_window(VarInt::from_u32(limits::CONNECTION_WINDOW))
        .send_window(limits::SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    Ok(Arc::new(transport))
}

/// Verifies the chain, then the deny-list and that role and name can be read.
#[derive(Debug)]
struct NotRevoked {
    inner: Arc<dyn ClientCertVerifier>,
    revocations: Revocations,
}

impl ClientCertVerifier for NotRevoked {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        let peer = Peer::from_der(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.revocations.is_revoked(&peer.serial) {
            return Err(CertificateError::Revoked.into());
        }
        if peer.subject.role == Role::Coordinator {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Accepts a server whose chain ends in the authority with this fingerprint.
#[derive(Debug)]
struct KnownAuthority {
    authority: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KnownAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The fingerprint picks the root; the ordinary verifier does the rest.
        let authority = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.authority)
            .ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_key_exchange_comes_first() {
        let groups: Vec<_> = provider()
            .kx_groups
            .iter()
            .map(|group| group.name())
            .collect();
        assert_eq!(groups.first(), Some(&rustls::NamedGroup::X25519MLKEM768));
    }
}
