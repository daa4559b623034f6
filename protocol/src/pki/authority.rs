//! The consortium's certificate authority. It lives at the coordinator.

use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber,
};
use rustls::pki_types::CertificateSigningRequestDer;

use super::keyfile::{self, Access};
use super::{AuthorityCertificate, Peer, PkiError, Role, Serial, Subject, TlsKey, days_after};

/// The name in the coordinator's certificate. Nodes trust one authority that signs one
/// kind of server, so the name says what the server is, not where it is: the
/// coordinator can move to another host without a new certificate. `.internal` is
/// reserved and never resolves.
pub const SERVER_NAME: &str = "coordinator.collegium.internal";

/// Certificates of the coordinator, of nodes and of people live this long.
pub const CERTIFICATE_DAYS: u64 = 90;

/// The authority itself lives ten years: it is the consortium's root.
const AUTHORITY_DAYS: u64 = 3650;

/// Certificates start this long before they are issued, in days, so that a site whose
/// clock is a little slow can use its certificate at once.
const BACKDATED_DAYS: u64 = 1;

/// Largest signing request that is parsed: one for a P-256 key has about 250 bytes.
pub const MAX_REQUEST: usize = 4096;

/// A certificate that was just signed.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// PEM text.
    pub pem: String,
    /// What it says.
    pub peer: Peer,
}

impl IssuedCertificate {
    /// Writes the certificate as PEM, replacing an older one.
    pub fn save(&self, path: &Path) -> Result<(), PkiError> {
        keyfile::replace(path, self.pem.as_bytes(), Access::Public)
    }
}

/// The authority with its private key.
pub struct Authority {
    certificate: AuthorityCertificate,
    key: TlsKey,
}

impl Authority {
    /// Makes a new authority for `consortium`.
    pub fn create(consortium: &str, now: SystemTime) -> Result<Self, PkiError> {
        let key = TlsKey::generate()?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(Serial::random()?.as_bytes()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, consortium);
        params
            .distinguished_name
            .push(DnType::CommonName, "Collegium consortium authority");
        set_validity(&mut params, now, AUTHORITY_DAYS)?;
        let certificate = params.self_signed(key.pair())?;
        Ok(Self {
            certificate: AuthorityCertificate::from_pem(&certificate.pem())?,
            key,
        })
    }

    /// Reads the authority back.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, PkiError> {
        Ok(Self {
            certificate: AuthorityCertificate::load(certificate)?,
            key: TlsKey::load(key)?,
        })
    }

    /// Writes the authority's two files; never over existing ones.
    pub fn create_files(&self, certificate: &Path, key: &Path) -> Result<(), PkiError> {
        self.key.create_file(key)?;
        self.certificate.save(certificate)
    }

    /// The public half.
    pub fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    /// Signs a request made at a site. Everything but the public key comes from
    /// `subject`: what the request says about names, uses or extensions is ignored.
    /// The request's own signature proves that the requester holds the key.
    pub fn sign_request(
        &self,
        request: &[u8],
        subject: &Subject,
        now: SystemTime,
    ) -> Result<IssuedCertificate, PkiError> {
        if request.len() > MAX_REQUEST {
            return Err(PkiError::Request(format!(
                "it has {} bytes, at most {MAX_REQUEST} are read",
                request.len()
            )));
        }
        let parsed =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
                .map_err(|error| PkiError::Request(error.to_string()))?;
        if parsed.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(PkiError::Request(
                "its key is not an ECDSA P-256 key".to_owned(),
            ));
        }
        self.issue(&parsed.public_key, subject, now)
    }

    /// Signs a certificate for a key that this process holds.
    pub fn sign_own(
        &self,
        key: &TlsKey,
        subject: &Subject,
        now: SystemTime,
    ) -> Result<IssuedCertificate, PkiError> {
        self.issue(key.pair(), subject, now)
    }

    fn issue(
        &self,
        public_key: &impl PublicKeyData,
        subject: &Subject,
        now: SystemTime,
    ) -> Result<IssuedCertificate, PkiError> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(Serial::random()?.as_bytes()));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, self.certificate.consortium()?);
        params
            .distinguished_name
            .push(DnType::OrganizationalUnitName, subject.role.as_str());
        params
            .distinguished_name
            .push(DnType::CommonName, subject.name.as_str());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // A client certificate must never pass as the coordinator's, nor the reverse:
        // both sides check the extended key usage in the handshake.
        if subject.role == Role::Coordinator {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into()?)];
        } else {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        set_validity(&mut params, now, CERTIFICATE_DAYS)?;
        let issuer = Issuer::from_ca_cert_der(self.certificate.der(), self.key.pair())?;
        let certificate = params.signed_by(public_key, &issuer)?;
        Ok(IssuedCertificate {
            pem: certificate.pem(),
            peer: Peer::from_der(certificate.der())?,
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Authority({}, key hidden)",
            self.certificate.fingerprint()
        )
    }
}

fn set_validity(
    params: &mut CertificateParams,
    now: SystemTime,
    days: u64,
) -> Result<(), PkiError> {
    let since_epoch = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH)
            .map_err(|_| PkiError::Certificate("this computer's clock is before 1970".to_owned()))
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let start =
        since_epoch(now)?.saturating_sub(since_epoch(days_after(UNIX_EPOCH, BACKDATED_DAYS))?);
    params.not_before = epoch + start;
    params.not_after = epoch + since_epoch(days_after(now, days))?;
    Ok(())
}
