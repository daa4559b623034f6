//! The hash of many products by one key, without making them.
//!
//! A body's polynomials are c_j = a_j·S + phase_j, and the hash weighs the coefficients of c_j by
//! R^j·(r^0, …, r^4095), with R = r^4096. Products and hash are linear, so that
//! Σ_j R^j·hash(a_j·S) = hash((Σ_j R^j·a_j)·S): the masks are added up first, over F_{q²}, and
//! multiplied by the key once, its parts one after the other. Masks come as values, which add as
//! coefficients do.

use super::columns::Columns;
use super::{Challenge, LinearHash};
use crate::ntt::Transformed;
use crate::params::DEGREE;
use crate::quadratic::Element;

/// Adds masks up, from the body's first one on.
pub(crate) struct ProductHasher {
    challenge: Challenge,
    /// The values of Σ_j R^j·a_j.
    masks: Columns,
}

impl ProductHasher {
    pub(crate) fn new(challenge: Challenge) -> Self {
        Self {
            challenge,
            masks: Columns::new(challenge, DEGREE),
        }
    }

    /// Takes in the next mask's values.
    pub(crate) fn add(&mut self, mask: &[u64]) {
        self.masks.add(mask);
    }

    /// The hash of coefficients that stand where the next product would: a last one that is cut.
    pub(crate) fn cut(&self, product: &[u64]) -> LinearHash {
        let hash = LinearHash::of_values(self.challenge, product);
        LinearHash(self.masks.weight().mul(hash.0))
    }

    /// The hash of all products.
    pub(crate) fn finish(self, key: &Transformed) -> LinearHash {
        let [one, other] = self.masks.sums().map(|mut sum| {
            key.multiply_values(&mut sum);
            LinearHash::of_values(self.challenge, &sum).0
        });
        LinearHash(one.add(Element([0, 1]).mul(other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain;
    use crate::randomness::{fill_uniform, seeded_rng};
    use crate::transcript::hash;

    #[test]
    fn masks_added_first_hash_as_their_products_do() {
        let mut rng = seeded_rng([65; 32]);
        let mut uniform = || {
            let mut values = vec![0; DEGREE];
            fill_uniform(&mut rng, &mut values);
            values
        };
        let (key, challenge) = (
            Transformed::new(&uniform()),
            Challenge::derive(&hash(domain::OPENED, &[b"products"])),
        );
        for (masks, cut) in [(0, 0), (1, 0), (3, 0), (0, 5), (3, 1000)] {
            let (mut products, mut body) = (ProductHasher::new(challenge), Vec::new());
            for _ in 0..masks {
                let mut mask = uniform();
                products.add(&mask);
                key.multiply_values(&mut mask);
                body.extend(mask);
            }
            let last = &uniform()[..cut];
            body.extend(last);
            let mut found = products.cut(last);
            found.add(&products.finish(&key));
            assert_eq!(found, LinearHash::of_values(challenge, &body));
        }
    }
}
