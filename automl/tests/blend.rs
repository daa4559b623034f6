//! Ensemble and calibration in whole rounds: sums that do not depend on how rows are spread,
//! blends that help on rows that nobody chose by, and champions that predict what was tested.

mod hospitals;

use std::collections::BTreeMap;

use collegium_automl::ask::{Ask, Part, Segment, Stage, Totals};
use collegium_automl::family::FoldModel;
use collegium_automl::federation::{Federation, FederationError, Journaled, MemoryJournal, Pooled};
use collegium_automl::local::test_figures;
use collegium_automl::model::{Champion, predict_csv};
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::random::Stream;
use collegium_automl::search::{self, Decision, Early, Outcome, Round, Silent, State};
use collegium_automl::simulate;
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;

/// Keeps the steps after the race and what was published.
struct Recorder {
    inner: Pooled,
    steps: Vec<(Ask, Totals)>,
    families: BTreeMap<ObjectId, &'static str>,
    spoils: Option<Stage>,
}

impl Recorder {
    fn new(task: &Task, sites: Vec<(String, Table)>) -> Self {
        Self {
            inner: simulate::federation(task, sites).expect("sites"),
            steps: Vec::new(),
            families: BTreeMap::new(),
            spoils: None,
        }
    }

    fn at(&self, stage: Stage) -> Vec<&(Ask, Totals)> {
        let steps = self.steps.iter();
        steps.filter(|(ask, _)| ask.stage == stage).collect()
    }
}

impl Federation for &mut Recorder {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        let id = object.id()?;
        if let Object::Family(object) = &object {
            self.families.insert(id, object.family());
        }
        self.inner.publish(object)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        if self.spoils == Some(ask.stage) {
            return Err(FederationError::Spoiled {
                sequence: ask.sequence,
                reason: "noise above the bound".to_owned(),
            });
        }
        let totals = self.inner.sum(ask)?;
        self.steps.push((ask.clone(), totals.clone()));
        Ok(totals)
    }

    fn members(&self) -> usize {
        self.inner.members()
    }

    fn time_is_up(&mut self, _steps: u32) -> Result<bool, FederationError> {
        Ok(false)
    }
}

/// The summed values of every part, with the sites' offsets undone.
fn values((ask, totals): &(Ask, Totals)) -> Vec<Vec<i64>> {
    let of_part = |(at, part): (usize, &Part)| {
        let read = totals.part(ask, at);
        let segments = part.segments();
        let values = segments.iter().enumerate().flat_map(|(at, segment)| {
            if matches!(segment, Segment::Count { .. }) {
                read.counts(at).iter().map(|count| *count as i64).collect()
            } else {
                read.integers(at)
            }
        });
        values.collect()
    };
    ask.parts.iter().enumerate().map(of_part).collect()
}

/// Columns whose risk is a line in six columns and a product of signs of two more.
const COLUMNS: usize = 8;

/// Rows of which a boosted forest finds the product, while a linear model is better at the line.
fn rows(seed: u8, count: usize, number: bool) -> String {
    let mut random = Stream::new("collegium/test/blend/v1", &[&[seed]]);
    let names: Vec<String> = (0..COLUMNS).map(|at| format!("x{at}")).collect();
    let mut csv = format!("{},y\n", names.join(","));
    for _ in 0..count {
        let x: Vec<f64> = (0..COLUMNS).map(|_| random.normal()).collect();
        let line = 0.5 * (x[0] - x[1] + x[2] - x[3] + x[4] - x[5]);
        let risk = line + if x[6] * x[7] > 0.0 { 0.6 } else { -0.6 };
        let y = if number {
            format!("{:.3}", 40.0 + 5.0 * (risk + 0.7 * random.normal()))
        } else {
            u8::from(random.unit() < 1.0 / (1.0 + (-1.5 * risk).exp())).to_string()
        };
        let cells: Vec<String> = x.iter().map(|x| format!("{x:.3}")).collect();
        csv.push_str(&format!("{},{y}\n", cells.join(",")));
    }
    csv
}

fn read(csv: &str) -> Table {
    Table::read("made", csv.as_bytes(), &TableMapping::default()).expect("a table")
}

fn sites(number: bool) -> Vec<(String, Table)> {
    let site = |seed: u8| (format!("site-{seed}"), read(&rows(seed, 300, number)));
    (1..=3).map(site).collect()
}

