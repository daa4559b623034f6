//! What must hold of any round: crashes, the sealed test, budgets, other kinds
//! of targets, and predictions from the file.

mod hospitals;
#[path = "rounds/paths.rs"]
mod paths;

use collegium_automl::ask::{Ask, Part, Stage, Totals};
use collegium_automl::blend::{BlendPart, Member};
use collegium_automl::family::logistic::{self, LogisticModel};
use collegium_automl::family::{AnyObject, Head};
use collegium_automl::federation::{
    Federation, FederationError, FileJournal, Journaled, MemoryJournal, Pooled,
};
use collegium_automl::metric::{Metrics, Rows, ScorePart};
use collegium_automl::model::Champion;
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::random::Stream;
use collegium_automl::search::{self, Early, Outcome, Progress, SearchError, Silent, State};
use collegium_automl::simulate;
use collegium_automl::site::{Site, SiteError, TableSite};
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;

/// A federation that breaks down after a number of live steps, is out of time
/// after another, and remembers what it was asked.
struct Faulty {
    inner: Pooled,
    breaks_after: usize,
    out_of_time_after: u32,
    spoils: u32,
    asked: Vec<(Stage, ObjectId, ObjectId)>,
    last: Option<Ask>,
    published: Vec<Object>,
}

impl Faulty {
    fn new(task: &Task, sites: Vec<(String, Table)>) -> Self {
        Self {
            inner: simulate::federation(task, sites).expect("sites"),
            breaks_after: usize::MAX,
            out_of_time_after: u32::MAX,
            spoils: u32::MAX,
            asked: Vec::new(),
            last: None,
            published: Vec::new(),
        }
    }
}

impl Federation for &mut Faulty {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        self.published.push(object.clone());
        self.inner.publish(object)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        if self.asked.len() >= self.breaks_after {
            return Err(FederationError::Stopped("killed by the test".to_owned()));
        }
        if ask.sequence == self.spoils {
            return Err(FederationError::Spoiled {
                sequence: ask.sequence,
                reason: "noise above the bound".to_owned(),
            });
        }
        let totals = self.inner.sum(ask)?;
        self.last = Some(ask.clone());
        self.asked.push((ask.stage, ask.digest()?, totals.digest()));
        Ok(totals)
    }

    fn members(&self) -> usize {
        self.inner.members()
    }

    fn time_is_up(&mut self, steps: u32) -> Result<bool, FederationError> {
        Ok(steps >= self.out_of_time_after)
    }
}

fn short() -> Task {
    Task {
        max_steps: Some(13),
        ..hospitals::task()
    }
}

fn bytes(outcome: &Outcome) -> Vec<u8> {
    outcome.champion.to_bytes().expect("bytes")
}

#[test]
fn a_round_stopped_at_any_step_goes_on_to_the_same_champion() {
    let task = short();
    let whole = simulate::run(&task, hospitals::hospitals(), &mut Silent).expect("a champion");
    let expected = bytes(&whole);
    let mut journal = MemoryJournal::default();
    // One journal all along: each life dies one step later than the one before.
    for life in 0..whole.steps {
        let mut federation = Faulty::new(&task, hospitals::hospitals());
        federation.breaks_after = 1;
        let mut journaled = Journaled::new(&mut federation, &mut journal);
        let result = search::run(&task, &mut journaled, &mut Silent);
        assert_eq!(
            federation.asked.len(),
            1,
            "life {life} replays all but one step"
        );
        assert_eq!(journal.len(), life as usize + 1);
        match result {
            Ok(outcome) => {
                assert_eq!(life + 1, whole.steps);
                assert_eq!(bytes(&outcome), expected);
            }
            Err(error) => assert!(matches!(
                error,
                SearchError::Federation(FederationError::Stopped(_))
            )),
        }
    }
    // A replay asks nobody.
    let mut federation = Faulty::new(&task, hospitals::hospitals());
    federation.breaks_after = 0;
    let mut journaled = Journaled::new(&mut federation, &mut journal);
    let replayed = search::run(&task, &mut journaled, &mut Silent).expect("a champion");
    assert_eq!(bytes(&replayed), expected);
}

