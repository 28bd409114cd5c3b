//! What the operator types and sees.

mod change;
mod fields;
mod watch;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use clap::{CommandFactory as _, Parser as _};

use super::golden::assert_golden;
use super::{Cli, Command, Exit, drops, exit_of, explain, flows, message, status};
use crate::api::client::ClientError;
use crate::api::fake;
use crate::api::server::BindError;
use crate::api::types::{
    ExplainPacket, ExplainedReason, Fate, FlowList, FlowState, FrameText, Protocol, TcpFlag,
};
use crate::config::{Config, Interfaces, Overrides};

fn shown(status: &crate::api::types::Status) -> String {
    status::render(status, UNIX_EPOCH + Duration::from_secs(fake::LOADED_AT_UNIX_SECS + 90))
}

/// The long help of a command and of all below it.
fn help(command: &mut clap::Command, text: &mut String) {
    if !text.is_empty() {
        text.extend(["\n", &"=".repeat(80), "\n\n"]);
    }
    // clap leaves spaces on lines that are otherwise empty.
    let long = command.render_long_help().to_string();
    text.extend(long.lines().flat_map(|line| [line.trim_end(), "\n"]));
    for below in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        help(below, text);
    }
}

#[test]
fn the_help_is_the_committed_one() {
    let mut command = Cli::command();
    command.build();
    let mut text = String::new();
    help(&mut command, &mut text);
    assert_golden("help.txt", &text);
}

/// One row a command that does something.
fn rows(command: &clap::Command, above: &str, text: &mut String) {
    let name = format!("{above}{}", command.get_name());
    let below: Vec<_> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
    if below.is_empty() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        text.extend(["| `", &name, "` | ", &about, " |\n"]);
    }
    for command in below {
        rows(command, &format!("{name} "), text);
    }
}

#[test]
fn the_manual_lists_every_command() {
    let mut text = include_str!("tests/cli-head.md").to_owned();
    for command in Cli::command().get_subcommands() {
        rows(command, "", &mut text);
    }
    text.push_str(include_str!("tests/cli-tail.md"));
    assert_golden("../../../docs/cli.md", &text);
}

#[test]
fn the_status_is_readable_at_a_glance() {
    assert_golden("status.txt", &shown(&fake::status()));
}

#[test]
fn a_status_in_trouble_says_so_in_its_first_line() {
    let mut status = fake::status();
    fake::delete(&mut status.interfaces[1]);
    let text = shown(&status);
    assert!(
        text.starts_with("gateway  DEGRADED: 1 interface not attached, 1 warning; running for 2h 3m\n"),
        "{text}"
    );
    assert!(text.contains("MISSING"), "{text}");

    status.interfaces.truncate(1);
    status.warnings.clear();
    let text = shown(&status);
    assert!(text.starts_with("gateway  up for 2h 3m\n"), "{text}");
    assert!(!text.contains("warning"), "{text}");
}

#[test]
fn of_many_tenants_the_busiest_are_shown() {
    let mut status = fake::status();
    status.tenants = (31..=60).map(|host| fake::tenant(&format!("bank-{host}"), host)).collect();
    status.tenants[0].nat_ip = Ipv4Addr::UNSPECIFIED;
    let text = shown(&status);
    assert!(text.contains("bank-60") && text.contains("bank-41"), "{text}");
    assert!(!text.contains("bank-40"), "{text}");
    assert!(text.ends_with("... and 10 quieter tenants: --json has them all\n"), "{text}");
}

#[test]
fn flows_stand_in_columns() {
    let list = FlowList { total: 12_345, truncated: true, flows: fake::flows() };
    assert_golden("flows.txt", &flows::render(&list));
    let none = FlowList { total: 0, truncated: false, flows: Vec::new() };
    assert_eq!(flows::render(&none), "0 flows\n");
}

#[test]
fn drops_are_shown_worst_first() {
    assert_golden("drops.txt", &drops::render(&fake::drops()));
}

#[test]
fn an_explanation_begins_with_what_becomes_of_the_packet() {
    assert_golden("explain.txt", &explain::render(&fake::explanation()));

    let mut dropped = fake::explanation();
    (dropped.fate, dropped.translated, dropped.leaves_by) = (Fate::Dropped, None, None);
    let (name, explanation) = ("no_listener".to_owned(), "No listener.".to_owned());
    dropped.reason = Some(ExplainedReason { name, explanation });
    let text = explain::render(&dropped);
    assert!(text.starts_with("dropped, tenant bank-a\n"), "{text}");
    assert!(text.contains("\nno_listener: No listener.\n") && !text.contains("goes out"), "{text}");
}

