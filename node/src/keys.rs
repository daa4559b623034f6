//! The site's private keys and what proves its membership: files below `STATE/keys`.
//!
//! ```text
//! identity.key     Ed25519, signs uploads, votes, releases and the charter      0600
//! sealing.key      X-Wing, opens the shares that others seal to this member     0600
//! tls.key          ECDSA P-256, the connection's key                            0600
//! beacon.key       32 random bytes, this member's part of the beacon that draws  0600
//!                  a large consortium's committee; the charter holds a commitment
//! beacon.revealed  the one charter for which they were revealed
//! tls.pem          the certificate for it, signed by the consortium's authority
//! tls.next.*       their successors, while the certificate is renewed
//! authority.pem    that authority
//! charter.accepted the later charter that this site's steward accepted, if it joined after the founding
//! membership.json  the member's name, the consortium's, the coordinator's address
//! ```
//!
//! Keys are made here and never leave. `membership.json` is written last: a site
//! without it has not joined.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use collegium_crypto::{SealingSecret, SigningIdentity, os_rng};
use collegium_protocol::charter::BeaconNonce;
use collegium_protocol::pki::keyfile::{self, Access};
use collegium_protocol::pki::{AuthorityCertificate, HolderFiles, Peer, PkiError, Role, TlsKey};
use collegium_protocol::quic::{Client, QuicError};
use collegium_protocol::{Digest, MemberName};
use serde::{Deserialize, Serialize};

use crate::beacon::BeaconPart;

/// What the key files that are not X.509 call themselves: all hold 32 bytes, and none must pass
/// for another.
const IDENTITY_KIND: &str = "identity";
const SEALING_KIND: &str = "sealing";
const BEACON_KIND: &str = "beacon";

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// This site has not joined.
    #[error(
        "no keys in {path}: this site has not joined a consortium; run `collegium node join CODE \
         --state DIR --data FILE` with the code from the coordinator's operator, or set `state`"
    )]
    NotJoined {
        /// The state directory.
        path: PathBuf,
    },
    /// A file is missing, damaged, or readable by others.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A file does not hold what it should.
    #[error("{path}: {reason}; put it back from a backup, or join again in a new directory")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate is not this member's.
    #[error(
        "{path} is a certificate for {subject}, not for the node {member}; put the right one back"
    )]
    OtherCertificate {
        /// The file.
        path: PathBuf,
        /// Whom it is for.
        subject: String,
        /// Whom it should be for.
        member: MemberName,
    },
    /// The part of the beacon is not secret any more.
    #[error(
        "do not sign: this site revealed its part of the beacon for the charter {charter}, so \
         whoever proposes another one could choose its committee; ask the coordinator's operator \
         why there is a second proposal, and if it must be, for a new invitation: joining again \
         commits to fresh randomness and keeps the keys"
    )]
    Revealed {
        /// For which charter.
        charter: String,
    },
    /// The keys cannot be used for a connection.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The operating system gives no randomness.
    #[error(transparent)]
    Randomness(#[from] collegium_crypto::error::RandomnessError),
}

/// The files of a state directory.
pub(crate) struct KeyFiles {
    directory: PathBuf,
}

impl KeyFiles {
    pub(crate) fn of(state: &Path) -> Self {
        Self {
            directory: state.join("keys"),
        }
    }

    fn identity(&self) -> PathBuf {
        self.directory.join("identity.key")
    }

    fn sealing(&self) -> PathBuf {
        self.directory.join("sealing.key")
    }

    fn beacon(&self) -> PathBuf {
        self.directory.join("beacon.key")
    }

    fn revealed(&self) -> PathBuf {
        self.directory.join("beacon.revealed")
    }

    pub(crate) fn holder(&self) -> HolderFiles {
        HolderFiles::of(&self.directory)
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.join("authority.pem")
    }

    fn accepted(&self) -> PathBuf {
        self.directory.join("charter.accepted")
    }

    fn membership(&self) -> PathBuf {
        self.directory.join("membership.json")
    }
}

/// Who this site is, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The member's name.
    pub member: MemberName,
    /// The consortium's name.
    pub consortium: String,
    /// The coordinator's address, `host:port`.
    pub coordinator: String,
}

