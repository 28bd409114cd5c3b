//! Tables so small that they are full: three half-open entries, five established ones.

use gateway_common::abi::State;
use gateway_common::drop_reason::DropReason;
use gateway_daemon::datapath::programs::TableSizes;

use crate::expect::{Expect, dropped};
use crate::places::{INGRESS_VIP, NPCI, backend, nat_ip};
use crate::rig::{Case, Rig};
use crate::talk::{ACK, RST, SYN, SYN_ACK, Talk, settled, tcp, udp};

/// Odd numbers, so that the second entry of a flow is the one that does not fit.
pub const SIZES: TableSizes = TableSizes { established: 5, half_open: 3 };

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("full: half-open table", half_open),
    Case::new("full: established table", established),
    Case::new("full: established table, UDP", established_datagrams),
];

fn half_open(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let known = Talk::upi(rig, (NPCI, 40_000));
    known.handshake(rig);
    let first = Talk::upi(rig, (NPCI, 40_001));
    first.forth(rig, "SYN", tcp(SYN), Expect::opens);
    let full = || dropped(DropReason::HalfOpenTableFull).of(1);
    for port in 40_002..40_005 {
        rig.step("another SYN", outside, &tcp(SYN)((NPCI, port), (INGRESS_VIP, 8443)), &full());
    }
    rig.step("egress", inside, &tcp(SYN)((backend(1), 50_000), (NPCI, 443)), &full());
    known.data(rig);
    first.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect.half_open(State::Answered));
    first.forth(rig, "ACK makes room", tcp(ACK), Expect::establishes);
    Talk::upi(rig, (NPCI, 40_005)).forth(rig, "SYN", tcp(SYN), Expect::opens);
}

fn established(rig: &mut Rig) {
    let known = [40_010, 40_011].map(|port| Talk::upi(rig, (NPCI, port)));
    for talk in &known {
        talk.handshake(rig);
    }
    let late = Talk::upi(rig, (NPCI, 40_012));
    late.forth(rig, "SYN", tcp(SYN), Expect::opens);
    late.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect.half_open(State::Answered));
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let full = || dropped(DropReason::FlowTableFull).of(1).though_noted();
    for label in ["ACK", "ACK again"] {
        rig.step(label, outside, &tcp(ACK)((NPCI, 40_012), (INGRESS_VIP, 8443)), &full());
    }
    rig.step("data of the server", inside, &tcp(ACK)((backend(1), 8080), (nat_ip(1), 40_012)), &full());
    assert_eq!(rig.entries(), 6);
    late.forth(rig, "RST", tcp(RST), |expect| expect.half_open(State::Reset));
    for talk in &known {
        talk.data(rig);
    }
}

fn established_datagrams(rig: &mut Rig) {
    for port in [40_020, 40_021] {
        let talk = Talk::ingress(rig, 1, (NPCI, port), 5353, (backend(1), 5353));
        talk.forth(rig, "request", udp(b"?"), Expect::opens);
        talk.back(rig, "answer", udp(b"!"), Expect::establishes);
        talk.forth(rig, "request", udp(b"?"), settled);
    }
    let late = Talk::ingress(rig, 1, (NPCI, 40_022), 5353, (backend(1), 5353));
    late.forth(rig, "request", udp(b"?"), Expect::opens);
    let answer = udp(b"!")((backend(1), 5353), (nat_ip(1), 40_022));
    let full = dropped(DropReason::FlowTableFull).of(1).though_noted();
    rig.step("answer", rig.world.tenant(1), &answer, &full);
}
