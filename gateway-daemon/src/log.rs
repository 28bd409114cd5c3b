//! The daemon's log: on standard error, as text for people or as one JSON object a line.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The variable that chooses what is logged if no level is given, in `tracing`'s syntax.
const FILTER_ENV: &str = "RUST_LOG";

/// What is logged if nobody chooses.
const DEFAULT_FILTER: &str = "info";

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// What failed and needs an operator.
    Error,
    /// What failed and was mended, or may fail soon.
    Warn,
    /// What the daemon did.
    Info,
    /// How it decided.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    fn directive(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The log can't be started as asked for.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `RUST_LOG` makes no sense. The operator has to change it.
    #[error("cannot understand {FILTER_ENV}=`{text}`")]
    Filter {
        /// What it says.
        text: String,
        /// Why not.
        source: ParseError,
    },
    /// A log was started before: a defect of this program.
    #[error("the log is already started")]
    AlreadyStarted,
}

/// Starts the log, once for the process. A `level` counts more than `RUST_LOG`.
pub fn init(format: Format, level: Option<Level>) -> Result<(), LogError> {
    let filter = filter(level, std::env::var(FILTER_ENV).ok().as_deref())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|_| LogError::AlreadyStarted)
}

fn filter(level: Option<Level>, from_env: Option<&str>) -> Result<EnvFilter, LogError> {
    let from_env = from_env.filter(|text| !text.is_empty());
    let text = level.map(Level::directive).or(from_env).unwrap_or(DEFAULT_FILTER);
    EnvFilter::try_new(text).map_err(|source| LogError::Filter { text: text.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(level: Option<Level>, from_env: Option<&str>) -> String {
        filter(level, from_env).unwrap().to_string()
    }

    #[test]
    fn the_option_counts_more_than_the_environment() {
        assert_eq!(chosen(None, None), "info");
        assert_eq!(chosen(None, Some("")), "info");
        assert_eq!(chosen(None, Some("warn,gateway_daemon=debug")), "gateway_daemon=debug,warn");
        assert_eq!(chosen(Some(Level::Trace), Some("warn")), "trace");
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_named() {
        let error = filter(None, Some("gateway=loud")).unwrap_err();
        assert_eq!(error.to_string(), "cannot understand RUST_LOG=`gateway=loud`");
    }
}
