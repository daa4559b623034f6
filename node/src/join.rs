//! `node join`: all private keys are made here, and a one-time code turns them into a membership.
//!
//! An attempt that breaks off can be repeated with the same code: the keys stay, and the
//! coordinator recognises them. A member whose certificate ends joins again, with a new code and
//! the same directory: the keys stay then as well, since the charter names them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use collegium_automl::privacy::PrivacyRules;
use collegium_protocol::limits::{MAX_JOIN_REQUEST_BYTES, MAX_JOIN_RESPONSE_BYTES, MAX_TEXT_BYTES};
use collegium_protocol::message::join::{JoinRequest, JoinResponse};
use collegium_protocol::pki::keyfile::{self, Access};
use collegium_protocol::pki::{AuthorityCertificate, InviteCode, PkiError, TlsIdentity};
use collegium_protocol::quic::{self, QuicError, StreamKind};
use collegium_protocol::{MemberName, Refusal};

use crate::config::{Config, ConfigError, DataConfig, Flags, Sources};
use crate::data::{self, DataError};
use crate::keys::{self, FreshKeys, KeyError, KeyFiles, Membership};
use crate::state::{StateDirectory, StateError};

/// What the operator gives.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// The invitation, one line.
    pub code: String,
    /// The state directory; made where it is missing.
    pub state: PathBuf,
    /// The site's table, a CSV file.
    pub data: PathBuf,
    /// How its columns become the task's, a TOML file.
    pub columns: Option<PathBuf>,
}

/// A site that has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The member's name.
    pub member: MemberName,
    /// The consortium's name.
    pub consortium: String,
    /// The coordinator's address.
    pub coordinator: String,
    /// The configuration file, written unless there was one.
    pub config: PathBuf,
    /// The identity key's fingerprint as words, for comparing by telephone.
    pub fingerprint: String,
}