fn task(lines: &str, constraints: &str) -> Task {
    let text = format!(
        "name = \"made\"\ntarget = \"y\"\nseed = 4\npreset = \"fast\"\n{lines}\n\
         [constraints]\nallowed_models = [\"logistic\", \"gbdt\"]\n{constraints}"
    );
    Task::from_toml(&text).expect("a task")
}

fn run(task: &Task, sites: Vec<(String, Table)>) -> (Outcome, Recorder) {
    let mut recorder = Recorder::new(task, sites);
    let outcome = search::run(task, &mut &mut recorder, &mut Silent).expect("a champion");
    (outcome, recorder)
}

/// Boosted trees and a GA2M over 1, 2, 3 and 5 sites: the same products of errors, the same
/// figures of the blend and so the same champion as on the merged table.
#[test]
fn sums_for_blends_do_not_depend_on_how_rows_are_spread() {
    let task = hospitals::task_with(
        "preset = \"fast\"\nmax_steps = 20\n[constraints]\nallowed_models = [\"gbdt\", \"ga2m\"]",
    );
    let (whole, merged) = run(&task, hospitals::spread(1));
    let [gram] = merged.at(Stage::Ensemble)[..] else {
        panic!("one step of products");
    };
    let Part::Gram(part) = &gram.0.parts[0] else {
        panic!("products of errors");
    };
    for family in ["gbdt", "ga2m"] {
        let is = |member: &&collegium_automl::blend::Member| {
            merged.families.get(&member.model) == Some(&family)
        };
        assert!(part.members.iter().any(|m| is(&m)), "no {family} took part");
    }
    let [scored] = merged.at(Stage::Calibrate)[..] else {
        panic!("one step of scores");
    };
    assert!(scored.0.parts.iter().all(|p| matches!(p, Part::Blend(_))));
    for count in [2, 3, 5] {
        let (outcome, spread) = run(&task, hospitals::spread(count));
        for stage in [Stage::Ensemble, Stage::Calibrate, Stage::Test] {
            let [here] = spread.at(stage)[..] else {
                panic!("one step of {stage:?}");
            };
            let [there] = merged.at(stage)[..] else {
                panic!("one step of {stage:?}");
            };
            assert_eq!(here.0.parts, there.0.parts, "{stage:?}, {count} sites");
            assert_eq!(values(here), values(there), "{stage:?}, {count} sites");
        }
        let mut champion = outcome.champion.clone();
        // Totals hold the sites' offsets, so the hash over them differs.
        champion.lineage = whole.champion.lineage.clone();
        assert_eq!(champion, whole.champion, "{count} sites");
    }
}

/// Two ways to the same figures: the diagonal of the products is the Brier score, and the best
/// finalist by itself scores as it did when the race closed.
#[test]
fn products_of_errors_agree_with_the_scores() {
    let (outcome, recorder) = run(&task("", "single_model = false"), sites(false));
    let [(ask, totals)] = recorder.at(Stage::Ensemble)[..] else {
        panic!("one step of products");
    };
    let Part::Gram(gram) = &ask.parts[0] else {
        panic!("products of errors");
    };
    let products = gram.read(&totals.part(ask, 0)).mean_without(None);
    let products = products.expect("rows");
    let [(ask, totals)] = recorder.at(Stage::Calibrate)[..] else {
        panic!("one step of scores");
    };
    let Some(Part::Blend(alone)) = ask.parts.last() else {
        panic!("the best alone");
    };
    let read = alone.read(&totals.part(ask, ask.parts.len() - 1));
    let losses = read.scored.losses;
    let brier = losses.brier / losses.rows as f64;
    assert!(
        (products[0] - brier).abs() < 1e-4,
        "{} {brier}",
        products[0]
    );
    let rows: u64 = read.groups.iter().flat_map(|c| &c.positives).sum::<u64>()
        + read.groups.iter().flat_map(|c| &c.negatives).sum::<u64>();
    assert_eq!((rows, read.groups.len()), (losses.rows, 5));
    let scored = recorder.at(Stage::Race);
    let (ask, totals) = scored.last().expect("the closing step");
    let same = ask
        .parts
        .iter()
        .enumerate()
        .find_map(|(at, part)| match part {
            Part::Score(part) if part.model == alone.members[0].model => {
                Some(part.read(&totals.part(ask, at)))
            }
            _ => None,
        });
    assert_eq!(same.expect("it was scored").losses, losses);
    assert!(outcome.champion.threshold.is_some());
}

