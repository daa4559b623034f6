//! One pass over all entries, a tile at a time: memory does not grow with the log.

use std::collections::BTreeSet;

use collegium_crypto::transcript::Digest;
use serde_json::Value;

use super::super::entry;
use super::super::read::Folder;
use super::super::tile::{
    Content, TILE_WIDTH, TileName, decode_hashes, encode_entry, encode_hashes, split_entry,
};
use super::super::tree::leaf_hash;
use super::super::{CHECKPOINT, LedgerError, PENDING};
use super::files::Listing;
use super::tiles::{Computed, entry_below, first_entry, needed, whole_row};
use super::{Claim, Claims, Finding, Kind, Pending};

/// An entry and its hash in the lowest tile that do not agree.
struct Dispute {
    entry: u64,
    entries: TileName,
    hashes: TileName,
    computed: Digest,
    stored: Digest,
}

/// See the module.
pub(super) struct Walk<'a> {
    folder: &'a Folder,
    published: u64,
    total: u64,
    pending: &'a Pending<'a>,
    claims: &'a Claims,
    /// From the entries; from the lowest tiles where an entry cannot be read.
    entries: Computed,
    /// From the lowest tiles; from the entries where a hash cannot be read.
    hashes: Computed,
    disputes: Vec<Dispute>,
    broken: Vec<(&'a Claim, u64, Digest)>,
    last_entry_ms: Option<u64>,
}

/// The entries and hashes of one lowest tile.
struct Bundle {
    index: u64,
    /// What is there in all, and how much of that is under the checkpoint.
    count: usize,
    stored: usize,
    /// The entries as a tile has them, with the end of each.
    encoded: Vec<u8>,
    ends: Vec<usize>,
    leaves: Vec<Digest>,
    /// An entry and its hash do not agree.
    disputed: bool,
}

impl Bundle {
    fn new(index: u64, published: u64, total: u64) -> Self {
        let first = index * TILE_WIDTH as u64;
        let within = |end: u64| end.saturating_sub(first).min(TILE_WIDTH as u64) as usize;
        Self {
            index,
            count: within(total),
            stored: within(published),
            encoded: Vec::new(),
            ends: Vec::new(),
            leaves: Vec::new(),
            disputed: false,
        }
    }

    fn first(&self) -> u64 {
        self.index * TILE_WIDTH as u64
    }

    /// What a tile of these entries or hashes must hold.
    fn beginning(&self, name: TileName) -> Option<Vec<u8>> {
        let width = usize::from(name.width);
        match name.content {
            Content::Entries => {
                let end = self.ends.get(width.checked_sub(1)?)?;
                self.encoded.get(..*end).map(<[u8]>::to_vec)
            }
            Content::Hashes(_) => self.leaves.get(..width).map(encode_hashes),
        }
    }

    fn names(&self, width: usize) -> (TileName, TileName) {
        let width = width as u16;
        (
            TileName::entries(self.index, width),
            TileName::hashes(0, self.index, width),
        )
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        folder: &'a Folder,
        published: u64,
        pending: &'a Pending<'a>,
        claims: &'a Claims,
    ) -> Self {
        Self {
            folder,
            published,
            total: published.saturating_add(pending.fresh.len() as u64),
            pending,
            claims,
            entries: Computed::default(),
            hashes: Computed::default(),
            disputes: Vec::new(),
            broken: Vec::new(),
            last_entry_ms: None,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.entries.tree.size()
    }

    pub(super) fn root(&self) -> Digest {
        self.entries.tree.root()
    }

    pub(super) fn last_entry_ms(&self) -> Option<u64> {
        self.last_entry_ms
    }

    pub(super) fn run(
        &mut self,
        listing: &mut Listing,
        visit: &mut dyn FnMut(u64, &Value),
        findings: &mut Vec<Finding>,
    ) -> Result<(), LedgerError> {
        self.check_claims();
        let mut index = 0;
        while self.size() < self.total {
            if !self.bundle(index, listing, visit, findings)? {
                break;
            }
            index += 1;
        }
        self.upper_tiles(listing, findings)?;
        self.settle(findings);
        Ok(())
    }

    /// One lowest tile; whether the walk can go on.
    fn bundle(
        &mut self,
        index: u64,
        listing: &mut Listing,
        visit: &mut dyn FnMut(u64, &Value),
        findings: &mut Vec<Finding>,
    ) -> Result<bool, LedgerError> {
        let mut bundle = Bundle::new(index, self.published, self.total);
        let (entries_name, hashes_name) = bundle.names(bundle.stored);
        let (mut bytes, mut hashes) = (None, None);
        if bundle.stored > 0 {
            bytes = self.stored(entries_name, listing, findings)?;
            let row = self.stored(hashes_name, listing, findings)?;
            hashes = row.and_then(|row| whole_row(hashes_name, &row, bundle.stored, findings));
        }
        let mut rest = bytes.as_deref();
        for place in 0..bundle.count {
            let entry = self.entry_at(&bundle, place, &mut rest, findings);
            let stored = hashes.as_ref().and_then(|row| row.get(place)).copied();
            let Some(leaf) = entry.map(leaf_hash).or(stored) else {
                return Ok(false);
            };
            if let Some(stored) = stored.filter(|stored| *stored != leaf) {
                self.dispute(&mut bundle, place, leaf, stored);
            }
            if let Some(entry) = entry {
                self.look_at(&bundle, place, entry, visit, findings);
                encode_entry(entry, &mut bundle.encoded);
                bundle.ends.push(bundle.encoded.len());
            }
            bundle.leaves.push(leaf);
            self.entries.push(leaf);
            self.hashes.push(stored.unwrap_or(leaf));
            self.check_claims();
        }
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            let more = rest.len();
            let detail = format!("{more} bytes follow its last entry; expected none");
            findings.push(Finding::new(Kind::Damage, entries_name, None, detail));
        }
        self.earlier_states(&bundle, listing, findings);
        Ok(true)
    }

