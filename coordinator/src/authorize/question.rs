//! The parts of a question: who, what, on what, and when.

use std::fmt;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use collegium_protocol::ids::{MemberName, RunId};
use collegium_protocol::pki::{Peer, Role, Serial, Subject};
use collegium_protocol::policy::{Policies, Question, Verdict};
use serde_json::{Value, json};

/// Defines what can be done, once: variant, id in the policy, on what kind of thing, and words for
/// people.
macro_rules! acts {
    ($($name:ident $id:literal $kind:ident $words:literal;)*) => {
        /// What somebody may want to do at the coordinator.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Act {
            $(#[doc = $words] $name,)*
        }

        impl Act {
            /// Everything there is to do.
            pub const ALL: &'static [Act] = &[$(Act::$name,)*];

            /// The action's id in policies.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Act::$name => $id,)* }
            }

            /// What it means, in words.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Act::$name => $words,)* }
            }

            /// On what kind of thing it is done.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Act::$name => Kind::$kind,)* }
            }
        }
    };
}

acts! {
    SubmitTask "submitTask" Consortium "start a run of a task";
    ListRuns "listRuns" Consortium "see which runs there are";
    WatchRun "watchRun" Run "follow a run";
    ReadResult "readResult" Run "read a finished run's result";
    CancelRun "cancelRun" Run "end a run";
    RerunRun "rerunRun" Run "start another round of a run's task";
    ListMembers "listMembers" Consortium "see who has joined";
    InviteMember "inviteMember" Consortium "make a member's one-time code";
    ProposeCharter "proposeCharter" Consortium "propose who the members are";
    ReadCharter "readCharter" Consortium "read the charter in force and the proposed one";
    SignCharter "signCharter" Member "hand in a member's signature under the charter";
    InviteUser "inviteUser" Consortium "make a person's one-time code";
    RevokeUser "revokeUser" Consortium "take a person's access away";
    ListUsers "listUsers" Consortium "see who has access";
    ListCertificates "listCertificates" Consortium "see which certificates count";
    RevokeCertificate "revokeCertificate" Certificate "take a certificate away";
    RenewCertificate "renewCertificate" Certificate "get a new certificate in place of one";
    ReadLedger "readLedger" Consortium "read the coordinator's ledger";
    Connect "connect" Member "open a node's session";
    Upload "upload" Member "send a step's encrypted answer in a session";
    FetchObject "fetchObject" Member "fetch models and evidence in a session";
}

/// Kinds of things that requests concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The whole.
    Consortium,
    /// A run.
    Run,
    /// A member.
    Member,
    /// A certificate.
    Certificate,
}

/// What a request concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// No single thing.
    Consortium,
    /// A run; without a task and a submitter when there is no such run.
    Run {
        /// Its id.
        run: RunId,
        /// The task's name.
        task: String,
        /// The subject that submitted it.
        submitted_by: String,
    },
    /// A member, by its node's name.
    Member(String),
    /// A certificate.
    Certificate {
        /// Its serial number.
        serial: Serial,
        /// Whose it is; empty when it is not known.
        holder: String,
    },
}

impl Resource {
    /// A member that joined.
    #[must_use]
    pub fn member(name: &MemberName) -> Self {
        Self::Member(name.to_string())
    }

    fn uid(&self) -> (&'static str, String) {
        match self {
            Self::Consortium => ("Consortium", "this".to_owned()),
            Self::Run { run, .. } => ("Run", run.to_string()),
            Self::Member(name) => ("Member", name.clone()),
            Self::Certificate { serial, .. } => ("Certificate", serial.to_string()),
        }
    }

    fn attributes(&self) -> Value {
        match self {
            Self::Consortium => json!({}),
            Self::Run {
                task, submitted_by, ..
            } => json!({ "task": task, "submitted_by": user(submitted_by) }),
            Self::Member(name) => json!({ "name": name }),
            Self::Certificate { holder, .. } => json!({ "holder": user(holder) }),
        }
    }
}

/// As it stands in the ledger.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = self.uid();
        match self {
            Self::Consortium => f.write_str("consortium"),
            _ => write!(f, "{} {id}", kind.to_lowercase()),
        }
    }
}

/// Who asks, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    subject: Subject,
    certificate: String,
    address: Option<IpAddr>,
}

impl Asker {
    /// The holder of a connection's certificate.
    #[must_use]
    pub fn new(peer: &Peer, address: IpAddr) -> Self {
        Self {
            subject: peer.subject.clone(),
            certificate: peer.fingerprint.to_string(),
            // What comes to a socket that listens on both kinds of address.
            address: Some(address.to_canonical()),
        }
    }

    /// The operator at the coordinator's own disk, while no daemon runs.
    #[must_use]
    pub fn local() -> Self {
        Self {
            subject: Subject {
                role: Role::Operator,
                name: "local".to_owned(),
            },
            certificate: String::new(),
            address: None,
        }
    }

    /// `role/name`.
    #[must_use]
    pub fn subject(&self) -> String {
        self.subject.to_string()
    }

    /// SHA-256 of the certificate, hexadecimal.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }
}

fn user(subject: &str) -> Value {
    json!({ "__entity": { "type": "User", "id": subject } })
}

/// Puts one question to the policies.
pub(super) fn put(
    policies: &Policies,
    asker: &Asker,
    act: Act,
    on: &Resource,
    now: SystemTime,
) -> Verdict {
    let subject = asker.subject();
    let (kind, id) = on.uid();
    policies.decide(&Question {
        principal: ("User", &subject),
        action: act.id(),
        resource: (kind, &id),
        entities: json!([
            {
                "uid": { "type": "User", "id": subject },
                "attrs": { "name": asker.subject.name, "certificate": asker.certificate },
                "parents": [{ "type": "Role", "id": asker.subject.role.as_str() }],
            },
            {
                "uid": { "type": kind, "id": id },
                "attrs": on.attributes(),
                "parents": [],
            },
        ]),
        context: moment(asker.address, now),
    })
}

fn moment(address: Option<IpAddr>, now: SystemTime) -> Value {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut context = json!({
        "hour": seconds % DAY / 3600,
        // 1970-01-01 was a Thursday, day 4 of its week.
        "weekday": (seconds / DAY + 3) % 7 + 1,
    });
    if let Some(address) = address {
        context["address"] = json!({ "__extn": { "fn": "ip", "arg": address.to_string() } });
    }
    context
}
