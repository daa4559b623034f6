//! An auditor's visit: what is copied, what is run, and what is found when somebody has been at the
//! files. The tables hold canaries, which must be nowhere but at their sites.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use collegium_coordinator::init;
use collegium_coordinator::ledger::{self, Action, Entry, Ledger};
use collegium_protocol::ledger::read::Folder;
use serde_json::Value;

use crate::consortium::{
    Consortium, HOSPITALS, Site, arg, copy, files, json, repository, run, wait_until,
};

/// A short search.
const TASK: &str = "name = \"heart-disease\"\ntarget = \"disease\"\npositive = \"1\"\nseed = 1\n\
                    max_steps = 12\n[constraints]\nallowed_models = [\"logistic\", \"scorecard\"]\n";

/// What stands in the added text column of one row of each site.
const WORD: &str = "canary-quetzal-8f3a91d2";

/// The hospitals' tables with one more row each, whose every cell is a canary, and with a column of
/// text; gives the canaries too. The target's cell must be one of its classes.
fn with_canaries(dir: &Path) -> (Vec<Site>, Vec<f64>) {
    let mut canaries = Vec::new();
    let sites = HOSPITALS.map(|name| {
        let from = repository(&format!("examples/hospitals/data/{name}.csv"));
        let text = fs::read_to_string(from).expect("a table");
        let mut lines = text.lines();
        let header = lines.next().expect("a header");
        let columns = header.split(',').count() - 1;
        let cells: Vec<f64> = (0..columns)
            .map(|column| 1.0 + (canaries.len() + column) as f64 * 1.618_033_988_749_895e-3)
            .map(|cell| cell + 0.000_000_271_828_182_8)
            .collect();
        canaries.extend(&cells);
        let row: Vec<_> = cells.iter().map(ToString::to_string).collect();
        let mut table = format!("{header},remark\n{},1,{WORD}-{name}\n", row.join(","));
        for line in lines {
            table.push_str(&format!("{line},none\n"));
        }
        let path = dir.join(format!("{name}.csv"));
        fs::write(&path, table).expect("written");
        Site {
            name,
            table: path,
            columns: Some(repository(&format!("examples/hospitals/sites/{name}.toml"))),
        }
    });
    (sites.to_vec(), canaries)
}

/// A copy of the ledger of a daemon that runs, in the order that `docs/audit.md` gives; what the
/// daemon takes away meanwhile it has put somewhere else before.
fn copy_live(from: &Path, to: &Path) {
    let first = ["pending", "checkpoint", "cosigned"].map(|name| from.join(name));
    for file in first {
        copy_if_there(&file, from, to);
    }
    for file in files(&from.join("tile")) {
        copy_if_there(&file, from, to);
    }
}

fn copy_if_there(file: &Path, from: &Path, to: &Path) {
    let target = to.join(file.strip_prefix(from).expect("inside"));
    fs::create_dir_all(target.parent().expect("a directory")).expect("a directory");
    match fs::copy(file, target) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => panic!("{}: {error}", file.display()),
    }
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

/// The secrets in a daemon's key files: whatever in them is long and has no space.
fn secrets(state: &Path) -> Vec<Vec<u8>> {
    let mut secrets = Vec::new();
    for file in files(&state.join("keys")) {
        if file.extension().is_none_or(|it| it != "key") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a key file");
        let long = text
            .split([' ', '\n', '"', '=', ':'])
            .filter(|it| it.len() >= 32);
        secrets.extend(long.map(|it| it.as_bytes().to_vec()));
    }
    assert!(secrets.len() >= 2, "{secrets:?}");
    secrets
}

