//! The node's machine as committee member: one per node, for all runs. A member without a seat
//! has one too; it serves nobody.
//!
//! Two rules make the sum safe against a coordinator that shows members different sets: one vote
//! in a step, and a release only for the certified set one voted for. A third keeps one ask from
//! being opened twice with different sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use collegium_crypto::shamir::{DealtShare, KeyShare, ShareSum};
use collegium_crypto::transcript::Digest;
use zeroize::Zeroizing;

use super::dealing::Dealing;
use super::place::Place;
use super::record::{CommitteeRecord, GivenVote, NodeRecord, ReleaseRecord, UNSEEN_DATA};
use super::upload::share_binding;
use super::{NodeAction, refuse};
use crate::charter::VerifiedCharter;
use crate::codec::Blob;
use crate::ids::{MemberIndex, RunId, SeatNumber};
use crate::limits::MAX_COHORT_CHANGES;
use crate::message::session::ToCoordinator;
use crate::message::step::{
    Announce, Certificate, Complaint, Deliver, Part, Propose, Release, StepRef, UploadClaim,
    Verdict, Vote, cohort_under, shares_digest, strictly_sorted,
};
use crate::refusal::{Refusal, RefusalCode};

/// Serves on the committee of every run.
pub struct Committee {
    place: Arc<Place>,
    runs: BTreeMap<RunId, Service>,
    /// The set each ask was opened with, by (H(ask), data digest), over all runs.
    released: BTreeMap<(Digest, Digest), Digest>,
}

/// One run's step in progress.
#[derive(Default)]
struct Service {
    current: Option<Current>,
    /// Different sets let through in this run.
    cohorts: BTreeSet<Digest>,
}

struct Current {
    record: CommitteeRecord,
    held: BTreeMap<MemberIndex, Held>,
}

impl Current {
    /// The same step is announced again, perhaps after the rows were read: from then on they are
    /// what an opening is about, unless the vote was given before.
    fn seen(&mut self, data: Digest) -> Vec<NodeAction> {
        let record = &mut self.record;
        if record.data == data || record.given.is_some() || record.closed {
            return Vec::new();
        }
        record.data = data;
        vec![NodeAction::Persist(NodeRecord::Committee(record.clone()))]
    }
}

/// A share that opened, with what its dealer signed.
struct Held {
    claim: UploadClaim,
    share: HeldShare,
}

/// A seed is kept as it is until the vote: expanded, a thousand dealers' shares are 32 MiB.
enum HeldShare {
    Seed(Zeroizing<Vec<u8>>),
    Whole(KeyShare),
}

