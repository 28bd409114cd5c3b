//! Who changed what, and who was turned away: one line each, in the log (target `audit`) and, if there is a place for
//! it, in a file of JSON lines.
//!
//! The file is only ever appended to. Rotating it is for logrotate, after which the daemon is told to open it anew
//! ([`Audit::reopen`], on SIGHUP).

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::auth::Caller;
use crate::store::Version;

/// The file tells who did what with payment traffic: not for everybody.
const FILE_MODE: u32 = 0o600;

/// The time of a line.
pub(super) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done, or shown what would be done.
    Done,
    /// The caller's role does not allow it.
    NotPermitted,
    /// The request was wrong, or came too late.
    Refused,
    /// The daemon could not do it.
    Failed,
}

impl Outcome {
    /// From the answer's HTTP status.
    pub fn of(status: u16) -> Self {
        match status {
            403 => Self::NotPermitted,
            400..=499 => Self::Refused,
            500.. => Self::Failed,
            _ => Self::Done,
        }
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotPermitted => "not_permitted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When: Unix time in milliseconds.
    pub at_unix_ms: u64,
    /// The `X-Request-Id` of the answer.
    pub request_id: String,
    /// Who: `root (uid 0)`, `certificate ops.example`; `SIGHUP` of a reload by signal.
    pub who: String,
    /// The user's number, if it was a process of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The process, if it was one of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// From where, if it was over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::SocketAddr>,
    /// The HTTP method; `SIGNAL` of a signal, whose path is its name.
    pub method: String,
    /// The path and its query, as they were sent.
    pub path: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The version in force afterwards, if the answer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The reason that the caller gave; may be empty.
    pub reason: String,
}

impl AuditLine {
    /// Fills in who.
    pub(super) fn by(self, caller: &Caller) -> Self {
        let who = caller.to_string();
        match caller {
            Caller::Local(local) => Self { who, uid: Some(local.uid), pid: local.pid, ..self },
            Caller::Remote(remote) => Self { who, address: Some(remote.address), ..self },
        }
    }
}

/// Hears of every line, to count it.
type Hook = dyn Fn(&AuditLine) + Send + Sync;

/// Where the lines go. Cheap to clone: all clones write to the same places.
#[derive(Clone, Default)]
pub struct Audit {
    file: Option<Arc<AuditFile>>,
    hook: Option<Arc<Hook>>,
}

struct AuditFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// The file can't be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit file {}", .path.display())]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl Audit {
    /// To the log, and to a file if one is named.
    pub fn new(file: Option<&Path>) -> Result<Self, AuditError> {
        let open = |path: &Path| {
            let file = Mutex::new(open(path)?);
            Ok(Arc::new(AuditFile { path: path.to_owned(), file }))
        };
        Ok(Self { file: file.map(open).transpose()?, hook: None })
    }

    /// The same, and `hook` hears of every line: for metrics.
    #[must_use]
    pub fn with_hook(self, hook: impl Fn(&AuditLine) + Send + Sync + 'static) -> Self {
        Self { hook: Some(Arc::new(hook)), ..self }
    }

    /// Goes on in a new file at the old path. The old file is kept when that can't be had.
    pub fn reopen(&self) -> Result<(), AuditError> {
        let Some(file) = &self.file else { return Ok(()) };
        let new = open(&file.path)?;
        *file.file.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Writes a line. Does not fail: what it tells of has happened.
    pub async fn record(&self, line: AuditLine) {
        log(&line);
        if let Some(hook) = &self.hook {
            hook(&line);
        }
        let Some(file) = self.file.clone() else { return };
        // The disk may be slow.
        let written = tokio::task::spawn_blocking(move || file.append(&line)).await;
        if let Ok(Err(error)) = written {
            tracing::error!("{error}: the line is only in the log");
        }
    }
}

impl AuditFile {
    fn append(&self, line: &AuditLine) -> Result<(), AuditError> {
        let mut text = serde_json::to_vec(line).expect("words and numbers make JSON");
        text.push(b'\n');
        // One write: lines of several tasks do not mix.
        let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text);
        written.map_err(|source| AuditError { path: self.path.clone(), source })
    }
}

fn open(path: &Path) -> Result<File, AuditError> {
    let file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path);
    file.map_err(|source| AuditError { path: path.to_owned(), source })
}

fn log(line: &AuditLine) {
    tracing::info!(
        target: "audit",
        request_id = line.request_id,
        who = line.who,
        uid = line.uid,
        pid = line.pid,
        address = line.address.map(tracing::field::display),
        method = line.method,
        path = line.path,
        outcome = line.outcome.as_str(),
        status = line.status,
        version = line.version.map(|version| version.0),
        reason = line.reason,
    );
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn line(path: &str) -> AuditLine {
        AuditLine {
            at_unix_ms: 1,
            request_id: "r".to_owned(),
            who: "root (uid 0)".to_owned(),
            uid: Some(0),
            pid: None,
            address: None,
            method: "PUT".to_owned(),
            path: path.to_owned(),
            outcome: Outcome::Done,
            status: 200,
            version: Some(Version(7)),
            reason: "line\nfeed".to_owned(),
        }
    }

    fn lines(path: &Path) -> Vec<AuditLine> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn lines_are_appended_for_the_owner_only_and_rotation_loses_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = Audit::new(Some(&path)).unwrap();
        audit.record(line("/a")).await;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let rotated = directory.path().join("audit.jsonl.1");
        fs::rename(&path, &rotated).unwrap();
        audit.record(line("/b")).await;
        audit.reopen().unwrap();
        audit.record(line("/c")).await;
        assert_eq!(lines(&rotated), [line("/a"), line("/b")]);
        assert_eq!(lines(&path), [line("/c")]);
        // A restart goes on at the end.
        Audit::new(Some(&path)).unwrap().record(line("/d")).await;
        assert_eq!(lines(&path), [line("/c"), line("/d")]);
    }

    #[test]
    fn a_file_that_cannot_be_had_is_named() {
        let error = Audit::new(Some(Path::new("/nonexistent/audit.jsonl"))).err().unwrap();
        assert_eq!(error.to_string(), "cannot open the audit file /nonexistent/audit.jsonl");
    }

    #[test]
    fn outcomes_follow_the_status() {
        for (status, expected) in [
            (200, Outcome::Done),
            (403, Outcome::NotPermitted),
            (412, Outcome::Refused),
            (503, Outcome::Failed),
        ] {
            assert_eq!(Outcome::of(status), expected);
        }
    }
}
