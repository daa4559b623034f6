//! Certificates that are renewed before they end: when, and how key and certificate change places
//! without ever being lost.
//!
//! A holder has two files, such as `tls.key` and `tls.pem`. For a renewal it makes a key in `tls.next.key`,
//! has a certificate made for it, writes that to `tls.next.pem`, and then moves the certificate and
//! the key into place, in this order. A crash between any two of these is mended by the next
//! [`HolderFiles::load`]: until `tls.next.pem` is whole the old pair counts, from then on the new one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::certificate::is_for;
use super::keyfile::{self, Access};
use super::{Peer, PkiError, TlsIdentity, TlsKey};

/// Clocks are looked at again after this long at the latest: a computer that slept, or whose clock
/// was set, must not miss the day.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);

/// When a holder should renew: a third of the certificate's life before its end, which leaves 30 of
/// 90 days for a coordinator that is away.
#[must_use]
pub fn renew_at(peer: &Peer) -> SystemTime {
    let life = peer
        .not_after
        .duration_since(peer.not_before)
        .unwrap_or_default();
    peer.not_after - life / 3
}

/// How long to wait before renewing, at most an hour: call it again then. `None` when the time
/// has come.
#[must_use]
pub fn wait_to_renew(peer: &Peer, now: SystemTime) -> Option<Duration> {
    let left = renew_at(peer).duration_since(now).unwrap_or_default();
    (!left.is_zero()).then(|| left.min(LOOK_AGAIN))
}

/// A holder's key and certificate on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderFiles {
    key: PathBuf,
    certificate: PathBuf,
}

impl HolderFiles {
    /// `tls.key` and `tls.pem` in `directory`.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        Self {
            key: directory.join("tls.key"),
            certificate: directory.join("tls.pem"),
        }
    }

    /// Two files of other names.
    #[must_use]
    pub fn new(key: PathBuf, certificate: PathBuf) -> Self {
        Self { key, certificate }
    }

    /// The private key's file.
    #[must_use]
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// The certificate's file.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    fn next_key(&self) -> PathBuf {
        self.key.with_extension("next.key")
    }

    fn next_certificate(&self) -> PathBuf {
        self.certificate.with_extension("next.pem")
    }

    /// Reads both, after finishing an exchange that was interrupted.
    ///
    /// # Errors
    /// [`PkiError`], naming the file.
    pub fn load(&self) -> Result<TlsIdentity, PkiError> {
        if self.is_interrupted() {
            let lock = self.open_lock()?;
            match lock.try_lock() {
                Ok(()) => self.settle()?,
                // Somebody exchanges them at this moment, and until it moves files the old pair is
                // whole; it may wait for the coordinator for long.
                Err(TryLockError::WouldBlock) => {
                    if let Ok(identity) = TlsIdentity::load(&self.certificate, &self.key) {
                        return Ok(identity);
                    }
                    lock.lock().map_err(|source| self.cannot_lock(source))?;
                }
                Err(TryLockError::Error(source)) => return Err(self.cannot_lock(source)),
            }
        }
        TlsIdentity::load(&self.certificate, &self.key)
    }

    fn is_interrupted(&self) -> bool {
        self.next_certificate().exists() || self.next_key().exists()
    }

    /// Moves what is complete into place. Call it under the lock.
    fn settle(&self) -> Result<(), PkiError> {
        let (next_key, next_certificate) = (self.next_key(), self.next_certificate());
        if !next_key.exists() {
            // A certificate without its key is of no use; the pair in place is whole.
            return keyfile::remove(&next_certificate);
        }
        if next_certificate.exists() {
            rename(&next_certificate, &self.certificate)?;
        }
        let in_place = fs::read_to_string(&self.certificate).map_err(|source| PkiError::File {
            path: self.certificate.clone(),
            action: "read",
            source,
        })?;
        // Otherwise the key waits for a certificate that never came; the next exchange uses it.
        let request = TlsKey::load(&next_key)?.signing_request()?;
        if is_for(&in_place, &request)? {
            rename(&next_key, &self.key)?;
        }
        Ok(())
    }

    /// Begins an exchange: makes the new key. Only one at a time, over all processes.
    ///
    /// # Errors
    /// [`PkiError`] when a file cannot be written, or another process exchanges them.
    pub fn exchange(&self) -> Result<Exchange, PkiError> {
        let lock = self.lock()?;
        if self.is_interrupted() {
            self.settle()?;
        }
        let next = self.next_key();
        if !next.exists() {
            TlsKey::generate()?.create_file(&next)?;
        }
        Ok(Exchange {
            files: self.clone(),
            key: TlsKey::load(&next)?,
            _lock: lock,
        })
    }

    fn lock(&self) -> Result<File, PkiError> {
        let file = self.open_lock()?;
        file.lock().map_err(|source| self.cannot_lock(source))?;
        Ok(file)
    }

    fn open_lock(&self) -> Result<File, PkiError> {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.lock_file())
            .map_err(|source| self.cannot_lock(source))
    }

    fn lock_file(&self) -> PathBuf {
        self.key.with_extension("lock")
    }

    fn cannot_lock(&self, source: std::io::Error) -> PkiError {
        PkiError::File {
            path: self.lock_file(),
            action: "lock",
            source,
        }
    }
}

