//! Which rows a site takes, and when it has too few.

use super::*;
use crate::features::Matrix;

#[test]
fn a_sample_is_bounded_drawn_by_the_seed_and_nested() {
    let small = drawn(7, 1000, 50);
    assert_eq!(small.len(), 50);
    assert!(small.is_sorted_by(|a, b| a < b) && small.iter().all(|row| *row < 1000));
    assert_eq!(small, drawn(7, 1000, 50), "the same again");
    assert_ne!(small, drawn(8, 1000, 50), "another seed");
    let large = drawn(7, 1000, 200);
    assert!(small.iter().all(|row| large.contains(row)));
    assert_eq!(drawn(7, 50, 50), (0..50).collect::<Vec<_>>());
    assert_eq!(drawn(7, 3, 50), [0, 1, 2]);
    assert!(drawn(7, 0, 50).is_empty());
}

fn rows(targets: &[f64], slot: impl Fn(usize) -> Slot) -> Rows {
    let count = targets.len();
    let values = (0..count).map(|row| row as f64).collect();
    let slots = (0..count).map(slot).collect();
    Rows::from_parts(Matrix::numbers(count, 1, values), targets.to_vec(), slots)
}

#[test]
fn too_few_rows_or_classes_teach_nothing() {
    let fold = |row: usize| Slot::Fold((row % 5) as u8);
    let mixed: Vec<f64> = (0..60).map(|row| f64::from(row % 2)).collect();
    assert!(teaches(&rows(&mixed, fold), Head::Binary));
    assert!(!teaches(
        &rows(&mixed[..FEWEST_ROWS - 1], fold),
        Head::Binary
    ));
    assert!(!teaches(&rows(&[1.0; 60], fold), Head::Binary));
    assert!(teaches(&rows(&[1.0; 60], fold), Head::Number));
    let mut rare = vec![0.0; 60];
    rare[..FEWEST_OF_CLASS - 1].fill(1.0);
    assert!(!teaches(&rows(&rare, fold), Head::Binary));
    rare[FEWEST_OF_CLASS] = 1.0;
    assert!(teaches(&rows(&rare, fold), Head::Binary));
    assert!(!teaches(&rows(&mixed, |_| Slot::TrainOnly), Head::Binary));
}

#[test]
fn rows_that_are_picked_bring_all_that_is_theirs() {
    let all = rows(&[0.0, 1.0, 0.0, 1.0], |row| Slot::Fold(row as u8));
    let picked = all.picked(&[1, 3]);
    assert_eq!(
        (picked.len(), picked.targets.as_slice()),
        (2, &[1.0, 1.0][..])
    );
    assert_eq!(picked.slots, [Slot::Fold(1), Slot::Fold(3)]);
    assert_eq!(picked.row(1), all.row(3));
    assert_ne!(picked.digest(), all.digest());
}