#[test]
fn a_journal_file_survives_a_torn_line_and_refuses_another_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let task = Task {
        max_steps: Some(7),
        ..hospitals::task()
    };
    let run = |task: &Task| {
        let journal = FileJournal::open(&path)?;
        simulate::run_journaled(task, hospitals::hospitals(), journal, &mut Silent).map_err(
            |error| match error {
                SearchError::Federation(FederationError::Journal(error)) => error,
                other => panic!("{other}"),
            },
        )
    };
    let first = bytes(&run(&task).expect("a champion"));
    let whole = std::fs::read(&path).expect("a journal");
    std::fs::write(&path, &whole[..whole.len() - 100]).expect("torn");
    assert_eq!(bytes(&run(&task).expect("a champion")), first);
    assert_eq!(std::fs::read(&path).expect("a journal"), whole);
    let other = Task {
        seed: task.seed + 1,
        ..task
    };
    let error = run(&other).expect_err("another run");
    assert!(error.to_string().contains("start a new run"), "{error}");
    std::fs::write(&path, "{}\n").expect("damaged");
    let error = FileJournal::open(&path).expect_err("damage");
    assert!(error.to_string().contains("line 1"), "{error}");
}

/// Test rows are changed in every column, the target included: nothing before
/// the last ask may notice.
#[test]
fn only_the_last_ask_reads_test_rows() {
    let task = Task {
        max_steps: Some(12),
        ..hospitals::task_with("split = \"fold\"")
    };
    let fold = |row: usize| {
        if row.is_multiple_of(4) {
            "test"
        } else {
            "train"
        }
    };
    let rounds = [false, true].map(|scrambled| {
        let sites = hospitals::NAMES.map(|name| {
            let table = if scrambled {
                hospitals::scrambled(name, "fold", |row| row.is_multiple_of(4))
            } else {
                hospitals::with_column(name, "fold", |row, _| fold(row))
            };
            (name.to_owned(), table)
        });
        let mut federation = Faulty::new(&task, sites.to_vec());
        search::run(&task, &mut &mut federation, &mut Silent).expect("a champion");
        federation.asked
    });
    let [plain, scrambled] = rounds;
    assert_eq!(plain.len(), scrambled.len());
    let (last, before) = plain.split_last().expect("steps");
    assert_eq!(before, &scrambled[..before.len()]);
    assert!(before.iter().all(|(stage, _, _)| *stage != Stage::Test));
    let other = scrambled.last().expect("steps");
    assert_eq!((last.0, last.1), (Stage::Test, other.1));
    assert_ne!(last.2, other.2, "the test step does read them");
}

#[test]
fn a_round_that_runs_out_of_time_ends_with_a_champion_and_replays() {
    let task = Task {
        max_steps: None,
        ..hospitals::task()
    };
    let mut journal = MemoryJournal::default();
    let mut federation = Faulty::new(&task, hospitals::hospitals());
    federation.out_of_time_after = 7;
    let mut journaled = Journaled::new(&mut federation, &mut journal);
    let cut = search::run(&task, &mut journaled, &mut Silent).expect("a champion");
    assert_eq!(cut.steps, 9, "the last scores and the test follow");
    assert_eq!(cut.early, Some(Early::Time));
    assert_eq!(cut.leaderboard[0].state, State::Champion);
    // The replay's clock says nothing; the journal does.
    let mut federation = Faulty::new(&task, hospitals::hospitals());
    federation.breaks_after = 0;
    let mut journaled = Journaled::new(&mut federation, &mut journal);
    let replayed = search::run(&task, &mut journaled, &mut Silent).expect("a champion");
    assert_eq!(bytes(&replayed), bytes(&cut));
}

