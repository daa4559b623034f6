//! Verifying copies of ledgers, and saying what that shows and what it does not.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use collegium_protocol::VerifiedCharter;
use collegium_protocol::ledger::entry::now_ms;
use collegium_protocol::ledger::note::MAX_NOTE_BYTES;
use collegium_protocol::ledger::read::Folder;
use collegium_protocol::ledger::verify::{Expected, Report, Seen, verify};
use collegium_protocol::ledger::{LogKey, SignedCheckpoint};
use collegium_protocol::moment;
use serde::Serialize;
use serde_json::Value;

use super::cross::{self, Compared};
use super::trust;

/// What is verified, and against what.
#[derive(Debug)]
pub(crate) struct Copies<'a> {
    /// The coordinator's ledger.
    pub(crate) ledger: &'a Path,
    /// The charter's versions.
    pub(crate) charter: &'a [PathBuf],
    /// Members' ledgers.
    pub(crate) nodes: &'a [PathBuf],
    /// Checkpoints seen before.
    pub(crate) seen: &'a [PathBuf],
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    consortium: String,
    charter_version: u32,
    charter: String,
    ledger: Ledger,
    cosigned: Option<Cosigned>,
    quorum: u16,
    nodes: Vec<Node>,
    /// Whether anything outside the copy shows that it is not an old one.
    freshness: Vec<String>,
    /// What follows.
    pub(crate) outcome: Outcome,
}

/// What follows from everything found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// Everything holds.
    Verified,
    /// It holds, and there is something to look at.
    Remarks,
    /// It does not hold.
    Damaged,
}

/// One ledger.
#[derive(Debug, Serialize)]
struct Ledger {
    folder: PathBuf,
    entries: u64,
    root: String,
    last_entry: Option<String>,
    age_ms: Option<u64>,
    findings: Vec<String>,
    #[serde(skip)]
    holds: bool,
}

impl Ledger {
    fn of(folder: &Folder, report: &Report) -> Self {
        let signed = report.checkpoint.is_some() && report.holds();
        Self {
            folder: folder.path().to_owned(),
            entries: report.size,
            root: report.root.to_string(),
            last_entry: report.last_entry_ms.map(moment::text),
            age_ms: report.last_entry_ms.map(|it| now_ms().saturating_sub(it)),
            findings: report.findings.iter().map(ToString::to_string).collect(),
            holds: signed,
        }
    }
}

/// The last checkpoint that members cosigned.
#[derive(Debug, Serialize)]
struct Cosigned {
    entries: u64,
    by: Vec<String>,
    oldest: String,
}

/// A member's ledger.
#[derive(Debug, Serialize)]
struct Node {
    member: String,
    ledger: Ledger,
    compared: Compared,
}

/// Verifies everything.
///
/// # Errors
/// What cannot be read, or is not what it was given for. What does not verify is in the verdict.
pub(crate) fn run(copies: &Copies<'_>) -> anyhow::Result<Verdict> {
    let charter = trust::charter(copies.charter)?;
    let mut seen = Vec::new();
    let log = LogKey::coordinator(charter.charter().coordinator);
    for file in copies.seen {
        seen.push(read_seen(file, &log)?);
    }
    let mut members = Vec::new();
    for path in copies.nodes {
        members.push(node(path, &charter)?);
    }
    for (name, _, _, facts) in &members {
        seen.extend(facts.seen(name));
    }
    let folder = trust::ledger(copies.ledger)?;
    let witnesses = trust::witnesses(&charter);
    let expected = Expected {
        log: &log,
        witnesses: Some(&witnesses),
        seen: &seen,
    };
    let mut steps = cross::Coordinator::default();
    let compare = !members.is_empty();
    let report = verify(&folder, &expected, &mut |number, entry| {
        if compare {
            steps.take(number, entry);
        }
    })?;
    let nodes = members
        .into_iter()
        .map(|(member, folder, report, facts)| Node {
            ledger: Ledger::of(&folder, &report),
            compared: cross::compare(&member, &facts, &steps),
            member,
        })
        .collect();
    Ok(verdict(&charter, &folder, &report, nodes, &seen))
}

/// A checkpoint that the auditor kept from an earlier visit.
fn read_seen(file: &Path, log: &LogKey) -> anyhow::Result<Seen> {
    let read = || -> anyhow::Result<Seen> {
        let length = std::fs::metadata(file)?.len();
        ensure!(length <= MAX_NOTE_BYTES as u64, "it is too long");
        let note = SignedCheckpoint::parse(&std::fs::read(file)?)?;
        note.check_log(log)?;
        let checkpoint = note.checkpoint();
        Ok(Seen {
            by: file.display().to_string(),
            size: checkpoint.size,
            root: checkpoint.root,
        })
    };
    read().with_context(|| format!("the checkpoint {}", file.display()))
}

type Facts = (String, Folder, Report, cross::Member);

