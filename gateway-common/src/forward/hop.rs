//! Where a translated packet goes next, asked before anything is written.

use super::{Flow, Frame};
use crate::{
    abi::{Addr, Arrival, Counter, Event, FlowKey, Interface, Side, TenantFlags, TenantId},
    drop_reason::DropReason,
    packet::Packet,
    rewrite::{self, LinkHeader, Translation},
    tables::{Route, RouteQuery, Tables},
    verdict::Verdict,
    wire::ipv4::Ipv4,
};

/// The bits of a tag that say which VLAN.
const VLAN_ID: u16 = 0x0fff;

/// The way out: a verdict, and the link header unless the kernel will write it.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    pub verdict: Verdict,
    pub link: LinkHeader,
    /// See [`Interface::mss`], of the interface that it leads out of.
    pub mss: u16,
    /// Where answers come in that take the same way back.
    pub arrival: Arrival,
}

impl Hop {
    /// None.
    pub const NONE: Self =
        Self { verdict: Verdict::Pass, link: LinkHeader::BY_KERNEL, mss: 0, arrival: Arrival::UNKNOWN };
}

/// Why a packet cannot go on, and what its sender may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoWay {
    /// Why.
    pub reason: DropReason,
    /// The largest IP packet that could, where that is the reason; else 0.
    pub mtu: u16,
}

impl NoWay {
    /// Is the sender to be told, as of every router (RFC 1812 section 4.3.3)?
    #[inline(always)]
    pub const fn is_told(self) -> bool {
        matches!(self.reason, DropReason::TtlExceeded | DropReason::MtuExceeded)
    }
}

impl From<DropReason> for NoWay {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self { reason, mtu: 0 }
    }
}

/// Finds the way for a packet that leaves from `src` to `dst`.
///
/// It must lead out of an interface on the side `leaves_by`. A route that points back to NPCI for a tenant's address (or
/// the reverse) would show one side's addresses to the other, so it is refused instead.
#[inline(always)]
pub fn find<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    (src, dst): (Addr, Addr),
    leaves_by: Side,
) -> Result<Hop, NoWay> {
    if frame.ip.ttl <= 1 {
        return Err(DropReason::TtlExceeded.into());
    }
    let query = RouteQuery {
        src,
        dst,
        protocol: frame.ip.protocol,
        tos: frame.ip.tos,
        total_len: packet.longest_len(&frame.ip),
        ingress_ifindex: packet.ingress_ifindex(),
    };
    match tables.route(&query) {
        Route::Forward { ifindex, link } => {
            let out = on_side(tables, leaves_by, ifindex)?;
            let (transmit, vlan_id) =
                if P::TAGS_IN_FRAME { (out.transmit_ifindex, out.vlan_id) } else { (ifindex, 0) };
            let link = LinkHeader { addresses: link, vlan_id: out.vlan_id };
            Ok(Hop {
                verdict: Verdict::Redirect { ifindex: transmit },
                link,
                mss: out.mss,
                arrival: Arrival::new(transmit, vlan_id),
            })
        }
        Route::Unresolved { ifindex, next_hop } => {
            let out = on_side(tables, leaves_by, ifindex)?;
            if P::RESOLVES_NEIGHBOURS {
                return Ok(Hop {
                    verdict: Verdict::RedirectNeighbour { ifindex },
                    link: LinkHeader::BY_KERNEL,
                    mss: out.mss,
                    arrival: Arrival::new(ifindex, 0),
                });
            }
            report_unresolved(tables, ifindex, next_hop);
            Err(DropReason::NoNeighbour.into())
        }
        Route::TooLarge { mtu, .. } => Err(NoWay { reason: DropReason::MtuExceeded, mtu }),
        Route::None => Err(DropReason::NoRoute.into()),
        Route::Disabled => Err(DropReason::ForwardingDisabled.into()),
    }
}

/// Where a packet came in.
#[inline(always)]
pub fn arrival<P: Packet>(packet: &P, frame: &Frame) -> Arrival {
    Arrival::new(packet.ingress_ifindex(), vlan_id(packet, frame))
}

/// The VLAN that the tag says, in the frame or beside it; 0 without one.
#[inline(always)]
fn vlan_id<P: Packet>(packet: &P, frame: &Frame) -> u16 {
    let tag = match packet.tag_beside() {
        None => frame.link.tag,
        tag => tag,
    };
    match tag {
        Some(tag) => tag & VLAN_ID,
        None => 0,
    }
}

