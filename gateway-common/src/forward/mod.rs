//! The gateway: one packet in, one verdict out.
//!
//! Always plan, then write: parse, look up, allocate and ask the routing table first; only then change the first byte.
//! From there on the packet can only be sent or dropped. A packet of ours is never passed on because of an error.

mod arp;
mod egress;
mod expire;
mod hop;
mod ingress;
mod known;
mod open;
mod refuse;

pub use expire::{Expiry, expire};

use crate::{
    abi::{Addr, AddressKind, Counter, EntryFlags, FlowKey, Port, Protocol, Side, TenantId},
    drop_reason::DropReason,
    packet::Packet,
    rewrite,
    tables::Tables,
    verdict::Verdict,
    wire::{
        ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, Link},
        ipv4::Ipv4,
        transport::Transport,
    },
};

/// What a packet's link and network headers say, and the side that it came from.
#[derive(Clone, Copy, Debug)]
struct Frame {
    side: Side,
    link: Link,
    ip: Ipv4,
}

/// What is known about the flow that a packet belongs to. Filled step by step, so that a packet which is dropped on
/// the way is counted for its tenant as soon as that is known.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// Whose it is; [`TenantId::NONE`] while that is not known.
    tenant: TenantId,
    /// [`EntryFlags::INGRESS`] or nothing.
    direction: EntryFlags,
    /// Is the outside port still to be chosen?
    chooses_port: bool,
    /// The key of the answers: the packet leaves as its reverse.
    pair: FlowKey,
}

impl Flow {
    #[inline(always)]
    const fn unknown(side: Side) -> Self {
        let nowhere = (Addr::UNSPECIFIED, Port::NONE);
        let pair = FlowKey::v4(side.opposite(), Protocol::Tcp, nowhere, nowhere);
        Self { tenant: TenantId::NONE, direction: EntryFlags(0), chooses_port: false, pair }
    }

    /// Does an existing flow with this reply key lead where this one should? The port between does not matter.
    #[inline(always)]
    fn is_served_by(&self, pair: &FlowKey) -> bool {
        self.pair.src == pair.src && self.pair.src_port == pair.src_port && self.pair.dst == pair.dst
    }
}

/// What becomes of a packet of no tracked flow. One byte: functions that are not inlined in the kernel must return what
/// fits a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Not the gateway's.
    Pass,
    /// A request to an address of ours that the gateway answers itself.
    Answer,
    /// It may open the flow.
    Open,
    /// It is refused.
    Drop(DropReason),
}

const _: () = assert!(core::mem::size_of::<Decision>() == 1);

impl From<Result<Self, DropReason>> for Decision {
    #[inline(always)]
    fn from(result: Result<Self, DropReason>) -> Self {
        match result {
            Ok(decision) => decision,
            Err(reason) => Self::Drop(reason),
        }
    }
}

/// Decides about one packet that came in on `side` and carries the decision out.
///
/// `now_ns` is `CLOCK_MONOTONIC`. What is dropped has been counted; what is passed has not been touched.
#[inline(always)]
pub fn process<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side, now_ns: u64) -> Verdict {
    let mut flow = Flow::unknown(side);
    match decide(packet, tables, side, &mut flow, now_ns) {
        Ok(verdict) => verdict,
        Err(reason) => {
            tables.count_drop(reason, flow.tenant);
            Verdict::Drop(reason)
        }
    }
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    side: Side,
    flow: &mut Flow,
    now_ns: u64,
) -> Result<Verdict, DropReason> {
    let link = Link::parse(packet).ok_or(DropReason::Truncated)?;
    match link.ethertype {
        ETHERTYPE_IPV4 => ipv4(
            packet,
            tables,
            Frame { side, ip: Ipv4::parse(packet, link.header_len())?, link },
            flow,
            now_ns,
        ),
        ETHERTYPE_ARP => match arp::answer(packet, tables, side, link, now_ns) {
            Decision::Answer => Ok(Verdict::Reply),
            Decision::Drop(reason) => Err(reason),
            Decision::Pass | Decision::Open => Ok(pass(tables)),
        },
        _ => Ok(pass(tables)),
    }
}

