//! `collegium audit`: getting a copy of the coordinator's ledger; reading and checking copies, offline.

mod fetch;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use collegium_coordinator::replay::Replayed;
use collegium_protocol::RunId;
use collegium_protocol::ledger::LogKey;
use collegium_protocol::ledger::note::{MAX_NOTE_BYTES, SignedCheckpoint};
use collegium_protocol::ledger::proof::{MAX_PROOF_BYTES, Proof};
use collegium_protocol::ledger::read::Folder;
use collegium_protocol::ledger::tree::prove_inclusion;
use collegium_protocol::ledger::{CHECKPOINT, COSIGNED};
use serde_json::json;

use super::{interruptible, run_to_end};
use crate::audit::export::{Exporter, Format};
use crate::audit::select::{self, Filter, Numbered};
use crate::audit::trust;
use crate::audit::verify::{self, Copies, Outcome};
use crate::output::{Output, print_line, table};

/// A ledger holds, and there is something to look at.
const REMARKS: u8 = 3;

/// A ledger, or a proof, does not hold.
const DAMAGED: u8 = 4;

/// What an auditor does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Copy the coordinator's ledger over the network, or bring a copy up to date.
    ///
    /// Only what is new comes. What comes is verified together with what the copy has: a ledger that does
    /// not begin with that is refused, and the copy stays as it was.
    Fetch(fetch::Fetch),
    /// Verify a copy of the coordinator's ledger, trusting the charter alone.
    ///
    /// Exit codes: 0 verified, 3 verified with remarks (stray or unfinished files, fewer cosignatures
    /// than the charter's Q), 4 not verified, 1 something could not be read.
    Verify(Verify),
    /// Show entries of a ledger.
    Show(Show),
    /// Prove that one entry is in a ledger, in a file that speaks for itself.
    Prove(Prove),
    /// Check a proof that `audit prove` wrote. Exit codes: 0 it holds, 4 it does not.
    Check(Check),
    /// Run a finished run's search again from its journal, and compare the champion. Exit codes: 0
    /// the same, 4 something differs.
    Replay(Replay),
    /// Write entries as JSON Lines, CSV or one HTML page.
    Export(Export),
}

/// Arguments of `audit verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The coordinator's ledger, or its state directory.
    #[arg(value_name = "DIR")]
    ledger: PathBuf,
    /// The charter, as `collegium charter show --file` writes it; every version from the first on.
    #[arg(long, value_name = "FILE", required = true)]
    charter: Vec<PathBuf>,
    /// A member's ledger, or its node's state directory: compared with the coordinator's.
    #[arg(long, value_name = "DIR")]
    node: Vec<PathBuf>,
    /// A `checkpoint` of the coordinator's ledger from an earlier visit.
    #[arg(long, value_name = "FILE")]
    seen: Vec<PathBuf>,
}

/// Arguments of `audit show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// A ledger, or a daemon's state directory. It is not verified.
    #[arg(value_name = "DIR")]
    ledger: PathBuf,
    #[command(flatten)]
    filter: Filter,
}

/// Arguments of `audit prove`.
#[derive(Debug, clap::Args)]
pub(crate) struct Prove {
    /// The entry's number, as `audit show` has it.
    entry: u64,
    /// The ledger, or the daemon's state directory.
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// The file to write [default: entry-N.tlog-proof].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `audit check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The proof.
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The charter; every version from the first on.
    #[arg(long, value_name = "FILE", required = true)]
    charter: Vec<PathBuf>,
}

/// Arguments of `audit export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// A ledger, or a daemon's state directory. It is not verified.
    #[arg(value_name = "DIR")]
    ledger: PathBuf,
    /// In which form.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// The file to write [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
}

/// Arguments of `audit replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The run, as `task list` printed it.
    run: RunId,
    /// The coordinator's state directory, or a copy with its database, `ledger`, `journal` and `runs`.
    #[arg(long, value_name = "DIR")]
    coordinator_state: PathBuf,
}