    /// An entry, from what is left of the tile's bytes or from `pending`.
    fn entry_at<'b>(
        &self,
        bundle: &Bundle,
        place: usize,
        rest: &mut Option<&'b [u8]>,
        findings: &mut Vec<Finding>,
    ) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        let number = bundle.first() + place as u64;
        if place >= bundle.stored {
            let fresh = number.checked_sub(self.published)?;
            return self.pending.fresh.get(fresh as usize).copied();
        }
        let bytes = (*rest)?;
        let found = split_entry(bytes);
        *rest = found.map(|(_, after)| after);
        if found.is_none() {
            let (file, _) = bundle.names(bundle.stored);
            let detail =
                "the file ends within it; expected its length in 2 bytes, and so many bytes";
            findings.push(Finding::new(Kind::Damage, file, Some(number), detail));
        }
        found.map(|(entry, _)| entry)
    }

    /// The first entry of a tile whose hash is another one.
    fn dispute(&mut self, bundle: &mut Bundle, place: usize, computed: Digest, stored: Digest) {
        if bundle.disputed {
            return;
        }
        bundle.disputed = true;
        let (entries, hashes) = bundle.names(bundle.stored);
        self.disputes.push(Dispute {
            entry: bundle.first() + place as u64,
            entries,
            hashes,
            computed,
            stored,
        });
    }

    /// A tile that the checkpoint needs, as it is on the disk; the full one does for a partial one.
    fn stored(
        &self,
        name: TileName,
        listing: &mut Listing,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        if listing.take_tile(name) {
            return match self.folder.tile(name) {
                Ok(bytes) => Ok(bytes),
                Err(LedgerError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::InvalidData =>
                {
                    let detail = format!("it is longer than any tile ({source})");
                    findings.push(Finding::new(Kind::Damage, name, None, detail));
                    Ok(None)
                }
                Err(error) => Err(error),
            };
        }
        // A copy made while the daemon wrote may have the full tile in its place already.
        if listing.has_tile(name.full())
            && let Some(bytes) = self.folder.tile(name.full()).ok().flatten()
        {
            let beginning = name.beginning(&bytes).map(<[u8]>::to_vec);
            return Ok(Some(beginning.unwrap_or(bytes)));
        }
        let detail = format!(
            "it is missing; the checkpoint covers {} entries",
            self.published
        );
        findings.push(Finding::new(Kind::Damage, name, first_entry(name), detail));
        Ok(None)
    }

    /// An entry as such: its form, and what `pending` says of it.
    fn look_at(
        &mut self,
        bundle: &Bundle,
        place: usize,
        bytes: &[u8],
        visit: &mut dyn FnMut(u64, &Value),
        findings: &mut Vec<Finding>,
    ) {
        let number = bundle.first() + place as u64;
        if self
            .pending
            .old
            .get(&number)
            .is_some_and(|old| *old != bytes)
        {
            let detail = "it differs from the entry under the checkpoint";
            findings.push(Finding::new(Kind::Damage, PENDING, Some(number), detail));
        }
        match entry::parse(bytes) {
            Ok(value) => {
                self.last_entry_ms = value.get(entry::TIME).and_then(Value::as_u64);
                visit(number, &value);
            }
            Err(reason) => {
                let file = if place < bundle.stored {
                    bundle.names(bundle.stored).0.to_string()
                } else {
                    PENDING.to_owned()
                };
                let detail = format!("it is no entry of a ledger: {reason}");
                findings.push(Finding::new(Kind::Damage, file, Some(number), detail));
            }
        }
    }

    fn check_claims(&mut self) {
        let size = self.size();
        let Some(claims) = self.claims.get(&size) else {
            return;
        };
        let (root, other) = (self.entries.tree.root(), self.hashes.tree.root());
        for claim in claims {
            if claim.root != root {
                self.broken.push((claim, size, root));
            }
            if size == self.published && claim.file == CHECKPOINT && claim.kind == Kind::Damage {
                self.entries.fits = claim.root == root;
                self.hashes.fits = claim.root == other;
            }
        }
    }

    /// Partial tiles of earlier checkpoints must be the beginning of what came after.
    fn earlier_states(&self, bundle: &Bundle, listing: &mut Listing, findings: &mut Vec<Finding>) {
        let ((low, low_hashes), (high, high_hashes)) =
            (bundle.names(1), bundle.names(bundle.count));
        let mut earlier = listing.take_tiles(low..=high);
        earlier.extend(listing.take_tiles(low_hashes..=high_hashes));
        for name in earlier {
            let width = usize::from(name.width);
            let found = self.folder.tile(name).ok().flatten().unwrap_or_default();
            let expected = bundle.beginning(name);
            if expected.as_deref() == Some(found.as_slice()) {
                continue;
            }
            let expected = expected.unwrap_or_default();
            let same = found.iter().zip(&expected);
            let same = same.take_while(|(left, right)| left == right).count();
            let place = match name.content {
                Content::Entries => bundle.ends.iter().take_while(|end| **end <= same).count(),
                Content::Hashes(_) => same / 32,
            };
            let entry = bundle.first() + place.min(width - 1) as u64;
            let detail = "an earlier state of the tile that is not the beginning of the later one";
            findings.push(Finding::new(Kind::Damage, name, Some(entry), detail));
        }
    }

    /// Tiles above the lowest level.
    fn upper_tiles(
        &self,
        listing: &mut Listing,
        findings: &mut Vec<Finding>,
    ) -> Result<(), LedgerError> {
        let right = if self.hashes.fits && !self.entries.fits {
            &self.hashes
        } else {
            &self.entries
        };
        let found: BTreeSet<TileName> = listing.take_upper().into_iter().collect();
        for name in &found {
            let Some(expected) = right.tile(*name) else {
                listing.put_back(*name);
                continue;
            };
            let bytes = self.folder.tile(*name).ok().flatten();
            let row = bytes.as_deref().and_then(decode_hashes).unwrap_or_default();
            if row.as_slice() == expected {
                continue;
            }
            let wrong = row
                .iter()
                .zip(expected)
                .position(|(left, right)| left != right);
            let place = wrong.unwrap_or(row.len().min(expected.len()));
            let shown = |row: &[Digest]| {
                row.get(place)
                    .map_or("nothing".to_owned(), Digest::to_string)
            };
            let detail = format!(
                "hash {place} is {}, expected {}",
                shown(&row),
                shown(expected)
            );
            let entry = entry_below(*name, place);
            findings.push(Finding::new(Kind::Damage, name, entry, detail));
        }
        if self.size() < self.published {
            return Ok(());
        }
        for name in needed(self.published) {
            if !found.contains(&name) && !found.contains(&name.full()) {
                let detail = format!(
                    "it is missing; the checkpoint covers {} entries",
                    self.published
                );
                findings.push(Finding::new(Kind::Damage, name, first_entry(name), detail));
            }
        }
        Ok(())
    }

    /// Says which of two that do not agree was changed, and which roots the entries do not have.
    fn settle(&mut self, findings: &mut Vec<Finding>) {
        for dispute in &self.disputes {
            let Dispute {
                entry,
                entries,
                hashes,
                computed,
                stored,
            } = dispute;
            let (file, detail) = if self.entries.fits {
                let detail = format!("its hash of the entry is {stored}, expected {computed}");
                (hashes, detail)
            } else if self.hashes.fits {
                let detail =
                    format!("the entry was changed: its hash is {computed}, expected {stored}");
                (entries, detail)
            } else {
                let detail = format!(
                    "the entry's hash is {computed}, and {hashes} has {stored}: one of the two files was changed"
                );
                (entries, detail)
            };
            findings.push(Finding::new(Kind::Damage, file, Some(*entry), detail));
        }
        let explained = !findings.is_empty();
        for (claim, size, root) in &self.broken {
            // Where entries are damaged no root fits any more, and the entry is named already.
            let ours = claim.kind == Kind::Damage;
            if ours && explained && !self.entries.fits && claim.file != CHECKPOINT {
                continue;
            }
            if !ours && !self.entries.fits && !self.hashes.fits && self.size() < self.published {
                continue;
            }
            let (expected, what) = (claim.root, &claim.what);
            let detail = if ours {
                format!(
                    "{what} over {size} entries with the root {expected}, and the entries here have {root}: entries before it were changed, removed or put in another order"
                )
            } else {
                format!(
                    "{what} saw {size} entries with the root {expected}, and the entries here have {root}: there are two histories"
                )
            };
            findings.push(Finding::new(claim.kind, &claim.file, None, detail));
        }
    }
}
