//! The charter, and whose ledger a folder is.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use collegium_protocol::charter::CharterMember;
use collegium_protocol::ledger::read::Folder;
use collegium_protocol::ledger::{CHECKPOINT, LogKey};
use collegium_protocol::{IdentityKey, SignedCharter, VerifiedCharter};

/// Reads the charter, from its first version on: one file for each version.
///
/// # Errors
/// Which file cannot be read, or does not verify.
pub(crate) fn charter(files: &[PathBuf]) -> anyhow::Result<VerifiedCharter> {
    let mut trusted: Option<VerifiedCharter> = None;
    for file in files {
        let read = || -> anyhow::Result<VerifiedCharter> {
            let text = std::fs::read_to_string(file)?;
            Ok(SignedCharter::from_toml(&text)?.verify(trusted.as_ref())?)
        };
        let verified = read().with_context(|| format!("the charter {}", file.display()))?;
        trusted = Some(verified);
    }
    trusted.context("name the charter: --charter FILE (`collegium charter show --file` writes it)")
}

/// The members' keys, in roster order: the witnesses of the coordinator's ledger.
pub(crate) fn witnesses(charter: &VerifiedCharter) -> Vec<IdentityKey> {
    let members = charter.members().iter();
    members.map(|member| member.identity).collect()
}

/// The ledger in a folder: the folder itself, or `ledger` in a daemon's state directory.
///
/// # Errors
/// Where neither is one.
pub(crate) fn ledger(path: &Path) -> anyhow::Result<Folder> {
    ensure!(path.is_dir(), "{} is no folder", path.display());
    let inside = path.join("ledger");
    let chosen = if !path.join(CHECKPOINT).exists() && inside.is_dir() {
        inside
    } else {
        path.to_owned()
    };
    Ok(Folder::new(&chosen))
}

/// The member whose ledger a folder is, by the name in its checkpoint.
///
/// # Errors
/// Where there is no checkpoint, or it is nobody's in the charter.
pub(crate) fn owner<'a>(
    charter: &'a VerifiedCharter,
    folder: &Folder,
) -> anyhow::Result<&'a CharterMember> {
    let note = folder.checkpoint()?;
    let origin = &note.checkpoint().origin;
    let own = |member: &&CharterMember| LogKey::node(member.identity).origin() == origin;
    match charter.members().iter().find(own) {
        Some(member) => Ok(member),
        None => bail!(
            "{} is the ledger of {origin}, who is no member under this charter",
            folder.path().display()
        ),
    }
}
