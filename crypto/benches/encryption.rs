//! How fast the secure sum's cryptography is, on one core except where it says otherwise:
//! `cargo bench --profile dev -p collegium-crypto`.
//!
//! The main figures are `encrypt`: from codes to the bytes of the body. Their peer is
//! `benches/peers/tenseal_ckks.py`; both are in `docs/benchmarks.md`. The rest shows where the time
//! goes, and what the coordinator and the committee do.
//!
//! Before Criterion's statistics each benchmark prints its **best pass**: the shortest of many by
//! the wall clock, which other work on the machine disturbs least.

use chacha20::ChaCha20Rng;
use collegium_crypto::glwe::digest;
use collegium_crypto::params::{DEGREE, Thresholds};
use collegium_crypto::rand_core::{Rng, SeedableRng};
use collegium_crypto::shamir::{self, DealtShare, SEED_BYTES, SHARE_BYTES, SharePoint, ShareSum};
use collegium_crypto::{
    BodyCheck, BodySum, Challenge, Encryptor, LinearHash, LinearHasher, MaskSeed, OneTimeKey,
    Packing, ParamSet, SealingSecret, Segment, Shape, SummedKey, degree, domain, hash, noise,
    ntt::Transformed, open, rebuilt_hash, seal,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Polynomials in an encrypted answer: few, so that a pass is short and often undisturbed; drawing
/// and transforming the key is a 20th of it.
const POLYNOMIALS: usize = 8;

/// Values in the sum that is opened.
const OPENED_VALUES: usize = 1_000_000;

/// How long passes are tried for the best one.
const TRYING: Duration = Duration::from_secs(2);

/// Prints the best pass of `work` on `amount` things of a `unit`, then hands it to Criterion.
fn measure<R>(
    criterion: &mut Criterion,
    name: &str,
    (amount, unit): (usize, &str),
    mut work: impl FnMut() -> R,
) {
    let started = Instant::now();
    let mut best = Duration::MAX;
    while started.elapsed() < TRYING {
        let pass = Instant::now();
        black_box(work());
        best = best.min(pass.elapsed());
    }
    let rate = amount as f64 / best.as_secs_f64() / 1e6;
    println!(
        "{name}: best pass {:.1} µs, {rate:.2} million {unit}/s",
        best.as_secs_f64() * 1e6
    );
    let mut group = criterion.benchmark_group("secure sum");
    group.throughput(Throughput::Elements(amount as u64));
    group.bench_function(name, |bencher| bencher.iter(&mut work));
    group.finish();
}

/// A plan, and random codes for it.
fn answer(bits: u32, members: usize, codes: usize) -> (Packing, Vec<u64>) {
    let max = (1 << bits) - 1;
    let shape = Shape(vec![Segment { max, count: codes }]);
    let packing = Packing::plan(&shape, members, ParamSet::current()).expect("the values fit");
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let codes = (0..codes).map(|_| rng.next_u64() & max).collect();
    (packing, codes)
}

fn mask_seed() -> MaskSeed {
    MaskSeed(hash(domain::MASK, &[b"bench"]))
}

/// From codes to the bytes of the body, a fresh key every time.
fn encryption(criterion: &mut Criterion) {
    for (bits, members) in [(16, 4), (24, 4), (16, 1000), (24, 1000)] {
        let lanes = answer(bits, members, 1).0.segments()[0].lanes;
        let (packing, codes) = answer(bits, members, POLYNOMIALS * DEGREE * lanes);
        let per_value = packing.body_len() as f64 / codes.len() as f64;
        let thresholds = Thresholds::for_members(members).expect("a consortium");
        let (whole, seeded) = dealt_bytes(&thresholds);
        println!(
            "{bits} bits, {members} members: {lanes} lanes, {per_value:.3} bytes per value, plus \
             {} bytes of sealed shares to {} committee members whatever the number of values",
            whole + seeded,
            thresholds.committee
        );
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let name = format!("encrypt {bits} bits for {members}");
        let amount = (codes.len(), "values");
        let mut encryptor = || {
            let key = OneTimeKey::generate(&mut rng);
            Encryptor::new(key, &mask_seed(), &packing, &codes, &mut rng).expect("codes that fit")
        };
        measure(criterion, &name, amount, || {
            encryptor().map(|part| black_box(part).len()).sum::<usize>()
        });
        if (bits, members) == (16, 4) {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let name = format!("encrypt 16 bits for 4 on {threads} threads");
            measure(criterion, &name, amount, || {
                let taken = encryptor().parts_parallel(threads, |_, part| {
                    black_box(part);
                    ControlFlow::<()>::Continue(())
                });
                assert!(taken.is_continue());
            });
        }
    }
}

/// Bytes of what a dealer seals: whole shares, and seeds.
fn dealt_bytes(thresholds: &Thresholds) -> (usize, usize) {
    let seeded = thresholds.threshold - 1;
    let whole = thresholds.committee - seeded;
    (
        whole * (SHARE_BYTES + seal::OVERHEAD),
        seeded * (SEED_BYTES + seal::OVERHEAD),
    )
}

/// What one polynomial costs, piece by piece.
fn pieces(criterion: &mut Criterion) {
    let one = (DEGREE, "coefficients");
    let mut polynomial = vec![0; DEGREE];
    measure(criterion, "expand a mask", one, || {
        mask_seed().expand(3, black_box(&mut polynomial));
    });
    let factor = Transformed::new(&polynomial);
    measure(criterion, "multiply", one, || {
        factor.multiply_values(black_box(&mut polynomial));
    });
    let mut terms = vec![0i8; DEGREE];
    let noise = noise::NoiseSeed::from_bytes([1; 32]);
    measure(criterion, "draw noise", one, || {
        noise.draw(0, black_box(&mut terms));
    });
    let (packing, codes) = answer(16, 4, 3 * DEGREE);
    measure(criterion, "encode", one, || {
        packing.encode(black_box(&codes)).expect("16 bits")
    });
}

/// What the coordinator does: check, add, open; and what verifying a sum takes.
fn coordinator(criterion: &mut Criterion) {
    let (packing, codes) = answer(16, 4, OPENED_VALUES);
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut sum = BodySum::new(packing.coefficients());
    let mut total = vec![0u64; DEGREE];
    let mut body = Vec::new();
    for _ in 0..4 {
        let key = OneTimeKey::generate(&mut rng);
        let dealt = shamir::deal(&key, 1, 1, 0, &mut rng).expect("1 of 1");
        let share = dealt[0].to_bytes();
        for (total, word) in total.iter_mut().zip(share.as_chunks::<8>().0) {
            *total = collegium_crypto::field::add(*total, u64::from_le_bytes(*word));
        }
        let encryptor = Encryptor::new(key, &mask_seed(), &packing, &codes, &mut rng);
        body = encryptor.expect("codes that fit").into_body();
        sum.add_bytes(&body).expect("a body of our own");
    }
    let bytes: Vec<u8> = total.iter().flat_map(|word| word.to_le_bytes()).collect();
    let key = SummedKey::from_bytes(&bytes).expect("canonical");

    let mut adding = sum.clone();
    let whole = (body.len(), "bytes");
    measure(criterion, "add a body", whole, || {
        adding.add_bytes(&body).expect("a body of our own");
    });
    measure(criterion, "check and hash a body", whole, || {
        let mut check = BodyCheck::new(packing.coefficients());
        for part in body.chunks(DEGREE * 8) {
            check.push(part).expect("a body of our own");
        }
        check.finish().expect("complete")
    });
    let opened = open(&sum, &key, &mask_seed(), &packing, 4).expect("an honest sum");
    let values = (OPENED_VALUES, "values");
    measure(criterion, "open (all cores)", values, || {
        open(&sum, &key, &mask_seed(), &packing, 4).expect("an honest sum")
    });
    let commitment = digest(&opened.phases, &key);
    measure(criterion, "commit to what was opened", values, || {
        digest(&opened.phases, &key)
    });
    let challenge = Challenge::derive(&commitment);
    measure(criterion, "check and hash what was opened", values, || {
        rebuilt_hash(challenge, &mask_seed(), &packing, 4, &key, &opened.phases)
    });
    measure(criterion, "linear hash of a body", whole, || {
        let mut hasher = LinearHasher::new(challenge);
        hasher.update(&body);
        hasher.finish().expect("a body of our own")
    });
    measure(criterion, "linear hash of a sum", whole, || {
        LinearHash::of_sum(challenge, &sum)
    });
}

/// Dealing, sealing and releasing, for small and for the largest committees.
fn keys(criterion: &mut Criterion) {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let key = OneTimeKey::generate(&mut rng);
    for (committee, threshold) in [(4, 3), (96, 65)] {
        let name = format!("deal to {committee}");
        measure(criterion, &name, (1, "keys"), || {
            shamir::deal(&key, committee, threshold, 0, &mut rng).expect("a committee")
        });
    }
    let dealt = shamir::deal(&key, 96, 65, 0, &mut rng).expect("a committee");
    let secret = SealingSecret::generate(&mut rng);
    for (kind, place) in [("seed", 0), ("share", 95)] {
        let bytes = dealt[place].to_bytes();
        let one = (1, "shares");
        measure(criterion, &format!("seal a {kind}"), one, || {
            secret.public().seal(b"info", b"aad", &bytes, &mut rng)
        });
        let sealed = secret.public().seal(b"info", b"aad", &bytes, &mut rng);
        let sealed = sealed.expect("seals");
        let seat = SharePoint::new(place as u16 + 1).expect("a seat");
        measure(criterion, &format!("open a sealed {kind}"), one, || {
            let bytes = secret.open(b"info", b"aad", &sealed).expect("opens");
            DealtShare::from_bytes(seat, kind == "seed", &bytes).expect("a share")
        });
    }

    let seats = (1..=65).map(|seat| SharePoint::new(seat).expect("a seat"));
    let releases: Vec<_> = seats.map(ShareSum::new).collect();
    measure(criterion, "interpolate 65 releases", (1, "keys"), || {
        shamir::interpolate(&releases, 65).expect("enough releases")
    });
    let rho = degree::DegreeChallenge::derive(&hash(domain::SHARES, &[b"bench"]));
    let masks = degree::deal_mask(96, 65, &mut rng).expect("a committee");
    let seat = SharePoint::new(96).expect("a seat");
    let share = DealtShare::from_bytes(seat, false, &dealt[95].to_bytes()).expect("a share");
    measure(criterion, "answer a degree test", (1, "shares"), || {
        rho.value(&masks[95], &share)
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = encryption, pieces, coordinator, keys
}
criterion_main!(benches);
