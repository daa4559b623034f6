//! How much the cells of two columns tell beyond effects of the columns added up.

use super::target::TargetAsk;

/// Rounds of fitting the effects, each column in turn.
const SWEEPS: usize = 16;
/// Largest effect of a bin on the log-odds.
const MOST_EFFECT: f64 = 8.0;
/// A pair is kept where its likelihood ratio lies this many standard deviations above what noise
/// shows: of hundreds of pairs that tell nothing none is then expected.
const DEVIATIONS: f64 = 3.5;

/// The figures of a cell that matter: rows and the sum of their targets.
#[derive(Clone, Copy)]
struct Cell {
    rows: f64,
    sum: f64,
}

/// Rows of each bin of both columns, and the sums of their targets.
struct Grid {
    cells: Vec<Cell>,
    /// Bins of the second column.
    across: usize,
}

/// The likelihood ratio of the cells against the sum of two effects, less its mean under noise; `None`
/// where noise could show as much. `cells` has the figures of each cell, for each bin of the first column
/// all `across` of the second's.
///
/// For two classes the effects are on log-odds, for a number on its mean, in units of the variance
/// inside cells. Under noise the ratio follows χ² with a degree of freedom for each cell less those of
/// the effects (Wilks 1938).
pub(super) fn excess(target: &TargetAsk, cells: &[Vec<u64>], across: usize) -> Option<f64> {
    let figure = |cell: &Vec<u64>, at: usize| cell.get(at).copied().unwrap_or(0) as f64;
    let classes = matches!(target, TargetAsk::Classes { .. });
    let grid = Grid {
        cells: cells
            .iter()
            .map(|cell| match classes {
                true => Cell {
                    rows: cell.iter().sum::<u64>() as f64,
                    sum: figure(cell, 1),
                },
                false => Cell {
                    rows: figure(cell, 0),
                    sum: figure(cell, 1),
                },
            })
            .collect(),
        across: across.max(1),
    };
    let free = grid.free()?;
    let ratio = if classes {
        grid.ratio_of_classes()
    } else {
        let squares = cells.iter().map(|cell| figure(cell, 2)).sum();
        grid.ratio_of_numbers(squares)?
    };
    (ratio > most_of_noise(free)).then_some(ratio - free)
}

/// What χ² with `free` degrees of freedom hardly ever exceeds: its cube root is nearly normal
/// (Wilson and Hilferty 1931).
fn most_of_noise(free: f64) -> f64 {
    let spread = 2.0 / (9.0 * free);
    let root = 1.0 - spread + DEVIATIONS * libm::sqrt(spread);
    free * root * root * root
}

impl Grid {
    fn down(&self) -> usize {
        self.cells.len() / self.across
    }

    /// The bin of a cell in one of the columns.
    fn bin(&self, cell: usize, column: usize) -> usize {
        if column == 0 {
            cell / self.across
        } else {
            cell % self.across
        }
    }

    fn bins(&self, column: usize) -> usize {
        if column == 0 {
            self.down()
        } else {
            self.across
        }
    }

    /// Degrees of freedom of the interaction.
    fn free(&self) -> Option<f64> {
        let filled = self.cells.iter().filter(|cell| cell.rows > 0.0).count();
        let used = |column: usize| {
            let mut used = vec![false; self.bins(column)];
            for (at, _) in self.cells.iter().enumerate().filter(|it| it.1.rows > 0.0) {
                used[self.bin(at, column)] = true;
            }
            used.into_iter().filter(|used| *used).count()
        };
        let free = (filled + 1).checked_sub(used(0) + used(1))?;
        (free > 0).then_some(free as f64)
    }

    /// Effects of both columns' bins, each fitted in turn by `fit` from its cells and what the other column
    /// gives them.
    fn effects(&self, start: f64, fit: impl Fn(f64, &[(Cell, f64)]) -> f64) -> [Vec<f64>; 2] {
        let mut effects = [vec![start; self.bins(0)], vec![0.0; self.bins(1)]];
        for _ in 0..SWEEPS {
            for column in 0..2 {
                let mut own: Vec<Vec<(Cell, f64)>> = vec![Vec::new(); self.bins(column)];
                for (at, cell) in self.cells.iter().enumerate() {
                    if cell.rows > 0.0 {
                        let other = effects[1 - column][self.bin(at, 1 - column)];
                        own[self.bin(at, column)].push((*cell, other));
                    }
                }
                for (effect, cells) in effects[column].iter_mut().zip(&own) {
                    *effect = fit(*effect, cells);
                }
            }
        }
        effects
    }

    fn fitted(&self, effects: &[Vec<f64>; 2], at: usize) -> f64 {
        effects[0][self.bin(at, 0)] + effects[1][self.bin(at, 1)]
    }

    fn ratio_of_classes(&self) -> f64 {
        let rows: f64 = self.cells.iter().map(|cell| cell.rows).sum();
        let sum: f64 = self.cells.iter().map(|cell| cell.sum).sum();
        let share = ((sum + 0.5) / (rows + 1.0)).clamp(1e-9, 1.0 - 1e-9);
        let start = libm::log(share / (1.0 - share));
        let effects = self.effects(start, newton);
        let cells = self.cells.iter().enumerate();
        let ratio: f64 = cells
            .filter(|(_, cell)| cell.rows > 0.0)
            .map(|(at, cell)| {
                let fitted = probability(self.fitted(&effects, at));
                let own = cell.sum / cell.rows;
                let part = |sum: f64, own: f64, fitted: f64| match sum > 0.0 {
                    true => sum * libm::log(own / fitted),
                    false => 0.0,
                };
                part(cell.sum, own, fitted) + part(cell.rows - cell.sum, 1.0 - own, 1.0 - fitted)
            })
            .sum();
        2.0 * ratio
    }

