//! `collegium simulate`: a task's search in this process, over tables in files.
//!
//! For research: nothing is encrypted and nobody votes, but every site answers the same asks with
//! the same integers, so the champion is the one that the daemons reach, byte for byte. What the
//! encrypted path would send is worked out from the same packing plans and reported.

mod rounds;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use collegium_automl::ask::{self, Ask, Totals};
use collegium_automl::federation::{Federation, FederationError, FileJournal, Journaled};
use collegium_automl::noise::honest_shares;
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::search::{self, Leaderboard, Outcome, Progress, Round};
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;
use collegium_automl::{local, simulate};
use collegium_crypto::encode::{Packing, Segment, Shape};
use collegium_crypto::params::{ParamSet, Thresholds};
use collegium_protocol::limits::sealed_shares_bytes;
use serde_json::{Value, json};

use crate::board::Board;
use crate::demo::{report, round as decimals};
use crate::output::Output;

/// What to simulate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task file (TOML).
    task: PathBuf,
    /// The sites: a name and a CSV file each, in roster order.
    #[arg(value_name = "NAME=FILE", required = true)]
    sites: Vec<String>,
    /// Directory with the sites' column maps, `NAME.toml` each; a site without one is taken as it
    /// is.
    #[arg(long = "sites", value_name = "DIR")]
    maps: Option<PathBuf>,
    /// Seed of splits and search, instead of the task's.
    #[arg(long)]
    seed: Option<u64>,
    /// Skip what each site could have had alone: one more search per site.
    #[arg(long)]
    no_alone: bool,
    /// Directory for `champion.json`, `memory.json`, `result.json`, `leaderboard.csv` and
    /// `journal.jsonl` of the last round; made if needed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Rounds, one right after the other, instead of the task's `rounds`; the tables are read
    /// again for each.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Go on after the last round of an earlier simulation, which `--out` wrote to this directory.
    #[arg(long, value_name = "DIR")]
    after: Option<PathBuf>,
}

