//! The site's keys for hashes: `STATE/keys/desensitize.key` for values, `STATE/keys/blind.key` for
//! whole tables; 32 random bytes each, 0600.
//!
//! They are made here when they are first needed, and never leave. Without the first nobody can find
//! a value by trying out hashes; with another key the same value has another hash, so a lost key
//! makes new rows strangers to models that know the old hashes. Without the second nobody can
//! confirm a guess at a table by its hash, which would tell more than differential privacy allows.

use std::path::{Path, PathBuf};

use collegium_automl::privacy::PrivacyRules;
use collegium_crypto::os_rng;
use collegium_protocol::pki::PkiError;
use collegium_protocol::pki::keyfile;
use rand_core::Rng as _;
use zeroize::Zeroizing;

/// What the key of values is called, by its file and in it.
const VALUES: &str = "desensitize";
/// What the key of tables is called.
const TABLES: &str = "blind";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SiteKeyError {
    /// The file cannot be read or written, or others may read it.
    #[error(transparent)]
    File(#[from] PkiError),
    /// The operating system gives no randomness.
    #[error(transparent)]
    Randomness(#[from] collegium_crypto::error::RandomnessError),
}

fn path(state: &Path, kind: &str) -> PathBuf {
    state.join("keys").join(format!("{kind}.key"))
}

/// A key, if it was made.
fn read(state: &Path, kind: &str) -> Result<Option<Zeroizing<[u8; 32]>>, SiteKeyError> {
    let path = path(state, kind);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(keyfile::read_secret(&path, kind)?))
}

/// A key, made now if it is not there yet; `None` at a site that has not joined.
fn ensure(state: &Path, kind: &str) -> Result<Option<Zeroizing<[u8; 32]>>, SiteKeyError> {
    if let Some(key) = read(state, kind)? {
        return Ok(Some(key));
    }
    if !state.join("keys").exists() {
        return Ok(None);
    }
    let path = path(state, kind);
    let mut key = Zeroizing::new([0; 32]);
    os_rng()?.fill_bytes(&mut *key);
    keyfile::create_secret(&path, kind, &key)?;
    tracing::info!(file = %path.display(), "made a key for hashes");
    Ok(Some(key))
}

/// The key for hashes of values, if it was made.
///
/// # Errors
/// [`SiteKeyError::File`], when it is damaged or others may read it.
pub fn site_key(state: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, SiteKeyError> {
    read(state, VALUES)
}

/// The key for hashes of tables, made now if it is not there yet; `None` at a site that has not
/// joined.
///
/// # Errors
/// [`SiteKeyError`].
pub fn blinding_key(state: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, SiteKeyError> {
    ensure(state, TABLES)
}

/// The key for hashes of values, made now if a rule needs it and it is not there yet; `None` when no rule needs it, and
/// at a site that has not joined.
///
/// # Errors
/// [`SiteKeyError`].
pub fn ensure_site_key(
    state: &Path,
    rules: &PrivacyRules,
) -> Result<Option<Zeroizing<[u8; 32]>>, SiteKeyError> {
    if !rules.needs_key() {
        return Ok(None);
    }
    ensure(state, VALUES)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_when_needed_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("tempdir");
        let state = directory.path();
        let none = PrivacyRules::default();
        assert!(ensure_site_key(state, &none).expect("no rule").is_none());
        assert!(!path(state, VALUES).exists());

        let hashes: PrivacyRules =
            toml::from_str("[columns.a]\naction = \"hash\"\n").expect("rules");
        let early = ensure_site_key(state, &hashes).expect("no keys at all yet");
        assert!(early.is_none() && !state.join("keys").exists());
        std::fs::create_dir(state.join("keys")).expect("as `join` does");
        let key = ensure_site_key(state, &hashes).expect("made");
        let again = ensure_site_key(state, &hashes).expect("kept");
        assert!(key.is_some() && key == again);
        let mode = std::fs::metadata(path(state, VALUES))
            .expect("a file")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        std::fs::set_permissions(path(state, VALUES), std::fs::Permissions::from_mode(0o644))
            .expect("loosened");
        assert!(site_key(state).is_err(), "others may read it");
        let tables = blinding_key(state).expect("made");
        assert!(tables.is_some() && tables != key);
        assert_eq!(blinding_key(state).expect("kept"), tables);
    }
}
