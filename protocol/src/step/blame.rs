//! Blame, as far as it goes: what signed complaints prove, and what they do not.
//!
//! A seat that cannot use a share which its dealer signed says so in a signed complaint. Nobody
//! else can open that share, so a complaint is evidence of who said what, not of who is right. It
//! takes several to prove anything:
//!
//! - more than f seats complain about one dealer: one of them at least is honest, so the dealer
//!   is faulty;
//! - one seat complains about more than ⌊(n - 1)/3⌋ dealers that are not proven faulty: one of
//!   those at least is honest, so the complaining member is faulty.
//!
//! (Up to 96 members ⌊(n - 1)/3⌋ is f. Of a drawn committee f bounds the colluding *seats*; that
//! fewer than a third of all members collude is the weakest assumption under which drawing one
//! makes sense.) Where f is 0 nothing can be proven: any complaint contradicts the assumption that
//! nobody is faulty. "Faulty" is not "malicious": a site with an old sealing key complains about
//! everybody.
//!
//! Nothing else is attributable, and it is not attributed: fewer complaints than that leave open
//! whether the dealer or the complaining member is at fault; a sum that no set of releases opens
//! names nobody, since only sums of shares are released (a seat that releases something false is
//! named where nearly all others agree: [`super::Opening`]); and a dealer that shares another key
//! than it encrypted under is never named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use collegium_crypto::transcript::Digest;

use super::admission::UploadReceipt;
use crate::charter::VerifiedCharter;
use crate::ids::MemberIndex;
use crate::message::step::{Complaint, StepRef, Verdict};
use crate::refusal::{Refusal, RefusalCode};

/// A complaint that was checked: signed by a member that holds a seat, about the very share that
/// its dealer signed for that seat in this step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accusation {
    step: StepRef,
    by: MemberIndex,
    dealer: MemberIndex,
    shares: Digest,
    complaint: Complaint,
}

impl Accusation {
    /// Checks a verdict's complaint against the upload it is about; `None` when the verdict
    /// complains about nothing.
    ///
    /// # Errors
    /// `UnknownStep` for another step or upload, `NoSeat` or `BadSignature`, and `ShareMissing`
    /// when it names another share than the one sealed to the complaining seat.
    pub fn check(
        step: StepRef,
        by: MemberIndex,
        verdict: &Verdict,
        upload: &UploadReceipt,
        charter: &VerifiedCharter,
    ) -> Result<Option<Self>, Refusal> {
        let (dealer, shares) = (verdict.dealer, verdict.shares);
        let claim = upload.claim();
        if verdict.step != step || dealer != claim.member || shares != claim.shares {
            return Err(RefusalCode::UnknownStep.into());
        }
        let Some(complaint) = &verdict.complaint else {
            return Ok(None);
        };
        let seat = complaint.verify(&step.context, by, dealer, &shares, charter)?;
        if upload.leaf(seat) != Some(&complaint.leaf) {
            let why = "the complaint names another share than this seat's";
            return Err(Refusal::new(RefusalCode::ShareMissing, why));
        }
        Ok(Some(Self {
            step,
            by,
            dealer,
            shares,
            complaint: Complaint::clone(complaint),
        }))
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> StepRef {
        self.step
    }

    /// Who complains.
    #[must_use]
    pub fn by(&self) -> MemberIndex {
        self.by
    }

    /// About whom.
    #[must_use]
    pub fn dealer(&self) -> MemberIndex {
        self.dealer
    }

    /// H(shares) of the dealer's upload.
    #[must_use]
    pub fn shares(&self) -> &Digest {
        &self.shares
    }

    /// The signed statement.
    #[must_use]
    pub fn complaint(&self) -> &Complaint {
        &self.complaint
    }

    /// Whether it says that the dealer dealt badly; else it says that something went wrong on
    /// the way, which is nobody's proven doing.
    #[must_use]
    fn blames_dealer(&self) -> bool {
        self.complaint.reason.code == RefusalCode::ShareFaulty && self.by != self.dealer
    }
}

/// What an accusation adds to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Enough seats complained: the dealer is faulty.
    Dealer {
        /// The faulty member.
        dealer: MemberIndex,
        /// Distinct seats that complained about it.
        complaints: usize,
    },
    /// The seat complained about too many: the complaining member is faulty.
    Complainer {
        /// The faulty member.
        by: MemberIndex,
        /// Distinct dealers it complained about.
        dealers: usize,
    },
    /// One of the two is at fault, and nothing shows which.
    Unproven {
        /// Distinct seats that complained about the dealer.
        complaints: usize,
        /// So many would prove it; none when f is 0.
        needed: Option<usize>,
    },
}

