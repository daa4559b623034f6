//! The tables, and how an older state becomes a current one.

/// The version this binary writes. A state directory with a higher one is
/// refused: an older binary cannot know what it would destroy.
pub(super) const VERSION: i64 = 5;

/// Statements that lead from version *i* to version *i* + 1.
pub(super) const MIGRATIONS: [&str; VERSION as usize] = [V1, V2, V3, V4, V5];

/// Times are seconds since 1970; digests, run ids and names are text; blobs are
/// codec bytes (requests, records) or the file as it was submitted (tasks).
const V1: &str = "
CREATE TABLE invites (
    secret_hash TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    role        TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    used_at     INTEGER
) STRICT;
CREATE TABLE members (
    name         TEXT PRIMARY KEY,
    contact      TEXT NOT NULL,
    identity_key TEXT NOT NULL,
    sealing_key  BLOB NOT NULL,
    certificate  TEXT NOT NULL,
    serial       TEXT NOT NULL,
    joined_at    INTEGER NOT NULL
) STRICT;
CREATE TABLE revoked_certificates (
    serial     TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT;
CREATE TABLE charters (
    digest     TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    body       BLOB NOT NULL,
    in_force   INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE charter_signatures (
    digest    TEXT NOT NULL REFERENCES charters(digest),
    member    TEXT NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (digest, member)
) STRICT;

CREATE TABLE tasks (
    digest       TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    source       BLOB NOT NULL,
    submitted_by TEXT NOT NULL,
    submitted_at INTEGER NOT NULL
) STRICT;
CREATE TABLE runs (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    run         TEXT NOT NULL UNIQUE,
    task        TEXT NOT NULL REFERENCES tasks(digest),
    charter     TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('queued', 'running', 'champion', 'failed', 'cancelled')),
    reason      TEXT,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    last_step   INTEGER NOT NULL DEFAULT 0,
    elapsed_ms  INTEGER NOT NULL DEFAULT 0,
    champion    TEXT,
    result      TEXT
) STRICT;
CREATE TABLE run_members (
    run       TEXT NOT NULL REFERENCES runs(run),
    member    TEXT NOT NULL,
    data      TEXT,
    bytes_up  INTEGER NOT NULL DEFAULT 0,
    reported  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, member)
) STRICT;
CREATE TABLE steps (
    run         TEXT NOT NULL REFERENCES runs(run),
    step        INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    ask         TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('announced', 'proposed', 'certified', 'journaled', 'dropped', 'spoiled')),
    reason      TEXT,
    record      BLOB,
    summed      BLOB,
    PRIMARY KEY (run, step)
) STRICT;
CREATE TABLE journal (
    run      TEXT NOT NULL REFERENCES runs(run),
    sequence INTEGER NOT NULL,
    ask      TEXT NOT NULL,
    totals   BLOB NOT NULL,
    PRIMARY KEY (run, sequence)
) STRICT;
CREATE TABLE champions (
    run        TEXT PRIMARY KEY REFERENCES runs(run),
    task       TEXT NOT NULL,
    object     TEXT NOT NULL,
    registered INTEGER NOT NULL
) STRICT;
";

/// Commitments and reveals for the beacon. A member that joined before has none, and joins again
/// before a charter can be proposed with it.
const V2: &str = "
ALTER TABLE members ADD COLUMN commitment TEXT;
ALTER TABLE charter_signatures ADD COLUMN reveal BLOB;
";

/// Large totals lie in a file of their own: where, and how long; `totals` is their hash then.
const V3: &str = "
ALTER TABLE journal ADD COLUMN lies_at INTEGER;
ALTER TABLE journal ADD COLUMN bytes INTEGER;
";

/// A run is one round of its task: which one, after which run, and not before when. Of a run only
/// one next round can be waiting or under way; one that failed or was cancelled is in nobody's way.
const V4: &str = "
ALTER TABLE runs ADD COLUMN round INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN previous TEXT REFERENCES runs(run);
ALTER TABLE runs ADD COLUMN not_before INTEGER;
CREATE UNIQUE INDEX one_next_round ON runs(previous) WHERE state IN ('queued', 'running');
";

/// Who has which certificate; people with one; and who submitted a run, because the same task file may
/// be submitted by several.
const V5: &str = "
CREATE TABLE certificates (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    serial      TEXT NOT NULL UNIQUE,
    role        TEXT NOT NULL,
    name        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    not_after   INTEGER NOT NULL,
    issued_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX certificates_of ON certificates(name);
CREATE TABLE users (
    name        TEXT PRIMARY KEY,
    role        TEXT NOT NULL,
    certificate TEXT NOT NULL,
    serial      TEXT NOT NULL,
    joined_at   INTEGER NOT NULL
) STRICT;
ALTER TABLE runs ADD COLUMN submitted_by TEXT;
";
