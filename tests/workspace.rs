//! Keeps the shape of the workspace: dependencies between our crates point down only, and what is
//! fixed by decision (one cryptographic provider, one place for bincode) stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Every edge that is allowed between our crates.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("collegium-crypto", &[]),
    ("collegium-protocol", &["collegium-crypto"]),
    ("collegium-automl", &[]),
    (
        "collegium-node",
        &["collegium-automl", "collegium-crypto", "collegium-protocol"],
    ),
    (
        "collegium-coordinator",
        &["collegium-automl", "collegium-crypto", "collegium-protocol"],
    ),
    (
        "collegium",
        &[
            "collegium-automl",
            "collegium-coordinator",
            "collegium-crypto",
            "collegium-node",
            "collegium-protocol",
        ],
    ),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Crate name -> names of all crates it depends on, build and test dependencies included.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().expect("a name").to_owned();
            let needs = package["dependencies"].as_array().expect("dependencies");
            let names = needs
                .iter()
                .map(|need| need["name"].as_str().expect("a name").to_owned());
            (name, names.collect())
        })
        .collect()
}

#[test]
fn dependencies_point_down_only() {
    let found = dependencies();
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    for (name, needs) in &found {
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(known, _)| known == name)
            .unwrap_or_else(|| panic!("{name} is a new crate: say in this test what it may use"));
        for need in needs.iter().filter(|need| known.contains(need.as_str())) {
            assert!(
                allowed.contains(&need.as_str()),
                "{name} must not depend on {need}"
            );
        }
    }
    assert_eq!(
        found.len(),
        ALLOWED.len(),
        "a crate of the workspace has gone"
    );
}

#[test]
fn search_knows_no_network_and_cryptography_no_runtime() {
    let found = dependencies();
    for (name, banned) in [
        ("collegium-automl", ["tokio", "quinn", "rustls"]),
        ("collegium-crypto", ["tokio", "quinn", "rustls"]),
    ] {
        for banned in banned {
            assert!(
                !found[name].contains(banned),
                "{name} must not depend on {banned}"
            );
        }
    }
}

#[test]
fn bincode_is_named_in_the_codec_only() {
    for (name, needs) in dependencies() {
        assert_eq!(
            needs.contains("bincode"),
            name == "collegium-protocol",
            "bincode in {name}"
        );
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/src");
    let mut queue = vec![root];
    let mut naming = Vec::new();
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                queue.push(path);
            } else if std::fs::read_to_string(&path)
                .expect("source")
                .contains("bincode::")
            {
                naming.push(path);
            }
        }
    }
    assert_eq!(naming.len(), 1, "bincode is used in {naming:?}");
    assert!(
        naming[0].ends_with("codec.rs"),
        "bincode is used in {naming:?}"
    );
}

#[test]
fn the_lock_file_holds_one_cryptographic_provider() {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"))
        .expect("Cargo.lock");
    assert!(
        lock.contains("name = \"aws-lc-rs\""),
        "aws-lc-rs is the provider"
    );
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--offline",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree runs");
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let tree = String::from_utf8(tree.stdout).expect("text");
    assert!(
        tree.lines().any(|line| line.starts_with("quinn ")),
        "the tree lists quinn"
    );
    assert!(
        !tree.lines().any(|line| line.starts_with("ring ")),
        "ring must not be linked"
    );
}
