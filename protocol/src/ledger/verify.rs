//! Verifying a folder that nobody has to be trusted for: everything is recomputed from the
//! entries, and compared with the tiles, with the signed checkpoints, and with what others have seen.

mod files;
mod stream;
mod tiles;

use std::collections::BTreeMap;
use std::fmt;

use collegium_crypto::identity::IdentityKey;
use collegium_crypto::transcript::Digest;
use serde_json::Value;

use super::note::{LogKey, MAX_NOTE_BYTES, NoteError, SignedCheckpoint};
use super::read::{Folder, MAX_PENDING_BYTES, records};
use super::{CHECKPOINT, COSIGNED, LedgerError, PENDING};

use files::Listing;
use stream::Walk;

/// What the ledger should be.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Whose it is.
    pub log: &'a LogKey,
    /// Who may cosign its checkpoints; `None` where nobody knows yet.
    pub witnesses: Option<&'a [IdentityKey]>,
    /// States of it that others saw.
    pub seen: &'a [Seen],
}

/// A state of the ledger that somebody saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who, or where that is written.
    pub by: String,
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something was changed, removed or added, or a signature does not hold.
    Damage,
    /// Entries that somebody saw are not there.
    Rollback,
    /// Somebody saw other entries in the same place.
    Fork,
    /// A file that no checkpoint covers.
    Stray,
    /// What a crash leaves, or a copy made while the daemon wrote.
    Unfinished,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damage => "damage",
            Self::Rollback => "rollback",
            Self::Fork => "fork",
            Self::Stray => "stray file",
            Self::Unfinished => "unfinished",
        })
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The file, under the ledger's folder.
    pub file: String,
    /// The first entry that it concerns, from 0.
    pub entry: Option<u64>,
    /// What was found and what was expected.
    pub detail: String,
}

impl Finding {
    fn new(kind: Kind, file: impl ToString, entry: Option<u64>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            file: file.to_string(),
            entry,
            detail: detail.into(),
        }
    }

    /// Whether the ledger cannot be relied on; strays and what a crash leaves harm nothing.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(self.kind, Kind::Stray | Kind::Unfinished)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.file)?;
        if let Some(entry) = self.entry {
            write!(f, ", entry {entry}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// A checkpoint that members cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Entries under it.
    pub size: u64,
    /// By whom, as places in [`Expected::witnesses`], and when (seconds since 1970-01-01 UTC).
    pub by: Vec<(usize, u64)>,
}

/// What a verification found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Entries, those that are pending too.
    pub size: u64,
    /// Entries under the checkpoint's file.
    pub published: u64,
    /// The root over all entries as computed here.
    pub root: Digest,
    /// The last checkpoint over `size` entries, if its signature holds.
    pub checkpoint: Option<SignedCheckpoint>,
    /// The checkpoint with the most entries that anybody cosigned.
    pub cosigned: Option<Cosigned>,
    /// When the last entry was written (milliseconds since 1970-01-01 UTC).
    pub last_entry_ms: Option<u64>,
    /// Everything that is not as it should be, worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether the ledger can be relied on.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.findings.iter().any(Finding::is_damage)
    }
}

/// A root that the entries must have at some size, and what follows if they do not.
struct Claim {
    kind: Kind,
    file: String,
    root: Digest,
    what: String,
}

type Claims = BTreeMap<u64, Vec<Claim>>;

/// Verifies the ledger in `folder`; every entry that can be read is handed to `visit`, in order,
/// before it is known whether the whole holds.
///
/// # Errors
/// [`LedgerError::Io`], when a file cannot be read at all. What is wrong with the ledger itself is in
/// the report.
pub fn verify(
    folder: &Folder,
    expected: &Expected<'_>,
    visit: &mut dyn FnMut(u64, &Value),
) -> Result<Report, LedgerError> {
    let mut listing = Listing::of(folder)?;
    let mut findings = Vec::new();
    let mut claims = Claims::new();
    let Some(note) = checkpoint(folder, expected, &mut listing, &mut findings)? else {
        return Ok(Report::without_checkpoint(findings));
    };
    let published = note.checkpoint().size;
    claim(&mut claims, Kind::Damage, CHECKPOINT, &note, "it is signed");
    let pending = folder.file(PENDING, MAX_PENDING_BYTES)?.unwrap_or_default();
    let tail = Pending::read(
        &pending,
        published,
        expected.log,
        &mut claims,
        &mut findings,
    );
    listing.take(PENDING);
    let cosigned = cosigned(folder, expected, &mut listing, &mut claims, &mut findings)?;
    for seen in expected.seen {
        claims.entry(seen.size).or_default().push(Claim {
            kind: Kind::Fork,
            file: CHECKPOINT.to_owned(),
            root: seen.root,
            what: seen.by.clone(),
        });
    }
    let checkpoint = tail.last.clone().unwrap_or(note);
    let mut walk = Walk::new(folder, published, &tail, &claims);
    walk.run(&mut listing, visit, &mut findings)?;
    let size = walk.size();
    for (missing, claims) in claims.range(size + 1..) {
        findings.extend(
            claims
                .iter()
                .map(|claim| rolled_back(claim, *missing, size)),
        );
    }
    findings.extend(listing.strays(size));
    findings.sort_by_key(|finding| finding.kind);
    Ok(Report {
        size,
        published,
        root: walk.root(),
        checkpoint: (checkpoint.checkpoint().root == walk.root()).then_some(checkpoint),
        cosigned,
        last_entry_ms: walk.last_entry_ms(),
        findings,
    })
}

