//! The writer: durable before visible, one sync for an entry, and safe to kill at any moment.
//!
//! An entry is first appended to `pending`, together with a signed checkpoint that covers it, and
//! synced: from then on it stands. Soon after, in the background, the entries are folded into the
//! tiles and the checkpoint's file is replaced (*publishing*): tiles first, then the checkpoint, then
//! `pending` is emptied. Whatever of that a crash cuts off is done again when the log is opened.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use collegium_crypto::identity::SigningIdentity;
use serde_json::Value;

use super::entry;
use super::note::{Checkpoint, LogKey, SignedCheckpoint};
use super::read::{Folder, encode_record, records};
use super::tile::{TileName, decode_hashes, encode_entry, encode_hashes};
use super::tree::{Tree, leaf_hash};
use super::verify::{self, Expected};
use super::{CHECKPOINT, COSIGNED, LedgerError, MAX_ENTRY_BYTES, OLD_FORMAT, PENDING, UNFINISHED};

/// How long entries may be pending before they are published. Each time costs about eight syncs,
/// beside the work; a step costs one.
const PUBLISH_AFTER: Duration = Duration::from_secs(5);

/// Bytes of `pending` after which the writer waits until it is published: a thousand entries of 1 KB,
/// and a small part of what a reader accepts.
const FOLD_AT: u64 = 4 << 20;

/// How often, and how long apart, a log is tried that another has open: 5 s in all.
const CLAIM_TRIES: u32 = 100;
const CLAIM_PAUSE: Duration = Duration::from_millis(50);

/// The open log; clones share it. The last one to go publishes what is pending.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    publisher: Option<JoinHandle<()>>,
}

struct Core {
    folder: Folder,
    key: LogKey,
    identity: SigningIdentity,
    /// Held while files other than `pending` are written; taken before `tail`.
    publishing: Mutex<()>,
    tail: Mutex<Tail>,
    signal: Mutex<Signal>,
    wake: Condvar,
}

#[derive(Default)]
struct Signal {
    work: bool,
    stop: bool,
}

/// The end of the log.
struct Tail {
    pending: File,
    /// Length of the whole records in it.
    length: u64,
    tree: Tree,
    /// The entries of the last tile, which is not full.
    entries: Vec<u8>,
    /// Full tiles that are not on the disk yet.
    full: Vec<(TileName, Vec<u8>)>,
    /// The checkpoint over everything.
    note: SignedCheckpoint,
    /// Number of entries under the checkpoint's file.
    published: u64,
    /// A failed write could not be taken back.
    broken: bool,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({})", self.shared.core.folder.path().display())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind the locks is consistent after every statement that changes it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    /// Opens or begins the log in `folder`, which `identity` signs under the name of `key`. The whole
    /// of it is verified. Only one process may have it open.
    ///
    /// # Errors
    /// [`LedgerError`]: the folder cannot be used, does not verify, or is an earlier build's.
    pub fn open(
        folder: &Path,
        key: LogKey,
        identity: SigningIdentity,
    ) -> Result<Self, LedgerError> {
        let tail = begin(folder, &key, &identity)?;
        let core = Arc::new(Core {
            folder: Folder::new(folder),
            key,
            identity,
            publishing: Mutex::new(()),
            tail: Mutex::new(tail),
            signal: Mutex::default(),
            wake: Condvar::new(),
        });
        core.publish(false)?;
        let working = Arc::clone(&core);
        let publisher = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || working.keep_publishing())
            .map_err(LedgerError::io(folder))?;
        let publisher = Some(publisher);
        Ok(Self {
            shared: Arc::new(Shared { core, publisher }),
        })
    }

    /// Appends an entry, which is an object; the time is added here. It is durable when this
    /// returns. Blocks for one sync.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing half-written stays.
    pub fn append(&self, value: Value) -> Result<u64, LedgerError> {
        let core = &self.shared.core;
        let (size, length) = core.append(value)?;
        if length > FOLD_AT
            && let Err(error) = core.publish(true)
        {
            // The entry stands; what fails here fails again at the next one, or is mended by then.
            tracing::error!(%error, "the ledger cannot be folded into its tiles");
        }
        let mut signal = lock(&core.signal);
        signal.work = true;
        core.wake.notify_one();
        Ok(size)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        lock(&self.shared.core.tail).tree.size()
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Brings tiles and checkpoint up to the last entry now; gives the checkpoint.
    ///
    /// # Errors
    /// [`LedgerError`]. Entries stand all the same.
    pub fn publish(&self) -> Result<SignedCheckpoint, LedgerError> {
        self.shared.core.publish(false)
    }

    /// Reads the log.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.shared.core.folder
    }

    /// The log's name and key.
    #[must_use]
    pub fn key(&self) -> &LogKey {
        &self.shared.core.key
    }

    /// Keeps a checkpoint of this log that members cosigned, in the place of the one kept before.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn keep_cosigned(&self, note: &SignedCheckpoint) -> Result<(), LedgerError> {
        let core = &self.shared.core;
        let _guard = lock(&core.publishing);
        write_durably(core.folder.path(), COSIGNED, note.to_text().as_bytes())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        lock(&self.core.signal).stop = true;
        self.core.wake.notify_one();
        if let Some(publisher) = self.publisher.take() {
            let _ = publisher.join();
        }
        if let Err(error) = self.core.publish(false) {
            tracing::error!(%error, "the ledger's last entries stay pending");
        }
    }
}

