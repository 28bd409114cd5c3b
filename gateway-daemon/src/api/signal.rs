//! A reload that a signal asks for: no request, and yet in the audit like one.

use super::audit::{Audit, AuditLine, Outcome, now_unix_ms};
use super::controller::Controller;
use super::problem::{Asked, Problem, of_change};
use crate::store::Author;

/// Who asks: the kernel does not say who sent the signal.
const WHO: &str = "SIGHUP";

/// Reads the settings again, then does `besides`, then writes the line: a file of the audit that was rotated before the
/// signal gets none any more.
///
/// # Errors
///
/// What the controller refused; it is in the audit, too.
pub async fn reload(
    controller: &dyn Controller,
    audit: &Audit,
    besides: impl FnOnce(),
) -> Result<(), Problem> {
    let at_unix_ms = now_unix_ms();
    let reloaded = controller.reload(Author { who: WHO.to_owned(), why: String::new() }).await;
    besides();
    let asked = Asked { if_match: false, by_path: false };
    let reloaded = reloaded.map(drop).map_err(|error| of_change(error, asked));
    let status = reloaded.as_ref().map_or_else(|problem| problem.status, |()| 200);
    let line = AuditLine {
        at_unix_ms,
        request_id: format!("{:016x}", fastrand::u64(..)),
        who: WHO.to_owned(),
        uid: None,
        pid: None,
        address: None,
        method: "SIGNAL".to_owned(),
        path: WHO.to_owned(),
        outcome: Outcome::of(status),
        status,
        version: Some(controller.tenancy().version),
        reason: String::new(),
    };
    audit.record(line).await;
    reloaded
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::api::controller::ChangeError;
    use crate::api::fake_controller::FakeController;
    use crate::store::StoreError;

    #[tokio::test]
    async fn a_reload_by_signal_is_in_the_audit_as_it_ended_and_after_the_file_was_opened_anew() {
        let controller = FakeController::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let audit = Audit::default().with_hook({
            let heard = heard.clone();
            move |line: &AuditLine| heard.lock().unwrap().push(Some(line.clone()))
        });
        let reopen = || heard.lock().unwrap().push(None);
        reload(&*controller, &audit, reopen).await.unwrap();
        let read_only = StoreError::ReadOnly { place: String::new() };
        for error in [ChangeError::Rejected(Vec::new()), read_only.into()] {
            *controller.next_error.lock().unwrap() = Some(error);
            reload(&*controller, &audit, reopen).await.unwrap_err();
        }
        let heard = heard.lock().unwrap();
        let line = |line: &Option<AuditLine>| {
            line.as_ref().map(|line| (line.who.clone(), line.outcome, line.status))
        };
        let expected = [
            None,
            Some((WHO.to_owned(), Outcome::Done, 200)),
            None,
            Some((WHO.to_owned(), Outcome::Refused, 422)),
            None,
            Some((WHO.to_owned(), Outcome::Refused, 409)),
        ];
        assert_eq!(heard.iter().map(line).collect::<Vec<_>>(), expected);
    }
}
