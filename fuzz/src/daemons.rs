//! Configuration files. They are read from disk, so each input goes through a file of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use collegium_coordinator::config as coordinator;
use collegium_node::config as node;

/// Writes the input where the parser reads it; one file for each process and thread.
fn file(name: &str, bytes: &[u8]) -> Option<PathBuf> {
    let thread = format!("{:?}", std::thread::current().id());
    let digits: String = thread.chars().filter(char::is_ascii_digit).collect();
    let name = format!("collegium-fuzz-{}-{digits}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).ok()?;
    Some(path)
}

fn environment() -> BTreeMap<String, String> {
    [("HOME".to_owned(), "/nowhere".to_owned())].into()
}

/// `node.toml`. What loads is in range.
pub fn node_config(bytes: &[u8]) {
    let Some(path) = file("node.toml", bytes) else {
        return;
    };
    let sources = node::Sources {
        file: Some(path.clone()),
        environment: environment(),
        ..node::Sources::default()
    };
    let loaded = node::Config::load(&sources);
    let _ = std::fs::remove_file(path);
    if let Ok(config) = loaded {
        assert!(config.policy.minimum_contributors >= 3);
        assert!((1..=16).contains(&config.limits.open_runs));
    }
}

/// `coordinator.toml`.
pub fn coordinator_config(bytes: &[u8]) {
    let Some(path) = file("coordinator.toml", bytes) else {
        return;
    };
    let sources = coordinator::Sources {
        file: Some(path.clone()),
        environment: environment(),
        ..coordinator::Sources::default()
    };
    let loaded = coordinator::Config::load(&sources);
    let _ = std::fs::remove_file(path);
    if let Ok(config) = loaded {
        assert!(!config.state.as_os_str().is_empty());
    }
}
