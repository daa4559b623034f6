//! A copy of the coordinator's ledger, brought up to date from a source that nobody has to trust.
//!
//! What comes is gathered in a folder beside the copy, verified there together with what the copy has
//! already, and moved into it only if the ledger still begins with everything that was there before.
//! Otherwise the copy stays as it is, and what came is kept aside, as evidence. Full tiles are never
//! fetched twice, also after an attempt that broke off.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::note::{LogKey, MAX_CHECKPOINT_BYTES, NoteError, SignedCheckpoint};
use super::read::Folder;
use super::tile::TileName;
use super::verify::{Expected, Seen, verify};
use super::write::write_durably;
use super::{CHECKPOINT, COSIGNED, LedgerError};

/// Why a copy is not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file of the copy.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The checkpoint that came.
    #[error("the coordinator's checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The folder is used for something else.
    #[error("{0} is not empty, and no copy of a ledger: name another folder")]
    NoCopy(PathBuf),
    /// Nothing can be put beside it.
    #[error("`{0}` ends in no name: say which folder, by its name")]
    Nameless(PathBuf),
    /// A tile is not what its name says.
    #[error("the coordinator gave no {0} that fits its checkpoint; the copy stays as it was")]
    Tile(TileName),
    /// Entries that the copy has are gone.
    #[error(
        "ROLLBACK: the coordinator shows a ledger of {offered} entries, and {path} has {had}: entries were \
         taken back; the copy stays as it was"
    )]
    Rollback {
        /// Entries that it shows.
        offered: u64,
        /// The copy.
        path: PathBuf,
        /// Entries of the copy.
        had: u64,
    },
    /// The ledger is another.
    #[error(
        "REWRITTEN: the coordinator's ledger of {offered} entries does not begin with the {had} in {path} \
         ({finding}); the copy stays as it was, and what the coordinator showed is kept in {kept}"
    )]
    Rewritten {
        /// Entries that it shows.
        offered: u64,
        /// The copy.
        path: PathBuf,
        /// Entries of the copy.
        had: u64,
        /// The first thing found.
        finding: String,
        /// Where what came is kept.
        kept: PathBuf,
    },
    /// What came does not verify by itself.
    #[error(
        "the coordinator's ledger does not verify ({finding}); what it showed is kept in {kept}"
    )]
    Damaged {
        /// The first thing found.
        finding: String,
        /// Where what came is kept.
        kept: PathBuf,
    },
}

/// A copy being brought up to date.
#[derive(Debug)]
pub struct Copying {
    copy: Folder,
    /// What comes, and links to what is there.
    fresh: Folder,
    log: LogKey,
    before: Option<SignedCheckpoint>,
    note: SignedCheckpoint,
}

/// A copy that is up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Entries before.
    pub before: u64,
    /// Entries now.
    pub entries: u64,
    /// Tiles that came.
    pub tiles: u64,
}

impl Copying {
    /// Begins with the checkpoint's note that came. The folder need not be there.
    ///
    /// # Errors
    /// [`CopyError`]: the note is no checkpoint of the coordinator whose ledger the folder has, or has
    /// fewer entries.
    pub fn begin(folder: &Path, note: &[u8]) -> Result<Self, CopyError> {
        if folder.file_name().is_none() {
            return Err(CopyError::Nameless(folder.to_owned()));
        }
        let copy = Folder::new(folder);
        let before = before(&copy)?;
        if note.len() > MAX_CHECKPOINT_BYTES {
            return Err(NoteError::Form("it is too long").into());
        }
        let note = SignedCheckpoint::parse(note)?;
        let origin = match &before {
            Some(before) => &before.checkpoint().origin,
            None => &note.checkpoint().origin,
        };
        let log = LogKey::from_coordinator(origin);
        let log = log.ok_or(NoteError::Form("its first line is no coordinator's ledger"))?;
        note.check_all(&log, &[])?;
        if let Some(before) = &before {
            let (offered, had) = (note.checkpoint().size, before.checkpoint().size);
            if offered < had {
                let path = folder.to_owned();
                return Err(CopyError::Rollback { offered, path, had });
            }
        }
        let fresh = Folder::new(&beside(folder, "fetching"));
        clear_partial(fresh.path()).map_err(LedgerError::io(fresh.path()))?;
        Ok(Self {
            copy,
            fresh,
            log,
            before,
            note,
        })
    }

    /// The tiles that have to come.
    pub fn missing(&self) -> impl Iterator<Item = TileName> {
        TileName::all(self.note.checkpoint().size)
            .filter(|name| !self.has(*name) && !self.fresh.path().join(name.to_string()).exists())
    }

    /// Whether the copy's own checkpoint covers this tile.
    fn has(&self, name: TileName) -> bool {
        let before = self.before.as_ref().map_or(0, |it| it.checkpoint().size);
        name.is_in(before)
    }

    /// Takes the bytes of a tile, or of the same one when there was more in it.
    ///
    /// # Errors
    /// [`CopyError::Tile`], when they are no tile of that width; a write that fails.
    pub fn take(&self, name: TileName, bytes: &[u8]) -> Result<(), CopyError> {
        let exact = name.beginning(bytes).ok_or(CopyError::Tile(name))?;
        let path = self.fresh.path();
        fs::create_dir_all(path).map_err(LedgerError::io(path))?;
        Ok(write_durably(path, &name.to_string(), exact)?)
    }

