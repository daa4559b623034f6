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
    Authority, Fingerprint, PkiError, Revocations, Role, Subject, TlsIdentity, TlsKey,
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
    /// Signs announcements; its public half stands in the charter.
    pub signing: SigningIdentity,
    /// Revoked certificates, shared with the listening endpoint. Empty after
    /// [`load`]: `members::load_revocations` fills it from the database.
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

    fn config(&self) -> PathBuf {
        self.0.join("coordinator.toml")
    }

    fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub(crate) fn authority_certificate(&self) -> PathBuf {
        self.keys().join("authority.crt")
    }

    pub(crate) fn operator_certificate(&self) -> PathBuf {
        self.keys().join("operator.crt")
    }

    pub(crate) fn operator_key(&self) -> PathBuf {
        self.keys().join("operator.key")
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
    let now = SystemTime::now();
    renew(&keys, "operator", &authority, now)?;
    let tls = renew(&keys, "server", &authority, now)?;
    let signing = keyfile::read_secret(&keys.join("signing.key"), SIGNING_KIND)?;
    Ok(Keys {
        consortium,
        authority,
        tls,
        signing: SigningIdentity::from_bytes(&signing),
        revocations: Revocations::default(),
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
    let identity = TlsIdentity::load(&certificate, &key)?;
    if identity.peer().not_after > now + RENEW_BEFORE {
        return Ok(identity);
    }
    let subject = identity.peer().subject.clone();
    authority
        .sign_own(&TlsKey::load(&key)?, &subject, now)?
        .save(&certificate)?;
    info!(%subject, "certificate renewed");
    Ok(TlsIdentity::load(&certificate, &key)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn options(state: &Path) -> InitOptions {
        InitOptions {
            state: state.to_owned(),
            name: "Heart Study".to_owned(),
            listen: ([127, 0, 0, 1], 7443).into(),
            address: None,
        }
    }

    #[test]
    fn a_founded_consortium_opens_and_its_configuration_loads() {
        let directory = tempfile::tempdir().expect("tempdir");
        let state = directory.path().join("coordinator");
        let founded = init(&options(&state)).expect("founds");
        let keys = load(&state).expect("opens");
        assert_eq!(
            keys.authority.certificate().fingerprint(),
            founded.authority
        );
        assert_eq!(keys.tls.peer().subject.role, Role::Coordinator);
        assert_eq!(keys.consortium.address.as_deref(), Some("127.0.0.1:7443"));
        assert!(!format!("{keys:?}").contains("Signing"));

        let sources = Sources {
            file: Some(founded.config),
            ..Sources::default()
        };
        let config = Config::load(&sources).expect("the written configuration is valid");
        assert_eq!(config.listen, ([127, 0, 0, 1], 7443).into());
        assert_eq!(config.state, state);

        let error = init(&options(&state)).expect_err("twice");
        assert!(matches!(error, InitError::AlreadyThere(_)), "{error}");
    }

    #[test]
    fn an_interrupted_founding_is_finished_by_running_it_again() {
        let directory = tempfile::tempdir().expect("tempdir");
        let state = directory.path();
        let first = init(&options(state)).expect("founds");
        // As if the power had failed before the last file, and once in the middle of the keys.
        fs::remove_file(&first.config).expect("removes");
        fs::create_dir(state.join("keys.unfinished")).expect("creates");
        let second = init(&options(state)).expect("finishes");
        assert_eq!((first.id, first.authority), (second.id, second.authority));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("tempdir");
        init(&options(directory.path())).expect("founds");
        let key = directory.path().join("keys/authority.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
        let error = load(directory.path()).expect_err("loose").to_string();
        assert!(
            error.contains("authority.key") && error.contains("chmod 600"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_directory_says_what_to_do() {
        let directory = tempfile::tempdir().expect("tempdir");
        let error = load(directory.path()).expect_err("empty").to_string();
        assert!(error.contains("coordinator init"), "{error}");
    }

    #[test]
    fn bad_names_and_addresses_are_refused_before_anything_is_written() {
        let directory = tempfile::tempdir().expect("tempdir");
        let state = directory.path().join("new");
        let bad_name = InitOptions {
            name: "a\nb".to_owned(),
            ..options(&state)
        };
        assert!(matches!(init(&bad_name), Err(InitError::Name(_))));
        for address in ["host", "host:0", "host:x", ":7443", "a,b:7443", "a b:1"] {
            let bad = InitOptions {
                address: Some(address.to_owned()),
                ..options(&state)
            };
            assert!(
                matches!(init(&bad), Err(InitError::Address(_))),
                "{address}"
            );
        }
        assert!(!state.exists());
    }
}
