//! The local search: many candidates, one step, and a race that does not grow.

mod hospitals;

use std::collections::BTreeMap;
use std::sync::Once;

use collegium_automl::ask::{Ask, Part, Stage, Totals};
use collegium_automl::data::{SitePolicy, Withheld};
use collegium_automl::family::logistic::{LogisticModel, NewtonPart};
use collegium_automl::family::{self, Family, Offer, Proposal, Reads, Setting, Trainer};
use collegium_automl::federation::{Federation, FederationError, Journaled, MemoryJournal, Pooled};
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::search::{self, Ended, Guess, Leaderboard, Outcome, Silent, State, estimate};
use collegium_automl::simulate;
use collegium_automl::site::{Site, SiteError, TableSite};
use collegium_automl::table::Table;
use collegium_automl::task::{Preset, Task};
use collegium_automl::trial::{Trial, TrialPart};

const NAME: &str = "wider";
/// Penalties that are offered in any search, and further ones.
const OWN: [f64; 6] = [1.0, 1000.0, 1e5, 1e6, 1e7, 1e8];
const FURTHER: [f64; 8] = [1.0, 10.0, 3.0, 30.0, 1e9, 1e10, 1e11, 1e12];

/// Logistic regression with more penalties than a race takes.
struct Wider;

fn proposals(offer: &Offer<'_>, ridges: &[f64]) -> Vec<Proposal> {
    let pipeline = offer.pipelines_of(false).next();
    let (pipeline, _) = pipeline.expect("a pipeline of numbers");
    let ridges = ridges.iter();
    ridges
        .map(|ridge| Proposal {
            pipeline,
            name: format!("ridge {ridge}"),
            hyperparameters: serde_json::json!({ "ridge": ridge }),
        })
        .collect()
}

impl Family for Wider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        proposals(offer, &OWN)
    }

    fn further(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        proposals(offer, &FURTHER)
    }

    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String> {
        let plain = family::find("logistic").expect("a family of this crate");
        plain.trainer(hyperparameters, setting)
    }

    fn reads(&self) -> Reads {
        Reads::of::<NewtonPart, LogisticModel>()
    }
}

fn task(more: &str) -> Task {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| family::register(&Wider).expect("a new name"));
    hospitals::task_with(&format!(
        "{more}\n[constraints]\nallowed_models = [\"{NAME}\"]"
    ))
}

/// Passes everything on, keeps the asks and their totals, and fails where it is told to.
struct Recorder {
    inner: Pooled,
    asked: Vec<(Ask, Totals)>,
    objects: BTreeMap<ObjectId, Object>,
    spoils: Option<Stage>,
    breaks_after: usize,
}

impl Recorder {
    fn new(task: &Task, sites: Vec<(String, Table)>) -> Self {
        Self {
            inner: simulate::federation(task, sites).expect("sites"),
            asked: Vec::new(),
            objects: BTreeMap::new(),
            spoils: None,
            breaks_after: usize::MAX,
        }
    }

    fn at(&self, stage: Stage) -> Vec<&(Ask, Totals)> {
        let all = self.asked.iter();
        all.filter(|(ask, _)| ask.stage == stage).collect()
    }

    fn trial(&self) -> (&Ask, &TrialPart, &Totals) {
        let [(ask, totals)] = self.at(Stage::LocalSearch)[..] else {
            panic!("one step of local search");
        };
        let [Part::Trial(part)] = &ask.parts[..] else {
            panic!("one part");
        };
        (ask, part, totals)
    }
}

impl Federation for &mut Recorder {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        let id = self.inner.publish(object.clone())?;
        self.objects.insert(id, object);
        Ok(id)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        if self.asked.len() >= self.breaks_after {
            return Err(FederationError::Stopped("killed by the test".to_owned()));
        }
        if self.spoils == Some(ask.stage) {
            return Err(FederationError::Spoiled {
                sequence: ask.sequence,
                reason: "noise above the bound".to_owned(),
            });
        }
        let totals = self.inner.sum(ask)?;
        self.asked.push((ask.clone(), totals.clone()));
        Ok(totals)
    }

    fn members(&self) -> usize {
        self.inner.members()
    }

    fn time_is_up(&mut self, _steps: u32) -> Result<bool, FederationError> {
        Ok(false)
    }
}

