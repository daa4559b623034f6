//! A member that complains, whatever it was dealt.

use std::collections::BTreeMap;
use std::sync::Arc;

use collegium_crypto::identity::SigningIdentity;
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::{Complaint, SealedShare};
use collegium_protocol::{Digest, MemberIndex, RefusalCode};

use super::Up;

/// Turns the verdicts of `by` on the dealers that `about` picks into signed complaints. For
/// consortia whose committee is everybody, so that the seat has the member's number.
pub fn complaining(
    by: MemberIndex,
    identity: Arc<SigningIdentity>,
    about: impl Fn(MemberIndex) -> bool,
) -> impl FnMut(MemberIndex, Up) -> Option<Up> {
    let mut leaves: BTreeMap<MemberIndex, Vec<Digest>> = BTreeMap::new();
    move |from, up| {
        Some(match up {
            Up::Upload(upload) => {
                let shares = upload.trailer.shares.iter();
                leaves.insert(from, shares.map(SealedShare::leaf).collect());
                Up::Upload(upload)
            }
            Up::Message(ToCoordinator::Verdict(mut verdict))
                if from == by && about(verdict.dealer) =>
            {
                verdict.complaint = Some(Box::new(Complaint::sign(
                    &verdict.step.context,
                    verdict.dealer,
                    &verdict.shares,
                    leaves[&verdict.dealer][by.position()],
                    RefusalCode::ShareFaulty.into(),
                    &identity,
                )));
                Up::Message(ToCoordinator::Verdict(verdict))
            }
            up => up,
        })
    }
}
