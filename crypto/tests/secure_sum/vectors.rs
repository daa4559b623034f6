//! Frozen known-answer vectors: what this version computes, every later one must.
//!
//! Each file in `tests/vectors/` lists valid cases (`input`, `output`) and invalid ones (`input`,
//! `error`). Numbers of 64 bits are decimal strings, bytes are hexadecimal. A change of any output
//! is a change of format and needs a new version in the domain string or the parameter set's id;
//! then, and for new cases, `cargo test -p collegium-crypto write_vectors -- --ignored` fills in
//! the outputs for the inputs in the files.

use crate::consortium::{Dealing, plan, release, words};
use collegium_crypto::degree::{self, DegreeChallenge, DegreeValue};
use collegium_crypto::encode::{Packing, Segment, Shape};
use collegium_crypto::params::{DEGREE, ParamSet};
use collegium_crypto::rand_core::SeedableRng;
use collegium_crypto::seal::{SealingPublic, SealingSecret};
use collegium_crypto::shamir::{self, DealtShare, KeyShare, SharePoint};
use collegium_crypto::{
    BodyCheck, BodyHasher, Challenge, Digest, IdentityKey, LinearHash, LinearHasher, MaskSeed,
    Signature, SigningIdentity, Thresholds, committee, field, hash, noise, open,
};
use serde_json::{Value, json};

/// The output of a valid case, or the code of an invalid one's error.
type Answer = Result<Value, String>;
type Computation = fn(&Value) -> Answer;

