//! Founding a consortium: the coordinator's state directory and its keys.
//!
//! ```text
//! STATE/consortium.toml      name, id, the address that sites dial
//! STATE/coordinator.toml     the daemon's configuration, documented
//! STATE/keys/                0700: authority, server and operator certificates with their
//!                            keys (0600), the key that signs announcements
//! ```
//!
//! [`init`] writes each piece whole or not at all and never over an existing one, so
//! that a founding that was interrupted is finished by running it again.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use collegium_crypto::SigningIdentity;
use collegium_crypto::os_rng;
use collegium_crypto::rand_core::Rng;
use collegium_protocol::ids::ConsortiumId;
use collegium_protocol::pki::keyfile::{self, Access};
use collegium_protocol::pki::{
    Authority, Fingerprint, HolderFiles, Peer, PkiError, Revocations, Role, Subject, TlsIdentity,
    TlsKey,
};
use serde::{Deserialize, Serialize};
use tracing::info;

/// The documented sample, from which a new coordinator's configuration is made.
const SAMPLE: &str = include_str!("../../configs/coordinator.toml");

/// Name in the operator's first certificate.
const OPERATOR: &str = "operator";

/// Kind of the key file that signs announcements.
const SIGNING_KIND: &str = "announcement";

/// The server's certificate is renewed when it has less than this left. The coordinator
/// holds the authority, so this needs nobody's help.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Longest consortium name, in bytes: X.509 allows 64 in an organization's name.
const MAX_CONSORTIUM_NAME: usize = 64;

/// What an operator decides when founding.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// The state directory; made if it is not there.
    pub state: PathBuf,
    /// The consortium's name, for people.
    pub name: String,
    /// Where the daemon will listen.
    pub listen: SocketAddr,
    /// What sites will dial, `host:port`, when that is not `listen`.
    pub address: Option<String>,
}

/// What was founded.
#[derive(Clone, Debug)]
pub struct Founded {
    /// The consortium's name.
    pub name: String,
    /// Its id.
    pub id: ConsortiumId,
    /// SHA-256 of its authority.
    pub authority: Fingerprint,
    /// The configuration file that was written.
    pub config: PathBuf,
}

/// Why a consortium cannot be founded or opened.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one already.
    #[error(
        "{0} already holds a consortium; choose another --state, or go on with `collegium coordinator run --state {0}`"
    )]
    AlreadyThere(PathBuf),
    /// There is none.
    #[error(
        "{0} holds no consortium; make one with `collegium coordinator init --state {0} --name NAME`"
    )]
    NotThere(PathBuf),
    /// The name cannot stand in a certificate.
    #[error("`{0}` cannot be a consortium's name: use 1 to 64 bytes on one line")]
    Name(String),
    /// The address is not `host:port`.
    #[error(
        "`{0}` is not an address that sites can dial: write HOST:PORT, for example coordinator.example.org:7443"
    )]
    Address(String),
    /// A file that describes the consortium is damaged.
    #[error("{path}: {reason}; restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Keys or certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] collegium_crypto::error::RandomnessError),
}

/// `consortium.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consortium {
    /// For people.
    pub name: String,
    /// The same over all versions of the charter.
    pub id: ConsortiumId,
    /// What sites dial, `host:port`; without it, an invitation needs one.
    pub address: Option<String>,
}

/// Everything secret that the daemon needs, and the deny-list beside it.
pub struct Keys {
    /// The consortium.
    pub consortium: Consortium,
    /// Signs certificates.
    pub authority: Authority,
    /// The server's certificate and key.
    pub tls: TlsIdentity,
    /// What the founding operator's certificate says.
    pub operator: Peer,
    /// Signs announcements; its public half stands in the charter.
    pub signing: SigningIdentity,
    /// Revoked certificates, shared with the listening endpoint. Empty after
    /// [`load`]: `certificates::load_revocations` fills it from the database.
    pub revocations: Revocations,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys of {} (hidden)", self.consortium.name)
    }
}

