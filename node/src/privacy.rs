//! The site's key for hashes of values: `STATE/keys/desensitize.key`, 32 random bytes, 0600.
//!
//! It is made here when a rule first needs it, and never leaves. Without it nobody can find a
//! value by trying out hashes; with another key the same value has another hash, so a lost key
//! makes new rows strangers to models that know the old hashes.

use std::path::{Path, PathBuf};

use collegium_automl::privacy::PrivacyRules;
use collegium_crypto::os_rng;
use collegium_protocol::pki::PkiError;
use collegium_protocol::pki::keyfile;
use rand_core::Rng as _;
use zeroize::Zeroizing;

/// What the key's file calls itself.
const KIND: &str = "desensitize";

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

fn path(state: &Path) -> PathBuf {
    state.join("keys").join("desensitize.key")
}

/// The key, if it was made.
///
/// # Errors
/// [`SiteKeyError::File`], when it is damaged or others may read it.
pub fn site_key(state: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, SiteKeyError> {
    let path = path(state);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(keyfile::read_secret(&path, KIND)?))
}

/// The key, made now if a rule needs it and it is not there yet; `None` when no rule needs it, and
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
    if let Some(key) = site_key(state)? {
        return Ok(Some(key));
    }
    let path = path(state);
    if !state.join("keys").exists() {
        return Ok(None);
    }
    let mut key = Zeroizing::new([0; 32]);
    os_rng()?.fill_bytes(&mut *key);
    keyfile::create_secret(&path, KIND, &key)?;
    tracing::info!(file = %path.display(), "made the site's key for hashes of values");
    Ok(Some(key))
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
        assert!(!path(state).exists());

        let hashes: PrivacyRules =
            toml::from_str("[columns.a]\naction = \"hash\"\n").expect("rules");
        let early = ensure_site_key(state, &hashes).expect("no keys at all yet");
        assert!(early.is_none() && !state.join("keys").exists());
        std::fs::create_dir(state.join("keys")).expect("as `join` does");
        let key = ensure_site_key(state, &hashes).expect("made");
        let again = ensure_site_key(state, &hashes).expect("kept");
        assert!(key.is_some() && key == again);
        let mode = std::fs::metadata(path(state))
            .expect("a file")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        std::fs::set_permissions(path(state), std::fs::Permissions::from_mode(0o644))
            .expect("loosened");
        assert!(site_key(state).is_err(), "others may read it");
    }
}
