//! Asks, objects and champions of a short search over the hospitals' tables, and the files that
//! people write.

use std::collections::BTreeMap;
use std::path::Path;

use collegium_automl::ask::{Ask, Part, Stage, Totals};
use collegium_automl::family::Head;
use collegium_automl::federation::{Federation, FederationError, Pooled};
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::search::{self, Outcome, Round, Silent};
use collegium_automl::simulate;
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;
use collegium_automl::trial::{Trial, TrialPart};
use serde_json::json;

use super::{Inputs, numbered, sample};

const SITES: [&str; 4] = ["cleveland", "hungarian", "switzerland", "va"];

/// Longest input of a search that is kept, and how many of each kind.
const LONGEST: usize = 12 << 10;
const MOST: usize = 6;

/// Passes everything on and keeps what went by: the first of each length class.
struct Recorder {
    inner: Pooled,
    asks: BTreeMap<usize, Vec<u8>>,
    /// Asks after the race: few, each of another kind.
    last_asks: Vec<Vec<u8>>,
    objects: BTreeMap<usize, Vec<u8>>,
}

fn keep(kept: &mut BTreeMap<usize, Vec<u8>>, bytes: Vec<u8>) {
    if bytes.len() <= LONGEST && kept.len() < MOST {
        kept.entry(bytes.len() / 200).or_insert(bytes);
    }
}

impl Federation for Recorder {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        keep(&mut self.objects, object.to_bytes()?);
        self.inner.publish(object)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        if ask.stage > Stage::Race {
            self.last_asks.push(ask.to_bytes()?);
        } else {
            keep(&mut self.asks, ask.to_bytes()?);
        }
        self.inner.sum(ask)
    }

    fn members(&self) -> usize {
        self.inner.members()
    }

    fn time_is_up(&mut self, steps: u32) -> Result<bool, FederationError> {
        self.inner.time_is_up(steps)
    }
}

fn text(path: &str) -> String {
    String::from_utf8(sample(path).1).expect("text")
}

fn table(site: &str) -> Table {
    let map = text(&format!("examples/hospitals/sites/{site}.toml"));
    let map = TableMapping::from_toml(&map).expect("a column map");
    let file = format!("examples/hospitals/data/{site}.csv");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    Table::open(&file, &map).expect("a table")
}

pub fn inputs() -> Vec<(&'static str, Inputs)> {
    let mut task = Task::from_toml(&text("examples/hospitals/task.toml")).expect("a task");
    task.max_steps = Some(12);
    let sites = SITES.iter().map(|site| ((*site).to_owned(), table(site)));
    let mut recorder = Recorder {
        inner: simulate::federation(&task, sites.collect()).expect("sites"),
        asks: BTreeMap::new(),
        last_asks: Vec::new(),
        objects: BTreeMap::new(),
    };
    let outcome = search::run(&task, &mut recorder, &mut Silent).expect("a champion");
    let compared = compared(&task, &outcome);
    let champion = outcome.champion.to_bytes().expect("bytes");
    let mut objects: Vec<_> = recorder.objects.into_values().collect();
    objects.push(champion);
    let mut tasks = vec![sample("examples/hospitals/task.toml")];
    tasks.push(("canonical.json".to_owned(), task.to_bytes()));
    let maps = SITES
        .iter()
        .map(|site| sample(&format!("examples/hospitals/sites/{site}.toml")));
    let asks = recorder.asks.into_values();
    vec![
        (
            "ask",
            numbered(
                asks.chain(recorder.last_asks)
                    .chain(compared)
                    .chain([trial(&task)]),
            ),
        ),
        ("object", numbered(objects)),
        ("task", tasks),
        ("column_map", maps.collect()),
        ("table", tables()),
    ]
}

/// The ask of a second round that compares its best with the champion of the first.
fn compared(task: &Task, first: &Outcome) -> Option<Vec<u8>> {
    let sites = SITES.iter().map(|site| ((*site).to_owned(), table(site)));
    let mut recorder = Recorder {
        inner: simulate::federation(task, sites.collect()).expect("sites"),
        asks: BTreeMap::new(),
        last_asks: Vec::new(),
        objects: BTreeMap::new(),
    };
    let round = Round::after(first.memory.clone());
    search::round(task, &round, &mut recorder, &mut Silent).expect("a champion");
    let stage = |bytes: &Vec<u8>| Ask::from_bytes(bytes, bytes.len()).expect("an ask").stage;
    let mut asks = recorder.last_asks.into_iter();
    asks.find(|bytes| stage(bytes) == Stage::Compare)
}

/// An ask of a local search.
fn trial(task: &Task) -> Vec<u8> {
    let trial = |family: &str, hyperparameters| Trial {
        family: family.to_owned(),
        pipeline: ObjectId::of(b"pipeline"),
        hyperparameters,
    };
    let part = TrialPart {
        candidates: vec![
            trial("logistic", json!({ "ridge": 0.5 })),
            trial("gbdt", json!({ "learning_rate": 0.3, "max_depth": 4 })),
        ],
        head: Head::Binary,
        rows: 740,
        sample: 512,
        steps: 40,
        work: 1 << 30,
    };
    let ask = Ask {
        sequence: 5,
        stage: Stage::LocalSearch,
        task: task.digest(),
        parts: vec![Part::Trial(part)],
    };
    ask.to_bytes().expect("bytes")
}

fn tables() -> Inputs {
    let cleveland = text("examples/hospitals/data/cleveland.csv");
    let lines: Vec<_> = cleveland.lines().take(12).collect();
    numbered([
        lines.join("\n").into_bytes(),
        b"\xef\xbb\xbfa;b;c\r\n1;\"x;y\";?\r\n2;\"say \"\"no\"\"\";-3e5\r\n".to_vec(),
        "id|医院|date\n1|中心|2024-02-29\n".as_bytes().to_vec(),
        b"a,b\n1,2,3\n".to_vec(),
        b"a,a\n\"open".to_vec(),
    ])
}