/// Why joining failed. Nothing but the keys is kept then.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The code cannot be used.
    #[error(transparent)]
    Code(#[from] PkiError),
    /// The code is too old.
    #[error("the invitation for {0} has expired; ask the coordinator's operator for a new one")]
    Expired(String),
    /// This directory belongs to a member already.
    #[error(
        "{path} belongs to {member} of {consortium} already; give another directory with --state"
    )]
    Joined {
        /// The state directory.
        path: PathBuf,
        /// Who it belongs to.
        member: MemberName,
        /// Of which consortium.
        consortium: String,
    },
    /// The name in the code is none.
    #[error("the invitation's name: {0}")]
    Name(#[from] collegium_protocol::ids::IdError),
    /// The table cannot be read.
    #[error("the site's table: {0}")]
    Data(#[from] DataError),
    /// The path of a file cannot be found.
    #[error("{path}: {source}")]
    Path {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The connection.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The coordinator says no.
    #[error("the coordinator refused: {0}")]
    Refused(Refusal),
    /// The coordinator gave another authority than the invitation names.
    #[error(
        "the coordinator gave another authority than the invitation names; do not go on, and ask \
         its operator"
    )]
    OtherAuthority,
    /// The configuration that was written cannot be read back.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Joins a consortium: reads the table once to be sure of it, makes the keys, redeems the code
/// and writes the configuration.
///
/// # Errors
/// [`JoinError`], saying what and what to do.
pub async fn join(options: JoinOptions) -> Result<Joined, JoinError> {
    let code: InviteCode = options.code.parse()?;
    let member = MemberName::new(&code.name)?;
    if code.expired(SystemTime::now()) {
        return Err(JoinError::Expired(code.name));
    }
    check_free(&options.state, &code, &member)?;
    let config = DataConfig {
        path: Some(absolute(&options.data)?),
        mapping: options.columns.as_deref().map(absolute).transpose()?,
        map: None,
    };
    // What is left out or changed, `node check` says; here the file only has to be readable.
    data::load(&config, &PrivacyRules::default(), None)?;

    let _held = StateDirectory::take(&options.state)?;
    let files = KeyFiles::of(&options.state);
    let fresh = FreshKeys::make_or_load(&files)?;
    let (certificate, authority, consortium) = redeem(&code, &member, &fresh).await?;
    let membership = Membership {
        member: member.clone(),
        consortium: consortium.clone(),
        coordinator: code.address.clone(),
    };
    let file = write_config(&options.state, &config)?;
    keys::keep(&files, &certificate, &authority, &membership)?;
    // What the daemon will read must be readable.
    keys::NodeKeys::load(&options.state)?;
    let flags = Flags {
        state: Some(options.state),
        ..Flags::default()
    };
    Config::load(&Sources {
        file: Some(file.clone()),
        flags,
        ..Sources::default()
    })?;
    Ok(Joined {
        member,
        consortium,
        coordinator: code.address,
        config: file,
        fingerprint: fresh.identity.public().fingerprint().words(),
    })
}

/// A member that joins again with a new invitation for the same name and consortium keeps its
/// keys and gets a new certificate: that is how an expired one is replaced. Everything else
/// needs a directory of its own.
fn check_free(state: &Path, code: &InviteCode, member: &MemberName) -> Result<(), JoinError> {
    let Some(before) = keys::membership(state)? else {
        return Ok(());
    };
    let authority = AuthorityCertificate::load(&KeyFiles::of(state).authority())?;
    if before.member == *member && authority.fingerprint() == code.authority {
        return Ok(());
    }
    Err(JoinError::Joined {
        path: state.to_owned(),
        member: before.member,
        consortium: before.consortium,
    })
}

/// Hands in the request; returns certificate, authority and the consortium's name.
async fn redeem(
    code: &InviteCode,
    member: &MemberName,
    fresh: &FreshKeys,
) -> Result<(String, AuthorityCertificate, String), JoinError> {
    let request = JoinRequest::new(
        *code.secret.expose(),
        member.clone(),
        contact(member),
        &fresh.identity,
        fresh.sealing.public().clone(),
        fresh.nonce.commitment(&fresh.identity.public()),
        fresh.tls.signing_request()?,
    );
    let connection = quic::join(&code.address, code.authority).await?;
    let (mut sender, mut receiver) = connection.open(StreamKind::Join).await?;
    sender.send(&request, MAX_JOIN_REQUEST_BYTES).await?;
    sender.finish();
    let response: JoinResponse = receiver.expect(MAX_JOIN_RESPONSE_BYTES).await?;
    connection.finish().await;
    let (certificate, authority, consortium) = match response {
        JoinResponse::Joined {
            certificate,
            authority,
            consortium,
        } => (certificate, authority, consortium),
        JoinResponse::Refused(refusal) => return Err(JoinError::Refused(refusal)),
    };
    let authority = AuthorityCertificate::from_pem(&authority)?;
    if authority.fingerprint() != code.authority {
        return Err(JoinError::OtherAuthority);
    }
    // It must be for the key made here.
    TlsIdentity::new(&certificate, &fresh.tls)?;
    Ok((certificate, authority, consortium))
}

/// The legal contact until the operator gives a better one: the charter shows it to people.
fn contact(member: &MemberName) -> String {
    let mut contact = member.to_string();
    contact.truncate(MAX_TEXT_BYTES);
    contact
}

fn absolute(path: &Path) -> Result<PathBuf, JoinError> {
    std::fs::canonicalize(path).map_err(|source| JoinError::Path {
        path: path.to_owned(),
        source,
    })
}

/// Writes `node.toml`, unless the operator has one there already.
fn write_config(state: &Path, data: &DataConfig) -> Result<PathBuf, JoinError> {
    let path = Config::default_file(state);
    if path.exists() {
        return Ok(path);
    }
    let mut table = toml::Table::new();
    for (key, value) in [("path", &data.path), ("mapping", &data.mapping)] {
        if let Some(value) = value {
            table.insert(key.to_owned(), value.to_string_lossy().into_owned().into());
        }
    }
    let mut file = toml::Table::new();
    file.insert("data".to_owned(), table.into());
    let text = format!(
        "# Written by `collegium node join`. Every key and its default: configs/node.toml.\n\n{file}"
    );
    keyfile::create(&path, text.as_bytes(), Access::Private)?;
    Ok(path)
}
