//! `gateway-daemon run`: the options of the agent. `main` hands them to `app`.

use std::path::PathBuf;

use clap::Args;

use crate::config::{OverrideError, Overrides, Setting};
use crate::log::{self, Format, Level, LogError};

/// Options of `run`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct RunOptions {
    /// Configuration file; `gateway-daemon config example` prints one
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Setting that wins over the environment (`GATEWAY_SECTION_FIELD`) and the file; can be repeated
    #[arg(long, value_name = "SECTION.FIELD=VALUE")]
    pub set: Vec<Setting>,
    /// Form of the log on standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
    /// Least important lines that are logged; the default is the `RUST_LOG` variable, else info
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub log_level: Option<Level>,
}

impl RunOptions {
    /// The settings of this command line and of the environment.
    ///
    /// # Errors
    ///
    /// A variable whose value is not text.
    pub fn overrides(&self) -> Result<Overrides, OverrideError> {
        Ok(Overrides::from_environment(std::env::vars_os())?.and(&self.set))
    }

    /// Starts the log as the options want it.
    pub fn start_log(&self) -> Result<(), LogError> {
        log::init(self.log_format, self.log_level)
    }
}
