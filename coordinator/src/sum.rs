//! Adding bodies, each as soon as it passed its checks, while others are still on their way.
//!
//! Adding is the same in any order. What was added and is left out of the proposed set in the end
//! (its dealer was complained about) is not subtracted: the sum is made again from the bodies,
//! which stay in the spool until then.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use collegium_crypto::error::BodyError;
use collegium_crypto::glwe::BodySum;
use collegium_protocol::ids::MemberIndex;

use crate::spool::Spooled;

/// Bytes of one coefficient.
const COEFFICIENT: usize = 8;

/// Why bodies cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum SumError {
    /// The spool cannot be read back.
    #[error("the spool: {0}")]
    Spool(#[from] std::io::Error),
    /// A body is not what was checked when it came in.
    #[error("a spooled body was damaged: {0}")]
    Body(#[from] BodyError),
    /// A body never came, or the sum was made already.
    #[error("the body of member {0} is not there")]
    Missing(MemberIndex),
}

/// The sum of one step while its bodies come in; clones share it.
#[derive(Clone)]
pub struct RunningSum {
    shared: Arc<Shared>,
}

struct Shared {
    /// Bodies that nobody has added yet. A lock of its own, so that arriving never waits for
    /// adding.
    arrived: Mutex<Vec<(MemberIndex, Spooled)>>,
    added: Mutex<Added>,
}

struct Added {
    sum: BodySum,
    /// Whose bodies are in the sum; `None` once one could not be read, and the sum is worthless.
    members: Option<BTreeSet<MemberIndex>>,
    bodies: Vec<(MemberIndex, Spooled)>,
}

impl RunningSum {
    /// Nothing was added yet to `empty`.
    #[must_use]
    pub fn new(empty: BodySum) -> Self {
        let added = Added {
            sum: empty,
            members: Some(BTreeSet::new()),
            bodies: Vec::new(),
        };
        Self {
            shared: Arc::new(Shared {
                arrived: Mutex::default(),
                added: Mutex::new(added),
            }),
        }
    }

    /// Takes in a member's one body. It is added by [`RunningSum::catch_up`].
    pub fn arrive(&self, member: MemberIndex, body: Spooled) {
        let arrived = self.shared.arrived.lock();
        let mut arrived = arrived.unwrap_or_else(PoisonError::into_inner);
        arrived.push((member, body));
    }

    /// Adds what has arrived. Computes and reads: call it off the network's threads.
    pub fn catch_up(&self) {
        let added = self.shared.added.lock();
        added
            .unwrap_or_else(PoisonError::into_inner)
            .catch_up(&self.shared.arrived);
    }

    /// The sum over exactly these members; the bodies are let go. Computes and reads: call it off
    /// the network's threads.
    ///
    /// # Errors
    /// [`SumError`]; there is no sum then.
    pub fn finish(&self, members: &[MemberIndex]) -> Result<BodySum, SumError> {
        let added = self.shared.added.lock();
        let mut added = added.unwrap_or_else(PoisonError::into_inner);
        added.catch_up(&self.shared.arrived);
        let wanted: BTreeSet<_> = members.iter().copied().collect();
        let coefficients = added.sum.coefficients();
        let summed = std::mem::replace(&mut added.sum, BodySum::new(0));
        let whose = added.members.take();
        let bodies = std::mem::take(&mut added.bodies);
        if whose.as_ref() == Some(&wanted) {
            return Ok(summed);
        }
        drop(summed);
        over(&wanted, bodies, coefficients)
    }
}

/// Makes the sum from the bodies alone.
fn over(
    wanted: &BTreeSet<MemberIndex>,
    bodies: Vec<(MemberIndex, Spooled)>,
    coefficients: usize,
) -> Result<BodySum, SumError> {
    let mut sum = BodySum::new(coefficients);
    let mut missing = wanted.clone();
    for (member, mut body) in bodies {
        if missing.remove(&member) {
            add(&mut sum, &mut body)?;
        }
    }
    match missing.first() {
        Some(member) => Err(SumError::Missing(*member)),
        None => Ok(sum),
    }
}

impl Added {
    fn catch_up(&mut self, arrived: &Mutex<Vec<(MemberIndex, Spooled)>>) {
        loop {
            let next = arrived.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((member, mut body)) = next else {
                return;
            };
            if let Some(members) = &mut self.members {
                match add(&mut self.sum, &mut body) {
                    Ok(()) => drop(members.insert(member)),
                    // Half of it is in the sum. Whoever wants the member meets the error again.
                    Err(_) => self.members = None,
                }
            }
            self.bodies.push((member, body));
        }
    }
}

fn add(sum: &mut BodySum, body: &mut Spooled) -> Result<(), SumError> {
    let mut first = 0;
    // Pieces of the spool are whole coefficients: its piece size is a multiple of 8.
    body.for_each_chunk(|piece| {
        sum.add_part(first, piece)?;
        first += piece.len() / COEFFICIENT;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{CHUNK_BYTES, Spool};

    const COEFFICIENTS: usize = 3 * CHUNK_BYTES / COEFFICIENT / 2 + 7;

    fn body(factor: u64) -> Vec<u8> {
        (0..COEFFICIENTS as u64)
            .flat_map(|index| (index * factor).to_le_bytes())
            .collect()
    }

    fn spooled(spool: &Spool, bytes: &[u8]) -> Spooled {
        let mut writer = spool.writer(bytes.len() as u64).expect("starts");
        // Packets are cut anywhere.
        for piece in bytes.chunks(1213) {
            writer.write(piece).expect("writes");
        }
        writer.finish()
    }

    fn member(number: u16) -> MemberIndex {
        MemberIndex::new(number).expect("an index")
    }

    fn whole(factors: &[u64]) -> Vec<u8> {
        let mut whole = BodySum::new(COEFFICIENTS);
        for factor in factors {
            whole.add_bytes(&body(*factor)).expect("adds");
        }
        whole.to_bytes()
    }

    #[test]
    fn bodies_from_memory_and_disk_add_up_like_whole_ones_in_any_order() {
        let directory = tempfile::tempdir().expect("tempdir");
        let cap = body(1).len() as u64 + 1000;
        let spool = Spool::open(directory.path(), cap).expect("opens");
        let sum = RunningSum::new(BodySum::new(COEFFICIENTS));
        let (first, second) = (spooled(&spool, &body(1)), spooled(&spool, &body(5)));
        assert!(!first.is_on_disk() && second.is_on_disk());
        sum.arrive(member(3), second);
        sum.catch_up();
        sum.arrive(member(1), first);
        sum.arrive(member(2), spooled(&spool, &body(1 << 30)));
        let over = [member(1), member(2), member(3)];
        let found = sum.finish(&over).expect("adds");
        assert_eq!(found.to_bytes(), whole(&[1, 5, 1 << 30]));
        assert_eq!(spool.memory_used(), 0, "the bodies are let go");
        assert!(sum.finish(&over).is_err(), "there is one sum");
    }

    #[test]
    fn a_member_left_out_is_not_in_the_sum_and_a_missing_one_is_named() {
        let directory = tempfile::tempdir().expect("tempdir");
        let spool = Spool::open(directory.path(), 1 << 20).expect("opens");
        let fill = || {
            let sum = RunningSum::new(BodySum::new(COEFFICIENTS));
            for number in 1..=4 {
                sum.arrive(member(number), spooled(&spool, &body(number.into())));
                sum.catch_up();
            }
            sum
        };
        let three = [member(1), member(2), member(4)];
        let found = fill().finish(&three).expect("adds");
        assert_eq!(found.to_bytes(), whole(&[1, 2, 4]));
        let missing = fill().finish(&[member(1), member(7)]);
        assert!(matches!(missing, Err(SumError::Missing(m)) if m == member(7)));
    }

    #[test]
    fn a_body_of_another_length_or_with_a_wrong_coefficient_is_refused_where_it_is_wanted() {
        let directory = tempfile::tempdir().expect("tempdir");
        let spool = Spool::open(directory.path(), 1 << 20).expect("opens");
        for wrong in [[0; 16].as_slice(), &[0xff; 8]] {
            let fill = || {
                let sum = RunningSum::new(BodySum::new(1));
                sum.arrive(member(1), spooled(&spool, &7_u64.to_le_bytes()));
                sum.arrive(member(2), spooled(&spool, wrong));
                sum.catch_up();
                sum
            };
            assert!(fill().finish(&[member(1), member(2)]).is_err());
            let without = fill().finish(&[member(1)]).expect("adds");
            assert_eq!(without.to_bytes(), 7_u64.to_le_bytes());
        }
    }
}
