//! Rounds that follow rounds: what is kept, what is replaced, what has moved, and that all of it
//! is the same each time.

mod hospitals;

use collegium_automl::federation::{Journaled, MemoryJournal};
use collegium_automl::model::Champion;
use collegium_automl::random::Stream;
use collegium_automl::search::{self, Decision, Memory, MemoryError, Outcome, Round, Silent};
use collegium_automl::simulate;
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;

/// A table of three numbers and a category, and of what the rule makes of them.
fn made(seed: u8, header: &str, line: impl Fn(&mut Stream) -> String) -> Table {
    let mut random = Stream::new("collegium/test/series/v1", &[&[seed]]);
    let mut csv = format!("{header}\n");
    for _ in 0..600 {
        csv.push_str(&line(&mut random));
        csv.push('\n');
    }
    Table::read("site", csv.as_bytes(), &TableMapping::default()).expect("a table")
}

const HEADER: &str = "a,b,c,city,y";

/// The class follows `a` and `b`, turned round where `sign` is negative; `c` has a place of its
/// own.
fn row(random: &mut Stream, sign: f64, c: f64) -> String {
    let (a, b) = (random.normal(), random.normal());
    let city = ["north", "south", "west"][random.below(3)];
    let score = sign * (1.5 * a - b) + random.normal();
    format!(
        "{a:.4},{b:.4},{:.4},{city},{}",
        random.normal() + c,
        u8::from(score > 0.0)
    )
}

fn sites(sign: f64, c: f64) -> Vec<(String, Table)> {
    let site = |seed| made(seed, HEADER, |random| row(random, sign, c));
    vec![("one".to_owned(), site(1)), ("two".to_owned(), site(2))]
}

fn task(more: &str) -> Task {
    let text = format!("name = \"series\"\ntarget = \"y\"\nseed = 3\nmax_steps = 16\n{more}");
    Task::from_toml(&text).expect("a task")
}

fn first(task: &Task, sites: Vec<(String, Table)>) -> Outcome {
    simulate::run(task, sites, &mut Silent).expect("a champion")
}

fn after(task: &Task, outcome: &Outcome, sites: Vec<(String, Table)>) -> Outcome {
    let round = Round::after(outcome.memory.clone());
    simulate::run_round(task, &round, sites, &mut Silent).expect("a champion")
}

fn bytes(champion: &Champion) -> Vec<u8> {
    champion.to_bytes().expect("bytes")
}

fn psi(outcome: &Outcome, column: &str) -> f64 {
    let drift = outcome.round.drift.as_ref().expect("drift");
    let found = drift.columns.iter().find(|drift| drift.column == column);
    found
        .unwrap_or_else(|| panic!("{column} is not in {drift:?}"))
        .psi
}

#[test]
fn on_the_same_rows_the_champion_is_kept_and_nothing_has_moved() {
    let task = Task {
        max_steps: Some(16),
        ..hospitals::task()
    };
    let one = first(&task, hospitals::hospitals());
    assert_eq!(one.round.verdict.decision, Decision::First);
    assert!(one.round.words().is_empty());
    let two = after(&task, &one, hospitals::hospitals());
    let verdict = &two.round.verdict;
    assert_eq!(verdict.decision, Decision::Kept, "{verdict:?}");
    assert_eq!(bytes(&two.champion), bytes(&one.champion));
    assert_eq!(two.test, one.test);
    assert_eq!(two.description(), one.description());
    // The loss that the comparison finds is the one that chose it.
    let chosen = one.champion.validation.log_loss.expect("a loss");
    let found = verdict.incumbent_loss.expect("a loss");
    assert!((chosen - found).abs() < 1e-9, "{chosen} and {found}");
    assert_eq!(verdict.rows, one.champion.validation.rows);
    let drift = two.round.drift.as_ref().expect("drift");
    assert!(!drift.columns.is_empty());
    assert!(
        drift.columns.iter().all(|drift| drift.psi == 0.0),
        "{drift:?}"
    );
    assert_eq!(drift.score.as_ref().map(|drift| drift.psi), Some(0.0));
    assert!((&drift.gone, &drift.new) == (&vec![], &vec![]), "{drift:?}");
    let words = two.round.words().join("\n");
    assert!(
        words.contains("Round 2 keeps its champion") && words.contains("no column has moved"),
        "{words}"
    );
    // It starts from what did well, and from a quarter of the portfolio.
    let tried = two.leaderboard.len();
    assert!(
        tried < one.leaderboard.len() && tried >= 8,
        "{tried} of {}",
        one.leaderboard.len()
    );
    assert!(two.steps <= 16, "{} steps", two.steps);
    // A third round remembers both, and the champion of the first is compared still.
    let three = after(&task, &two, hospitals::hospitals());
    assert_eq!(
        (three.round.number, &three.round.verdict.decision),
        (3, &Decision::Kept)
    );
    assert_eq!(bytes(&three.champion), bytes(&one.champion));
    let rounds: Vec<u32> = [1, 2, 3]
        .into_iter()
        .filter(|round| {
            three
                .memory
                .notes
                .history
                .iter()
                .any(|measured| measured.round == *round)
        })
        .collect();
    assert_eq!(rounds, [1, 2, 3]);
}

