//! `gateway-daemon unload`.

use std::path::PathBuf;

use clap::Args;

use super::Exit;
use super::output::print;
use crate::config::{Config, Interfaces, Overrides, Setting};
use crate::datapath;

/// Options of `unload`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct UnloadOptions {
    /// Configuration file of the daemon, which has to be stopped
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Setting that the daemon was given; can be repeated
    #[arg(long, value_name = "SECTION.FIELD=VALUE")]
    pub set: Vec<Setting>,
}

impl UnloadOptions {
    /// Removes programs and tables from the kernel and prints what was done.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        // An interface may have gone since the daemon attached to it.
        let overrides = Overrides::from_environment(std::env::vars_os())?.and(&self.set);
        let config = Config::load(&self.config, &Interfaces::Unchecked, &overrides)?;
        print(&render(&datapath::unload(&config)?))?;
        Ok(Exit::Done)
    }
}

fn render(removed: &[String]) -> String {
    if removed.is_empty() {
        return "nothing was loaded\n".to_owned();
    }
    removed.iter().flat_map(|what| [what, "\n"]).collect()
}