impl Committee {
    /// Goes on from what is on disk: all of the node's records, of every run.
    #[must_use]
    pub fn restore<'a>(
        place: Arc<Place>,
        records: impl IntoIterator<Item = &'a NodeRecord>,
    ) -> Self {
        let mut committee = Self {
            place,
            runs: BTreeMap::new(),
            released: BTreeMap::new(),
        };
        for record in records {
            match record {
                NodeRecord::Step(_) | NodeRecord::Dispute(_) => {}
                NodeRecord::Committee(record) => {
                    let held = BTreeMap::new();
                    let current = Current {
                        record: record.clone(),
                        held,
                    };
                    committee.service(record.step.run).current = Some(current);
                }
                NodeRecord::Release(record) => committee.remember(record),
            }
        }
        committee
    }

    fn service(&mut self, run: RunId) -> &mut Service {
        self.runs.entry(run).or_default()
    }

    fn remember(&mut self, record: &ReleaseRecord) {
        self.released
            .insert((record.ask, record.data), record.cohort);
        self.service(record.run).cohorts.insert(record.cohort);
    }

    /// A step is announced; `data` is the digest of this site's data as it is now, or
    /// [`UNSEEN_DATA`]. Erases the vote and share sum of the run's step before.
    ///
    /// Gives `Persist`, or nothing for a repeated announcement (unless the rows were read since) and
    /// for a member without a seat. A bad announcement is refused by the contributor; here only if
    /// it asks for committee service alone.
    pub fn announce(&mut self, announce: &Announce, data: Digest) -> Vec<NodeAction> {
        let context = &announce.context;
        match self.begin(announce, data) {
            Ok(actions) => actions,
            Err(refusal) if announce.part == Part::Serve => {
                refuse(context.run, context.step, refusal)
            }
            Err(_) => Vec::new(),
        }
    }

    fn begin(&mut self, announce: &Announce, data: Digest) -> Result<Vec<NodeAction>, Refusal> {
        self.place.serving()?;
        self.place.check_announce(announce)?;
        let step = StepRef::of(&announce.context);
        let service = self.service(step.run);
        if let Some(current) = &mut service.current {
            let before = current.record.step;
            if before == step {
                return Ok(current.seen(data));
            }
            if step.step <= before.step {
                return Err(Refusal::new(
                    RefusalCode::StepNotNew,
                    format_args!("step {} after step {}", step.step, before.step),
                ));
            }
        }
        let ask = announce.context.ask;
        let record = CommitteeRecord {
            step,
            ask,
            data,
            given: None,
            closed: false,
        };
        service.current = Some(Current {
            record: record.clone(),
            held: BTreeMap::new(),
        });
        Ok(vec![NodeAction::Persist(NodeRecord::Committee(record))])
    }

    /// A dealer's share arrives. Gives `Send(Verdict)`: in order, or a signed complaint, which
    /// binds nobody and uses up no vote.
    pub fn deliver(&mut self, deliver: &Deliver) -> Vec<NodeAction> {
        match self.judge(deliver) {
            Ok(verdict) => vec![NodeAction::Send(ToCoordinator::Verdict(verdict))],
            Err(refusal) => refuse(deliver.step.run, deliver.step.step, refusal),
        }
    }

    fn judge(&mut self, deliver: &Deliver) -> Result<Verdict, Refusal> {
        let (step, claim) = (deliver.step, &deliver.claim);
        let place = Arc::clone(&self.place);
        let number = place.serving()?;
        let current = self.current(&step)?;
        let fault = match current.held.get(&claim.member) {
            Some(held) if same_upload(&held.claim, claim) => None,
            Some(_) => Some(Refusal::new(
                RefusalCode::UploadDuplicate,
                "another upload of this dealer was delivered before",
            )),
            None => match open_share(&place, number, deliver) {
                Ok(share) => {
                    let claim = *claim;
                    current.held.insert(claim.member, Held { claim, share });
                    None
                }
                Err(fault) => Some(fault),
            },
        };
        let complaint = fault.map(|reason| {
            let leaf = deliver.share.leaf();
            let (dealer, shares) = (claim.member, &claim.shares);
            let identity = place.identity();
            let complaint = Complaint::sign(&step.context, dealer, shares, leaf, reason, identity);
            Box::new(complaint)
        });
        Ok(Verdict {
            step,
            dealer: claim.member,
            shares: claim.shares,
            complaint,
        })
    }

    /// A set is proposed. After every check, votes once: gives `Persist`, `Send(Vote)`; the same
    /// set again gets the same vote, another set a refusal.
    pub fn propose(&mut self, propose: &Propose) -> Vec<NodeAction> {
        match self.vote(propose) {
            Ok(actions) => actions,
            Err(refusal) => refuse(propose.step.run, propose.step.step, refusal),
        }
    }

    fn vote(&mut self, propose: &Propose) -> Result<Vec<NodeAction>, Refusal> {
        let place = Arc::clone(&self.place);
        let number = place.serving()?;
        let digest = propose.digest();
        let record = self.current(&propose.step)?.record.clone();
        if let Some(given) = record.given {
            if given.vote.proposal != digest {
                return Err(RefusalCode::AlreadyVoted.into());
            }
            return Ok(vec![NodeAction::Send(ToCoordinator::Vote(given.vote))]);
        }
        let held = &self.current(&propose.step)?.held;
        let verified = |claim: &UploadClaim| {
            held.get(&claim.member)
                .is_some_and(|held| held.claim == *claim)
        };
        check_proposal(place.charter(), propose, verified)?;
        let cohort = propose.members();
        self.check_release(&record, &cohort)?;

        let current = self.current(&propose.step)?;
        let share_sum = sum_shares(number, &current.held, propose)?;
        let vote = Vote::sign(propose.step, place.index(), digest, place.identity());
        current.record.given = Some(GivenVote {
            vote: vote.clone(),
            cohort,
            share_sum,
        });
        // The single shares are not needed again: whoever certifies another set gets nothing.
        current.held.clear();
        Ok(vec![
            NodeAction::Persist(NodeRecord::Committee(current.record.clone())),
            NodeAction::Send(ToCoordinator::Vote(vote)),
        ])
    }

    /// A set is certified. If it is the one voted for and no rule forbids it, gives `Persist`,
    /// `Send(Release)`; the same again is repeated byte for byte.
    pub fn certificate(&mut self, certificate: &Certificate) -> Vec<NodeAction> {
        match self.release(certificate) {
            Ok(actions) => actions,
            Err(refusal) => refuse(certificate.step.run, certificate.step.step, refusal),
        }
    }

    fn release(&mut self, certificate: &Certificate) -> Result<Vec<NodeAction>, Refusal> {
        let place = Arc::clone(&self.place);
        place.serving()?;
        let step = certificate.step;
        let record = self.current(&step)?.record.clone();
        let Some(given) = &record.given else {
            return Err(Refusal::new(
                RefusalCode::CertificateInvalid,
                "this member has not voted in the step; propose the set to it first",
            ));
        };
        let proposal = given.vote.proposal;
        certificate.verify(&step.context, &proposal, place.charter())?;
        self.check_release(&record, &given.cohort)?;

        let mut actions = Vec::new();
        let cohort = cohort_under(place.charter(), &given.cohort);
        let (ask, data) = (record.ask, record.data);
        let known = self.released.get(&(ask, data)) == Some(&cohort)
            && self.service(step.run).cohorts.contains(&cohort);
        if !known {
            let release = ReleaseRecord {
                run: step.run,
                ask,
                data,
                cohort,
            };
            self.remember(&release);
            actions.push(NodeAction::Persist(NodeRecord::Release(release)));
        }
        let share_sum = given.share_sum.clone();
        let release = Release::sign(step, place.index(), proposal, share_sum, place.identity());
        actions.push(NodeAction::Send(ToCoordinator::Release(release)));
        Ok(actions)
    }

    /// The run is over: its vote and share sum are erased, its step number is kept. Gives
    /// `Persist`, or nothing.
    pub fn close(&mut self, run: RunId) -> Vec<NodeAction> {
        let Some(current) = self
            .runs
            .get_mut(&run)
            .and_then(|service| service.current.as_mut())
        else {
            return Vec::new();
        };
        if current.record.closed {
            return Vec::new();
        }
        current.held.clear();
        current.record.given = None;
        current.record.closed = true;
        vec![NodeAction::Persist(NodeRecord::Committee(
            current.record.clone(),
        ))]
    }

    fn current(&mut self, step: &StepRef) -> Result<&mut Current, Refusal> {
        self.runs
            .get_mut(&step.run)
            .and_then(|service| service.current.as_mut())
            .filter(|current| current.record.step == *step && !current.record.closed)
            .ok_or_else(|| RefusalCode::UnknownStep.into())
    }

    /// At most one set for each (ask, data), and at most [`MAX_COHORT_CHANGES`] sets in a run.
    fn check_release(
        &self,
        record: &CommitteeRecord,
        cohort: &[MemberIndex],
    ) -> Result<(), Refusal> {
        let cohort = cohort_under(self.place.charter(), cohort);
        let on_these_rows =
            |data: Digest| data == record.data || [data, record.data].contains(&UNSEEN_DATA);
        let (first, last) = (Digest([0; 32]), Digest([0xff; 32]));
        let mut openings = self
            .released
            .range((record.ask, first)..=(record.ask, last));
        if openings.any(|((_, data), other)| on_these_rows(*data) && *other != cohort) {
            return Err(RefusalCode::ReleasedOtherSet.into());
        }
        let cohorts = self
            .runs
            .get(&record.step.run)
            .map(|service| &service.cohorts);
        let full = cohorts
            .is_some_and(|known| !known.contains(&cohort) && known.len() >= MAX_COHORT_CHANGES);
        if full {
            return Err(Refusal::new(
                RefusalCode::CohortLimit,
                format_args!("{MAX_COHORT_CHANGES} different sets in one run"),
            ));
        }
        Ok(())
    }
}

