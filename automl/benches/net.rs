//! A site's answer to a network's training step, beside a bare `burn` loop over the same shapes:
//! batches and dropout masks ready on the device, forward, backward, AdamW, and nothing else.
//!
//! `cargo bench --profile dev --workspace --bench net` (reuses the build of `cargo test`).
//! Before Criterion's statistics each case prints the best passes of both and their ratio.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::optim::{AdamW, AdamWConfig, AdamWState, Optimizer};
use burn::tensor::{Device, Tensor, TensorData, activation};
use collegium_automl::ask::{Ask, Part, Stage};
use collegium_automl::family::net::{LocalTraining, NetCandidate, NetTrainer, Server};
use collegium_automl::family::{Head, Setting, Trainer};
use collegium_automl::features::{self, Numbers, Pipeline};
use collegium_automl::federation::Pooled;
use collegium_automl::object::Object;
use collegium_automl::profile;
use collegium_automl::random::Stream;
use collegium_automl::search::{Conductor, Silent};
use collegium_automl::site::{Site, TableSite};
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;
use criterion::{Criterion, criterion_group, criterion_main};

/// What is measured.
struct Case {
    name: &'static str,
    rows: usize,
    columns: usize,
    pieces: bool,
    hidden: &'static [u32],
    batch: u32,
}

/// A hospital's table, a bank's (five folds each), and one of more rows than folds are made for.
const CASES: [Case; 3] = [
    Case {
        name: "500 rows [32]",
        rows: 500,
        columns: 20,
        pieces: false,
        hidden: &[32],
        batch: 32,
    },
    Case {
        name: "5000 rows [128, 64]",
        rows: 5000,
        columns: 20,
        pieces: true,
        hidden: &[128, 64],
        batch: 64,
    },
    Case {
        name: "25000 rows [128, 128]",
        rows: 25_000,
        columns: 20,
        pieces: false,
        hidden: &[128, 128],
        batch: 128,
    },
];

fn table(case: &Case) -> Table {
    let mut random = Stream::new("collegium/bench/net/v1", &[case.name.as_bytes()]);
    let mut csv = String::from("y");
    for column in 0..case.columns {
        let _ = write!(csv, ",x{column}");
    }
    for _ in 0..case.rows {
        let numbers: Vec<f64> = (0..case.columns).map(|_| random.normal()).collect();
        let score = numbers[0] * numbers[1] + numbers[2];
        csv.push_str(if score > 0.0 { "\nyes" } else { "\nno" });
        for number in numbers {
            let _ = write!(csv, ",{number:.5}");
        }
    }
    Table::read(case.name, csv.as_bytes(), &TableMapping::default()).expect("a table")
}

/// A site and an ask for one epoch of training, with all objects at the site.
fn prepared(case: &Case) -> (TableSite, Ask, Setting) {
    let task = Task::from_toml("name = \"bench\"\ntarget = \"y\"\nseed = 1").expect("a task");
    let site = || TableSite::new(&task, table(case)).expect("a site");
    let mut pooled = Pooled::new(vec![Box::new(site())]);
    let mut silent = Silent;
    let profile = profile::run(&task, &mut Conductor::new(&task, &mut pooled, &mut silent));
    let profile = profile.expect("a profile");
    let wanted = |spec: &features::PipelineSpec| match spec.numbers {
        Numbers::Smooth { pieces } => (pieces > 0) == case.pieces,
        _ => false,
    };
    let pipelines = features::pipelines(&task, &profile);
    let named = pipelines.into_iter().find(|named| wanted(&named.spec));
    let features: Arc<Pipeline> = Arc::new(named.expect("a pipeline").pipeline);
    let pipeline = Object::Pipeline((*features).clone());
    let setting = Setting {
        id: pipeline.id().expect("an id"),
        pipeline: pipeline.id().expect("an id"),
        head: Head::Binary,
        folds: features.folds(),
        width: features.width(),
        features,
        rows: profile.train_rows,
        members: 4,
    };
    let candidate = NetCandidate {
        embedding: 0,
        hidden: case.hidden.to_vec(),
        local: LocalTraining {
            epochs: 1,
            share: 1.0,
            batch: case.batch,
            learning_rate: 0.002,
            weight_decay: 0.1,
            dropout: 0.2,
            proximal: 0.0,
        },
        decay: 1.0,
        server: Server::Average {
            learning_rate: 1.0,
            momentum: 0.0,
        },
        averaging: 0.0,
        score_every: 1,
    };
    let trainer = NetTrainer::new(candidate, setting.clone()).expect("within the caps");
    let (part, mut objects) = trainer.ask();
    objects.push(pipeline);
    let mut site = site();
    for object in objects {
        let bytes = object.to_bytes().expect("bytes");
        site.insert(&bytes).expect("an object");
    }
    let ask = Ask {
        sequence: 1,
        stage: Stage::Race,
        task: task.digest(),
        parts: vec![Part::Train(part)],
    };
    (site, ask, setting)
}

type Layer = [(Tensor<3>, Option<AdamWState<3>>); 2];

