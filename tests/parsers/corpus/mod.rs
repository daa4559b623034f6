//! The seeds of the corpus: at least one input of every kind that each target accepts. Small: what
//! carries megabytes in earnest carries a few bytes here, since no parser knows the difference.

mod crypto;
mod learning;
mod ledgers;
mod messages;

use std::path::Path;

/// A target's inputs, each with the name of its file.
pub type Inputs = Vec<(String, Vec<u8>)>;

/// Every target's inputs.
pub fn all() -> Vec<(&'static str, Inputs)> {
    let mut all = crypto::inputs();
    all.extend(messages::inputs());
    all.extend(learning::inputs());
    all.extend(ledgers::inputs());
    all.push(("node_config", vec![sample("configs/node.toml")]));
    all.push((
        "coordinator_config",
        vec![sample("configs/coordinator.toml")],
    ));
    all
}

/// A file of the repository.
fn sample(path: &str) -> (String, Vec<u8>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let name = file
        .file_name()
        .expect("a file")
        .to_string_lossy()
        .into_owned();
    (name, bytes)
}

/// Numbers the inputs of one kind.
fn numbered(inputs: impl IntoIterator<Item = Vec<u8>>) -> Inputs {
    let name = |(number, bytes)| (format!("{number:02}"), bytes);
    inputs.into_iter().enumerate().map(name).collect()
}
