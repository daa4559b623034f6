//! Splits: stable, fair, and honest about a task's own.

use super::*;
use crate::random::Stream;
use crate::table::TableMapping;

fn task(extra: &str) -> Task {
    Task::from_toml(&format!("name = \"t\"\ntarget = \"y\"\nseed = 7\n{extra}")).expect("a task")
}

fn table(text: &str) -> Table {
    Table::read("t.csv", text.as_bytes(), &TableMapping::default()).expect("a table")
}

fn rows(count: usize) -> Vec<[String; 3]> {
    (0..count)
        .map(|n| {
            [
                format!("{}", n as f64 / 7.0),
                format!("w{}", n % 13),
                format!("{}", n % 2),
            ]
        })
        .collect()
}

fn csv(rows: &[[String; 3]]) -> String {
    rows.iter().fold("x,w,y\n".to_owned(), |text, [x, w, y]| {
        text + &format!("{x},{w},{y}\n")
    })
}

#[test]
fn a_row_keeps_its_part_wherever_it_stands() {
    for seed in 0..20_u64 {
        let mut random = Stream::new("split-test", &[&seed.to_le_bytes()]);
        let mut shuffled: Vec<(usize, [String; 3])> = rows(200).into_iter().enumerate().collect();
        random.shuffle(&mut shuffled);
        let base = assign(&task(""), &table(&csv(&rows(200)))).expect("parts");
        // Other order of rows, other order of columns, part of the rows only.
        let text = shuffled
            .iter()
            .take(150)
            .fold("y;x;w\n".to_owned(), |text, (_, [x, w, y])| {
                text + &format!("{y};{x};{w}\n")
            });
        let parts = assign(&task(""), &table(&text)).expect("parts");
        for ((original, _), part) in shuffled.iter().zip(&parts) {
            assert_eq!(*part, base[*original], "seed {seed}, row {original}");
        }
    }
}

#[test]
fn shares_are_what_the_design_says() {
    let parts = assign(&task(""), &table(&csv(&rows(20_000)))).expect("parts");
    let mut test = 0.0;
    let mut held = 0.0;
    let mut folds = [0.0; FOLDS as usize];
    for part in &parts {
        match part {
            RowPart::Test => test += 1.0,
            RowPart::Train { fold, held_out } => {
                folds[usize::from(*fold)] += 1.0;
                held += f64::from(u8::from(*held_out));
            }
        }
    }
    // Five standard deviations of a binomial count: 5·√(20 000·.15·.85) = 252.
    assert!((test - 3000.0_f64).abs() < 252.0, "{test} test rows");
    assert!((held - 3000.0_f64).abs() < 252.0, "{held} held out");
    for rows in folds {
        assert!((rows - 3400.0_f64).abs() < 266.0, "{rows} rows in a fold");
    }
}

#[test]
fn another_seed_splits_otherwise() {
    let table = table(&csv(&rows(500)));
    let mut other = task("");
    other.seed = 8;
    assert_ne!(assign(&task(""), &table), assign(&other, &table));
}

#[test]
fn an_entity_stays_in_one_part() {
    let text = (0..300).fold("who,x,y\n".to_owned(), |text, n| {
        text + &format!("p{},{n},1\n", n % 30)
    });
    let table = table(&text);
    let parts = assign(&task("entity = \"who\""), &table).expect("parts");
    for row in 30..300 {
        assert_eq!(parts[row], parts[row - 30], "row {row}");
    }
    assert!(parts.contains(&RowPart::Test) && parts.iter().any(|part| *part != RowPart::Test));
    // Rows of nobody are not one entity.
    let text = (0..300).fold("who,x,y\n".to_owned(), |text, n| {
        text + &format!(",{n},1\n")
    });
    let parts = assign(&task("entity = \"who\""), &super::tests::table(&text)).expect("parts");
    assert!(parts.contains(&RowPart::Test) && parts.iter().any(|part| *part != RowPart::Test));
}

#[test]
fn a_column_of_the_task_decides() {
    let good = table("fold,y\ntrain,1\nTest,0\nTRAIN,1\n");
    let parts = assign(&task("split = \"fold\""), &good).expect("parts");
    let test: Vec<bool> = parts.iter().map(|part| *part == RowPart::Test).collect();
    assert_eq!(test, [false, true, false]);
    for bad in [
        "fold,y\ntrain,1\nvalid,0\n",
        "fold,y\ntrain,1\n,0\n",
        "fold,y\ntrain,1\n1,0\n",
    ] {
        let error = assign(&task("split = \"fold\""), &table(bad)).expect_err("not a part");
        assert!(
            error
                .to_string()
                .starts_with("t.csv, line 3, column `fold`: neither"),
            "{error}"
        );
    }
    let error = assign(&task("split = \"fald\""), &good).expect_err("no such column");
    assert!(
        error.to_string().contains("did you mean `fold`?"),
        "{error}"
    );
}

#[test]
fn few_rows_get_folds_and_many_a_holdout() {
    assert_eq!(SplitPlan::for_rows(59_999), SplitPlan::Folds);
    assert_eq!(SplitPlan::for_rows(60_000), SplitPlan::Holdout);
    assert_eq!(SplitPlan::Folds.slot(3, true), Some(3));
    assert_eq!(SplitPlan::Holdout.slot(3, true), Some(0));
    assert_eq!(SplitPlan::Holdout.slot(3, false), None);
}
