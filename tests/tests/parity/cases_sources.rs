//! Packets with a tenant's address that come in where another tenant is.

use gateway_common::drop_reason::DropReason;

use crate::expect::{Expect, dropped};
use crate::places::{NPCI, backend};
use crate::rig::{Case, Rig};
use crate::talk::{ACK, DATA, SYN, SYN_ACK, Talk, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("sources: a call that another tenant makes", calls),
    Case::new("sources: another tenant speaks in a known flow", known_flows),
    Case::new("sources: another tenant answers a call", answers),
    Case::new("sources: another tenant sends the rest of a datagram", parts),
];

fn spoofed() -> Expect<'static> {
    dropped(DropReason::SourceSpoofed).of(1)
}

fn calls(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_000), (NPCI, 443));
    let elsewhere = rig.world.tenant(2);
    rig.step("by TCP", elsewhere, &tcp(SYN)(talk.near.0, talk.near.1), &spoofed());
    talk.handshake(rig);
}

fn known_flows(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_001), (NPCI, 443));
    let elsewhere = rig.world.tenant(2);
    talk.handshake(rig);
    for flags in [DATA, ACK, SYN, gateway_tests::packet::TcpFlags::RST] {
        rig.step("a segment", elsewhere, &tcp(flags)(talk.near.0, talk.near.1), &spoofed());
    }
    talk.data(rig);
}

fn answers(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_000));
    let elsewhere = rig.world.tenant(2);
    talk.forth(rig, "SYN", tcp(SYN), Expect::opens);
    rig.step("a SYN-ACK", elsewhere, &tcp(SYN_ACK)(talk.far.1, talk.far.0), &spoofed());
}

fn parts(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_002), (NPCI, 53));
    let elsewhere = rig.world.tenant(2);
    let part = |offset, more| udp(&[7; 64])(talk.near.0, talk.near.1).fragment(offset, more);
    rig.step("the first one, to open a flow", elsewhere, &part(0, true), &spoofed());
    talk.forth(rig, "a whole one", udp(b"whole"), Expect::opens);
    rig.step("the first one", elsewhere, &part(0, true), &spoofed());
    talk.forth(rig, "the first one", |src, dst| udp(&[7; 64])(src, dst).fragment(0, true), |expect| expect);
    rig.step("a later one", elsewhere, &part(72, false), &spoofed());
}