impl Core {
    fn append(&self, mut value: Value) -> Result<(u64, u64), LedgerError> {
        let mut tail = lock(&self.tail);
        if tail.broken {
            return Err(LedgerError::Broken(self.folder.path().to_owned()));
        }
        if let Some(fields) = value.as_object_mut() {
            fields.insert(entry::TIME.to_owned(), entry::now_ms().into());
        }
        let entry = entry::canonical(&value)?;
        if entry.len() > MAX_ENTRY_BYTES {
            return Err(LedgerError::TooLarge(entry.len()));
        }
        let mut tree = tail.tree.clone();
        let full = tree.push(leaf_hash(&entry));
        let note = self.sign(&tree);
        let mut record = Vec::with_capacity(entry.len() + 512);
        encode_record(&entry, &note.to_text(), &mut record);
        let written = tail.pending.write_all(&record);
        if let Err(source) = written.and_then(|()| tail.pending.sync_data()) {
            // A full disk can leave half a record, and a failed sync a whole one.
            let length = tail.length;
            let back = tail.pending.set_len(length);
            tail.broken = back.and_then(|()| tail.pending.sync_data()).is_err();
            return Err(LedgerError::io(&self.folder.path().join(PENDING))(source));
        }
        tail.length += record.len() as u64;
        tail.take_in(&entry, tree, full, note);
        Ok((tail.tree.size(), tail.length))
    }

    fn sign(&self, tree: &Tree) -> SignedCheckpoint {
        sign(tree, &self.key, &self.identity)
    }

    /// Writes tiles and checkpoint. With `hold` nobody appends meanwhile, so that `pending` is
    /// surely empty afterwards.
    fn publish(&self, hold: bool) -> Result<SignedCheckpoint, LedgerError> {
        let _guard = lock(&self.publishing);
        let mut tail = lock(&self.tail);
        let (note, size) = (tail.note.clone(), tail.tree.size());
        if tail.published < size {
            let tiles = tail.tiles();
            let done = tail.full.len();
            if hold {
                self.write(&tiles, &note)?;
            } else {
                drop(tail);
                self.write(&tiles, &note)?;
                tail = lock(&self.tail);
            }
            tail.full.drain(..done);
            tail.published = size;
        }
        if tail.tree.size() == size && tail.length > 0 && !tail.broken {
            let emptied = tail.pending.set_len(0);
            emptied.map_err(LedgerError::io(&self.folder.path().join(PENDING)))?;
            tail.length = 0;
        }
        Ok(note)
    }