/// What must be nowhere at the coordinator, and in no ledger.
fn assert_nothing_leaked(consortium: &Consortium, canaries: &[f64]) {
    let mut needles: Vec<Vec<u8>> = vec![WORD.into()];
    for canary in canaries {
        let text = canary.to_string();
        assert!(text.len() >= 12, "{text}");
        // The digits after the point, in whatever form the number is written.
        needles.push(text.as_bytes()[2..14.min(text.len())].to_vec());
        needles.push(canary.to_le_bytes().to_vec());
        needles.push(canary.to_be_bytes().to_vec());
    }
    let coordinator = consortium.coordinator_state();
    let nodes = HOSPITALS.map(|name| consortium.node_state(name));
    needles.extend(nodes.iter().flat_map(|state| secrets(state)));
    let own = secrets(&coordinator);
    let (ledger, keys) = (coordinator.join("ledger"), coordinator.join("keys"));
    let node_ledgers = nodes.iter().flat_map(|state| files(&state.join("ledger")));
    for file in files(&coordinator).into_iter().chain(node_ledgers) {
        let bytes = fs::read(&file).expect("readable");
        let kept_for_itself = file.starts_with(&keys);
        let own = own
            .iter()
            .filter(|_| !kept_for_itself && file.starts_with(&ledger));
        for needle in needles.iter().chain(own) {
            let shown = String::from_utf8_lossy(needle);
            assert!(!holds(&bytes, needle), "{shown} is in {}", file.display());
        }
    }
}

fn audit(args: &[&str]) -> (Option<i32>, String) {
    let all: Vec<&str> = ["audit"].iter().chain(args).copied().collect();
    let Output {
        status,
        stdout,
        stderr,
    } = run(&all);
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code(), text)
}

/// The verification of a ledger with every member's.
fn verified(ledger: &Path, charter: &Path, nodes: &[PathBuf]) -> (Option<i32>, String) {
    let mut args = vec!["verify", arg(ledger), "--charter", arg(charter)];
    for node in nodes {
        args.extend(["--node", arg(node)]);
    }
    audit(&args)
}

#[test]
fn an_auditor_verifies_reads_and_proves_and_finds_what_was_tampered_with() {
    let tables = tempfile::tempdir().expect("a directory");
    let (sites, canaries) = with_canaries(tables.path());
    let mut consortium = Consortium::found_by(sites).started();
    let coordinator = consortium.coordinator_state();
    let copies = consortium.dir().join("copies");
    let (before, charter) = (copies.join("before"), copies.join("charter.toml"));
    let id = consortium.submit(TASK);
    consortium.watch(&id, |event| event["event"] == "step");
    copy_live(&coordinator.join("ledger"), &before);
    let result = consortium.finish(&id);
    json(&[
        "charter",
        "show",
        "--coordinator-state",
        arg(&coordinator),
        "--file",
        arg(&charter),
    ]);

    // Every member cosigns what the run ended with, without being asked by anybody.
    let nodes = HOSPITALS.map(|name| consortium.node_state(name));
    let end = entry_of(&coordinator, "run-end");
    wait_until("all members to cosign the run's end", || {
        let note = fs::read_to_string(coordinator.join("ledger/cosigned")).unwrap_or_default();
        let size = note
            .lines()
            .nth(1)
            .and_then(|line| line.parse::<u64>().ok());
        size > Some(end) && note.matches("collegium.witness/").count() == HOSPITALS.len()
    });
    for name in HOSPITALS {
        let report = consortium
            .node_state(name)
            .join("runs")
            .join(&id)
            .join("local.json");
        wait_until(&format!("the report of {name}"), || report.exists());
    }
    for name in HOSPITALS {
        assert!(consortium.terminate_node(name));
    }
    assert!(consortium.terminate_coordinator());
    assert_nothing_leaked(&consortium, &canaries);

    let (code, text) = verified(&coordinator, &charter, &nodes);
    assert_eq!(code, Some(0), "{text}");
    let steps = result["steps"].as_u64().expect("steps");
    for words in [
        // Entries that came after may have been cosigned by a quorum when the daemons ended.
        "members (at least 3 needed)",
        "not older than",
        &format!(
            "{steps} steps compared with the coordinator's, 0 later than a copy, 0 mismatches"
        ),
    ] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
    let (code, text) = verified(&coordinator, &charter, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("unproven"), "{text}");

    reads_and_proves(&coordinator, &charter, &id, end);
    replays(&coordinator, &id);
    consortium.start_coordinator();
    let (fetched, end) = fetches(&consortium, &copies, &charter);
    assert!(consortium.terminate_coordinator());
    tampering_is_found(&copies, &coordinator, &charter, &nodes, &before);

    // The coordinator itself takes entries back: the members notice at once.
    fs::remove_dir_all(coordinator.join("ledger")).expect("removed");
    copy(&before, &coordinator.join("ledger"));
    consortium.start_coordinator();
    consortium.start_node("va");
    wait_until("a member to refuse the shorter ledger", || {
        let entries = collegium_node::ledger::entries(&nodes[3].join("ledger"));
        let entries = entries.expect("a ledger");
        let refused = |it: &Value| it["action"] == "witness" && it["outcome"] == "refused";
        entries.iter().any(refused)
    });
    another_history_is_not_fetched(consortium, &fetched, end);
}

