//! Against XGBoost and LightGBM: `automl/tests/oracle/gbdt.py` recorded what they
//! make of the same rows in `oracle.json`.

use serde::Deserialize;

use super::GbdtHyperparameters;
use super::harness::{Line, Sites, rows};
use super::trainer::GbdtTrainer;
use crate::family::{Head, Setting, Trainer};
use crate::features::BinColumn;
use crate::site::Slot;

const BINS: [u8; 6] = [17, 9, 33, 65, 5, 25];
const TRAIN: usize = 3000;
const VALID: usize = 1000;

#[derive(Deserialize)]
struct Recorded {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    library: String,
    head: String,
    losses: Vec<f64>,
    predictions: Vec<f64>,
}

/// SplitMix64, as in the script.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound) as i64
    }
}

/// Rows and their scores, as in the script.
fn draw(count: usize, seed: u64) -> Vec<(Vec<u8>, i64)> {
    let mut draw = Numbers(seed);
    let line = |_| {
        let mut row: Vec<i64> = BINS
            .iter()
            .map(|bins| 1 + draw.below(u64::from(*bins) - 1))
            .collect();
        if draw.below(6) == 0 {
            row[1] = 0;
        }
        if draw.below(10) == 0 {
            row[3] = 0;
        }
        let mut score = 24 * (row[0] - 8) + if row[1] == 0 { 150 } else { 30 * (row[1] - 4) };
        score += if row[3] > 40 && row[0] > 6 { -120 } else { 40 };
        score += if [2, 4].contains(&row[4]) { 90 } else { 0 };
        score += draw.below(401) - 200;
        (row.into_iter().map(|bin| bin as u8).collect(), score)
    };
    (0..count).map(line).collect()
}

fn lines(head: Head) -> Vec<Line> {
    let target = |score: i64| match head {
        Head::Number => score as f64 / 256.0,
        Head::Binary => f64::from(u8::from(score > 60)),
        Head::Classes(_) => f64::from(u8::from(score > -60) + u8::from(score > 160)),
    };
    let part = |count, seed, slot| {
        let rows = draw(count, seed).into_iter();
        rows.map(move |(bins, score)| Line {
            bins,
            target: target(score),
            slot,
        })
    };
    let train = part(TRAIN, 1, Slot::TrainOnly);
    train.chain(part(VALID, 2, Slot::Fold(0))).collect()
}

fn columns() -> Vec<BinColumn> {
    BINS.iter()
        .enumerate()
        .map(|(at, bins)| BinColumn {
            name: format!("x{at}"),
            bins: usize::from(*bins),
            ordered: true,
        })
        .collect()
}

#[test]
fn losses_and_predictions_are_those_of_xgboost_and_lightgbm() {
    let recorded: Recorded = serde_json::from_str(include_str!("oracle.json")).expect("the record");
    assert_eq!(recorded.runs.len(), 5);
    for run in recorded.runs {
        let head = match run.head.as_str() {
            "binary" => Head::Binary,
            "classes" => Head::Classes(3),
            _ => Head::Number,
        };
        let lines = lines(head);
        let setting = Setting::for_test(head, 1, BINS.len(), lines.len() as u64);
        let hyperparameters = GbdtHyperparameters::new(0.3, 4);
        let mut trainer =
            GbdtTrainer::with_columns(hyperparameters, &setting, &columns()).expect("a trainer");
        let mut sites = Sites::new(std::slice::from_ref(&lines));
        // Four steps a stage, and one to score the last.
        let losses = sites.train(&mut trainer, 4 * run.losses.len() as u32 + 1);
        let what = format!("{} {}", run.library, run.head);
        // A number's base is known, and scored, before the first stage.
        let base = usize::from(head == Head::Number);
        let losses = &losses[base..];
        assert_eq!(losses.len(), run.losses.len(), "{what}");
        for (stage, (ours, theirs)) in losses.iter().zip(&run.losses).enumerate() {
            // The first stages grow the same trees; rounding may tip a split later.
            let most = if stage < 3 { 2e-4 } else { 0.01 };
            let apart = (ours.mean() - theirs).abs() / theirs;
            assert!(
                apart < most,
                "{what}, stage {stage}: {} {theirs}",
                ours.mean()
            );
        }
        let model = trainer.model();
        let model = model.model().expect("a model");
        let rows = rows(&lines);
        let mut scores = vec![0.0; head.scores()];
        let mut apart = 0.0;
        for (at, theirs) in run.predictions.iter().enumerate() {
            model.predict(0, rows.row(TRAIN + at), &mut scores);
            apart += (scores[scores.len() - 1] - theirs).abs();
        }
        let apart = apart / run.predictions.len() as f64;
        // A tipped split moves a few rows, in one of three trees a stage for three classes.
        let most = if run.head == "classes" { 0.04 } else { 0.02 };
        assert!(apart < most, "{what}: predictions {apart} apart on average");
    }
}
