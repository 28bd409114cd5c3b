//! Standard output, as a filter of the shell has it.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde::Serialize;

/// Prints text that ends with a line feed. A reader that went away (`| head`) has what it wanted.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Prints a document for programs.
pub(super) fn print_json(document: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(document).context("cannot write JSON")?;
    print(&(text + "\n"))
}