/// Runs the simulation.
///
/// # Errors
/// A file that cannot be read, a table that does not fit the task (with site and column), or a
/// search that finds nothing to learn.
pub(crate) fn run(args: &Args, out: Output) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut task = read_task(&args.task)?;
    if let Some(seed) = args.seed {
        task.seed = seed;
    }
    ensure!(
        task.differential_privacy.is_none() || args.after.is_none() && args.rounds.is_none(),
        "a task with [differential_privacy] has one round; leave out --rounds and --after"
    );
    let mut round = rounds::first(args.after.as_deref(), &task)?;
    let sites = read_sites(&args.sites, args.maps.as_deref())?;
    let names: Vec<String> = sites.iter().map(|(name, _)| name.clone()).collect();
    let mut board = Board::new(out, names.iter().map(String::as_str));
    if let Some(dir) = &args.out {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the directory {}", dir.display()))?;
    }
    let journal = args.out.as_ref().map(|dir| dir.join("journal.jsonl"));
    for _ in 1..args.rounds.or(task.rounds).unwrap_or(1) {
        // Read again each time: the files may have changed, as a site's data do.
        let sites = read_sites(&args.sites, args.maps.as_deref())?;
        let (outcome, _) = search_pooled(&task, &round, sites, None, &mut board)
            .map_err(|error| name_site(error, &names))?;
        rounds::tell(&outcome, out);
        round = Round::after(outcome.memory);
    }
    let sites = match round.number {
        1 => sites,
        _ => read_sites(&args.sites, args.maps.as_deref())?,
    };
    let (outcome, bytes) =
        search_pooled(&task, &round, sites.clone(), journal.as_deref(), &mut board)
            .map_err(|error| name_site(error, &names))?;
    board.finish();
    let seconds = decimals(started.elapsed().as_secs_f64(), 3);
    let champion = outcome.champion.to_bytes()?;
    let alone = if args.no_alone {
        Value::Null
    } else {
        Value::Array(reports(&task, sites, &champion)?)
    };
    let leaderboard = Leaderboard::new(&outcome.leaderboard).with_traffic(bytes, outcome.numbers);
    let mut result = figures(&outcome, &leaderboard);
    let file = args.out.as_ref().map(|dir| dir.join("champion.json"));
    result["champion"]["id"] = json!(ObjectId::of(&champion));
    result["champion"]["file"] = json!(file);
    result["sites_alone"] = alone;
    result["bytes_up_per_site"] = names
        .iter()
        .map(|name| (name.clone(), bytes.map_or(Value::Null, Value::from)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    // Of the search, without what the sites would have had alone.
    result["seconds"] = seconds.into();
    if let Some(dir) = &args.out {
        write(&dir.join("leaderboard.csv"), leaderboard.csv().as_bytes())?;
        write(&dir.join("champion.json"), &champion)?;
        write(&dir.join("memory.json"), &outcome.memory.to_bytes()?)?;
        write(&dir.join("result.json"), format!("{result:#}\n").as_bytes())?;
    }
    out.result(&result, report(&result, &result["leaderboard"]))?;
    Ok(ExitCode::SUCCESS)
}

/// What the search found, without what only the run around it knows.
fn figures(outcome: &Outcome, leaderboard: &Leaderboard) -> Value {
    json!({
        "champion": {
            "family": outcome.champion.family(),
            "models": outcome.champion.models(),
            "calibrated": outcome.champion.calibration.is_some(),
            "threshold": outcome.champion.threshold,
            "description": outcome.description(),
        },
        "test": outcome.test,
        "round": rounds::value(outcome),
        "metric": outcome.champion.task.metric.name(),
        "steps": outcome.steps,
        "numbers": outcome.numbers,
        "early": outcome.early.as_ref().map(ToString::to_string),
        "privacy": outcome.privacy,
        // No daemon ran, so nothing was entered.
        "ledger_entries": 0,
        "leaderboard": leaderboard.rows(),
    })
}

/// Reads and checks a task file.
///
/// # Errors
/// The file cannot be read, or what is wrong in which line.
pub(crate) fn read_task(path: &Path) -> anyhow::Result<Task> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the task file {}", path.display()))?;
    Task::from_toml(&text).with_context(|| path.display().to_string())
}

/// Reads a column map.
///
/// # Errors
/// The file cannot be read, or what is wrong in it.
pub(crate) fn read_mapping(path: &Path) -> anyhow::Result<TableMapping> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the column map {}", path.display()))?;
    TableMapping::from_toml(&text).with_context(|| path.display().to_string())
}

fn read_sites(sites: &[String], maps: Option<&Path>) -> anyhow::Result<Vec<(String, Table)>> {
    let mut tables: Vec<(String, Table)> = Vec::with_capacity(sites.len());
    for site in sites {
        let (name, file) = site
            .split_once('=')
            .filter(|(name, file)| !name.is_empty() && !file.is_empty())
            .with_context(|| {
                format!("`{site}` is not NAME=FILE, for example cleveland=data/cleveland.csv")
            })?;
        ensure!(
            !tables.iter().any(|(known, _)| known == name),
            "site `{name}` is named twice"
        );
        let map = maps
            .map(|dir| dir.join(format!("{name}.toml")))
            .filter(|file| file.exists());
        let mapping = map
            .as_deref()
            .map_or_else(|| Ok(TableMapping::default()), read_mapping)?;
        let table =
            Table::open(Path::new(file), &mapping).with_context(|| format!("site {name}"))?;
        tables.push((name.to_owned(), table));
    }
    Ok(tables)
}