    fn ratio_of_numbers(&self, squares: f64) -> Option<f64> {
        let rows: f64 = self.cells.iter().map(|cell| cell.rows).sum();
        let filled = self.cells.iter().filter(|cell| cell.rows > 0.0);
        let explained: f64 = filled
            .clone()
            .map(|cell| cell.sum * cell.sum / cell.rows)
            .sum();
        let variance = (squares - explained) / (rows - filled.count() as f64);
        if !(variance > 0.0 && variance.is_finite()) {
            return None;
        }
        let effects = self.effects(0.0, mean);
        let cells = self.cells.iter().enumerate();
        let apart: f64 = cells
            .filter(|(_, cell)| cell.rows > 0.0)
            .map(|(at, cell)| {
                let off = cell.sum / cell.rows - self.fitted(&effects, at);
                cell.rows * off * off
            })
            .sum();
        Some(apart / variance)
    }
}

fn probability(score: f64) -> f64 {
    (1.0 / (1.0 + libm::exp(-score))).clamp(1e-12, 1.0 - 1e-12)
}

/// One damped Newton step of a bin's effect on the log-odds.
fn newton(effect: f64, cells: &[(Cell, f64)]) -> f64 {
    let (mut gradient, mut hessian) = (0.0, 0.0);
    for (cell, other) in cells {
        let fitted = probability(effect + other);
        gradient += cell.sum - cell.rows * fitted;
        hessian += cell.rows * fitted * (1.0 - fitted);
    }
    if hessian <= 0.0 {
        return effect;
    }
    (effect + (gradient / hessian).clamp(-1.0, 1.0)).clamp(-MOST_EFFECT, MOST_EFFECT)
}

/// The mean of what is left of a bin's rows.
fn mean(effect: f64, cells: &[(Cell, f64)]) -> f64 {
    let rows: f64 = cells.iter().map(|(cell, _)| cell.rows).sum();
    let left = cells
        .iter()
        .map(|(cell, other)| cell.sum - cell.rows * other);
    let left: f64 = left.sum();
    if rows > 0.0 { left / rows } else { effect }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Rows of a 6 by 4 grid whose log-odds are the sum of two effects, and `together` more in every
    /// second cell.
    fn classes(seed: u64, together: f64) -> Vec<Vec<u64>> {
        let mut stream = Stream::new("collegium/test/pairs/v1", &[&seed.to_le_bytes()]);
        let mut cells = vec![vec![0; 2]; 24];
        for _ in 0..20_000 {
            let (a, b) = (stream.below(6), stream.below(4));
            let odd = f64::from(u8::from((a + b) % 2 == 1));
            let score = 0.4 * a as f64 - 0.7 * b as f64 - 1.0 + together * odd;
            let hit = stream.unit() < probability(score);
            cells[a * 4 + b][usize::from(hit)] += 1;
        }
        cells
    }

    #[test]
    fn effects_that_add_up_are_no_pair() {
        let target = TargetAsk::Classes {
            labels: vec!["0".to_owned(), "1".to_owned()],
        };
        for seed in 0..20 {
            println!("seed {seed}");
            assert_eq!(excess(&target, &classes(seed, 0.0), 4), None);
            let found = excess(&target, &classes(seed, 0.4), 4).expect("an interaction");
            assert!(found > 50.0, "{found}");
        }
    }

    #[test]
    fn numbers_that_add_up_are_no_pair() {
        let target = TargetAsk::Number { lo: 0.0, hi: 1.0 };
        let cells = |seed: u64, together: f64| {
            let mut stream = Stream::new("collegium/test/pairs/v2", &[&seed.to_le_bytes()]);
            let mut cells = vec![vec![0_u64; 3]; 24];
            for _ in 0..20_000 {
                let (a, b) = (stream.below(6), stream.below(4));
                let odd = f64::from(u8::from((a + b) % 2 == 1));
                let value = 1000.0 + 20.0 * a as f64 - 30.0 * b as f64 + together * odd;
                let code = (value + 100.0 * stream.normal()).clamp(0.0, 2048.0) as u64;
                let cell = &mut cells[a * 4 + b];
                (cell[0], cell[1], cell[2]) = (cell[0] + 1, cell[1] + code, cell[2] + code * code);
            }
            cells
        };
        for seed in 0..20 {
            println!("seed {seed}");
            assert_eq!(excess(&target, &cells(seed, 0.0), 4), None);
            assert!(excess(&target, &cells(seed, 20.0), 4).is_some());
        }
    }

    #[test]
    fn what_cannot_interact_is_no_pair() {
        let target = TargetAsk::Classes {
            labels: vec!["0".to_owned(), "1".to_owned()],
        };
        let (line, empty) = (vec![vec![3, 900], vec![900, 3]], vec![vec![0, 0]; 24]);
        assert_eq!(excess(&target, &line, 2), None);
        assert_eq!(excess(&target, &line, 1), None);
        assert_eq!(excess(&target, &empty, 4), None);
    }
}
