//! The node's machine as committee member: one per node, for all runs.
//!
//! Two rules make the sum safe against a coordinator that shows members different sets: one vote
//! in a step, and a release only for the certified set one voted for. A third keeps one ask from
//! being opened twice with different sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use collegium_crypto::shamir::{KeyShare, SharePoint, ShareSum};
use collegium_crypto::transcript::Digest;

use super::record::{CommitteeRecord, GivenVote, NodeRecord, ReleaseRecord, UNSEEN_DATA};
use super::seat::Seat;
use super::upload::share_binding;
use super::{NodeAction, refuse};
use crate::charter::VerifiedCharter;
use crate::codec::Blob;
use crate::ids::{MemberIndex, RunId};
use crate::limits::{MAX_COHORT_CHANGES, SEALED_SHARE_BYTES};
use crate::message::session::ToCoordinator;
use crate::message::step::{
    Announce, Certificate, Deliver, Part, Propose, Release, StepRef, Verdict, Vote, cohort_digest,
    shares_digest, strictly_sorted,
};
use crate::refusal::{Refusal, RefusalCode};

/// Serves on the committee of every run.
pub struct Committee {
    seat: Arc<Seat>,
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
    body: Digest,
    shares: Digest,
    share: KeyShare,
}

impl Committee {
    /// Goes on from what is on disk: all of the node's records, of every run.
    #[must_use]
    pub fn restore<'a>(seat: Arc<Seat>, records: impl IntoIterator<Item = &'a NodeRecord>) -> Self {
        let mut committee = Self {
            seat,
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
    /// Gives `Persist`, or nothing for a repeated announcement (unless the rows were read since). A bad announcement is refused by
    /// the contributor; here only if it asks for committee service alone.
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
        self.seat.check_announce(announce)?;
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

    /// A dealer's share arrives. Gives `Send(Verdict)`: in order, or a complaint, which binds
    /// nobody and uses up no vote.
    pub fn deliver(&mut self, deliver: &Deliver) -> Vec<NodeAction> {
        let (step, claim) = (deliver.step, &deliver.claim);
        let seat = Arc::clone(&self.seat);
        let current = match self.current(&step) {
            Ok(current) => current,
            Err(refusal) => return refuse(step.run, step.step, refusal),
        };
        let complaint = match current.held.get(&claim.member) {
            Some(held) if held.shares == claim.shares && held.body == claim.body => None,
            Some(_) => Some(Refusal::new(
                RefusalCode::UploadDuplicate,
                "another upload of this dealer was delivered before",
            )),
            None => match open_share(&seat, deliver) {
                Ok(share) => {
                    let held = Held {
                        body: claim.body,
                        shares: claim.shares,
                        share,
                    };
                    current.held.insert(claim.member, held);
                    None
                }
                Err(complaint) => Some(complaint),
            },
        };
        let verdict = Verdict {
            step,
            dealer: claim.member,
            shares: claim.shares,
            complaint,
        };
        vec![NodeAction::Send(ToCoordinator::Verdict(verdict))]
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
        let seat = Arc::clone(&self.seat);
        let digest = propose.digest();
        let record = self.current(&propose.step)?.record.clone();
        if let Some(given) = record.given {
            if given.vote.proposal != digest {
                return Err(RefusalCode::AlreadyVoted.into());
            }
            return Ok(vec![NodeAction::Send(ToCoordinator::Vote(given.vote))]);
        }
        check_proposal(seat.charter(), propose)?;
        let cohort = propose.members();
        self.check_release(&record, &cohort)?;

        let current = self.current(&propose.step)?;
        let share_sum = sum_shares(&seat, current, propose)?;
        let vote = Vote::sign(propose.step, seat.index(), digest, seat.identity());
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
        let seat = Arc::clone(&self.seat);
        let step = certificate.step;
        let record = self.current(&step)?.record.clone();
        let Some(given) = &record.given else {
            return Err(Refusal::new(
                RefusalCode::CertificateInvalid,
                "this member has not voted in the step; propose the set to it first",
            ));
        };
        let proposal = given.vote.proposal;
        certificate.verify(&step.context, &proposal, seat.charter())?;
        self.check_release(&record, &given.cohort)?;

        let mut actions = Vec::new();
        let cohort = cohort_digest(&given.cohort);
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
        let release = Release::sign(step, seat.index(), proposal, share_sum, seat.identity());
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
        let cohort = cohort_digest(cohort);
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

/// Verifies the dealer's signature down to this one share, and opens it.
fn open_share(seat: &Seat, deliver: &Deliver) -> Result<KeyShare, Refusal> {
    let Deliver {
        step,
        claim,
        leaves,
        share,
    } = deliver;
    let own = seat.index();
    let missing = |why: &str| Refusal::new(RefusalCode::ShareMissing, why);
    claim.verify(&step.context, seat.charter())?;
    if share.recipient != own {
        return Err(missing("it is sealed to another member"));
    }
    if leaves.len() != seat.charter().members().len()
        || leaves.get(own.position()) != Some(&share.leaf())
        || shares_digest(leaves) != claim.shares
    {
        return Err(missing("it is not the share the dealer signed"));
    }
    if share.sealed.len() != SEALED_SHARE_BYTES {
        return Err(missing("it has a wrong length"));
    }
    let binding = share_binding(&step.context, claim.member, own, &claim.body);
    let opened = seat
        .sealing()
        .open(
            step.context.as_bytes(),
            binding.as_bytes(),
            share.sealed.as_slice(),
        )
        .map_err(|_| missing("it does not open"))?;
    SharePoint::new(own.get())
        .and_then(|point| KeyShare::from_bytes(point, &opened))
        .map_err(|e| missing(&e.to_string()))
}

/// Everything about U that needs no share: sorted members of the roster, each correctly signed,
/// at least the minimum.
pub(super) fn check_proposal(charter: &VerifiedCharter, propose: &Propose) -> Result<(), Refusal> {
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
    for entry in &propose.entries {
        entry
            .verify(&propose.step.context, charter)
            .map_err(|refusal| invalid(&format_args!("member {}: {refusal}", entry.member)))?;
    }
    Ok(())
}

/// Adds this member's shares over U; each must be the one that its entry names.
fn sum_shares(seat: &Seat, current: &Current, propose: &Propose) -> Result<Blob, Refusal> {
    let internal = |e| Refusal::new(RefusalCode::Internal, e);
    let mut sum = ShareSum::new(SharePoint::new(seat.index().get()).map_err(internal)?);
    for entry in &propose.entries {
        let held = current
            .held
            .get(&entry.member)
            .filter(|held| held.body == entry.body && held.shares == entry.shares)
            .ok_or_else(|| {
                let which = format_args!("member {}'s", entry.member);
                Refusal::new(RefusalCode::ShareMissing, which)
            })?;
        sum.add(&held.share).map_err(internal)?;
    }
    Ok(Blob(sum.to_bytes()))
}
