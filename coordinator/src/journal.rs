//! The search's journal, kept in the database.
//!
//! After a crash the search starts again from the top; the steps found here
//! answer at once. It is used on the search's own thread, which may wait for
//! the database.

use collegium_automl::ask::{MAX_NUMBERS, Totals};
use collegium_automl::federation::{Journal, JournalError, Recorded};
use collegium_automl::object::ObjectId;
use collegium_protocol::Digest;
use collegium_protocol::ids::RunId;
use tokio::runtime::Handle;

use crate::store::{JournalRecord, Store};

/// One run's journal.
#[derive(Clone, Debug)]
pub struct StoreJournal {
    store: Store,
    run: RunId,
    runtime: Handle,
}

impl StoreJournal {
    /// The journal of `run`; calls wait on `runtime`, from threads outside it.
    #[must_use]
    pub fn new(store: Store, run: RunId, runtime: Handle) -> Self {
        Self {
            store,
            run,
            runtime,
        }
    }

    fn failed(&self, reason: impl ToString) -> JournalError {
        JournalError::Store {
            place: format!("of run {}", self.run),
            reason: reason.to_string(),
        }
    }
}

impl Journal for StoreJournal {
    fn load(&mut self, sequence: u32) -> Result<Option<Recorded>, JournalError> {
        let found = self
            .runtime
            .block_on(self.store.journal(self.run, sequence));
        let Some(record) = found.map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        let totals = unpack(&record.totals).ok_or_else(|| {
            self.failed(format!(
                "step {sequence} is damaged; restore the state directory from a backup"
            ))
        })?;
        Ok(Some(Recorded {
            ask: ObjectId(record.ask.0),
            totals,
        }))
    }

    fn record(
        &mut self,
        sequence: u32,
        ask: ObjectId,
        totals: &Totals,
    ) -> Result<(), JournalError> {
        let record = JournalRecord {
            ask: Digest(ask.0),
            totals: pack(totals),
        };
        self.runtime
            .block_on(self.store.record_journal(self.run, sequence, record))
            .map_err(|error| self.failed(error))
    }
}

/// Bytes of a sum in memory.
const WORD: usize = 8;

/// Totals as bytes: the number of contributors (2 bytes), each of them (2), the bytes of a sum (1),
/// and the sums, all little-endian and each as wide as the largest needs. A fixed width is quick
/// to write and to read, and ten million sums of 16-bit values take 30 MB.
fn pack(totals: &Totals) -> Vec<u8> {
    let largest = totals.sums.iter().fold(0, |all, sum| all | sum);
    let width = (WORD - largest.leading_zeros() as usize / 8).max(1);
    let head = 3 + 2 * totals.contributors.len();
    let mut bytes = Vec::with_capacity(head + width * totals.sums.len());
    // At most 1024 members.
    bytes.extend((totals.contributors.len() as u16).to_le_bytes());
    bytes.extend(totals.contributors.iter().flat_map(|it| it.to_le_bytes()));
    bytes.push(width as u8);
    match width {
        1 => narrow::<1>(&totals.sums, &mut bytes),
        2 => narrow::<2>(&totals.sums, &mut bytes),
        3 => narrow::<3>(&totals.sums, &mut bytes),
        4 => narrow::<4>(&totals.sums, &mut bytes),
        5 => narrow::<5>(&totals.sums, &mut bytes),
        6 => narrow::<6>(&totals.sums, &mut bytes),
        7 => narrow::<7>(&totals.sums, &mut bytes),
        _ => narrow::<WORD>(&totals.sums, &mut bytes),
    }
    bytes
}

/// Appends the lowest `WIDTH` bytes of every sum: a loop of fixed width for each, as copies of any
/// width take several times as long.
fn narrow<const WIDTH: usize>(sums: &[u64], bytes: &mut Vec<u8>) {
    let first = bytes.len();
    bytes.resize(first + WIDTH * sums.len(), 0);
    let (_, places) = bytes.split_at_mut(first);
    let (places, _) = places.as_chunks_mut::<WIDTH>();
    for (place, sum) in places.iter_mut().zip(sums) {
        for (byte, low) in place.iter_mut().zip(sum.to_le_bytes()) {
            *byte = low;
        }
    }
}

/// What [`pack`] wrote; `None` when the bytes are anything else.
fn unpack(bytes: &[u8]) -> Option<Totals> {
    let (count, rest) = bytes.split_first_chunk()?;
    let count = usize::from(u16::from_le_bytes(*count));
    let (contributors, rest) = rest.split_at_checked(2 * count)?;
    let (width, sums) = rest.split_first()?;
    let width = usize::from(*width);
    let whole = (1..=WORD).contains(&width) && sums.len().is_multiple_of(width);
    if !whole || sums.len() / width > MAX_NUMBERS {
        return None;
    }
    let (contributors, _) = contributors.as_chunks();
    let sum = |bytes: &[u8]| {
        let high_first = bytes.iter().rev();
        high_first.fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    };
    Some(Totals {
        sums: sums.chunks_exact(width).map(sum).collect(),
        contributors: contributors
            .iter()
            .map(|it| u16::from_le_bytes(*it))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_come_back_as_they_were() {
        for sums in [
            vec![],
            vec![0],
            vec![255, 0],
            vec![256, 1],
            vec![1 << 23, 7, u64::from(u16::MAX)],
            vec![u64::MAX, 0, 1 << 55],
        ] {
            let totals = Totals {
                sums,
                contributors: vec![1, 2, 300],
            };
            let bytes = pack(&totals);
            assert_eq!(unpack(&bytes), Some(totals));
            for end in 0..9.min(bytes.len()) {
                assert_eq!(unpack(&bytes[..end]), None, "cut at {end}");
            }
        }
        let wide = [1, 0, 1, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(unpack(&wide), None);
    }
}