/// An exchange of key and certificate that has begun. Dropped, it leaves the old pair as it is.
#[derive(Debug)]
pub struct Exchange {
    files: HolderFiles,
    key: TlsKey,
    _lock: File,
}

impl Exchange {
    /// The signing request (PKCS#10, DER) for the new key.
    ///
    /// # Errors
    /// [`PkiError::Key`].
    pub fn request(&self) -> Result<Vec<u8>, PkiError> {
        self.key.signing_request()
    }

    /// Puts the new pair in place of the old one.
    ///
    /// # Errors
    /// [`PkiError`]; the certificate must be for the new key and for the same role and name.
    pub fn finish(self, certificate_pem: &str) -> Result<TlsIdentity, PkiError> {
        let new = TlsIdentity::new(certificate_pem, &self.key)?;
        let files = &self.files;
        let old = Peer::from_pem(&read(&files.certificate)?)?;
        if new.peer().subject != old.subject {
            return Err(PkiError::Certificate(format!(
                "it is for {}, not for {}",
                new.peer().subject,
                old.subject
            )));
        }
        let pem = certificate_pem.as_bytes();
        keyfile::replace(&files.next_certificate(), pem, Access::Public)?;
        files.settle()?;
        Ok(new)
    }
}

fn read(path: &Path) -> Result<String, PkiError> {
    String::from_utf8(keyfile::read_public(path)?)
        .map_err(|_| PkiError::Certificate("it is not a PEM certificate".to_owned()))
}

