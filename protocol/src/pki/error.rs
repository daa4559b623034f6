//! What can go wrong with certificates and key files.

use std::path::{Path, PathBuf};

/// An error about certificates, requests, invitations or key files.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("{path}: cannot {action}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read`, `write`, ...
        action: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A private file can be read by others.
    #[error(
        "{path}: a private key file must be readable by its owner alone, but its mode is {mode:04o}; \
         run `chmod 600 {path}` and check who may have read it"
    )]
    LoosePermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A new key would overwrite a file that is already there.
    #[error("{path}: already exists; it is not overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold what its name says.
    #[error("{path}: {reason}; restore the file from a copy, or join again with a new invitation")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key file's passphrase is missing or another one.
    #[error("{0}")]
    Passphrase(String),
    /// A certificate cannot be understood.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// A signing request cannot be accepted.
    #[error("the certificate request cannot be accepted: {0}")]
    Request(String),
    /// A name does not fit into a certificate.
    #[error(
        "`{0}` cannot be a name here: use 1 to 40 of the characters a-z, 0-9 and `-`, \
         beginning with a letter or digit"
    )]
    Name(String),
    /// An unknown role.
    #[error("`{0}` is no role; the roles are operator, scientist, auditor, steward, node, viewer")]
    Role(String),
    /// The invitation code is damaged.
    #[error("the invitation code cannot be read: {0}; copy the whole line again")]
    Invite(&'static str),
    /// The key library refused.
    #[error("key operation failed: {0}")]
    Key(String),
    /// The operating system gave no randomness.
    #[error("the operating system's random generator failed")]
    NoRandomness,
}

impl PkiError {
    /// Names the file that an unusable certificate came from.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Certificate(reason) => Self::Content {
                path: path.to_owned(),
                reason: format!("the certificate cannot be used: {reason}"),
            },
            other => other,
        }
    }
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        Self::Key(error.to_string())
    }
}
