//! The asynchronous runtime and the signals that end a command.

use std::future::Future;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::INTERRUPTED;

/// Ends when the process is asked to stop: SIGTERM, Ctrl-C, or, if `until_stdin_closes`, the end
/// of standard input (a supervisor that went away).
pub(crate) async fn stop_signal(until_stdin_closes: bool) {
    let stdin_closed = async {
        if !until_stdin_closes {
            return std::future::pending().await;
        }
        let (closed, end) = tokio::sync::oneshot::channel();
        // A thread of its own: a read that waits for ever must not keep the runtime from ending.
        std::thread::spawn(move || {
            // What arrives is ignored; an error counts as the end.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = closed.send(());
        });
        let _ = end.await;
    };
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be handled; stop with Ctrl-C");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        () = stdin_closed => {}
    }
}

/// A runtime for one command. It does not wait for what still computes at the end: nobody wants
/// the results any more.
fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

/// Runs a client command; Ctrl-C ends it with exit code 130.
pub(crate) fn interruptible(
    future: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<ExitCode> {
    block_on(async {
        tokio::select! {
            result = future => result.map(|()| ExitCode::SUCCESS),
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
        }
    })?
}

/// Runs a daemon, or anything else that handles its own signals.
pub(crate) fn run_to_end(
    future: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    block_on(future)?
}
