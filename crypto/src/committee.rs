//! Drawing a committee from a consortium too large for everybody to serve.
//!
//! The draw is a function of a beacon that nobody controls (the charter hashes all members'
//! committed randomness into one); anyone repeats it. It is a Fisher-Yates shuffle, stopped after
//! the seats are filled, on numbers from BLAKE3's extendable output under
//! [`domain::COMMITTEE`] over `beacon ‖ members ‖ committee`: number i of the shuffle is uniform
//! below `members − i`, by rejection of 8-byte little-endian words.

use crate::params::MAX_MEMBERS;
use crate::transcript::{Digest, Hasher, domain};
use crate::xof::Numbers;

/// Draws `committee` of the roster indices 1 to `members`, sorted: the member at place s − 1 takes
/// seat s. Every subset of that size is equally likely. Everybody is drawn when `committee` is
/// `members` or more; of more than [`MAX_MEMBERS`] members only the first [`MAX_MEMBERS`] are
/// considered (charters of more do not exist).
#[must_use]
pub fn draw(beacon: &Digest, members: usize, committee: usize) -> Vec<u16> {
    let mut hasher = Hasher::new(domain::COMMITTEE);
    hasher
        .part(beacon.as_bytes())
        .number(members as u64)
        .number(committee as u64);
    let mut numbers = Numbers::new(&hasher);
    let mut roster: Vec<u16> = (1..=MAX_MEMBERS.min(members) as u16).collect();
    if committee < roster.len() {
        for seat in 0..committee {
            let left = (roster.len() - seat) as u64;
            roster.swap(seat, seat + numbers.below(left) as usize);
        }
        roster.truncate(committee);
        roster.sort_unstable();
    }
    roster
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::hash;

    fn beacon(number: u64) -> Digest {
        hash(domain::COMMITTEE, &[b"tests", &number.to_le_bytes()])
    }

    #[test]
    fn draws_are_sorted_distinct_and_of_the_right_size() {
        for (members, committee) in [(65, 65), (65, 64), (100, 96), (1000, 96), (3, 0), (0, 5)] {
            let drawn = draw(&beacon(1), members, committee);
            assert_eq!(drawn.len(), committee.min(members));
            assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(drawn.iter().all(|&one| (1..=members).contains(&one.into())));
        }
        assert_eq!(draw(&beacon(1), 9, 9), (1..=9).collect::<Vec<_>>());
        assert_eq!(draw(&beacon(1), usize::MAX, usize::MAX).len(), MAX_MEMBERS);
    }

    #[test]
    fn every_input_of_the_draw_matters() {
        let drawn = draw(&beacon(1), 1000, 96);
        assert_eq!(drawn, draw(&beacon(1), 1000, 96));
        assert_ne!(drawn, draw(&beacon(2), 1000, 96));
        // Another size is another shuffle, not a longer piece of the same one.
        let smaller = draw(&beacon(1), 1000, 95);
        assert!(smaller.iter().any(|one| !drawn.contains(one)));
    }

    /// Members are drawn equally often, and so are pairs: chi-square over 20 000 draws of 5 out
    /// of 12.
    #[test]
    fn members_and_pairs_are_drawn_equally_often() {
        const DRAWS: u64 = 20_000;
        let (mut single, mut pairs) = ([0f64; 12], [[0f64; 12]; 12]);
        for number in 0..DRAWS {
            let drawn = draw(&beacon(number), 12, 5);
            for (place, &one) in drawn.iter().enumerate() {
                single[usize::from(one) - 1] += 1.0;
                for &other in &drawn[place + 1..] {
                    pairs[usize::from(one) - 1][usize::from(other) - 1] += 1.0;
                }
            }
        }
        let draws = DRAWS as f64;
        // Counts of a draw without replacement vary less than independent ones: the statistics
        // have mean 11·(1 − 5/12)·12/11 = 7 and about 66·(1 − 10/66) = 56. A limit of six standard
        // deviations of independent counts is on the safe side, and biased draws are far beyond.
        let expected = draws * 5.0 / 12.0;
        let chi: f64 = single.iter().map(|seen| (seen - expected).powi(2)).sum();
        assert!(chi / expected < 7.0 + 6.0 * 14f64.sqrt(), "{single:?}");
        let expected = draws * (5.0 * 4.0) / (12.0 * 11.0);
        let chi: f64 = (0..12)
            .flat_map(|one| (one + 1..12).map(move |other| (one, other)))
            .map(|(one, other)| (pairs[one][other] - expected).powi(2))
            .sum();
        assert!(chi / expected < 66.0 + 6.0 * 132f64.sqrt(), "{pairs:?}");

        // The limit can be broken: a shuffle whose numbers are below the whole size is biased.
        let modulo_bias = |number: u64| {
            let mut roster: Vec<usize> = (0..12).collect();
            let mut numbers = Numbers::new(Hasher::new(domain::COMMITTEE).number(number));
            for seat in 0..12 {
                roster.swap(seat, numbers.below(12) as usize);
            }
            roster[0]
        };
        let mut first = [0f64; 12];
        (0..DRAWS).for_each(|number| first[modulo_bias(number)] += 1.0);
        let expected = draws / 12.0;
        let chi: f64 = first.iter().map(|seen| (seen - expected).powi(2)).sum();
        assert!(chi / expected > 11.0 + 6.0 * 22f64.sqrt(), "{first:?}");
    }
}