/// Has a packet of `sender`, a host of this tenant's, come in where the sender is reached? Else somebody uses its address,
/// who may be another tenant (RFC 3704 section 2.2, strict reverse path forwarding).
#[inline(always)]
pub fn check_source<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    (sender, tenant): (Addr, TenantId),
) -> Result<(), DropReason> {
    match tables.tenant(tenant) {
        Some(tenant) if tenant.flags.contains(TenantFlags::LOOSE_SOURCE) => Ok(()),
        _ => came_the_right_way(packet, tables, frame, sender),
    }
}

#[inline(never)]
fn came_the_right_way<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    sender: Addr,
) -> Result<(), DropReason> {
    let ingress_ifindex = packet.ingress_ifindex();
    let query = RouteQuery {
        src: frame.ip.dst,
        dst: sender,
        protocol: frame.ip.protocol,
        tos: frame.ip.tos,
        total_len: 0,
        ingress_ifindex,
    };
    let ifindex = match tables.route(&query) {
        Route::Forward { ifindex, .. }
        | Route::Unresolved { ifindex, .. }
        | Route::TooLarge { ifindex, .. } => ifindex,
        Route::None => return Err(DropReason::SourceSpoofed),
        Route::Disabled => return Err(DropReason::ForwardingDisabled),
    };
    // The device itself sees its frames without a tag; a VLAN device's are seen on its parent, too, with one.
    let vlan_id = vlan_id(packet, frame);
    if ifindex == ingress_ifindex && vlan_id == 0 {
        return Ok(());
    }
    match tables.interface(ifindex) {
        Some(interface) if interface.transmit_ifindex == ingress_ifindex && interface.vlan_id == vlan_id => {
            Ok(())
        }
        _ => Err(DropReason::SourceSpoofed),
    }
}

/// Would the kernel forward this packet, which is not the gateway's, to an interface of the other side?
///
/// The gateway needs forwarding switched on, so what it left to the kernel could reach NPCI with any source, or a
/// tenant around the VIPs.
#[inline(never)]
pub fn would_cross<T: Tables>(tables: &T, side: Side, ip: &Ipv4, ingress_ifindex: u32) -> bool {
    if ip.dst.is_multicast_or_broadcast() || tables.address(ip.dst).is_some() {
        return false;
    }
    let query = RouteQuery {
        src: ip.src,
        dst: ip.dst,
        protocol: ip.protocol,
        tos: ip.tos,
        total_len: 0,
        ingress_ifindex,
    };
    match tables.route(&query) {
        Route::Forward { ifindex, .. }
        | Route::Unresolved { ifindex, .. }
        | Route::TooLarge { ifindex, .. } => match tables.interface(ifindex) {
            Some(interface) => interface.side() as u8 != side as u8,
            None => forwards_for_the_gateway_alone(tables, ingress_ifindex),
        },
        Route::None | Route::Disabled => false,
    }
}

/// Did the daemon switch forwarding on where the packet came in? Then this host was no router before, and is none now
/// towards interfaces that are not the gateway's.
#[inline(always)]
fn forwards_for_the_gateway_alone<T: Tables>(tables: &T, ingress_ifindex: u32) -> bool {
    match tables.interface(ingress_ifindex) {
        Some(interface) => interface.forwarding_switched_on(),
        None => false,
    }
}

#[inline(never)]
fn report_unresolved<T: Tables>(tables: &T, ifindex: u32, next_hop: Addr) {
    tables.report(&Event::no_neighbour(ifindex, next_hop));
}

#[inline(always)]
fn on_side<T: Tables>(tables: &T, side: Side, ifindex: u32) -> Result<Interface, DropReason> {
    match tables.interface(ifindex) {
        Some(interface) if interface.side() as u8 == side as u8 => Ok(interface),
        _ => Err(DropReason::WrongInterface),
    }
}

/// Translates the packet, which may then leave as `hop` says. Everything is decided: only the bytes are left to write.
#[inline(always)]
pub fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    frame: &Frame,
    key: &FlowKey,
    flow: &Flow,
    hop: &Hop,
) -> Result<(), DropReason> {
    let protocol = key.protocol().ok_or(DropReason::ProtocolNotSupported)?;
    let bytes = packet.len() as u64;
    let translation = Translation { key, pair: &flow.pair, protocol, link: hop.link };
    rewrite::translate(packet, &frame.link, &frame.ip, &translation)
        .map_err(|_| DropReason::RewriteFailed)?;
    tables.count(Counter::Translated, 1);
    tables.count_translated(flow.tenant, matches!(frame.side, Side::Internal), bytes);
    Ok(())
}
