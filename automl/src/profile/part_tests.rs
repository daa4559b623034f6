//! The asks of the profile: grids, names and caps.

use super::*;
use crate::ask::Segment;
use crate::random::Stream;

const MAX_NAMES: usize = crate::table::MAX_COLUMNS;

#[test]
fn names_are_read_from_their_sum() {
    for seed in 0..20_u64 {
        let mut random = Stream::new("schema-test", &[&seed.to_le_bytes()]);
        let all: Vec<String> = (0..MAX_NAMES)
            .map(|n| format!("列 {n} {}", random.below(1000)))
            .collect();
        let own: Vec<Vec<&str>> = (0..5)
            .map(|_| {
                all.iter()
                    .map(String::as_str)
                    .filter(|_| random.below(4) > 0)
                    .collect()
            })
            .collect();
        let mut expected = std::collections::BTreeMap::new();
        for name in own.iter().flatten() {
            *expected.entry((*name).to_owned()).or_insert(0_u64) += 1;
        }
        let sum_of = |attempt: u8| {
            let mut sum = vec![0_u64; schema::NUMBERS];
            for names in &own {
                let answer = schema::encode(attempt, names).expect("room for the names");
                sum.iter_mut()
                    .zip(answer)
                    .for_each(|(sum, number)| *sum += number);
            }
            sum
        };
        let read =
            (0..schema::ATTEMPTS).find_map(|attempt| schema::decode(attempt, sum_of(attempt)));
        assert_eq!(read, Some(expected), "seed {seed}");
        let mut wrong = sum_of(0);
        wrong[3] += 1;
        assert_eq!(
            schema::decode(0, wrong),
            None,
            "a wrong sum must not decode"
        );
    }
}

#[test]
fn coarse_cells_hold_their_numbers() {
    let mut random = Stream::new("grid-test", &[b"1"]);
    for _ in 0..2000 {
        let number = libm::ldexp(random.unit() - 0.5, random.below(90) as i32 - 38);
        let mut counts = vec![0; grid::COARSE_CELLS];
        counts[grid::coarse_cell(number)] = 1;
        let edges = grid::refined_edges(&counts, false, MAX_CELLS);
        assert!(
            edges[0] <= number && number <= edges[edges.len() - 1],
            "{number} in {edges:?}"
        );
        assert!(
            edges.is_sorted_by(|a, b| a < b) && edges.len() <= MAX_CELLS + 1,
            "{edges:?}"
        );
    }
    assert_eq!(grid::coarse_cell(0.0), grid::coarse_cell(-0.0));
    assert_eq!(grid::coarse_cell(f64::MAX), grid::COARSE_CELLS - 1);
    assert_eq!(grid::coarse_cell(f64::MIN), 0);
}

#[test]
fn refined_edges_stay_within_their_caps() {
    for seed in 0..200_u64 {
        let mut random = Stream::new("edges-test", &[&seed.to_le_bytes()]);
        let dense = 1 + random.below(4);
        let counts: Vec<u64> = (0..grid::COARSE_CELLS)
            .map(|_| {
                if random.below(dense) == 0 {
                    random.below(1000) as u64
                } else {
                    0
                }
            })
            .collect();
        for whole in [false, true] {
            for most in [MAX_CELLS, MAX_GRID] {
                let edges = grid::refined_edges(&counts, whole, most);
                assert!(edges.is_sorted_by(|a, b| a < b), "seed {seed}");
                assert!(
                    edges.len() <= most + 1,
                    "seed {seed}: {} edges",
                    edges.len()
                );
            }
        }
    }
    assert!(grid::refined_edges(&vec![0; grid::COARSE_CELLS], true, MAX_GRID).is_empty());
}

