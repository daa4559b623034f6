//! One function for every parser of bytes from outside. A fuzz target runs it under libFuzzer; the
//! ordinary suite runs the same function over the committed corpus and mutations of it
//! (`tests/parsers`), on any toolchain.
//!
//! A function returns for whatever bytes; it panics where a promise is broken: that no input makes a
//! parser panic, that accepted input has the one form in which it would be written, and that what
//! was accepted can be used by the next check.

pub mod automl;
pub mod crypto;
pub mod daemons;
pub mod protocol;

/// A name, as in `fuzz_targets/` and `corpus/`, and what is done with the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target there is.
pub const TARGETS: [Target; 28] = [
    ("body", crypto::body),
    ("keys", crypto::keys),
    ("sealed", crypto::sealed),
    ("shape", crypto::shape),
    ("shares", crypto::shares),
    ("summed", crypto::summed),
    ("admin", protocol::admin),
    ("certificate", protocol::certificate),
    ("charter", protocol::charter),
    ("charter_text", protocol::charter_text),
    ("evidence", protocol::evidence),
    ("invitation", protocol::invitation),
    ("join", protocol::join),
    ("ledger", protocol::ledger),
    ("names", protocol::names),
    ("node_record", protocol::node_record),
    ("object_stream", protocol::object_stream),
    ("run_record", protocol::run_record),
    ("to_coordinator", protocol::to_coordinator),
    ("to_node", protocol::to_node),
    ("upload", protocol::upload),
    ("ask", automl::ask),
    ("column_map", automl::column_map),
    ("object", automl::object),
    ("table", automl::table),
    ("task", automl::task),
    ("coordinator_config", daemons::coordinator_config),
    ("node_config", daemons::node_config),
];
