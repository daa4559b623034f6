//! Who gets in: strangers are refused in the handshake, members outside the charter take no part.

use crate::consortium::{Consortium, HOSPITALS, arg, json, repository, run, wait_until};

#[test]
fn a_code_is_good_for_one_use() {
    let consortium = Consortium::found();
    let table = repository("examples/hospitals/data/va.csv");
    let coordinator = consortium.coordinator_state();
    let invite = json(&[
        "coordinator",
        "invite",
        "fifth",
        "--state",
        arg(&coordinator),
    ]);
    let code = invite["code"].as_str().expect("a code");
    let state = consortium.node_state("fifth");
    json(&[
        "node",
        "join",
        code,
        "--state",
        arg(&state),
        "--data",
        arg(&table),
    ]);
    let again = consortium.node_state("again");
    let refused = run(&[
        "node",
        "join",
        code,
        "--state",
        arg(&again),
        "--data",
        arg(&table),
    ]);
    assert!(!refused.status.success(), "a code must not be good twice");
}

#[test]
fn a_node_outside_the_charter_is_told_so_and_takes_no_part() {
    let mut consortium = Consortium::running();
    let table = repository("examples/hospitals/data/va.csv");
    let columns = repository("examples/hospitals/sites/va.toml");
    let coordinator = consortium.coordinator_state();
    let invite = json(&[
        "coordinator",
        "invite",
        "fifth",
        "--state",
        arg(&coordinator),
    ]);
    let code = invite["code"].as_str().expect("a code");
    let state = consortium.node_state("fifth");
    json(&[
        "node",
        "join",
        code,
        "--state",
        arg(&state),
        "--data",
        arg(&table),
        "--columns",
        arg(&columns),
    ]);
    consortium.start_node("fifth");
    wait_until(
        "the fifth node to hear that it is not in the charter",
        || consortium.log_text("fifth").contains("charter"),
    );
    let task =
        std::fs::read_to_string(repository("examples/hospitals/task.toml")).expect("the task");
    let run = consortium.submit(&task);
    let result = consortium.finish(&run);
    let sent = result["bytes_up_per_site"].as_object().expect("sites");
    let mut names: Vec<&str> = sent.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names, HOSPITALS,
        "exactly the members of the charter contributed"
    );
}

#[test]
fn a_certificate_of_another_consortium_is_refused_in_the_handshake() {
    let ours = Consortium::found();
    let theirs = Consortium::found();
    // A member of the other consortium, which knows ours well enough to trust our coordinator.
    let stranger = theirs.node_state("va");
    let authority = "keys/authority.pem";
    std::fs::copy(
        ours.node_state("va").join(authority),
        stranger.join(authority),
    )
    .expect("copied");
    let check = run(&[
        "node",
        "check",
        "--state",
        arg(&stranger),
        "--coordinator",
        ours.address(),
    ]);
    assert!(!check.status.success(), "the stranger must not get in");
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(text.contains("certificate"), "the report says why: {text}");

    // The same command in a member's state gets through.
    let member = ours.node_state("va");
    let check = run(&["node", "check", "--state", arg(&member)]);
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
}