fn rolled_back(claim: &Claim, missing: u64, size: u64) -> Finding {
    let what = &claim.what;
    let detail = match claim.kind {
        Kind::Fork => format!("{what} saw {missing} entries, and there are {size}"),
        _ => format!("{what} over {missing} entries, and there are {size}"),
    };
    Finding::new(Kind::Rollback, &claim.file, Some(size), detail)
}

impl Report {
    fn without_checkpoint(findings: Vec<Finding>) -> Self {
        Self {
            size: 0,
            published: 0,
            root: super::tree::empty_root(),
            checkpoint: None,
            cosigned: None,
            last_entry_ms: None,
            findings,
        }
    }
}

fn claim(claims: &mut Claims, kind: Kind, file: &str, note: &SignedCheckpoint, what: &str) {
    let checkpoint = note.checkpoint();
    claims.entry(checkpoint.size).or_default().push(Claim {
        kind,
        file: file.to_owned(),
        root: checkpoint.root,
        what: what.to_owned(),
    });
}

/// The current checkpoint, if it can be used; what is wrong with it goes to the findings.
fn checkpoint(
    folder: &Folder,
    expected: &Expected<'_>,
    listing: &mut Listing,
    findings: &mut Vec<Finding>,
) -> Result<Option<SignedCheckpoint>, LedgerError> {
    listing.take(CHECKPOINT);
    let mut damage = |detail: String| {
        findings.push(Finding::new(Kind::Damage, CHECKPOINT, None, detail));
    };
    let Some(bytes) = folder.file(CHECKPOINT, MAX_NOTE_BYTES as u64)? else {
        damage("it is missing; without it nothing else can be checked".to_owned());
        return Ok(None);
    };
    let note = match SignedCheckpoint::parse(&bytes) {
        Ok(note) => note,
        Err(error) => {
            damage(format!("{error}; without it nothing else can be checked"));
            return Ok(None);
        }
    };
    // Cosignatures stand in a file of their own.
    if let Err(error) = note.check_all(expected.log, &[]) {
        damage(error.to_string());
    }
    Ok(Some(note))
}

/// Who cosigned a checkpoint that somebody must have cosigned; nobody known where nobody is known.
fn cosigners(
    note: &SignedCheckpoint,
    expected: &Expected<'_>,
) -> Result<Vec<(usize, u64)>, NoteError> {
    let Some(witnesses) = expected.witnesses else {
        return note.check_log(expected.log).map(|()| Vec::new());
    };
    let by = note.check_all(expected.log, witnesses)?;
    if by.is_empty() {
        return Err(NoteError::Form("nobody cosigned it"));
    }
    Ok(by)
}

fn cosigned(
    folder: &Folder,
    expected: &Expected<'_>,
    listing: &mut Listing,
    claims: &mut Claims,
    findings: &mut Vec<Finding>,
) -> Result<Option<Cosigned>, LedgerError> {
    listing.take(COSIGNED);
    let Some(bytes) = folder.file(COSIGNED, MAX_NOTE_BYTES as u64)? else {
        return Ok(None);
    };
    let note = SignedCheckpoint::parse(&bytes);
    match note.and_then(|note| Ok((cosigners(&note, expected)?, note))) {
        Ok((by, note)) => {
            claim(claims, Kind::Damage, COSIGNED, &note, "it is signed");
            let size = note.checkpoint().size;
            Ok(Some(Cosigned { size, by }))
        }
        Err(error) => {
            findings.push(Finding::new(
                Kind::Damage,
                COSIGNED,
                None,
                error.to_string(),
            ));
            Ok(None)
        }
    }
}

/// What stands in `pending`.
struct Pending<'a> {
    /// Entries that the checkpoint covers already, by number.
    old: BTreeMap<u64, &'a [u8]>,
    /// Entries after it.
    fresh: Vec<&'a [u8]>,
    /// The note over the last of them.
    last: Option<SignedCheckpoint>,
}

impl<'a> Pending<'a> {
    fn read(
        bytes: &'a [u8],
        published: u64,
        log: &LogKey,
        claims: &mut Claims,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut pending = Self {
            old: BTreeMap::new(),
            fresh: Vec::new(),
            last: None,
        };
        let (mut end, mut before) = (0, None);
        for record in records(bytes) {
            let note = SignedCheckpoint::parse(record.note);
            let note = note.and_then(|note| note.check_all(log, &[]).map(|_| note));
            let note = match note {
                Ok(note) => note,
                Err(error) => {
                    let detail = format!("the record at byte {end}: {error}");
                    findings.push(Finding::new(Kind::Damage, PENDING, None, detail));
                    return pending;
                }
            };
            let size = note.checkpoint().size;
            let follows = before.map_or(size <= published + 1, |before| size == before + 1);
            if !follows || size == 0 {
                let detail = format!(
                    "the record at byte {end} does not follow: it is entry {size} of the log, counted from 1"
                );
                findings.push(Finding::new(Kind::Damage, PENDING, None, detail));
                return pending;
            }
            claim(claims, Kind::Damage, PENDING, &note, "a record is signed");
            if size <= published {
                pending.old.insert(size - 1, record.entry);
            } else {
                pending.fresh.push(record.entry);
                pending.last = Some(note);
            }
            (end, before) = (record.end, Some(size));
        }
        let rest = bytes.len() - end;
        if rest > 0 {
            let detail = format!(
                "{rest} bytes after the last whole record, as a crash leaves them; the daemon cuts them off when it starts"
            );
            findings.push(Finding::new(Kind::Unfinished, PENDING, None, detail));
        }
        pending
    }
}
