//! ICMP errors about packets that the gateway has sent: they go on to the sender of the original packet, and quote what
//! that has sent (RFC 5508 section 4). An error changes nothing about its flow.

use super::{Flow, Frame, hop, is_ours, known, pass_ipv4, settle};
use crate::{
    abi::{Addr, Counter, FlowKey, Side, TenantId},
    drop_reason::DropReason,
    packet::Packet,
    rewrite::{self, ErrorTranslation},
    tables::Tables,
    verdict::Verdict,
    wire::quote::Quote,
};

/// Decides about one ICMP error that came in on `side`.
#[inline(always)]
pub fn process<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side) -> Verdict {
    let mut flow = Flow::unknown(side);
    let verdict = match Frame::parse(packet, side) {
        Ok(frame) => decide(packet, tables, &frame, &mut flow),
        Err(reason) => Err(reason),
    };
    settle(tables, &flow, verdict)
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    frame: &Frame,
    flow: &mut Flow,
) -> Result<Verdict, DropReason> {
    let mut quote = Quote::NONE;
    if let Some(reason) = find_flow(packet, tables, frame, flow, &mut quote) {
        if is_ours(tables, frame.side, &frame.ip, flow) {
            return Err(reason);
        }
        return pass_ipv4(packet, tables, frame);
    }
    check_sender(tables, frame, flow.tenant, quote.key.src)?;
    if matches!(frame.side, Side::Internal) && flow.arrivals.0 != hop::arrival(packet, frame) {
        // Whoever speaks about a packet is on the way to whom it was sent.
        let target = (quote.key.src, tables.tenant_of(quote.key.src).unwrap_or(flow.tenant));
        hop::check_source(packet, tables, frame, target)?;
    }
    let original = flow.pair;
    let src = shown_sender(frame, &quote.key, &original);
    // Where the quoted packet came from: of a hairpin, the same side.
    let hop = hop::find(packet, tables, frame, (src, original.src), original.side())
        .map_err(|no_way| no_way.reason)?;
    let bytes = packet.len() as u64;
    let translation = ErrorTranslation { original: &original, src, link: hop.link };
    rewrite::translate_error(packet, &frame.link, &frame.ip, &quote, &translation)
        .map_err(|_| DropReason::RewriteFailed)?;
    tables.count(Counter::Translated, 1);
    tables.count(Counter::IcmpErrorsTranslated, 1);
    tables.count_translated(flow.tenant, matches!(frame.side, Side::Internal), bytes);
    Ok(hop.verdict)
}

/// Reads the quote, and finds whose flow it is about and what the original packet was: `flow.pair`. Tells why it cannot.
#[inline(never)]
fn find_flow<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    flow: &mut Flow,
    quote: &mut Quote,
) -> Option<DropReason> {
    match try_find_flow(packet, tables, frame, flow) {
        Ok(found) => {
            *quote = found;
            None
        }
        Err(reason) => Some(reason),
    }
}

#[inline(always)]
fn try_find_flow<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    flow: &mut Flow,
) -> Result<Quote, DropReason> {
    let quote = Quote::parse(packet, &frame.ip, frame.side)?;
    let hit = known::find(tables, &quote.key).ok_or(DropReason::IcmpErrorUnmatched)?;
    // Sent to whoever the quoted packet came from, and to nobody else.
    if hit.is_ended() || frame.ip.dst != quote.key.dst {
        return Err(DropReason::IcmpErrorUnmatched);
    }
    (flow.tenant, flow.pair, flow.arrivals.0) = (hit.entry.tenant, hit.entry.pair, hit.entry.arrival);
    Ok(quote)
}

/// May this sender speak about a packet that went to `target`? Any router may, and the tenant whose flow it is or whom the
/// packet was for (of a hairpin that is another), but no third one, and nobody with an address that cannot be a sender's
/// on that side.
#[inline(always)]
fn check_sender<T: Tables>(
    tables: &T,
    frame: &Frame,
    tenant: TenantId,
    target: Addr,
) -> Result<(), DropReason> {
    let src = frame.ip.src;
    let refused = match frame.side {
        Side::External => Err(DropReason::Martian),
        Side::Internal => Err(DropReason::SourceNotTenant),
    };
    // One after the other: the compiler would merge the two answers, which in the kernel are pointers, into one.
    if !src.is_single_host() || tables.address(src).is_some() {
        return refused;
    }
    match tables.tenant_of(src) {
        None => Ok(()),
        Some(_) if matches!(frame.side, Side::External) => refused,
        Some(owner) if owner == tenant || tables.tenant_of(target) == Some(owner) => Ok(()),
        Some(_) => refused,
    }
}

/// Whom the error seems to come from. NPCI sees the VIP and nothing behind it (RFC 5508 REQ-5). A tenant sees what it
/// called instead of what that stands for; where it called the endpoint itself, it may know the routers on the way.
#[inline(always)]
fn shown_sender(frame: &Frame, key: &FlowKey, original: &FlowKey) -> Addr {
    match frame.side {
        Side::External if original.dst == key.src => frame.ip.src,
        Side::External | Side::Internal => original.dst,
    }
}
