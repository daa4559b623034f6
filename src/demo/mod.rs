//! `collegium demo`: a whole consortium on this machine.
//!
//! It types for you what the coordinator's operator, the stewards and the scientist would type:
//! every action is another `collegium` process with the same arguments that the README's
//! deployment section gives. There is no back door; [`consortium`] is the script,
//! [`crate::board`] shows the progress and [`summary`] reads the results where each person would find them.

mod consortium;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::cli;
use crate::output::Output;
use consortium::{Consortium, Running};
pub(crate) use summary::{report, round};

/// Which members to bring up, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The consortium to bring up.
    #[arg(value_enum, default_value_t = Scenario::Hospitals)]
    scenario: Scenario,
    /// Directory for everything the demo makes: keys, states, data, logs, results.
    #[arg(long, default_value = "collegium-demo")]
    dir: PathBuf,
    /// Seed of the task; the default is the one in the task file.
    #[arg(long)]
    seed: Option<u64>,
}

/// Consortia that ship with the program.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Scenario {
    /// Four hospitals and their heart-disease patients (UCI, 1988).
    Hospitals,
}

/// Runs the demo to its end, and stops every process it started whatever happens.
///
/// # Errors
/// The first step that failed, with the command that failed and the end of its log.
pub(crate) fn run(args: Args, out: Output) -> anyhow::Result<ExitCode> {
    let Scenario::Hospitals = args.scenario;
    cli::run_to_end(async move {
        let started = Instant::now();
        let consortium = Consortium::prepare(args.dir, args.seed)?;
        let mut running = Running::default();
        let work = async {
            match consortium.finished_run()? {
                Some(run) => {
                    out.say(format!(
                        "{} holds a finished run; showing its result. To run again, remove the \
                         directory or give another with --dir.",
                        consortium.dir().display()
                    ));
                    consortium.result(&run)
                }
                None => consortium.train(&mut running, out).await,
            }
        };
        let outcome = tokio::select! {
            outcome = work => Some(outcome),
            () = cli::stop_signal(false) => None,
        };
        let peak = running.peak_memory();
        let stopped = running.stop().await;
        let Some(outcome) = outcome else {
            out.say(format!(
                "Interrupted; everything is stopped. The same command goes on from here: state is in {}.",
                consortium.dir().display()
            ));
            return Ok(ExitCode::from(cli::INTERRUPTED));
        };
        let result = outcome?;
        stopped?;
        summary::show(&consortium, &result, started.elapsed(), peak, out)?;
        Ok(ExitCode::SUCCESS)
    })
}