fn node(path: &Path, charter: &VerifiedCharter) -> anyhow::Result<Facts> {
    let folder = trust::ledger(path)?;
    let owner = trust::owner(charter, &folder)?;
    let expected = Expected {
        log: &LogKey::node(owner.identity),
        witnesses: Some(&[]),
        seen: &[],
    };
    let mut facts = cross::Member::default();
    let report = verify(&folder, &expected, &mut |number, entry: &Value| {
        facts.take(number, entry);
    })?;
    Ok((owner.name.to_string(), folder, report, facts))
}

fn verdict(
    charter: &VerifiedCharter,
    folder: &Folder,
    report: &Report,
    nodes: Vec<Node>,
    seen: &[Seen],
) -> Verdict {
    let quorum = charter.charter().quorum;
    let cosigned = report.cosigned.as_ref().map(|cosigned| {
        let name = |place: usize| charter.members().get(place).map(|it| it.name.to_string());
        let oldest = cosigned.by.iter().map(|(_, time)| *time).min();
        Cosigned {
            entries: cosigned.size,
            by: cosigned
                .by
                .iter()
                .filter_map(|(place, _)| name(*place))
                .collect(),
            oldest: moment::text(oldest.unwrap_or(0).saturating_mul(1000)),
        }
    });
    let ledger = Ledger::of(folder, report);
    let enough = cosigned
        .as_ref()
        .is_some_and(|it| it.by.len() >= usize::from(quorum));
    let broken = |node: &Node| !node.ledger.holds || !node.compared.mismatches.is_empty();
    let quiet = |node: &Node| node.ledger.findings.is_empty();
    let outcome = if !ledger.holds || nodes.iter().any(broken) {
        Outcome::Damaged
    } else if !enough || !ledger.findings.is_empty() || !nodes.iter().all(quiet) {
        Outcome::Remarks
    } else {
        Outcome::Verified
    };
    let freshness = seen.iter().filter(|seen| seen.size <= report.size);
    let freshness = freshness.map(|seen| format!("{} entries seen by {}", seen.size, seen.by));
    Verdict {
        consortium: charter.charter().consortium.clone(),
        charter_version: charter.charter().version,
        charter: charter.digest().to_string(),
        ledger,
        cosigned,
        quorum,
        nodes,
        freshness: freshness.collect(),
        outcome,
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "charter    {}, version {}, {}",
            self.consortium, self.charter_version, self.charter
        )?;
        let Ledger { entries, root, .. } = &self.ledger;
        writeln!(f, "ledger     {entries} entries, root {root}")?;
        if let (Some(last), Some(age)) = (&self.ledger.last_entry, self.ledger.age_ms) {
            writeln!(f, "last       {last} UTC, {} ago", moment::span(age))?;
        }
        self.cosigners(f)?;
        for node in &self.nodes {
            writeln!(
                f,
                "{:<10} {} entries; {} steps compared with the coordinator's, {} later than a copy, {} mismatches",
                node.member,
                node.ledger.entries,
                node.compared.steps,
                node.compared.later,
                node.compared.mismatches.len()
            )?;
        }
        match self.freshness.as_slice() {
            [] => writeln!(
                f,
                "freshness  unproven: an old copy looks the same; give a member's ledger (--node) or a \
                 checkpoint of an earlier visit (--seen)"
            )?,
            seen => writeln!(f, "freshness  not older than: {}", newest(seen))?,
        }
        for finding in &self.ledger.findings {
            writeln!(f, "! {finding}")?;
        }
        for node in &self.nodes {
            for finding in &node.ledger.findings {
                writeln!(f, "! {}: {finding}", node.member)?;
            }
            for mismatch in &node.compared.mismatches {
                writeln!(f, "! {mismatch}")?;
            }
        }
        f.write_str(match self.outcome {
            Outcome::Verified => "verified   every file is covered by signed checkpoints",
            Outcome::Remarks => "verified   with remarks, see above",
            Outcome::Damaged => "NOT VERIFIED",
        })
    }
}

/// The last few are the newest; the others say nothing more.
fn newest(seen: &[String]) -> String {
    const SHOWN: usize = 2;
    let hidden = seen.len().saturating_sub(SHOWN);
    let shown = seen[hidden..].join("; ");
    if hidden == 0 {
        return shown;
    }
    format!("{shown}; and {hidden} earlier states")
}

impl Verdict {
    fn cosigners(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quorum = self.quorum;
        let Some(cosigned) = &self.cosigned else {
            return writeln!(
                f,
                "cosigned   by nobody: the coordinator alone vouches for it (at least {quorum} members should)"
            );
        };
        let Cosigned {
            entries,
            by,
            oldest,
        } = cosigned;
        let count = by.len();
        let verdict = if count >= usize::from(quorum) {
            format!("at least {quorum} needed")
        } else {
            format!("TOO FEW, at least {quorum} needed")
        };
        writeln!(
            f,
            "cosigned   {entries} entries by {count} members ({verdict}), the first at {oldest} UTC: {}",
            by.join(", ")
        )?;
        let since = self.ledger.entries.saturating_sub(*entries);
        match since {
            0 => {}
            1 => writeln!(f, "           1 entry came after that")?,
            more => writeln!(f, "           {more} entries came after that")?,
        }
        Ok(())
    }
}
