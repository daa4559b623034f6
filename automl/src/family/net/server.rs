//! The server's optimizer: what the averaged change of a step does to the weights. Reddi et
//! al., *Adaptive Federated Optimization*, ICLR 2021.

use serde::{Deserialize, Serialize};

use super::part::{Changes, within};

/// How the weights follow the averaged changes Δ of the sites.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Server {
    /// m = momentum · m + Δ; weights += learning rate · m. Federated averaging where the
    /// momentum is 0 and the learning rate 1.
    Average {
        /// In (0, 2].
        learning_rate: f64,
        /// In [0, 0.99].
        momentum: f64,
    },
    /// m = 0.9 · m + 0.1 · Δ; v = 0.99 · v + 0.01 · Δ²; weights += learning rate · m / (√v + τ),
    /// from v = τ².
    Adam {
        /// In (0, 2].
        learning_rate: f64,
        /// In [1e-6, 1].
        tau: f64,
    },
    /// As Adam, with v = v - 0.01 · Δ² · sign(v - Δ²): what was large is forgotten slowly.
    Yogi {
        /// In (0, 2].
        learning_rate: f64,
        /// In [1e-6, 1].
        tau: f64,
    },
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.99;

impl Server {
    pub(super) fn check(&self) -> Result<(), String> {
        let (rate, second) = match *self {
            Self::Average {
                learning_rate,
                momentum,
            } => (learning_rate, within("momentum", momentum, 0.0, 0.99)),
            Self::Adam { learning_rate, tau } | Self::Yogi { learning_rate, tau } => {
                (learning_rate, within("tau", tau, 1e-6, 1.0))
            }
        };
        second?;
        within("server learning rate", rate, 1e-6, 2.0)
    }
}

/// The moments of one candidate's weights.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    server: Server,
    /// First and second moment of each weight, one list per fold.
    first: Vec<Vec<f64>>,
    second: Vec<Vec<f64>>,
}

impl Moments {
    pub(super) fn new(server: Server, folds: usize, parameters: usize) -> Self {
        let start = match server {
            Server::Average { .. } => 0.0,
            Server::Adam { tau, .. } | Server::Yogi { tau, .. } => tau * tau,
        };
        Self {
            server,
            first: vec![vec![0.0; parameters]; folds],
            second: vec![vec![start; parameters]; folds],
        }
    }

    /// Moves the weights by the averaged changes.
    pub(super) fn step(&mut self, weights: &mut [Vec<f32>], changes: &Changes) {
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((weights, changes), (first, second)) in weights.iter_mut().zip(changes).zip(moments) {
            let moments = first.iter_mut().zip(second);
            for ((weight, change), (m, v)) in weights.iter_mut().zip(changes).zip(moments) {
                let moved = f64::from(*weight) + self.server.moves(*change, m, v);
                *weight = finite(moved);
            }
        }
    }
}

/// As stored, within what a `f32` holds.
pub(super) fn finite(weight: f64) -> f32 {
    weight.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

impl Server {
    fn moves(&self, change: f64, m: &mut f64, v: &mut f64) -> f64 {
        let square = change * change;
        match *self {
            Self::Average {
                learning_rate,
                momentum,
            } => {
                *m = momentum * *m + change;
                return learning_rate * *m;
            }
            Self::Adam { .. } => *v = BETA_2 * *v + (1.0 - BETA_2) * square,
            Self::Yogi { .. } => {
                let direction = f64::from(u8::from(*v > square)) - f64::from(u8::from(*v < square));
                *v -= (1.0 - BETA_2) * square * direction;
            }
        }
        let (Self::Adam { learning_rate, tau } | Self::Yogi { learning_rate, tau }) = *self else {
            return 0.0;
        };
        *m = BETA_1 * *m + (1.0 - BETA_1) * change;
        learning_rate * *m / (libm::sqrt(*v) + tau)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_steps(server: Server) -> Vec<f64> {
        let mut moments = Moments::new(server, 1, 2);
        let mut weights = vec![vec![1.0f32, 0.0]];
        let mut seen = Vec::new();
        for changes in [[0.5, 0.0], [-0.25, 0.1]] {
            moments.step(&mut weights, &vec![changes.to_vec()]);
            seen.extend(weights[0].iter().map(|weight| f64::from(*weight)));
        }
        seen
    }

    fn close(seen: &[f64], expected: &[f64]) {
        assert_eq!(seen.len(), expected.len());
        for (seen, expected) in seen.iter().zip(expected) {
            assert!((seen - expected).abs() < 1e-6, "{seen} {expected}");
        }
    }

    /// By hand, τ = 0.1 and learning rate 0.2. First weight: m = 0.05, v = 0.0099 + 0.0025 =
    /// 0.0124, moves by 0.2 · 0.05 / (0.1113553 + 0.1) = 0.0473137; then m = 0.045 - 0.025 = 0.02,
    /// v = 0.012276 + 0.000625 = 0.012901, moves by 0.004 / 0.2135826 = 0.0187281. Second
    /// weight: still; then m = 0.01, v = 0.00980100 + 0.0001 = 0.009901, moves by 0.002 /
    /// 0.1995038 = 0.0100249.
    #[test]
    fn adam_moves_as_computed_by_hand() {
        let server = Server::Adam {
            learning_rate: 0.2,
            tau: 0.1,
        };
        close(
            &two_steps(server),
            &[1.047_313_7, 0.0, 1.066_041_8, 0.010_024_9],
        );
    }

    /// By hand, as above: v = 0.01 + 0.0025 = 0.0125 (Δ² = 0.25 is above v), moves by 0.01 /
    /// 0.2118034 = 0.0472136; then v = 0.0125 + 0.000625 = 0.013125, moves by 0.004 / 0.2145644 =
    /// 0.0186424. Second weight: Δ = 0 leaves v = 0.01; then Δ² = 0.01 equals v within rounding,
    /// so v stays within 0.0001 of 0.01.
    #[test]
    fn yogi_moves_as_computed_by_hand() {
        let server = Server::Yogi {
            learning_rate: 0.2,
            tau: 0.1,
        };
        let seen = two_steps(server);
        close(&seen[..3], &[1.047_213_6, 0.0, 1.065_856_0]);
        assert!((seen[3] - 0.01).abs() < 1e-4, "{}", seen[3]);
    }

    #[test]
    fn momentum_adds_what_came_before() {
        let plain = Server::Average {
            learning_rate: 1.0,
            momentum: 0.0,
        };
        close(&two_steps(plain), &[1.5, 0.0, 1.25, 0.1]);
        let heavy = Server::Average {
            learning_rate: 0.5,
            momentum: 0.5,
        };
        close(&two_steps(heavy), &[1.25, 0.0, 1.25, 0.05]);
    }

    #[test]
    fn rates_out_of_bounds_are_refused() {
        let adam = |learning_rate, tau| Server::Adam { learning_rate, tau };
        assert_eq!(adam(0.1, 0.01).check(), Ok(()));
        assert!(adam(0.0, 0.01).check().is_err());
        assert!(adam(0.1, 0.0).check().is_err());
        assert!(adam(f64::NAN, 0.01).check().is_err());
    }
}
