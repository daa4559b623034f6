//! Who has access, and how it ends: people's certificates and roles, the access policy, renewal.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use collegium_protocol::pki::{Authority, Role, Subject, TlsKey};
use serde_json::Value;

use crate::consortium::{Consortium, arg, json, run, wait_until};

const DAY: u64 = 24 * 60 * 60;

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// What a command that must fail complains of.
fn complaint(args: &[&str]) -> String {
    let output = run(args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{} succeeded", args.join(" "));
    text
}

/// A code for `name`.
fn invited(consortium: &Consortium, name: &str, role: &str) -> String {
    let state = consortium.coordinator_state();
    let mut args = vec!["user", "invite", name, "--role", role];
    args.extend(["--coordinator-state", arg(&state)]);
    let invited = json(&args);
    invited["code"].as_str().expect("a code").to_owned()
}

/// A person with access; the directory that holds it.
fn joined(consortium: &Consortium, name: &str, role: &str) -> PathBuf {
    let code = invited(consortium, name, role);
    let user = consortium.dir().join(format!("user-{name}"));
    let joined = json(&["user", "join", &code, "--user", arg(&user)]);
    assert_eq!(joined["role"], role);
    user
}

/// The certificates that the coordinator lists for a holder: serial, connections, whether revoked.
fn certificates(consortium: &Consortium, holder: &str) -> Vec<(String, u64, bool)> {
    let state = consortium.coordinator_state();
    let list = json(&["cert", "list", "--coordinator-state", arg(&state)]);
    list.as_array()
        .expect("a list")
        .iter()
        .filter(|one| one["subject"] == holder)
        .map(|one| {
            let serial = one["serial"].as_str().expect("a serial").to_owned();
            let open = one["connections"].as_u64().expect("a count");
            (serial, open, !one["revoked"].is_null())
        })
        .collect()
}

fn serial(own: &[&str]) -> String {
    let mut args = vec!["cert", "show"];
    args.extend(own);
    json(&args)["serial"].as_str().expect("a serial").to_owned()
}

#[test]
fn a_person_joins_by_code_acts_by_role_and_is_thrown_out_for_good() {
    let mut consortium = Consortium::coordinator_alone();
    let state = consortium.coordinator_state();
    let code = invited(&consortium, "ann", "viewer");
    let user = consortium.dir().join("ann");
    json(&["user", "join", &code, "--user", arg(&user)]);
    let list = ["task", "list", "--user", arg(&user)];
    assert_eq!(json(&list)["runs"], Value::Array(Vec::new()));

    // Nobody else gets in with that code, and nobody does more than the role allows.
    let other = consortium.dir().join("other");
    let text = complaint(&["user", "join", &code, "--user", arg(&other)]);
    assert!(text.contains("used before"), "{text}");
    let text = complaint(&["user", "list", "--user", arg(&user)]);
    assert!(
        text.contains("viewer/ann may not listUsers: no policy permits it"),
        "{text}"
    );
    let text = complaint(&[
        "user",
        "invite",
        "bob",
        "--role",
        "node",
        "--coordinator-state",
        arg(&state),
    ]);
    assert!(text.contains("a person cannot be `node`"), "{text}");

    // An operator of her own, with a certificate, does what the founding one does.
    let olga = joined(&consortium, "olga", "operator");
    let users = json(&["user", "list", "--user", arg(&olga)]);
    for (at, name) in ["ann", "olga"].into_iter().enumerate() {
        assert_eq!(users[at]["name"], name, "{users}");
        assert_eq!(users[at]["state"], "active", "{users}");
    }

    json(&["user", "revoke", "ann", "--user", arg(&olga)]);
    let thrown_out = || {
        let text = complaint(&list);
        assert!(text.contains("certificate"), "{text}");
    };
    thrown_out();
    assert!(consortium.terminate_coordinator());
    consortium.start_coordinator();
    thrown_out();
    let users = json(&["user", "list", "--user", arg(&olga)]);
    assert_eq!(users[0]["state"], "revoked");
    let text = complaint(&["user", "revoke", "ann", "--user", arg(&olga)]);
    assert!(text.contains("neither"), "{text}");
    // Invited again she has a new certificate.
    joined(&consortium, "ann", "auditor");
    let users = json(&["user", "list", "--user", arg(&olga)]);
    assert_eq!(users[0]["role"], "auditor");
    assert_eq!(users[0]["state"], "active");
}

#[test]
fn the_access_policy_is_read_again_on_hangup_and_a_bad_one_changes_nothing() {
    let mut consortium = Consortium::coordinator_alone();
    let user = joined(&consortium, "vic", "viewer");
    assert!(consortium.terminate_coordinator());
    let policy = consortium.dir().join("policy.cedar");
    let own = |text: &str| std::fs::write(&policy, text).expect("the policy is written");
    let config = consortium.coordinator_state().join("coordinator.toml");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    let line = format!("file = \"{}\"", arg(&policy));
    assert!(text.contains("file = \"\""));
    std::fs::write(&config, text.replace("file = \"\"", &line)).expect("written");
    let default =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/configs/policy.cedar"));
    own(&default.expect("the default policy"));
    consortium.start_coordinator();
    let list = ["task", "list", "--user", arg(&user)];
    json(&list);

    own("@id(\"typo\") permit (principal in Role::\"viewre\", action, resource);");
    consortium.hang_up_coordinator();
    wait_until("the policy to be refused", || {
        consortium
            .log_text("coordinator")
            .contains("THE ACCESS POLICY IS REFUSED")
    });
    assert!(consortium.log_text("coordinator").contains("viewre"));
    json(&list);

    own("@id(\"nobody\") forbid (principal, action, resource);");
    consortium.hang_up_coordinator();
    wait_until("the new policy to be in force", || {
        !run(&list).status.success()
    });
    let text = complaint(&list);
    assert!(text.contains("forbidden by nobody"), "{text}");

    // A daemon does not start with a policy that does not load.
    assert!(consortium.terminate_coordinator());
    own("permit (principal, action, resource);");
    let state = consortium.coordinator_state();
    let text = complaint(&["coordinator", "run", "--state", arg(&state)]);
    assert!(
        text.contains("policy.cedar") && text.contains("@id"),
        "{text}"
    );
}

/// Gives the node a certificate of the same consortium that was issued so many days ago.
fn age_certificate(consortium: &Consortium, node: &Path, name: &str, days: u64) {
    let keys = consortium.coordinator_state().join("keys");
    let authority = Authority::load(&keys.join("authority.crt"), &keys.join("authority.key"));
    let then = SystemTime::now() - Duration::from_secs(days * DAY);
    let key = TlsKey::load(&node.join("keys/tls.key")).expect("the node's key");
    let subject = Subject::new(Role::Node, name).expect("a subject");
    let issued = authority
        .expect("the authority")
        .sign_own(&key, &subject, then)
        .expect("issued");
    issued.save(&node.join("keys/tls.pem")).expect("saved");
}

#[test]
fn a_node_renews_its_certificate_over_the_running_connection_when_a_third_is_left() {
    let mut consortium = Consortium::found();
    let (early, due) = (
        consortium.node_state("cleveland"),
        consortium.node_state("va"),
    );
    age_certificate(&consortium, &early, "cleveland", 58);
    age_certificate(&consortium, &due, "va", 61);
    let before = serial(&["--state", arg(&due)]);
    let early_before = serial(&["--state", arg(&early)]);
    consortium.start_node("cleveland");
    consortium.start_node("va");
    wait_until("the certificate to be renewed", || {
        serial(&["--state", arg(&due)]) != before
    });
    let renewed = json(&["cert", "show", "--state", arg(&due)]);
    let until = renewed["not_after"].as_u64().expect("a time");
    assert!(until.abs_diff(now() + 90 * DAY) < DAY, "{renewed}");

    // The node goes on with it, and the one that it joined with counts no more.
    let renewed = renewed["serial"].as_str().expect("a serial");
    wait_until("the node to be connected with it", || {
        certificates(&consortium, "node/va")
            .iter()
            .any(|(serial, open, _)| serial == renewed && *open > 0)
    });
    for (serial, _, revoked) in certificates(&consortium, "node/va") {
        assert_eq!(revoked, serial != renewed, "{serial}");
    }
    assert_eq!(serial(&["--state", arg(&early)]), early_before, "too early");
    assert!(consortium.terminate_node("va"));
}

#[test]
fn certificates_are_rotated_by_hand_while_daemons_run() {
    let mut consortium = Consortium::found();
    let coordinator = consortium.coordinator_state();
    let node = consortium.node_state("va");
    consortium.start_node("va");
    let connected = |wanted: &str| {
        certificates(&consortium, "node/va")
            .iter()
            .any(|(serial, open, revoked)| serial == wanted && *open > 0 && !revoked)
    };
    let before = serial(&["--state", arg(&node)]);
    wait_until("the node to connect", || connected(&before));
    let key = std::fs::read(node.join("keys/tls.key")).expect("the key");

    json(&["cert", "rotate", "--state", arg(&node)]);
    let after = serial(&["--state", arg(&node)]);
    assert_ne!(after, before);
    assert_ne!(
        std::fs::read(node.join("keys/tls.key")).expect("the key"),
        key
    );
    wait_until("the node to go on with the new one", || connected(&after));
    // Its last connection may take a moment to close.
    wait_until("the old one to be out of use", || {
        certificates(&consortium, "node/va")
            .iter()
            .any(|(serial, open, revoked)| *serial == before && *open == 0 && *revoked)
    });

    // The founding operator's own, and a person's.
    let operator = ["--coordinator-state", arg(&coordinator)];
    let before = serial(&operator);
    json(&["cert", "rotate", operator[0], operator[1]]);
    assert_ne!(serial(&operator), before);
    json(&["task", "list", operator[0], operator[1]]);
    let ann = joined(&consortium, "ann", "scientist");
    let before = serial(&["--user", arg(&ann)]);
    json(&["cert", "rotate", "--user", arg(&ann)]);
    assert_ne!(serial(&["--user", arg(&ann)]), before);
    json(&["task", "list", "--user", arg(&ann)]);

    // A node whose certificate is taken away stops, and says why.
    json(&["cert", "revoke", "node/va", operator[0], operator[1]]);
    wait_until("the node to stop", || {
        consortium.log_text("va").contains("revoked")
    });
    // The log line comes before the process lets go of its state directory.
    let mut text = String::new();
    wait_until("the state directory to be free", || {
        text = complaint(&["node", "run", "--state", arg(&node)]);
        !text.contains("another node works")
    });
    assert!(text.contains("certificate"), "{text}");
}
