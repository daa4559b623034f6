//! Boosted trees in whole rounds: the same model however rows are spread, from
//! sites that remember nothing, and asks that sites refuse.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use collegium_automl::ask::{Ask, Totals};
use collegium_automl::federation::{Federation, FederationError};
use collegium_automl::metric::Metrics;
use collegium_automl::model::Champion;
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::random::Stream;
use collegium_automl::search::{self, Outcome, Silent};
use collegium_automl::simulate;
use collegium_automl::site::{Site, SiteError, TableSite};
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;

const COLUMNS: &str = "age,dose,ward,score,sick,grade,cost";

/// Patients: `sick` depends on age, on the dose where it is known, and on the
/// ward; `grade` and `cost` follow the same rule.
fn patients(n: usize) -> Vec<Patient> {
    let mut stream = Stream::new("collegium/test/v1", &[b"patients"]);
    let wards = ["red", "green", "blue", "white", "black", "grey"];
    let draw = |_| {
        let age = 20 + stream.below(60);
        let dose = (stream.below(5) > 0).then(|| stream.unit() * 4.0);
        let ward = stream.below(wards.len());
        let score = stream.normal();
        let risk = (age as f64 - 50.0) / 12.0
            + dose.map_or(0.8, |dose| {
                if ward.is_multiple_of(2) {
                    dose - 2.0
                } else {
                    2.0 - dose
                }
            })
            + 0.5 * stream.normal();
        let grade = (risk + 2.0).clamp(0.0, 3.0) as u8;
        let dose = dose.map_or_else(String::new, |dose| format!("{dose:.3}"));
        Patient {
            ward,
            sick: risk > 0.0,
            line: format!(
                "{age},{dose},{},{score:.3},{},{grade},{:.3}",
                wards[ward],
                u8::from(risk > 0.0),
                100.0 + 10.0 * risk
            ),
        }
    };
    (0..n).map(draw).collect()
}

struct Patient {
    ward: usize,
    sick: bool,
    line: String,
}

/// One table for each site.
fn spread(
    patients: &[Patient],
    sites: usize,
    site: impl Fn(usize, &Patient) -> usize,
) -> Vec<(String, Table)> {
    let mut csvs = vec![format!("{COLUMNS}\n"); sites];
    for (at, patient) in patients.iter().enumerate() {
        let csv = &mut csvs[site(at, patient) % sites];
        let _ = writeln!(csv, "{}", patient.line);
    }
    let table = |(at, csv): (usize, String)| {
        let name = format!("site {at}");
        let table = Table::read(&name, csv.as_bytes(), &TableMapping::default());
        (name, table.expect("a table"))
    };
    csvs.into_iter().enumerate().map(table).collect()
}

fn task(target: &str, steps: u32) -> Task {
    let others: String = ["sick", "grade", "cost"]
        .iter()
        .filter(|column| **column != target)
        .map(|column| format!("{column} = {{ type = \"ignore\" }}\n"))
        .collect();
    let kind = if target == "cost" {
        "regression"
    } else {
        "classification"
    };
    let text = format!(
        "name = \"patients\"\ntarget = \"{target}\"\nkind = \"{kind}\"\nseed = 3\npreset = \"fast\"\n\
         max_steps = {steps}\n[constraints]\nallowed_models = [\"gbdt\"]\n[columns]\n{others}"
    );
    Task::from_toml(&text).expect("a valid task")
}

fn run(task: &Task, sites: Vec<(String, Table)>) -> Outcome {
    simulate::run(task, sites, &mut Silent).expect("a champion")
}

fn model(outcome: &Outcome) -> ObjectId {
    outcome.champion.model.id().expect("bytes")
}

#[test]
fn the_federated_model_is_the_pooled_one_to_the_last_bit() {
    let patients = patients(900);
    for target in ["sick", "grade", "cost"] {
        let task = task(target, 30);
        let pooled = run(&task, spread(&patients, 1, |_, _| 0));
        let spreads = [
            spread(&patients, 2, |at, _| at),
            // One class a site, and a site with two patients.
            spread(&patients, 3, |at, patient| {
                if at < 2 { 2 } else { usize::from(patient.sick) }
            }),
            spread(&patients, 5, |_, patient| patient.ward),
        ];
        for sites in spreads {
            let count = sites.len();
            let federated = run(&task, sites);
            assert_eq!(
                model(&federated),
                model(&pooled),
                "{target} over {count} sites"
            );
            assert_eq!(federated.champion.validation, pooled.champion.validation);
            assert_eq!(federated.test, pooled.test);
        }
    }
}