#[test]
fn where_the_rows_turn_round_the_champion_is_replaced() {
    let task = task("");
    let one = first(&task, sites(1.0, 0.0));
    let two = after(&task, &one, sites(-1.0, 0.0));
    let verdict = &two.round.verdict;
    assert_eq!(verdict.decision, Decision::Replaced, "{verdict:?}");
    assert!(
        verdict.incumbent_loss > verdict.challenger_loss,
        "{verdict:?}"
    );
    assert!(
        verdict
            .reason
            .contains("is better than the champion of round 1"),
        "{verdict:?}"
    );
    assert_ne!(bytes(&two.champion), bytes(&one.champion));
    assert!(two.test.auc > Some(0.8), "{:?}", two.test);
    // The features are spread as before: what moved is what follows from them.
    assert!(
        ["a", "b", "c", "city"]
            .iter()
            .all(|column| psi(&two, column) < 0.1)
    );
    assert_eq!(two.round.lineage, two.champion.lineage);
}

#[test]
fn a_column_that_moved_is_named_and_no_other() {
    let task = task("");
    let one = first(&task, sites(1.0, 0.0));
    let two = after(&task, &one, sites(1.0, 1.5));
    assert!(psi(&two, "c") > 1.0, "{}", psi(&two, "c"));
    for column in ["a", "b", "city"] {
        assert!(psi(&two, column) < 0.05, "{column}: {}", psi(&two, column));
    }
    let words = two.round.words().join("\n");
    assert!(
        words.contains("columns moved far (PSI above 0.25): c ("),
        "{words}"
    );
    assert!(!words.contains("shifted somewhat (PSI"), "{words}");
    // The next round starts from the rows as they are now.
    let three = after(&task, &two, sites(1.0, 1.5));
    assert_eq!(psi(&three, "c"), 0.0);
}

#[test]
fn a_champion_whose_column_is_gone_or_has_another_type_is_replaced() {
    let task = task("");
    let one = first(&task, sites(1.0, 0.0));
    let without = |random: &mut Stream| {
        let whole = row(random, 1.0, 0.0);
        let cells: Vec<&str> = whole.split(',').collect();
        format!("{},{},{},{}", cells[0], cells[1], cells[3], cells[4])
    };
    let two = after(
        &task,
        &one,
        vec![("one".to_owned(), made(1, "a,b,city,y", without))],
    );
    let verdict = &two.round.verdict;
    assert_eq!(verdict.decision, Decision::Replaced);
    assert!(
        verdict
            .reason
            .contains("cannot be scored any more: column `c` is gone: no site has it"),
        "{}",
        verdict.reason
    );
    let drift = two.round.drift.as_ref().expect("drift");
    assert_eq!(drift.gone[0].column, "c");
    // One step less: there was nothing to compare.
    assert_eq!((verdict.rows, verdict.incumbent_loss), (0, None));
    let three = after(&task, &two, sites(1.0, 0.0));
    let drift = three.round.drift.as_ref().expect("drift");
    assert_eq!(drift.new, ["c"]);

    let in_words = |random: &mut Stream| {
        let whole = row(random, 1.0, 0.0);
        let cells: Vec<&str> = whole.split(',').collect();
        let c = if cells[2].starts_with('-') {
            "low"
        } else {
            "high"
        };
        format!("{},{},{c},{},{}", cells[0], cells[1], cells[3], cells[4])
    };
    let two = after(
        &task,
        &one,
        vec![("one".to_owned(), made(1, HEADER, in_words))],
    );
    let reason = &two.round.verdict.reason;
    assert!(
        reason.contains("column `c` holds texts now, and held numbers"),
        "{reason}"
    );
}

#[test]
fn a_number_is_kept_in_its_own_unit() {
    let task = task("kind = \"regression\"");
    let line = |random: &mut Stream| {
        let (a, b) = (random.normal(), random.normal());
        format!(
            "{a:.4},{b:.4},{:.4}",
            300.0 + 40.0 * a - 20.0 * b + 5.0 * random.normal()
        )
    };
    let one = first(&task, vec![("one".to_owned(), made(4, "a,b,y", line))]);
    // Other rows of the same kind: mean and scale of the target differ a little.
    let two = after(
        &task,
        &one,
        vec![("one".to_owned(), made(5, "a,b,y", line))],
    );
    let verdict = &two.round.verdict;
    let (old, new) = (verdict.incumbent_loss, verdict.challenger_loss);
    let ratio = old.expect("a loss") / new.expect("a loss");
    assert!((0.8..1.25).contains(&ratio), "{verdict:?}");
    assert_eq!(two.round.drift.as_ref().expect("drift").score, None);
}

