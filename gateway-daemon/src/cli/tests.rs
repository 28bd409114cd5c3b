//! What the operator types and sees.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use clap::{CommandFactory as _, Parser as _};

use super::golden::assert_golden;
use super::{Cli, Command, Exit, drops, exit_of, flows, message, status};
use crate::api::client::ClientError;
use crate::api::fake;
use crate::api::server::BindError;
use crate::api::types::{FlowList, FlowState, Protocol};
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
        &["x", "config", "check"],
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
    assert_eq!(exit_of(&unreachable), Exit::Unreachable);

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
