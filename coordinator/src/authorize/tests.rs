//! The default policy, role by role and action by action, and what a policy of one's own can do.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::randomness::seeded_rng;
use collegium_protocol::ids::RunId;
use collegium_protocol::pki::{Authority, Peer, Role, Serial, Subject, TlsKey};

/// The generated table, relative to this crate.
const TABLE: &str = "../docs/roles.md";

const ROLES: [Role; 6] = [
    Role::Operator,
    Role::Scientist,
    Role::Auditor,
    Role::Steward,
    Role::Node,
    Role::Viewer,
];

/// Thursday 1970-01-01, noon.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(12 * 3600)
}

fn asker(role: Role, name: &str) -> Asker {
    let authority = Authority::create("test", SystemTime::now()).expect("an authority");
    let key = TlsKey::generate().expect("a key");
    let subject = Subject::new(role, name).expect("a subject");
    let issued = authority
        .sign_own(&key, &subject, SystemTime::now())
        .expect("issued");
    let peer: &Peer = &issued.peer;
    Asker::new(peer, [10, 1, 2, 3].into())
}

/// The resource of an act, as `owner`'s.
fn resource(act: Act, owner: &Subject) -> Resource {
    match act.kind() {
        question::Kind::Consortium => Resource::Consortium,
        question::Kind::Run => Resource::Run {
            run: RunId::from_bytes([1; 16]),
            task: "heart".to_owned(),
            submitted_by: owner.to_string(),
        },
        question::Kind::Member => Resource::Member(owner.name.clone()),
        question::Kind::Certificate => Resource::Certificate {
            serial: Serial::from_bytes(&[0x41; 16]).expect("a serial"),
            holder: owner.to_string(),
        },
    }
}

/// Whether a role may do an act on what is its own, and on what is another's.
fn both(authorizer: &Authorizer, role: Role, act: Act) -> (bool, bool) {
    let asker = asker(role, "ann");
    let may = |owner: &str| {
        let owner = Subject::new(role, owner).expect("a subject");
        let verdict = authorizer.decide(&asker, act, &resource(act, &owner), noon());
        assert_eq!(verdict.fault, None, "{role} {act:?}");
        verdict.allowed
    };
    (may("ann"), may("bob"))
}

