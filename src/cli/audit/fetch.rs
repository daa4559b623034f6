//! `collegium audit fetch`: a copy of the coordinator's ledger over the network.

use std::path::PathBuf;

use anyhow::Context;
use collegium_protocol::ledger::copy::Copying;
use serde_json::json;

use crate::cli::client::{Coordinator, connect};
use crate::output::Output;

/// Arguments of `audit fetch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    /// Where the copy is, or will be; made if needed.
    #[arg(value_name = "DIR")]
    copy: PathBuf,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// Brings the copy up to date.
///
/// # Errors
/// What the coordinator answered, or why what it shows is not taken.
pub(super) async fn fetch(args: Fetch, out: Output) -> anyhow::Result<()> {
    let client = connect(&args.coordinator).await?;
    let mut ledger = client.ledger().await?;
    let copying = Copying::begin(&args.copy, ledger.checkpoint())?;
    for name in copying.missing() {
        let bytes = ledger.tile(name).await?;
        let bytes = bytes.with_context(|| format!("the coordinator has no {name}"))?;
        copying.take(name, &bytes)?;
    }
    let copied = copying.finish(ledger.cosigned())?;
    drop(ledger);
    client.finish().await;
    let shown = args.copy.display();
    let new = copied.entries - copied.before;
    let came = if copied.before == 0 {
        format!("{new} entries")
    } else {
        format!(
            "{new} new entries; the ledger begins with the {} that were here",
            copied.before
        )
    };
    out.result(
        &json!({
            "copy": args.copy,
            "entries": copied.entries,
            "new": new,
            "tiles": copied.tiles,
        }),
        format!(
            "{shown}: {came}\n\
             next: collegium audit verify {shown} --charter FILE --node MEMBERS_LEDGER\n\
             (`collegium charter show --state NODE --file FILE` at a member writes the charter)"
        ),
    )
}
