//! Certificates and TLS keys as their holders use them.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use zeroize::{Zeroize, Zeroizing};

use super::keyfile::{self, Access};
use super::{Fingerprint, PkiError, Serial, Subject};

/// A TLS private key (ECDSA P-256), made where it is used and never sent.
pub struct TlsKey(KeyPair);

impl TlsKey {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Result<Self, PkiError> {
        Ok(Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    /// Reads a key file, which must be readable by its owner alone.
    pub fn load(path: &Path) -> Result<Self, PkiError> {
        let pem = keyfile::read_private(path)?;
        let damaged = |reason: String| PkiError::Content {
            path: path.to_owned(),
            reason,
        };
        let text =
            std::str::from_utf8(&pem).map_err(|_| damaged("this is not a PEM file".to_owned()))?;
        KeyPair::from_pem(text)
            .map(Self)
            .map_err(|error| damaged(format!("this is not a usable private key ({error})")))
    }

    /// Writes the key as PKCS#8 PEM with mode 0600, encrypted if the process has a passphrase; never over an existing file.
    pub fn create_file(&self, path: &Path) -> Result<(), PkiError> {
        let pem = Zeroizing::new(self.0.serialize_pem());
        keyfile::create_key(path, pem.as_bytes())
    }

    /// A PKCS#10 request (DER) for this key. It names nobody: the coordinator decides
    /// the subject from the invitation, not from what the requester writes.
    pub fn signing_request(&self) -> Result<Vec<u8>, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&self.0)?.der().to_vec())
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.0
    }

    fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }
}

impl Drop for TlsKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsKey(hidden)")
    }
}

/// The consortium's authority certificate: the only root that anybody trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityCertificate {
    der: CertificateDer<'static>,
    pem: String,
}

impl AuthorityCertificate {
    /// Takes PEM text, after checking that it is one certificate authority.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let der = decode_pem(pem.as_bytes())?;
        let parsed = parse(&der)?;
        if !parsed.is_ca() {
            return Err(PkiError::Certificate("it is not an authority".to_owned()));
        }
        Ok(Self {
            der,
            pem: pem.to_owned(),
        })
    }

    /// Reads a PEM file.
    pub fn load(path: &Path) -> Result<Self, PkiError> {
        load_text(path)
            .and_then(|pem| Self::from_pem(&pem))
            .map_err(|error| error.in_file(path))
    }

    /// Writes the certificate as PEM, readable by everybody.
    pub fn save(&self, path: &Path) -> Result<(), PkiError> {
        keyfile::replace(path, self.pem.as_bytes(), Access::Public)
    }

    /// The fingerprint that invitations carry.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// The DER bytes.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The PEM text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The consortium's name, from the certificate's organization.
    pub fn consortium(&self) -> Result<String, PkiError> {
        let parsed = parse(&self.der)?;
        let mut names = parsed.subject().iter_organization();
        names
            .next()
            .and_then(|name| name.as_str().ok())
            .map(str::to_owned)
            .ok_or_else(|| PkiError::Certificate("it names no consortium".to_owned()))
    }
}

/// What a certificate says about its holder, after the chain was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Role and name.
    pub subject: Subject,
    /// Serial number, for revocation.
    pub serial: Serial,
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// First moment of validity.
    pub not_before: SystemTime,
    /// Last moment of validity.
    pub not_after: SystemTime,
}

impl Peer {
    /// [`Peer::from_der`] of PEM text.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        Self::from_der(&decode_pem(pem.as_bytes())?)
    }

    /// Reads a certificate. This does **not** verify who signed it: rustls does that
    /// in the handshake, before anything calls here.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let parsed = parse(der)?;
        let serial = Serial::from_bytes(parsed.raw_serial())
            .ok_or_else(|| PkiError::Certificate("its serial number is not 16 bytes".to_owned()))?;
        Ok(Self {
            subject: Subject::from_x509(parsed.subject())?,
            serial,
            fingerprint: Fingerprint::of(der),
            not_before: unix_time(parsed.validity().not_before.timestamp()),
            not_after: unix_time(parsed.validity().not_after.timestamp()),
        })
    }
}

/// A private key with its certificate: what one side shows in the handshake.
pub struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    peer: Peer,
}

impl TlsIdentity {
    /// Joins a key with the certificate (PEM) that was issued for it.
    pub fn new(certificate_pem: &str, key: &TlsKey) -> Result<Self, PkiError> {
        let der = decode_pem(certificate_pem.as_bytes())?;
        let parsed = parse(&der)?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.pair().public_key_raw() {
            return Err(PkiError::Certificate(
                "it was issued for another private key".to_owned(),
            ));
        }
        let peer = Peer::from_der(&der)?;
        Ok(Self {
            chain: vec![der],
            key: key.to_rustls(),
            peer,
        })
    }

    /// Reads certificate and key files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, PkiError> {
        let key = TlsKey::load(key)?;
        load_text(certificate)
            .and_then(|pem| Self::new(&pem, &key))
            .map_err(|error| error.in_file(certificate))
    }

    /// Who this identity is.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl Clone for TlsIdentity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            peer: self.peer.clone(),
        }
    }
}

impl Drop for TlsIdentity {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsIdentity({}, key hidden)", self.peer.subject)
    }
}

/// Whether a certificate (PEM) was issued for the key of a signing request (PKCS#10, DER). The request's
/// signature is not checked here.
pub fn is_for(certificate_pem: &str, request: &[u8]) -> Result<bool, PkiError> {
    let der = decode_pem(certificate_pem.as_bytes())?;
    let (_, request) = X509CertificationRequest::from_der(request)
        .map_err(|error| PkiError::Request(error.to_string()))?;
    let wanted = request.certification_request_info.subject_pki;
    Ok(parse(&der)?.public_key().raw == wanted.raw)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(PkiError::Certificate(
            "bytes follow after its end".to_owned(),
        )),
        Err(error) => Err(PkiError::Certificate(error.to_string())),
    }
}

fn unix_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

fn decode_pem(pem: &[u8]) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem)
        .map_err(|error| PkiError::Certificate(format!("it is not a PEM certificate ({error:?})")))
}

fn load_text(path: &Path) -> Result<String, PkiError> {
    String::from_utf8(keyfile::read_public(path)?)
        .map_err(|_| PkiError::Certificate("it is not a PEM certificate".to_owned()))
}
