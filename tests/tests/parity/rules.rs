//! What must hold of every packet, whatever it is: told from the bytes alone, with none of the gateway's code.

use std::net::Ipv4Addr;

use gateway_common::abi::Side;

use crate::engine::{Action, Ran};
use crate::places::{EGRESS_VIP, HOST, INGRESS_VIP, Wire, nat_ip};

/// What the rules need to know of a frame.
enum Seen {
    /// Not IPv4, or behind more than one tag.
    Other,
    /// IPv4 whose header contradicts itself or the frame.
    Broken,
    /// IPv4 from and to.
    Ipv4(Ipv4Addr, Ipv4Addr),
}

/// Panics when one of the project's promises is broken.
pub fn check(wire: Wire, frame: &[u8], ran: &Ran) {
    match (ran.action, seen(frame)) {
        (Action::Pass, Seen::Broken) => panic!("a broken IPv4 packet was passed on"),
        (Action::Pass, Seen::Ipv4(src, dst)) => {
            assert!(!is_ours(wire.side, src, dst), "{src} > {dst} is the gateway's and was passed on");
            assert!(!may_cross(wire, dst), "{src} > {dst} was left to the kernel, which carries it across");
        }
        // An error is the gateway's if what it quotes is, whoever sends it to whom.
        (Action::Redirect, Seen::Ipv4(..)) if is_icmp_error(frame) => {}
        (Action::Redirect, Seen::Ipv4(src, dst)) => {
            assert!(
                is_ours(wire.side, src, dst),
                "{src} > {dst} is none of the gateway's and was translated"
            );
        }
        (Action::Redirect, Seen::Other | Seen::Broken) => panic!("translated what is no IPv4 packet"),
        (Action::Reply | Action::Drop, _) | (Action::Pass, Seen::Other) => {}
    }
    match ran.action {
        Action::Pass | Action::Drop => {
            assert_eq!(ran.frame, frame, "changed before it was passed or dropped");
        }
        Action::Redirect => check_translated(wire.side, &ran.frame),
        Action::Reply => {}
    }
}

fn is_icmp_error(frame: &[u8]) -> bool {
    let ip = &frame[if frame[12..14] == [0x81, 0] { 18 } else { 14 }..];
    ip[9] == 1 && matches!(ip.get(usize::from(ip[0] & 15) * 4), Some(3 | 11 | 12))
}

/// NPCI sees no source but the two VIPs, and what comes in goes to a tenant's own address.
fn check_translated(side: Side, frame: &[u8]) {
    let Seen::Ipv4(src, dst) = seen(frame) else { panic!("translated into what is no IPv4 packet") };
    match side {
        Side::Internal => {
            assert!([INGRESS_VIP, EGRESS_VIP].contains(&src), "NPCI sees the source {src}");
            assert!(!is_tenants(dst), "a tenant's address {dst} is shown to NPCI");
        }
        Side::External => assert!(is_tenants(dst), "a packet of NPCI's was sent to {dst}"),
    }
}

fn seen(frame: &[u8]) -> Seen {
    let header = if frame.get(12..14) == Some(&[0x81, 0]) { 18 } else { 14 };
    if frame.get(header - 2..header) != Some(&[8, 0]) {
        return Seen::Other;
    }
    let Some(ip) = frame.get(header..).filter(|ip| ip.len() >= 20) else { return Seen::Broken };
    let (words, total) = (usize::from(ip[0] & 15), usize::from(u16::from_be_bytes([ip[2], ip[3]])));
    if ip[0] >> 4 != 4 || words < 5 || total < words * 4 || total > ip.len() {
        return Seen::Broken;
    }
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    Seen::Ipv4(address(12), address(16))
}

/// Section 3 of the design: for a VIP, a tenant NAT IP, a tenant's address, or from one.
fn is_ours(side: Side, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
    let is_gateways = dst == INGRESS_VIP || dst == EGRESS_VIP || (1..=4).any(|tenant| dst == nat_ip(tenant));
    let is_host = dst == HOST || (1..=4).any(|tenant| dst == Ipv4Addr::new(198, 51, 100, 16 * tenant + 1));
    let is_group = dst.is_multicast() || dst.is_broadcast();
    match side {
        _ if is_gateways => true,
        _ if is_host => false,
        Side::External => is_tenants(dst),
        Side::Internal => is_tenants(src) && !is_group,
    }
}

/// Is the destination one that the kernel would send to NPCI's side? (The other way it is a tenant's, hence ours.)
fn may_cross(wire: Wire, dst: Ipv4Addr) -> bool {
    let is_outside = match dst.octets() {
        [192, 0, 2, host] => (2..=254).contains(&host),
        [198, 18, 0, _] => true,
        [203, 0, 113, host] => (64..80).contains(&host),
        _ => false,
    };
    is_outside && wire.side == Side::Internal && wire.forwards
}

/// The `sources` of `gateway.toml`.
fn is_tenants(address: Ipv4Addr) -> bool {
    match address.octets() {
        [198, 51, 100, host] => (16..80).contains(&host),
        [203, 0, 113, host] => (64..80).contains(&host) || (96..112).contains(&host),
        _ => false,
    }
}
