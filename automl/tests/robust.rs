//! Data that are empty, broken or odd somewhere: a round trains, or refuses and names the
//! site and the column.

use collegium_automl::profile::MIN_LEVEL_ROWS;
use collegium_automl::random::Stream;
use collegium_automl::search::{Outcome, SearchError, Silent};
use collegium_automl::simulate;
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;

fn task(more: &str) -> Task {
    let text = format!(
        "name = \"odd\"\ntarget = \"y\"\nkind = \"classification\"\nseed = 5\nmax_steps = 10\n{more}"
    );
    Task::from_toml(&text).expect("a task")
}

fn table(name: &str, csv: &str) -> (String, Table) {
    let table = Table::read(name, csv.as_bytes(), &TableMapping::default());
    (name.to_owned(), table.expect("a table"))
}

/// Rows `x,z,y` of one site; `more` adds cells before the target.
fn rows(site: u8, count: usize, more: impl Fn(usize, &mut Stream) -> String) -> String {
    let mut random = Stream::new("collegium/test/robust/v1", &[&[site]]);
    let mut csv = String::new();
    for row in 0..count {
        let (x, z) = (random.normal(), random.normal());
        let y = u8::from(x - 0.5 * z + 0.5 * random.normal() > 0.0);
        csv += &format!("{x:.3},{z:.3},{}{y}\n", more(row, &mut random));
    }
    csv
}

fn plain(site: u8, count: usize) -> String {
    format!("x,z,y\n{}", rows(site, count, |_, _| String::new()))
}

fn round(task: &Task, sites: Vec<(String, Table)>) -> Result<Outcome, SearchError> {
    simulate::run(task, sites, &mut Silent)
}

fn trained(task: &Task, sites: Vec<(String, Table)>) -> Outcome {
    let outcome = round(task, sites).expect("a champion");
    let auc = outcome.test.auc.expect("both classes are in the test");
    assert!(auc > 0.8, "AUC {auc}");
    outcome
}

fn refused(task: &Task, sites: Vec<(String, Table)>) -> String {
    round(task, sites).expect_err("refused").to_string()
}

fn reason<'o>(outcome: &'o Outcome, column: &str) -> &'o str {
    let dropped = outcome.champion.dropped.iter();
    let found = dropped.clone().find(|dropped| dropped.column == column);
    found.map_or("", |dropped| dropped.reason.as_str())
}

#[test]
fn a_site_of_one_class_or_of_few_rows_takes_part() {
    let one_class: String = plain(1, 200)
        .lines()
        .filter(|line| !line.ends_with(",0"))
        .map(|line| format!("{line}\n"))
        .collect();
    let sites = vec![
        table("ill", &one_class),
        table("tiny", "x,z,y\n0.5,0.1,1\n"),
        table("large", &plain(2, 400)),
    ];
    trained(&task(""), sites);
}

#[test]
fn a_site_without_a_row_that_counts_is_refused_by_name() {
    let empty = Table::read("ward-7", &b"x,z,y\n"[..], &TableMapping::default());
    let error = empty.expect_err("no rows").to_string();
    assert!(
        error.contains("ward-7") && error.contains("no rows"),
        "{error}"
    );
    let sites = vec![
        table("large", &plain(2, 400)),
        table("ward-8", "x,z,y\n0.5,0.1,\n0.2,0.3,NA\n"),
    ];
    let error = refused(&task(""), sites);
    assert!(error.contains("ward-8") && error.contains("`y`"), "{error}");
}

#[test]
fn a_constant_column_is_dropped_with_the_reason() {
    let csv = |site| format!("x,z,same,y\n{}", rows(site, 300, |_, _| "7,".to_owned()));
    let outcome = trained(&task(""), vec![table("a", &csv(1)), table("b", &csv(2))]);
    assert_eq!(
        reason(&outcome, "same"),
        "it is the same in every training row"
    );
}

#[test]
fn a_column_that_one_site_lacks_is_refused_dropped_or_missing_as_the_task_says() {
    let with = format!(
        "x,z,extra,y\n{}",
        rows(1, 300, |_, random| format!("{:.2},", random.normal()))
    );
    let sites = || vec![table("full", &with), table("ward-9", &plain(2, 300))];
    let outcome = trained(&task(""), sites());
    assert!(reason(&outcome, "extra").starts_with("only 1 of 2 sites have it"));
    let error = refused(&task("[columns]\nextra = \"number\""), sites());
    assert!(
        error.contains("ward-9") && error.contains("`extra`"),
        "{error}"
    );
    assert!(error.contains("missing_columns"), "{error}");
    let lenient =
        task("[constraints]\nmissing_columns = \"missing\"\n[columns]\nextra = \"number\"");
    let outcome = trained(&lenient, sites());
    let features = outcome.champion.pipeline.features();
    assert!(
        features.iter().any(|name| name.starts_with("extra")),
        "{features:?}"
    );
    // A file without the column is scored, too.
    let new = table("new", "x,z\n2,-1\n-2,1\n").1;
    let scores = outcome.champion.scores(&new).expect("scores");
    assert!(scores[0][1] > 0.7 && scores[1][1] < 0.3, "{scores:?}");
}