fn search(task: &Task, recorder: &mut Recorder) -> Outcome {
    search::run(task, &mut &mut *recorder, &mut Silent).expect("a champion")
}

fn bytes(outcome: &Outcome) -> Vec<u8> {
    outcome.champion.to_bytes().expect("bytes")
}

/// The penalty of a line of the leaderboard.
fn ridge(name: &str) -> f64 {
    let words: Vec<&str> = name.split(' ').collect();
    words[2].parse().expect("a penalty")
}

#[test]
fn what_the_sites_prefer_races_and_the_race_does_not_grow() {
    let task = task("");
    let mut recorder = Recorder::new(&task, hospitals::hospitals());
    let outcome = search(&task, &mut recorder);
    let (ask, part, _) = recorder.trial();
    // All but the two in front, and the further ones but one that is not new.
    assert_eq!(part.candidates.len(), OWN.len() - 2 + FURTHER.len() - 1);
    let stages: Vec<Stage> = recorder.asked.iter().map(|(ask, _)| ask.stage).collect();
    assert!(stages.is_sorted());
    assert_eq!(stages[ask.sequence as usize - 2], Stage::Profile);
    assert_eq!(stages[ask.sequence as usize], Stage::Race);
    let first = recorder.at(Stage::Race)[0];
    assert_eq!(first.0.parts.len(), OWN.len());

    assert_eq!(outcome.leaderboard.len(), OWN.len() + FURTHER.len() - 1);
    let mut raced = Vec::new();
    let mut ranks = Vec::new();
    let mut before = f64::NEG_INFINITY;
    for standing in &outcome.leaderboard {
        let history = standing.history.as_ref().expect("a history");
        let front = [1.0, 1000.0].contains(&ridge(&standing.name));
        assert_eq!(history.local.is_none(), front, "{}", standing.name);
        let Some(Ended::LocalSearch {
            rank,
            of,
            kept,
            lots,
        }) = history.ended
        else {
            raced.push(ridge(&standing.name));
            assert!(standing.loss.is_some() && !history.path.is_empty());
            continue;
        };
        assert_eq!((standing.state, standing.loss), (State::Dropped, None));
        assert_eq!((of, kept, lots), (11, 3, 1));
        assert_eq!((history.cost.steps, history.cost.numbers), (1, 3));
        let local = history.local.expect("it was trained");
        assert!(local >= before, "ranked by local loss");
        before = local;
        ranks.push(rank);
    }
    assert_eq!(raced.len(), OWN.len());
    // Penalties of a million and more leave nothing but the intercept: the sites prefer small ones.
    for better in [1.0, 3.0, 10.0, 30.0, 1000.0] {
        assert!(raced.contains(&better), "{better} is not in {raced:?}");
    }
    assert!(ranks.is_sorted() && ranks.iter().all(|rank| *rank > 3));
    let rows = Leaderboard::new(&outcome.leaderboard).rows();
    let last = rows.last().expect("a line");
    assert!(last["local_loss"].is_number() && last["loss"].is_null());
    assert!(
        last["why"]
            .as_str()
            .is_some_and(|why| why.starts_with("behind in the local search"))
    );
}

#[test]
fn the_same_again_and_over_its_journal() {
    let task = task("");
    let mut recorder = Recorder::new(&task, hospitals::hospitals());
    let whole = search(&task, &mut recorder);
    let mut journal = MemoryJournal::default();
    // The first life ends in the race, the second one goes on from there.
    for breaks_after in [8, usize::MAX, 0] {
        let mut again = Recorder::new(&task, hospitals::hospitals());
        again.breaks_after = breaks_after;
        let mut journaled = Journaled::new(&mut again, &mut journal);
        match search::run(&task, &mut journaled, &mut Silent) {
            Ok(outcome) => {
                assert_eq!(bytes(&outcome), bytes(&whole));
                assert_eq!(outcome.leaderboard, whole.leaderboard);
            }
            Err(_) => assert_eq!(breaks_after, 8),
        }
        if breaks_after == 0 {
            assert!(again.asked.is_empty(), "a replay asks nobody");
        }
    }
}

