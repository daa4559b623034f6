//! What a step keeps beside the database: a large sum, and the sealed shares.
//!
//! `STATE/step/sum` holds the sum of the bodies of the set that is proposed, when it is too large
//! to go into the database in one transaction with the proposal. It is written in place, because
//! that syncs fastest, and read only for a step whose certificate is in the database: the step
//! before is in the journal by the time this one is written.
//!
//! `STATE/step/shares` holds every sealed share of the step, so that memory does not grow with the
//! members; what is to be delivered is read back. It is not synced: an opening does not depend on
//! it (each of the members that voted, and a certificate has enough of them, has the sum of its
//! shares on its own disk), but it lets a restarted coordinator bring up the others too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use collegium_crypto::glwe::BodySum;
use collegium_protocol::codec::{self, Blob};
use collegium_protocol::ids::{MemberIndex, SeatNumber};
use collegium_protocol::limits::MAX_UPLOAD_TRAILER_BYTES;
use collegium_protocol::message::step::{SealedShare, StepRef, UploadTrailer};

/// Sums up to this size go into the database with their proposal: one sync for both.
pub const IN_DATABASE: u64 = 256 << 10;

/// Coefficients written at a time: 64 KiB.
const PIECE: usize = 8192;

/// Bytes of the sum's header: the step's context digest and the length.
const HEADER: usize = 40;

/// Bytes of an entry's frame in the file of shares: its length.
const FRAME: usize = 8;

/// The directory; clones share it.
#[derive(Clone, Debug)]
pub struct StepFiles {
    directory: PathBuf,
}

