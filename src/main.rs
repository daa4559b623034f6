//! `collegium`: the one command of the project, and everybody's front door.
//!
//! It starts both daemons, runs the demo and the simulation, and carries the operator's, steward's
//! and scientist's commands to them. It holds no logic of its own beyond that: joining, sums and
//! search live in the `node`, `coordinator`, `protocol`, `crypto` and `automl` crates. Start
//! reading at [`cli`].
//!
//! Exit codes: 0 done, 1 failed (the reason is on standard error), 2 the command line was wrong,
//! 130 interrupted by Ctrl-C.

mod cli;
mod demo;
mod output;
mod process;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            // `{:#}` prints the chain of causes on one line: what, where, why.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
