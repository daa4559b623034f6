//! The rule that keeps or replaces a champion.

use super::*;

fn decided(gain: f64, gain_se: f64, rows: u64) -> Verdict {
    let mut verdict = first("new one", &[], 5).verdict;
    verdict.incumbent = Some("old one".to_owned());
    let compared = Compared {
        rows,
        old: 0.5,
        new: 0.5 - gain,
        gain,
        gain_se,
        scores: Vec::new(),
    };
    decide(&mut verdict, &compared, 4);
    verdict
}

#[test]
fn only_a_gain_of_more_than_one_standard_error_replaces() {
    for (gain, se, rows, decision, words) in [
        (
            0.02,
            0.019,
            100,
            Decision::Replaced,
            "more than one standard error",
        ),
        (0.02, 0.02, 100, Decision::Kept, "within one standard error"),
        (
            -0.3,
            0.01,
            100,
            Decision::Kept,
            "is not better (0.3000 ± 0.0100 a row) than",
        ),
        (0.0, 0.0, 100, Decision::Kept, "predicts the same as"),
        (
            0.2,
            f64::INFINITY,
            1,
            Decision::Kept,
            "no rows validate for both",
        ),
        (f64::NAN, f64::NAN, 100, Decision::Kept, "is not better"),
    ] {
        let verdict = decided(gain, se, rows);
        assert_eq!(verdict.decision, decision, "{gain} {se}");
        assert!(verdict.reason.contains(words), "{}", verdict.reason);
        assert!(
            verdict.reason.contains("champion of round 4"),
            "{}",
            verdict.reason
        );
    }
}