/// The ledger over the network, for those who may read it; the copy, and how many entries it has.
fn fetches(consortium: &Consortium, copies: &Path, charter: &Path) -> (PathBuf, u64) {
    let (state, copy) = (consortium.coordinator_state(), copies.join("fetched"));
    let operator = ["--coordinator-state", arg(&state)];
    let fetch = ["audit", "fetch", arg(&copy), operator[0], operator[1]];
    let first = json(&fetch);
    let (code, text) = verified(&copy, charter, &[]);
    assert_eq!(code, Some(0), "{text}");
    let second = json(&fetch);
    assert!(
        second["new"].as_u64() < first["entries"].as_u64(),
        "{second}"
    );
    let (code, text) = verified(&copy, charter, &[]);
    assert_eq!(code, Some(0), "{text}");
    // That it was read is in it.
    let entries = Folder::new(&copy).values();
    let entries = entries.expect("a ledger");
    let last = entries.last().expect("entries");
    assert_eq!(last["object"], "readLedger consortium", "{last}");
    assert_eq!(last["actor"], "operator/operator", "{last}");
    (copy, entries.len() as u64)
}

/// A coordinator that took entries back, and one that wrote its ledger anew, with its own key.
fn another_history_is_not_fetched(mut consortium: Consortium, copy: &Path, end: u64) {
    let state = consortium.coordinator_state();
    let before = fs::read(copy.join("checkpoint")).expect("a checkpoint");
    let fetch = ["fetch", arg(copy), "--coordinator-state", arg(&state)];
    let (code, text) = audit(&fetch);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("ROLLBACK") && text.contains(&end.to_string()),
        "{text}"
    );

    assert!(consortium.terminate_coordinator());
    fs::remove_dir_all(state.join("ledger")).expect("removed");
    let keys = init::load(&state).expect("the coordinator's keys");
    let invented = Ledger::open(&state, &keys.signing).expect("a ledger");
    for number in 0..=end {
        let object = format!("invented/{number}");
        let done = ledger::Outcome::Done;
        let entry = Entry::new(Action::Step, "coordinator", &object, done);
        invented.append(entry).expect("appended");
    }
    drop(invented);
    consortium.start_coordinator();
    let (code, text) = audit(&fetch);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("REWRITTEN") && text.contains(&format!("begin with the {end}")),
        "{text}"
    );
    assert_eq!(
        fs::read(copy.join("checkpoint")).expect("a checkpoint"),
        before
    );
    assert!(
        copy.with_file_name("fetched.refused-1")
            .join("checkpoint")
            .exists()
    );
}

/// The number of the last entry of an action.
fn entry_of(state: &Path, action: &str) -> u64 {
    let entries = ledger::entries(state).expect("a ledger");
    let found = entries.iter().rposition(|entry| entry["action"] == action);
    found.unwrap_or_else(|| panic!("no {action}")) as u64
}