    fn write(
        &self,
        tiles: &[(TileName, Vec<u8>)],
        note: &SignedCheckpoint,
    ) -> Result<(), LedgerError> {
        let path = self.folder.path();
        for (name, bytes) in tiles {
            write_durably(path, &name.to_string(), bytes)?;
        }
        write_durably(path, CHECKPOINT, note.to_text().as_bytes())?;
        for (name, _) in tiles.iter().filter(|(name, _)| name.is_full()) {
            let partial = path.join(format!("{name}.p"));
            if let Err(error) = fs::remove_dir_all(&partial)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                // They are no longer needed, and right as they are.
                tracing::warn!(path = %partial.display(), %error, "old partial tiles stay");
            }
        }
        Ok(())
    }

    fn keep_publishing(&self) {
        loop {
            let mut signal = lock(&self.signal);
            while !signal.work && !signal.stop {
                let woken = self.wake.wait(signal);
                signal = woken.unwrap_or_else(PoisonError::into_inner);
            }
            let waited = self
                .wake
                .wait_timeout_while(signal, PUBLISH_AFTER, |signal| !signal.stop);
            let (mut signal, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if signal.stop {
                return;
            }
            signal.work = false;
            drop(signal);
            if let Err(error) = self.publish(false) {
                tracing::error!(%error, "the ledger's last entries stay pending");
            }
        }
    }
}

impl Tail {
    /// An entry that is durable.
    fn take_in(
        &mut self,
        entry: &[u8],
        tree: Tree,
        full: Vec<super::tree::FullTile>,
        note: SignedCheckpoint,
    ) {
        encode_entry(entry, &mut self.entries);
        for tile in full {
            if let super::tile::Content::Hashes(0) = tile.name.content {
                let entries = std::mem::take(&mut self.entries);
                let name = TileName::entries(tile.name.index, tile.name.width);
                self.full.push((name, entries));
            }
            self.full.push((tile.name, encode_hashes(&tile.hashes)));
        }
        self.tree = tree;
        self.note = note;
    }

    /// Every tile that the checkpoint needs and that may not be on the disk.
    fn tiles(&self) -> Vec<(TileName, Vec<u8>)> {
        let mut tiles = self.full.clone();
        let size = self.tree.size();
        for level in 0..self.tree.levels() {
            let Some(name) = TileName::partial(level, size) else {
                continue;
            };
            if level == 0 {
                let name = TileName::entries(name.index, name.width);
                tiles.push((name, self.entries.clone()));
            }
            tiles.push((name, encode_hashes(self.tree.edge(level))));
        }
        tiles
    }
}

fn sign(tree: &Tree, key: &LogKey, identity: &SigningIdentity) -> SignedCheckpoint {
    let checkpoint = Checkpoint {
        origin: key.origin().to_owned(),
        size: tree.size(),
        root: tree.root(),
    };
    checkpoint.sign(identity)
}

/// Reads the log's end, after verifying all of it, and takes back what a crash left half-done.
fn begin(path: &Path, key: &LogKey, identity: &SigningIdentity) -> Result<Tail, LedgerError> {
    fs::create_dir_all(path).map_err(LedgerError::io(path))?;
    let old = path.join(OLD_FORMAT);
    if old.exists() {
        return Err(LedgerError::OldFormat(path.to_owned()));
    }
    let folder = Folder::new(path);
    let file = claim(&path.join(PENDING))?;
    // A new file's name is durable only when its directory is.
    sync_directory(path)?;
    let length = file.metadata().map_err(LedgerError::io(path))?.len();
    if !path.join(CHECKPOINT).exists() && !path.join("tile").exists() && length == 0 {
        let note = sign(&Tree::default(), key, identity);
        write_durably(path, CHECKPOINT, note.to_text().as_bytes())?;
    }
    let expected = Expected {
        log: key,
        witnesses: None,
        seen: &[],
    };
    let report = verify::verify(&folder, &expected, &mut |_, _| {})?;
    if let Some(finding) = report.findings.iter().find(|finding| finding.is_damage()) {
        return Err(LedgerError::Damaged {
            path: path.to_owned(),
            finding: finding.to_string(),
        });
    }
    let _ = fs::remove_file(path.join(UNFINISHED));
    take_up(&folder, key, identity, file)
}