impl Finding {
    /// Whom it proves faulty.
    #[must_use]
    pub fn proves(&self) -> Option<MemberIndex> {
        match self {
            Self::Dealer { dealer, .. } => Some(*dealer),
            Self::Complainer { by, .. } => Some(*by),
            Self::Unproven { .. } => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dealer { complaints, .. } => write!(
                f,
                "{complaints} members complained about this dealer: one of them at least is \
                 honest, so the dealer is faulty"
            ),
            Self::Complainer { dealers, .. } => write!(
                f,
                "this member complained about {dealers} dealers: one of them at least is honest, \
                 so the complaining member is faulty"
            ),
            Self::Unproven {
                complaints,
                needed: Some(needed),
            } => write!(
                f,
                "not attributable: {complaints} of the {needed} complaints that would prove the \
                 dealer faulty; either the dealer or the complaining member is at fault, and \
                 nothing shows which"
            ),
            Self::Unproven { needed: None, .. } => f.write_str(
                "not attributable: with so few members a complaint proves nothing; either the \
                 dealer or the complaining member is at fault, and nothing shows which",
            ),
        }
    }
}

/// What follows from a proof, decided by the coordinator's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlamePolicy {
    /// It is written down; people decide.
    #[default]
    Record,
    /// Following steps of the run go on without the member's contribution, as long as enough
    /// others contribute. Its seat stays its own.
    Exclude,
}

/// Adds accusations up over the steps of one run.
///
/// Whom they prove faulty may lose its part in the sum, never its seat: who votes and releases
/// is the charter's to say. A coordinator that could take seats away would choose the committee,
/// which is what the beacon and the fixed thresholds keep it from. A faulty seat does no harm that
/// is not provided for: its vote counts for one, a wrong release fails the noise check, and t of k
/// open without it.
#[derive(Debug, Clone)]
pub struct Blame {
    /// f: seats that may collude.
    seats: usize,
    /// Members that may collude.
    members: usize,
    /// Of each accused dealer: who complained.
    about: BTreeMap<MemberIndex, BTreeSet<MemberIndex>>,
    /// Of each complaining member: the dealers it complained about.
    said: BTreeMap<MemberIndex, BTreeSet<MemberIndex>>,
    faulty: BTreeSet<MemberIndex>,
}

impl Blame {
    /// Nobody is accused yet.
    #[must_use]
    pub fn new(charter: &VerifiedCharter) -> Self {
        Self {
            seats: charter.thresholds().max_colluding,
            members: charter.members().len().saturating_sub(1) / 3,
            about: BTreeMap::new(),
            said: BTreeMap::new(),
            faulty: BTreeSet::new(),
        }
    }

    /// Takes an accusation in; says what is known about its dealer and its author now. Takes time
    /// logarithmic in the accusations before, and linear in those of the same author.
    pub fn take(&mut self, accusation: &Accusation) -> Finding {
        let (dealer, by) = (accusation.dealer, accusation.by);
        if accusation.blames_dealer() {
            self.about.entry(dealer).or_default().insert(by);
            self.said.entry(by).or_default().insert(dealer);
        }
        let complaints = self.complaints_about(dealer);
        if self.seats > 0 && complaints > self.seats {
            self.faulty.insert(dealer);
            return Finding::Dealer { dealer, complaints };
        }
        let said = self.said.get(&by);
        let unproven = |dealer: &&MemberIndex| self.complaints_about(**dealer) <= self.seats;
        let dealers = said.map_or(0, |dealers| dealers.iter().filter(unproven).count());
        if self.members > 0 && dealers > self.members {
            self.faulty.insert(by);
            return Finding::Complainer { by, dealers };
        }
        Finding::Unproven {
            complaints,
            needed: (self.seats > 0).then_some(self.seats + 1),
        }
    }

    fn complaints_about(&self, dealer: MemberIndex) -> usize {
        self.about.get(&dealer).map_or(0, BTreeSet::len)
    }

    /// Every member that is proven faulty.
    #[must_use]
    pub fn faulty(&self) -> &BTreeSet<MemberIndex> {
        &self.faulty
    }

    /// Whose contribution the next step goes on without: faulty members among the `willing`, in
    /// roster order, as long as `minimum` of the willing are left.
    #[must_use]
    pub fn left_out(
        &self,
        policy: BlamePolicy,
        willing: &BTreeSet<MemberIndex>,
        minimum: usize,
    ) -> BTreeSet<MemberIndex> {
        let spare = match policy {
            BlamePolicy::Record => 0,
            BlamePolicy::Exclude => willing.len().saturating_sub(minimum),
        };
        let faulty = willing.intersection(&self.faulty);
        faulty.take(spare).copied().collect()
    }
}