/// The champion's scores by hand: members' averages, their weighted mean, the calibration.
fn by_hand(champion: &Champion, table: &Table) -> Vec<f64> {
    let blend = champion.blend.as_ref().expect("a blend");
    let mut voices: Vec<(f64, &dyn FoldModel)> =
        vec![(blend.weight, champion.model.model().expect("a model"))];
    for member in &blend.others {
        voices.push((member.weight, member.model.model().expect("a model")));
    }
    let mut pipelines = vec![&champion.pipeline];
    pipelines.extend(&blend.pipelines);
    let mut sums = vec![0.0; table.rows()];
    for (weight, model) in voices {
        let pipeline = pipelines
            .iter()
            .find(|p| Object::Pipeline((**p).clone()).id().expect("an id") == model.pipeline());
        let design = pipeline.expect("its pipeline").design(table).expect("rows");
        for (row, sum) in sums.iter_mut().enumerate() {
            let mut scores = vec![0.0; model.head().scores()];
            model.predict_average(design.row(row), &mut scores);
            *sum += weight * scores[scores.len() - 1];
        }
    }
    if let Some(platt) = champion.calibration {
        for p in &mut sums {
            let logit = (*p / (1.0 - *p)).ln();
            *p = 1.0 / (1.0 + (-(platt.slope * logit + platt.intercept)).exp());
        }
    }
    sums
}

#[test]
fn a_blend_that_helps_is_kept_tested_and_predicts() {
    let task = task("", "");
    let tables = sites(false);
    let (outcome, recorder) = run(&task, tables.clone());
    let champion = &outcome.champion;
    let blend = champion.blend.as_ref().expect("both models say something");
    assert_eq!(champion.models(), 1 + blend.others.len());
    assert_eq!(champion.family(), "blend");
    let first = &outcome.leaderboard[0];
    assert!(first.name.starts_with("blend of "), "{}", first.name);
    assert_eq!(first.state, State::Champion);
    let members = outcome.leaderboard.iter();
    let members = members.filter(|line| line.state == State::Member).count();
    assert_eq!(members, champion.models());
    // Better on validation rows than each, though no row had a say in its own weights.
    let loss = champion.validation.log_loss.expect("a loss");
    let best = outcome.leaderboard[1..].iter().filter_map(|line| line.loss);
    let best = best.fold(f64::INFINITY, f64::min);
    assert!(loss < best, "{loss} {best}");
    // And on fresh rows than the best alone.
    let fresh = rows(77, 4000, false);
    let single = Task {
        constraints: collegium_automl::task::Constraints {
            single_model: true,
            ..task.constraints.clone()
        },
        ..task.clone()
    };
    let (alone, quiet) = run(&single, tables.clone());
    assert!(quiet.at(Stage::Ensemble).is_empty());
    assert_eq!(alone.champion.blend, None);
    let log_loss = |champion: &Champion| {
        let scores = champion.scores(&read(&fresh)).expect("scores");
        let losses = scores.iter().zip(fresh.lines().skip(1)).map(|(row, line)| {
            let class = usize::from(line.ends_with(",1"));
            -row[class].ln()
        });
        losses.sum::<f64>() / scores.len() as f64
    };
    let (together, by_itself) = (log_loss(champion), log_loss(&alone.champion));
    assert!(together < by_itself, "{together} {by_itself}");
    // The file predicts what was tested.
    let bytes = champion.to_bytes().expect("bytes");
    let again = Champion::from_bytes(&bytes).expect("a champion file");
    assert_eq!(&again, champion);
    let table = read(&fresh);
    let scores = again.scores(&table).expect("scores");
    for (row, p) in scores.iter().zip(by_hand(champion, &table)) {
        assert!((row[1] - p).abs() < 1e-12 && (row[0] + row[1] - 1.0).abs() < 1e-12);
    }
    let tables: Vec<Table> = tables.into_iter().map(|(_, table)| table).collect();
    let figures = test_figures(&task, tables, &again).expect("figures");
    assert_eq!(figures.log_loss, outcome.test.log_loss);
    assert_eq!(figures.auc, outcome.test.auc);
    assert!(recorder.steps.last().is_some_and(|(ask, _)| {
        ask.stage == Stage::Test && matches!(ask.parts[..], [Part::Blend(_)])
    }));
}