/// Everything a member needs to take part. Holds secrets, hence no `Debug`.
pub struct NodeKeys {
    /// The member's name, as in its certificate.
    pub member: MemberName,
    /// The coordinator's address from the invitation.
    pub coordinator: String,
    /// Signs for the member.
    pub identity: Arc<SigningIdentity>,
    /// Opens shares sealed to the member.
    pub sealing: Arc<SealingSecret>,
    /// This member's part of the beacon that draws a large consortium's committee.
    pub beacon: BeaconPart,
    /// Dials the coordinator.
    pub client: Client,
    /// What the own certificate says.
    pub certificate: Peer,
    /// The consortium's authority.
    pub authority: AuthorityCertificate,
}

impl NodeKeys {
    /// Reads the keys of a site that has joined. Private files that others may read are refused.
    ///
    /// # Errors
    /// [`KeyError`], naming the file and what to do.
    pub fn load(state: &Path) -> Result<Self, KeyError> {
        let files = KeyFiles::of(state);
        let membership = membership(state)?.ok_or_else(|| KeyError::NotJoined {
            path: state.to_owned(),
        })?;
        // First, because it finishes what was interrupted.
        let tls = files.holder().load()?;
        let FreshKeys {
            identity,
            sealing,
            nonce,
            ..
        } = FreshKeys::load(&files)?;
        let authority = AuthorityCertificate::load(&files.authority())?;
        let subject = &tls.peer().subject;
        if subject.role != Role::Node || subject.name != membership.member.as_str() {
            return Err(KeyError::OtherCertificate {
                path: files.holder().certificate().to_owned(),
                subject: subject.to_string(),
                member: membership.member,
            });
        }
        Ok(Self {
            member: membership.member,
            coordinator: membership.coordinator,
            identity: Arc::new(identity),
            sealing: Arc::new(sealing),
            beacon: BeaconPart::new(nonce, files.revealed()),
            client: Client::new(&tls, &authority)?,
            certificate: tls.peer().clone(),
            authority,
        })
    }

    /// What the charter must name as this member's commitment.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        self.beacon.commitment(&self.identity.public())
    }
}

/// Who this site is; `None` when it has not joined.
///
/// # Errors
/// [`KeyError`], when the file is there and cannot be read.
pub fn membership(state: &Path) -> Result<Option<Membership>, KeyError> {
    let path = KeyFiles::of(state).membership();
    if !path.exists() {
        return Ok(None);
    }
    let text = keyfile::read_public(&path)?;
    let read = serde_json::from_slice(&text);
    read.map(Some).map_err(|error| KeyError::Damaged {
        path,
        reason: error.to_string(),
    })
}

/// The charter that the steward of a site accepted which joined after the founding.
///
/// # Errors
/// [`KeyError`], when the file is there and cannot be read.
pub(crate) fn accepted(state: &Path) -> Result<Option<Digest>, KeyError> {
    let path = KeyFiles::of(state).accepted();
    if !path.exists() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&keyfile::read_public(&path)?).into_owned();
    let digest = text.trim().parse();
    digest.map(Some).map_err(|_| KeyError::Damaged {
        path,
        reason: "it holds no charter's digest".to_owned(),
    })
}

/// Keeps the steward's word for a charter.
///
/// # Errors
/// [`KeyError`], when the file cannot be written.
pub(crate) fn accept(state: &Path, charter: Digest) -> Result<(), KeyError> {
    let path = KeyFiles::of(state).accepted();
    keyfile::replace(&path, format!("{charter}\n").as_bytes(), Access::Public)?;
    Ok(())
}

/// Keys made at the site, before the coordinator has certified anything.
pub(crate) struct FreshKeys {
    pub(crate) identity: SigningIdentity,
    pub(crate) sealing: SealingSecret,
    pub(crate) nonce: BeaconNonce,
    pub(crate) tls: TlsKey,
}

