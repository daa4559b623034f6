//! `collegium key`: passphrases on private key files.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use collegium_protocol::pki::passphrase::{self, Passphrase};
use collegium_protocol::pki::{PkiError, keyfile};
use serde_json::json;
use zeroize::Zeroizing;

use crate::output::{Output, table};

/// What one does with key files.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the private key files of a directory, and which a passphrase encrypts.
    List(Directory),
    /// Encrypt them by a passphrase, or by another one than before. Stop the daemon first.
    Protect {
        #[command(flatten)]
        directory: Directory,
        /// File whose first line is the new passphrase; asked for on a terminal if it is not given.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Write them in clear again. Stop the daemon first.
    Unprotect(Directory),
}

/// What a key file holds, in clear, and where it is.
type Key = (Zeroizing<Vec<u8>>, PathBuf);

/// Whose keys are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Directory {
    /// A state directory of a node or coordinator, or a person's directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Carries out the command.
///
/// # Errors
/// What is wrong with a file or a passphrase; no file is changed unless all can be read.
pub(crate) fn run(command: Command, out: Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(directory) => list(&directory.files()?, out)?,
        Command::Protect {
            directory,
            passphrase_file,
        } => {
            let keys = directory.keys()?;
            let new = new_passphrase(passphrase_file.as_deref())?;
            rewrite(&keys, Some(&new), out)?;
        }
        Command::Unprotect(directory) => rewrite(&directory.keys()?, None, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Directory {
    /// Every `*.key` in the directory itself and in its `keys`, in order.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for directory in [self.directory.clone(), self.directory.join("keys")] {
            if directory != self.directory && !directory.exists() {
                continue;
            }
            let entries = std::fs::read_dir(&directory)
                .with_context(|| format!("cannot read the directory {}", directory.display()))?;
            for entry in entries {
                let path = entry?.path();
                if path.extension().is_some_and(|ending| ending == "key") {
                    files.push(path);
                }
            }
        }
        files.sort();
        ensure!(
            !files.is_empty(),
            "{} holds no private keys; name a node's or the coordinator's state directory, or the \
             directory that `collegium user join` made",
            self.directory.display()
        );
        Ok(files)
    }

    /// [`Directory::files`] with what they hold, all read before one is written: nothing is half done
    /// because the third file has another passphrase.
    fn keys(&self) -> anyhow::Result<Vec<Key>> {
        let read = |file: PathBuf| Ok((keyfile::read_private(&file)?, file));
        self.files()?.into_iter().map(read).collect()
    }
}

fn list(files: &[PathBuf], out: Output) -> anyhow::Result<()> {
    let mut rows = table(&["key file", "passphrase"]);
    let mut described = Vec::new();
    for file in files {
        let encrypted = passphrase::is_encrypted(&keyfile::read_public(file)?);
        rows.add_row([
            file.display().to_string(),
            if encrypted { "yes" } else { "no" }.to_owned(),
        ]);
        described.push(json!({ "file": file, "encrypted": encrypted }));
    }
    out.result(&described, rows.to_string())
}

fn rewrite(keys: &[Key], new: Option<&Passphrase>, out: Output) -> anyhow::Result<()> {
    for (content, file) in keys {
        keyfile::protect(file, content, new)?;
    }
    let files: Vec<&PathBuf> = keys.iter().map(|(_, file)| file).collect();
    let text = match new {
        Some(_) => format!(
            "{} key file(s) encrypted. Give the daemon the passphrase with {}=FILE; without it the \
             keys are lost, so keep it in a second place, too. A copy of the disk made before may still hold \
             them in clear.",
            files.len(),
            passphrase::VARIABLE
        ),
        None => format!("{} key file(s) in clear", files.len()),
    };
    out.result(&json!({ "files": files, "encrypted": new.is_some() }), text)
}

/// The passphrase to encrypt by: of the file, of the process, or typed twice.
fn new_passphrase(file: Option<&Path>) -> anyhow::Result<Passphrase> {
    if let Some(file) = file {
        return Ok(Passphrase::from_file(file)?);
    }
    if let Some(known) = passphrase::from_variable()? {
        return Ok(known);
    }
    if !terminal() {
        bail!(
            "no passphrase: give --passphrase-file FILE, set {}, or run this on a terminal",
            passphrase::VARIABLE
        );
    }
    let typed = type_in("New passphrase: ")?;
    ensure!(
        *typed == *type_in("The same again: ")?,
        "the two passphrases differ; nothing was changed"
    );
    Ok(Passphrase::new(typed)?)
}

/// Asks on the terminal for the passphrase of an encrypted key file, where there is a terminal.
///
/// # Errors
/// No terminal, or nothing usable was typed.
pub(crate) fn ask(file: &Path) -> Result<Passphrase, PkiError> {
    if !terminal() {
        return Err(passphrase::missing(file));
    }
    let prompt = format!("Passphrase of {}: ", file.display());
    let typed = type_in(&prompt).map_err(|source| PkiError::File {
        path: file.to_owned(),
        action: "ask for the passphrase of",
        source,
    })?;
    Passphrase::new(typed)
}

fn type_in(prompt: &str) -> std::io::Result<Zeroizing<String>> {
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}

fn terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