/// Runs the search, with a journal where one is wanted; also returns what each site would have
/// sent, or `None` where no secure sum is possible (fewer than three sites).
fn search_pooled(
    task: &Task,
    round: &Round,
    sites: Vec<(String, Table)>,
    journal: Option<&Path>,
    board: &mut Board,
) -> Result<(Outcome, Option<u64>), search::SearchError> {
    let bytes = Rc::new(Cell::new(Some(0)));
    let shares = shares(sites.len());
    let mut pooled = Weighed {
        inner: simulate::federation_with(task, sites, shares)?,
        bytes: Rc::clone(&bytes),
        began: Instant::now(),
        budget: task.time_budget.map(Duration::from_secs),
    };
    let mut observer = |progress: &Progress| board.search(progress, bytes.get());
    let outcome = match journal {
        None => search::round(task, round, &mut pooled, &mut observer)?,
        Some(path) => {
            // An earlier simulation's journal is of no use: this one runs every step itself.
            let _ = std::fs::remove_file(path);
            let file = FileJournal::open(path).map_err(FederationError::from)?;
            let mut journaled = Journaled::new(pooled, file);
            search::round(task, round, &mut journaled, &mut observer)?
        }
    };
    Ok((outcome, bytes.get()))
}

/// The shares of noise that daemons of so many members could count on; one where there is no
/// secure sum.
fn shares(members: usize) -> u16 {
    Thresholds::for_members(members).map_or(1, |thresholds| {
        honest_shares(thresholds.min_contributors, members)
    })
}

/// Counts the bytes that the encrypted path would send, per site, and the time.
struct Weighed<F> {
    inner: F,
    bytes: Rc<Cell<Option<u64>>>,
    began: Instant,
    budget: Option<Duration>,
}

impl<F: Federation> Federation for Weighed<F> {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        self.inner.publish(object)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        let more = upload_bytes(&ask.segments(), self.members());
        self.bytes
            .set(self.bytes.get().zip(more).map(|(sum, more)| sum + more));
        self.inner.sum(ask)
    }

    fn members(&self) -> usize {
        self.inner.members()
    }

    fn honest_shares(&self) -> u16 {
        self.inner.honest_shares()
    }

    fn time_is_up(&mut self, _steps: u32) -> Result<bool, FederationError> {
        Ok(self
            .budget
            .is_some_and(|budget| self.began.elapsed() >= budget))
    }
}

/// Bytes of one site's upload for an answer of these segments: body and sealed shares. `None` where
/// there is no secure sum over so few or so many members.
pub(crate) fn upload_bytes(segments: &[ask::Segment], members: usize) -> Option<u64> {
    let shape = segments
        .iter()
        .map(|it| Segment {
            max: it.max_code(),
            count: it.count(),
        })
        .collect();
    let packing = Packing::plan(&Shape(shape), members, ParamSet::current()).ok()?;
    let thresholds = Thresholds::for_members(members).ok()?;
    Some((packing.body_len() + sealed_shares_bytes(&thresholds)) as u64)
}

/// What each site could have had alone, on its own test rows and on everybody's.
fn reports(
    task: &Task,
    sites: Vec<(String, Table)>,
    champion: &[u8],
) -> anyhow::Result<Vec<Value>> {
    let tables: Vec<Table> = sites.iter().map(|(_, table)| table.clone()).collect();
    sites
        .into_iter()
        .map(|(name, table)| {
            let (report, alone) = local::local_champion(task, table, champion)
                .with_context(|| format!("the report of site {name}"))?;
            let everywhere = alone
                .map(|alone| local::test_figures(task, tables.clone(), &alone))
                .transpose()
                .with_context(|| format!("the champion of site {name} on all test rows"))?;
            let mut value = json!({ "site": name, "alone_everywhere": everywhere });
            if let (Value::Object(own), Value::Object(fields)) =
                (&mut value, serde_json::to_value(report)?)
            {
                own.extend(fields);
            }
            Ok(value)
        })
        .collect()
}

/// Sites are numbers to the search; people know their names.
fn name_site(error: search::SearchError, names: &[String]) -> anyhow::Error {
    let site = match &error {
        search::SearchError::Federation(FederationError::Site { member, .. }) => {
            names.get(usize::from(*member).wrapping_sub(1)).cloned()
        }
        _ => None,
    };
    match site {
        Some(name) => anyhow::Error::new(error).context(format!("site {name}")),
        None => error.into(),
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("part");
    std::fs::write(&draft, bytes)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
