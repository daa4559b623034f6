//! Who takes part in a run, as far as is known now: pure bookkeeping.

use std::collections::BTreeSet;

use collegium_protocol::ids::MemberName;
use collegium_protocol::{Digest, Refusal};

/// What a member said to the offer of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing yet, or nothing since it connected.
    Silent,
    /// It takes part, on data with this digest.
    Accepted(Digest),
    /// It does not.
    Refused(Refusal),
}

#[derive(Clone, Debug)]
struct Member {
    name: MemberName,
    present: bool,
    /// Whether it votes and releases.
    seated: bool,
    standing: Standing,
}

/// Whether a step can begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Every member of the roster is present and has answered.
    Everyone,
    /// Enough members for a step; more may still come.
    Enough,
    /// Too few now. The text says who is missing.
    Waiting(String),
    /// Too many have refused. The text says who and why.
    Hopeless(String),
}

/// How many members a step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Members that must contribute.
    pub contributors: usize,
    /// Seats that must vote and release, whether their holders contribute or not.
    pub committee: usize,
}

/// The roster of a run, in index order.
#[derive(Clone, Debug)]
pub struct Participants {
    members: Vec<Member>,
    needed: Needed,
}

impl Participants {
    /// Nobody is present and nobody has answered; everybody has a seat on the committee.
    #[must_use]
    pub fn new(roster: impl IntoIterator<Item = MemberName>, needed: Needed) -> Self {
        let member = |name| Member {
            name,
            present: false,
            seated: true,
            standing: Standing::Silent,
        };
        Self {
            members: roster.into_iter().map(member).collect(),
            needed,
        }
    }

