//! Rounds under differential privacy, over sites in this process.

use collegium_automl::ask::{Ask, Part, Stage};
use collegium_automl::data::SitePolicy;
use collegium_automl::features::Pipeline;
use collegium_automl::federation::MemoryJournal;
use collegium_automl::local;
use collegium_automl::noise::{MIN_VARIANCE, Noise, NoiseKey, NoisyPart, OutcomesPart, SlopesPart};
use collegium_automl::object::Object;
use collegium_automl::profile::ProfilePart;
use collegium_automl::random::Stream;
use collegium_automl::search::{self, Guess, Outcome, Silent};
use collegium_automl::simulate;
use collegium_automl::site::{Site, SiteError, TableSite};
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;

fn task(epsilon: f64) -> Task {
    Task::from_toml(&format!(
        "name = \"sick\"\ntarget = \"sick\"\nkind = \"classification\"\nclasses = [\"no\", \"yes\"]\n\
         seed = 5\n[differential_privacy]\nepsilon = {epsilon}\ndelta = 1e-5\n\
         [columns]\nage = {{ type = \"number\", min = 20, max = 80 }}\n\
         dose = {{ type = \"number\", min = 0, max = 10 }}\n\
         smokes = {{ type = \"category\", values = [\"no\", \"yes\"] }}\n\
         ward = {{ type = \"category\", values = [\"a\", \"b\", \"c\"] }}\n"
    ))
    .expect("a task")
}

/// A site's rows: age and smoking make sick, the dose helps, the ward says nothing.
fn table(site: u8, rows: usize) -> Table {
    let mut random = Stream::new("collegium/test/private/v1", &[&[site]]);
    let mut text = "age,dose,smokes,ward,sick\n".to_owned();
    for _ in 0..rows {
        let (age, dose) = (20.0 + 60.0 * random.unit(), 10.0 * random.unit());
        let smokes = random.unit() < 0.4;
        let ward = ["a", "b", "c"][random.below(3)];
        let logit = (age - 50.0) / 10.0 - 0.4 * (dose - 5.0) + f64::from(u8::from(smokes)) * 1.5;
        let sick = random.unit() < 1.0 / (1.0 + (-logit + 0.6).exp());
        let word = |it| if it { "yes" } else { "no" };
        text.push_str(&format!(
            "{age:.1},{dose:.2},{},{ward},{}\n",
            word(smokes),
            word(sick)
        ));
    }
    Table::read("rows", text.as_bytes(), &TableMapping::default()).expect("a table")
}

fn sites(rows: usize) -> Vec<(String, Table)> {
    (1..=4)
        .map(|site| (format!("site {site}"), table(site, rows)))
        .collect()
}

fn run(task: &Task, rows: usize) -> Outcome {
    let mut federation = simulate::federation_with(task, sites(rows), 2).expect("sites");
    search::run(task, &mut federation, &mut Silent).expect("a champion")
}

#[test]
fn a_round_learns_within_its_budget_and_says_what_it_told() {
    let generous = run(&task(10.0), 300);
    let told = generous.privacy.expect("under differential privacy");
    assert_eq!((told.epsilon, told.delta), (10.0, 1e-5));
    let rho = task(10.0).differential_privacy.expect("a section").rho();
    // All of the budget is used, and nothing beyond it.
    for spent in [told.spent.train, told.spent.test] {
        assert!(spent <= rho && spent > 0.99 * rho, "{spent} {rho}");
    }
    let auc = generous.test.auc.expect("an area");
    assert!(auc > 0.75, "{auc}");
    assert!(generous.test.auc_se.expect("an error") < 0.1);
    assert_eq!(
        (generous.steps, generous.champion.family()),
        (3, "logistic")
    );
    // What the champion says of rows that no noise was added to, for the sites' own eyes.
    let figures = |outcome: &Outcome, rows| {
        let tables = sites(rows).into_iter().map(|(_, table)| table).collect();
        local::test_figures(&task(1.0), tables, &outcome.champion).expect("figures")
    };
    assert!(figures(&generous, 300).auc.expect("an area") > 0.85);
    // With so little budget hardly anything is learned: the noise is there.
    let stingy = run(&task(0.01), 300);
    assert!(stingy.champion != generous.champion);
    // With many rows the looks after the first are taken elsewhere.
    let many = run(&task(10.0), 3000);
    assert_eq!(many.steps, 4);
    let exact = figures(&many, 3000);
    assert!(exact.auc.expect("an area") > 0.88, "{exact:?}");
    let noisy = many.test.accuracy.expect("a share");
    let error = many.test.standard_errors["accuracy"];
    let away = (noisy - exact.accuracy.expect("a share")).abs();
    assert!(away < 6.0 * error, "{noisy} {exact:?} {error}");
}

#[test]
fn a_replay_takes_the_noise_from_the_journal() {
    let task = task(1.0);
    let mut journal = MemoryJournal::default();
    let first = simulate::run_journaled(&task, sites(100), &mut journal, &mut Silent);
    let first = first.expect("a champion");
    assert_eq!(journal.len() as u32, first.steps);
    // The sites are gone: their rows would give another answer.
    let again = simulate::run_journaled(&task, sites(7), &mut journal, &mut Silent);
    let again = again.expect("a champion");
    assert_eq!(
        again.champion.to_bytes().expect("bytes"),
        first.champion.to_bytes().expect("bytes")
    );
    assert_eq!(again.privacy, first.privacy);
}

