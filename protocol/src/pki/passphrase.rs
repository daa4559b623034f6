//! Key files that a passphrase encrypts: useless to whoever copies the disk and does not know it.
//!
//! A file is three lines: what it is, how the passphrase becomes a key, and the content.
//!
//! ```text
//! collegium key file, encrypted by a passphrase, version 1
//! scrypt LOG_N SALT
//! BASE64
//! ```
//!
//! The key is scrypt (RFC 7914) of the passphrase with N = 2^`LOG_N`, r = 8, p = 1 and the 16 bytes of
//! `SALT`; the content is encrypted with ChaCha20-Poly1305 (RFC 8439) under it, with the first two lines as
//! associated data. Each file has a salt of its own, so no key is used twice and the nonce is zero.
//!
//! The passphrase is the process's: a daemon has one for all its files. Programs call [`provide`] at
//! their start, or [`ask_with`] when there is a person to ask.

use std::path::Path;
use std::sync::{Arc, OnceLock, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use zeroize::Zeroizing;

use super::fingerprint::{parse_hex, write_hex};
use super::{PkiError, fill_random, keyfile};

/// The environment variable that names the file with the passphrase.
pub const VARIABLE: &str = "COLLEGIUM_PASSPHRASE_FILE";

/// Fewest characters of a passphrase: twelve random small letters are 56 bits, behind a derivation of
/// 128 MiB for each guess.
pub const FEWEST_CHARACTERS: usize = 12;

const TITLE: &str = "collegium key file, encrypted by a passphrase, version 1\n";
/// 128 MiB, OWASP's recommendation of 2023; half a second (Xeon, development build, 2026-11-27).
const LOG_N: u8 = 17;
/// A file that asks for more memory than 1 GiB is refused.
const MAX_LOG_N: u8 = 20;
const TAG_BYTES: usize = 16;

/// What encrypts key files. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Passphrase(Arc<Zeroizing<String>>);

impl Passphrase {
    /// Takes a passphrase as it was typed, without the line's end.
    ///
    /// # Errors
    /// One of fewer than [`FEWEST_CHARACTERS`].
    pub fn new(text: Zeroizing<String>) -> Result<Self, PkiError> {
        if text.chars().count() < FEWEST_CHARACTERS {
            return Err(PkiError::Passphrase(format!(
                "the passphrase has fewer than {FEWEST_CHARACTERS} characters; choose a longer one"
            )));
        }
        Ok(Self(Arc::new(text)))
    }

    /// Reads a file whose first line is the passphrase; its owner alone may be able to read it.
    ///
    /// # Errors
    /// A file that cannot be read, that others can read, or whose line is too short.
    pub fn from_file(path: &Path) -> Result<Self, PkiError> {
        let content = keyfile::read_private(path)?;
        let line = std::str::from_utf8(&content)
            .ok()
            .and_then(|text| text.lines().next());
        let line = line.ok_or_else(|| {
            PkiError::Passphrase(format!("{} has no line of text", path.display()))
        })?;
        Self::new(Zeroizing::new(line.to_owned()))
            .map_err(|error| PkiError::Passphrase(format!("{}: {error}", path.display())))
    }

    fn key(&self, log_n: u8, salt: &[u8; 16]) -> Result<ChaCha20Poly1305, PkiError> {
        let unusable = |_| PkiError::Key("scrypt refuses its parameters".to_owned());
        let params = scrypt::Params::new(log_n, 8, 1).map_err(unusable)?;
        let mut key = Zeroizing::new([0; 32]);
        scrypt::scrypt(self.0.as_bytes(), salt, &params, key.as_mut_slice())
            .map_err(|_| PkiError::Key("scrypt refuses its output".to_owned()))?;
        Ok(ChaCha20Poly1305::new((&*key).into()))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(hidden)")
    }
}

static OF_PROCESS: RwLock<Option<Passphrase>> = RwLock::new(None);
static ASK: OnceLock<Ask> = OnceLock::new();

/// Asks a person for the passphrase of the key file at a path.
pub type Ask = fn(&Path) -> Result<Passphrase, PkiError>;

/// From here on this process encrypts the key files that it writes, and can read encrypted ones.
pub fn provide(passphrase: Passphrase) {
    if let Ok(mut slot) = OF_PROCESS.write() {
        *slot = Some(passphrase);
    }
}

/// The passphrase in the file that [`VARIABLE`] names, if it is set.
///
/// # Errors
/// Those of [`Passphrase::from_file`].
pub fn from_variable() -> Result<Option<Passphrase>, PkiError> {
    match std::env::var_os(VARIABLE) {
        Some(path) if !path.is_empty() => Passphrase::from_file(Path::new(&path)).map(Some),
        _ => Ok(None),
    }
}

/// [`provide`]s the passphrase of [`from_variable`], if there is one: what a daemon does first.
///
/// # Errors
/// Those of [`Passphrase::from_file`].
pub fn provide_from_variable() -> Result<(), PkiError> {
    if let Some(passphrase) = from_variable()? {
        provide(passphrase);
    }
    Ok(())
}

/// What is said where an encrypted file is met and there is no passphrase.
#[must_use]
pub fn missing(path: &Path) -> PkiError {
    PkiError::Passphrase(format!(
        "{}: encrypted by a passphrase; write it into a file that you alone can read, and set \
         {VARIABLE} to that file's path",
        path.display()
    ))
}

/// How to ask a person when an encrypted file (its path) is read and there is no passphrase yet. The first
/// call counts.
pub fn ask_with(ask: Ask) {
    let _ = ASK.set(ask);
}

/// The process's passphrase, if it has one.
#[must_use]
pub fn of_process() -> Option<Passphrase> {
    OF_PROCESS.read().ok().and_then(|slot| slot.clone())
}

/// Whether a file's content is encrypted.
#[must_use]
pub fn is_encrypted(content: &[u8]) -> bool {
    content.starts_with(TITLE.as_bytes())
}

/// The text of an encrypted key file.
///
/// # Errors
/// No randomness.
pub fn encrypt(content: &[u8], passphrase: &Passphrase) -> Result<String, PkiError> {
    let mut salt = [0; 16];
    fill_random(&mut salt)?;
    let mut text = format!("{TITLE}scrypt {LOG_N} ");
    // Writing to a String cannot fail.
    let _ = write_hex(&mut text, &salt);
    text.push('\n');
    let mut body = Zeroizing::new(Vec::with_capacity(content.len() + TAG_BYTES));
    body.extend_from_slice(content);
    let tag = passphrase
        .key(LOG_N, &salt)?
        .encrypt_inout_detached(
            &Nonce::default(),
            text.as_bytes(),
            body.as_mut_slice().into(),
        )
        .map_err(|_| PkiError::Key("the file is too large to encrypt".to_owned()))?;
    body.extend_from_slice(&tag);
    text.push_str(&STANDARD.encode(&*body));
    text.push('\n');
    Ok(text)
}

/// What an encrypted file (`path`, for messages) holds.
///
/// # Errors
/// No passphrase, another passphrase, or a damaged file.
pub(super) fn decrypt(path: &Path, content: &[u8]) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let passphrase = match (of_process(), ASK.get()) {
        (Some(passphrase), _) => passphrase,
        (None, Some(ask)) => ask(path)?,
        (None, None) => return Err(missing(path)),
    };
    let opened = decrypt_with(path, content, &passphrase)?;
    // Not asked again for the next file of this process.
    provide(passphrase);
    Ok(opened)
}

