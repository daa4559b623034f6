//! How fast one site answers the asks of boosted trees, on one core:
//! `cargo bench --profile dev --workspace --bench gbdt`.
//!
//! *Histograms*: a site's answer to the first level of a stage, everything
//! included but the reading of the table, in (row x feature) updates a second.
//! *Boosting*: 100 stages of depth 6 at one site with 100 000 rows and 30
//! columns, the coordinator's side included.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use collegium_automl::ask::{Ask, Part, Stage};
use collegium_automl::family::gbdt::{GbdtHyperparameters, GbdtTrainer};
use collegium_automl::family::{Head, Setting, Trainer};
use collegium_automl::features::{self, Pipeline};
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::profile;
use collegium_automl::random::Stream;
use collegium_automl::search::{Conductor, Silent};
use collegium_automl::simulate;
use collegium_automl::site::{Site, TableSite};
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 100_000;
const COLUMNS: usize = 30;

fn table() -> Table {
    let mut stream = Stream::new("collegium/bench/v1", &[b"gbdt"]);
    let mut csv: String = (0..COLUMNS).map(|column| format!("x{column},")).collect();
    csv.push_str("y\n");
    for _ in 0..ROWS {
        let mut score = 0.0;
        for column in 0..COLUMNS {
            let value = stream.normal();
            score += value * f64::from(u8::from(column < 8)) * 0.4;
            let _ = write!(csv, "{value:.4},");
        }
        let _ = writeln!(csv, "{}", u8::from(score + stream.normal() > 0.0));
    }
    Table::read("bench", csv.as_bytes(), &TableMapping::default()).expect("a table")
}

fn task() -> Task {
    Task::from_toml("name = \"bench\"\ntarget = \"y\"\nseed = 1\n").expect("a task")
}

/// The profile's pipeline of bins, and the training rows.
fn pipeline(task: &Task, table: &Table) -> (Pipeline, u64) {
    let sites = vec![("bench".to_owned(), table.clone())];
    let mut federation = simulate::federation(task, sites).expect("a federation");
    let mut observer = Silent;
    let mut conductor = Conductor::new(task, &mut federation, &mut observer);
    let profile = profile::run(task, &mut conductor).expect("a profile");
    let named = features::pipelines(task, &profile)
        .into_iter()
        .find(|named| named.pipeline.binned())
        .expect("a pipeline of bins");
    (named.pipeline, profile.train_rows)
}

/// One site and a trainer that asks it.
struct Bench {
    task: ObjectId,
    site: TableSite,
    trainer: GbdtTrainer,
    rows: u64,
    sequence: u32,
}

impl Bench {
    fn new(table: &Table, hyperparameters: GbdtHyperparameters) -> Self {
        let task = task();
        let (pipeline, rows) = pipeline(&task, table);
        let object = Object::Pipeline(pipeline.clone());
        let bytes = object.to_bytes().expect("bytes");
        let setting = Setting {
            id: ObjectId::of(b"bench"),
            pipeline: ObjectId::of(&bytes),
            head: Head::of(pipeline.target()),
            folds: pipeline.folds(),
            width: pipeline.width(),
            features: pipeline.into(),
            rows,
            members: 1,
        };
        let mut site = TableSite::new(&task, table.clone()).expect("a site");
        site.insert(&bytes).expect("the pipeline");
        Self {
            task: task.digest(),
            site,
            trainer: GbdtTrainer::new(hyperparameters, &setting).expect("a trainer"),
            rows,
            sequence: 0,
        }
    }

    fn ask(&mut self) -> Ask {
        let (part, objects) = self.trainer.ask();
        for object in objects {
            let bytes = object.to_bytes().expect("bytes");
            self.site.insert(&bytes).expect("an object");
        }
        self.sequence += 1;
        Ask {
            sequence: self.sequence,
            stage: Stage::Race,
            task: self.task,
            parts: vec![Part::Train(part)],
        }
    }

    fn step(&mut self) {
        let ask = self.ask();
        let answer = self.site.answer(&ask).expect("an answer");
        let totals = collegium_automl::ask::Totals {
            sums: answer.codes,
            contributors: vec![1],
        };
        self.trainer.learn(&totals.part(&ask, 0));
    }
}

fn histograms(criterion: &mut Criterion) {
    let table = table();
    let mut bench = Bench::new(&table, GbdtHyperparameters::new(0.1, 6));
    let ask = bench.ask();
    // The model of the training rows, and the refit of all of them.
    let Bench { mut site, rows, .. } = bench;
    let train = rows as f64 * (70.0 / 85.0) + rows as f64;
    let updates = (train * COLUMNS as f64) as u64;
    let started = Instant::now();
    let mut best = Duration::MAX;
    while started.elapsed() < Duration::from_secs(2) {
        let pass = Instant::now();
        black_box(site.answer(&ask).expect("an answer"));
        best = best.min(pass.elapsed());
    }
    println!(
        "histograms: best pass {:.1} ms, {:.0} million updates/s",
        best.as_secs_f64() * 1e3,
        updates as f64 / best.as_secs_f64() / 1e6
    );
    let mut group = criterion.benchmark_group("gbdt");
    group.throughput(Throughput::Elements(updates));
    group.bench_function("histograms", |bencher| {
        bencher.iter(|| black_box(site.answer(&ask).expect("an answer")));
    });
    group.finish();
}

fn boosting(_criterion: &mut Criterion) {
    let table = table();
    let mut bench = Bench::new(&table, GbdtHyperparameters::new(0.1, 6));
    let started = Instant::now();
    for _ in 0..600 {
        bench.step();
    }
    println!(
        "boosting: 100 stages of depth 6, two models, {} rows x {COLUMNS} columns: {:.2} s",
        bench.rows,
        started.elapsed().as_secs_f64()
    );
}

criterion_group!(benches, histograms, boosting);
criterion_main!(benches);
