//! The state directory: one daemon at a time, and a small file that says how it is.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use collegium_protocol::pki::PkiError;
use collegium_protocol::pki::keyfile::{self, Access};
use serde::{Deserialize, Serialize};

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made or written.
    #[error("the state directory: {0}")]
    Directory(#[from] PkiError),
    /// The lock's file cannot be opened.
    #[error("the state directory's lock {path}: {source}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another daemon works there.
    #[error(
        "another node works in {path}; stop it first, or give this one a directory of its own \
         with --state"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}

/// The state directory, held by this process.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// Locked; the system frees it when the process ends, however it ends.
    _lock: File,
}

/// What the daemon says about itself in `STATE/run/status.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The member's name.
    pub member: String,
    /// The daemon's process.
    pub pid: u32,
    /// Whether the session with the coordinator stands.
    pub connected: bool,
    /// Digest of the pinned charter, if one is pinned.
    pub charter: Option<String>,
    /// The last problem, until it is over.
    pub problem: Option<String>,
}

impl StateDirectory {
    /// Makes the directory where it is missing (for its owner alone) and takes its lock.
    ///
    /// # Errors
    /// [`StateError`]; [`StateError::InUse`] when another daemon holds it.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        let run = path.join("run");
        keyfile::create_private_dir(&run)?;
        let file = run.join("lock");
        let failed = |source| StateError::Lock {
            path: file.clone(),
            source,
        };
        let lock = File::create(&file).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Writes `STATE/run/status.json`.
    ///
    /// # Errors
    /// [`StateError::Directory`], when it cannot be written.
    pub fn write_status(&self, status: &Status) -> Result<(), StateError> {
        let text = serde_json::to_vec_pretty(status).unwrap_or_default();
        let file = self.path.join("run/status.json");
        Ok(keyfile::replace(&file, &text, Access::Private)?)
    }

    /// Removes the status, so that nobody reads one of a daemon that ended.
    pub fn remove_status(&self) {
        let _ = std::fs::remove_file(self.path.join("run/status.json"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_daemon_works_in_a_directory() {
        let directory = tempfile::tempdir().expect("tempdir");
        let first = StateDirectory::take(directory.path()).expect("free");
        let second = StateDirectory::take(directory.path());
        assert!(
            matches!(second, Err(StateError::InUse { .. })),
            "{second:?}"
        );
        drop(first);
        StateDirectory::take(directory.path()).expect("free again");
    }

    #[test]
    fn the_status_is_written_whole_and_read_back() {
        let directory = tempfile::tempdir().expect("tempdir");
        let state = StateDirectory::take(directory.path()).expect("free");
        let status = Status {
            member: "hospital-a".to_owned(),
            pid: 1,
            connected: true,
            charter: None,
            problem: None,
        };
        state.write_status(&status).expect("writes");
        let path = directory.path().join("run/status.json");
        let text = std::fs::read(&path).expect("reads");
        assert_eq!(
            serde_json::from_slice::<Status>(&text).expect("parses"),
            status
        );
        state.remove_status();
        assert!(!path.exists());
    }
}
