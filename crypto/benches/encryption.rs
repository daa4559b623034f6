//! How fast a member encrypts, on one core: `cargo bench --profile dev -p collegium-crypto`.
//!
//! The main figure is `encrypt`: from 16-bit codes to the bytes of the body, for a roster of four
//! (3 lanes, N = 4096). Its peer is `benches/peers/tenseal_ckks.py`; both are in
//! `docs/benchmarks.md`. The rest shows where the time goes.

use chacha20::ChaCha20Rng;
use collegium_crypto::params::DEGREE;
use collegium_crypto::rand_core::{Rng, SeedableRng};
use collegium_crypto::shamir::{self, DealtShare, SHARE_BYTES, SharePoint, ShareSum};
use collegium_crypto::{
    BodySum, Encryptor, MaskSeed, OneTimeKey, Packing, ParamSet, SealingSecret, Segment, Shape,
    domain, hash, noise, ntt::Transformed, open, seal,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Codes in the main figure: 32 whole polynomials of 3 lanes.
const CODES: usize = 32 * 3 * DEGREE;

fn plan() -> Packing {
    let shape = Shape(vec![Segment {
        max: 65_535,
        count: CODES,
    }]);
    Packing::plan(&shape, 4, ParamSet::current()).expect("three lanes of 16 bits for four members")
}

fn setup() -> (Packing, MaskSeed, Vec<u64>, ChaCha20Rng) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let codes = (0..CODES).map(|_| rng.next_u64() & 0xffff).collect();
    (
        plan(),
        MaskSeed(hash(domain::MASK, &[b"bench"])),
        codes,
        rng,
    )
}

fn whole(criterion: &mut Criterion) {
    let (packing, seed, codes, mut rng) = setup();
    let per_value = packing.body_len() as f64 / CODES as f64;
    let shares = 4 * (SHARE_BYTES + seal::OVERHEAD);
    println!(
        "bytes per value: {per_value:.3} ({CODES} values, {} bytes of body), plus {shares} bytes \
         of sealed shares whatever the number of values",
        packing.body_len()
    );
    let mut group = criterion.benchmark_group("values");
    group.throughput(Throughput::Elements(CODES as u64));
    group.bench_function("encrypt", |bencher| {
        bencher.iter(|| {
            let key = OneTimeKey::generate(&mut rng);
            let encryptor = Encryptor::new(key, &seed, &packing, &codes, &mut rng);
            let mut bytes = 0;
            for part in encryptor.expect("the codes fit the plan") {
                bytes += black_box(part).len();
            }
            bytes
        });
    });

    let mut sum = BodySum::new(packing.coefficients());
    let mut share_sums: Vec<ShareSum> = (1..=3)
        .map(|point| ShareSum::new(SharePoint::new(point).expect("1 to 3")))
        .collect();
    let mut bodies = Vec::new();
    for _ in 0..4 {
        let key = OneTimeKey::generate(&mut rng);
        let dealt = shamir::deal(&key, 4, 3, 0, &mut rng).expect("3 of 4");
        for (sum, share) in share_sums.iter_mut().zip(&dealt) {
            let seeded = shamir::is_seeded(sum.point(), 4, 3, 0);
            let share = DealtShare::from_bytes(sum.point(), seeded, &share.to_bytes());
            sum.add(&share.expect("a share of our own"))
                .expect("the same point");
        }
        let encryptor = Encryptor::new(key, &seed, &packing, &codes, &mut rng);
        bodies.push(encryptor.expect("the codes fit the plan").into_body());
    }
    for body in &bodies {
        sum.add_bytes(body).expect("a body of our own");
    }
    let key = shamir::interpolate(&share_sums, 3).expect("three shares");
    group.bench_function("open", |bencher| {
        bencher.iter(|| open(&sum, &key, &seed, &packing, 4).expect("an honest sum"));
    });
    group.bench_function("add one body", |bencher| {
        bencher.iter(|| {
            sum.add_bytes(black_box(&bodies[0]))
                .expect("a body of our own")
        });
    });
    group.finish();
}

fn pieces(criterion: &mut Criterion) {
    let (packing, seed, codes, mut rng) = setup();
    let mut group = criterion.benchmark_group("one polynomial");
    let mut polynomial = vec![0; DEGREE];
    group.bench_function("expand a mask", |bencher| {
        bencher.iter(|| seed.expand(3, black_box(&mut polynomial)));
    });
    let factor = Transformed::new(&polynomial);
    group.bench_function("multiply", |bencher| {
        bencher.iter(|| factor.multiply(black_box(&mut polynomial)));
    });
    let mut terms = vec![0i8; DEGREE];
    let noise = noise::NoiseSeed::generate(&mut rng);
    group.bench_function("draw noise", |bencher| {
        bencher.iter(|| noise.draw(0, black_box(&mut terms)));
    });
    let one = Packing::plan(
        &Shape(vec![Segment {
            max: 65_535,
            count: 3 * DEGREE,
        }]),
        4,
        packing.params(),
    );
    let one = one.expect("three lanes of 16 bits for four members");
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            one.encode(black_box(&codes[..3 * DEGREE]))
                .expect("16 bits")
        });
    });
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut group = criterion.benchmark_group("keys");
    let key = OneTimeKey::generate(&mut rng);
    group.bench_function("share among 4", |bencher| {
        bencher.iter(|| shamir::deal(&key, 4, 3, 0, &mut rng).expect("3 of 4"));
    });
    let secret = SealingSecret::generate(&mut rng);
    let share = shamir::deal(&key, 4, 3, 0, &mut rng)
        .expect("3 of 4")
        .remove(3)
        .to_bytes();
    group.bench_function("seal a share", |bencher| {
        bencher.iter(|| secret.public().seal(b"info", b"aad", &share, &mut rng));
    });
    let sealed = secret
        .public()
        .seal(b"info", b"aad", &share, &mut rng)
        .expect("seals");
    group.bench_function("open a sealed share", |bencher| {
        bencher.iter(|| {
            secret
                .open(b"info", b"aad", black_box(&sealed))
                .expect("opens")
        });
    });
    group.finish();
}

criterion_group!(benches, whole, pieces, keys);
criterion_main!(benches);
