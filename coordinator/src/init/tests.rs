//! Founding and opening in real directories.

use super::*;
use crate::config::{Config, Sources};

fn options(state: &Path) -> InitOptions {
    InitOptions {
        state: state.to_owned(),
        name: "Heart Study".to_owned(),
        listen: ([127, 0, 0, 1], 7443).into(),
        address: None,
    }
}

#[test]
fn a_founded_consortium_opens_and_its_configuration_loads() {
    let directory = tempfile::tempdir().expect("tempdir");
    let state = directory.path().join("coordinator");
    let founded = init(&options(&state)).expect("founds");
    let keys = load(&state).expect("opens");
    assert_eq!(
        keys.authority.certificate().fingerprint(),
        founded.authority
    );
    assert_eq!(keys.tls.peer().subject.role, Role::Coordinator);
    assert_eq!(keys.consortium.address.as_deref(), Some("127.0.0.1:7443"));
    assert!(!format!("{keys:?}").contains("Signing"));

    let sources = Sources {
        file: Some(founded.config),
        ..Sources::default()
    };
    let config = Config::load(&sources).expect("the written configuration is valid");
    assert_eq!(config.listen, ([127, 0, 0, 1], 7443).into());
    assert_eq!(config.state, state);

    let error = init(&options(&state)).expect_err("twice");
    assert!(matches!(error, InitError::AlreadyThere(_)), "{error}");
}

#[test]
fn own_certificates_are_renewed_a_month_before_their_end() {
    let directory = tempfile::tempdir().expect("tempdir");
    let state = directory.path().join("coordinator");
    init(&options(&state)).expect("founds");
    let keys = load(&state).expect("opens");
    let (before, end) = (keys.tls.peer().serial, keys.tls.peer().not_after);
    let early = end - RENEW_BEFORE - Duration::from_secs(1);
    let own = renew_own(&state, &keys.authority, early).expect("reads");
    assert_eq!(own.tls.peer().serial, before);
    let due = end - RENEW_BEFORE;
    let own = renew_own(&state, &keys.authority, due).expect("renews");
    assert_ne!(own.tls.peer().serial, before);
    assert!(own.tls.peer().not_after > end && own.operator.not_after > end);
    assert_eq!(own.tls.peer().subject, keys.tls.peer().subject);
    let again = load(&state).expect("opens");
    assert_eq!(again.tls.peer().serial, own.tls.peer().serial);
}

#[test]
fn an_interrupted_founding_is_finished_by_running_it_again() {
    let directory = tempfile::tempdir().expect("tempdir");
    let state = directory.path();
    let first = init(&options(state)).expect("founds");
    // As if the power had failed before the last file, and once in the middle of the keys.
    fs::remove_file(&first.config).expect("removes");
    fs::create_dir(state.join("keys.unfinished")).expect("creates");
    let second = init(&options(state)).expect("finishes");
    assert_eq!((first.id, first.authority), (second.id, second.authority));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("tempdir");
    init(&options(directory.path())).expect("founds");
    let key = directory.path().join("keys/authority.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
    let error = load(directory.path()).expect_err("loose").to_string();
    assert!(
        error.contains("authority.key") && error.contains("chmod 600"),
        "{error}"
    );
}

#[test]
fn an_empty_directory_says_what_to_do() {
    let directory = tempfile::tempdir().expect("tempdir");
    let error = load(directory.path()).expect_err("empty").to_string();
    assert!(error.contains("coordinator init"), "{error}");
}

#[test]
fn bad_names_and_addresses_are_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().expect("tempdir");
    let state = directory.path().join("new");
    let bad_name = InitOptions {
        name: "a\nb".to_owned(),
        ..options(&state)
    };
    assert!(matches!(init(&bad_name), Err(InitError::Name(_))));
    for address in ["host", "host:0", "host:x", ":7443", "a,b:7443", "a b:1"] {
        let bad = InitOptions {
            address: Some(address.to_owned()),
            ..options(&state)
        };
        assert!(
            matches!(init(&bad), Err(InitError::Address(_))),
            "{address}"
        );
    }
    assert!(!state.exists());
}
