//! Who gets in: strangers are refused in the handshake, members outside the charter take no part.

use crate::consortium::{
    Consortium, HOSPITALS, Site, arg, copy, join, json, repository, run, wait_until,
};

#[test]
fn a_code_is_good_for_one_use() {
    let consortium = Consortium::found();
    let site = Site::with_table_of("va", "fifth");
    let code = consortium.invite(site.name);
    json(&join(&code, &consortium.node_state("fifth"), &site));
    let refused = run(&join(&code, &consortium.node_state("again"), &site));
    assert!(!refused.status.success(), "a code must not be good twice");
}

#[test]
fn a_node_outside_the_charter_is_told_so_and_takes_no_part() {
    let mut consortium = Consortium::running();
    consortium.join(&Site::with_table_of("va", "fifth"));
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

#[test]
fn a_second_node_with_copied_keys_is_refused_and_a_killed_one_gets_back_in() {
    let mut consortium = Consortium::found();
    let (member, twin) = (consortium.node_state("va"), consortium.node_state("twin"));
    // Somebody copies the state directory to another machine.
    copy(&member, &twin);
    consortium.start_node("va");
    let connections = |consortium: &Consortium| {
        let text = consortium.log_text("va");
        text.matches(" connected member=va").count()
    };
    wait_until("the node to connect", || connections(&consortium) == 1);

    consortium.start_node("twin");
    wait_until("the second node to be turned away", || {
        let text = consortium.log_text("twin");
        text.contains("ANOTHER NODE WORKS WITH THIS MEMBER'S KEYS") && text.contains("retry_in")
    });
    let text = consortium.log_text("twin");
    assert!(!text.contains(" connected member=va"), "{text}");
    assert!(
        text.contains("UTC from 127.0.0.1:"),
        "when and from where: {text}"
    );
    let text = consortium.log_text("va");
    assert!(
        !text.contains("not connected"),
        "the first one goes on: {text}"
    );
    let entries = collegium_coordinator::ledger::entries(&consortium.coordinator_state());
    let refused = |entry: &serde_json::Value| {
        entry["action"] == "refuse" && entry["actor"] == "node/va" && entry["object"] == "session"
    };
    assert!(entries.expect("a ledger").iter().any(refused));
    assert!(consortium.terminate_node("twin"));

    // Nothing was said to the coordinator, which still believes in the old connection.
    consortium.kill_node("va");
    consortium.start_node("va");
    wait_until("the killed node to be back", || {
        connections(&consortium) == 2
    });
    let text = consortium.log_text("va");
    assert!(!text.contains("ANOTHER NODE"), "{text}");
}