fn reads_and_proves(coordinator: &Path, charter: &Path, id: &str, end: u64) {
    let (code, text) = audit(&[
        "show",
        arg(coordinator),
        "--run",
        id,
        "--action",
        "champion",
    ]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("champion") && !text.contains("run-end"),
        "{text}"
    );
    let (_, text) = audit(&[
        "show",
        arg(coordinator),
        "--member",
        "va",
        "--action",
        "join",
        "--json",
    ]);
    assert_eq!(text.lines().count(), 1, "{text}");
    let (_, text) = audit(&[
        "export",
        arg(coordinator),
        "--format",
        "csv",
        "--task",
        "heart-disease",
    ]);
    assert!(text.starts_with("entry,time_utc,"), "{text}");
    assert!(text.lines().count() > 12, "{text}");
    let page = coordinator.join("page.html");
    let (code, text) = audit(&[
        "export",
        arg(coordinator),
        "--format",
        "html",
        "--out",
        arg(&page),
    ]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        fs::read_to_string(&page)
            .expect("a page")
            .contains("<td>charter-in-force</td>")
    );
    fs::remove_file(page).expect("removed");

    let proof = charter.with_file_name("end.tlog-proof");
    let (code, text) = audit(&[
        "prove",
        &end.to_string(),
        "--ledger",
        arg(coordinator),
        "--out",
        arg(&proof),
    ]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = audit(&["check", arg(&proof), "--charter", arg(charter)]);
    assert_eq!(code, Some(0), "{text}");
    for word in ["run-end", id] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    let cosigners = HOSPITALS.iter().filter(|name| text.contains(**name));
    assert!(cosigners.count() >= 3, "a quorum in {text}");
    let forged = fs::read_to_string(&proof)
        .expect("a proof")
        .replace("index ", "index 1");
    fs::write(&proof, forged).expect("written");
    let (code, text) = audit(&["check", arg(&proof), "--charter", arg(charter)]);
    assert_eq!(code, Some(4), "{text}");
}

fn replays(coordinator: &Path, id: &str) {
    let (code, text) = audit(&["replay", id, "--coordinator-state", arg(coordinator)]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the same as in the ledger"), "{text}");
    let champion = coordinator.join("runs").join(id).join("champion.json");
    let bytes = fs::read(&champion).expect("a champion");
    fs::write(&champion, [bytes.as_slice(), b" "].concat()).expect("written");
    let (code, text) = audit(&["replay", id, "--coordinator-state", arg(coordinator)]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("champion.json is another model"), "{text}");
    fs::write(&champion, bytes).expect("written");
}

fn tampering_is_found(
    copies: &Path,
    coordinator: &Path,
    charter: &Path,
    nodes: &[PathBuf],
    before: &Path,
) {
    // One letter of one entry.
    let changed = copies.join("changed");
    copy(&coordinator.join("ledger"), &changed);
    let tile = changed.join("tile/entries/000");
    let name = files(&changed.join("tile/entries")).into_iter().next_back();
    let tile = if tile.exists() {
        tile
    } else {
        name.expect("a tile")
    };
    let mut bytes = fs::read(&tile).expect("a tile");
    let at = bytes
        .windows(7)
        .position(|it| it == b"invite\"")
        .expect("an invitation");
    bytes[at] = b'I';
    fs::write(&tile, bytes).expect("written");
    let (code, text) = verified(&changed, charter, &[]);
    assert_eq!(code, Some(4), "{text}");
    assert!(
        text.contains("NOT VERIFIED") && text.contains("tile/entries/000"),
        "{text}"
    );

    // A file more.
    let more = copies.join("more");
    copy(&coordinator.join("ledger"), &more);
    fs::write(more.join("notes.txt"), "mine").expect("written");
    let (code, text) = verified(&more, charter, nodes);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("stray file: notes.txt"), "{text}");

    // The state of yesterday: by itself it is whole, and a member has seen more.
    let (code, text) = verified(before, charter, &[]);
    assert_ne!(code, Some(4), "{text}");
    let (code, text) = verified(before, charter, &nodes[..1]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("rollback"), "{text}");
    let seen = coordinator.join("ledger/checkpoint");
    let (code, text) = audit(&[
        "verify",
        arg(before),
        "--charter",
        arg(charter),
        "--seen",
        arg(&seen),
    ]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("rollback"), "{text}");

    // A member's ledger with an entry less.
    let node = copies.join("node");
    copy(&nodes[2].join("ledger"), &node);
    let tile = files(&node.join("tile/0")).pop().expect("a tile");
    let bytes = fs::read(&tile).expect("a tile");
    fs::write(&tile, &bytes[32..]).expect("written");
    let (code, text) = verified(coordinator, charter, &[node]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("switzerland: damage"), "{text}");
}
