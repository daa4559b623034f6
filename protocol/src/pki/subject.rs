//! Who a certificate is for: a role and a name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use x509_parser::x509::X509Name;

use super::PkiError;

/// What the holder of a certificate is to the consortium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The coordinator daemon itself: the only role with a server certificate.
    Coordinator,
    /// Runs the federation: invites, proposes charters, watches everything.
    Operator,
    /// Describes tasks and takes champions away.
    Scientist,
    /// Reads the ledger.
    Auditor,
    /// Decides for one member what its data may be used for.
    Steward,
    /// A member's daemon.
    Node,
    /// Sees runs and results, changes nothing.
    Viewer,
}

impl Role {
    /// Every role, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::Coordinator,
        Self::Operator,
        Self::Scientist,
        Self::Auditor,
        Self::Steward,
        Self::Node,
        Self::Viewer,
    ];

    /// The role's name in certificates, configuration and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Operator => "operator",
            Self::Scientist => "scientist",
            Self::Auditor => "auditor",
            Self::Steward => "steward",
            Self::Node => "node",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| PkiError::Role(text.to_owned()))
    }
}

/// The subject of a certificate: common name = `name`, organizational unit = `role`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Subject {
    /// What the holder is.
    pub role: Role,
    /// The member's or person's name: `[a-z0-9][a-z0-9-]{0,39}`.
    pub name: String,
}

/// A subject as a message says it.
#[derive(Deserialize)]
struct Unchecked {
    role: Role,
    name: String,
}

impl TryFrom<Unchecked> for Subject {
    type Error = PkiError;

    fn try_from(unchecked: Unchecked) -> Result<Self, PkiError> {
        Self::new(unchecked.role, &unchecked.name)
    }
}

/// Longest name, in bytes: the same bound as a member's name in the charter.
const MAX_NAME: usize = 40;

impl Subject {
    /// Checks `name` and builds the subject.
    pub fn new(role: Role, name: &str) -> Result<Self, PkiError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = !name.is_empty()
            && name.len() <= MAX_NAME
            && !name.starts_with('-')
            && name.bytes().all(allowed);
        if !fits {
            return Err(PkiError::Name(name.to_owned()));
        }
        Ok(Self {
            role,
            name: name.to_owned(),
        })
    }

    /// Reads the subject back from a parsed certificate. Exactly one of each attribute
    /// may stand there: with two, programs disagree about which one counts.
    pub(super) fn from_x509(name: &X509Name<'_>) -> Result<Self, PkiError> {
        let common = single(name.iter_common_name(), "common name")?;
        let unit = single(name.iter_organizational_unit(), "organizational unit")?;
        Self::new(unit.parse()?, common)
    }
}

fn single<'n, 'a: 'n>(
    mut attributes: impl Iterator<Item = &'n x509_parser::x509::AttributeTypeAndValue<'a>>,
    what: &str,
) -> Result<&'n str, PkiError> {
    let (Some(first), None) = (attributes.next(), attributes.next()) else {
        return Err(PkiError::Certificate(format!(
            "it must have exactly one {what}"
        )));
    };
    first
        .as_str()
        .map_err(|_| PkiError::Certificate(format!("its {what} is not plain text")))
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_narrow() {
        assert!(Subject::new(Role::Node, "hospital-a").is_ok());
        for bad in ["", "-a", "Hospital", "a b", "a/b", "é", &"a".repeat(41)] {
            assert!(
                Subject::new(Role::Node, bad).is_err(),
                "{bad:?} was accepted"
            );
        }
    }

    #[test]
    fn roles_read_back() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().expect("own name"), role);
        }
        assert!("root".parse::<Role>().is_err());
    }
}