/// Renames, and makes the new name durable.
fn rename(from: &Path, to: &Path) -> Result<(), PkiError> {
    let directory = to.parent().unwrap_or(Path::new("."));
    fs::rename(from, to)
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|source| PkiError::File {
            path: to.to_owned(),
            action: "write",
            source,
        })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::pki::{Authority, CERTIFICATE_DAYS, Role, Subject};

    const DAY: u64 = 24 * 60 * 60;

    fn at(days: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(20_000 * DAY + days * DAY)
    }

    struct Holder {
        authority: Authority,
        files: HolderFiles,
        directory: tempfile::TempDir,
    }

    impl Holder {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let files = HolderFiles::of(directory.path());
            let authority = Authority::create("Test", at(0)).unwrap();
            let key = TlsKey::generate().unwrap();
            key.create_file(files.key()).unwrap();
            let holder = Self {
                authority,
                files,
                directory,
            };
            let pem = holder.issue(&key.signing_request().unwrap(), "hospital-a", 0);
            keyfile::create(holder.files.certificate(), pem.as_bytes(), Access::Public).unwrap();
            holder
        }

        fn issue(&self, request: &[u8], name: &str, day: u64) -> String {
            let subject = Subject::new(Role::Node, name).unwrap();
            let issued = self.authority.sign_request(request, &subject, at(day));
            issued.unwrap().pem
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(self.directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        let holder = Holder::new();
        let peer = holder.files.load().unwrap().peer().clone();
        // It lives 90 days from its issue, and is backdated by one.
        assert_eq!(peer.not_after, at(CERTIFICATE_DAYS));
        let turn = at(CERTIFICATE_DAYS) - Duration::from_secs(91 * DAY / 3);
        assert_eq!(renew_at(&peer), turn);
        let second = Duration::from_secs(1);
        assert_eq!(wait_to_renew(&peer, at(1)), Some(LOOK_AGAIN));
        assert_eq!(wait_to_renew(&peer, turn - 5 * second), Some(5 * second));
        for late in [turn, turn + second, at(89), at(1000)] {
            assert_eq!(wait_to_renew(&peer, late), None);
        }
    }

    #[test]
    fn an_exchange_puts_key_and_certificate_in_place_together() {
        let holder = Holder::new();
        let before = holder.files.load().unwrap().peer().clone();
        let exchange = holder.files.exchange().unwrap();
        let pem = holder.issue(&exchange.request().unwrap(), "hospital-a", 60);
        let new = exchange.finish(&pem).unwrap();
        let loaded = holder.files.load().unwrap();
        assert_eq!(loaded.peer(), new.peer());
        assert_ne!(loaded.peer().serial, before.serial);
        assert_eq!(loaded.peer().not_after, at(150));
        assert_eq!(holder.names(), ["tls.key", "tls.lock", "tls.pem"]);
    }

    #[test]
    fn a_crash_anywhere_in_an_exchange_leaves_one_whole_pair() {
        // Before the certificate came: the old pair counts, and the key is used again.
        let holder = Holder::new();
        let before = holder.files.load().unwrap().peer().serial;
        let exchange = holder.files.exchange().unwrap();
        let request = exchange.request().unwrap();
        drop(exchange);
        assert_eq!(holder.files.load().unwrap().peer().serial, before);
        let again = holder.files.exchange().unwrap();
        let pem = holder.issue(&again.request().unwrap(), "hospital-a", 60);
        assert!(is_for(&pem, &request).unwrap(), "the same key");
        drop(again);

        // The certificate is written, nothing is moved.
        keyfile::create(
            &holder.files.next_certificate(),
            pem.as_bytes(),
            Access::Public,
        )
        .unwrap();
        let after = holder.files.load().unwrap().peer().serial;
        assert_ne!(after, before);
        assert_eq!(holder.names(), ["tls.key", "tls.lock", "tls.pem"]);

        // The certificate is moved, the key is not.
        let exchange = holder.files.exchange().unwrap();
        let pem = holder.issue(&exchange.request().unwrap(), "hospital-a", 61);
        drop(exchange);
        keyfile::replace(holder.files.certificate(), pem.as_bytes(), Access::Public).unwrap();
        let last = holder.files.load().unwrap().peer().serial;
        assert!(last != after && last != before);
        assert_eq!(holder.names(), ["tls.key", "tls.lock", "tls.pem"]);
    }

    #[test]
    fn a_certificate_for_another_key_or_name_is_not_taken() {
        let holder = Holder::new();
        let before = holder.files.load().unwrap().peer().serial;
        let exchange = holder.files.exchange().unwrap();
        let other = TlsKey::generate().unwrap().signing_request().unwrap();
        let pem = holder.issue(&other, "hospital-a", 60);
        assert!(exchange.finish(&pem).is_err());
        let exchange = holder.files.exchange().unwrap();
        let pem = holder.issue(&exchange.request().unwrap(), "hospital-b", 60);
        let error = exchange.finish(&pem).unwrap_err().to_string();
        assert!(error.contains("node/hospital-b"), "{error}");
        assert_eq!(holder.files.load().unwrap().peer().serial, before);
    }

    #[test]
    fn a_new_key_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let holder = Holder::new();
        let exchange = holder.files.exchange().unwrap();
        let mode = fs::metadata(holder.files.next_key()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        drop(exchange);
        fs::set_permissions(holder.files.next_key(), PermissionsExt::from_mode(0o644)).unwrap();
        let error = holder.files.exchange().unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