/// The files in the state directory.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn of(state: &Path) -> Self {
        Self(state.to_owned())
    }

    fn consortium(&self) -> PathBuf {
        self.0.join("consortium.toml")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("coordinator.toml")
    }

    fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub(crate) fn authority_certificate(&self) -> PathBuf {
        self.keys().join("authority.crt")
    }

    pub(crate) fn operator(&self) -> HolderFiles {
        let keys = self.keys();
        HolderFiles::new(keys.join("operator.key"), keys.join("operator.crt"))
    }
}

/// Founds a consortium.
///
/// # Errors
/// [`InitError`]; [`InitError::AlreadyThere`] when the directory holds one.
pub fn init(options: &InitOptions) -> Result<Founded, InitError> {
    check(options)?;
    keyfile::create_private_dir(&options.state)?;
    let files = Files::of(&options.state);
    if files.config().exists() {
        return Err(InitError::AlreadyThere(options.state.clone()));
    }
    let consortium = if files.consortium().exists() {
        read_consortium(&options.state)?
    } else {
        let consortium = new_consortium(options)?;
        write_consortium(&files, &consortium)?;
        consortium
    };
    if !files.keys().exists() {
        make_keys(&files, &consortium)?;
    }
    let config = config_text(&options.state, options.listen);
    keyfile::create(&files.config(), config.as_bytes(), Access::Public)?;
    let authority = Authority::load(
        &files.authority_certificate(),
        &files.keys().join("authority.key"),
    )?;
    Ok(Founded {
        name: consortium.name,
        id: consortium.id,
        authority: authority.certificate().fingerprint(),
        config: files.config(),
    })
}

fn check(options: &InitOptions) -> Result<(), InitError> {
    let name = &options.name;
    if name.trim().is_empty()
        || name.len() > MAX_CONSORTIUM_NAME
        || name.chars().any(char::is_control)
    {
        return Err(InitError::Name(
            name.chars().filter(|c| !c.is_control()).take(80).collect(),
        ));
    }
    options.address.as_deref().map_or(Ok(()), check_address)
}

/// An address for an invitation: `host:port`, without anything that would end the field.
pub(crate) fn check_address(address: &str) -> Result<(), InitError> {
    let wrong = || {
        InitError::Address(
            address
                .chars()
                .filter(|c| !c.is_control())
                .take(80)
                .collect(),
        )
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == ',';
    if host.is_empty() || host.len() > 255 || port == 0 || host.contains(odd) {
        return Err(wrong());
    }
    Ok(())
}

fn new_consortium(options: &InitOptions) -> Result<Consortium, InitError> {
    let mut id = [0; 16];
    os_rng()?.fill_bytes(&mut id);
    // An address that only this computer understands (0.0.0.0) or that is not yet
    // known (port 0) is not something to print into invitations.
    let dialable = !options.listen.ip().is_unspecified() && options.listen.port() != 0;
    Ok(Consortium {
        name: options.name.clone(),
        id: ConsortiumId::from_bytes(id),
        address: options
            .address
            .clone()
            .or_else(|| dialable.then(|| options.listen.to_string())),
    })
}

fn write_consortium(files: &Files, consortium: &Consortium) -> Result<(), InitError> {
    let damaged = |reason: String| InitError::Damaged {
        path: files.consortium(),
        reason,
    };
    let body = toml::to_string(consortium).map_err(|error| damaged(error.to_string()))?;
    let text = format!(
        "# The consortium. Written once; its id stands in the charter and never changes.\n\
         # `address` is what sites dial (HOST:PORT, UDP): invitations carry it.\n{body}"
    );
    Ok(keyfile::create(
        &files.consortium(),
        text.as_bytes(),
        Access::Public,
    )?)
}

/// Makes all keys in a directory beside the final one, then renames it: either every
/// key is there or none.
fn make_keys(files: &Files, consortium: &Consortium) -> Result<(), InitError> {
    let unfinished = files.0.join("keys.unfinished");
    let io = |source| InitError::Io {
        path: unfinished.clone(),
        source,
    };
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(io)?;
    }
    keyfile::create_private_dir(&unfinished)?;
    let now = SystemTime::now();
    let authority = Authority::create(&consortium.name, now)?;
    authority.create_files(
        &unfinished.join("authority.crt"),
        &unfinished.join("authority.key"),
    )?;
    for (role, name, file) in [
        (Role::Coordinator, "coordinator", "server"),
        (Role::Operator, OPERATOR, "operator"),
    ] {
        let key = TlsKey::generate()?;
        key.create_file(&unfinished.join(format!("{file}.key")))?;
        let subject = Subject::new(role, name)?;
        authority
            .sign_own(&key, &subject, now)?
            .save(&unfinished.join(format!("{file}.crt")))?;
    }
    let signing = SigningIdentity::generate(&mut os_rng()?);
    keyfile::create_secret(
        &unfinished.join("signing.key"),
        SIGNING_KIND,
        &signing.to_bytes(),
    )?;
    fs::rename(&unfinished, files.keys()).map_err(io)?;
    fs::File::open(&files.0)
        .and_then(|directory| directory.sync_all())
        .map_err(io)
}

