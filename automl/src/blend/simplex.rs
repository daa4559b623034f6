//! Weights that are not negative and add up to 1.
//!
//! The mean squared error of a blend is w'Gw, where G holds the mean products of
//! the members' errors. Its least value over the simplex is found from the
//! non-negative least-squares problem ½v'Gv - 1'v, v ≥ 0, whose solution is the
//! same up to its scale (their optimality conditions differ by one factor), by the
//! active-set method of Lawson and Hanson, *Solving Least Squares Problems*, 1974,
//! chapter 23.

use crate::family::cholesky;

/// Added to the diagonal as a share of its mean: models that are nearly the same share a weight
/// instead of making the matrix singular.
const RIDGE: f64 = 1e-6;
/// A member whose weight is below this is left out, and the others are fitted again.
const LEAST_WEIGHT: f64 = 0.01;
/// How far a gradient may be from optimal, as a share of the one at zero.
const TOLERANCE: f64 = 1e-9;

/// The place of an element in a lower triangle, row by row.
fn at(a: usize, b: usize) -> usize {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    high * (high + 1) / 2 + low
}

/// Weights of the blend with the least mean squared error, at most `most` of them above zero.
/// `None` where errors are no numbers, or all zero.
#[must_use]
pub(crate) fn weights(members: usize, lower: &[f64], most: usize) -> Option<Vec<f64>> {
    let mut allowed: Vec<usize> = (0..members).collect();
    loop {
        let found = least(members, lower, &allowed)?;
        allowed.retain(|member| found[*member] > 0.0);
        let smallest = allowed
            .iter()
            .copied()
            .min_by(|a, b| found[*a].total_cmp(&found[*b]).then(b.cmp(a)))?;
        if allowed.len() == 1 || (allowed.len() <= most && found[smallest] >= LEAST_WEIGHT) {
            return Some(found);
        }
        allowed.retain(|member| *member != smallest);
    }
}

/// The optimum over the members that are allowed; other weights are zero.
fn least(members: usize, lower: &[f64], allowed: &[usize]) -> Option<Vec<f64>> {
    let mean = allowed.iter().map(|m| lower[at(*m, *m)]).sum::<f64>() / allowed.len() as f64;
    if !(mean.is_finite() && mean > 0.0) {
        return None;
    }
    let element = |a: usize, b: usize| {
        let ridge = if a == b { RIDGE } else { 0.0 };
        lower[at(a, b)] / mean + ridge
    };
    let mut taken: Vec<usize> = Vec::new();
    let mut v = vec![0.0; members];
    // Each round lowers the objective and there are finitely many sets; rounding could undo
    // that, so the rounds are bounded. What is there is always feasible.
    for _ in 0..3 * members {
        let gradient = |m: usize| 1.0 - taken.iter().map(|t| element(m, *t) * v[*t]).sum::<f64>();
        let outside = allowed.iter().copied().filter(|m| !taken.contains(m));
        let steepest = outside
            .map(|m| (m, gradient(m)))
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        match steepest {
            Some((member, slope)) if slope > TOLERANCE => taken.push(member),
            _ => break,
        }
        taken.sort_unstable();
        while !move_to_optimum(&mut taken, &mut v, &element)? {}
    }
    let sum: f64 = v.iter().sum();
    (sum.is_finite() && sum > 0.0).then(|| v.iter().map(|v| v / sum).collect())
}

