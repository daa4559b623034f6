//! Against `tfhe`'s own GLWE over the same modulus, in both directions.

use crate::consortium::{Dealing, mask_seed, plan, words};
use collegium_crypto::field::{self, Q};
use collegium_crypto::ntt::Transformed;
use collegium_crypto::params::DEGREE;
use collegium_crypto::rand_core::{Rng, SeedableRng};
use collegium_crypto::{BodySum, open};
use tfhe::core_crypto::prelude::*;

const SIZE: PolynomialSize = PolynomialSize(DEGREE);

fn modulus() -> CiphertextModulus<u64> {
    CiphertextModulus::new(u128::from(Q))
}

/// tfhe decrypts what we encrypt: the same Δ·m + e, coefficient by coefficient.
#[test]
fn tfhe_decrypts_our_ciphertexts() {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(21);
    let seed = mask_seed("tfhe decrypts");
    let packing = plan(&[(65_535, 3 * 2 * DEGREE)], 4);
    let codes: Vec<u64> = (0..packing.codes())
        .map(|_| rng.next_u64() & 0xffff)
        .collect();
    let dealing = Dealing::new(&packing, &seed, &codes, 4, 3, &mut rng);
    let key = dealing.key(3);
    let oracle_key = GlweSecretKey::from_container(key.coefficients().to_vec(), SIZE);
    let messages = packing.encode(&codes).unwrap();
    let body = words(&dealing.body);

    for index in 0..2 {
        let range = index * DEGREE..(index + 1) * DEGREE;
        let mut container = seed.coefficients(index as u64);
        container.extend_from_slice(&body[range.clone()]);
        let ciphertext = GlweCiphertext::from_container(container, SIZE, modulus());
        let mut plain = PlaintextList::new(0u64, PlaintextCount(DEGREE));
        decrypt_glwe_ciphertext(&oracle_key, &ciphertext, &mut plain);
        let residuals = plain.into_container().into_iter().zip(&messages[range]);
        let mut seen_noise = false;
        for (value, &message) in residuals {
            let noise = field::to_signed(field::sub(value, message));
            assert!(noise.abs() <= 80, "tfhe finds noise {noise}");
            seen_noise |= noise != 0;
        }
        assert!(seen_noise);
    }
}

/// We open what tfhe encrypts under the same key.
#[test]
fn we_decrypt_tfhe_ciphertexts() {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(22);
    let seed = mask_seed("we decrypt");
    let packing = plan(&[(65_535, 3 * DEGREE)], 4);
    let codes: Vec<u64> = (0..packing.codes())
        .map(|_| rng.next_u64() & 0xffff)
        .collect();
    let key = Dealing::new(&packing, &seed, &codes, 4, 3, &mut rng).key(3);
    let oracle_key = GlweSecretKey::from_container(key.coefficients().to_vec(), SIZE);

    let mut seeder = new_seeder();
    let mut generator =
        EncryptionRandomGenerator::<DefaultRandomGenerator>::new(seeder.seed(), seeder.as_mut());
    // Standard deviation 6.32 over q, like our own noise; tfhe's is a rounded Gaussian.
    let deviation = Gaussian::from_dispersion_parameter(StandardDev(6.32 / Q as f64), 0.0);
    let plain = PlaintextList::from_container(packing.encode(&codes).unwrap());
    let mut ciphertext = GlweCiphertext::new(0u64, GlweSize(2), SIZE, modulus());
    encrypt_glwe_ciphertext(
        &oracle_key,
        &mut ciphertext,
        &plain,
        deviation,
        &mut generator,
    );

    // tfhe drew its own mask; ours is swapped in: c − a'·s + a·s.
    let factor = Transformed::new(key.coefficients());
    let mut theirs = ciphertext.get_mask().as_ref().to_vec();
    factor.multiply(&mut theirs);
    let mut ours = vec![0; DEGREE];
    seed.expand(0, &mut ours);
    factor.multiply_values(&mut ours);
    let body: Vec<u8> = ciphertext
        .get_body()
        .as_ref()
        .iter()
        .zip(theirs.iter().zip(&ours))
        .flat_map(|(&body, (&theirs, &ours))| {
            field::add(field::sub(body, theirs), ours).to_le_bytes()
        })
        .collect();
    let sum = BodySum::from_bytes(packing.coefficients(), &body).unwrap();
    assert!(open(&sum, &key, &seed, &packing, 1).unwrap().codes == codes);
}

/// The whole product against tfhe's Karatsuba, exactly: a noiseless trivial decryption.
#[test]
fn products_equal_tfhes_exactly() {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(23);
    let mut key = vec![0; DEGREE];
    collegium_crypto::randomness::fill_uniform(&mut rng, &mut key);
    key[..3].copy_from_slice(&[0, Q - 1, 1]);
    let mask = mask_seed("product").coefficients(7);

    let mut product = mask.clone();
    Transformed::new(&key).multiply(&mut product);

    let mut container = mask;
    container.extend(vec![0; DEGREE]);
    let ciphertext = GlweCiphertext::from_container(container, SIZE, modulus());
    let mut plain = PlaintextList::new(0u64, PlaintextCount(DEGREE));
    decrypt_glwe_ciphertext(
        &GlweSecretKey::from_container(key, SIZE),
        &ciphertext,
        &mut plain,
    );
    let negated: Vec<u64> = product.into_iter().map(field::neg).collect();
    assert!(plain.into_container() == negated);
}
