//! `collegium`: the one command of the project, and everybody's front door.
//!
//! It starts both daemons, runs the demo and the simulation, and carries the operator's, steward's
//! and scientist's commands to them. It holds no logic of its own beyond that: joining, sums and
//! search live in the `node`, `coordinator`, `protocol`, `crypto` and `automl` crates. Start
//! reading at [`cli`].
//!
//! Exit codes: 0 done, 1 failed (the reason is on standard error), 2 the command line was wrong,
//! 130 interrupted by Ctrl-C. `audit verify` and `audit check` also: 3 verified with remarks, 4 not
//! verified.

mod audit;
mod board;
mod cli;
mod demo;
mod output;
mod person;
mod process;
mod simulate;
mod words;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", in_words(&error));
            ExitCode::FAILURE
        }
    }
}

/// The chain of causes on one line: what, where, why. Errors that say their cause themselves and
/// also name it as their source are not said twice.
fn in_words(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let plain = anyhow::anyhow!("no such column").context("rows.csv");
        assert_eq!(in_words(&plain), "rows.csv: no such column");
        let told = anyhow::anyhow!("no such column").context("rows.csv: no such column");
        assert_eq!(
            in_words(&told.context("predicting")),
            "predicting: rows.csv: no such column"
        );
    }
}