/// A site that holds the declared pipeline, and a look that costs half of the budget.
fn site(task: &Task, policy: SitePolicy) -> (TableSite, Ask) {
    let mut site = TableSite::with_policy(task, table(1, 50), policy).expect("a site");
    let (pipeline, clip) = Pipeline::declared(task);
    let width = pipeline.width() as u32;
    let bytes = Object::Pipeline(pipeline).to_bytes().expect("bytes");
    let pipeline = site.insert(&bytes).expect("a pipeline");
    let look = |noise| {
        NoisyPart::Slopes(SlopesPart {
            pipeline,
            model: None,
            width,
            clip,
            noise,
        })
    };
    let part = look(Noise {
        variance: MIN_VARIANCE,
        shares: 2,
    });
    let half = 0.5 * task.differential_privacy.expect("a section").to_plan();
    let noise = Noise::for_rho(half, part.sensitivity(), part.numbers(), 2);
    let ask = Ask {
        sequence: 1,
        stage: Stage::Race,
        task: task.digest(),
        parts: vec![Part::Noisy(look(noise.expect("within bounds")))],
    };
    (site, ask)
}

fn slopes(ask: &Ask) -> SlopesPart {
    match &ask.parts[..] {
        [Part::Noisy(NoisyPart::Slopes(part))] => part.clone(),
        other => panic!("another ask: {other:?}"),
    }
}

fn with(ask: &Ask, sequence: u32, noise: Noise) -> Ask {
    let part = SlopesPart {
        noise,
        ..slopes(ask)
    };
    Ask {
        sequence,
        parts: vec![Part::Noisy(NoisyPart::Slopes(part))],
        ..ask.clone()
    }
}

#[test]
fn a_site_refuses_what_is_exact_or_too_clear_or_beyond_the_budget() {
    let task = task(1.0);
    let (mut site, ask) = site(&task, SitePolicy::default());
    let why = |result: Result<_, SiteError>| match result {
        Err(error) => error.to_string(),
        Ok(_) => "answered".to_owned(),
    };
    assert!(why(site.answer(&ask)).contains("no key"));
    site.noise_with(NoiseKey::new([1; 32]), 2);
    let exact = Ask {
        stage: Stage::Profile,
        parts: vec![Part::Profile(ProfilePart::Schema { attempt: 0 })],
        ..ask.clone()
    };
    assert!(why(site.answer(&exact)).contains("`profile`) is exact"));
    let noise = slopes(&ask).noise;
    let clear = Noise {
        variance: noise.variance / 4,
        ..noise
    };
    assert!(why(site.answer(&with(&ask, 1, clear))).contains("its noise is too small"));
    let crowded = Noise { shares: 3, ..noise };
    assert!(why(site.answer(&with(&ask, 1, crowded))).contains("only 2 are certain"));
    // Nothing was spent by what was refused: both looks fit, and the same ask again costs nothing.
    let first = site.answer(&ask).expect("the first look");
    assert_eq!(site.answer(&ask).expect("asked again"), first);
    let second = site.answer(&with(&ask, 2, noise)).expect("the second look");
    assert_ne!(first, second, "another ask has another noise");
    assert!(why(site.answer(&with(&ask, 3, noise))).contains("the budget is spent"));
    // Test rows stay sealed before the last stage.
    let part = OutcomesPart {
        pipeline: slopes(&ask).pipeline,
        model: slopes(&ask).pipeline,
        noise,
    };
    let early = Ask {
        parts: vec![Part::Noisy(NoisyPart::Outcomes(part))],
        ..ask.clone()
    };
    assert!(why(site.answer(&early)).contains("sealed"));
    // A task of exact sums has no use for noise.
    let open = task.unprotected();
    let mut other = TableSite::new(&open, table(1, 50)).expect("a site");
    other.noise_with(NoiseKey::new([1; 32]), 2);
    let foreign = Ask {
        task: open.digest(),
        ..ask
    };
    assert!(why(other.answer(&foreign)).contains("no [differential_privacy]"));
}

/// Another pipeline than the declared one would read what no steward has seen.
#[test]
fn only_the_declared_pipeline_is_computed() {
    let task = task(1.0);
    let (mut site, ask) = site(&task, SitePolicy::default());
    site.noise_with(NoiseKey::new([1; 32]), 2);
    let mut fewer = task.clone();
    fewer.columns.remove("dose");
    let (pipeline, _) = Pipeline::declared(&fewer);
    let bytes = Object::Pipeline(pipeline).to_bytes().expect("bytes");
    let part = SlopesPart {
        pipeline: site.insert(&bytes).expect("a pipeline"),
        ..slopes(&ask)
    };
    let foreign = Ask {
        parts: vec![Part::Noisy(NoisyPart::Slopes(part))],
        ..ask
    };
    let refused = site.answer(&foreign).expect_err("refused").to_string();
    let why = "not the one that the task declares";
    assert!(refused.contains(why), "{refused}");
}

/// A threshold on exact counts would turn a whole answer on or off by one row.
#[test]
fn thresholds_on_exact_counts_are_of_no_effect() {
    let task = task(1.0);
    let strict = SitePolicy {
        min_rows: 1_000_000,
        min_cell: 1_000_000,
    };
    let answers = [SitePolicy::default(), strict].map(|policy| {
        let (mut site, ask) = site(&task, policy);
        site.noise_with(NoiseKey::new([7; 32]), 2);
        assert!(site.withheld(&ask).is_empty());
        site.answer(&ask).expect("an answer")
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn an_estimate_shows_the_short_plan() {
    let task = task(1.0);
    let guess = Guess {
        rows: 400,
        sites: 4,
    };
    let found = search::estimate(&task, &table(1, 100), guess, &mut |_| {}).expect("an estimate");
    let stages: Vec<Stage> = found.steps.iter().map(|step| step.stage).collect();
    assert_eq!(stages, [Stage::Race, Stage::Race, Stage::Test]);
    assert_eq!(
        (found.families.len(), found.families[0].name),
        (1, "logistic")
    );
}