/// The step is never asked again: two openings of one ask could differ by one member's data.
#[test]
fn a_sum_that_does_not_open_ends_the_race_with_the_best_so_far_and_replays() {
    let task = Task {
        max_steps: None,
        ..hospitals::task()
    };
    let mut journal = MemoryJournal::default();
    let mut federation = Faulty::new(&task, hospitals::hospitals());
    federation.spoils = 8;
    let mut journaled = Journaled::new(&mut federation, &mut journal);
    let cut = search::run(&task, &mut journaled, &mut Silent).expect("a champion");
    assert_eq!(cut.steps, 10, "the last scores and the test follow");
    assert!(matches!(
        cut.early,
        Some(Early::Spoiled { sequence: 8, .. })
    ));
    let mut federation = Faulty::new(&task, hospitals::hospitals());
    (federation.breaks_after, federation.out_of_time_after) = (0, 0);
    let mut journaled = Journaled::new(&mut federation, &mut journal);
    let replayed = search::run(&task, &mut journaled, &mut Silent).expect("a champion");
    assert_eq!(bytes(&replayed), bytes(&cut));
    // Before anything was trained there is nothing to end with.
    let mut federation = Faulty::new(&task, hospitals::hospitals());
    federation.spoils = 2;
    let error = search::run(&task, &mut (&mut federation), &mut Silent).expect_err("no champion");
    assert!(
        error.to_string().contains("step 2 does not open"),
        "{error}"
    );
}

#[test]
fn a_limit_of_steps_is_kept() {
    for most in [1, 8, 20] {
        let task = Task {
            max_steps: Some(most),
            ..hospitals::task()
        };
        let outcome = simulate::run(&task, hospitals::hospitals(), &mut Silent);
        let steps = outcome.expect("a champion").steps;
        // Five steps of profile, one of training, two to close are the least.
        assert!(steps <= most.max(8), "{steps} of {most}");
    }
}

/// Rows `x, z, g, y` with `y` made of the others by `target`.
fn made(seed: u8, rows: usize, target: impl Fn(f64, f64, usize, f64) -> String) -> String {
    let mut random = Stream::new("collegium/test/rounds/v1", &[&[seed]]);
    let mut csv = "x,z,g,y\n".to_owned();
    for _ in 0..rows {
        let (x, z, g) = (random.normal(), random.normal(), random.below(3));
        let y = target(x, z, g, random.normal());
        csv.push_str(&format!("{x:.4},{z:.4},{g},{y}\n"));
    }
    csv
}

fn made_sites(target: impl Fn(f64, f64, usize, f64) -> String) -> Vec<(String, Table)> {
    (1..=3u8)
        .map(|site| {
            let csv = made(site, 150 + 60 * usize::from(site), &target);
            let map = TableMapping::default();
            let table = Table::read("made", csv.as_bytes(), &map).expect("a table");
            (format!("site-{site}"), table)
        })
        .collect()
}

fn made_round(task: &str, sites: Vec<(String, Table)>) -> Outcome {
    let task = Task::from_toml(&format!("name = \"made\"\ntarget = \"y\"\n{task}"));
    simulate::run(&task.expect("a task"), sites, &mut Silent).expect("a champion")
}

#[test]
fn a_number_is_predicted_in_its_own_unit() {
    let sites = made_sites(|x, z, g, noise| {
        format!(
            "{:.3}",
            500.0 + 100.0 * (x - 0.5 * z + g as f64) + 20.0 * noise
        )
    });
    let outcome = made_round("kind = \"regression\"\npreset = \"fast\"", sites);
    let Metrics {
        rmse, r2, mae, auc, ..
    } = outcome.test;
    assert!(
        rmse.is_some_and(|rmse| (15.0..30.0).contains(&rmse)),
        "{rmse:?}"
    );
    assert!(r2.is_some_and(|r2| r2 > 0.95), "{r2:?}");
    assert!(
        mae.is_some_and(|mae| (10.0..25.0).contains(&mae)),
        "{mae:?}"
    );
    assert_eq!(auc, None);
    let rows = Table::read("new", &b"x,z,g\n1.0,0.0,2\n"[..], &TableMapping::default());
    let scores = outcome
        .champion
        .scores(&rows.expect("rows"))
        .expect("scores");
    assert!((scores[0][0] - 800.0).abs() < 25.0, "{scores:?}");
    assert_eq!(outcome.champion.score_columns(), ["prediction"]);
}

