//! The ring Z_q\[X\]/(X^4096 + 1) and its number-theoretic transform.
//!
//! The transform is `tfhe-ntt`'s. Its internal order of values is a library detail: transformed
//! polynomials ([`Transformed`]) never leave this crate, everything on the wire is in coefficient
//! order. The pointwise product is our own branch-free one. With AVX2 or AVX-512 the transform is
//! branch-free too; on other processors its additions are conditionals, which a compiler may turn
//! into conditional moves or branches: constant time is not claimed there.

use crate::field::{self, Q};
use crate::params::DEGREE;
use std::sync::OnceLock;
use tfhe_ntt::prime64::Plan;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The plan (twiddle factors), computed once per process.
fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        Plan::try_new(DEGREE, Q)
            .expect("q − 1 is a multiple of 2·4096, so the roots of unity exist")
    })
}

/// A fixed factor in the transformed domain, scaled by 1/N so that products come out right.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Transformed(Vec<u64>);

impl Transformed {
    /// Prepares a polynomial in coefficient order as a factor.
    ///
    /// # Panics
    /// If it does not have [`DEGREE`] coefficients.
    #[must_use]
    pub fn new(coefficients: &[u64]) -> Self {
        let mut values = coefficients.to_vec();
        let plan = plan();
        plan.fwd(&mut values);
        plan.normalize(&mut values);
        Self(values)
    }

    /// Replaces `polynomial` (coefficient order) by its product with this factor modulo X^N + 1.
    ///
    /// # Panics
    /// If it does not have [`DEGREE`] coefficients.
    pub fn multiply(&self, polynomial: &mut [u64]) {
        let plan = plan();
        plan.fwd(polynomial);
        for (value, &factor) in polynomial.iter_mut().zip(&self.0) {
            *value = field::mul(*value, factor);
        }
        plan.inv(polynomial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::{fill_uniform, seeded_rng};

    /// a·b modulo X^N + 1 in u128 arithmetic; `b` sparse so that it takes no time.
    fn schoolbook(a: &[u64], sparse: &[(usize, u64)]) -> Vec<u64> {
        let q = u128::from(Q);
        let mut result = vec![0u128; DEGREE];
        for &(power, factor) in sparse {
            for (i, &coefficient) in a.iter().enumerate() {
                let term = u128::from(coefficient) * u128::from(factor) % q;
                let place = i + power;
                if place < DEGREE {
                    result[place] = (result[place] + term) % q;
                } else {
                    result[place - DEGREE] = (result[place - DEGREE] + q - term) % q;
                }
            }
        }
        result.into_iter().map(|value| value as u64).collect()
    }

    #[test]
    fn multiplies_like_the_schoolbook() {
        let mut rng = seeded_rng(*b"ntt: multiplies like schoolbook.");
        let mut a = vec![0; DEGREE];
        fill_uniform(&mut rng, &mut a);
        a[..4].copy_from_slice(&[0, 1, Q - 1, Q - 2]);
        let cases: [&[(usize, u64)]; 5] = [
            &[(0, 1)],
            &[(1, 1)],
            &[(DEGREE - 1, Q - 1)],
            &[(0, Q - 1), (17, 0x1234_5678_9abc_def0), (4000, 3)],
            &[
                (5, Q / 2),
                (2048, Q / 2 + 1),
                (4095, 1 << 32),
                (63, 0xffff_ffff),
            ],
        ];
        for sparse in cases {
            let mut b = vec![0; DEGREE];
            for &(power, factor) in sparse {
                b[power] = factor;
            }
            let mut product = a.clone();
            Transformed::new(&b).multiply(&mut product);
            assert_eq!(product, schoolbook(&a, sparse), "{sparse:?}");
            // And the other way round: the ring is commutative, the transform's order is not ours.
            let mut product = b;
            Transformed::new(&a).multiply(&mut product);
            assert_eq!(product, schoolbook(&a, sparse), "{sparse:?}");
        }
    }

    #[test]
    fn multiplies_dense_polynomials_like_the_schoolbook() {
        let mut rng = seeded_rng(*b"ntt: dense times dense polynomia");
        let mut a = vec![0; DEGREE];
        let mut b = vec![0; DEGREE];
        fill_uniform(&mut rng, &mut a);
        fill_uniform(&mut rng, &mut b);
        let mut product = a.clone();
        Transformed::new(&b).multiply(&mut product);
        // Every 512th coefficient, by its own sum.
        let q = u128::from(Q);
        for place in (0..DEGREE).step_by(512).chain([DEGREE - 1]) {
            let mut expected = 0u128;
            for (i, &coefficient) in a.iter().enumerate() {
                let j = (place + DEGREE - i) % DEGREE;
                let term = u128::from(coefficient) * u128::from(b[j]) % q;
                expected += if i + j < DEGREE { term } else { q - term };
                expected %= q;
            }
            assert_eq!(u128::from(product[place]), expected, "coefficient {place}");
        }
    }

    #[test]
    fn products_are_canonical_at_the_extremes() {
        for (fill_a, fill_b) in [(Q - 1, Q - 1), (Q - 1, 1), (0, Q - 1), (Q / 2, Q / 2 + 1)] {
            let mut product = vec![fill_a; DEGREE];
            Transformed::new(&vec![fill_b; DEGREE]).multiply(&mut product);
            assert!(field::all_canonical(&product));
            // Coefficient i is a·b·((i + 1) − (N − 1 − i)).
            let ab = field::mul(fill_a, fill_b);
            for (i, &value) in product.iter().enumerate() {
                let weight = field::from_signed(2 * i as i64 + 2 - DEGREE as i64);
                assert_eq!(value, field::mul(ab, weight), "coefficient {i}");
            }
        }
    }
}