/// Goes towards the optimum over the members taken, as far as no weight turns negative; whether
/// it got there. Members whose weights came to zero are not taken any more.
fn move_to_optimum(
    taken: &mut Vec<usize>,
    v: &mut [f64],
    element: &impl Fn(usize, usize) -> f64,
) -> Option<bool> {
    let mut triangle = Vec::new();
    for (place, a) in taken.iter().enumerate() {
        triangle.extend(taken[..=place].iter().map(|b| element(*a, *b)));
    }
    let goal = cholesky::solve(&triangle, &vec![1.0; taken.len()])?;
    let blocked = taken.iter().zip(&goal).filter(|(_, goal)| **goal <= 0.0);
    let share = blocked
        .map(|(m, goal)| v[*m] / (v[*m] - goal))
        .min_by(f64::total_cmp);
    let arrived = share.is_none();
    let share = share.filter(|share| share.is_finite()).unwrap_or(0.0);
    for (m, goal) in taken.iter().zip(&goal) {
        v[*m] = if arrived {
            *goal
        } else if *goal <= 0.0 && (v[*m] <= 0.0 || v[*m] / (v[*m] - goal) <= share) {
            // The one that blocks, exactly.
            0.0
        } else {
            v[*m] + share * (goal - v[*m])
        };
    }
    if !arrived {
        // One that was taken just now still stands at zero when another one blocks at once; it
        // stays, or nothing would ever move.
        let mut places = goal.iter();
        taken.retain(|m| {
            let wanted = places.next().is_some_and(|goal| *goal > 0.0);
            v[*m] > 0.0 || wanted
        });
    }
    Some(arrived || taken.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Errors of `members` models on `rows` rows with something in common, as mean products.
    fn gram(stream: &mut Stream, members: usize, rows: usize) -> Vec<f64> {
        let spread: Vec<f64> = (0..members).map(|_| 0.5 + stream.unit()).collect();
        let mut sums = vec![0.0; members * (members + 1) / 2];
        for _ in 0..rows {
            let shared = stream.normal();
            let errors: Vec<f64> = spread
                .iter()
                .map(|spread| 0.2 * shared + spread * stream.normal())
                .collect();
            for a in 0..members {
                for b in 0..=a {
                    sums[at(a, b)] += errors[a] * errors[b] / rows as f64;
                }
            }
        }
        sums
    }

    fn error(lower: &[f64], weights: &[f64]) -> f64 {
        let mut sum = 0.0;
        for (a, wa) in weights.iter().enumerate() {
            for (b, wb) in weights.iter().enumerate() {
                sum += wa * wb * lower[at(a, b)];
            }
        }
        sum
    }

    /// The least error over all sets of at most `most` members: the optimum without signs on each
    /// set, where its weights happen to be positive.
    fn by_force(members: usize, lower: &[f64], most: usize) -> f64 {
        let mut best = f64::INFINITY;
        for set in 1_usize..1 << members {
            let taken: Vec<usize> = (0..members).filter(|m| (set >> m) & 1 == 1).collect();
            if taken.len() > most {
                continue;
            }
            let mut triangle = Vec::new();
            for (place, a) in taken.iter().enumerate() {
                triangle.extend(taken[..=place].iter().map(|b| lower[at(*a, *b)]));
            }
            let Some(v) = cholesky::solve(&triangle, &vec![1.0; taken.len()]) else {
                continue;
            };
            if v.iter().all(|v| *v > 0.0) {
                let sum: f64 = v.iter().sum();
                let mut weights = vec![0.0; members];
                for (m, v) in taken.iter().zip(&v) {
                    weights[*m] = v / sum;
                }
                best = best.min(error(lower, &weights));
            }
        }
        best
    }

    #[test]
    fn the_optimum_is_the_one_found_by_trying_every_set() {
        for seed in 0..40u8 {
            let mut stream = Stream::new("collegium/test/simplex/v1", &[&[seed]]);
            let members = 2 + stream.below(7);
            // Fewer rows than members in some: then the matrix is singular but for the ridge.
            let lower = gram(&mut stream, members, 3 + 5 * usize::from(seed % 5));
            let all: Vec<usize> = (0..members).collect();
            let found = least(members, &lower, &all).expect("weights");
            assert!(found.iter().all(|w| *w >= 0.0), "seed {seed}: {found:?}");
            assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let mut ridged = lower.clone();
            let mean = all.iter().map(|m| lower[at(*m, *m)]).sum::<f64>() / members as f64;
            for m in &all {
                ridged[at(*m, *m)] += RIDGE * mean;
            }
            let (ours, best) = (error(&ridged, &found), by_force(members, &ridged, members));
            assert!(ours <= best * (1.0 + 1e-9), "seed {seed}: {ours} {best}");
        }
    }

    #[test]
    fn few_members_have_weights_and_none_is_tiny() {
        for seed in 0..20u8 {
            let mut stream = Stream::new("collegium/test/simplex/v1", &[b"few", &[seed]]);
            let lower = gram(&mut stream, 10, 400);
            let found = weights(10, &lower, 3).expect("weights");
            let used = found.iter().filter(|w| **w > 0.0).count();
            assert!((1..=3).contains(&used), "seed {seed}: {found:?}");
            assert!(found.iter().all(|w| *w == 0.0 || *w >= LEAST_WEIGHT));
            // Leaving out the smallest is greedy: near the best three, not always they.
            let (ours, best) = (error(&lower, &found), by_force(10, &lower, 3));
            assert!(ours <= 1.1 * best, "seed {seed}: {ours} {best}");
        }
    }

    #[test]
    fn a_copy_of_the_best_takes_half_and_a_hopeless_one_nothing() {
        // Members 0 and 1 make the same errors; 2 makes the same ones ten times as large.
        let lower = [1.0, 1.0, 1.0, 10.0, 10.0, 100.0];
        let found = weights(3, &lower, 8).expect("weights");
        assert!((found[0] - 0.5).abs() < 1e-6, "{found:?}");
        assert_eq!(found[2], 0.0);
        assert_eq!(weights(2, &[f64::NAN, 0.0, 1.0], 8), None);
        assert_eq!(weights(2, &[0.0, 0.0, 0.0], 8), None);
    }
}