#[test]
fn ten_thousand_categories_are_learned_from() {
    // A shop's customers pay or do not; shop numbers are skewed over 10 000.
    let csv = |site: u8| {
        let mut random = Stream::new("collegium/test/robust/v1", &[&[site], b"shops"]);
        let mut csv = "shop,z,y\n".to_owned();
        for _ in 0..12_000 {
            let u = random.unit();
            let shop = (10_000.0 * u * u * u) as usize;
            let z = random.normal();
            // Which shops are good is as good as random, and the same at every site.
            let good = (shop * 2_654_435_761) % 1000 < 500;
            let score = if good { 1.2 } else { -1.2 } + 0.3 * z + random.normal();
            csv += &format!("shop {shop},{z:.3},{}\n", u8::from(score > 0.0));
        }
        csv
    };
    let outcome = round(&task(""), vec![table("a", &csv(1)), table("b", &csv(2))]);
    let outcome = outcome.expect("a champion");
    let features = outcome.champion.pipeline.features();
    assert!(
        features.iter().any(|name| name.starts_with("shop (")),
        "{features:?}"
    );
    let auc = outcome.test.auc.expect("an AUC");
    assert!(auc > 0.7, "AUC {auc}");
}

#[test]
fn three_hundred_columns_are_learned_from() {
    let names: Vec<String> = (0..298).map(|n| format!("c{n}")).collect();
    let csv = |site| {
        let rows = rows(site, 250, |_, random| {
            let cells = (0..298).map(|n| match n % 3 {
                0 => format!("{:.2},", random.normal()),
                1 => format!("{},", random.below(5)),
                _ => format!("{},", ["red", "green", "blue"][random.below(3)]),
            });
            cells.collect()
        });
        format!("x,z,{},y\n{rows}", names.join(","))
    };
    let wide = task("preset = \"fast\"\n[constraints]\nallowed_models = [\"net\"]");
    match round(&wide, vec![table("a", &csv(1)), table("b", &csv(2))]) {
        Ok(outcome) => {
            let inputs = outcome.champion.pipeline.inputs().count();
            assert!(inputs >= 300, "{inputs} of 300 columns");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn infinite_numbers_are_refused_and_nan_is_missing() {
    let csv = |cell: &str| {
        format!(
            "x,z,dose,y\n{}",
            rows(1, 300, |row, random| {
                if row % 10 == 3 {
                    format!("{cell},")
                } else {
                    format!("{:.2},", random.unit())
                }
            })
        )
    };
    for cell in ["inf", "-Infinity", "1e999"] {
        let read = Table::read("ward-3", csv(cell).as_bytes(), &TableMapping::default());
        let error = read.expect_err("infinite").to_string();
        assert!(error.contains("ward-3, line 5, column `dose`"), "{error}");
    }
    for cell in ["NaN", "nan", "", "NA"] {
        let outcome = trained(
            &task(""),
            vec![table("a", &csv(cell)), table("b", &csv(cell))],
        );
        let features = outcome.champion.pipeline.features();
        assert!(
            MIN_LEVEL_ROWS < 60 && features.iter().any(|name| name.starts_with("dose")),
            "{features:?}"
        );
    }
}

#[test]
fn one_class_everywhere_is_refused_with_the_column() {
    let ill: String = plain(1, 200)
        .lines()
        .filter(|line| !line.ends_with(",0"))
        .map(|line| format!("{line}\n"))
        .collect();
    let error = refused(&task(""), vec![table("a", &ill), table("b", &ill)]);
    assert!(
        error.contains("`y`") && error.contains("nothing to learn"),
        "{error}"
    );
}

#[test]
fn empty_and_text_only_columns_do_no_harm() {
    let csv = |site| {
        format!(
            "x,z,none,note,y\n{}",
            rows(site, 300, |row, random| {
                format!(
                    ",visit {row} of a patient who came by {},",
                    random.below(100_000)
                )
            })
        )
    };
    let outcome = trained(&task(""), vec![table("a", &csv(1)), table("b", &csv(2))]);
    assert_eq!(
        reason(&outcome, "none"),
        "it has no value in any training row"
    );
    let note = reason(&outcome, "note");
    let kept = outcome
        .champion
        .pipeline
        .inputs()
        .any(|name| name == "note");
    assert!(
        kept || note.contains("tells") || note.contains("own"),
        "{note}"
    );
}