fn computers() -> [(&'static str, Computation); 10] {
    [
        ("mask", mask),
        ("noise", noise_terms),
        ("sharing", sharing),
        ("degree", degree_test),
        ("linear", linear),
        ("committee", committee),
        ("encoding", encoding),
        ("sealing", sealing),
        ("transcript", transcript),
        ("wire", wire),
    ]
}

fn path(name: &str) -> String {
    format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

fn load(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

#[test]
fn frozen_vectors_still_hold() {
    for (name, compute) in computers() {
        let file = load(name);
        let valid = file["valid"].as_array().unwrap();
        let invalid = file["invalid"].as_array().unwrap();
        assert!(
            !valid.is_empty() && !invalid.is_empty(),
            "{name}: no vectors"
        );
        for case in valid {
            let output = compute(&case["input"]);
            assert_eq!(
                output.as_ref(),
                Ok(&case["output"]),
                "{name}: {}",
                case["input"]
            );
        }
        for case in invalid {
            let error = compute(&case["input"]).expect_err("an invalid vector was accepted");
            assert_eq!(
                error,
                case["error"].as_str().unwrap(),
                "{name}: {}",
                case["input"]
            );
        }
    }
}

#[test]
#[ignore = "writes the vectors; run it after a deliberate change of format only"]
fn write_vectors() {
    for (name, compute) in computers() {
        let mut file = load(name);
        for case in file["valid"].as_array_mut().unwrap() {
            case["output"] = compute(&case["input"]).unwrap();
        }
        for case in file["invalid"].as_array_mut().unwrap() {
            case["error"] = compute(&case["input"]).unwrap_err().into();
        }
        let text = serde_json::to_string_pretty(&file).unwrap() + "\n";
        std::fs::write(path(name), text).unwrap();
    }
}

// ---- reading inputs -------------------------------------------------------------------------

fn text<'a>(input: &'a Value, key: &str) -> &'a str {
    input[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is missing in {input}"))
}

fn number(value: &Value) -> u64 {
    match value {
        Value::String(decimal) => decimal.parse().unwrap(),
        other => other.as_u64().unwrap(),
    }
}

fn size(input: &Value, key: &str) -> usize {
    number(&input[key]) as usize
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

fn digest(input: &Value, key: &str) -> Result<Digest, String> {
    text(input, key).parse().map_err(code)
}

fn rng(input: &Value) -> chacha20::ChaCha20Rng {
    chacha20::ChaCha20Rng::from_seed(bytes(text(input, "rng")).try_into().unwrap())
}

fn segments(input: &Value) -> Shape {
    let pairs = input["segments"].as_array().unwrap().iter().map(numbers);
    Shape(
        pairs
            .map(|pair| Segment {
                max: pair[0],
                count: pair[1] as usize,
            })
            .collect(),
    )
}

// ---- writing outputs ------------------------------------------------------------------------

/// The variant of an error: what a vector freezes, whatever the message says.
fn code(error: impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    let end = text
        .find(|c: char| !c.is_alphanumeric())
        .unwrap_or(text.len());
    text[..end].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decimals(values: &[u64]) -> Value {
    values.iter().map(u64::to_string).collect()
}

/// Long outputs by their ends and BLAKE3 (plain mode) of their little-endian bytes.
fn summary(values: &[u64]) -> Value {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    json!({
        "count": values.len(),
        "first": decimals(&values[..values.len().min(4)]),
        "last": decimals(&values[values.len().saturating_sub(4)..]),
        "blake3": blake3::hash(&bytes).to_hex().to_string(),
    })
}

// ---- the computations -----------------------------------------------------------------------

fn mask(input: &Value) -> Answer {
    if input.get("charter").is_some() {
        let params = ParamSet::by_id(text(input, "params")).map_err(code)?;
        let run = bytes(text(input, "run"))
            .try_into()
            .map_err(|_| "Length".to_owned())?;
        let (charter, ask) = (digest(input, "charter")?, digest(input, "ask")?);
        let MaskSeed(seed) = MaskSeed::derive(params, &charter, &run, number(&input["step"]), &ask);
        return Ok(json!({ "seed": seed }));
    }
    let mut coefficients = vec![0; DEGREE];
    MaskSeed(digest(input, "seed")?).expand(number(&input["index"]), &mut coefficients);
    Ok(summary(&coefficients))
}

fn noise_terms(input: &Value) -> Answer {
    let mut terms = vec![0i8; size(input, "count")];
    if input.get("seed").is_some() {
        let seed: [u8; 32] = bytes(text(input, "seed")).try_into().unwrap();
        noise::NoiseSeed::from_bytes(seed).draw(0, &mut terms);
    } else {
        let bytes = bytes(text(input, "bytes"));
        if bytes.len() != terms.len() * noise::BYTES_PER_TERM {
            return Err("Length".into());
        }
        noise::from_bytes(&bytes, &mut terms);
    }
    let raw: Vec<u8> = terms.iter().map(|term| term.to_le_bytes()[0]).collect();
    Ok(json!({
        "first": &terms[..terms.len().min(24)],
        "blake3": blake3::hash(&raw).to_hex().to_string(),
    }))
}

fn sharing(input: &Value) -> Answer {
    if let Some(patch) = input.get("patch") {
        // A share of zeros with some bytes replaced, or cut.
        let mut share = vec![0u8; size(input, "length")];
        let patch = bytes(patch.as_str().unwrap());
        let at = size(input, "at");
        share[at..at + patch.len()].copy_from_slice(&patch);
        let point = SharePoint::new(size(input, "point") as u16).map_err(code)?;
        let share = KeyShare::from_bytes(point, &share).map_err(code)?;
        return Ok(summary(&words(&share.to_bytes())));
    }
    if input.get("seed").is_some() {
        let point = SharePoint::new(size(input, "point") as u16).map_err(code)?;
        let seed = bytes(text(input, "seed"));
        let share = DealtShare::from_bytes(point, true, &seed).map_err(code)?;
        return Ok(summary(&words(&share.to_bytes())));
    }
    dealing(input)
}

fn dealing(input: &Value) -> Answer {
    let (committee, threshold) = (size(input, "committee"), size(input, "threshold"));
    let first = size(input, "first");
    let mut rng = rng(input);
    let key = collegium_crypto::OneTimeKey::generate(&mut rng);
    let dealt = shamir::deal(&key, committee, threshold, first, &mut rng).map_err(code)?;
    let mut shares = Vec::new();
    for (place, share) in dealt.iter().enumerate() {
        let seat = SharePoint::new(place as u16 + 1).map_err(code)?;
        let seeded = shamir::is_seeded(seat, committee, threshold, first);
        shares.push(DealtShare::from_bytes(seat, seeded, &share.to_bytes()).map_err(code)?);
    }
    let released: Vec<_> = numbers(&input["released"])
        .into_iter()
        .map(|point| {
            let mut sum = shamir::ShareSum::new(SharePoint::new(point as u16).map_err(code)?);
            let share = shares.get(point as usize - 1).ok_or("Point")?;
            sum.add(share).map_err(code)?;
            Ok(sum)
        })
        .collect::<Result<_, String>>()?;
    let opened = shamir::interpolate(&released, threshold).map_err(code)?;
    let dealt = dealt.iter().map(|share| match share {
        DealtShare::Seed(_) => hex(&share.to_bytes()).into(),
        DealtShare::Whole(whole) => summary(&words(&whole.to_bytes())),
    });
    Ok(json!({ "key": summary(opened.coefficients()), "dealt": dealt.collect::<Value>() }))
}

fn linear(input: &Value) -> Answer {
    if input.get("hash").is_some() {
        let hash = bytes(text(input, "hash")).try_into().unwrap();
        let hash = LinearHash::from_bytes(&hash).map_err(code)?;
        return Ok(json!({ "hash": hash }));
    }
    let challenge = Challenge::derive(&digest(input, "commitment")?);
    let mut hasher = LinearHasher::new(challenge);
    hasher.update(&bytes(text(input, "body")));
    let hash = hasher.finish().map_err(code)?;
    Ok(json!({ "challenge": hex(&challenge.to_bytes()), "hash": hash }))
}

/// Key shares of all seats, one coefficient's polynomial perhaps raised by X^dealt.
fn raised(input: &Value, shares: Vec<KeyShare>, dealt: u64) -> Vec<KeyShare> {
    let Some(place) = input.get("raise").map(|place| number(place) as usize) else {
        return shares;
    };
    let raise = |share: KeyShare| {
        let mut bytes = share.to_bytes();
        let word = &mut bytes.as_chunks_mut::<8>().0[place];
        let power = field::pow(u64::from(share.point().get()), dealt);
        *word = field::add(u64::from_le_bytes(*word), power).to_le_bytes();
        KeyShare::from_bytes(share.point(), &bytes).unwrap()
    };
    shares.into_iter().map(raise).collect()
}

fn published(input: &Value) -> Result<Vec<DegreeValue>, String> {
    if let Some(values) = input.get("values") {
        let values = values.as_array().unwrap().iter().map(|pair| {
            let point = SharePoint::new(number(&pair[0]) as u16).map_err(code)?;
            let bytes = bytes(pair[1].as_str().unwrap());
            let bytes = bytes.try_into().map_err(|_| "Length".to_owned())?;
            DegreeValue::from_bytes(point, &bytes).map_err(code)
        });
        return values.collect();
    }
    let (committee, dealt) = (size(input, "committee"), size(input, "dealt"));
    let mut rng = rng(input);
    let key = collegium_crypto::OneTimeKey::generate(&mut rng);
    let masks = degree::deal_mask(committee, dealt, &mut rng).map_err(code)?;
    let shares = crate::consortium::deal(&key, committee, dealt, 0, &mut rng);
    let shares = raised(input, shares, dealt as u64);
    let rho = DegreeChallenge::derive(&digest(input, "sealed")?);
    let seats = numbers(&input["seats"]).into_iter();
    Ok(seats
        .map(|seat| seat as usize - 1)
        .map(|place| rho.value(&masks[place], &shares[place]))
        .collect())
}

fn degree_test(input: &Value) -> Answer {
    let values = published(input)?;
    degree::check(&values, size(input, "threshold")).map_err(code)?;
    let values = values.iter().map(|value| hex(&value.to_bytes()).into());
    Ok(json!({ "values": values.collect::<Vec<Value>>() }))
}

fn committee(input: &Value) -> Answer {
    let members = size(input, "members");
    if input.get("beacon").is_none() {
        let found = Thresholds::for_members(members).map_err(code)?;
        return Ok(json!({
            "committee": found.committee,
            "quorum": found.quorum,
            "threshold": found.threshold,
            "min_contributors": found.min_contributors,
            "max_colluding": found.max_colluding,
        }));
    }
    let drawn = committee::draw(&digest(input, "beacon")?, members, size(input, "committee"));
    Ok(json!({ "drawn": drawn }))
}

fn encoding(input: &Value) -> Answer {
    let packing = Packing::plan(&segments(input), size(input, "roster"), ParamSet::current())
        .map_err(code)?;
    let coefficients = packing.encode(&numbers(&input["codes"])).map_err(code)?;
    let lanes = packing.segments().iter().map(|lanes| {
        json!({
            "lanes": lanes.lanes,
            "base": lanes.base.to_string(),
            "delta": lanes.delta.to_string(),
        })
    });
    Ok(json!({
        "segments": lanes.collect::<Value>(),
        "coefficients": decimals(&coefficients),
    }))
}

fn sealing(input: &Value) -> Answer {
    let secret = SealingSecret::from_bytes(&bytes(text(input, "secret"))).map_err(code)?;
    let (info, aad) = (bytes(text(input, "info")), bytes(text(input, "aad")));
    if input.get("rng").is_none() {
        let mut sealed = bytes(text(input, "sealed"));
        if let Some(flip) = input.get("flip") {
            sealed[number(flip) as usize] ^= 1;
        }
        let plaintext = secret.open(&info, &aad, &sealed).map_err(code)?;
        return Ok(json!({ "plaintext": hex(&plaintext) }));
    }
    let public = SealingPublic::from_bytes(secret.public().as_bytes()).map_err(code)?;
    let plaintext = bytes(text(input, "plaintext"));
    let sealed = public
        .seal(&info, &aad, &plaintext, &mut rng(input))
        .map_err(code)?;
    Ok(json!({ "public": public.to_string(), "sealed": hex(&sealed) }))
}

fn transcript(input: &Value) -> Answer {
    if input.get("parts").is_some() {
        let parts: Vec<Vec<u8>> = input["parts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| bytes(p.as_str().unwrap()))
            .collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        return Ok(json!({ "digest": hash(leak(text(input, "domain")), &parts) }));
    }
    if input.get("body").is_some() {
        let mut hasher = BodyHasher::new();
        hasher.update(&bytes(text(input, "body")));
        return Ok(json!({ "digest": hasher.finish() }));
    }
    if input.get("segments").is_some() {
        return Ok(json!({ "digest": segments(input).digest() }));
    }
    if input.get("params").is_some() {
        let params = ParamSet::by_id(text(input, "params")).map_err(code)?;
        return Ok(json!({ "digest": params.digest() }));
    }
    let (domain, message) = (leak(text(input, "domain")), digest(input, "digest")?);
    if input.get("signature").is_some() {
        let key: IdentityKey = text(input, "public")
            .parse()
            .map_err(|_| "Key".to_owned())?;
        let signature: Signature = text(input, "signature").parse().map_err(code)?;
        key.verify(domain, &message, &signature).map_err(code)?;
        return Ok(json!({ "verifies": true }));
    }
    let identity = SigningIdentity::from_bytes(&bytes(text(input, "secret")).try_into().unwrap());
    Ok(json!({
        "public": identity.public(),
        "fingerprint": identity.public().fingerprint().to_string(),
        "words": identity.public().fingerprint().words(),
        "signature": identity.sign(domain, &message),
    }))
}

fn wire(input: &Value) -> Answer {
    if let Some(body) = input.get("body") {
        let mut check = BodyCheck::new(size(input, "coefficients"));
        check.push(&bytes(body.as_str().unwrap())).map_err(code)?;
        return Ok(json!({ "digest": check.finish().map_err(code)? }));
    }
    let seed = MaskSeed(digest(input, "seed")?);
    let pairs: Vec<(u64, usize)> = segments(input)
        .0
        .iter()
        .map(|segment| (segment.max, segment.count))
        .collect();
    let roster = size(input, "roster");
    let packing = plan(&pairs, roster);
    let mut rng = rng(input);
    // Every dealer's codes count up from another number.
    let dealings: Vec<_> = (0..roster as u64)
        .map(|dealer| {
            let codes: Vec<u64> = pairs
                .iter()
                .flat_map(|&(max, count)| (0..count as u64).map(move |i| (i + dealer) % (max + 1)))
                .collect();
            Dealing::new(&packing, &seed, &codes, roster, roster, &mut rng)
        })
        .collect();
    let releases: Vec<_> = (1..=roster as u16)
        .map(|point| release(&dealings, point))
        .collect();
    let key = shamir::interpolate(&releases, roster).map_err(code)?;
    let sum = crate::consortium::add(&packing, &dealings);
    let opened = open(&sum, &key, &seed, &packing, roster).map_err(code)?;
    Ok(json!({
        "bodies": dealings.iter().map(|one| summary(&words(&one.body))).collect::<Value>(),
        "releases": releases.iter().map(|one| summary(&words(&one.to_bytes()))).collect::<Value>(),
        "summed_body": summary(&words(&sum.to_bytes())),
        "summed_key": summary(key.coefficients()),
        "opened": summary(&opened.codes),
    }))
}

/// Domains are constants in the crate; a test reads them from a file.
fn leak(domain: &str) -> &'static str {
    Box::leak(domain.to_owned().into_boxed_str())
}