/// [`decrypt`] with a given passphrase.
fn decrypt_with(
    path: &Path,
    content: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let damaged = |reason: &str| PkiError::Content {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let parts = parse(content).ok_or_else(|| damaged("this is not an encrypted key file"))?;
    if parts.log_n > MAX_LOG_N {
        return Err(damaged(
            "its key derivation wants more than 1 GiB of memory",
        ));
    }
    let mut body = Zeroizing::new(
        STANDARD
            .decode(parts.body)
            .map_err(|_| damaged("its last line is not base64"))?,
    );
    let Some(length) = body.len().checked_sub(TAG_BYTES) else {
        return Err(damaged("its last line is too short"));
    };
    let (text, tag) = body.split_at_mut(length);
    let mut authentic = Tag::default();
    authentic.copy_from_slice(tag);
    passphrase
        .key(parts.log_n, &parts.salt)?
        .decrypt_inout_detached(&Nonce::default(), parts.head, text.into(), &authentic)
        .map_err(|_| {
            PkiError::Passphrase(format!(
                "{}: another passphrase encrypts this file, or it is damaged",
                path.display()
            ))
        })?;
    body.truncate(length);
    Ok(body)
}

struct Parts<'a> {
    head: &'a [u8],
    log_n: u8,
    salt: [u8; 16],
    body: &'a str,
}