#[test]
fn it_learns_and_predicts_from_the_file() {
    let patients = patients(1500);
    let auc = |metrics: &Metrics| metrics.auc.expect("an AUC");
    let outcome = run(&task("sick", 70), spread(&patients, 4, |at, _| at));
    assert!(auc(&outcome.test) > 0.93, "{}", auc(&outcome.test));
    let bytes = outcome.champion.to_bytes().expect("bytes");
    let read = Champion::from_bytes(&bytes).expect("a champion");
    let (_, table) = spread(&patients, 1, |_, _| 0).remove(0);
    let scores = read.scores(&table).expect("scores");
    assert_eq!(scores, outcome.champion.scores(&table).expect("scores"));
    let right = scores
        .iter()
        .zip(&patients)
        .filter(|(scores, patient)| (scores[1] > 0.5) == patient.sick)
        .count();
    assert!(right * 10 > scores.len() * 8, "{right}");
    let text = String::from_utf8(bytes).expect("JSON");
    for told in ["cover", "hessian\":[", "gradient"] {
        assert!(!text.contains(told), "the file says {told}");
    }
}

/// Sites that are set up anew before every answer.
struct Forgetful {
    task: Task,
    tables: Vec<Table>,
    objects: BTreeMap<ObjectId, Vec<u8>>,
    refused: u32,
}

impl Forgetful {
    fn site(&self, at: usize) -> TableSite {
        TableSite::new(&self.task, self.tables[at].clone()).expect("a site")
    }

    fn fetch(&self, site: &mut TableSite, ask: &Ask) {
        for id in site.missing(ask) {
            let bytes = self.objects.get(&id).expect("a published object");
            site.insert(bytes).expect("an object");
        }
    }

    /// Asks that a site has to refuse: nodes that no tree has, a model where a
    /// stage belongs, more bins than there are.
    fn provoke(&mut self, ask: &Ask) {
        let json: serde_json::Value =
            serde_json::from_slice(&ask.to_bytes().expect("bytes")).expect("JSON");
        let Some(part) = json["parts"][0].get("gbdt") else {
            return;
        };
        let growing = part["growing"].clone();
        let mut changes: Vec<(&str, serde_json::Value)> =
            vec![("bins", serde_json::json!([9, 9, 9, 9]))];
        if growing.is_string() {
            let mut asked = part["asked"].clone();
            asked[0] = serde_json::json!([510]);
            changes.push(("asked", asked));
            changes.push(("stages", serde_json::json!([part["frame"]["pipeline"]])));
        }
        for (key, value) in changes {
            let mut changed = json.clone();
            changed["parts"][0]["gbdt"][key] = value;
            let bytes = serde_json::to_vec(&changed).expect("bytes");
            let refused = match Ask::from_bytes(&bytes, usize::MAX) {
                Err(_) => true,
                Ok(bad) => {
                    let mut site = self.site(0);
                    self.fetch(&mut site, ask);
                    site.answer(&bad).is_err()
                }
            };
            assert!(refused, "{key}");
            self.refused += 1;
        }
    }
}

impl Federation for &mut Forgetful {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        let bytes = object.to_bytes()?;
        let id = ObjectId::of(&bytes);
        self.objects.insert(id, bytes);
        Ok(id)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        self.provoke(ask);
        let mut sums = vec![0_u64; ask.numbers()];
        for at in 0..self.tables.len() {
            let mut site = self.site(at);
            self.fetch(&mut site, ask);
            let answer = site
                .answer(ask)
                .map_err(|source: SiteError| FederationError::Site {
                    member: at as u16 + 1,
                    source,
                })?;
            for (sum, code) in sums.iter_mut().zip(&answer.codes) {
                *sum += code;
            }
        }
        Ok(Totals {
            sums,
            contributors: (1..=self.tables.len() as u16).collect(),
        })
    }

    fn time_is_up(&mut self, _steps: u32) -> Result<bool, FederationError> {
        Ok(false)
    }

    fn members(&self) -> usize {
        self.tables.len()
    }
}

#[test]
fn sites_that_remember_nothing_give_the_same_champion() {
    let patients = patients(500);
    let task = task("sick", 24);
    let sites = spread(&patients, 2, |at, _| at);
    let expected = run(&task, sites.clone());
    let mut forgetful = Forgetful {
        task: task.clone(),
        tables: sites.into_iter().map(|(_, table)| table).collect(),
        objects: BTreeMap::new(),
        refused: 0,
    };
    let outcome = search::run(&task, &mut &mut forgetful, &mut Silent).expect("a champion");
    assert_eq!(
        outcome.champion.id().expect("bytes"),
        expected.champion.id().expect("bytes")
    );
    assert!(forgetful.refused > 20, "{}", forgetful.refused);
}
