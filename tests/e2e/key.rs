//! Key files that a passphrase encrypts: daemons and people with and without it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::consortium::{Consortium, arg, collegium, json, run, wait_until};

const VARIABLE: &str = "COLLEGIUM_PASSPHRASE_FILE";
const ENCRYPTED: &str = "collegium key file, encrypted by a passphrase";

/// A file with a passphrase that only its owner can read.
fn passphrase(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .expect("a file");
    writeln!(file, "{text}").expect("written");
    path
}

/// The binary with a passphrase file in its environment.
fn with(passphrase: &Path, args: &[&str]) -> Output {
    collegium(args)
        .env(VARIABLE, passphrase)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

fn refused(output: Output, args: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{} succeeded", args.join(" "));
    text
}

fn succeeds(passphrase: &Path, args: &[&str]) {
    let output = with(passphrase, args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", args.join(" "));
}

/// File names of the directory's keys and whether each is encrypted.
fn keys(dir: &Path) -> Vec<(String, bool)> {
    let list = json(&["key", "list", arg(dir)]);
    let one = |key: &Value| {
        let path = PathBuf::from(key["file"].as_str().expect("a path"));
        let text = std::fs::read(&path).expect("the key file");
        let encrypted = key["encrypted"].as_bool().expect("a flag");
        assert_eq!(text.starts_with(ENCRYPTED.as_bytes()), encrypted, "{key}");
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, encrypted)
    };
    list.as_array().expect("a list").iter().map(one).collect()
}

#[test]
fn keys_that_a_passphrase_encrypts_serve_only_with_it_and_stay_encrypted_when_renewed() {
    let mut consortium = Consortium::found();
    let state = consortium.node_state("va");
    let right = passphrase(consortium.dir(), "right", "correct horse battery staple");
    let wrong = passphrase(consortium.dir(), "wrong", "correct horse battery stable");
    let names = ["beacon.key", "identity.key", "sealing.key", "tls.key"];
    assert_eq!(keys(&state), names.map(|name| (name.to_owned(), false)));

    succeeds(&right, &["key", "protect", arg(&state)]);
    assert_eq!(keys(&state), names.map(|name| (name.to_owned(), true)));
    let show = ["charter", "show", "--state", arg(&state)];
    let daemon = ["node", "run", "--state", arg(&state)];
    let text = refused(run(&daemon), &daemon);
    assert!(
        text.contains(VARIABLE) && text.contains(".key: encrypted"),
        "{text}"
    );
    let text = refused(with(&wrong, &daemon), &daemon);
    assert!(text.contains("another passphrase"), "{text}");
    let untouched = names.map(|name| (name.to_owned(), true));
    assert_eq!(
        keys(&state),
        untouched,
        "a key that nobody could read was made"
    );

    // The daemon takes part with it; what it and its steward write from then on is encrypted, too.
    consortium.set(VARIABLE, arg(&right));
    consortium.start_node("va");
    wait_until("the node to pin the charter", || {
        consortium.log_text("va").contains("charter pinned")
    });
    let before = std::fs::read(state.join("keys/tls.key")).expect("the key");
    succeeds(&right, &["cert", "rotate", "--state", arg(&state)]);
    let after = std::fs::read(state.join("keys/tls.key")).expect("the key");
    assert_ne!(after, before);
    let now = keys(&state);
    assert!(
        now.len() >= names.len() && now.iter().all(|(_, encrypted)| *encrypted),
        "{now:?}"
    );
    assert!(consortium.terminate_node("va"));

    // Another passphrase, then none; a wrong one changes nothing.
    let other = passphrase(consortium.dir(), "other", "a passphrase for next year");
    let change = [
        "key",
        "protect",
        arg(&state),
        "--passphrase-file",
        arg(&other),
    ];
    refused(with(&wrong, &change), &change);
    succeeds(&right, &change);
    refused(with(&right, &show), &show);
    let clear = ["key", "unprotect", arg(&state)];
    refused(with(&right, &clear), &clear);
    succeeds(&other, &clear);
    assert!(keys(&state).iter().all(|(_, encrypted)| !*encrypted));
    json(&show);
}

#[test]
fn keys_are_born_encrypted_where_a_passphrase_is_given() {
    let mut consortium = Consortium::coordinator_alone();
    let coordinator = consortium.coordinator_state();
    assert!(consortium.terminate_coordinator());
    let file = passphrase(
        consortium.dir(),
        "passphrase",
        "correct horse battery staple",
    );
    succeeds(&file, &["key", "protect", arg(&coordinator)]);
    assert!(keys(&coordinator).iter().all(|(_, encrypted)| *encrypted));
    consortium.set(VARIABLE, arg(&file));
    consortium.start_coordinator();

    let invite = ["user", "invite", "ann", "--role", "viewer", "--json"];
    let own = ["--coordinator-state", arg(&coordinator)];
    let output = with(&file, &[invite.as_slice(), own.as_slice()].concat());
    let invited: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let user = consortium.dir().join("ann");
    let code = invited["code"].as_str().expect("a code");
    succeeds(&file, &["user", "join", code, "--user", arg(&user)]);
    assert_eq!(keys(&user), [("tls.key".to_owned(), true)]);
    succeeds(&file, &["task", "list", "--user", arg(&user)]);
    let list = ["task", "list", "--user", arg(&user)];
    let text = refused(run(&list), &list);
    assert!(text.contains(VARIABLE), "{text}");
    assert!(consortium.terminate_coordinator());
}