/// The documented sample with this coordinator's directory and address in it.
fn config_text(state: &Path, listen: SocketAddr) -> String {
    let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
    let state = toml::Value::String(state.display().to_string());
    SAMPLE
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("state", _)) => format!("state = {state}\n"),
            Some(("listen", _)) => format!("listen = \"{listen}\"\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

/// Reads `consortium.toml`.
///
/// # Errors
/// [`InitError::NotThere`] or [`InitError::Damaged`].
pub fn read_consortium(state: &Path) -> Result<Consortium, InitError> {
    let path = Files::of(state).consortium();
    if !path.exists() {
        return Err(InitError::NotThere(state.to_owned()));
    }
    let damaged = |reason: String| InitError::Damaged {
        path: path.clone(),
        reason,
    };
    let text = String::from_utf8(keyfile::read_public(&path)?)
        .map_err(|error| damaged(error.to_string()))?;
    toml::from_str(&text).map_err(|error| damaged(error.to_string()))
}

/// Opens a consortium's keys, and renews the certificates that the coordinator issues to
/// itself and to its operator when they are near their end.
///
/// # Errors
/// [`InitError`], naming the file.
pub fn load(state: &Path) -> Result<Keys, InitError> {
    let consortium = read_consortium(state)?;
    let keys = Files::of(state).keys();
    if !keys.exists() {
        return Err(InitError::NotThere(state.to_owned()));
    }
    let authority = Authority::load(&keys.join("authority.crt"), &keys.join("authority.key"))?;
    let Own { tls, operator } = renew_own(state, &authority, SystemTime::now())?;
    let signing = keyfile::read_secret(&keys.join("signing.key"), SIGNING_KIND)?;
    Ok(Keys {
        consortium,
        authority,
        tls,
        operator,
        signing: SigningIdentity::from_bytes(&signing),
        revocations: Revocations::default(),
    })
}

/// What the coordinator issues to itself.
#[derive(Debug)]
pub struct Own {
    /// The server's certificate and key.
    pub tls: TlsIdentity,
    /// What the founding operator's certificate says.
    pub operator: Peer,
}

/// Renews the certificates that the coordinator issues to itself and to its operator, where they are
/// near their end at `now`, and reads them.
///
/// # Errors
/// [`InitError`], naming the file.
pub fn renew_own(state: &Path, authority: &Authority, now: SystemTime) -> Result<Own, InitError> {
    let keys = Files::of(state).keys();
    Ok(Own {
        operator: renew(&keys, "operator", authority, now)?.peer().clone(),
        tls: renew(&keys, "server", authority, now)?,
    })
}

fn renew(
    keys: &Path,
    name: &str,
    authority: &Authority,
    now: SystemTime,
) -> Result<TlsIdentity, InitError> {
    let certificate = keys.join(format!("{name}.crt"));
    let key = keys.join(format!("{name}.key"));
    // The operator may be exchanging its own at this moment.
    let files = HolderFiles::new(key.clone(), certificate.clone());
    let identity = files.load()?;
    if identity.peer().not_after > now + RENEW_BEFORE {
        return Ok(identity);
    }
    let subject = identity.peer().subject.clone();
    authority
        .sign_own(&TlsKey::load(&key)?, &subject, now)?
        .save(&certificate)?;
    info!(%subject, "certificate renewed");
    Ok(files.load()?)
}

#[cfg(test)]
mod tests;
