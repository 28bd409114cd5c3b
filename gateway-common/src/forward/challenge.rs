//! Challenges: a client that wants to connect to a crowded listener is sent an answer that no connection of its own could
//! get, with a cookie as its acknowledgment number. A stack that has sent the SYN resets what it did not expect (RFC 9293
//! section 3.10.7.3), with the cookie as sequence number, and sends its SYN again a second later: then it is let in.
//! Whoever forged the SYN never sees the cookie.
//!
//! Nothing is kept about a client until it has answered, and the answer to a SYN is as long as the SYN or shorter.

use super::{Decision, Flow, Frame, decide_first, refuse::may_be_answered, settle};
use crate::{
    abi::{ClientKey, Counter, FlowKey, Port, Seen, Settings, Side},
    conntrack::Segment,
    drop_reason::DropReason,
    hash::siphash,
    limits::CLIENT_LIFETIME_NS,
    packet::{Packet, Window as _},
    rewrite,
    tables::Tables,
    verdict::Verdict,
    wire::transport::{TCP_HEADER_LEN, Transport},
};

/// A cookie is good for one to two of these: about 8 to 17 s.
const SLOT_BITS: u32 = 33;

/// Challenges the sender of a SYN, or looks at what may be the answer to a challenge. The packet ends here either way.
#[inline(always)]
pub fn process<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side, now_ns: u64) -> Verdict {
    let mut flow = Flow::unknown(side);
    let verdict = match Frame::parse(packet, side) {
        Ok(frame) => decide(packet, tables, &frame, &mut flow, now_ns),
        Err(reason) => Err(reason),
    };
    settle(tables, &flow, verdict)
}

/// May a segment of no known flow that is refused for this reason be the answer to a challenge?
#[inline(always)]
pub fn may_be_answer(reason: DropReason, segment: Segment, side: Side) -> bool {
    matches!(reason, DropReason::NoFlow)
        && matches!(side, Side::External)
        && segment.seen().contains(Seen::RST)
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    frame: &Frame,
    flow: &mut Flow,
    now_ns: u64,
) -> Result<Verdict, DropReason> {
    let transport = Transport::parse(packet, &frame.ip, frame.side)?;
    let settings = tables.settings().ok_or(DropReason::NotConfigured)?;
    match decide_first(tables, frame.side, &transport, flow) {
        Decision::Open => {
            let cookie = cookie(settings, &transport.key, now_ns >> SLOT_BITS);
            if !may_be_answered(packet, &frame.ip)
                || rewrite::tcp_challenge(packet, &frame.ip, cookie).is_err()
            {
                return Err(DropReason::ClientChallenged);
            }
            tables.count_drop(DropReason::ClientChallenged, flow.tenant);
            tables.count(Counter::ChallengesSent, 1);
            Ok(Verdict::Reply)
        }
        Decision::Drop(DropReason::NoFlow) if is_cookie(packet, settings, &transport, now_ns) => {
            welcome(tables, &transport.key, now_ns);
            Err(DropReason::ChallengeAnswered)
        }
        Decision::Drop(reason) => Err(reason),
        Decision::Pass | Decision::Answer => Err(DropReason::NoFlow),
    }
}

/// Does a reset's sequence number show that its sender has got our challenge?
#[inline(always)]
fn is_cookie<P: Packet>(packet: &P, settings: &Settings, transport: &Transport, now_ns: u64) -> bool {
    let Some(header) = packet.window::<TCP_HEADER_LEN>(transport.offset) else {
        return false;
    };
    let sequence_number = u32::from_be(header.u32::<4>());
    let slot = now_ns >> SLOT_BITS;
    transport.segment.seen().contains(Seen::RST)
        && (sequence_number == cookie(settings, &transport.key, slot)
            || sequence_number == cookie(settings, &transport.key, slot.wrapping_sub(1)))
}

/// What only who got the challenge can know.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a sequence number has half the bits")]
fn cookie(settings: &Settings, key: &FlowKey, slot: u64) -> u32 {
    let ports = u64::from(key.src_port.to_be()) << 16 | u64::from(key.dst_port.to_be());
    let addresses = u64::from(key.src.to_be()) << 32 | u64::from(key.dst.to_be());
    siphash(settings.cookie_key, [addresses, ports << 32 | (slot & 0xffff_ffff)]) as u32
}

/// Its address counts for all connections of the client while it is not crowded too much, its port for this one always.
#[inline(always)]
fn welcome<T: Tables>(tables: &T, key: &FlowKey, now_ns: u64) {
    for port in [Port::NONE, key.src_port] {
        tables.welcome(&ClientKey::new(key.src, port), now_ns + CLIENT_LIFETIME_NS);
    }
}
