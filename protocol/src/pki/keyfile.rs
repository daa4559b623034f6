//! Private key files: written with mode 0600, refused when looser, and encrypted where the process has
//! a [`passphrase`].
//!
//! Files are written whole or not at all: to a temporary name in the same directory,
//! synced, renamed, and the directory synced.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::PkiError;
use super::fingerprint::{parse_hex, write_hex};
use super::passphrase::{self, Passphrase};

/// Largest key or certificate file that is read: a P-256 key in PEM has about 250
/// bytes, a sealing key 32 or so, a certificate about 1 KiB; 64 KiB leaves room for
/// chains and comments without letting a wrong path fill the memory.
pub const MAX_FILE: u64 = 64 * 1024;

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The owner alone: mode 0600.
    Private,
    /// Everybody: mode 0644.
    Public,
}

/// Creates `directory` (and its parents) for the owner alone: mode 0700.
pub fn create_private_dir(directory: &Path) -> Result<(), PkiError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(directory)
        .map_err(failed(directory, "create the directory"))
}

/// Writes a file that is not there yet; one that is there is an error, never overwritten.
pub fn create(path: &Path, content: &[u8], access: Access) -> Result<(), PkiError> {
    refuse_existing(path)?;
    replace(path, content, access)
}

fn refuse_existing(path: &Path) -> Result<(), PkiError> {
    if path.exists() {
        return Err(PkiError::Exists {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Writes a file atomically, replacing one that may be there.
pub fn replace(path: &Path, content: &[u8], access: Access) -> Result<(), PkiError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = temporary_name(path)?;
    let result = write_synced(&temporary, content, access)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if result.is_err() {
        // The error that matters is the one above; a file left behind is harmless.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(failed(path, "write"))
}

fn temporary_name(path: &Path) -> Result<PathBuf, PkiError> {
    let mut tag = [0; 4];
    super::fill_random(&mut tag)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:08x}.tmp", u32::from_le_bytes(tag)));
    Ok(path.with_file_name(name))
}

fn write_synced(path: &Path, content: &[u8], access: Access) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(
        &mut options,
        match access {
            Access::Private => 0o600,
            Access::Public => 0o644,
        },
    );
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Reads a private file after checking that nobody else may, and decrypts it where a passphrase
/// encrypts it.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let file = File::open(path).map_err(failed(path, "read"))?;
    check_mode(path, &file)?;
    let content = read_capped(path, file).map(Zeroizing::new)?;
    if passphrase::is_encrypted(&content) {
        return passphrase::decrypt(path, &content);
    }
    Ok(content)
}

/// Writes a private key's file that is not there yet, encrypted if this process has a passphrase or the keys
/// beside it are encrypted.
pub fn create_key(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    refuse_existing(path)?;
    replace_key(path, content)
}

/// Writes such a file over one that may be there.
fn replace_key(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    protect(path, content, passphrase_beside(path)?.as_ref())
}

/// The process's passphrase, after it has decrypted a key in the same directory, if one is encrypted: no
/// key is written in clear beside encrypted ones, or by another passphrase than theirs.
fn passphrase_beside(path: &Path) -> Result<Option<Passphrase>, PkiError> {
    let entries = path.parent().map(fs::read_dir);
    for entry in entries.into_iter().flatten().flatten().flatten() {
        let beside = entry.path();
        let key = beside.extension().is_some_and(|ending| ending == "key");
        if key && passphrase::is_encrypted(&read_public(&beside)?) {
            read_private(&beside)?;
            break;
        }
    }
    Ok(passphrase::of_process())
}

/// Writes a key file's content over what is there, encrypted by `passphrase` or, with none, in clear.
pub fn protect(
    path: &Path,
    content: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<(), PkiError> {
    match passphrase {
        Some(passphrase) => {
            let text = passphrase::encrypt(content, passphrase)?;
            replace(path, text.as_bytes(), Access::Private)
        }
        None => replace(path, content, Access::Private),
    }
}

/// Writes a 32-byte secret that is not an X.509 key, as two lines of text: what it is, and
/// its hexadecimal digits. Never over an existing file.
pub fn create_secret(path: &Path, kind: &str, secret: &[u8; 32]) -> Result<(), PkiError> {
    create_key(path, secret_text(kind, secret).as_bytes())
}

/// Writes such a secret over one that may be there.
pub fn replace_secret(path: &Path, kind: &str, secret: &[u8; 32]) -> Result<(), PkiError> {
    replace_key(path, secret_text(kind, secret).as_bytes())
}

fn secret_text(kind: &str, secret: &[u8; 32]) -> Zeroizing<String> {
    // Sized in advance: a String that grows leaves copies of its content behind.
    let mut text = Zeroizing::new(String::with_capacity(kind.len() + 128));
    text.push_str(&title(kind));
    // Writing to a String cannot fail.
    let _ = write_hex(&mut *text, secret);
    text.push('\n');
    text
}

/// Reads such a secret back. A file of another kind is refused, so that one key can never
/// be taken for another because files were confused.
pub fn read_secret(path: &Path, kind: &str) -> Result<Zeroizing<[u8; 32]>, PkiError> {
    let content = read_private(path)?;
    std::str::from_utf8(&content)
        .ok()
        .and_then(|text| text.strip_prefix(&title(kind)))
        .and_then(|digits| parse_hex(digits.trim_end()))
        .map(Zeroizing::new)
        .ok_or_else(|| PkiError::Content {
            path: path.to_owned(),
            reason: format!("this is not a {kind} key"),
        })
}

fn title(kind: &str) -> String {
    format!("collegium {kind} key, version 1; keep secret\n")
}

/// Removes a file; one that is not there is removed already.
pub fn remove(path: &Path) -> Result<(), PkiError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(failed(path, "remove")),
    }
}

/// Reads a public file, such as a certificate.
pub fn read_public(path: &Path) -> Result<Vec<u8>, PkiError> {
    let file = File::open(path).map_err(failed(path, "read"))?;
    read_capped(path, file)
}

/// Checks that `path` is readable by its owner alone.
pub fn check_private(path: &Path) -> Result<(), PkiError> {
    let file = File::open(path).map_err(failed(path, "read"))?;
    check_mode(path, &file)
}

/// The mode is taken from the open file, not from its name, so that the file that is
/// checked is the file that is read.
#[cfg(unix)]
fn check_mode(path: &Path, file: &File) -> Result<(), PkiError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(failed(path, "read"))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PkiError::LoosePermissions {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _file: &File) -> Result<(), PkiError> {
    Ok(())
}

fn read_capped(path: &Path, file: File) -> Result<Vec<u8>, PkiError> {
    let mut content = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .map_err(failed(path, "read"))?;
    if content.len() as u64 > MAX_FILE {
        return Err(PkiError::Content {
            path: path.to_owned(),
            reason: format!("the file is larger than {MAX_FILE} bytes"),
        });
    }
    Ok(content)
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File {
        path,
        action,
        source,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn private_files_are_written_0600_and_refused_when_looser() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("tls.key");
        create(&path, b"secret", Access::Private).expect("written");
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_private(&path).expect("readable").as_slice(), b"secret");

        for loose in [0o640, 0o604, 0o660, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(loose)).expect("chmod");
            let error = read_private(&path).expect_err("a loose mode must be refused");
            let text = error.to_string();
            assert!(text.contains("chmod 600"), "{text}");
            assert!(text.contains(&format!("{loose:04o}")), "{text}");
        }
    }

    #[test]
    fn existing_keys_are_never_overwritten() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("identity.key");
        create(&path, b"first", Access::Private).expect("written");
        assert!(matches!(
            create(&path, b"second", Access::Private),
            Err(PkiError::Exists { .. })
        ));
        assert_eq!(fs::read(&path).expect("readable"), b"first");
        // No temporary file stays behind.
        assert_eq!(fs::read_dir(directory.path()).expect("listing").count(), 1);
    }

    #[test]
    fn no_key_is_written_in_clear_beside_encrypted_ones() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let passphrase = Passphrase::new(Zeroizing::new("correct horse battery".to_owned()));
        let (first, second) = (
            directory.path().join("a.key"),
            directory.path().join("b.key"),
        );
        create_key(&first, b"first").expect("in clear");
        protect(&first, b"first", Some(&passphrase.expect("long enough"))).expect("encrypted");
        let error = create_key(&second, b"second").expect_err("no passphrase here");
        assert!(error.to_string().contains("a.key: encrypted"), "{error}");
        assert!(!second.exists());
    }

    #[test]
    fn secrets_read_back_and_are_not_confused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("identity.key");
        create_secret(&path, "identity", &[0xa5; 32]).expect("written");
        assert_eq!(
            *read_secret(&path, "identity").expect("own file"),
            [0xa5; 32]
        );
        let error = read_secret(&path, "sealing").expect_err("another kind");
        assert!(error.to_string().contains("not a sealing key"), "{error}");
    }

    #[test]
    fn oversized_files_are_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("big");
        fs::write(&path, vec![0; 64 * 1024 + 1]).expect("written");
        assert!(matches!(read_public(&path), Err(PkiError::Content { .. })));
    }
}
