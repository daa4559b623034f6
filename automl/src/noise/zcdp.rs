//! What noise is worth: zero-concentrated differential privacy (zCDP), and its conversion.
//!
//! A mechanism with ρ-zCDP keeps the Rényi divergence of every order α between its outputs with
//! and without one row below ρα; the ρ of several steps about the same row add up, also where a
//! later step depends on what the earlier ones showed (Bun and Steinke 2016).

use super::Noise;

/// Smallest and largest epsilon of a task or a budget.
pub const EPSILON: [f64; 2] = [0.01, 100.0];
/// Smallest and largest delta.
pub const DELTA: [f64; 2] = [1e-12, 0.01];

/// ρ of a sum of `numbers` codes whose squared L2 sensitivity is `squared`, when each of
/// `noise.shares` sites adds its share to each code: Kairouz, Liu and Steinke, "The Distributed
/// Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation" (2021),
/// proposition 14. Further noise in the sum takes nothing away from it.
#[must_use]
pub fn rho_of_sum(squared: u64, numbers: usize, noise: Noise) -> f64 {
    let (variance, shares) = (noise.variance as f64, f64::from(noise.shares));
    let square = std::f64::consts::PI * std::f64::consts::PI;
    let apart: f64 = (1..noise.shares)
        .map(|k| {
            let k = f64::from(k);
            libm::exp(-2.0 * square * variance * k / (k + 1.0))
        })
        .sum();
    let tau = 10.0 * apart;
    let scaled = libm::sqrt(squared as f64 / (variance * shares));
    let epsilon = scaled + tau * libm::sqrt(numbers as f64);
    0.5 * epsilon * epsilon
}

/// The smallest delta for which ρ-zCDP gives (epsilon, delta): Canonne, Kamath and Steinke
/// (2020), corollary 13. It is an infimum over orders; any order is a bound, so that a search that
/// stops early errs on the safe side.
#[must_use]
pub fn delta(rho: f64, epsilon: f64) -> f64 {
    if rho <= 0.0 {
        return 0.0;
    }
    let log = |alpha: f64| {
        (alpha - 1.0) * (alpha * rho - epsilon) + (alpha - 1.0) * libm::log1p(-1.0 / alpha)
            - libm::log(alpha)
    };
    // Convex in alpha: the ends close in on the least. Orders in question are below (ε+1)/2ρ + 2.
    let (mut low, mut high) = (1.0 + 1e-6, (epsilon + 1.0) / (2.0 * rho) + 2.0);
    for _ in 0..200 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if log(a) < log(b) {
            high = b;
        } else {
            low = a;
        }
    }
    libm::exp(log(0.5 * (low + high)).min(0.0))
}

/// The smallest epsilon for which ρ-zCDP gives (epsilon, delta), rounded up in the tenth digit.
#[must_use]
pub fn epsilon(rho: f64, delta_wanted: f64) -> f64 {
    if rho <= 0.0 {
        return 0.0;
    }
    // Bun and Steinke's bound is one, though not the least.
    let (mut low, mut high) = (
        0.0,
        rho + 2.0 * libm::sqrt(rho * libm::log(1.0 / delta_wanted)),
    );
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if delta(rho, middle) > delta_wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The largest ρ that keeps (epsilon, delta).
#[must_use]
pub fn rho(epsilon: f64, delta_wanted: f64) -> f64 {
    let (mut low, mut high) = (0.0, epsilon + 1.0);
    // Twice epsilon's own bound is never kept: the loop only narrows.
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if delta(middle, epsilon) > delta_wanted {
            high = middle;
        } else {
            low = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ε = ρ + 2 √(ρ ln(1/δ)) is a bound (Bun and Steinke 2016, proposition 1.3), and the least
    /// one is below it, but not by much.
    #[test]
    fn conversions_stay_below_the_older_bound_and_undo_each_other() {
        for (rho_given, delta_given) in [(0.001, 1e-5), (0.02, 1e-5), (0.1, 1e-3), (1.0, 1e-6)] {
            let old = rho_given + 2.0 * libm::sqrt(rho_given * libm::log(1.0 / delta_given));
            let new = epsilon(rho_given, delta_given);
            assert!(new < old && new > 0.7 * old, "{rho_given}: {new} {old}");
            let back = rho(new, delta_given);
            assert!((back / rho_given - 1.0).abs() < 1e-6, "{back} {rho_given}");
            assert!(delta(rho_given, new) <= delta_given * (1.0 + 1e-9));
        }
        assert_eq!((epsilon(0.0, 1e-5), delta(0.0, 1.0)), (0.0, 0.0));
    }

    /// The conversion holds for the Gaussian mechanism, whose own curve is known exactly (Balle
    /// and Wang 2018): δ = Φ(Δ/2σ - εσ/Δ) - e^ε Φ(-Δ/2σ - εσ/Δ), with ρ = Δ²/2σ².
    #[test]
    fn no_conversion_promises_more_than_the_exact_curve_of_gaussian_noise() {
        let phi = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
        for rho_given in [0.005, 0.05, 0.5] {
            for epsilon_given in [0.1_f64, 0.5, 1.0, 3.0] {
                let ratio = libm::sqrt(2.0 * rho_given);
                let exact = phi(ratio / 2.0 - epsilon_given / ratio)
                    - epsilon_given.exp() * phi(-ratio / 2.0 - epsilon_given / ratio);
                let bound = delta(rho_given, epsilon_given);
                assert!(
                    bound >= exact,
                    "{rho_given} {epsilon_given}: {bound} {exact}"
                );
                // Not idle: within a factor of forty where both mean something.
                assert!(exact < 1e-12 || bound < 40.0 * exact, "{bound} {exact}");
            }
        }
    }

    /// By hand: Δ = 1, σ² = 25 in two shares of variance 12.5 is not whole, so four codes to one:
    /// Δ² = 16, two shares of 200: ρ = 16 / (2 · 400) = 0.02.
    #[test]
    fn the_price_of_a_sum_by_hand() {
        let noise = Noise {
            variance: 200,
            shares: 2,
        };
        let priced = rho_of_sum(16, 1000, noise);
        assert!((priced - 0.02).abs() < 1e-12, "{priced}");
        // One share only is one draw: twice the price of two.
        let alone = rho_of_sum(16, 1000, Noise { shares: 1, ..noise });
        assert!((alone - 0.04).abs() < 1e-12, "{alone}");
        // Where shares are narrow, their sum is told from one draw: τ = 10 exp(-π²) for
        // variance 1 in two shares, so ½ (√(1/2) + τ)².
        let narrow = Noise {
            variance: 1,
            shares: 2,
        };
        let tau = 10.0 * (-std::f64::consts::PI.powi(2)).exp();
        let by_hand = 0.5 * (0.5_f64.sqrt() + tau).powi(2);
        assert!((rho_of_sum(1, 1, narrow) - by_hand).abs() < 1e-12);
    }
}