fn parse(content: &[u8]) -> Option<Parts<'_>> {
    let text = std::str::from_utf8(content).ok()?;
    let (derivation, body) = text.strip_prefix(TITLE)?.split_once('\n')?;
    let (log_n, salt) = derivation.strip_prefix("scrypt ")?.split_once(' ')?;
    Some(Parts {
        head: content.get(..TITLE.len() + derivation.len() + 1)?,
        log_n: log_n.parse().ok()?,
        salt: parse_hex(salt)?,
        body: body.strip_suffix('\n').unwrap_or(body),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned())).expect("long enough")
    }

    #[test]
    fn only_the_passphrase_opens_and_any_change_is_noticed() {
        let path = Path::new("tls.key");
        let right = passphrase("correct horse battery staple");
        let text = encrypt(b"a private key", &right).expect("encrypted");
        assert!(is_encrypted(text.as_bytes()) && !text.contains("private key\n"));
        let opened = decrypt_with(path, text.as_bytes(), &right).expect("its own");
        assert_eq!(opened.as_slice(), b"a private key");
        let again = encrypt(b"a private key", &right).expect("encrypted");
        assert_ne!(text, again, "another salt for each file");

        let wrong = passphrase("correct horse battery stable");
        let error = decrypt_with(path, text.as_bytes(), &wrong).expect_err("another passphrase");
        assert!(error.to_string().contains("another passphrase"), "{error}");
        // One bit of the derivation's line and of the content.
        for at in [text.len() - 5, TITLE.len() + "scrypt 17 ".len()] {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            assert!(decrypt_with(path, &changed, &right).is_err(), "byte {at}");
        }
    }

    #[test]
    fn files_that_ask_for_too_much_memory_are_refused_before_it_is_taken() {
        let text = format!("{TITLE}scrypt 40 {}\nAAAA\n", "0".repeat(32));
        let error = decrypt_with(
            Path::new("f"),
            text.as_bytes(),
            &passphrase("long enough text"),
        )
        .expect_err("a terabyte");
        assert!(error.to_string().contains("1 GiB"), "{error}");
    }

    /// Made with Python: hashlib.scrypt and cryptography's ChaCha20Poly1305, from the description above.
    #[test]
    fn a_file_made_by_another_program_opens() {
        let opened = decrypt_with(
            Path::new("f"),
            include_bytes!("passphrase.example"),
            &passphrase("correct horse battery staple"),
        )
        .expect("the format as described");
        assert_eq!(opened.as_slice(), b"made elsewhere\n");
    }

    #[test]
    fn short_passphrases_and_files_that_others_read_are_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("passphrase");
        keyfile::create(&path, b"short\n", keyfile::Access::Private).expect("written");
        let error = Passphrase::from_file(&path).expect_err("too short");
        assert!(error.to_string().contains("12 characters"), "{error}");
        let text = b"long enough, with a line's end\nand a second line";
        keyfile::replace(&path, text, keyfile::Access::Private).expect("written");
        let read = Passphrase::from_file(&path).expect("readable");
        assert_eq!(read.0.as_str(), "long enough, with a line's end");
        keyfile::replace(&path, text, keyfile::Access::Public).expect("written");
        assert!(matches!(
            Passphrase::from_file(&path),
            Err(PkiError::LoosePermissions { .. })
        ));
    }
}