/// Opens `pending` for this log alone, for as long as the file is open.
fn claim(path: &Path) -> Result<File, LedgerError> {
    let mut options = OpenOptions::new();
    let file = options.create(true).read(true).append(true).open(path);
    let file = file.map_err(LedgerError::io(path))?;
    for _ in 0..CLAIM_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // One that is being closed publishes its last entries first.
            Err(TryLockError::WouldBlock) => std::thread::sleep(CLAIM_PAUSE),
            Err(TryLockError::Error(source)) => return Err(LedgerError::io(path)(source)),
        }
    }
    let busy = std::io::Error::other("another process has this ledger open: stop it first");
    Err(LedgerError::io(path)(busy))
}

/// The end of a log that was verified.
fn take_up(
    folder: &Folder,
    key: &LogKey,
    identity: &SigningIdentity,
    pending: File,
) -> Result<Tail, LedgerError> {
    let note = folder.checkpoint()?;
    let size = note.checkpoint().size;
    let gone = |name: TileName| LedgerError::Damaged {
        path: folder.path().to_owned(),
        finding: format!("{name} is missing"),
    };
    let mut levels = Vec::new();
    let mut entries = Vec::new();
    for level in 0..8 {
        if size >> (8 * u32::from(level)) == 0 {
            break;
        }
        let Some(name) = TileName::partial(level, size) else {
            levels.push(Vec::new());
            continue;
        };
        if level == 0 {
            let name = TileName::entries(name.index, name.width);
            entries = folder.tile(name)?.ok_or_else(|| gone(name))?;
        }
        let hashes = folder.tile(name)?.and_then(|bytes| decode_hashes(&bytes));
        levels.push(hashes.ok_or_else(|| gone(name))?);
    }
    let tree = Tree::from_edge(size, levels).ok_or_else(|| LedgerError::Damaged {
        path: folder.path().to_owned(),
        finding: format!("the last tiles do not fit {size} entries"),
    })?;
    let mut tail = Tail {
        pending,
        length: 0,
        tree,
        entries,
        full: Vec::new(),
        note,
        published: size,
        broken: false,
    };
    let path = folder.path().join(PENDING);
    let bytes = fs::read(&path).map_err(LedgerError::io(&path))?;
    for record in records(&bytes) {
        let note = SignedCheckpoint::parse(record.note);
        if note.is_ok_and(|note| note.checkpoint().size > tail.tree.size()) {
            let mut tree = tail.tree.clone();
            let full = tree.push(leaf_hash(record.entry));
            let note = sign(&tree, key, identity);
            tail.take_in(record.entry, tree, full, note);
        }
        tail.length = record.end as u64;
    }
    if (bytes.len() as u64) > tail.length {
        tracing::warn!(path = %path.display(), "cut an unfinished last entry off the ledger");
        let cut = tail.pending.set_len(tail.length);
        cut.and_then(|()| tail.pending.sync_all())
            .map_err(LedgerError::io(&path))?;
    }
    Ok(tail)
}

/// Writes a file whole or not at all, and the directories above it; on the disk when this returns.
pub(super) fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), LedgerError> {
    let (path, unfinished) = (folder.join(name), folder.join(UNFINISHED));
    let parent = path.parent().unwrap_or(folder);
    if !parent.exists() {
        fs::create_dir_all(parent).map_err(LedgerError::io(parent))?;
        let inside = |it: &&Path| it.starts_with(folder) && *it != folder;
        for directory in parent.ancestors().take_while(inside) {
            sync_directory(directory.parent().unwrap_or(folder))?;
        }
    }
    let write = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)
    };
    write().map_err(LedgerError::io(&path))?;
    sync_directory(parent)
}

fn sync_directory(path: &Path) -> Result<(), LedgerError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(LedgerError::io(path))
}