#[test]
fn numbers_blend_too() {
    let task = task("kind = \"regression\"", "");
    let (outcome, recorder) = run(&task, sites(true));
    let champion = &outcome.champion;
    assert!(champion.blend.is_some(), "{:?}", outcome.leaderboard);
    assert_eq!((champion.calibration, champion.threshold), (None, None));
    let [(ask, _)] = recorder.at(Stage::Calibrate)[..] else {
        panic!("one step of scores");
    };
    assert_eq!(ask.parts.len(), 1, "no curves of a number");
    let table = read(&rows(78, 300, true));
    let pipeline = champion.pipeline.target().clone();
    let collegium_automl::features::TargetCoding::Number { mean, scale } = pipeline else {
        panic!("a number");
    };
    let scores = champion.scores(&table).expect("scores");
    for (row, sum) in scores.iter().zip(by_hand(champion, &table)) {
        assert!((row[0] - (sum * scale + mean)).abs() < 1e-9);
    }
    assert!(
        outcome.test.r2.is_some_and(|r2| r2 > 0.5),
        "{:?}",
        outcome.test
    );
}

#[test]
fn a_task_can_ask_for_one_model_and_a_readable_one_is_one() {
    for constraint in ["single_model = true", "interpretable_only = true"] {
        let text = format!(
            "name = \"made\"\ntarget = \"y\"\npreset = \"fast\"\nmax_steps = 16\n\
             [constraints]\n{constraint}"
        );
        let task = Task::from_toml(&text).expect("a task");
        assert!(task.summary().contains("one model"), "{}", task.summary());
        let (outcome, recorder) = run(&task, sites(false));
        assert!(recorder.at(Stage::Ensemble).is_empty(), "{constraint}");
        // What its probabilities mean is found out all the same.
        assert_eq!(recorder.at(Stage::Calibrate).len(), 1, "{constraint}");
        assert_eq!(outcome.champion.models(), 1);
        assert_eq!(outcome.champion.family(), outcome.champion.candidate.family);
    }
    let error = Task::from_toml("name = \"a\"\ntarget = \"y\"\n[constraints]\nsingle_modl = true");
    let error = error.expect_err("unknown").to_string();
    assert!(error.contains("did you mean `single_model`"), "{error}");
}

/// With room for one step less the blend goes, with room for two less the calibration, too.
#[test]
fn a_step_limit_without_room_leaves_the_ensemble_out() {
    // Five steps of profile, one of training, one to close, then these and the test.
    for (most, expected) in [
        (8, &[][..]),
        (9, &[Stage::Calibrate][..]),
        (10, &[Stage::Ensemble, Stage::Calibrate][..]),
    ] {
        let (outcome, recorder) = run(&task(&format!("max_steps = {most}"), ""), sites(false));
        let stages: Vec<Stage> = recorder.steps.iter().map(|(ask, _)| ask.stage).collect();
        let after = stages.iter().filter(|stage| **stage > Stage::Race);
        let after: Vec<Stage> = after.copied().collect();
        let (test, before) = after.split_last().expect("steps");
        assert_eq!((*test, before), (Stage::Test, expected), "{most} steps");
        assert!(outcome.steps <= most);
    }
}

#[test]
fn a_sum_that_does_not_open_leaves_the_best_alone_and_replays() {
    for stage in [Stage::Ensemble, Stage::Calibrate] {
        let task = task("max_steps = 14", "");
        let mut journal = MemoryJournal::default();
        let mut recorder = Recorder::new(&task, sites(false));
        recorder.spoils = Some(stage);
        let mut journaled = Journaled::new(&mut recorder, &mut journal);
        let outcome = search::run(&task, &mut journaled, &mut Silent).expect("a champion");
        assert_eq!(outcome.champion.models(), 1, "{stage:?}");
        assert_eq!(outcome.champion.calibration, None);
        assert!(matches!(outcome.early, Some(Early::Spoiled { .. })));
        assert!(outcome.champion.threshold.is_some(), "the race had a curve");
        let mut recorder = Recorder::new(&task, sites(false));
        let mut journaled = Journaled::new(&mut recorder, &mut journal);
        let again = search::run(&task, &mut journaled, &mut Silent).expect("a champion");
        assert!(recorder.steps.is_empty(), "a replay asks nobody");
        assert_eq!(again.champion, outcome.champion);
    }
}

