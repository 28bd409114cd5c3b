//! The verbs that change something, against a server with a fake controller: what they print, how they end, and what
//! the controller has afterwards.

use std::fs;

use clap::Parser as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::golden::assert_golden;
use super::super::output::captured;
use super::super::{Cli, Exit, exit_of, message, shell};
use crate::api::controller::Controller as _;
use crate::api::tests::Running;
use crate::store::{StoreError, Version};
use crate::tenancy::spec::{AdminState, TenantSpec};

/// A server on threads of its own, so that the command line may block.
pub(super) struct Served {
    runtime: Runtime,
    running: Option<Running>,
}

impl Served {
    pub(super) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let running = runtime.block_on(Running::start());
        Self { runtime, running: Some(running) }
    }

    fn with_bank_a() -> Self {
        let served = Self::start();
        served.done("peer-group add npci --endpoint tcp:203.0.113.0/24:443 --endpoint icmp:203.0.113.7");
        served.done("tenant add bank-a --nat-ip 198.51.100.30 --source 10.1.0.0/24 --peer-group npci");
        served.done("pool add bank-a web --backend 10.1.0.5:8080 --backend 10.1.0.6:8080=3 --check tcp");
        served.done("listener add bank-a upi --port 443 --pool web --allow 203.0.113.0/24");
        served.done("egress add bank-a tcp:9001 --to 203.0.113.7:443");
        served
    }

    pub(super) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// Runs a command line, words apart by spaces.
    fn run(&self, line: &str) -> (anyhow::Result<Exit>, String) {
        let socket = self.running().socket.to_str().unwrap().to_owned();
        let words = ["gateway-daemon"].into_iter().chain(line.split(' '));
        let cli =
            Cli::try_parse_from(words.chain(["--socket", &socket])).unwrap_or_else(|error| panic!("{error}"));
        captured::of(|| cli.command.execute(|_| unreachable!("the tests are no agent")))
    }

    pub(super) fn done(&self, line: &str) -> String {
        let (done, text) = self.run(line);
        assert_eq!(done.unwrap_or_else(|error| panic!("{line}: {error:#}")), Exit::Done, "{line}");
        text
    }

    pub(super) fn refused(&self, line: &str) -> (Exit, String) {
        let (done, text) = self.run(line);
        assert_eq!(text, "", "{line}");
        let error = done.expect_err(line);
        (exit_of(&error), message(&error))
    }

    fn version(&self) -> Version {
        self.running().controller.tenancy().version
    }

    pub(super) fn bank_a(&self) -> TenantSpec {
        TenantSpec::clone(&self.running().controller.tenancy().tenancy.tenants["bank-a"])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

/// A document in a directory of its own.
fn file(name: &str, text: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn tables_and_documents_are_readable() {
    let served = Served::with_bank_a();
    let lines = [
        "tenant list",
        "tenant show bank-a",
        "listener list",
        "egress list bank-a",
        "pool list bank-a",
        "backend list bank-a web",
        "health",
        "peer-group list",
        "peer-group show npci",
        "tenant set bank-a --nat-ip 198.51.100.31 --no-peer-groups --dry-run",
        "backend drain bank-a web 10.1.0.5:8080 --dry-run",
        "egress add bank-a udp:9001 --to 203.0.113.8:53 --dry-run",
        "egress remove bank-a tcp:9001 --dry-run",
        "tenant remove bank-a --reason ticket-4711",
        "rollback 4 --reason oops",
        "rollback 4",
        "reload",
    ];
    let shown = lines.map(|line| ["$ gateway-daemon ", line, "\n", &served.done(line), "\n"].concat());
    let text = shown.concat();
    assert_golden("changes.txt", &text);
}

#[test]
fn each_verb_changes_what_it_says() {
    let served = Served::with_bank_a();
    assert_eq!(served.version(), Version(5));
    served.done("tenant set bank-a --source 10.1.0.0/24 --source 10.2.0.0/24");
    assert_eq!(served.bank_a().sources, ["10.1.0.0/24", "10.2.0.0/24"]);
    assert_eq!(served.bank_a().pool.len(), 1, "what was not named is kept");
    served.done("backend add bank-a web 10.2.0.7:8080 --weight 9");
    served.done("backend weight bank-a web 10.1.0.5:8080 7");
    served.done("backend remove bank-a web 10.1.0.6:8080");
    let weights =
        |tenant: TenantSpec| tenant.pool[0].backend.iter().map(|one| one.weight).collect::<Vec<_>>();
    assert_eq!(weights(served.bank_a()), [Some(7), Some(9)]);
    for (verb, state) in [
        ("drain", AdminState::Draining),
        ("maintenance", AdminState::Maintenance),
        ("resume", AdminState::Active),
    ] {
        served.done(&format!("backend {verb} bank-a web 10.1.0.5:8080"));
        assert_eq!(served.bank_a().pool[0].backend[0].state, state);
        served.done(&format!("tenant {verb} bank-a"));
        assert_eq!(served.bank_a().state, state);
    }
    served.done("tenant drain bank-a --deadline 15m");
    assert!(served.bank_a().drain_until.is_some());
    served.done("pool set bank-a web --on-backend-down reset --check-interval 500");
    let pool = &served.bank_a().pool[0];
    assert_eq!((pool.on_backend_down.as_deref(), pool.backend.len()), (Some("reset"), 2));
    assert_eq!(
        pool.health.as_ref().map(|health| (health.check.as_str(), health.interval_ms)),
        Some(("tcp", Some(500)))
    );
    served.done("pool set bank-a web --check none");
    assert_eq!(served.bank_a().pool[0].health, None);
    served.done("listener remove bank-a upi");
    served.done("egress add bank-a udp:9001 --to 203.0.113.8:53");
    let to = served.bank_a().egress.into_iter().map(|one| (one.protocol, one.port, one.to));
    let to: Vec<_> = to.collect();
    let (tcp, udp) = ("tcp".to_owned(), "udp".to_owned());
    let (first, second) = ("203.0.113.7:443".to_owned(), "203.0.113.8:53".to_owned());
    assert_eq!(to, [(tcp, 9_001, first), (udp, 9_001, second)]);
    served.done("egress remove bank-a tcp:9001");
    served.done("egress remove bank-a udp:9001");
    assert_eq!(served.bank_a().egress, []);
    served.done("pool remove bank-a web");
    served.done("peer-group set npci --endpoint udp:203.0.113.9:53");
    served.done("peer-group remove npci");
    assert_eq!((served.bank_a().listener.len(), served.bank_a().pool.len()), (0, 0));
}

#[test]
fn a_document_is_shown_applied_and_exported() {
    let served = Served::with_bank_a();
    let exported = served.done("export");
    let (_directory, path) = file("tenants.toml", &exported.replace("198.51.100.30", "198.51.100.99"));
    let before = served.version();
    let diff = served.done(&format!("diff -f {path}"));
    assert_eq!(diff, "~  tenant[bank-a].nat_ip  \"198.51.100.30\" -> \"198.51.100.99\"\n");
    let dry = served.done(&format!("apply -f {path} --dry-run"));
    assert!(dry.ends_with("1 change would be made to version 5; nothing was changed\n"), "{dry}");
    assert_eq!(served.version(), before);
    served.done(&format!("apply -f {path} --prune"));
    assert_eq!(served.bank_a().nat_ip, "198.51.100.99");
    let again = served.done(&format!("apply -f {path}"));
    assert_eq!(again, "nothing to change: version 6 has it all\n");
    let (_directory, path) = file("tenants.json", &served.done("export --json"));
    assert_eq!(served.done(&format!("diff -f {path}")), "");
}

#[test]
fn how_it_ends_says_whose_turn_it_is() {
    let served = Served::with_bank_a();
    let (_directory, wrong) = file(
        "wrong.toml",
        "[[tenant]]\nname = \"b\"\nnat_ip = \"wrong\"\nsources = []\n[[tenant]]\nname = \"c\"\nnat_ip = \"wrong\"\nsources = []\n",
    );
    let (_directory, broken) = file("broken.toml", "[[tenant]]\nname = 7\n");
    for (line, exit, text) in [
        (
            "tenant add bank-a --nat-ip 1.2.3.4 --source 10.0.0.0/24",
            Exit::Refused,
            "there is a tenant `bank-a` already",
        ),
        ("tenant remove bank-x", Exit::Refused, "there is no tenant `bank-x`"),
        (
            "listener add bank-a upi --port 1 --pool web --allow 0.0.0.0/0",
            Exit::Refused,
            "has a listener `upi` already",
        ),
        (
            "egress add bank-a tcp:9001 --to 203.0.113.9:443",
            Exit::Refused,
            "has an addressed egress `tcp:9001` already",
        ),
        ("egress remove bank-a udp:9001", Exit::Refused, "no egress `udp:9001`"),
        ("egress remove bank-a tcp:9001 --if-version 4", Exit::Conflict, "version 5 is in force"),
        ("backend add bank-a web 10.1.0.5:8080", Exit::Refused, "has a backend 10.1.0.5:8080 already"),
        ("pool set bank-a api --when-all-down drop", Exit::Refused, "has no pool `api`"),
        ("tenant drain bank-a --deadline 400d", Exit::Refused, "more than a year"),
        ("tenant resume bank-a --if-version 3", Exit::Conflict, "version 5 is in force, not version 3"),
        ("tenant set bank-a --nat-ip 1.2.3.4 --if-version 3", Exit::Conflict, "version 5 is in force"),
        ("rollback 99", Exit::Refused, "the history has no version 99"),
        (&format!("apply -f {broken}"), Exit::Refused, "line 2, column 8"),
        ("apply -f /nonexistent.toml", Exit::Refused, "cannot read /nonexistent.toml"),
        (
            &format!("apply -f {wrong}"),
            Exit::Refused,
            "error: 2 problems\n  tenant[b].nat_ip: `wrong` is not an IPv4 address\n    = help: write it as",
        ),
    ] {
        let (found, message) = served.refused(line);
        assert_eq!(found, exit, "{line}: {message}");
        assert!(message.contains(text), "{line}: {message}");
        assert!(message.contains("\n  = help: "), "{line}: {message}");
    }
    assert_eq!(served.version(), Version(5));
    let unavailable = StoreError::Unavailable {
        message: "etcd is away".into(),
        remedy: "look at etcd".into(),
        source: None,
    };
    *served.running().controller.next_error.lock().unwrap() = Some(unavailable.into());
    assert_eq!(served.refused("tenant drain bank-a").0, Exit::Failed);
}

#[test]
fn somebody_faster_is_no_trouble_without_a_version() {
    let served = Served::with_bank_a();
    let moved = StoreError::Conflict { from: Version(5), current: Version(6) };
    *served.running().controller.next_error.lock().unwrap() = Some(moved.into());
    served.done("tenant set bank-a --nat-ip 198.51.100.77");
    assert_eq!(served.bank_a().nat_ip, "198.51.100.77");
}

#[test]
fn flows_are_counted_and_reasons_are_kept() {
    let served = Served::with_bank_a();
    assert_eq!(served.done("flows --count --tenant bank-a"), "2 flows\n");
    assert_eq!(served.done("flows --count --source 203.0.113.0/24 --port 77"), "1 flow\n");
    served.done("tenant drain bank-a --reason ticket-1");
    let history = served.done("history --limit 1");
    assert!(history.contains("ticket-1") && history.contains("(uid "), "{history}");
    assert!(served.done("top --once --interval 1").starts_with("TENANT"));
}

#[test]
fn a_report_is_one_file() {
    let served = Served::with_bank_a();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.tar");
    served.done(&format!("bugreport --redact -o {}", path.display()));
    let bytes = fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("gateway-bugreport/export.json") && text.contains("bank-a"));
    assert!(!text.contains("198.51.100.30") && !text.contains("10.1.0.5"));
}

#[test]
fn shells_and_man_know_every_command() {
    use clap_complete::Shell;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = shell::completions(shell);
        assert!(script.contains("peer-group") && script.contains("if-version"), "{shell}");
    }
    let pages = shell::pages();
    let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[0], "gateway-daemon.1");
    assert!(names.contains(&"gateway-daemon-tenant-add.1"), "{names:?}");
    assert!(pages.iter().all(|(_, text)| text.contains(".SH SYNOPSIS")));
}