fn table() -> String {
    let authorizer = Authorizer::open(None).expect("the default policy");
    let mut text = "# Roles and what they may do\n\n\
        Generated from `configs/policy.cedar` by `coordinator/src/authorize/tests.rs`; a test fails when \
        it is not up to date. **yes**: allowed; *own*: on what is one's own (the runs one submitted, the \
        own certificate, the own member); –: denied. Everything else is denied, and every answer is in the \
        ledger.\n\n| to … | action |"
        .to_owned();
    for role in ROLES {
        let _ = write!(text, " {role} |");
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(ROLES.len()));
    text.push('\n');
    for act in Act::ALL {
        let _ = write!(text, "| {} | `{}` |", act.words(), act.id());
        for role in ROLES {
            let cell = match both(&authorizer, role, *act) {
                (true, true) => "**yes**",
                (true, false) => "*own*",
                (false, false) => "–",
                (false, true) => panic!("{role} may {act:?} only what is another's"),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_table_of_roles_is_what_the_default_policy_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    let wanted = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &wanted).expect("writes");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, wanted,
        "docs/roles.md is not up to date; run this test with UPDATE_GOLDEN=1 and read the difference"
    );
}

#[test]
fn every_act_is_in_the_schema_and_none_else() {
    let named: std::collections::BTreeSet<&str> = SCHEMA
        .lines()
        .filter_map(|line| line.strip_prefix("action "))
        .flat_map(|list| list.split(", "))
        .collect();
    let acts: std::collections::BTreeSet<&str> = Act::ALL.iter().map(|act| act.id()).collect();
    assert_eq!(named, acts);
}

#[test]
fn no_role_of_a_server_may_do_anything() {
    let authorizer = Authorizer::open(None).expect("the default policy");
    let asker = asker(Role::Coordinator, "coordinator");
    for act in Act::ALL {
        let owner = Subject::new(Role::Coordinator, "coordinator").expect("a subject");
        let verdict = authorizer.decide(&asker, *act, &resource(*act, &owner), noon());
        assert!(!verdict.allowed, "{act:?}");
    }
}

#[test]
fn every_answer_is_in_the_ledger_with_the_policy() {
    let directory = tempfile::tempdir().expect("tempdir");
    let signing = SigningIdentity::generate(&mut seeded_rng([5; 32]));
    let ledger = Ledger::open(directory.path(), &signing).expect("a ledger");
    let authorizer = Authorizer::open(None).expect("the default policy");
    let viewer = asker(Role::Viewer, "vic");
    let on = Resource::Consortium;
    authorizer
        .authorize(&ledger, &viewer, Act::ListRuns, &on, noon())
        .expect("allowed");
    let refusal = authorizer
        .authorize(&ledger, &viewer, Act::SubmitTask, &on, noon())
        .expect_err("denied");
    assert_eq!(refusal.code, RefusalCode::NotAllowed);
    assert_eq!(
        refusal.detail(),
        "viewer/vic may not submitTask: no policy permits it"
    );
    let evidence = |object: &str| {
        let found = ledger.find(Action::Request, object).expect("reads");
        found.expect("an entry")
    };
    let allowed = evidence("listRuns consortium");
    assert_eq!(allowed["policies"], json!(["people-watch-runs"]));
    assert_eq!(allowed["certificate"], viewer.certificate());
    let denied = evidence("submitTask consortium");
    assert_eq!(denied["reason"], "no policy permits it");
}

/// Writes a policy of an institution's own.
fn own(directory: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = directory.path().join("policy.cedar");
    std::fs::write(&path, text).expect("writes");
    path
}

#[test]
fn a_forbid_of_ones_own_wins_and_is_named() {
    let directory = tempfile::tempdir().expect("tempdir");
    // The examples at the end of the default policy, without their comment signs.
    let (default, examples) = DEFAULT_POLICY
        .split_once("// Examples of what an institution may add:\n")
        .expect("the examples");
    let examples: String = examples
        .lines()
        .map(|line| format!("{}\n", line.trim_start_matches("//")))
        .collect();
    let path = own(&directory, &format!("{default}{examples}"));
    let authorizer = Authorizer::open(Some(&path)).expect("the examples are valid");
    let scientist = asker(Role::Scientist, "ann");
    let submit = |now| {
        let on = Resource::Consortium;
        authorizer.decide(&scientist, Act::SubmitTask, &on, now)
    };
    assert!(submit(noon()).allowed);
    // Thursday 3 o'clock, and Saturday noon.
    for hours in [3, 2 * 24 + 12] {
        let verdict = submit(UNIX_EPOCH + Duration::from_secs(hours * 3600));
        assert!(!verdict.allowed);
        assert_eq!(verdict.policies, ["office-hours"]);
    }
    // An operator from another network, and one at the coordinator's disk.
    let authority = Authority::create("test", SystemTime::now()).expect("an authority");
    let subject = Subject::new(Role::Operator, "olga").expect("a subject");
    let key = TlsKey::generate().expect("a key");
    let issued = authority
        .sign_own(&key, &subject, SystemTime::now())
        .expect("issued");
    let outside = Asker::new(&issued.peer, [192, 0, 2, 1].into());
    let invite =
        |who: &Asker| authorizer.decide(who, Act::InviteUser, &Resource::Consortium, noon());
    assert_eq!(invite(&outside).policies, ["operators-from-the-inside"]);
    assert!(invite(&Asker::new(&issued.peer, [10, 9, 8, 7].into())).allowed);
    assert!(invite(&Asker::local()).allowed);
}

#[test]
fn a_bad_file_keeps_the_old_policy_in_force() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = own(
        &directory,
        "@id(\"all\") permit (principal, action, resource);",
    );
    let authorizer = Authorizer::open(Some(&path)).expect("loads");
    let viewer = asker(Role::Viewer, "vic");
    let may = || {
        authorizer
            .decide(&viewer, Act::RevokeUser, &Resource::Consortium, noon())
            .allowed
    };
    assert!(may());
    let before = authorizer.in_force().digest;
    own(
        &directory,
        "@id(\"all\") permit (principal in Role::\"veiwer\", action, resource);",
    );
    let error = authorizer
        .reload()
        .expect_err("a misspelt role")
        .to_string();
    assert!(
        error.contains("veiwer") && error.contains("policy.cedar"),
        "{error}"
    );
    assert!(may());
    assert_eq!(authorizer.in_force().digest, before);
    own(&directory, "// nobody\n");
    assert!(authorizer.reload().expect("loads").is_empty());
    assert!(!may());
    std::fs::remove_file(&path).expect("removed");
    let error = authorizer.reload().expect_err("gone").to_string();
    assert!(error.contains("cannot read"), "{error}");
}