    /// Verifies the whole, and makes it the copy.
    ///
    /// # Errors
    /// [`CopyError`]; the copy is as it was, unless a write fails in the middle of moving files that were
    /// verified, which the next attempt makes good.
    pub fn finish(self, cosigned: Option<&[u8]>) -> Result<Copied, CopyError> {
        let (copy, fresh) = (self.copy.path(), self.fresh.path());
        let size = self.note.checkpoint().size;
        fs::create_dir_all(fresh).map_err(LedgerError::io(fresh))?;
        let mut came = Vec::new();
        for name in TileName::all(size) {
            if self.has(name) {
                link(copy, fresh, name)?;
            } else {
                came.push(name);
            }
        }
        if let Some(cosigned) = cosigned {
            write_durably(fresh, COSIGNED, cosigned)?;
        }
        write_durably(fresh, CHECKPOINT, self.note.to_text().as_bytes())?;
        self.check()?;

        // Tiles first: a copy that is cut off here has files that its checkpoint does not cover yet.
        for name in came.iter().map(TileName::to_string) {
            put(fresh, copy, &name)?;
        }
        if cosigned.is_some() {
            put(fresh, copy, COSIGNED)?;
        }
        put(fresh, copy, CHECKPOINT)?;
        let before = self.before.as_ref().map_or(0, |it| it.checkpoint().size);
        let outgrown = TileName::all(before).filter(|name| !name.is_full());
        for name in outgrown.filter(|name| !name.is_in(size)) {
            remove_partial(&copy.join(name.to_string()));
        }
        fs::remove_dir_all(fresh).map_err(LedgerError::io(fresh))?;
        Ok(Copied {
            before,
            entries: size,
            tiles: came.len() as u64,
        })
    }

    /// Verifies what was gathered, against what the copy had before.
    fn check(&self) -> Result<(), CopyError> {
        let before = self.before.as_ref().map(SignedCheckpoint::checkpoint);
        let seen: Vec<Seen> = before
            .map(|before| Seen {
                by: self.copy.path().display().to_string(),
                size: before.size,
                root: before.root,
            })
            .into_iter()
            .collect();
        let expected = Expected {
            log: &self.log,
            witnesses: None,
            seen: &seen,
        };
        let report = verify(&self.fresh, &expected, &mut |_, _| {})?;
        let Some(finding) = report.findings.iter().find(|finding| finding.is_damage()) else {
            return Ok(());
        };
        if before.is_some() {
            let own = Expected {
                seen: &[],
                ..expected
            };
            let own = verify(&self.copy, &own, &mut |_, _| {})?;
            if let Some(finding) = own.findings.iter().find(|finding| finding.is_damage()) {
                return Err(LedgerError::Damaged {
                    path: self.copy.path().to_owned(),
                    finding: finding.to_string(),
                }
                .into());
            }
        }
        let kept = self.set_aside()?;
        let finding = finding.to_string();
        Err(match before {
            Some(before) => CopyError::Rewritten {
                offered: self.note.checkpoint().size,
                path: self.copy.path().to_owned(),
                had: before.size,
                finding,
                kept,
            },
            None => CopyError::Damaged { finding, kept },
        })
    }

    /// Keeps what came where no later attempt takes it for good; gives the place.
    fn set_aside(&self) -> Result<PathBuf, LedgerError> {
        let mut places = (1..1000).map(|it| beside(self.copy.path(), &format!("refused-{it}")));
        let kept = places.find(|path| !path.exists());
        let kept = kept.unwrap_or_else(|| beside(self.copy.path(), "refused"));
        fs::rename(self.fresh.path(), &kept).map_err(LedgerError::io(&kept))?;
        Ok(kept)
    }
}

/// The checkpoint of a copy; `None` where there is none yet.
fn before(copy: &Folder) -> Result<Option<SignedCheckpoint>, CopyError> {
    let path = copy.path();
    match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::io(path)(error).into()),
        Ok(mut entries) if !path.join(CHECKPOINT).exists() => match entries.next() {
            // What a first attempt leaves that was cut off while it moved the tiles.
            Some(_) if !path.join("tile").is_dir() => Err(CopyError::NoCopy(path.to_owned())),
            _ => Ok(None),
        },
        Ok(_) => Ok(Some(copy.checkpoint()?)),
    }
}

/// A folder beside the copy: `ledger.fetching`.
fn beside(folder: &Path, what: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    folder.with_file_name(name)
}

/// Takes out of an attempt that broke off what belongs to its moment alone: everything but full tiles.
fn clear_partial(path: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if name.to_string_lossy().ends_with(".p") {
                fs::remove_dir_all(&path)?;
            } else {
                clear_partial(&path)?;
            }
        } else if [CHECKPOINT, COSIGNED, super::UNFINISHED].contains(&&*name.to_string_lossy()) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Makes a tile of the copy part of what is verified, without copying it where links can be made.
fn link(copy: &Path, fresh: &Path, name: TileName) -> Result<(), LedgerError> {
    let (from, to) = (copy.join(name.to_string()), fresh.join(name.to_string()));
    let parent = to.parent().unwrap_or(fresh);
    fs::create_dir_all(parent).map_err(LedgerError::io(parent))?;
    match fs::hard_link(&from, &to) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Verification says what that means for the whole.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(_) => fs::copy(&from, &to)
            .map(|_| ())
            .map_err(LedgerError::io(&to)),
        Ok(()) => Ok(()),
    }
}

/// Moves a file into the copy.
fn put(fresh: &Path, copy: &Path, name: &str) -> Result<(), LedgerError> {
    let (from, to) = (fresh.join(name), copy.join(name));
    let parent = to.parent().unwrap_or(copy);
    fs::create_dir_all(parent).map_err(LedgerError::io(parent))?;
    fs::rename(&from, &to).map_err(LedgerError::io(&to))
}

/// Removes a partial tile that a later one took the place of, and its directory when that was the last.
fn remove_partial(path: &Path) {
    // What stays is right, and verification accepts it.
    let _ = fs::remove_file(path);
    if let Some(parent) = path.parent() {
        let _ = fs::remove_dir(parent);
    }
}
