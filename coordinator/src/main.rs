//! `collegium-coordinator`: the daemon alone, for service managers. Everything
//! else, and the same daemon, is in `collegium`.

use std::process::ExitCode;

use collegium_coordinator::app;
use collegium_coordinator::config::{Config, Sources};

/// The command line or the configuration is wrong.
const EXIT_USAGE: u8 = 2;

const USAGE: &str = "usage: collegium-coordinator [--config FILE] [--state DIR] [--listen ADDRESS] [--set KEY=VALUE]...

Runs the coordinator daemon until SIGTERM or Ctrl-C. Keys: see configs/coordinator.toml.";

fn main() -> ExitCode {
    let sources = match arguments(std::env::args().skip(1)) {
        Ok(Some(sources)) => sources,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&format!("{error}\n\n{USAGE}"), EXIT_USAGE),
    };
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(error) => return fail(&error.to_string(), EXIT_USAGE),
    };
    if let Err(error) = app::start_logging(&config.log) {
        return fail(&error, EXIT_USAGE);
    }
    if let Err(error) = collegium_protocol::pki::passphrase::provide_from_variable() {
        return fail(&error.to_string(), EXIT_USAGE);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no threads: {error}"), 1),
    };
    let result = runtime.block_on(async {
        app::run(config, terminated()?)
            .await
            .map_err(|error| error.to_string())
    });
    // The search's thread may still be in the middle of arithmetic nobody waits for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn fail(error: &str, code: u8) -> ExitCode {
    eprintln!("collegium-coordinator: {error}");
    ExitCode::from(code)
}

/// `None` asks for help.
fn arguments(mut given: impl Iterator<Item = String>) -> Result<Option<Sources>, String> {
    let mut sources = Sources::from_process();
    while let Some(flag) = given.next() {
        if matches!(flag.as_str(), "--help" | "-h") {
            return Ok(None);
        }
        let mut value = || given.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--config" => sources.file = Some(value()?.into()),
            "--state" => drop(sources.flags.insert("state".into(), value()?)),
            "--listen" => drop(sources.flags.insert("listen".into(), value()?)),
            "--set" => {
                let setting = value()?;
                let (key, value) = setting
                    .split_once('=')
                    .ok_or(format!("--set {setting}: write KEY=VALUE"))?;
                sources.flags.insert(key.to_owned(), value.to_owned());
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(Some(sources))
}

/// Resolves on SIGTERM or Ctrl-C.
fn terminated() -> Result<impl Future<Output = ()> + Send + 'static, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen to signals: {error}"));
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
