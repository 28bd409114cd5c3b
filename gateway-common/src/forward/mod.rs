//! The gateway: one packet in, one verdict out.
//!
//! Always plan, then write: parse, look up, allocate and ask the routing table first; only then change the first byte.
//! From there on the packet can only be sent or dropped. A packet of ours is never passed on because of an error.

mod admit;
mod arp;
mod challenge;
mod egress;
mod error_rate;
mod expire;
mod fragment;
mod half_open;
mod hop;
mod ingress;
mod known;
mod mss;
mod open;
mod opening;
mod plan;
mod quoted;
mod refuse;
mod source;
mod stage;
mod tell;

pub use expire::{Expiry, expire};
pub use fragment::resume;
pub use plan::Plan;
pub use stage::{Stage, Step};

use hop::{Hop, NoWay};

use crate::{
    abi::{Addr, AddressKind, Arrival, Counter, EntryFlags, FlowKey, Port, Protocol, Side, TenantId},
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

impl Frame {
    /// That of no packet.
    const NONE: Self = Self { side: Side::External, link: Link::NONE, ip: Ipv4::NONE };

    /// Of an IPv4 packet.
    #[inline(always)]
    fn parse<P: Packet>(packet: &P, side: Side) -> Result<Self, DropReason> {
        let link = Link::parse(packet).ok_or(DropReason::Truncated)?;
        Ok(Self { side, ip: Ipv4::parse(packet, link.header_len())?, link })
    }
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
    /// Where its packets and the answers come in: of a flow that is to be opened, or that an error is about.
    arrivals: (Arrival, Arrival),
}

impl Flow {
    #[inline(always)]
    const fn unknown(side: Side) -> Self {
        let nowhere = (Addr::UNSPECIFIED, Port::NONE);
        let pair = FlowKey::v4(side.opposite(), Protocol::Tcp, nowhere, nowhere);
        Self {
            tenant: TenantId::NONE,
            direction: EntryFlags(0),
            chooses_port: false,
            pair,
            arrivals: (Arrival::UNKNOWN, Arrival::UNKNOWN),
        }
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
    let mut step = begin(packet, tables, side, now_ns);
    loop {
        match step {
            Step::Done(verdict) => return verdict,
            Step::Next(stage) => step = stage.run(packet, tables, side, now_ns),
        }
    }
}

/// The common path: all of [`process`] but what few packets need. It leaves a packet untouched that is for a [`Stage`].
#[inline(always)]
pub fn begin<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side, now_ns: u64) -> Step {
    let mut flow = Flow::unknown(side);
    let outcome = decide(packet, tables, side, &mut flow, now_ns);
    step(tables, &flow, outcome)
}

/// The way ends, or goes on in a stage.
#[inline(always)]
fn step<T: Tables>(tables: &T, flow: &Flow, outcome: Result<Verdict, Break>) -> Step {
    match outcome {
        Ok(verdict) => Step::Done(verdict),
        Err(Break::Stage(stage)) => Step::Next(stage),
        Err(Break::Drop(reason)) => Step::Done(settle(tables, flow, Err(reason))),
    }
}

/// Counts a packet that is dropped.
#[inline(always)]
fn settle<T: Tables>(tables: &T, flow: &Flow, result: Result<Verdict, DropReason>) -> Verdict {
    match result {
        Ok(verdict) => verdict,
        Err(reason) => {
            tables.count_drop(reason, flow.tenant);
            Verdict::Drop(reason)
        }
    }
}

/// Why a way through the engine ends without a verdict of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    /// The packet is dropped for this reason.
    Drop(DropReason),
    /// It is for this stage to decide.
    Stage(Stage),
}

impl From<DropReason> for Break {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

impl From<NoWay> for Break {
    #[inline(always)]
    fn from(no_way: NoWay) -> Self {
        if no_way.is_told() { Self::Stage(Stage::Tell) } else { Self::Drop(no_way.reason) }
    }
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    side: Side,
    flow: &mut Flow,
    now_ns: u64,
) -> Result<Verdict, Break> {
    let link = Link::parse(packet).ok_or(DropReason::Truncated)?;
    match link.ethertype {
        ETHERTYPE_IPV4 => {
            let frame = Frame { side, ip: Ipv4::parse(packet, link.header_len())?, link };
            match Stage::of(packet, &frame.ip) {
                Some(stage) => Err(Break::Stage(stage)),
                None => translate_flow(packet, tables, &frame, flow, now_ns),
            }
        }
        ETHERTYPE_ARP => match arp::answer(packet, tables, side, link, now_ns) {
            Decision::Answer => Ok(Verdict::Reply),
            Decision::Drop(reason) => Err(reason.into()),
            Decision::Pass | Decision::Open => Ok(pass(tables)),
        },
        _ => Ok(pass(tables)),
    }
}

/// The way of a packet of a known flow. How flows begin stands in [`opening`].
#[inline(always)]
fn translate_flow<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    frame: &Frame,
    flow: &mut Flow,
    now_ns: u64,
) -> Result<Verdict, Break> {
    let transport = match transport_of(packet, tables, frame, flow) {
        Ok(Some(transport)) => transport,
        Ok(None) => return Ok(pass(tables)),
        Err(reason) => return Err(reason.into()),
    };
    let hit = known::find_live(packet, tables, frame, &transport, flow)?;
    if mss::is_told(tables, transport.segment) {
        return Err(Break::Stage(Stage::Handshake));
    }
    let hop = hop::find(packet, tables, frame, (flow.pair.dst, flow.pair.src), flow.pair.side())?;
    known::advance(tables, &hit, &transport, now_ns)?;
    hop::send(packet, tables, frame, &transport.key, flow, &hop)?;
    Ok(hop.verdict)
}

/// A packet's transport header. Without a valid one it is dropped if it is the gateway's; else it may pass, and there is
/// `None`.
#[inline(always)]
fn transport_of<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    flow: &mut Flow,
) -> Result<Option<Transport>, DropReason> {
    match Transport::parse(packet, &frame.ip, frame.side) {
        Ok(transport) => Ok(Some(transport)),
        Err(reason) if is_ours(tables, frame.side, &frame.ip, flow) => Err(reason),
        Err(_) => check_passed(packet, tables, frame).map(|()| None),
    }
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
    check_passed(packet, tables, frame)?;
    Ok(pass(tables))
}

/// May the kernel have this packet?
#[inline(always)]
fn check_passed<P: Packet, T: Tables>(packet: &P, tables: &T, frame: &Frame) -> Result<(), DropReason> {
    // A tenant is reached through the gateway alone, also by those inside who are nobody's: with forwarding on, the kernel
    // would take them from one tenant's link to another's.
    if matches!(frame.side, Side::Internal)
        && tables.tenant_of(frame.ip.dst).is_some()
        && tables.address(frame.ip.dst).is_none()
    {
        return Err(DropReason::DirectToTenant);
    }
    if hop::would_cross(tables, frame.side, &frame.ip, packet.ingress_ifindex()) {
        return Err(DropReason::CrossesSides);
    }
    Ok(())
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
