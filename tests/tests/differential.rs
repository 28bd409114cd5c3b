//! The differential proof, in small; and that it notices gateways that differ. `cargo xtask differential` holds thousands of
//! conversations.

use std::ops::Range;

use gateway_tests::{
    Mode,
    differential::{
        report::Report,
        run::{Plan, converse, run},
        twin::{Pair, Twins},
    },
    seed::Random,
    tool,
};

/// Ways to break the other gateway, as chains of a table of their own.
const HARM: [(&str, &str); 4] = [
    (
        "another source towards NPCI",
        r#"type nat hook postrouting priority 90; oifname "ext0" snat to 192.0.2.10"#,
    ),
    (
        "another backend",
        r#"type nat hook prerouting priority -110; iifname "ext0" udp dport 9000 dnat to 198.51.100.21:8200"#,
    ),
    ("a time to live", "type filter hook forward priority 10; ip ttl set 40"),
    ("every datagram lost", "type filter hook forward priority 10; meta l4proto udp drop"),
];
/// Of one harmed run.
const CONVERSATIONS: u64 = 150;

fn plan(seed: u64, conversations: Range<u64>) -> Plan {
    Plan { seed, conversations, mode: Mode::Tc }
}

#[test]
fn both_gateways_let_the_same_be_seen() {
    let random = Random::from_env();
    let report = run(&plan(random.seed(), 0..600), |_| ());
    assert!(report.passed(), "{report}");
}

#[test]
fn a_gateway_that_differs_is_noticed() {
    let random = Random::from_env();
    let twins = Twins::build(Mode::Tc);
    let pair = twins.start();
    let mut next = 0;
    let mut hold = || {
        let report = converse(&pair, &plan(random.seed(), next..next + CONVERSATIONS), |_| ());
        next += CONVERSATIONS;
        report
    };
    for (what, chain) in HARM {
        let report = harmed(&pair, chain, &mut hold);
        assert!(report.failures.len() > 5, "{what} was hardly noticed: {report}");
        assert!(!report.passed());
    }
    let report = hold();
    assert!(report.passed(), "with all harm undone: {report}");
}

fn harmed(pair: &Pair<'_>, chain: &str, hold: &mut impl FnMut() -> Report) -> Report {
    let nft = |input: &str| {
        let mut command = pair.theirs().gateway.command("nft");
        command.args(["-f", "-"]);
        tool::run_with_input(command, input);
    };
    nft(&format!("table ip harm {{ chain harm {{ {chain}; }}; }}\n"));
    let report = hold();
    nft("delete table ip harm\n");
    report
}