    /// Only these members have a seat on the committee.
    #[must_use]
    pub fn with_committee<'a>(mut self, seats: impl IntoIterator<Item = &'a MemberName>) -> Self {
        let seats: BTreeSet<_> = seats.into_iter().collect();
        for member in &mut self.members {
            member.seated = seats.contains(&member.name);
        }
        self
    }

    fn member(&mut self, name: &MemberName) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.name == *name)
    }

    /// A member connected. It is asked anew: it may have lost what it knew.
    /// Returns whether it is on the roster.
    pub fn came(&mut self, name: &MemberName) -> bool {
        self.member(name).is_some_and(|member| {
            member.present = true;
            member.standing = Standing::Silent;
            true
        })
    }

    /// A member's connection ended.
    pub fn went(&mut self, name: &MemberName) {
        if let Some(member) = self.member(name) {
            member.present = false;
        }
    }

    /// A member takes part. Returns whether that is news.
    pub fn accepted(&mut self, name: &MemberName, data: Digest) -> bool {
        self.answer(name, Standing::Accepted(data))
    }

    /// A member does not take part. Returns whether that is news.
    pub fn refused(&mut self, name: &MemberName, refusal: Refusal) -> bool {
        self.answer(name, Standing::Refused(refusal))
    }

    fn answer(&mut self, name: &MemberName, standing: Standing) -> bool {
        self.member(name).is_some_and(|member| {
            let news = member.standing != standing;
            member.standing = standing;
            news
        })
    }

    /// Members that would contribute to a step now, in roster order.
    pub fn contributors(&self) -> impl Iterator<Item = &MemberName> {
        self.members
            .iter()
            .filter(|member| member.present && matches!(member.standing, Standing::Accepted(_)))
            .map(|member| &member.name)
    }

    /// Members that are connected, in roster order.
    pub fn present(&self) -> impl Iterator<Item = &MemberName> {
        self.members
            .iter()
            .filter(|member| member.present)
            .map(|member| &member.name)
    }

    fn seats_present(&self) -> usize {
        let serves = |member: &&Member| member.present && member.seated;
        self.members.iter().filter(serves).count()
    }

    /// Members that are connected and have answered the offer, either way, in
    /// roster order.
    pub fn answered(&self) -> impl Iterator<Item = &MemberName> {
        let answered = |member: &&Member| member.present && member.standing != Standing::Silent;
        self.members
            .iter()
            .filter(answered)
            .map(|member| &member.name)
    }

    /// Whether nobody who is connected has yet to answer.
    #[must_use]
    pub fn all_present_answered(&self) -> bool {
        self.answered().count() == self.present().count()
    }

    /// Whether this member would contribute now.
    #[must_use]
    pub fn contributes(&self, name: &MemberName) -> bool {
        self.contributors().any(|contributor| contributor == name)
    }

    /// The data digests that members gave, in roster order.
    pub fn data(&self) -> impl Iterator<Item = (&MemberName, Digest)> {
        self.members
            .iter()
            .filter_map(|member| match member.standing {
                Standing::Accepted(data) => Some((&member.name, data)),
                _ => None,
            })
    }

    /// Whether a step can begin, and if not, why.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let refused = self
            .members
            .iter()
            .filter(|member| matches!(member.standing, Standing::Refused(_)))
            .count();
        if self.members.len() - refused < self.needed.contributors {
            return Readiness::Hopeless(format!(
                "{} of {} members refuse the run, {} must take part: {}",
                refused,
                self.members.len(),
                self.needed.contributors,
                self.refusals(),
            ));
        }
        if self.contributors().count() < self.needed.contributors
            || self.seats_present() < self.needed.committee
        {
            return Readiness::Waiting(self.shortage());
        }
        let settled = |member: &Member| member.present && member.standing != Standing::Silent;
        if self.members.iter().all(settled) {
            Readiness::Everyone
        } else {
            Readiness::Enough
        }
    }

    /// Why a member does not take part.
    #[must_use]
    pub fn refusal(&self, name: &MemberName) -> Option<&Refusal> {
        let member = self.members.iter().find(|member| member.name == *name)?;
        match &member.standing {
            Standing::Refused(refusal) => Some(refusal),
            Standing::Silent | Standing::Accepted(_) => None,
        }
    }

    /// Every refusal, by member.
    #[must_use]
    pub fn refusals(&self) -> String {
        let texts = self
            .members
            .iter()
            .filter_map(|member| match &member.standing {
                Standing::Refused(refusal) => Some(format!("{}: {refusal}", member.name)),
                _ => None,
            });
        texts.collect::<Vec<_>>().join("; ")
    }

    fn shortage(&self) -> String {
        let names = |which: &dyn Fn(&Member) -> bool| {
            let names = self
                .members
                .iter()
                .filter(|member| which(member))
                .map(|member| member.name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let seats = self.members.iter().filter(|member| member.seated).count();
        let absent = names(&|member| !member.present);
        let silent = names(&|member| member.present && member.standing == Standing::Silent);
        let mut text = format!(
            "{} of {} members ready, {} are needed",
            self.contributors().count(),
            self.members.len(),
            if seats == self.members.len() {
                self.needed.contributors.max(self.needed.committee)
            } else {
                self.needed.contributors
            },
        );
        if seats < self.members.len() {
            text.push_str(&format!(
                "; {} of {seats} seats of the committee connected, {} are needed",
                self.seats_present(),
                self.needed.committee,
            ));
        }
        for (who, what) in [
            (absent, "not connected"),
            (silent, "not ready"),
            (self.refusals(), "refusing"),
        ] {
            if !who.is_empty() {
                text.push_str(&format!("; {what}: {who}"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use collegium_protocol::RefusalCode;

    fn name(text: &str) -> MemberName {
        text.parse().expect("a name")
    }

    fn four() -> Participants {
        let roster = ["a", "b", "c", "d"].map(name);
        Participants::new(
            roster,
            Needed {
                contributors: 3,
                committee: 3,
            },
        )
    }

    fn join(participants: &mut Participants, who: &str) {
        participants.came(&name(who));
        participants.accepted(&name(who), Digest([1; 32]));
    }

    #[test]
    fn a_run_waits_begins_and_becomes_whole() {
        let mut participants = four();
        for who in ["a", "b"] {
            join(&mut participants, who);
        }
        participants.came(&name("c"));
        let Readiness::Waiting(text) = participants.readiness() else {
            panic!("must wait")
        };
        assert_eq!(
            text,
            "2 of 4 members ready, 3 are needed; not connected: d; not ready: c"
        );
        participants.accepted(&name("c"), Digest([2; 32]));
        assert_eq!(participants.readiness(), Readiness::Enough);
        join(&mut participants, "d");
        assert_eq!(participants.readiness(), Readiness::Everyone);
        participants.went(&name("a"));
        assert_eq!(participants.readiness(), Readiness::Enough);
    }

    #[test]
    fn a_member_that_reconnects_is_asked_anew() {
        let mut participants = four();
        join(&mut participants, "a");
        participants.went(&name("a"));
        participants.came(&name("a"));
        assert!(!participants.contributes(&name("a")));
        assert!(participants.accepted(&name("a"), Digest([1; 32])), "news");
        assert!(
            !participants.accepted(&name("a"), Digest([1; 32])),
            "no news"
        );
    }

    #[test]
    fn a_refuser_serves_on_the_committee_and_too_many_end_the_run() {
        let mut participants = four();
        for who in ["a", "b", "c"] {
            join(&mut participants, who);
        }
        participants.came(&name("d"));
        participants.refused(
            &name("d"),
            Refusal::new(RefusalCode::PolicyDenied, "no column `disease`"),
        );
        assert_eq!(participants.readiness(), Readiness::Everyone);
        assert_eq!(participants.present().count(), 4);
        let refusal = participants.refusal(&name("d")).expect("its reason");
        assert_eq!(refusal.detail(), "no column `disease`");
        assert_eq!(participants.refusal(&name("a")), None);
        participants.refused(
            &name("c"),
            Refusal::new(RefusalCode::PolicyDenied, "no column `disease`"),
        );
        let Readiness::Hopeless(text) = participants.readiness() else {
            panic!("hopeless")
        };
        assert!(
            text.contains("2 of 4 members refuse")
                && text.contains("c: ")
                && text.contains("no column `disease`"),
            "{text}"
        );
    }

    #[test]
    fn a_run_waits_for_seats_too() {
        let seats = ["a", "b"].map(name);
        let needed = Needed {
            contributors: 2,
            committee: 2,
        };
        let roster = ["a", "b", "c", "d"].map(name);
        let mut participants = Participants::new(roster, needed).with_committee(&seats);
        for who in ["a", "c", "d"] {
            join(&mut participants, who);
        }
        let Readiness::Waiting(text) = participants.readiness() else {
            panic!("must wait for the seat of b")
        };
        assert_eq!(
            text,
            "3 of 4 members ready, 2 are needed; 1 of 2 seats of the committee connected, 2 are \
             needed; not connected: b"
        );
        participants.came(&name("b"));
        assert_eq!(participants.readiness(), Readiness::Enough);
    }

    #[test]
    fn strangers_change_nothing() {
        let mut participants = four();
        assert!(!participants.came(&name("x")));
        assert!(!participants.accepted(&name("x"), Digest([1; 32])));
        assert_eq!(participants.present().count(), 0);
    }
}