#[test]
fn it_is_left_out_where_it_does_not_belong() {
    let without = |task: &Task| {
        let mut recorder = Recorder::new(task, hospitals::hospitals());
        let outcome = search(task, &mut recorder);
        assert!(recorder.at(Stage::LocalSearch).is_empty());
        assert_eq!(outcome.leaderboard.len(), OWN.len());
        outcome
    };
    without(&task("preset = \"fast\""));
    let short = task("max_steps = 20");
    assert!(without(&short).steps <= 20);
    // A family without further candidates is tried as before.
    let plain = hospitals::task_with("[constraints]\nallowed_models = [\"scorecard\"]");
    let mut recorder = Recorder::new(&plain, hospitals::hospitals());
    search(&plain, &mut recorder);
    // Nor is it repeated in a round that remembers one.
    let first = {
        let task = task("");
        search(&task, &mut Recorder::new(&task, hospitals::hospitals()))
    };
    let task = task("");
    let mut recorder = Recorder::new(&task, hospitals::hospitals());
    let round = search::Round::after(first.memory);
    search::round(&task, &round, &mut &mut recorder, &mut Silent).expect("a champion");
    assert!(recorder.at(Stage::LocalSearch).is_empty());
}

#[test]
fn a_sum_that_does_not_open_costs_the_choice_alone() {
    let task = task("");
    let mut recorder = Recorder::new(&task, hospitals::hospitals());
    recorder.spoils = Some(Stage::LocalSearch);
    let outcome = search(&task, &mut recorder);
    let mut ridges: Vec<f64> = outcome
        .leaderboard
        .iter()
        .map(|it| ridge(&it.name))
        .collect();
    ridges.sort_by(f64::total_cmp);
    assert_eq!(ridges, OWN);
}

/// A recorded ask of the local search, with a site that has its objects.
fn site(recorder: &Recorder, task: &Task, table: Table, policy: SitePolicy) -> TableSite {
    let (ask, ..) = recorder.trial();
    let mut site = TableSite::with_policy(task, table, policy).expect("a site");
    for id in site.missing(ask) {
        let bytes = recorder.objects[&id].to_bytes().expect("bytes");
        assert_eq!(site.insert(&bytes).expect("an object"), id);
    }
    site
}

#[test]
fn a_site_answers_the_same_whatever_it_did_before_and_the_totals_are_the_sums() {
    let task = task("");
    let mut recorder = Recorder::new(&task, hospitals::hospitals());
    search(&task, &mut recorder);
    let (ask, _, totals) = recorder.trial();
    let mut sums = vec![0; ask.numbers()];
    for (_, table) in hospitals::hospitals() {
        let mut site = site(&recorder, &task, table, SitePolicy::default());
        let codes = site.answer(ask).expect("an answer").codes;
        assert_eq!(codes, site.answer(ask).expect("an answer").codes);
        assert!(site.withheld(ask).is_empty());
        sums.iter_mut()
            .zip(codes)
            .for_each(|(sum, code)| *sum += code);
    }
    assert_eq!(sums, totals.sums);
}

/// What a site's codes say: rows of each candidate.
fn rows_of(site: &mut TableSite, ask: &Ask) -> Vec<u64> {
    let codes = site.answer(ask).expect("an answer").codes;
    let Part::Trial(part) = &ask.parts[0] else {
        panic!("a trial");
    };
    let totals = Totals {
        sums: codes,
        contributors: vec![1],
    };
    let read = part.read(&totals.part(ask, 0));
    for tried in &read {
        assert!(tried.rows > 0 || (tried.loss == 0.0 && tried.loss_squared == 0.0));
    }
    read.iter().map(|tried| tried.rows).collect()
}

fn with(ask: &Ask, change: impl Fn(&mut TrialPart)) -> Ask {
    let mut ask = ask.clone();
    let Part::Trial(part) = &mut ask.parts[0] else {
        panic!("a trial");
    };
    change(part);
    ask
}

