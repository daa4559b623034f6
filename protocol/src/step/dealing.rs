//! Which seats get their share of a dealer's key as a 32-byte seed, and how long each sealed
//! share therefore is. Everybody works it out from the charter, so a dealer has no choice in it.
//!
//! t - 1 of the k seats get seeds; which ones, turns with the dealer's place in the roster, so
//! that over many dealers every seat opens about as many whole shares as any other.

use collegium_crypto::shamir::is_seeded;

use crate::charter::VerifiedCharter;
use crate::ids::{MemberIndex, SeatNumber};
use crate::limits::{SEALED_SEED_BYTES, SEALED_SHARE_BYTES};

/// One dealer's way of sharing its key among the committee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dealing {
    committee: usize,
    threshold: usize,
    first: usize,
}

impl Dealing {
    /// How this member deals under this charter.
    #[must_use]
    pub fn of(charter: &VerifiedCharter, dealer: MemberIndex) -> Self {
        let thresholds = charter.thresholds();
        Self {
            committee: thresholds.committee,
            threshold: thresholds.threshold,
            first: dealer.position() % thresholds.committee,
        }
    }

    /// k: shares dealt.
    #[must_use]
    pub fn committee(&self) -> usize {
        self.committee
    }

    /// t: shares that determine the key.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The t - 1 seats that follow seat number `first` are the seeded ones, seat 1 following the
    /// last: the dealer's place in the roster (from 0) modulo k.
    #[must_use]
    pub fn first(&self) -> usize {
        self.first
    }

    /// Whether this seat gets a seed.
    #[must_use]
    pub fn is_seeded(&self, seat: SeatNumber) -> bool {
        is_seeded(seat.point(), self.committee, self.threshold, self.first)
    }

    /// Bytes of the share sealed to this seat, exactly.
    #[must_use]
    pub fn sealed_bytes(&self, seat: SeatNumber) -> usize {
        if self.is_seeded(seat) {
            SEALED_SEED_BYTES
        } else {
            SEALED_SHARE_BYTES
        }
    }
}