#[inline(always)]
fn ipv4<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    frame: Frame,
    flow: &mut Flow,
    now_ns: u64,
) -> Result<Verdict, DropReason> {
    let transport = match Transport::parse(packet, &frame.ip, frame.side) {
        Ok(transport) => transport,
        Err(reason) => {
            if is_ours(tables, frame.side, &frame.ip, flow) {
                return Err(reason);
            }
            return pass_ipv4(packet, tables, &frame);
        }
    };
    let hit = known::find(tables, &transport.key);
    match &hit {
        Some(hit) if !hit.reopens(transport.segment) => {
            (flow.tenant, flow.pair) = (hit.entry.tenant, hit.entry.pair);
            if hit.is_ended() {
                let flow = (&transport.key, hit);
                return refuse::refuse_ended(packet, tables, &frame.ip, transport.segment, flow);
            }
        }
        _ => match decide_first(tables, frame.side, &transport, flow) {
            Decision::Pass => return pass_ipv4(packet, tables, &frame),
            Decision::Answer => return answer_echo(packet, tables, &frame.ip).map(|()| Verdict::Reply),
            Decision::Drop(reason) => {
                let why = (reason, flow.tenant);
                return refuse::refuse(packet, tables, &frame.ip, transport.segment, why);
            }
            Decision::Open => {}
        },
    }
    // The route does not depend on the port of a new flow, which is chosen last: a refused packet leaves no entry.
    let hop = hop::find(packet, tables, &frame, &flow.pair)?;
    match &hit {
        Some(hit) if !hit.is_ended() && flow.is_served_by(&hit.entry.pair) => {
            flow.pair = hit.entry.pair;
            known::advance(tables, hit, &transport, now_ns)?;
        }
        _ => {
            // The tuple is used again, and policy now sends it elsewhere than the connection that ended; or the daemon
            // ended that, and resets what is left of it.
            if let Some(hit) = &hit {
                known::forget(tables, hit.table, &transport.key, &hit.entry.pair);
            }
            open::enter(tables, flow, &transport, now_ns)?;
        }
    }
    hop::send(packet, tables, &frame, &transport.key, flow, &hop)
}

/// A packet of no tracked flow: it opens one, is answered here, is none of ours, or is refused.
#[inline(always)]
fn decide_first<T: Tables>(tables: &T, side: Side, transport: &Transport, flow: &mut Flow) -> Decision {
    match side {
        Side::External => ingress::decide(tables, transport, flow),
        Side::Internal => egress::decide(tables, transport, flow),
    }
}

/// The packet is not the gateway's.
#[inline(always)]
fn pass<T: Tables>(tables: &T) -> Verdict {
    tables.count(Counter::Passed, 1);
    Verdict::Pass
}

/// The packet is not the gateway's, and may go where the kernel sends it unless that is across.
#[inline(always)]
fn pass_ipv4<P: Packet, T: Tables>(packet: &P, tables: &T, frame: &Frame) -> Result<Verdict, DropReason> {
    if hop::would_cross(tables, frame.side, &frame.ip, packet.ingress_ifindex()) {
        return Err(DropReason::CrossesSides);
    }
    Ok(pass(tables))
}

/// Is a packet that cannot be handled the gateway's, so that it must be dropped rather than left to the kernel?
#[inline(never)]
fn is_ours<T: Tables>(tables: &T, side: Side, ip: &Ipv4, flow: &mut Flow) -> bool {
    if let Some(address) = tables.address(ip.dst) {
        flow.tenant = match side {
            Side::External => address.tenant,
            Side::Internal => tables.tenant_of(ip.src).unwrap_or(TenantId::NONE),
        };
        return !matches!(address.kind(), Some(AddressKind::Host));
    }
    let tenant = match side {
        Side::External => tables.tenant_of(ip.dst),
        Side::Internal if ip.dst.is_multicast_or_broadcast() => None,
        Side::Internal => tables.tenant_of(ip.src),
    };
    match tenant {
        Some(tenant) => {
            flow.tenant = tenant;
            true
        }
        None => false,
    }
}

/// Answers an ICMP echo request to an address of ours.
#[inline(never)]
fn answer_echo<P: Packet, T: Tables>(packet: &mut P, tables: &T, ip: &Ipv4) -> Result<(), DropReason> {
    rewrite::echo_reply(packet, ip).map_err(|_| DropReason::RewriteFailed)?;
    tables.count(Counter::EchoAnswered, 1);
    Ok(())
}

#[cfg(test)]
mod tests;