#[test]
fn a_site_keeps_to_its_bounds_and_answers_zeros_for_what_it_cannot_train() {
    let task = task("");
    let mut recorder = Recorder::new(&task, hospitals::hospitals());
    search(&task, &mut recorder);
    let (ask, part, _) = recorder.trial();
    let count = part.candidates.len();
    let zeros = vec![0; count];
    let cleveland = || hospitals::hospital("cleveland");
    let mut open = site(&recorder, &task, cleveland(), SitePolicy::default());
    let train = open.data().counts().train;
    // Two of the five folds validate.
    let rows = rows_of(&mut open, ask);
    assert_eq!(rows, vec![rows[0]; count]);
    assert!(
        (train / 4..train / 2).contains(&rows[0]),
        "{} of {train}",
        rows[0]
    );
    // A sample, and no more.
    let fewer = with(ask, |part| part.sample = 100);
    let sampled = rows_of(&mut open, &fewer);
    assert_eq!(sampled, vec![sampled[0]; count]);
    assert!((20..60).contains(&sampled[0]), "{} of 100", sampled[0]);
    let tiny = with(ask, |part| part.sample = 20);
    assert_eq!(rows_of(&mut open, &tiny), zeros, "too few rows");
    // Not even one step is within the bound.
    let idle = with(ask, |part| part.work = 1000);
    assert_eq!(rows_of(&mut open, &idle), zeros);
    // One class only.
    let mut ill = site(
        &recorder,
        &task,
        hospitals::only_ill("va"),
        SitePolicy::default(),
    );
    assert_eq!(rows_of(&mut ill, ask), zeros);
    // Limits of its own: on all rows, and on those of a fold.
    for (min_rows, kept) in [(train + 1, Withheld::Training), (train / 4, Withheld::Fold)] {
        let policy = SitePolicy {
            min_rows,
            min_cell: 0,
        };
        let mut careful = site(&recorder, &task, cleveland(), policy);
        assert_eq!(rows_of(&mut careful, ask), zeros);
        assert!(careful.withheld(ask).contains(&kept));
    }
    // Hyperparameters that are none stop nobody else's.
    let one_bad = with(ask, |part| {
        part.candidates[1].hyperparameters = serde_json::json!({ "ridge": "much" });
    });
    let others = rows_of(&mut open, &one_bad);
    assert_eq!(others[..3], [rows[0], 0, rows[0]]);
}

#[test]
fn a_site_refuses_what_is_not_for_it() {
    let task = task("");
    let mut recorder = Recorder::new(&task, hospitals::hospitals());
    search(&task, &mut recorder);
    let (ask, part, _) = recorder.trial();
    let table = || hospitals::hospital("cleveland");
    let mut site = site(&recorder, &task, table(), SitePolicy::default());
    let unknown = with(ask, |part| part.candidates[0].family = "oracle".to_owned());
    assert!(matches!(site.answer(&unknown), Err(SiteError::Ask(_))));
    let other = with(ask, |part| {
        part.head = family::Head::Number;
    });
    assert!(matches!(site.answer(&other), Err(SiteError::Unfit { .. })));
    let missing = with(ask, |part| {
        part.candidates.push(Trial {
            pipeline: ObjectId::of(b"nowhere"),
            ..part.candidates[0].clone()
        });
    });
    assert!(matches!(site.answer(&missing), Err(SiteError::Missing(_))));
    // Its columns are those of the pipelines, and the target.
    let columns = site.columns(ask).expect("columns");
    assert!(columns.contains("age") && columns.contains("disease"));
    assert_eq!(part.objects().len(), 1);
}

#[test]
fn an_estimate_has_the_step() {
    let guess = Guess {
        rows: 920,
        sites: 4,
    };
    for (preset, steps) in [(Preset::Fast, 0), (Preset::Balanced, 1)] {
        let task = Task { preset, ..task("") };
        let table = hospitals::hospital("cleveland");
        let expected = estimate(&task, &table, guess, &mut |_| {}).expect("an estimate");
        let local = expected.steps.iter();
        let local: Vec<u64> = local
            .filter(|step| step.stage == Stage::LocalSearch)
            .map(|step| step.numbers())
            .collect();
        assert_eq!(local, vec![33; steps], "three numbers each");
        assert!(expected.steps.iter().map(|step| step.stage).is_sorted());
        let own = &expected.families[0];
        assert_eq!((own.name, own.candidates), (NAME, OWN.len()));
        assert_eq!(own.alone > 0, steps > 0);
        assert_eq!(expected.alone_rows, 2048 * steps as u64);
        let outcome = search(&task, &mut Recorder::new(&task, hospitals::hospitals()));
        assert!(outcome.steps.abs_diff(expected.steps.len() as u32) <= 5);
        assert!(outcome.steps <= expected.most);
    }
}
