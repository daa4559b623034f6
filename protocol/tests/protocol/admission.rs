//! What the coordinator checks of an upload before anything of it is added or passed on.

use std::sync::Arc;

use collegium_crypto::field::Q;
use collegium_protocol::limits::{SEALED_SEED_BYTES, SEALED_SHARE_BYTES};
use collegium_protocol::message::step::{UploadHeader, UploadTrailer};
use collegium_protocol::step::{Admission, AdmittedUpload, ReadyUpload, StepPlan};
use collegium_protocol::{Blob, Digest, RefusalCode};

use crate::support::{World, admit, index};

/// What is changed, in words, and how.
type Change = (&'static str, fn(&mut UploadTrailer));

fn honest() -> (World, Arc<StepPlan>, Arc<ReadyUpload>) {
    let world = World::new(4, 300);
    let plan = world.plan(1, b"ask");
    let upload = world.nodes()[0]
        .upload(&world.announce(&plan, b"ask"))
        .unwrap();
    (world, plan, upload)
}

/// Streams a body in one piece under an honest header.
fn stream(
    plan: &StepPlan,
    upload: &ReadyUpload,
    body: &[u8],
    trailer: UploadTrailer,
) -> Result<AdmittedUpload, RefusalCode> {
    let mut admission =
        Admission::begin(plan, index(1), &upload.header).map_err(|refusal| refusal.code)?;
    admission.chunk(body).map_err(|refusal| refusal.code)?;
    admission.finish(trailer).map_err(|refusal| refusal.code)
}

#[test]
fn a_header_names_the_step_the_member_and_the_exact_length() {
    let (_, plan, upload) = honest();
    let begin = |header: UploadHeader| Admission::begin(&plan, index(1), &header).map(drop);
    let good = upload.header;
    assert!(begin(good).is_ok());
    let cases = [
        (
            UploadHeader {
                context: Digest([1; 32]),
                ..good
            },
            RefusalCode::UnknownStep,
        ),
        (
            UploadHeader {
                member: index(2),
                ..good
            },
            RefusalCode::NotAllowed,
        ),
        (
            UploadHeader {
                body_len: good.body_len + 8,
                ..good
            },
            RefusalCode::UploadInvalid,
        ),
        (
            UploadHeader {
                body_len: u64::MAX,
                ..good
            },
            RefusalCode::UploadInvalid,
        ),
    ];
    for (header, expected) in cases {
        assert_eq!(begin(header).unwrap_err().code, expected, "{header:?}");
    }
    let stranger = UploadHeader {
        member: index(9),
        ..good
    };
    assert!(Admission::begin(&plan, index(9), &stranger).is_err());
}

#[test]
fn a_body_is_exact_and_canonical() {
    let (_, plan, upload) = honest();
    let body = upload.body().unwrap();
    let body = body.as_slice();
    let mut high = body.to_vec();
    high[8..16].copy_from_slice(&Q.to_le_bytes());
    let longer = [body, &[0]].concat();
    for wrong in [&high, &longer, &body[1..].to_vec(), &Vec::new()] {
        let found = stream(&plan, &upload, wrong, upload.trailer.clone()).unwrap_err();
        assert_eq!(found, RefusalCode::UploadInvalid);
    }
    // A body that is well formed, but not the signed one.
    let mut other = body.to_vec();
    other[0] ^= 1;
    let found = stream(&plan, &upload, &other, upload.trailer.clone()).unwrap_err();
    assert_eq!(found, RefusalCode::BadSignature);
    assert!(stream(&plan, &upload, body, upload.trailer.clone()).is_ok());
}

#[test]
fn a_trailer_holds_one_signed_share_for_every_seat() {
    let (world, plan, upload) = honest();
    // Of member 1's four shares the first two are seeds, the others whole.
    let lengths: Vec<_> = upload
        .trailer
        .shares
        .iter()
        .map(|s| s.sealed.len())
        .collect();
    let (seed, whole) = (SEALED_SEED_BYTES, SEALED_SHARE_BYTES);
    assert_eq!(lengths, [seed, seed, whole, whole]);
    let changes: [Change; 9] = [
        ("a seed where the share is whole", |t| {
            t.shares[2].sealed.0.truncate(SEALED_SEED_BYTES);
        }),
        ("whole where a seed is due", |t| {
            t.shares[0].sealed.0.resize(SEALED_SHARE_BYTES, 0);
        }),
        ("two seats exchanged", |t| {
            let (one, two) = (t.shares[0].seat, t.shares[1].seat);
            (t.shares[0].seat, t.shares[1].seat) = (two, one);
        }),
        ("one missing", |t| drop(t.shares.pop())),
        ("out of order", |t| t.shares.swap(0, 1)),
        ("twice the same", |t| t.shares[1] = t.shares[0].clone()),
        ("one too long", |t| t.shares[2].sealed.0.push(0)),
        ("empty", |t| t.shares[2].sealed = Blob::default()),
        ("none", |t| t.shares.clear()),
    ];
    for (what, change) in changes {
        let mut trailer = upload.trailer.clone();
        change(&mut trailer);
        let found = stream(&plan, &upload, &upload.body().unwrap(), trailer).unwrap_err();
        assert_eq!(found, RefusalCode::UploadInvalid, "{what}");
    }
    let mut changed = upload.trailer.clone();
    changed.shares[3].sealed.0[50] ^= 1;
    let found = stream(&plan, &upload, &upload.body().unwrap(), changed).unwrap_err();
    assert_eq!(found, RefusalCode::BadSignature);
    // Another member's correctly signed upload under this member's name.
    let other = world.nodes()[1]
        .upload(&world.announce(&plan, b"ask"))
        .unwrap();
    // Already the lengths tell that it dealt from another place of the roster.
    let found = stream(
        &plan,
        &upload,
        &other.body().unwrap(),
        other.trailer.clone(),
    )
    .unwrap_err();
    assert_eq!(found, RefusalCode::UploadInvalid);
    let mut foreign = upload.trailer.clone();
    foreign.signature = other.trailer.signature;
    let found = stream(&plan, &upload, &upload.body().unwrap(), foreign).unwrap_err();
    assert_eq!(found, RefusalCode::BadSignature);
}

#[test]
fn a_damaged_spool_is_noticed() {
    let (_, plan, upload) = honest();
    let admitted = admit(&plan, index(1), &upload).unwrap();
    let claim = admitted.claim();
    let good = AdmittedUpload::from_spool(&plan, &claim, admitted.trailer().clone()).unwrap();
    assert_eq!(good.delivery(index(3)), admitted.delivery(index(3)));
    assert_eq!(good.delivery(index(5)), None);
    let mut damaged = admitted.trailer().clone();
    damaged.shares[0].sealed.0[9] ^= 1;
    assert!(AdmittedUpload::from_spool(&plan, &claim, damaged).is_err());
}