impl StepFiles {
    /// Opens `STATE/step/`.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(state: &Path) -> io::Result<Self> {
        let directory = state.join("step");
        std::fs::create_dir_all(&directory)?;
        // A new name is durable only when its directory is.
        open_file(&directory.join("sum"))?;
        File::open(&directory)?.sync_all()?;
        Ok(Self { directory })
    }

    /// Writes the sum of a step about to be proposed; it is durable when this returns.
    ///
    /// # Errors
    /// What the system said.
    pub fn save_sum(&self, step: &StepRef, sum: &BodySum) -> io::Result<()> {
        let file = open_file(&self.directory.join("sum"))?;
        let length = (sum.coefficients() * 8) as u64;
        let mut writer = io::BufWriter::with_capacity(PIECE * 8, file);
        writer.write_all(step.context.as_bytes())?;
        writer.write_all(&length.to_le_bytes())?;
        for piece in sum.pieces(PIECE) {
            writer.write_all(&piece)?;
        }
        writer.flush()?;
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        // A longer sum of an earlier step does not stay.
        file.set_len(HEADER as u64 + length)?;
        file.sync_data()
    }

    /// The bytes of a certified step's sum.
    ///
    /// # Errors
    /// What the system said, or that the file is not this step's.
    pub fn sum(&self, step: &StepRef) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.directory.join("sum"))?;
        let mut header = [0; HEADER];
        file.read_exact(&mut header)?;
        let (context, length) = header.split_at(32);
        let found = file.metadata()?.len().checked_sub(HEADER as u64);
        let length = <[u8; 8]>::try_from(length).map(u64::from_le_bytes).ok();
        if context != step.context.as_bytes() || found != length {
            return Err(io::Error::other(
                "STATE/step/sum is not of the certified step",
            ));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Begins the shares of a new step; those of the step before are gone.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin_shares(&self) -> io::Result<Shares> {
        let path = self.directory.join("shares");
        // A new file: an upload that is late for the step before still writes to the old one.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = open_file(&path)?;
        Ok(Shares {
            inner: Arc::new(Inner {
                file,
                index: Mutex::default(),
            }),
        })
    }

    /// Opens the shares that an earlier process left, and hands every trailer in them to `take`,
    /// which checks them; a file that a power cut damaged ends the reading, and is no error.
    ///
    /// # Errors
    /// What the system said.
    pub fn resume_shares(
        &self,
        mut take: impl FnMut(MemberIndex, UploadTrailer),
    ) -> io::Result<Shares> {
        let mut file = open_file(&self.directory.join("shares"))?;
        file.seek(SeekFrom::Start(0))?;
        let mut index = Index::default();
        while let Some((member, trailer, places)) = read_entry(&mut file, index.end)? {
            index.end = places.last().map_or(index.end, |(_, place)| place.end());
            index
                .places
                .extend(places.into_iter().map(|(to, place)| ((member, to), place)));
            take(member, trailer);
        }
        let index = Mutex::new(index);
        Ok(Shares {
            inner: Arc::new(Inner { file, index }),
        })
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// The sealed shares of one step; clones share them.
#[derive(Clone, Debug)]
pub struct Shares {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    /// Where the next entry goes.
    end: u64,
    /// By dealer and seat.
    places: BTreeMap<(MemberIndex, SeatNumber), Place>,
}

/// Where a sealed share lies in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    length: usize,
}

impl Place {
    fn end(&self) -> u64 {
        self.at + self.length as u64
    }
}

/// What stands before an upload's sealed shares: a trailer whose shares are empty, and their
/// lengths.
#[derive(serde::Serialize, serde::Deserialize)]
struct EntryHeader {
    dealer: MemberIndex,
    trailer: UploadTrailer,
    lengths: Vec<u32>,
}

impl Shares {
    /// Keeps what a dealer uploaded beside its body. `trailer` still has its shares.
    ///
    /// # Errors
    /// What the system said, for example that the disk is full.
    pub fn keep(&self, dealer: MemberIndex, trailer: &UploadTrailer) -> io::Result<()> {
        let shares = &trailer.shares;
        let header = EntryHeader {
            dealer,
            trailer: UploadTrailer {
                shares: shares.iter().map(|s| emptied(s.seat)).collect(),
                signature: trailer.signature,
            },
            lengths: shares.iter().map(|s| s.sealed.len() as u32).collect(),
        };
        let header = codec::encode(&header).map_err(io::Error::other)?;
        let mut entry = (header.len() as u64).to_le_bytes().to_vec();
        entry.extend_from_slice(&header);
        for share in shares {
            entry.extend_from_slice(share.sealed.as_slice());
        }
        let mut index = self
            .inner
            .index
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let begin = index.end;
        self.inner.file.write_all_at(&entry, begin)?;
        index.end = begin + entry.len() as u64;
        let lengths = shares.iter().map(|s| (s.seat, s.sealed.len()));
        let places = places(begin + (FRAME + header.len()) as u64, lengths);
        index
            .places
            .extend(places.into_iter().map(|(to, place)| ((dealer, to), place)));
        Ok(())
    }

    /// The share of `dealer`'s upload that is sealed to the seat `to`; `None` when it was never kept.
    ///
    /// # Errors
    /// What the system said.
    pub fn read(&self, dealer: MemberIndex, to: SeatNumber) -> io::Result<Option<SealedShare>> {
        let index = self
            .inner
            .index
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(place) = index.places.get(&(dealer, to)).copied() else {
            return Ok(None);
        };
        drop(index);
        let mut sealed = vec![0; place.length];
        self.inner.file.read_exact_at(&mut sealed, place.at)?;
        Ok(Some(SealedShare {
            seat: to,
            sealed: Blob(sealed),
        }))
    }
}

fn emptied(seat: SeatNumber) -> SealedShare {
    SealedShare {
        seat,
        sealed: Blob::default(),
    }
}

fn places(
    mut at: u64,
    shares: impl Iterator<Item = (SeatNumber, usize)>,
) -> Vec<(SeatNumber, Place)> {
    let place = |(to, length): (SeatNumber, usize)| {
        let place = Place { at, length };
        at = place.end();
        (to, place)
    };
    shares.map(place).collect()
}

type Entry = (MemberIndex, UploadTrailer, Vec<(SeatNumber, Place)>);

/// The next entry, `None` at the end or where the file is damaged.
fn read_entry(file: &mut File, begin: u64) -> io::Result<Option<Entry>> {
    let left = file.metadata()?.len().saturating_sub(begin);
    let mut frame = [0; FRAME];
    if left < FRAME as u64 {
        return Ok(None);
    }
    file.read_exact(&mut frame)?;
    let length = u64::from_le_bytes(frame);
    if length > left.min(MAX_UPLOAD_TRAILER_BYTES as u64) {
        return Ok(None);
    }
    let mut header = Vec::new();
    Read::take(&mut *file, length).read_to_end(&mut header)?;
    let Ok(header) = codec::decode::<EntryHeader>(&header, MAX_UPLOAD_TRAILER_BYTES) else {
        return Ok(None);
    };
    let total: u64 = header.lengths.iter().map(|l| u64::from(*l)).sum();
    if header.lengths.len() != header.trailer.shares.len()
        || total > left.min(MAX_UPLOAD_TRAILER_BYTES as u64)
    {
        return Ok(None);
    }
    let mut trailer = header.trailer;
    for (share, length) in trailer.shares.iter_mut().zip(&header.lengths) {
        let read = Read::take(&mut *file, u64::from(*length)).read_to_end(&mut share.sealed.0)?;
        if read as u64 != u64::from(*length) {
            return Ok(None);
        }
    }
    let lengths = trailer.shares.iter().map(|s| (s.seat, s.sealed.len()));
    let places = places(begin + FRAME as u64 + length, lengths);
    Ok(Some((header.dealer, trailer, places)))
}

#[cfg(test)]
mod tests {
    use collegium_crypto::identity::SigningIdentity;
    use collegium_crypto::transcript::Digest;
    use collegium_protocol::ids::{RunId, StepNumber};

    use super::*;

    fn step(number: u8) -> StepRef {
        StepRef {
            run: RunId::from_bytes([1; 16]),
            step: StepNumber(number.into()),
            context: Digest([number; 32]),
        }
    }

    fn member(number: u16) -> MemberIndex {
        MemberIndex::new(number).expect("an index")
    }

    fn seat(number: u16) -> SeatNumber {
        SeatNumber::new(number).expect("a seat")
    }

    fn trailer(dealer: u16) -> UploadTrailer {
        let mut rng = collegium_crypto::randomness::seeded_rng([dealer as u8; 32]);
        let signature = SigningIdentity::generate(&mut rng)
            .sign("collegium/test/v1", &Digest([dealer as u8; 32]));
        let share = |to: u16| SealedShare {
            seat: seat(to),
            sealed: Blob(vec![(dealer * 16 + to) as u8; 1000 * usize::from(to)]),
        };
        UploadTrailer {
            shares: (1..=4).map(share).collect(),
            signature,
        }
    }

    #[test]
    fn a_sum_is_read_back_for_its_own_step_only() {
        let state = tempfile::tempdir().expect("tempdir");
        let files = StepFiles::open(state.path()).expect("opens");
        let sum = |length: usize| {
            let bytes: Vec<u8> = (0..length as u64).flat_map(u64::to_le_bytes).collect();
            (BodySum::from_bytes(length, &bytes).expect("a sum"), bytes)
        };
        // A shorter one after a longer one, written in place.
        for (number, length) in [(1, 3 * PIECE + 5), (2, 17)] {
            let (sum, bytes) = sum(length);
            files.save_sum(&step(number), &sum).expect("writes");
            assert_eq!(files.sum(&step(number)).expect("reads"), bytes);
            assert!(files.sum(&step(number + 1)).is_err());
        }
        let path = state.path().join("step/sum");
        let bytes = std::fs::read(&path).expect("reads");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("writes");
        assert!(files.sum(&step(2)).is_err(), "cut short");
    }

    #[test]
    fn shares_are_read_one_by_one_and_survive_a_restart() {
        let state = tempfile::tempdir().expect("tempdir");
        let files = StepFiles::open(state.path()).expect("opens");
        let shares = files.begin_shares().expect("begins");
        for dealer in [2, 4, 1] {
            shares
                .keep(member(dealer), &trailer(dealer))
                .expect("keeps");
        }
        let check = |shares: &Shares| {
            for dealer in [1, 2, 4] {
                for share in trailer(dealer).shares {
                    let found = shares.read(member(dealer), share.seat).expect("reads");
                    assert_eq!(found, Some(share));
                }
            }
            assert_eq!(shares.read(member(3), seat(1)).expect("reads"), None);
        };
        check(&shares);
        drop(shares);

        let mut found = Vec::new();
        let resumed = files
            .resume_shares(|dealer, read| found.push((dealer, read)))
            .expect("resumes");
        let expected: Vec<_> = [2, 4, 1].map(|d| (member(d), trailer(d))).into();
        assert_eq!(found, expected);
        check(&resumed);

        // What a power cut leaves of the last entry is passed over.
        let path = state.path().join("step/shares");
        let whole = std::fs::read(&path).expect("reads");
        for cut in [0, 3, 9, 100, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).expect("writes");
            let mut left = Vec::new();
            files
                .resume_shares(|dealer, read| left.push((dealer, read)))
                .expect("resumes");
            assert!(left.len() < 3 && expected.starts_with(&left), "{cut}");
        }
        let new = files.begin_shares().expect("begins");
        resumed.keep(member(3), &trailer(3)).expect("a late one");
        assert_eq!(new.read(member(3), seat(1)).expect("reads"), None);
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 0);
    }
}