/// Whether two claims are of one upload; a signature has more than one valid form.
fn same_upload(one: &UploadClaim, other: &UploadClaim) -> bool {
    one.member == other.member && one.body == other.body && one.shares == other.shares
}

/// Verifies the dealer's signature down to this one share, and opens it.
///
/// Only what is found after that is the dealer's doing, and gets the code `ShareFaulty`.
fn open_share(place: &Place, number: SeatNumber, deliver: &Deliver) -> Result<HeldShare, Refusal> {
    let Deliver {
        step,
        claim,
        leaves,
        share,
    } = deliver;
    let charter = place.charter();
    let missing = |why: &str| Refusal::new(RefusalCode::ShareMissing, why);
    claim.verify(&step.context, charter)?;
    if share.seat != number {
        return Err(missing("it is sealed to another seat"));
    }
    if leaves.len() != charter.committee().len()
        || leaves.get(number.position()) != Some(&share.leaf())
        || shares_digest(leaves) != claim.shares
    {
        return Err(missing("it is not the share the dealer signed"));
    }
    let faulty = |why: &dyn std::fmt::Display| Refusal::new(RefusalCode::ShareFaulty, why);
    let dealing = Dealing::of(charter, claim.member);
    if share.sealed.len() != dealing.sealed_bytes(number) {
        return Err(faulty(&"it has a wrong length"));
    }
    let (dealer, recipient) = (claim.member, place.index());
    let binding = share_binding(&step.context, dealer, recipient, number, &claim.body);
    let opened = place
        .sealing()
        .open(
            step.context.as_bytes(),
            binding.as_bytes(),
            share.sealed.as_slice(),
        )
        .map_err(|_| faulty(&"it does not open"))?;
    if dealing.is_seeded(number) {
        // Any 32 bytes are a seed, and the sealed length says that there are 32.
        return Ok(HeldShare::Seed(opened));
    }
    KeyShare::from_bytes(number.point(), &opened)
        .map(HeldShare::Whole)
        .map_err(|e| faulty(&e))
}