fn explain_request(words: &[&str]) -> anyhow::Result<crate::api::types::ExplainRequest> {
    match Cli::try_parse_from([&["x", "explain"], words].concat()).unwrap().command {
        Command::Explain(options) => options.request(),
        _ => panic!("not explain"),
    }
}

#[test]
fn options_of_explain_become_a_packet() {
    let words = [
        "--from",
        "203.0.113.5:40000",
        "--to",
        "192.0.2.10:443",
        "--flags",
        "syn,ack",
        "--interface",
        "ext0",
    ];
    let request = explain_request(&words).unwrap();
    assert_eq!(request.interface.as_deref(), Some("ext0"));
    let ExplainPacket::Tuple(tuple) = request.packet else { panic!("no tuple") };
    assert_eq!((tuple.source_port, tuple.destination_port), (40_000, 443));
    assert_eq!((tuple.protocol, tuple.flags), (Protocol::Tcp, vec![TcpFlag::Syn, TcpFlag::Ack]));

    let ping = ["--from", "203.0.113.5", "--to", "192.0.2.10", "--protocol", "icmp"];
    assert!(explain_request(&ping).is_ok());
    let error = explain_request(&ping[..4]).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Refused);
    assert!(message(&error).contains("= help: write --from 203.0.113.5:PORT"), "{}", message(&error));

    let request = explain_request(&["--hex", "0200", "--interface", "ext0"]).unwrap();
    assert_eq!(request.packet, ExplainPacket::Hex(FrameText("0200".to_owned())));
}

#[test]
fn options_of_flows_become_the_filter() {
    let words = ["x", "flows", "--protocol", "icmp", "--state", "half_open", "--limit", "7"];
    let Command::Flows(options) = Cli::try_parse_from(words).unwrap().command else {
        panic!("not flows");
    };
    assert_eq!(options.protocol, Some(Protocol::Icmp));
    assert_eq!(options.state, Some(FlowState::HalfOpen));
    assert_eq!(options.limit.get(), 7);
}

#[test]
fn nonsense_on_the_command_line_is_refused() {
    for words in [
        &["x"][..],
        &["x", "run"],
        &["x", "flows", "--limit", "10001"],
        &["x", "flows", "--limit", "many"],
        &["x", "flows", "--protocol", "sctp"],
        &["x", "monitor", "--limit", "0"],
        &["x", "capture", "--tenant", "a"],
        &["x", "capture", "--output", "a"],
        &["x", "capture", "--tenant", "a", "--output", "a", "--payload", "--snaplen", "100"],
        &["x", "capture", "--tenant", "a", "--output", "a", "--limit", "1000001"],
        &["x", "config", "check"],
        &["x", "explain"],
        &["x", "explain", "--from", "192.0.2.1:1"],
        &["x", "explain", "--hex", "0200"],
        &["x", "explain", "--hex", "0200", "--interface", "a", "--to", "192.0.2.1:1"],
    ] {
        let error = Cli::try_parse_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
}

#[test]
fn errors_have_causes_help_and_an_exit_code() {
    let source = || std::io::Error::other("why");
    let socket = || "/run/x.sock".into();
    let unreachable = anyhow::Error::from(ClientError::NotRunning { socket: socket(), source: source() });
    let text = message(&unreachable);
    assert!(
        text.starts_with("error: the gateway daemon is not running: nobody listens on /run/x.sock: why\n")
    );
    assert!(text.contains("\n  = help: start it with "), "{text}");
    assert_eq!(exit_of(&unreachable), Exit::Failed);

    let running = anyhow::Error::from(BindError::AlreadyRunning { path: socket() }).context("cannot start");
    assert!(message(&running).starts_with("error: cannot start: a gateway daemon is already running"));
    assert!(message(&running).contains("\n  = help: stop it first"));
    assert_eq!(exit_of(&running), Exit::Failed);

    assert_eq!(message(&anyhow::anyhow!("b").context("a")), "error: a: b");
}

#[test]
fn a_bad_configuration_is_shown_as_it_is() {
    let path = Path::new("/nonexistent/config.toml");
    let error = Config::load(path, &Interfaces::Unchecked, &Overrides::default()).unwrap_err();
    let expected = error.to_string();
    let error = anyhow::Error::from(error).context("cannot start");
    assert_eq!(message(&error), expected);
    assert_eq!(exit_of(&error), Exit::Refused);
}
