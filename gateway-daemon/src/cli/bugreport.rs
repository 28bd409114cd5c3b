//! `gateway-daemon bugreport`: one file that a report of a defect can be looked into with.
//!
//! It holds what the API shows and how the host is set up: no keys and no payload, of which the API knows none. What
//! can't be had is noted in the report instead of failing it: a daemon that does not answer is the very case to report.

mod redact;
mod tar;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::Exit;
use super::client::ClientOptions;
use super::format::counted;
use super::output::print;
use crate::api::client::Client;
use redact::Redactor;
use tar::Tar;

/// Addresses of a payment network are not for everybody.
const FILE_MODE: u32 = 0o600;

/// What is asked of the daemon, and the file that it goes to.
const QUESTIONS: [(&str, &str); 7] = [
    ("status.json", "/v1/status"),
    ("drops.json", "/v1/drops"),
    ("health.json", "/v1/health"),
    ("flows.json", "/v1/flows?limit=100"),
    ("export.json", "/v1/export"),
    ("history.json", "/v1/history?limit=100"),
    ("openapi.json", "/v1/openapi.json"),
];

/// What is asked of the host.
const COMMANDS: [(&str, &[&str]); 6] = [
    ("ip-address.json", &["ip", "-j", "-d", "address"]),
    ("ip-link.json", &["ip", "-j", "-d", "-s", "link"]),
    ("ip-route.json", &["ip", "-j", "route", "show", "table", "all"]),
    ("ip-rule.json", &["ip", "-j", "rule"]),
    ("ip-neighbour.json", &["ip", "-j", "neighbour"]),
    ("uname.txt", &["uname", "-a"]),
];

/// Files of the host.
const FILES: [(&str, &str); 3] = [
    ("kernel-version.txt", "/proc/version"),
    ("os-release.txt", "/etc/os-release"),
    ("modules.txt", "/proc/modules"),
];

/// Options of `bugreport`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct BugreportOptions {
    /// The tar file to write; it must not exist
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace every address by a number, the same one throughout
    #[arg(long)]
    pub redact: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl BugreportOptions {
    /// Collects, writes, and says what is in it.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let collected = self.client.ask(async |client| Ok::<_, anyhow::Error>(collect(client).await))?;
        let collected = if self.redact { redacted(collected) } else { collected };
        write(&self.output, &pack(&collected, now))?;
        let number = counted(collected.len() as u64, "file");
        print(&format!("{}: {number}; read them before you send them\n", self.output.display()))?;
        Ok(Exit::Done)
    }
}

/// A file of the report.
type Item = (String, String);

async fn collect(client: &Client) -> Vec<Item> {
    let mut items = vec![("version.txt".to_owned(), concat!(env!("CARGO_PKG_VERSION"), "\n").to_owned())];
    for (name, path) in QUESTIONS {
        items.push((name.to_owned(), answer(client, path).await));
    }
    items.extend(COMMANDS.map(|(name, words)| (name.to_owned(), output(words))));
    let contents = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| missing(path, &error));
    items.extend(FILES.map(|(name, path)| (name.to_owned(), contents(path))));
    items
}

async fn answer(client: &Client, path: &str) -> String {
    match client.get::<Value>(path).await {
        Ok(value) => format!("{value:#}\n"),
        Err(error) => missing(path, &anyhow::Error::from(error)),
    }
}

fn output(words: &[&str]) -> String {
    match Command::new(words[0]).args(&words[1..]).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => missing(&words.join(" "), &String::from_utf8_lossy(&output.stderr)),
        Err(error) => missing(words[0], &error),
    }
}

/// Stands where something would have been.
fn missing(what: &str, why: &impl std::fmt::Display) -> String {
    format!("(not to be had: {what}: {why:#})\n")
}

fn redacted(items: Vec<Item>) -> Vec<Item> {
    let mut redactor = Redactor::default();
    items.into_iter().map(|(name, text)| (name, redactor.text(&text))).collect()
}

fn pack(items: &[Item], unix_secs: u64) -> Vec<u8> {
    let mut tar = Tar::default();
    for (name, text) in items {
        tar.file(&format!("gateway-bugreport/{name}"), text.as_bytes(), FILE_MODE, unix_secs);
    }
    tar.finish()
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_daemon_the_report_says_so_and_has_the_host() {
        let items = collect(&Client::new(Path::new("/nonexistent/gateway.sock"))).await;
        let text = |name: &str| &items.iter().find(|(found, _)| found == name).unwrap().1;
        assert!(text("status.json").contains("the gateway daemon is not running"), "{}", text("status.json"));
        assert!(text("kernel-version.txt").starts_with("Linux version "), "{}", text("kernel-version.txt"));
    }

    #[test]
    fn tar_can_read_it_and_it_is_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.tar");
        let items = [("a.txt", "one\n".repeat(300)), ("b.txt", String::new())];
        let items = items.map(|(name, text)| (name.to_owned(), text));
        write(&path, &pack(&items, 1_700_000_000)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let tar = Command::new("tar").arg("xf").arg(&path).current_dir(directory.path()).output().unwrap();
        assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
        for (name, text) in items {
            let unpacked = directory.path().join("gateway-bugreport").join(name);
            assert_eq!(fs::read_to_string(unpacked).unwrap(), text);
        }
        write(&path, b"").expect_err("the file of an earlier report is kept");
    }
}