/// Everything about U that needs no share: sorted members of the roster, each correctly signed,
/// at least the minimum. Claims that are `verified` already, because they came with a delivered
/// share, are not verified again.
pub(super) fn check_proposal(
    charter: &VerifiedCharter,
    propose: &Propose,
    verified: impl Fn(&UploadClaim) -> bool,
) -> Result<(), Refusal> {
    let invalid = |why: &dyn std::fmt::Display| Refusal::new(RefusalCode::ProposalInvalid, why);
    if propose.entries.len() > charter.members().len() {
        return Err(invalid(&"more entries than members"));
    }
    if !strictly_sorted(propose.entries.iter().map(|entry| entry.member)) {
        return Err(invalid(&"entries are not strictly sorted by member"));
    }
    let minimum = charter.thresholds().min_contributors;
    if propose.entries.len() < minimum {
        return Err(Refusal::new(
            RefusalCode::CohortTooSmall,
            format_args!(
                "{} contributors, {minimum} are needed",
                propose.entries.len()
            ),
        ));
    }
    for entry in propose.entries.iter().filter(|entry| !verified(entry)) {
        entry
            .verify(&propose.step.context, charter)
            .map_err(|refusal| invalid(&format_args!("member {}: {refusal}", entry.member)))?;
    }
    Ok(())
}

/// Adds this seat's shares over U; each must be the one that its entry names.
fn sum_shares(
    number: SeatNumber,
    held: &BTreeMap<MemberIndex, Held>,
    propose: &Propose,
) -> Result<Blob, Refusal> {
    let internal = |e| Refusal::new(RefusalCode::Internal, e);
    let point = number.point();
    let mut sum = ShareSum::new(point);
    for entry in &propose.entries {
        let held = held
            .get(&entry.member)
            .filter(|held| same_upload(&held.claim, entry))
            .ok_or_else(|| {
                let which = format_args!("member {}'s", entry.member);
                Refusal::new(RefusalCode::ShareMissing, which)
            })?;
        match &held.share {
            HeldShare::Whole(share) => sum.add(share).map_err(internal)?,
            HeldShare::Seed(seed) => {
                let share = DealtShare::from_bytes(point, true, seed).map_err(internal)?;
                sum.add(&share).map_err(internal)?;
            }
        }
    }
    Ok(Blob(sum.to_bytes()))
}