/// Like the capital gains of a census: nearly all rows are zero, and among the others single
/// values that lie close together are frequent.
#[test]
fn two_looks_tell_frequent_neighbours_apart() {
    let mut random = Stream::new("atoms-test", &[b"1"]);
    let pairs = [(3103, 3137), (4386, 4416), (7688, 7696)];
    let mut numbers = vec![0.0; 36_000];
    let apart = (0..40).map(|place: i32| 114 + 251 * place);
    for atom in apart.chain(pairs.iter().flat_map(|pair| [pair.0, pair.1])) {
        numbers.extend(vec![f64::from(atom); 40 + random.below(60)]);
    }
    numbers.extend(vec![99_999.0; 240]);
    let count = |edges: &[f64]| {
        let mut counts = vec![0_u64; edges.len() - 1];
        numbers
            .iter()
            .for_each(|&number| counts[grid::cell(edges, number)] += 1);
        counts
    };
    let mut coarse = vec![0; grid::COARSE_CELLS];
    numbers
        .iter()
        .for_each(|&number| coarse[grid::coarse_cell(number)] += 1);
    let shared = |most: usize| {
        let first = grid::refined_edges(&coarse, true, most);
        let edges = grid::edges_again(&first, &count(&first), true, most);
        let cuts = grid::cuts(&edges, &count(&edges), MAX_CELLS);
        assert!(cuts.len() < MAX_CELLS, "{} cuts", cuts.len());
        let bin = |atom: i32| cuts.partition_point(|&cut| cut <= f64::from(atom));
        let mut shared = pairs.to_vec();
        shared.retain(|pair| bin(pair.0) == bin(pair.1));
        shared
    };
    assert_eq!(shared(grid::cells_each(14)), []);
    // As many cells as bins are too few to find them.
    assert!(!shared(MAX_CELLS).is_empty());
}

#[test]
fn a_look_at_the_widest_table_fits_an_ask() {
    for columns in [1, 100, 400, MAX_NAMES] {
        let cells = grid::cells_each(columns);
        assert!((MAX_CELLS..=MAX_GRID).contains(&cells));
        // Most edges are short; those of a column of tiny fractions have 17 digits and more.
        let edges: Vec<f64> = (0..=cells).map(|cell| cell as f64 / 3.0).collect();
        let bytes = serde_json::to_vec(&edges).map_or(usize::MAX, |text| text.len());
        assert!(
            bytes * columns <= crate::ask::MAX_ASK_BYTES,
            "{columns} columns take {bytes} bytes each"
        );
    }
}

#[test]
fn asks_out_of_bounds_are_refused() {
    let moments = |bits, rows, lo: f64, hi: f64| ProfilePart::Moments {
        bits,
        rows,
        columns: vec![MomentsColumn {
            name: "x".to_owned(),
            source: Source::Numbers,
            lo,
            hi,
        }],
    };
    assert!(moments(16, 1 << 14, 0.0, 1.0).check().is_ok());
    for part in [
        moments(16, 1 << 15, 0.0, 1.0),
        moments(0, 10, 0.0, 1.0),
        moments(40, 10, 0.0, 1.0),
        moments(4, 0, 0.0, 1.0),
        moments(4, 10, 1.0, 1.0),
        moments(4, 10, f64::NAN, 1.0),
        moments(4, 10, f64::MIN, f64::MAX),
    ] {
        assert!(part.check().is_err(), "{part:?}");
    }
    let refine = |names: &[&str], edges: Vec<f64>| ProfilePart::Refine {
        columns: names
            .iter()
            .map(|name| RefineColumn {
                name: (*name).to_owned(),
                source: Source::Numbers,
                edges: edges.clone(),
            })
            .collect(),
    };
    assert!(refine(&["a", "b"], vec![0.0, 1.0]).check().is_ok());
    for part in [
        refine(&["b", "a"], vec![0.0, 1.0]),
        refine(&["a", "a"], vec![0.0, 1.0]),
        refine(&[""], vec![0.0, 1.0]),
        refine(&["a"], vec![0.0]),
        refine(&["a"], vec![1.0, 0.0]),
        refine(&["a"], vec![0.0, f64::INFINITY]),
        refine(&["a"], (0..=MAX_GRID as u32 + 1).map(f64::from).collect()),
    ] {
        assert!(part.check().is_err(), "{part:?}");
    }
    assert!(
        ProfilePart::Schema {
            attempt: schema::ATTEMPTS
        }
        .check()
        .is_err()
    );
}

#[test]
fn a_million_rows_still_fit_a_code() {
    for rows in [1, 1000, 920, 1 << 20, 64 << 24] {
        let (bits, most) = super::shapes::precision(rows);
        let part = ProfilePart::Moments {
            bits,
            rows: most,
            columns: vec![MomentsColumn {
                name: "x".to_owned(),
                source: Source::Numbers,
                lo: 0.0,
                hi: 1.0,
            }],
        };
        assert_eq!(part.check(), Ok(()), "{rows} rows, {bits} bits");
        assert!(
            part.segments()
                .iter()
                .all(|segment: &Segment| segment.max_code() <= crate::ask::MAX_CODE)
        );
    }
}
