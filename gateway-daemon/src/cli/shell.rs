//! `gateway-daemon completions` and `gateway-daemon man`: made from the command line's own description.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::print;
use super::{Cli, Exit};

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct CompletionsOptions {
    /// The shell that is to complete
    #[arg(value_enum)]
    pub shell: Shell,
}

impl CompletionsOptions {
    /// Prints a script for the shell.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        print(&completions(self.shell))?;
        Ok(Exit::Done)
    }
}

/// The script of a shell.
pub(super) fn completions(shell: Shell) -> String {
    let (mut command, mut script) = (Cli::command(), Vec::new());
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Options of `man`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct ManOptions {
    /// Write a page for every command into this directory, which has to exist; without, print the first page
    #[arg(long, value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
}

impl ManOptions {
    /// Prints a manual page, or writes all of them.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        let pages = pages();
        match &self.dir {
            Some(directory) => write(directory, &pages)?,
            None => print(&pages[0].1)?,
        }
        Ok(Exit::Done)
    }
}

fn write(directory: &Path, pages: &[(String, String)]) -> anyhow::Result<()> {
    for (name, text) in pages {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The name and text of every page, that of the program first.
pub(super) fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    collect(command, &mut pages);
    pages
}

fn collect(command: Command, pages: &mut Vec<(String, String)>) {
    let below: Vec<_> = command.get_subcommands().cloned().collect();
    // After `build` this has the names of the commands above: gateway-daemon-tenant-add.
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut text = Vec::new();
    let rendered = Man::new(command).render(&mut text);
    rendered.expect("a vector takes all that is written");
    pages.push((format!("{name}.1"), String::from_utf8_lossy(&text).into_owned()));
    for command in below {
        collect(command, pages);
    }
}