#[test]
fn three_classes_are_told_apart() {
    let sites = made_sites(|x, z, _, noise| {
        let score = x + 0.3 * noise;
        if score < -0.5 {
            "0"
        } else if z + 0.3 * noise > 0.0 {
            "1"
        } else {
            "2"
        }
        .to_owned()
    });
    let outcome = made_round("preset = \"fast\"\nkind = \"classification\"", sites);
    assert_eq!(outcome.champion.classes.len(), 3);
    assert!(
        outcome.test.auc.is_some_and(|auc| auc > 0.9),
        "{:?}",
        outcome.test
    );
    assert!(
        outcome.test.accuracy.is_some_and(|a| a > 0.75),
        "{:?}",
        outcome.test
    );
    let rows = Table::read(
        "new",
        &b"x,z,g\n-2,0,0\n2,2,0\n2,-2,0\n"[..],
        &TableMapping::default(),
    );
    let scores = outcome
        .champion
        .scores(&rows.expect("rows"))
        .expect("scores");
    for (class, row) in scores.iter().enumerate() {
        assert!(row[class] > 0.6, "{scores:?}");
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}

/// A product of signs: no linear model of single columns can follow it.
#[test]
fn a_network_wins_where_no_line_can() {
    let sites = made_sites(|x, z, _, noise| u8::from(x * z + 0.1 * noise > 0.0).to_string());
    let families = "[constraints]\nallowed_models = [\"logistic\", \"net\"]";
    let outcome = made_round(&format!("preset = \"balanced\"\n{families}"), sites);
    let name = &outcome.champion.candidate.name;
    assert!(name.starts_with("net"), "{name}");
    assert!(
        outcome.test.auc.is_some_and(|auc| auc > 0.85),
        "{:?}",
        outcome.test
    );
    let again = Champion::from_bytes(&bytes(&outcome)).expect("a champion file");
    assert_eq!(again, outcome.champion);
}

#[test]
fn the_task_chooses_families_and_the_metric() {
    let task = hospitals::task_with(
        "metric = \"auc\"\npreset = \"fast\"\n[constraints]\nallowed_models = [\"net\"]",
    );
    let outcome = simulate::run(&task, hospitals::hospitals(), &mut Silent).expect("a champion");
    assert!(outcome.leaderboard.iter().all(|standing| {
        standing
            .name
            .trim_start_matches("blend of ")
            .starts_with("net")
    }));
    assert!(
        outcome.test.auc.is_some_and(|auc| auc > 0.8),
        "{:?}",
        outcome.test
    );
}

/// What a site is sent by a coordinator that is mistaken, or worse.
#[test]
fn a_site_refuses_what_does_not_fit_together() {
    let task = Task {
        max_steps: Some(7),
        ..hospitals::task()
    };
    let mut federation = Faulty::new(&task, hospitals::hospitals());
    search::run(&task, &mut &mut federation, &mut Silent).expect("a champion");
    let ask = federation.last.clone().expect("the test step");
    let Part::Score(part) = ask.parts[0].clone() else {
        panic!("the last step scores");
    };
    let mut site = TableSite::new(&task, hospitals::hospital("va")).expect("a site");
    assert_eq!(site.missing(&ask).len(), 2);
    assert!(matches!(site.answer(&ask), Err(SiteError::Missing(_))));
    for object in &federation.published {
        site.insert(&object.to_bytes().expect("bytes"))
            .expect("an object");
    }
    assert!(site.missing(&ask).is_empty());
    let answer = site.answer(&ask).expect("an answer");
    assert_eq!(answer.codes.len(), ask.numbers());

    // Test rows are sealed until the last stage, whoever asks and in whatever part.
    let blend = Part::Blend(BlendPart {
        members: vec![Member {
            pipeline: part.pipeline,
            model: part.model,
        }],
        weights: vec![vec![1.0]],
        rival: None,
        calibration: None,
        on: Rows::Test,
        head: part.head,
        folds: part.folds,
        rows: part.rows,
        metric: None,
    });
    let mut early = ask.clone();
    early.parts.push(blend);
    assert_eq!(
        site.answer(&early).expect("the last stage").codes.len(),
        early.numbers()
    );
    for stage in [
        Stage::Profile,
        Stage::Race,
        Stage::Ensemble,
        Stage::Calibrate,
    ] {
        early.stage = stage;
        for _ in 0..2 {
            let refused = site.answer(&early);
            assert!(matches!(refused, Err(SiteError::Sealed { part: 1, .. })));
            early.parts.rotate_left(1);
        }
        let error = site.answer(&early).expect_err("sealed").to_string();
        assert!(
            error.contains(stage.name()) && error.contains("sealed"),
            "{error}"
        );
        // On validation rows the same is answered.
        let mut open = early.clone();
        open.parts = vec![Part::Score(ScorePart {
            on: Rows::Validation,
            ..part.clone()
        })];
        assert!(site.answer(&open).is_ok());
    }

    let mut other = ask.clone();
    other.task = ObjectId::of(b"another task");
    assert!(matches!(
        site.answer(&other),
        Err(SiteError::OtherTask { .. })
    ));
    let mut small = ask.clone();
    small.parts = vec![Part::Score(ScorePart {
        rows: 3,
        ..part.clone()
    })];
    assert!(matches!(site.answer(&small), Err(SiteError::Encode(_))));
    for (head, folds) in [(Head::Number, part.folds), (part.head, 1)] {
        let mut unfit = ask.clone();
        let part = part.clone();
        unfit.parts = vec![Part::Score(ScorePart {
            head,
            folds,
            ..part
        })];
        assert!(matches!(site.answer(&unfit), Err(SiteError::Unfit { .. })));
    }
    // A model of three classes on a pipeline of two.
    let champion = federation.published.last().expect("the champion");
    let width = champion.model().expect("a model").width();
    let head = Head::Classes(3);
    let three = LogisticModel::zero(part.pipeline, head, part.folds, width);
    let three = Object::Family(AnyObject::new(logistic::NAME, three));
    let bytes = three.to_bytes().expect("bytes");
    let model = site.insert(&bytes).expect("an object");
    let mut unfit = ask.clone();
    unfit.parts = vec![Part::Score(ScorePart {
        model,
        head,
        ..part
    })];
    assert!(matches!(site.answer(&unfit), Err(SiteError::Unfit { .. })));
    for bytes in [
        &b"{}"[..],
        b"",
        b"{\"logistic\":{}}",
        &bytes[..bytes.len() - 1],
    ] {
        assert!(site.insert(bytes).is_err());
    }
}

#[test]
fn a_step_with_too_many_numbers_goes_in_waves() {
    let mut random = Stream::new("collegium/test/rounds/v1", &[b"wide"]);
    let names: Vec<String> = (0..165).map(|at| format!("x{at}")).collect();
    let mut csv = format!("{},y\n", names.join(","));
    for _ in 0..200 {
        let row: Vec<f64> = names.iter().map(|_| random.normal()).collect();
        let score = row[0] + row[1] + 0.3 * random.normal();
        let y = ["low", "middle", "high"][usize::from(score > -0.5) + usize::from(score > 0.5)];
        let cells: Vec<String> = row.iter().map(|x| format!("{x:.3}")).collect();
        csv.push_str(&format!("{},{y}\n", cells.join(",")));
    }
    let table = Table::read("wide", csv.as_bytes(), &TableMapping::default());
    let text = "name = \"wide\"\ntarget = \"y\"\nclasses = [\"low\", \"middle\", \"high\"]\nmax_steps = 20\n\
                [constraints]\nallowed_models = [\"logistic\"]";
    let task = Task::from_toml(text).expect("a task");
    let (mut widest, mut steps) = (0, 0);
    let sites = vec![("wide".to_owned(), table.expect("a table"))];
    let outcome = simulate::run(&task, sites, &mut |progress: &Progress| {
        if let Progress::Step {
            numbers,
            stage: Stage::Race,
            ..
        } = progress
        {
            widest = widest.max(*numbers);
            steps += 1;
        }
    })
    .expect("a champion");
    assert!((2 << 20..=4 << 20).contains(&widest), "{widest}");
    let trained = outcome.leaderboard.iter().map(|it| it.steps).max();
    let trained = trained.expect("a candidate");
    assert!(trained >= 1 && steps >= 2 * trained, "{steps}, {trained}");
    assert!(outcome.steps <= 20, "{}", outcome.steps);
    let scored = outcome
        .leaderboard
        .iter()
        .filter(|s| s.loss.is_some())
        .count();
    assert_eq!(scored, outcome.leaderboard.len(), "every wave was trained");
}
