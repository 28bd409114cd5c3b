//! ARP for the VIPs and the tenant NAT IPs: none of them is configured on any interface of the host.
//!
//! The answer depends on the lease in the tables alone, so a node whose daemon hangs stops claiming the addresses by
//! doing nothing.

use super::Decision;
use crate::{
    abi::{AddressKind, Counter, OwnedAddress, Side},
    drop_reason::DropReason,
    packet::Packet,
    rewrite,
    tables::Tables,
    wire::{arp::ArpRequest, ethernet::Link},
};

/// Answers a request for an address of ours on the side where it lives; everything else is the kernel's.
#[inline(never)]
pub fn answer<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    side: Side,
    link: Link,
    now_ns: u64,
) -> Decision {
    try_answer(packet, tables, side, link, now_ns).into()
}

#[inline(always)]
fn try_answer<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    side: Side,
    link: Link,
    now_ns: u64,
) -> Result<Decision, DropReason> {
    let Some(request) = ArpRequest::parse(packet, link.header_len()) else {
        return Ok(Decision::Pass);
    };
    let kind = tables.address(request.target).and_then(OwnedAddress::kind);
    let lives_here = match kind {
        Some(AddressKind::IngressVip | AddressKind::EgressVip) => matches!(side, Side::External),
        Some(AddressKind::TenantNatIp) => matches!(side, Side::Internal),
        Some(AddressKind::Host) | None => false,
    };
    if !lives_here {
        return Ok(Decision::Pass);
    }
    let settings = tables.settings().ok_or(DropReason::NotConfigured)?;
    if now_ns >= settings.lease_until_ns {
        return Err(DropReason::NoLease);
    }
    let interface = tables.interface(packet.ingress_ifindex()).ok_or(DropReason::NotConfigured)?;
    rewrite::arp_reply(packet, &link, &request, interface.mac).map_err(|_| DropReason::RewriteFailed)?;
    tables.count(Counter::ArpAnswered, 1);
    Ok(Decision::Answer)
}
