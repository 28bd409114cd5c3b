//! Parity: the same packets through the packet engine on byte slices, the loaded XDP programs and the loaded TC
//! programs. Verdict, bytes, counters and flow tables must be the same, and what the case says by hand.

mod cases_answers;
mod cases_arp;
mod cases_checksum;
mod cases_egress;
mod cases_errors;
mod cases_full;
mod cases_icmp;
mod cases_ingress;
mod cases_malformed;
mod cases_parts;
mod cases_ports;
mod cases_refused;
mod cases_routes;
mod cases_sources;
mod cases_state;
mod counts;
mod diff;
mod engine;
mod engine_kernel;
mod engine_memory;
mod engine_watched;
mod expect;
mod flows;
mod places;
mod random_packets;
mod rig;
mod rules;
mod talk;
mod world;

use gateway_daemon::datapath::programs::TableSizes;
use gateway_tests::seed::Random;
use random_packets::RandomPackets;
use rig::{Case, Rig};

/// Packets that the cases hold at least, so that a case which silently runs nothing is noticed.
const PACKETS_AT_LEAST: usize = 1_000;

/// Some seconds' worth.
const RANDOM_PACKETS: usize = 10_000;

const WIDE: TableSizes = TableSizes { established: 2048, half_open: 2048 };

/// Every case in tables that are large enough.
const CASES: [&[Case]; 14] = [
    cases_ingress::CASES,
    cases_egress::CASES,
    cases_ports::CASES,
    cases_refused::CASES,
    cases_answers::CASES,
    cases_routes::CASES,
    cases_sources::CASES,
    cases_malformed::CASES,
    cases_icmp::CASES,
    cases_arp::CASES,
    cases_state::CASES,
    cases_checksum::CASES,
    cases_errors::CASES,
    cases_parts::CASES,
];

/// Runs something with three engines inside a gateway's namespace.
fn with_rig(sizes: TableSizes, work: impl FnOnce(&mut Rig) + Send) {
    let lab = world::lab();
    lab.gateway.enter(|| work(&mut Rig::new(&lab, sizes)));
}

#[test]
fn every_case() {
    with_rig(WIDE, |rig| {
        rig.run_all(CASES.into_iter().flatten());
        rig.assert_no_other_tenant_was_counted();
        println!(
            "{} packets in {} cases",
            rig.packets(),
            CASES.iter().map(|cases| cases.len()).sum::<usize>()
        );
        assert!(rig.packets() >= PACKETS_AT_LEAST, "{} packets", rig.packets());
    });
}

/// The programs that tell do what the others do, and tell the truth about it.
#[test]
fn every_case_while_somebody_watches() {
    let lab = world::lab();
    lab.gateway.enter(|| Rig::watched(&lab, WIDE).run_all(CASES.into_iter().flatten()));
}

/// The engines agree about packets that nobody thought of, and no packet of the gateway's is passed on. The seed is
/// printed on failure; see [`gateway_tests::seed`].
#[test]
fn random_packets() {
    with_rig(WIDE, |rig| RandomPackets::new(Random::from_env()).run(rig, RANDOM_PACKETS));
}

#[test]
fn full_tables() {
    with_rig(cases_full::SIZES, |rig| rig.run_all(cases_full::CASES.iter()));
}
