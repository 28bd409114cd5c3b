//! `curl`.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::netns::Namespace;
use crate::servers::WhoAmI;

/// What curl reports after the body, as one line of JSON.
const REPORT: &str =
    r#"\n{"status":"%{http_code}","seconds":%{time_total},"error":%{exitcode},"local_port":"%{local_port}"}"#;
/// Compared at a time.
const CHUNK: usize = 1 << 20;

/// A request under construction; see [`Namespace::curl`].
#[derive(Debug)]
pub struct Curl {
    command: Command,
    url: String,
    limit: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpReply {
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// curl's exit code; 0 is success, 7 refused, 28 timed out (curl(1)).
    pub error: i32,
    /// From start to end.
    pub time: Duration,
    /// As text; bytes that are not UTF-8 are replaced.
    pub body: String,
    /// Of the client's socket, 0 if there was none.
    pub local_port: u16,
    /// curl's own words when it failed.
    pub stderr: String,
}

impl HttpReply {
    /// True for a complete answer with a 2xx status.
    pub fn is_success(&self) -> bool {
        self.error == 0 && (200..300).contains(&self.status)
    }

    /// The answer of `/whoami`. Panics when it is none.
    #[track_caller]
    pub fn who(&self) -> WhoAmI {
        assert!(self.is_success(), "no answer: {self:?}");
        WhoAmI::parse(&self.body).unwrap_or_else(|| panic!("not from the lab's server: {self:?}"))
    }
}

/// A download that was compared with the original while it ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Received.
    pub bytes: u64,
    /// Same length and same content.
    pub identical: bool,
    /// curl's exit code.
    pub error: i32,
}

#[derive(Deserialize)]
struct Report {
    status: String,
    seconds: f64,
    error: i32,
    local_port: String,
}

impl Namespace {
    /// A request from this namespace, without proxy or configuration files, limited to 10 seconds.
    pub fn curl(&self, url: &str) -> Curl {
        let mut command = self.command("curl");
        command.args(["-q", "--silent", "--show-error", "--noproxy", "*"]);
        Curl { command, url: url.to_owned(), limit: Duration::from_secs(10) }
    }
}

impl Curl {
    /// Another limit for the whole request.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Any other option of curl.
    #[must_use]
    pub fn option(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sends from this address.
    #[must_use]
    pub fn from(self, source: Ipv4Addr) -> Self {
        self.option(&["--interface", &source.to_string()])
    }

    /// Uploads a file with PUT.
    #[must_use]
    pub fn upload(self, file: &Path) -> Self {
        self.option(&["--upload-file", &file.to_string_lossy()])
    }

    /// Runs it.
    #[track_caller]
    pub fn run(mut self) -> HttpReply {
        self.finish_command().args(["--write-out", REPORT]);
        let output = self.command.output().expect("start curl");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let (body, report) =
            stdout.rsplit_once('\n').unwrap_or_else(|| panic!("curl reported nothing: {output:?}"));
        let report: Report = serde_json::from_str(report)
            .unwrap_or_else(|error| panic!("{error} in curl's report: {output:?}"));
        HttpReply {
            status: report.status.parse().unwrap_or(0),
            error: report.error,
            time: Duration::from_secs_f64(report.seconds),
            body: body.to_owned(),
            local_port: report.local_port.parse().unwrap_or(0),
            stderr: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        }
    }

    /// Runs it and compares the body with a file, without keeping it: for gigabytes.
    #[track_caller]
    pub fn compare_with(mut self, original: &Path) -> Download {
        self.finish_command().arg("--fail").stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = self.command.spawn().expect("start curl");
        let body = child.stdout.take().expect("stdout is piped");
        let file =
            File::open(original).unwrap_or_else(|error| panic!("open {}: {error}", original.display()));
        let (bytes, identical) = compare(body, file).expect("read the body and the original");
        let status = child.wait().expect("wait for curl");
        Download { bytes, identical, error: status.code().unwrap_or(-1) }
    }

    fn finish_command(&mut self) -> &mut Command {
        self.command.args(["--max-time", &self.limit.as_secs_f64().to_string()]).arg(&self.url)
    }
}

/// Reads the first to its end, whatever the second holds: curl must not see a broken pipe.
fn compare(mut received: impl Read, mut original: impl Read) -> std::io::Result<(u64, bool)> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let (mut bytes, mut identical) = (0, true);
    loop {
        let count = received.read(&mut left)?;
        if count == 0 {
            let at_end = original.read(&mut right[..1])? == 0;
            return Ok((bytes, identical && at_end));
        }
        bytes += count as u64;
        identical &= original.read_exact(&mut right[..count]).is_ok() && left[..count] == right[..count];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_sees_every_difference() {
        let compare = |left: &[u8], right: &[u8]| compare(left, right).expect("memory");
        assert_eq!(compare(b"abc", b"abc"), (3, true));
        assert_eq!(compare(b"abc", b"abd"), (3, false));
        assert_eq!(compare(b"ab", b"abc"), (2, false), "too short");
        assert_eq!(compare(b"abc", b"ab"), (3, false), "too long");
        assert_eq!(compare(b"", b""), (0, true));
    }
}