/// Carries out the command.
///
/// # Errors
/// What cannot be read or written.
pub(crate) fn run(command: Command, out: Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Fetch(args) => interruptible(fetch::fetch(args, out)),
        Command::Verify(args) => verify(&args, out),
        Command::Show(args) => show(&args, out),
        Command::Prove(args) => prove(&args, out),
        Command::Check(args) => check(&args, out),
        Command::Replay(args) => run_to_end(async move { replay(&args, out).await }),
        Command::Export(args) => export(&args),
    }
}

fn verify(args: &Verify, out: Output) -> anyhow::Result<ExitCode> {
    let verdict = verify::run(&Copies {
        ledger: &args.ledger,
        charter: &args.charter,
        nodes: &args.node,
        seen: &args.seen,
    })?;
    out.result(&verdict, verdict.to_string())?;
    Ok(match verdict.outcome {
        Outcome::Verified => ExitCode::SUCCESS,
        Outcome::Remarks => ExitCode::from(REMARKS),
        Outcome::Damaged => ExitCode::from(DAMAGED),
    })
}

async fn replay(args: &Replay, out: Output) -> anyhow::Result<ExitCode> {
    let replayed = collegium_coordinator::replay::replay(&args.coordinator_state, args.run).await?;
    let Replayed {
        run,
        steps,
        champion,
        differences,
    } = &replayed;
    let mut text = format!("run {run}: {steps} steps from the journal lead to champion {champion}");
    for difference in differences {
        text.push_str(&format!("\n! {difference}"));
    }
    text.push_str(if differences.is_empty() {
        "\nthe same as in the ledger, the database and the run's files"
    } else {
        "\nNOT THE SAME"
    });
    out.result(&replayed, text)?;
    Ok(if differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DAMAGED)
    })
}