/// A rare class: nobody has a probability above one half, but some rows are called positive.
#[test]
fn the_threshold_calls_a_rare_class_and_its_test_is_what_the_file_predicts() {
    let mut random = Stream::new("collegium/test/blend/v1", &[b"rare"]);
    let mut csv = "a,b,fold,y\n".to_owned();
    for row in 0..6000 {
        let (a, b) = (random.normal(), random.normal());
        let risk = 1.0 / (1.0 + (4.5 - 1.5 * a).exp());
        let fold = if row % 5 == 0 { "test" } else { "train" };
        let y = u8::from(random.unit() < risk);
        csv.push_str(&format!("{a:.3},{b:.3},{fold},{y}\n"));
    }
    let text = "name = \"rare\"\ntarget = \"y\"\nmetric = \"auc\"\nsplit = \"fold\"\nmax_steps = 14\n\
                [constraints]\nallowed_models = [\"logistic\"]";
    let task = Task::from_toml(text).expect("a task");
    let (outcome, _) = run(&task, vec![("one".to_owned(), read(&csv))]);
    let threshold = outcome.champion.threshold.expect("two classes");
    assert!(threshold.probability < 0.3, "{threshold:?}");
    let tested = threshold.test.expect("tested");
    assert!(tested.sensitivity().is_some_and(|s| s > 0.5), "{tested:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (
        folder.path().join("rows.csv"),
        folder.path().join("out.csv"),
    );
    std::fs::write(&input, &csv).expect("rows");
    let columns = predict_csv(&outcome.champion, &input, &TableMapping::default(), &output)
        .expect("scores")
        .columns;
    assert_eq!(columns, ["p_0", "p_1", "class"]);
    let written = std::fs::read_to_string(&output).expect("scores");
    let mut counted = [[0_u64; 2]; 2];
    for (line, row) in written.lines().zip(csv.lines()).skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        if cells[2] == "test" {
            let truth: usize = cells[3].parse().expect("a class");
            let called = line.rsplit(',').next().expect("a class");
            counted[truth][called.parse::<usize>().expect("a class")] += 1;
        }
    }
    let expected = [
        [tested.true_negatives, tested.false_positives],
        [tested.false_negatives, tested.true_positives],
    ];
    assert_eq!(counted, expected);
}

/// With a memory one step of drift precedes the race and one of comparison follows the ensemble,
/// and both keep within the limit.
#[test]
fn a_blend_is_compared_as_a_whole_and_a_limit_leaves_room_for_it() {
    let task = task("", "");
    let (one, _) = run(&task, sites(false));
    let round = Round::after(one.memory.clone());
    let second = |max_steps| {
        let task = Task {
            max_steps,
            ..task.clone()
        };
        let mut recorder = Recorder::new(&task, sites(false));
        let two = search::round(&task, &round, &mut &mut recorder, &mut Silent);
        (two.expect("a champion"), recorder)
    };
    let champion = &one.champion;
    let blend = champion.blend.as_ref().expect("a blend");
    let (two, recorder) = second(None);
    let [(ask, _)] = recorder.at(Stage::Compare)[..] else {
        panic!("one comparison");
    };
    let [Part::Compare(part)] = &ask.parts[..] else {
        panic!("one part");
    };
    let weights: Vec<f64> = part.old.voters.iter().map(|voter| voter.weight).collect();
    let others = blend.others.iter().map(|member| member.weight);
    let expected: Vec<f64> = std::iter::once(blend.weight).chain(others).collect();
    assert_eq!(weights, expected);
    assert_eq!(part.old.calibration, champion.calibration);
    let verdict = &two.round.verdict;
    assert_eq!(verdict.incumbent, Some(champion.description()));
    assert_eq!(champion.description(), one.leaderboard[0].name);
    // Weights that were fitted to all these rows say a little less than those of other rows.
    let chosen = champion.validation.log_loss.expect("a loss");
    let found = verdict.incumbent_loss.expect("a loss");
    assert!((chosen - found).abs() < 0.02, "{chosen} {found}");
    // On the same rows nothing better comes, and the blend is tested again as it is.
    assert_eq!(verdict.decision, Decision::Kept, "{verdict:?}");
    assert_eq!(&two.champion, champion);
    assert_eq!(two.test, one.test);
    let leads = two.leaderboard.iter().map(|line| line.state);
    assert!(leads.into_iter().all(|state| state != State::Champion));
    // Six steps of profile, one of training, one to close, then these and the test.
    for (most, expected) in [
        (10, &[Stage::Compare][..]),
        (11, &[Stage::Calibrate, Stage::Compare][..]),
        (12, &[Stage::Ensemble, Stage::Calibrate, Stage::Compare][..]),
    ] {
        let (two, recorder) = second(Some(most));
        let stages = recorder.steps.iter().map(|(ask, _)| ask.stage);
        let after: Vec<Stage> = stages.filter(|stage| *stage > Stage::Race).collect();
        let (test, before) = after.split_last().expect("steps");
        assert_eq!((*test, before), (Stage::Test, expected), "{most} steps");
        assert!(two.steps <= most);
    }
}
