//! Log lines on standard error, for people or as JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the whole process. Call once, early.
///
/// # Errors
/// When `log.level` is no filter, or logging was started before.
pub fn start(config: &LogConfig) -> Result<(), LoggingError> {
    let filter =
        EnvFilter::builder()
            .parse(&config.level)
            .map_err(|error| LoggingError::Level {
                level: config.level.clone(),
                reason: error.to_string(),
            })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Human => {
            // https://no-color.org: any non-empty value switches colours off.
            let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(colour).finish().try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|_| LoggingError::Started)
}

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Not a filter.
    #[error(
        "`log.level` is `{level}` ({reason}); use error, warn, info, debug or trace, or a list \
         of target=level"
    )]
    Level {
        /// What was given.
        level: String,
        /// What the parser said.
        reason: String,
    },
    /// Somebody else did it.
    #[error("logging was already started")]
    Started,
}