fn show(args: &Show, out: Output) -> anyhow::Result<ExitCode> {
    let folder = trust::ledger(&args.ledger)?;
    if out.json() {
        let written = select::each(&folder, &args.filter, |numbered| {
            let mut entry = numbered.entry.clone();
            entry["entry"] = numbered.number.into();
            print_line(&entry.to_string())
        })?;
        written?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table(&[
        "entry",
        "time (UTC)",
        "actor",
        "action",
        "object",
        "outcome",
        "evidence",
    ]);
    select::each(&folder, &args.filter, |numbered: Numbered| {
        rows.add_row([
            numbered.number.to_string(),
            numbered.time(),
            numbered.text("actor").to_owned(),
            numbered.text("action").to_owned(),
            numbered.text("object").to_owned(),
            numbered.text("outcome").to_owned(),
            numbered.evidence(),
        ]);
        anyhow::Ok(())
    })??;
    print_line(&rows.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The checkpoint that most speaks for an entry: the cosigned one if it covers it.
fn best_note(folder: &Folder, entry: u64) -> anyhow::Result<SignedCheckpoint> {
    if let Some(bytes) = folder.file(COSIGNED, MAX_NOTE_BYTES as u64)? {
        let note = SignedCheckpoint::parse(&bytes).context(COSIGNED)?;
        if note.checkpoint().size > entry {
            return Ok(note);
        }
    }
    let note = folder.checkpoint()?;
    let size = note.checkpoint().size;
    ensure!(
        entry < size,
        "entry {entry} is not under the ledger's {CHECKPOINT} of {size} entries; wait for the daemon to \
         publish, or stop it"
    );
    Ok(note)
}

fn prove(args: &Prove, out: Output) -> anyhow::Result<ExitCode> {
    let folder = trust::ledger(&args.ledger)?;
    let index = args.entry;
    let note = best_note(&folder, index)?;
    let size = note.checkpoint().size;
    let entry = folder.entry(index, size)?;
    let proof = Proof {
        index,
        entry: entry.with_context(|| format!("entry {index} cannot be read"))?,
        hashes: prove_inclusion(&mut folder.nodes(size), index, size)?,
        note,
    };
    let path = args.out.clone();
    let path = path.unwrap_or_else(|| PathBuf::from(format!("entry-{index}.tlog-proof")));
    std::fs::write(&path, proof.to_text()).with_context(|| path.display().to_string())?;
    let shown = path.display();
    out.result(
        &json!({ "entry": index, "entries": size, "file": path }),
        format!(
            "entry {index} of {size} is proved by {shown}\n\
             check it with: collegium audit check {shown} --charter FILE"
        ),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: &Check, out: Output) -> anyhow::Result<ExitCode> {
    let charter = trust::charter(&args.charter)?;
    let text = read_text(&args.proof)?;
    let proof = Proof::parse(&text);
    let witnesses = trust::witnesses(&charter);
    let mut logs = vec![LogKey::coordinator(charter.charter().coordinator)];
    logs.extend(witnesses.iter().map(|key| LogKey::node(*key)));
    let origin = proof
        .as_ref()
        .ok()
        .map(|it| it.note.checkpoint().origin.clone());
    let whose = logs
        .iter()
        .position(|log| Some(log.origin()) == origin.as_deref());
    let log = &logs[whose.unwrap_or(0)];
    let (proved, proof) = match proof.and_then(|proof| Ok((proof.check(log, &witnesses)?, proof))) {
        Ok(both) => both,
        Err(error) => {
            let shown = args.proof.display();
            let reason = error.to_string();
            out.result(
                &json!({ "holds": false, "reason": reason }),
                format!("NOT PROVED by {shown}: {reason}"),
            )?;
            return Ok(ExitCode::from(DAMAGED));
        }
    };
    let names: Vec<_> = proved
        .cosigned
        .iter()
        .filter_map(|(place, _)| charter.members().get(*place))
        .map(|member| member.name.to_string())
        .collect();
    let owner = match whose {
        Some(place @ 1..) => charter.members()[place - 1].name.to_string(),
        _ => "the coordinator".to_owned(),
    };
    let size = proof.note.checkpoint().size;
    let numbered = Numbered {
        number: proof.index,
        entry: proved.entry,
    };
    let by = if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(", ")
    };
    out.result(
        &json!({
            "holds": true, "ledger": owner, "entry": proof.index, "entries": size,
            "cosigned": names, "says": numbered.entry,
        }),
        format!(
            "proved: entry {} of {size} in the ledger of {owner}, cosigned by {by}\n{} UTC  {}  {}  {}  {}\n{}",
            proof.index,
            numbered.time(),
            numbered.text("actor"),
            numbered.text("action"),
            numbered.text("object"),
            numbered.text("outcome"),
            numbered.evidence()
        ),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let read = || -> anyhow::Result<String> {
        let length = std::fs::metadata(path)?.len();
        if length > MAX_PROOF_BYTES as u64 {
            bail!("it is too long for a proof");
        }
        Ok(std::fs::read_to_string(path)?)
    };
    read().with_context(|| path.display().to_string())
}

fn export(args: &Export) -> anyhow::Result<ExitCode> {
    let folder = trust::ledger(&args.ledger)?;
    let note = folder.checkpoint()?;
    let title = format!(
        "Ledger {}, {} entries",
        note.checkpoint().origin,
        note.checkpoint().size
    );
    let written = match &args.out {
        Some(path) => {
            let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
            write_all(&folder, args, &title, BufWriter::new(file))
        }
        None => write_all(
            &folder,
            args,
            &title,
            BufWriter::new(std::io::stdout().lock()),
        ),
    };
    match written {
        // The reader went away (`| head`).
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|it| it.kind() == std::io::ErrorKind::BrokenPipe)
}

fn write_all(folder: &Folder, args: &Export, title: &str, out: impl Write) -> anyhow::Result<()> {
    let mut exporter = Exporter::begin(args.format, title, out)?;
    select::each(folder, &args.filter, |numbered| exporter.write(&numbered))??;
    exporter.end()?;
    Ok(())
}
