//! Champions as files: what they predict, and which files are read.

mod hospitals;

use collegium_automl::model::{Champion, ChampionError, predict_csv};
use collegium_automl::search::{Outcome, Silent};
use collegium_automl::simulate;
use collegium_automl::task::Task;

fn round(most: u32) -> Outcome {
    let task = Task {
        max_steps: Some(most),
        ..hospitals::task()
    };
    simulate::run(&task, hospitals::hospitals(), &mut Silent).expect("a champion")
}

fn bytes(outcome: &Outcome) -> Vec<u8> {
    outcome.champion.to_bytes().expect("bytes")
}

#[test]
fn predictions_come_from_the_file_row_by_row() {
    let outcome = round(13);
    let champion = Champion::from_bytes(&bytes(&outcome)).expect("a champion file");
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("scores.csv");
    let input = folder.path().join("rows.csv");
    let csv = hospitals::csv("cleveland");
    std::fs::write(&input, &csv).expect("rows");
    let map = hospitals::mapping("cleveland");
    let predicted = predict_csv(&champion, &input, &map, &output).expect("scores");
    assert_eq!(predicted.rows, 303);
    let written = std::fs::read_to_string(&output).expect("scores");
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!((lines[0], lines.len()), ("p_0,p_1,class", 304));
    let expected = champion
        .scores(&hospitals::hospital("cleveland"))
        .expect("scores");
    for (line, row) in lines[1..].iter().zip(&expected) {
        let (numbers, class) = line.rsplit_once(',').expect("a class");
        let cells: Vec<f64> = numbers
            .split(',')
            .map(|c| c.parse().expect("a number"))
            .collect();
        assert_eq!(&cells, row);
        assert_eq!(Some(class), champion.class(row));
        assert!((cells[0] + cells[1] - 1.0).abs() < 1e-9);
    }
    // A column is not there: nothing is written, the column is named.
    let renamed = csv.replacen("thalach", "pulse", 1);
    std::fs::write(&input, renamed).expect("rows");
    std::fs::remove_file(&output).expect("no scores");
    let error = predict_csv(&champion, &input, &map, &output).expect_err("a column is gone");
    assert!(error.to_string().contains("thalach"), "{error}");
    assert!(!output.exists());
}

#[test]
fn files_of_other_versions_are_refused() {
    let text = String::from_utf8(bytes(&round(7))).expect("JSON");
    assert!(text.starts_with("{\"format\":\"collegium-champion\",\"version\":2,"));
    let newer = text.replacen("\"version\":2", "\"version\":3", 1);
    let error = Champion::from_bytes(newer.as_bytes()).expect_err("version 3");
    assert!(
        matches!(error, ChampionError::OtherVersion { version: 3, .. }),
        "{error}"
    );
    let cut = &text.as_bytes()[..text.len() / 2];
    assert!(matches!(
        Champion::from_bytes(cut).expect_err("cut"),
        ChampionError::Malformed(_)
    ));
    let narrow = text.replacen("\"head\":\"binary\"", "\"head\":\"number\"", 1);
    assert!(Champion::from_bytes(narrow.as_bytes()).is_err());
    // A threshold is for version 2: a reader of version 1 would pass over it.
    let older = text.replacen("\"version\":2", "\"version\":1", 1);
    assert!(matches!(
        Champion::from_bytes(older.as_bytes()).expect_err("contradiction"),
        ChampionError::Inconsistent(_)
    ));
    for (from, to) in [
        (
            "\"threshold\":{\"probability\":0",
            "\"threshold\":{\"probability\":1",
        ),
        ("\"threshold\":{", "\"threshold\":{\"model\":1,"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(Champion::from_bytes(changed.as_bytes()).is_err(), "{to}");
    }
}

/// A file that the program wrote before there were blends.
#[test]
fn a_file_of_version_1_still_predicts() {
    let bytes = include_bytes!("fixtures/champion_v1.json");
    let champion = Champion::from_bytes(bytes).expect("version 1");
    assert_eq!(champion.to_bytes().expect("bytes"), bytes);
    assert_eq!((champion.models(), champion.family()), (1, "logistic"));
    let scores = champion.scores(&hospitals::hospital("cleveland"));
    let scores = scores.expect("scores");
    let expected = include_str!("fixtures/champion_v1_scores.csv");
    for (row, line) in scores.iter().zip(expected.lines().skip(1)) {
        let cells: Vec<f64> = line
            .split(',')
            .map(|c| c.parse().expect("a number"))
            .collect();
        assert_eq!(row, &cells);
        let class = if cells[1] >= 0.5 { "1" } else { "0" };
        assert_eq!(champion.class(row), Some(class));
    }
}
