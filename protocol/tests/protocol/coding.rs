//! The codec: one value, one byte string; everything else is refused for a reason.

use collegium_crypto::rand_core::Rng;
use collegium_protocol::codec::{self, CodecError};
use collegium_protocol::limits::{MAX_TO_COORDINATOR_BYTES, MAX_TO_NODE_BYTES};
use collegium_protocol::message::session::{DropReason, RunOutcome, ToCoordinator, ToNode};
use collegium_protocol::message::step::{Certificate, CertifiedVote, Complaint, Verdict};
use collegium_protocol::{
    Blob, Digest, MemberName, ProcessId, Refusal, RefusalCode, Signature, StepNumber,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::support::{World, index, rng};

/// Honest messages of every kind, from a real step.
fn messages() -> (Vec<ToNode>, Vec<ToCoordinator>) {
    let world = World::new(3, 1);
    let plan = world.plan(1, b"ask");
    let announce = world.announce(&plan, b"ask");
    let mut nodes = world.nodes();
    let uploads = world.uploads(&plan, b"ask", &mut nodes);
    let propose = world.propose(&plan, &uploads, &[1, 2, 3]);
    let vote = nodes[0].vote(&propose).unwrap();
    let step = plan.reference();
    let (run, number) = (step.run, step.step);
    let refusal = Refusal::new(RefusalCode::PolicyDenied, "not at night");
    let votes = vec![CertifiedVote {
        voter: index(1),
        signature: vote.signature,
    }];
    let certificate = Certificate {
        step,
        proposal: propose.digest(),
        votes,
    };
    let down = vec![
        ToNode::Welcome { version: 1 },
        ToNode::Charter(world.charter.signed().clone()),
        ToNode::RunOffer {
            run,
            task: Blob(b"name = 1".to_vec()),
            task_digest: Digest([1; 32]),
        },
        ToNode::RunClosed {
            run,
            outcome: RunOutcome::Failed(refusal.clone()),
            champion: Some(Digest([2; 32])),
        },
        ToNode::Announce(announce),
        ToNode::Deliver(uploads[0].delivery(index(2)).unwrap()),
        ToNode::Propose(propose),
        ToNode::Certificate(certificate),
        ToNode::StepDropped {
            run,
            step: number,
            reason: DropReason::TooFewVotes,
        },
        ToNode::Refused(RefusalCode::Version.into()),
        ToNode::Shutdown,
        ToNode::Probe,
    ];
    let name = MemberName::new("site-1").unwrap();
    let complaint = Some(Box::new(Complaint {
        leaf: Digest([5; 32]),
        reason: refusal.clone(),
        signature: vote.signature,
    }));
    let verdict = Verdict {
        step,
        dealer: index(2),
        shares: Digest([3; 32]),
        complaint,
    };
    let up = vec![
        ToCoordinator::Hello {
            version: 1,
            name,
            charter: Some(world.charter.digest()),
        },
        ToCoordinator::RunAccepted {
            run,
            data: Digest([4; 32]),
        },
        ToCoordinator::RunRefused {
            run,
            refusal: refusal.clone(),
        },
        ToCoordinator::StepRefused {
            run,
            step: StepNumber(u64::MAX),
            refusal,
        },
        ToCoordinator::Verdict(verdict),
        ToCoordinator::Vote(vote),
        ToCoordinator::RunReportReady { run },
        ToCoordinator::Process(ProcessId::from_bytes([6; 16])),
    ];
    (down, up)
}

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    message: &T,
    cap: usize,
    rng: &mut impl Rng,
) {
    let bytes = codec::encode(message).unwrap();
    assert!(
        bytes.len() <= cap,
        "{} bytes are over the cap {cap}",
        bytes.len()
    );
    assert_eq!(codec::decode::<T>(&bytes, cap).unwrap(), *message);

    let longer = [bytes.as_slice(), &[0, 0]].concat();
    assert_eq!(
        codec::decode::<T>(&longer, cap),
        Err(CodecError::Leftover(2))
    );
    let over = codec::decode::<T>(&bytes, bytes.len() - 1);
    assert_eq!(
        over,
        Err(CodecError::Oversize {
            length: bytes.len(),
            cap: bytes.len() - 1
        })
    );
    let cuts = (0..bytes.len()).step_by(1 + bytes.len() / 200);
    for cut in cuts {
        let short = codec::decode::<T>(&bytes[..cut], cap);
        assert!(short.is_err(), "{message:?} cut to {cut} bytes decodes");
    }
    // A changed byte is refused, or is another value with exactly these bytes.
    for _ in 0..300 {
        let mut changed = bytes.clone();
        let place = rng.next_u32() as usize % changed.len();
        changed[place] ^= 1 << (rng.next_u32() % 8);
        if let Ok(other) = codec::decode::<T>(&changed, cap) {
            assert_ne!(other, *message, "byte {place} does not matter");
            assert_eq!(codec::encode(&other).unwrap(), changed);
        }
    }
}

#[test]
fn every_message_has_exactly_one_form() {
    let seed = 20;
    println!("seed {seed}");
    let mut rng = rng(seed);
    let (down, up) = messages();
    for message in &down {
        check(message, MAX_TO_NODE_BYTES, &mut rng);
    }
    for message in &up {
        check(message, MAX_TO_COORDINATOR_BYTES, &mut rng);
    }
}

#[test]
fn noise_never_panics_the_decoder() {
    let seed = 21;
    println!("seed {seed}");
    let mut rng = rng(seed);
    for _ in 0..20_000 {
        let mut bytes = vec![0; rng.next_u32() as usize % 200];
        rng.fill_bytes(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            *first %= 12;
        }
        if let Ok(value) = codec::decode::<ToNode>(&bytes, 1000) {
            assert_eq!(codec::encode(&value).unwrap(), bytes);
        }
        if let Ok(value) = codec::decode::<ToCoordinator>(&bytes, 1000) {
            assert_eq!(codec::encode(&value).unwrap(), bytes);
        }
    }
}

#[test]
fn each_fault_has_its_own_error() {
    // Unknown tag.
    assert_eq!(
        codec::decode::<ToNode>(&[99], 10),
        Err(CodecError::UnknownTag(99))
    );
    assert_eq!(
        codec::decode::<Option<u8>>(&[1], 10),
        Err(CodecError::Truncated)
    );
    // The number 5 as a two-byte varint (251 says that two bytes follow).
    assert_eq!(
        codec::decode::<u64>(&[251, 5, 0], 10),
        Err(CodecError::NotCanonical)
    );
    assert_eq!(codec::decode::<u64>(&[5], 10), Ok(5));
    // A byte string that claims 2^40 bytes must fail before it is allocated.
    let mut claim = vec![253];
    claim.extend_from_slice(&(1u64 << 40).to_le_bytes());
    assert_eq!(
        codec::decode::<Blob>(&claim, 100),
        Err(CodecError::InnerLength)
    );
    assert_eq!(
        codec::decode::<Vec<Digest>>(&claim, 100),
        Err(CodecError::Truncated)
    );
    // A checked type inside refuses what it cannot be.
    let zero = codec::decode::<collegium_protocol::MemberIndex>(&[0], 10);
    assert!(matches!(zero, Err(CodecError::Malformed(_))), "{zero:?}");
}

#[test]
fn signatures_are_taken_as_bytes_and_checked_later() {
    let signature = Signature::from_bytes([9; 64]);
    assert_eq!(codec::encode(&signature).unwrap(), vec![9; 64]);
}
