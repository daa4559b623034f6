//! The one-line invitation that an operator hands to a new member.
//!
//! ```text
//! collegium1,hospital-a,coordinator.example.org:7440,<64 hex>,<32 hex>,1790000000,<8 hex>
//! kind       name       address                      authority secret   expires    checksum
//! ```
//!
//! The fingerprint lets the site recognise the coordinator before it has any
//! certificate; the secret lets the coordinator recognise the site, once. The line is
//! as good as a password until it is used: send it over a channel you trust.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::fingerprint::{parse_hex, sha256, write_hex};
use super::{Fingerprint, PkiError, Role, Subject};

/// An invitation is good for this many days.
pub const INVITE_DAYS: u64 = 7;

/// First field of every code: the format and its version.
const KIND: &str = "collegium1";

/// Longest code that is parsed: 10 + 40 + 255 (host) + 6 (port) + 64 + 32 + 20 + 8
/// bytes and 6 commas are 441; 512 leaves room for surrounding spaces.
const MAX_CODE: usize = 512;

/// The one-time secret: 16 random bytes. The coordinator stores only its digest.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct InviteSecret([u8; 16]);

impl InviteSecret {
    /// A fresh secret.
    pub fn random() -> Result<Self, PkiError> {
        let mut bytes = [0; 16];
        super::fill_random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The secret that a joining site sent.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes to send in the join request, over the encrypted connection only.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    /// What the coordinator stores in place of the secret. A plain hash is enough:
    /// 128 random bits cannot be searched, unlike a password.
    pub fn digest(&self) -> [u8; 32] {
        let mut input = b"collegium/invite/v1".to_vec();
        input.extend_from_slice(&self.0);
        let digest = sha256(&input);
        input.zeroize();
        digest
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(hidden)")
    }
}

/// An invitation, parsed.
#[derive(Clone, Debug)]
pub struct InviteCode {
    /// The name the new member will have.
    pub name: String,
    /// Where the coordinator listens, `host:port`.
    pub address: String,
    /// The consortium's authority.
    pub authority: Fingerprint,
    /// The one-time secret.
    pub secret: InviteSecret,
    /// When it stops being accepted.
    pub expires: SystemTime,
}

impl InviteCode {
    /// Whether the code is too old at `now`. Only the coordinator's clock decides in
    /// the end; this lets the site say so before it dials.
    pub fn expired(&self, now: SystemTime) -> bool {
        now >= self.expires
    }

    /// The whole line. It holds the secret: print it once, store it nowhere.
    pub fn to_line(&self) -> String {
        let mut line = format!("{KIND},{},{},{},", self.name, self.address, self.authority);
        // Writing to a String cannot fail.
        let _ = write_hex(&mut line, self.secret.expose());
        let seconds = self
            .expires
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let _ = write!(line, ",{seconds}");
        let check = checksum(&line);
        line.push(',');
        let _ = write_hex(&mut line, &check);
        line
    }
}

/// The first 4 bytes of SHA-256: catches a code that was cut off or mistyped.
fn checksum(text: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256(text.as_bytes());
    [a, b, c, d]
}

impl FromStr for InviteCode {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let text = text.trim();
        if text.len() > MAX_CODE {
            return Err(PkiError::Invite("it is too long"));
        }
        if !text.starts_with(KIND) {
            return Err(PkiError::Invite("it does not begin with `collegium1,`"));
        }
        let (body, check) = text
            .rsplit_once(',')
            .ok_or(PkiError::Invite("it is incomplete"))?;
        if parse_hex::<4>(check) != Some(checksum(body)) {
            return Err(PkiError::Invite("its checksum does not match"));
        }
        let fields: Vec<&str> = body.split(',').collect();
        let [_kind, name, address, authority, secret, expires] = fields.as_slice() else {
            return Err(PkiError::Invite("it must have seven fields"));
        };
        Subject::new(Role::Node, name)?;
        let secret = parse_hex(secret).ok_or(PkiError::Invite("its secret is damaged"))?;
        let seconds: u32 = expires
            .parse()
            .map_err(|_| PkiError::Invite("its expiry is damaged"))?;
        Ok(Self {
            name: (*name).to_owned(),
            address: (*address).to_owned(),
            authority: authority.parse()?,
            secret: InviteSecret::from_bytes(secret),
            expires: UNIX_EPOCH + Duration::from_secs(u64::from(seconds)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> InviteCode {
        InviteCode {
            name: "hospital-a".to_owned(),
            address: "127.0.0.1:7440".to_owned(),
            authority: Fingerprint([7; 32]),
            secret: InviteSecret::from_bytes([9; 16]),
            expires: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
        }
    }

    #[test]
    fn a_code_reads_back() {
        let line = code().to_line();
        let read: InviteCode = format!(" {line}\n").parse().expect("own line");
        assert_eq!(read.to_line(), line);
        assert_eq!(read.address, "127.0.0.1:7440");
        assert!(!read.expired(UNIX_EPOCH + Duration::from_secs(1_789_999_999)));
        assert!(read.expired(UNIX_EPOCH + Duration::from_secs(1_790_000_000)));
    }

    #[test]
    fn every_damage_is_noticed() {
        let line = code().to_line();
        for end in 0..line.len() {
            assert!(line[..end].parse::<InviteCode>().is_err(), "cut at {end}");
        }
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(changed.parse::<InviteCode>().is_err(), "changed at {at}");
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert!(!format!("{:?}", code()).contains("9, 9"));
    }
}
