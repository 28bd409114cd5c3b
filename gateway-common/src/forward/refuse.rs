//! Refusing aloud: a packet that may not go on is turned round, so that its sender need not wait for a timeout.
//!
//! The answer is never longer than a small request and goes to the one address that an allow-list or a tenant's sources
//! have let through, so it amplifies nothing. Resets are not limited in rate, as of every host; errors are. It is sent out of
//! the interface that the packet came in by, like the answers to ARP and echo requests.

use crate::{
    abi::{Counter, EntryFlags, FlowKey, Protocol, Seen, SettingsFlags, State, TenantId},
    conntrack::Segment,
    drop_reason::DropReason,
    packet::{Packet, Refused},
    rewrite::{self, Complaint},
    tables::{FlowSlot, Tables},
    verdict::Verdict,
    wire::{
        ethernet,
        ipv4::{HEADER_LEN, Ipv4},
    },
};

use super::{error_rate, known::Hit};

impl<S> Hit<S> {
    /// Is the flow over: ended by the daemon, or in quarantine after it idled out?
    #[inline(always)]
    pub const fn is_ended(&self) -> bool {
        self.entry.flags.is_ended()
    }

    /// Why its packets are dropped then.
    #[inline(always)]
    const fn end_reason(&self) -> DropReason {
        if self.entry.flags.contains(EntryFlags::RESET) {
            DropReason::FlowReset
        } else {
            DropReason::FlowExpired
        }
    }
}

/// Drops a packet for `reason`, or turns it round if it is one of those that are answered. It counts as dropped either way.
#[inline(always)]
pub fn refuse<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4,
    segment: Segment,
    (reason, tenant): (DropReason, TenantId),
    now_ns: u64,
) -> Result<Verdict, DropReason> {
    if !is_answered(reason, segment) || !turn_round(packet, tables, ip, complaint(reason), now_ns) {
        return Err(reason);
    }
    tables.count_drop(reason, tenant);
    tables.count(Counter::RefusalsSent, 1);
    Ok(Verdict::Reply)
}

/// A packet of a flow that is over: its sender gets a reset, and the entry remembers that. For one that idled out, only
/// if the settings say so.
///
/// A sender that resets by itself needs no answer and counts as told; what has no ACK cannot be answered exactly.
#[inline(always)]
pub fn refuse_ended<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4,
    segment: Segment,
    (key, hit): (&FlowKey, &Hit<T::Slot>),
    now_ns: u64,
) -> Result<Verdict, DropReason> {
    let reason = hit.end_reason();
    if matches!(reason, DropReason::FlowExpired) && !resets_expired(tables) {
        return Err(reason);
    }
    let answer = refuse(packet, tables, ip, segment, (reason, hit.entry.tenant), now_ns);
    if answer.is_ok() || segment.seen().contains(Seen::RST) {
        hit.slot.set_progress(key, hit.entry.seen.with(Seen::RST), State::Reset);
    }
    answer
}

#[inline(always)]
fn resets_expired<T: Tables>(tables: &T) -> bool {
    match tables.settings() {
        Some(settings) => settings.flags.contains(SettingsFlags::RESET_EXPIRED),
        None => false,
    }
}

/// Does a packet that is dropped for this reason get an answer?
#[inline(always)]
pub const fn is_answered(reason: DropReason, segment: Segment) -> bool {
    match reason {
        DropReason::RefusedNoBackend | DropReason::RefusedDraining | DropReason::PortsExhausted => true,
        DropReason::FlowReset | DropReason::FlowExpired => {
            segment.seen().contains(Seen::ACK) && !segment.seen().contains(Seen::RST)
        }
        _ => false,
    }
}

/// What the sender of a datagram is told: that nobody takes it, or (RFC 6888 REQ-11) that there is no way to whom it called.
#[inline(always)]
const fn complaint(reason: DropReason) -> Complaint {
    match reason {
        DropReason::PortsExhausted => Complaint::HOST_UNREACHABLE,
        _ => Complaint::PORT_UNREACHABLE,
    }
}

/// Turns the packet into its refusal; false when it gets none and has to be dropped.
#[inline(never)]
fn turn_round<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4,
    complaint: Complaint,
    now_ns: u64,
) -> bool {
    if !may_be_answered(packet, ip) {
        return false;
    }
    let turned = match Protocol::from_number(ip.protocol) {
        Some(Protocol::Tcp) => rewrite::tcp_reset(packet, ip),
        Some(Protocol::Udp) if error_rate::admits(tables, ip.src, now_ns) => {
            rewrite::icmp_error(packet, ip, ip.dst, complaint)
        }
        Some(Protocol::Udp | Protocol::Icmp) | None => Err(Refused),
    };
    turned.is_ok()
}

/// Is the sender a single host that sent this to us alone (RFC 1122 section 3.2.2), without IP options?
#[inline(always)]
pub fn may_be_answered<P: Packet>(packet: &P, ip: &Ipv4) -> bool {
    let to_group = match ethernet::addresses(packet) {
        Some((destination, _)) => destination.is_group(),
        None => true,
    };
    !to_group && ip.header_len == HEADER_LEN && ip.src.is_single_host()
}
