//! Standard output, as a filter of the shell has it.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde::Serialize;

/// Prints text that ends with a line feed. A reader that went away (`| head`) has what it wanted.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(text).map(drop)
}

/// Prints a line of many. Is anybody still reading?
pub(super) fn print_line(line: &str) -> anyhow::Result<bool> {
    write(&format!("{line}\n"))
}

/// Prints a document for programs.
pub(super) fn print_json(document: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(document).context("cannot write JSON")?;
    print(&(text + "\n"))
}

fn write(text: &str) -> anyhow::Result<bool> {
    #[cfg(test)]
    if captured::take(text) {
        return Ok(true);
    }
    print_bytes(text.as_bytes())
}

/// Prints what is no text. Is anybody still reading?
pub(super) fn print_bytes(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// What a test's thread printed.
#[cfg(test)]
pub(crate) mod captured {
    use std::cell::RefCell;

    thread_local! {
        static TEXT: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    pub(super) fn take(text: &str) -> bool {
        TEXT.with_borrow_mut(|captured| captured.as_mut().map(|all| all.push_str(text)).is_some())
    }

    /// What `work` gives, and what it prints.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, String) {
        TEXT.set(Some(String::new()));
        let value = work();
        (value, TEXT.take().unwrap_or_default())
    }
}
