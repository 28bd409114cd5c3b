//! How the backends of a pool are checked.

use std::time::Duration;

use super::mismatch::Mismatch;
use super::settings::milliseconds;
use crate::config::bounded::Bounded;
use crate::config::choice::CheckWord;
use crate::config::file;
use crate::config::health::{CheckKind, DEFAULT_PATH, DEFAULT_STATUSES, DEFAULT_TIMEOUT, HealthCheck};
use crate::config::problem::{At, Located, Problems};

/// The check; what is wrong with it is reported.
pub(super) fn resolve(section: &file::Health, problems: &mut Problems) -> HealthCheck {
    refuse_foreign_fields(section, problems);
    HealthCheck {
        kind: kind(section, problems),
        interval: milliseconds(&section.interval_ms),
        timeout: timeout(section, problems),
        rise: small(&section.rise),
        fall: small(&section.fall),
        jitter_percent: small(&section.jitter_percent),
        assume_up: section.assume_up.value,
        passive: section.passive.value,
        port: section.port.as_ref().map(|port| port.value),
    }
}

fn kind(section: &file::Health, problems: &mut Problems) -> CheckKind {
    let host = || section.host.value.0.clone();
    match section.check.value {
        CheckWord::Tcp => CheckKind::Tcp,
        CheckWord::Tls => CheckKind::Tls { host: host() },
        word @ (CheckWord::Http | CheckWord::Https) => CheckKind::Http {
            tls: word == CheckWord::Https,
            path: section.path.value.0.clone(),
            host: host(),
            expect: section.expect_status.value.clone(),
        },
        CheckWord::Script => {
            if section.expect_hex.value.0.is_empty() {
                problems.add(&section.expect_hex.at, &Mismatch::NoExpect);
            }
            CheckKind::Script {
                send: section.send_hex.value.0.clone(),
                expect: section.expect_hex.value.0.clone(),
            }
        }
    }
}

/// Absent, it is the default or the interval, whichever is less.
fn timeout(section: &file::Health, problems: &mut Problems) -> Duration {
    let interval = milliseconds(&section.interval_ms);
    let Some(field) = &section.timeout_ms else {
        return DEFAULT_TIMEOUT.min(interval);
    };
    let (timeout_ms, interval_ms) = (field.value.get(), section.interval_ms.value.get());
    if timeout_ms > interval_ms {
        problems.add(&field.at, &Mismatch::TimeoutBeyondInterval { timeout_ms, interval_ms });
    }
    milliseconds(field)
}

/// A field of another check than the one that is chosen was meant for something: it is refused rather than ignored.
fn refuse_foreign_fields(section: &file::Health, problems: &mut Problems) {
    use CheckWord::{Http, Https, Script, Tls};
    let check = section.check.value;
    let mut refuse = |field, given: bool, at: &At, of: &[CheckWord], checks| {
        if given && !of.contains(&check) {
            problems.add(at, &Mismatch::NotOfCheck { field, check, checks });
        }
    };
    let web = "\"http\" or \"https\"";
    let path = section.path.value.0 != DEFAULT_PATH;
    refuse("path", path, &section.path.at, &[Http, Https], web);
    let statuses = section.expect_status.value.to_string() != DEFAULT_STATUSES;
    refuse("expect_status", statuses, &section.expect_status.at, &[Http, Https], web);
    let host = section.host.value.0.is_some();
    refuse("host", host, &section.host.at, &[Http, Https, Tls], "\"http\", \"https\" or \"tls\"");
    let send = !section.send_hex.value.0.is_empty();
    refuse("send_hex", send, &section.send_hex.at, &[Script], "\"script\"");
    let expect = !section.expect_hex.value.0.is_empty();
    refuse("expect_hex", expect, &section.expect_hex.at, &[Script], "\"script\"");
}

fn small<B>(field: &Located<Bounded<B>>) -> u8 {
    // The ranges of these fields end below 256.
    u8::try_from(field.value.get()).unwrap_or(u8::MAX)
}
