//! `collegium charter`: who the members are, and who has agreed to it.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use collegium_node::charter::Part;
use collegium_protocol::ids::SeatNumber;
use collegium_protocol::quic::CharterState;
use collegium_protocol::{Charter, MemberIndex, MemberName, VerifiedCharter};
use serde_json::{Value, json};

use super::client::{Coordinator, Identity};
use super::interruptible;
use crate::output::Output;
use crate::person;

/// What one does with a charter.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the charter in force and the proposed one, with fingerprints as words for comparing
    /// by telephone.
    Show(Show),
    /// Propose a charter of the members that have joined.
    Propose(Propose),
    /// Read the proposed charter at a site, and sign it for this member.
    Sign(Sign),
}

/// Arguments of `charter show`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true))]
pub(crate) struct Show {
    /// At the coordinator: its state directory.
    #[arg(long, value_name = "DIR", group = "where")]
    coordinator_state: Option<PathBuf>,
    /// At a site: the node's state directory.
    #[arg(long, value_name = "DIR", group = "where")]
    state: Option<PathBuf>,
    /// Also write the charter in force with its signatures to this file (TOML), for auditors.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Arguments of `charter propose`.
#[derive(Debug, clap::Args)]
pub(crate) struct Propose {
    /// The members, in index order [default: all that have joined, by name].
    members: Vec<String>,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// Arguments of `charter sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// The node's state directory.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
}

/// Carries out the command.
///
/// # Errors
/// What the coordinator answered, or what is wrong with the charter.
pub(crate) fn run(command: Command, out: Output) -> anyhow::Result<ExitCode> {
    interruptible(async move {
        match command {
            Command::Show(args) => show(args, out).await,
            Command::Propose(args) => propose(args, out).await,
            Command::Sign(args) => sign(args, out).await,
        }
    })
}

async fn show(args: Show, out: Output) -> anyhow::Result<()> {
    let (in_force, proposed) = match (args.coordinator_state, args.state) {
        (Some(state), _) => {
            let charters = collegium_coordinator::client::charters(&state).await?;
            (charters.in_force, charters.proposed)
        }
        (None, Some(state)) => {
            let charters = collegium_node::charter::show(&state).await?;
            (charters.in_force, charters.proposed)
        }
        (None, None) => bail!("name a state directory"),
    };
    if let Some(file) = &args.file {
        let Some(state) = &in_force else {
            bail!("no charter is in force yet: every member has to sign it first");
        };
        let text = state.charter.to_toml()?;
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
        out.say(format!("written to {}", file.display()));
    }
    let mut text = String::new();
    for (title, state) in [
        ("Charter in force", &in_force),
        ("Proposed charter", &proposed),
    ] {
        match state {
            Some(state) => text.push_str(&words(title, state)),
            // Writing to a String cannot fail.
            None => drop(writeln!(text, "{title}: none")),
        }
    }
    out.result(
        &json!({ "in_force": describe(in_force), "proposed": describe(proposed) }),
        text.trim_end(),
    )
}

async fn propose(args: Propose, out: Output) -> anyhow::Result<()> {
    let members = args
        .members
        .iter()
        .map(|name| {
            name.parse::<MemberName>()
                .with_context(|| format!("`{name}` is no member's name"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let proposed = match args.coordinator.identity()? {
        Identity::Operator(state) => {
            collegium_coordinator::client::propose(&state, members).await?
        }
        Identity::Person(user) => {
            let client = person::connect(&user).await?;
            let proposed = client.propose_charter(members).await?;
            client.finish().await;
            proposed
        }
    };
    let text = words("Proposed charter", &proposed)
        + "next, at each member: collegium charter sign --state NODE_STATE";
    out.result(&describe(Some(proposed)), text)
}

async fn sign(args: Sign, out: Output) -> anyhow::Result<()> {
    let proposal = collegium_node::charter::proposal(&args.state).await?;
    out.say(words("Proposed charter", proposal.state()));
    let part = proposal.part();
    if part == Part::Accept {
        out.say(
            "This site joins a consortium that exists: the members so far sign, and your word makes \
             this site's node follow them.",
        );
    }
    if !args.yes {
        ensure!(
            std::io::stdin().is_terminal(),
            "signing needs your word: run this on a terminal, or add --yes"
        );
        confirm()?;
    }
    let signed = proposal.sign().await?;
    let charter = &signed.charter.charter;
    let in_force = signed.missing.is_empty();
    let done = match part {
        Part::Sign => "signed",
        Part::Accept => "accepted",
    };
    let text = if in_force {
        let state = args.state.display();
        format!("{done}; the charter is in force\nnext: collegium node run --state {state}")
    } else if charter.version == 1 {
        format!(
            "{done}; {} of {} have signed, missing: {}",
            signed.charter.signatures.len(),
            charter.members.len(),
            names(&signed.missing)
        )
    } else {
        format!(
            "{done}; {} of the members before have signed, not yet: {}",
            signed.charter.signatures.len(),
            names(&signed.missing)
        )
    };
    out.result(
        &json!({
            "charter": charter.digest(),
            "version": charter.version,
            "accepted": part == Part::Accept,
            "signatures": signed.charter.signatures.len(),
            // A later version needs a quorum of the version before, which that version says.
            "needed": (charter.version == 1).then_some(charter.members.len()),
            "missing": signed.missing,
            "in_force": in_force,
        }),
        text,
    )
}

fn confirm() -> anyhow::Result<()> {
    let mut answer = String::new();
    eprint!("Compare the fingerprints with the other members by telephone. Sign? [yes/no] ");
    std::io::stderr().flush()?;
    std::io::stdin().lock().read_line(&mut answer)?;
    ensure!(answer.trim() == "yes", "not signed");
    Ok(())
}

/// A charter as people read it.
fn words(title: &str, state: &CharterState) -> String {
    let charter: &Charter = &state.charter.charter;
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!(
        "{title}: {}, version {}, {}",
        charter.consortium,
        charter.version,
        charter.digest()
    ));
    line(format!(
        "  a sum is over at least {} members; {} votes certify it, {} shares open it",
        charter.min_contributors, charter.quorum, charter.threshold
    ));
    line(format!(
        "  coordinator  {}",
        charter.coordinator.fingerprint().words()
    ));
    let verified = state.charter.verify(None).ok();
    if charter.draws_committee() {
        line(format!(
            "  committee    {} of {} members, drawn {}",
            charter.committee,
            charter.members.len(),
            match &verified {
                Some(_) => "by a beacon of every member's randomness; seats are marked",
                None => "when every member has signed, by a beacon of their randomness",
            }
        ));
    }
    for member in &charter.members {
        let seat = seat(verified.as_ref(), member.index);
        line(format!(
            "  {:>2} {:<16} {}{}",
            member.index,
            member.name,
            member.identity.fingerprint().words(),
            seat.map_or_else(String::new, |seat| format!("  (seat {seat})")),
        ));
        if member.contact != member.name.as_str() {
            line(format!("     {:<16} {}", "", member.contact));
        }
    }
    if !state.missing.is_empty() {
        line(format!("  not yet signed by: {}", names(&state.missing)));
        if charter.version > 1 {
            line("  it takes effect when a quorum of the version before has signed".to_owned());
        }
    }
    text
}

/// The seat that a drawn committee gives to a member.
fn seat(charter: Option<&VerifiedCharter>, member: MemberIndex) -> Option<u16> {
    let drawn = charter.filter(|charter| charter.charter().draws_committee());
    drawn?.seat_of(member).map(SeatNumber::get)
}

fn names(members: &[MemberName]) -> String {
    members
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn describe(state: Option<CharterState>) -> Value {
    let Some(state) = state else {
        return Value::Null;
    };
    let charter = &state.charter.charter;
    let verified = state.charter.verify(None).ok();
    json!({
        "consortium": charter.consortium,
        "version": charter.version,
        "digest": charter.digest(),
        "committee": charter.committee,
        "quorum": charter.quorum,
        "threshold": charter.threshold,
        "min_contributors": charter.min_contributors,
        "members": charter.members.iter().map(|member| json!({
            "index": member.index,
            "seat": verified.as_ref().and_then(|charter| charter.seat_of(member.index)),
            "name": member.name,
            "contact": member.contact,
            "fingerprint": member.identity.fingerprint().to_string(),
            "words": member.identity.fingerprint().words(),
        })).collect::<Vec<_>>(),
        "missing": state.missing,
    })
}