#[test]
fn a_round_with_a_memory_is_the_same_each_time_and_replays_from_its_journal() {
    let task = task("");
    let one = first(&task, sites(1.0, 0.0));
    let whole = after(&task, &one, sites(-1.0, 0.5));
    // From the files, as the coordinator reads them.
    let notes = one.memory.to_bytes().expect("bytes");
    let memory = Memory::from_bytes(&notes, &bytes(&one.champion)).expect("a memory");
    assert_eq!(memory, one.memory);
    let round = Round::after(memory);
    let mut journal = MemoryJournal::default();
    let pooled = simulate::federation(&task, sites(-1.0, 0.5)).expect("sites");
    let mut journaled = Journaled::new(pooled, &mut journal);
    let again = search::round(&task, &round, &mut journaled, &mut Silent).expect("a champion");
    let nobody = simulate::federation(&task, sites(1.0, 9.0)).expect("sites");
    let mut journaled = Journaled::new(nobody, &mut journal);
    let replayed = search::round(&task, &round, &mut journaled, &mut Silent).expect("a champion");
    for other in [&again, &replayed] {
        assert_eq!(bytes(&other.champion), bytes(&whole.champion));
        assert_eq!(other.round, whole.round);
        assert_eq!(
            other.memory.to_bytes().expect("bytes"),
            whole.memory.to_bytes().expect("bytes")
        );
    }
}

#[test]
fn how_rows_are_spread_over_sites_changes_nothing_of_a_second_round() {
    // Networks alone know which site a row is at.
    let task = task("[constraints]\nallowed_models = [\"logistic\", \"scorecard\", \"gbdt\"]");
    let rounds = [1, 3].map(|count| {
        let one = first(&task, spread(count, 1.0));
        after(&task, &one, spread(count, -1.0))
    });
    // The lineage names who contributed; everything else is the same.
    assert!(rounds[0].champion.pipeline == rounds[1].champion.pipeline);
    assert!(rounds[0].champion.model == rounds[1].champion.model);
    assert_eq!(rounds[0].round.verdict, rounds[1].round.verdict);
    assert_eq!(rounds[0].round.drift, rounds[1].round.drift);
}

/// The same 600 rows at this many sites.
fn spread(count: usize, sign: f64) -> Vec<(String, Table)> {
    let mut random = Stream::new("collegium/test/series/v1", &[b"spread"]);
    let mut files = vec![format!("{HEADER}\n"); count];
    for n in 0..600 {
        files[n % count].push_str(&format!("{}\n", row(&mut random, sign, 0.0)));
    }
    let read = |csv: &String| Table::read("site", csv.as_bytes(), &TableMapping::default());
    let tables = files
        .iter()
        .map(|csv| ("site".to_owned(), read(csv).expect("a table")));
    tables.collect()
}

#[test]
fn a_memory_that_does_not_hold_together_is_refused() {
    let task = task("");
    let one = first(&task, sites(1.0, 0.0));
    let (notes, champion) = (one.memory.to_bytes().expect("bytes"), bytes(&one.champion));
    let text = String::from_utf8(notes.clone()).expect("JSON");
    let refused = |notes: &str, champion: &[u8]| {
        Memory::from_bytes(notes.as_bytes(), champion).expect_err("refused")
    };
    assert!(matches!(
        refused(&text[..text.len() / 2], &champion),
        MemoryError::Malformed(_)
    ));
    assert!(matches!(refused("", &champion), MemoryError::Malformed(_)));
    assert!(matches!(
        refused(&text, b"{}\n"),
        MemoryError::OtherChampion { .. }
    ));
    let other = text.replacen("\"version\":1", "\"version\":2", 1);
    assert!(matches!(
        refused(&other, &champion),
        MemoryError::OtherVersion { version: 2, .. }
    ));
    let more = text.replacen("\"round\":1", "\"round\":1,\"more\":1", 1);
    assert!(matches!(
        refused(&more, &champion),
        MemoryError::Malformed(_)
    ));
    let never = text.replacen("\"round\":1,\"columns\"", "\"round\":0,\"columns\"", 1);
    assert!(matches!(
        refused(&never, &champion),
        MemoryError::Inconsistent(_)
    ));
    // Rows that the champion learned from would judge it.
    let other = Task { seed: 4, ..task };
    let round = Round::after(one.memory);
    let error = simulate::run_round(&other, &round, sites(1.0, 0.0), &mut Silent);
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("memory is of another task"), "{error}");
}