impl FreshKeys {
    /// Makes all private keys, or takes those of an earlier try to join that broke off: the
    /// coordinator may know them already. A part of the beacon that was revealed is secret no more;
    /// it alone is made afresh.
    pub(crate) fn make_or_load(files: &KeyFiles) -> Result<Self, KeyError> {
        keyfile::create_private_dir(&files.directory)?;
        if !files.identity().exists() {
            let identity = SigningIdentity::generate(&mut os_rng()?);
            keyfile::create_secret(&files.identity(), IDENTITY_KIND, &identity.to_bytes())?;
        }
        if !files.sealing().exists() {
            let sealing = SealingSecret::generate(&mut os_rng()?);
            keyfile::create_secret(&files.sealing(), SEALING_KIND, &sealing.to_bytes())?;
        }
        if files.revealed().exists() || !files.beacon().exists() {
            let nonce = BeaconNonce::generate(&mut os_rng()?);
            keyfile::replace_secret(&files.beacon(), BEACON_KIND, &nonce.to_bytes())?;
            // After a crash before this the fresh part counts as revealed, and is made anew.
            keyfile::remove(&files.revealed())?;
        }
        let holder = files.holder();
        if !holder.key().exists() {
            TlsKey::generate()?.create_file(holder.key())?;
        }
        Self::load(files)
    }

    fn load(files: &KeyFiles) -> Result<Self, KeyError> {
        let identity = keyfile::read_secret(&files.identity(), IDENTITY_KIND)?;
        let identity = SigningIdentity::from_bytes(&identity);
        let sealing = keyfile::read_secret(&files.sealing(), SEALING_KIND)?;
        let sealing =
            SealingSecret::from_bytes(sealing.as_slice()).map_err(|error| KeyError::Damaged {
                path: files.sealing(),
                reason: error.to_string(),
            })?;
        let nonce = keyfile::read_secret(&files.beacon(), BEACON_KIND)?;
        let nonce = BeaconNonce::from_bytes(&nonce);
        let tls = TlsKey::load(files.holder().key())?;
        Ok(Self {
            identity,
            sealing,
            nonce,
            tls,
        })
    }
}

/// Keeps what the coordinator gave; from here on the site has joined.
pub(crate) fn keep(
    files: &KeyFiles,
    certificate: &str,
    authority: &AuthorityCertificate,
    membership: &Membership,
) -> Result<(), KeyError> {
    let file = files.holder();
    keyfile::replace(file.certificate(), certificate.as_bytes(), Access::Public)?;
    authority.save(&files.authority())?;
    let mut text = serde_json::to_vec_pretty(membership).unwrap_or_default();
    text.push(b'\n');
    keyfile::replace(&files.membership(), &text, Access::Public)?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use collegium_protocol::pki::{Authority, Subject};
    use std::time::SystemTime;

    pub(crate) fn joined(state: &Path, name: &str) -> Result<NodeKeys, KeyError> {
        let files = KeyFiles::of(state);
        let fresh = FreshKeys::make_or_load(&files).expect("keys");
        let now = SystemTime::now();
        let authority = Authority::create("Test", now).expect("an authority");
        let subject = Subject::new(Role::Node, name).expect("a subject");
        let issued = authority
            .sign_own(&fresh.tls, &subject, now)
            .expect("signs");
        let membership = Membership {
            member: "site-a".parse().expect("a name"),
            consortium: "Test".to_owned(),
            coordinator: "127.0.0.1:1".to_owned(),
        };
        keep(&files, &issued.pem, authority.certificate(), &membership).expect("keeps");
        NodeKeys::load(state)
    }

    #[test]
    fn keys_survive_and_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let state = tempfile::tempdir().expect("tempdir");
        assert!(matches!(
            NodeKeys::load(state.path()),
            Err(KeyError::NotJoined { .. })
        ));
        let first = joined(state.path(), "site-a")
            .map_err(|e| e.to_string())
            .expect("loads");
        let again = NodeKeys::load(state.path())
            .map_err(|e| e.to_string())
            .expect("loads");
        assert_eq!(first.identity.public(), again.identity.public());
        assert_eq!(first.sealing.public(), again.sealing.public());
        assert_eq!(first.commitment(), again.commitment());
        assert_eq!(again.member.as_str(), "site-a");
        for name in ["identity.key", "sealing.key", "tls.key", "beacon.key"] {
            let path = state.path().join("keys").join(name);
            let mode = std::fs::metadata(&path)
                .expect("a file")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("chmod");
            let error = NodeKeys::load(state.path()).map(|_| ()).expect_err("loose");
            assert!(error.to_string().contains("chmod 600"), "{error}");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("chmod");
        }
    }

    #[test]
    fn a_certificate_for_somebody_else_is_refused() {
        let state = tempfile::tempdir().expect("tempdir");
        let error = joined(state.path(), "site-b")
            .map(|_| ())
            .expect_err("another name");
        assert!(error.to_string().contains("site-b"), "{error}");
    }
}
