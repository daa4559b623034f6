//! A consortium that changes: a fifth hospital is added by the four, and takes part.

use crate::consortium::{Consortium, HOSPITALS, Site, arg, json, repository, run, wait_until};

#[test]
fn a_quorum_adds_a_member_and_its_steward_accepts_the_charter() {
    let mut consortium = Consortium::running();
    let coordinator = consortium.coordinator_state();
    let operator = ["--coordinator-state", arg(&coordinator)];
    let fifth = consortium.join(&Site::with_table_of("va", "fifth"));

    let proposed = json(&["charter", "propose", operator[0], operator[1]]);
    assert_eq!(proposed["version"], 2);
    assert_eq!(proposed["members"].as_array().expect("members").len(), 5);
    assert_eq!(
        proposed["missing"],
        serde_json::json!(HOSPITALS),
        "the four sign"
    );
    // Three of four are a quorum; two are none.
    for (signed, name) in HOSPITALS.iter().take(3).enumerate() {
        let state = consortium.node_state(name);
        let signed_by = json(&["charter", "sign", "--state", arg(&state), "--yes"]);
        assert_eq!(signed_by["in_force"], signed == 2, "{signed_by}");
    }
    // The four nodes follow while they run.
    for name in HOSPITALS {
        wait_until("a member's node to pin the second version", || {
            consortium.log_text(name).contains("version=2")
        });
    }

    // The fifth does not follow a charter that its steward has not seen.
    consortium.start_node("fifth");
    wait_until("the fifth node to ask for its steward", || {
        consortium
            .log_text("fifth")
            .contains("nobody has accepted it here")
    });
    let accepted = json(&["charter", "sign", "--state", arg(&fifth), "--yes"]);
    assert_eq!(accepted["accepted"], true);
    assert!(consortium.terminate_node("fifth"));
    consortium.start_node("fifth");
    wait_until("the fifth node to pin the charter", || {
        consortium.log_text("fifth").contains("charter pinned")
    });

    let task = std::fs::read_to_string(repository("examples/hospitals/task.toml"));
    let run_id = consortium.submit(&task.expect("the task"));
    let result = consortium.finish(&run_id);
    let sent = result["bytes_up_per_site"].as_object().expect("sites");
    assert_eq!(sent.len(), 5, "all five contributed: {result}");

    // Nothing is left to change.
    let again = run(&["charter", "propose", operator[0], operator[1]]);
    let text = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(text.contains("says the same already"), "{text}");
}
