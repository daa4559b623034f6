//! What every configuration of a pool reaches on one table: the measuring half of the study behind
//! the portfolio (`docs/portfolio.md`; `benches/accuracy/portfolio.py` draws pools and judges).
//!
//!     cargo build --workspace --example study
//!     target/debug/examples/study FOLDER POOL JOURNAL ROWS FAMILY...
//!
//! FOLDER holds `task.toml` and `train.csv` as `benches/accuracy/prepare.py` writes them. One pooled
//! site with at most ROWS of the rows, evenly spaced, trains the families' candidates and the pool's
//! configurations one by one over the preset's steps, without rungs: each ends when it has finished
//! or gains no more. JOURNAL gets a line for each; those that it has already are passed over, so that
//! an interrupted study goes on where it stopped.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use collegium_automl::ask::{Part, Stage};
use collegium_automl::family::portfolio::Portfolio;
use collegium_automl::family::{Family, Head, Offer, Proposal, Setting, Trainer, find};
use collegium_automl::features::{self, NamedPipeline};
use collegium_automl::federation::FederationError;
use collegium_automl::metric::LossSums;
use collegium_automl::object::Object;
use collegium_automl::profile::{self, Profile};
use collegium_automl::random::derive;
use collegium_automl::search::{Budget, Conductor, Silent};
use collegium_automl::simulate;
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, pool, journal, rows, families @ ..] = args.as_slice() else {
        return Err("usage: study FOLDER POOL JOURNAL ROWS FAMILY...".into());
    };
    let pool = Portfolio::read(&std::fs::read_to_string(pool)?)?;
    let ground = Ground::new(Path::new(folder), rows.parse()?)?;
    let mut journal = Journal::open(Path::new(journal))?;
    let offer = ground.offer();
    for name in families {
        let family = find(name).ok_or_else(|| format!("no family is called `{name}`"))?;
        let candidates = family.candidates(&offer).into_iter().enumerate();
        let drawn = pool.proposals(name, &offer).into_iter();
        let candidates = candidates.map(|one| ("candidates", one));
        for (of, (place, proposal)) in candidates.chain(drawn.map(|one| ("pool", one))) {
            let key = json!({
                "set": ground.task.name, "family": name, "of": of, "place": place,
            });
            if !journal.has(&key) {
                journal.add(key, ground.measure(family, &proposal)?)?;
            }
        }
    }
    Ok(())
}

/// A table, and what candidates are made for.
struct Ground {
    task: Task,
    table: Table,
    profile: Profile,
    pipelines: Vec<NamedPipeline>,
}

impl Ground {
    fn new(folder: &Path, rows: usize) -> Result<Self, Box<dyn Error>> {
        let task = Task::from_toml(&std::fs::read_to_string(folder.join("task.toml"))?)?;
        let table = Table::open(&folder.join("train.csv"), &TableMapping::default())?;
        let table = table.thinned(rows);
        let mut federation = simulate::federation(&task, one_site(&table))?;
        let mut observer = Silent;
        let mut conductor = Conductor::new(&task, &mut federation, &mut observer);
        let profile = profile::run(&task, &mut conductor)?;
        let pipelines = features::pipelines(&task, &profile);
        Ok(Self {
            task,
            table,
            profile,
            pipelines,
        })
    }

    fn offer(&self) -> Offer<'_> {
        Offer {
            task: &self.task,
            profile: &self.profile,
            pipelines: &self.pipelines,
            head: Head::of(&self.profile.target),
        }
    }

    /// Validation loss, steps and seconds of one configuration.
    fn measure(&self, family: &dyn Family, proposal: &Proposal) -> Result<Value, Box<dyn Error>> {
        let started = Instant::now();
        // Of its own, so that no objects of the others are kept.
        let mut federation = simulate::federation(&self.task, one_site(&self.table))?;
        let mut observer = Silent;
        let mut conductor = Conductor::new(&self.task, &mut federation, &mut observer);
        let named = &self.pipelines[proposal.pipeline];
        let described = proposal.hyperparameters.to_string();
        let setting = Setting {
            id: derive(
                "collegium automl study v1",
                &[family.name().as_bytes(), described.as_bytes()],
            ),
            pipeline: conductor.publish(Object::Pipeline(named.pipeline.clone()))?,
            features: Arc::new(named.pipeline.clone()),
            head: Head::of(&self.profile.target),
            folds: named.pipeline.folds(),
            width: named.pipeline.width(),
            rows: self.profile.train_rows,
            members: 1,
        };
        let mut trainer = family.trainer(&proposal.hyperparameters, &setting)?;
        let budget = Budget::new(self.task.preset, None);
        let most = budget.rungs.last().copied().unwrap_or(0);
        let (losses, steps) = train(trainer.as_mut(), most, &mut conductor)?;
        let loss = losses.map(|losses| losses.mean());
        Ok(json!({
            "loss": loss.filter(|loss| loss.is_finite()),
            "steps": steps,
            "seconds": (started.elapsed().as_secs_f64() * 100.0).round() / 100.0,
            "rows": self.profile.train_rows,
            "features": named.name,
            "name": proposal.name,
        }))
    }
}

fn one_site(table: &Table) -> Vec<(String, Table)> {
    vec![("one".to_owned(), table.clone())]
}

/// Trains as a race does that drops nobody: what it has to show at the end, and the steps it took.
fn train(
    trainer: &mut dyn Trainer,
    most: u32,
    conductor: &mut Conductor<'_>,
) -> Result<(Option<LossSums>, u32), FederationError> {
    let mut shown: Option<LossSums> = None;
    let (mut steps, mut gained) = (0, 0);
    while steps < most && steps - gained <= trainer.patience() && !trainer.finished() {
        let (part, objects) = trainer.ask();
        for object in objects {
            conductor.publish(object)?;
        }
        let totals = conductor.sum(Stage::Race, vec![Part::Train(part)])?;
        if let Some(losses) = trainer.learn(&totals.part(0)) {
            let better = |old: &LossSums| trainer.supersedes(&losses, old);
            if shown.as_ref().is_none_or(better) {
                shown = Some(losses);
                gained = steps;
            }
        }
        steps += 1;
    }
    Ok((shown, steps))
}

/// What is measured already, and the file that gets more.
struct Journal {
    known: Vec<Value>,
    file: File,
}

impl Journal {
    fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let mut known = Vec::new();
        for line in BufReader::new(&file).lines() {
            known.push(serde_json::from_str(&line?)?);
        }
        Ok(Self { known, file })
    }

    /// Whether a line says all that the key says.
    fn has(&self, key: &Value) -> bool {
        let same = |line: &Value| {
            ["set", "family", "of", "place"]
                .iter()
                .all(|field| line[field] == key[field])
        };
        self.known.iter().any(same)
    }

    fn add(&mut self, mut line: Value, measured: Value) -> Result<(), Box<dyn Error>> {
        if let (Some(line), Value::Object(measured)) = (line.as_object_mut(), measured) {
            line.extend(measured);
        }
        writeln!(self.file, "{line}")?;
        Ok(self.file.flush()?)
    }
}