/// The framework alone.
struct Bare {
    net: Vec<Layer>,
    optimizer: AdamW,
    batches: Vec<[Tensor<3>; 3]>,
    masks: Vec<Tensor<3>>,
}

impl Bare {
    fn new(case: &Case, setting: &Setting) -> Self {
        let device = Device::flex().autodiff();
        let mut random = Stream::new("collegium/bench/net/v1", &[b"bare"]);
        let mut tensor = |dims: [usize; 3], scale: f64| {
            let count = dims.iter().product::<usize>();
            let values: Vec<f32> = (0..count)
                .map(|_| (random.normal() * scale) as f32)
                .collect();
            Tensor::<3>::from_data(TensorData::new(values, dims), &device)
        };
        let folds = usize::from(setting.folds);
        let rows = setting.rows as usize;
        let batches = rows.div_ceil(case.batch as usize);
        let batch = rows / batches;
        let mut inputs = setting.width;
        let mut net = Vec::new();
        for units in case.hidden.iter().chain([&1]) {
            let outputs = *units as usize;
            net.push([
                (tensor([folds, inputs, outputs], 0.1), None),
                (tensor([folds, 1, outputs], 0.1), None),
            ]);
            inputs = outputs;
        }
        let ready = (0..batches).map(|_| {
            [
                tensor([1, batch, setting.width], 1.0),
                tensor([1, batch, 1], 0.0),
                tensor([folds, batch, 1], 0.0).add_scalar(1.0 / batch as f32),
            ]
        });
        let batches = ready.collect();
        let mut mask = |units: &u32| tensor([1, batch, *units as usize], 0.0).add_scalar(1.25);
        Self {
            net,
            optimizer: AdamWConfig::new().with_weight_decay(0.1).build(),
            batches,
            masks: case.hidden.iter().map(&mut mask).collect(),
        }
    }

    fn epoch(&mut self) {
        for [inputs, targets, weights] in &self.batches {
            let leaves: Vec<[Tensor<3>; 2]> = self
                .net
                .iter()
                .map(|layer| [0, 1].map(|at: usize| layer[at].0.clone().autodiff().require_grad()))
                .collect();
            let mut values = inputs.clone();
            for (depth, [weights, biases]) in leaves.iter().enumerate() {
                values = values.matmul(weights.clone()) + biases.clone();
                if let Some(mask) = self.masks.get(depth) {
                    values = activation::silu(values) * mask.clone();
                }
            }
            let against = targets.clone().neg().add_scalar(1.0) * values.clone();
            let losses = against - activation::log_sigmoid(values);
            let mut gradients = (losses * weights.clone()).sum().backward();
            for (layer, leaves) in self.net.iter_mut().zip(leaves) {
                for ((values, state), leaf) in layer.iter_mut().zip(leaves) {
                    let gradient = leaf.grad_remove(&mut gradients).expect("a gradient");
                    let stepped = self
                        .optimizer
                        .step(0.002, leaf.inner(), gradient, state.take());
                    (*values, *state) = stepped;
                }
            }
        }
    }

    fn last(&self) -> f32 {
        let data = self.net[0][0].0.clone().into_data();
        data.as_slice::<f32>().expect("f32 weights")[0]
    }
}

/// The shortest passes of two pieces of work by the wall clock, which other work on the machine
/// disturbs least. They take turns, so that both see the same machine.
fn best(mut one: impl FnMut(), mut other: impl FnMut()) -> [Duration; 2] {
    let started = Instant::now();
    let mut best = [Duration::MAX; 2];
    let timed = |work: &mut dyn FnMut()| {
        let pass = Instant::now();
        work();
        pass.elapsed()
    };
    while started.elapsed() < Duration::from_secs(8) {
        best[0] = best[0].min(timed(&mut one));
        best[1] = best[1].min(timed(&mut other));
    }
    best
}

fn steps(criterion: &mut Criterion) {
    let measured = std::env::args().any(|argument| argument == "--bench");
    for case in CASES {
        // `cargo test --benches` runs this too, without asking for figures.
        if !measured && case.rows > 1000 {
            continue;
        }
        let (mut site, ask, setting) = prepared(&case);
        let mut bare = Bare::new(&case, &setting);
        // Twice: the rows of the pipeline are built with the first answer.
        black_box(site.answer(&ask).expect("an answer"));
        if measured {
            let [answered, alone] = best(
                || {
                    black_box(site.answer(&ask).expect("an answer"));
                },
                || {
                    bare.epoch();
                    black_box(bare.last());
                },
            );
            println!(
                "{}: {} folds, {} features; best pass of a step {answered:?}, of burn alone \
                 {alone:?}: {:.0} %",
                case.name,
                setting.folds,
                setting.width,
                100.0 * alone.as_secs_f64() / answered.as_secs_f64()
            );
        }
        let mut group = criterion.benchmark_group(case.name);
        group.sample_size(10);
        group.bench_function("step", |b| b.iter(|| site.answer(&ask).expect("an answer")));
        group.bench_function("burn alone", |b| {
            b.iter(|| {
                bare.epoch();
                bare.last()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
