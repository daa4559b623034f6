//! The ring Z_q\[X\]/(X^4096 + 1) and its number-theoretic transform.
//!
//! A polynomial of the ring is told by its coefficients or by its **values** at the 4096 primitive
//! 8192nd roots of unity. Values are part of the format, since masks are drawn as values
//! ([`crate::mask`]): value i is a(ψ^(2·rev(i) + 1)), where ψ is [`ROOT`] and rev turns the 12 bits
//! of i round. Everything else on the wire is coefficients.
//!
//! The transform is `tfhe-ntt`'s. Which root it evaluates at and in which order are library details;
//! they are looked at once, and where they are not the format's, values are put in the library's order
//! (`Ring`). The pointwise product is our own branch-free one. With AVX2 or AVX-512 the transform is
//! branch-free too; on other processors its additions are conditionals, which a compiler may turn
//! into conditional moves or branches: constant time is not claimed there.

use crate::field::{self, Q};
use crate::params::DEGREE;
use std::sync::OnceLock;
use tfhe_ntt::prime64::Plan;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// ψ, a primitive root of unity of order 2·4096 modulo q.
pub const ROOT: u64 = 1_206_500_561_358_145_487;

/// The transform, and how its order differs from the format's.
struct Ring {
    plan: Plan,
    /// Place i of the library's order holds the format's value `order[i]`; `None` where the two agree.
    order: Option<Vec<usize>>,
}

impl Ring {
    fn new() -> Self {
        let plan = Plan::try_new(DEGREE, Q)
            .expect("q − 1 is a multiple of 2·4096, so the roots of unity exist");
        // The values of X are the points themselves, in the library's order.
        let mut points = vec![0; DEGREE];
        if let Some(one) = points.get_mut(1) {
            *one = 1;
        }
        plan.fwd(&mut points);
        Self {
            order: order_of(&points),
            plan,
        }
    }

    /// Puts values from the format's order into the library's.
    fn arrange(&self, values: &mut [u64]) {
        if let Some(order) = &self.order {
            let ours = values.to_vec();
            for (value, &place) in values.iter_mut().zip(order) {
                *value = ours.get(place).copied().unwrap_or_default();
            }
        }
    }
}

/// For each of a transform's points its place in the format; `None` where the orders agree.
///
/// # Panics
/// If they are not the roots of X^4096 + 1.
fn order_of(points: &[u64]) -> Option<Vec<usize>> {
    let ours = points_of_the_format();
    if points == ours {
        return None;
    }
    let places: std::collections::HashMap<u64, usize> = ours.into_iter().zip(0..).collect();
    let place = |point| *places.get(point).expect("a root of X^4096 + 1");
    Some(points.iter().map(place).collect())
}

/// ψ^(2·rev(i) + 1) for every i.
fn points_of_the_format() -> Vec<u64> {
    let bits = DEGREE.ilog2();
    (0..DEGREE as u64)
        .map(|i| {
            let turned = i.reverse_bits() >> (u64::BITS - bits);
            field::pow(ROOT, 2 * turned + 1)
        })
        .collect()
}

/// The ring, made ready once per process.
fn ring() -> &'static Ring {
    static RING: OnceLock<Ring> = OnceLock::new();
    RING.get_or_init(Ring::new)
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
        let plan = &ring().plan;
        plan.fwd(&mut values);
        plan.normalize(&mut values);
        Self(values)
    }

    /// Replaces a polynomial's values, in the format's order and below q, by the coefficients of its
    /// product with this factor modulo X^N + 1.
    ///
    /// # Panics
    /// If there are not [`DEGREE`] values.
    pub fn multiply_values(&self, values: &mut [u64]) {
        let ring = ring();
        ring.arrange(values);
        for (value, &factor) in values.iter_mut().zip(&self.0) {
            *value = field::mul(*value, factor);
        }
        ring.plan.inv(values);
    }

    /// [`Transformed::multiply_values`] of a polynomial given by its coefficients.
    ///
    /// # Panics
    /// If it does not have [`DEGREE`] coefficients.
    pub fn multiply(&self, polynomial: &mut [u64]) {
        let plan = &ring().plan;
        plan.fwd(polynomial);
        for (value, &factor) in polynomial.iter_mut().zip(&self.0) {
            *value = field::mul(*value, factor);
        }
        plan.inv(polynomial);
    }
}

/// Replaces a polynomial's values, in the format's order and below q, by its coefficients.
///
/// # Panics
/// If there are not [`DEGREE`] values.
pub fn interpolate(values: &mut [u64]) {
    let mut one = vec![0; DEGREE];
    if let Some(constant) = one.first_mut() {
        *constant = 1;
    }
    Transformed::new(&one).multiply_values(values);
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

    /// The format, from its definition alone: Horner's rule at some of the points.
    #[test]
    fn values_are_those_at_the_formats_points() {
        assert_eq!(field::pow(ROOT, DEGREE as u64), Q - 1, "of order 2·4096");
        let mut values = vec![0; DEGREE];
        fill_uniform(
            &mut seeded_rng(*b"ntt: values at points of format."),
            &mut values,
        );
        let mut coefficients = values.clone();
        interpolate(&mut coefficients);
        for (place, turned) in [
            (0, 0),
            (1, 2048),
            (2, 1024),
            (3, 3072),
            (4095, 4095),
            (6, 1536),
        ] {
            let point = field::pow(ROOT, 2 * turned + 1);
            let value = coefficients.iter().rev().fold(0, |sum, &coefficient| {
                field::add(field::mul(sum, point), coefficient)
            });
            assert_eq!(value, values[place], "value {place}");
        }
        // A product of values is a product of polynomials.
        let mut sparse = vec![0; DEGREE];
        (sparse[3], sparse[4095]) = (5, Q - 7);
        let mut product = values;
        Transformed::new(&sparse).multiply_values(&mut product);
        assert_eq!(product, schoolbook(&coefficients, &[(3, 5), (4095, Q - 7)]));
    }

    /// A library that evaluates in another order, or at powers of another root, is followed.
    #[test]
    fn another_order_is_put_right() {
        let ours = points_of_the_format();
        assert_eq!(order_of(&ours), None);
        let mut others = ours.clone();
        others.reverse();
        others.swap(5, 70);
        let order = order_of(&others).expect("another order");
        let arranged: Vec<u64> = order.iter().map(|&place| ours[place]).collect();
        assert_eq!(arranged, others);
    }
}
