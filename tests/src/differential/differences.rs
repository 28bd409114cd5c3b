//! The list of differences that are justified. Everything else that differs is a failure.
//!
//! Each has a narrow test: what was sent, what our gateway made of it and what the other did must all be as the
//! justification says.

use super::{
    compare::Discrepancy,
    conversation::{Conversation, Cut, Forbidden, Role, Send, Talk, Target, What},
    sight::Seen,
};
use crate::packet::{ChecksumOf, Defect, IcmpBody, Ipv4, Tcp, TcpFlags, Transport};

/// A discrepancy with what led to it.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The conversation.
    pub conversation: &'a Conversation,
    /// What differs.
    pub discrepancy: &'a Discrepancy,
}

impl<'a> Case<'a> {
    /// What was sent in the round of the discrepancy.
    pub fn sent(&self) -> &'a [Send] {
        self.rounds().get(self.discrepancy.round).map_or(&[], Vec::as_slice)
    }

    /// What was sent in that round and before.
    pub fn sent_until_then(&self) -> impl Iterator<Item = &'a Send> {
        self.rounds().iter().take(self.discrepancy.round + 1).flatten()
    }

    fn rounds(&self) -> &'a [Vec<Send>] {
        match &self.conversation.talk {
            Talk::Script(rounds) => rounds,
            Talk::Stream(_) => &[],
        }
    }

    /// What only our gateway let through.
    pub fn only_ours(&self) -> Option<&'a Seen> {
        self.discrepancy.ours.as_ref().filter(|_| self.discrepancy.theirs.is_none())
    }

    /// What only the other gateway let through.
    pub fn only_theirs(&self) -> Option<&'a Seen> {
        self.discrepancy.theirs.as_ref().filter(|_| self.discrepancy.ours.is_none())
    }

    /// Two packets that differ, ours first.
    fn both(&self) -> Option<(&'a Ipv4, &'a Ipv4)> {
        let Discrepancy { ours: Some(ours), theirs: Some(theirs), .. } = self.discrepancy else {
            return None;
        };
        (ours.wrong() == theirs.wrong()).then_some(())?;
        Some((ours.ip()?, theirs.ip()?))
    }
}

/// Declares the differences once; names, justifications and the documentation's table come from this one list.
macro_rules! differences {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $matches:path;)+) => {
        /// Why a discrepancy is of no concern.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Difference {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Difference {
            /// Every decision.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What reports call it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Why it is right that the gateways differ.
            pub fn justification(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// The reason that fits, if there is one.
            pub fn justifying(case: &Case<'_>) -> Option<Self> {
                $(if $matches(case) {
                    return Some(Self::$variant);
                })+
                None
            }
        }
    };
}

differences! {
    /// A ping of the gateway itself with "don't fragment" is answered with that bit still set: ours turns the request round and
    /// changes as little as it can. The kernel writes a new packet. RFC 792 leaves it open.
    EchoKeepsDontFragment = "echo-keeps-dont-fragment", echo_keeps_dont_fragment;
    /// A segment of a known connection has control bits that conntrack takes for impossible (none at all, SYN with FIN, RST with
    /// FIN, FIN or URG without ACK). Ours translates it: what it means is for the end to say (RFC 9293 section 3.10), and
    /// middleboxes that judge control bits have done harm before (RFC 3360).
    OddFlags = "odd-flags", odd_flags;
    /// A packet whose TCP or UDP checksum is wrong is translated, and its checksum stays wrong by as much, so the end drops it.
    /// Conntrack sums up whole packets instead; ours updates checksums incrementally (RFC 1624) and never reads payloads.
    WrongTransportChecksum = "wrong-transport-checksum", wrong_transport_checksum;
    /// A server refuses a connection with a reset, and the client speaks on all the same. Conntrack has forgotten the connection;
    /// ours keeps it for the transitory timeout (RFC 7857 section 2.2: a reset only shortens the timeout).
    AfterRefusal = "after-refusal", after_refusal;
    /// A reset far outside the window is dropped by conntrack. Ours translates it (RFC 7857 section 2.3), so that the end judges it
    /// (RFC 5961 section 3.2), and keeps the flow as it was: a blind reset ends nothing.
    ResetOutOfWindow = "reset-out-of-window", reset_out_of_window;
    /// A SYN of the server, or a SYN-ACK of the client, in an established connection is dropped by conntrack. Ours translates it: an
    /// end that has lost its state learns by the challenge ACK of the other that it has to reset (RFC 5961 section 4.2).
    SynInConnection = "syn-in-connection", syn_in_connection;
    /// Source quench is dropped, not translated. Nobody should send it any more, and every host must ignore it (RFC 6633).
    SourceQuench = "source-quench", source_quench;
    /// An error of the gateway's own quotes the header and eight bytes of the packet (RFC 792), which is what every stack needs, and
    /// may not be cut on the way. It comes from the address that its receiver knows the gateway by, a VIP or the tenant's NAT IP.
    /// The kernel quotes as much as fits 576 bytes, and tells a tenant an address of the host's own.
    ShortQuote = "short-quote", short_quote;
    /// Parts of a datagram that never becomes whole are sent on. Conntrack puts datagrams together before it looks at them, and
    /// keeps what stays incomplete; ours sends each part on as it comes, and the end waits for the rest in vain.
    IncompleteDatagram = "incomplete-datagram", incomplete_datagram;
    /// A tenant that calls whom it may not is told so by an error from its NAT IP (RFC 5508 REQ-8). The other gateway is
    /// configured to drop in silence whatever it does not know.
    Prohibited = "prohibited", prohibited;
}

/// Windows of scripts are not scaled.
const LARGEST_WINDOW: u32 = 0xffff;
/// An IP header, an ICMP header, an IP header and eight bytes.
const SHORT_ERROR: u16 = 20 + 8 + 20 + 8;
/// ICMP type.
const SOURCE_QUENCH: u8 = 4;
/// ICMP type and code "communication administratively prohibited".
const PROHIBITED: (u8, u8) = (3, 13);

fn echo_keeps_dont_fragment(case: &Case<'_>) -> bool {
    let Some((ours, theirs)) = case.both() else { return false };
    let is_reply = matches!(&ours.transport, Transport::Icmp(icmp) if icmp.kind == 0 && matches!(icmp.body, IcmpBody::Echo { .. }));
    let asked = |send: &Send| matches!(send.what, What::EchoRequest { .. }) && send.dont_fragment;
    let as_theirs = Ipv4 { dont_fragment: false, ..ours.clone() };
    is_reply && ours.dont_fragment && as_theirs == *theirs && case.sent().iter().any(asked)
}

fn odd_flags(case: &Case<'_>) -> bool {
    let sent = |flags: TcpFlags| case.sent().iter().any(|send| has_flags(send, flags));
    tcp(case.only_ours()).is_some_and(|tcp| is_odd(tcp.flags) && sent(tcp.flags))
}

fn has_flags(send: &Send, wanted: TcpFlags) -> bool {
    matches!(send.what, What::Tcp { flags, .. } if flags == wanted)
}

/// What conntrack takes for impossible; PSH may stand with anything.
fn is_odd(flags: TcpFlags) -> bool {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const PSH: u8 = 0x08;
    const ACK: u8 = 0x10;
    const URG: u8 = 0x20;
    const USUAL: [u8; 9] =
        [SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG];
    !USUAL.contains(&(flags.0 & !PSH))
}

fn wrong_transport_checksum(case: &Case<'_>) -> bool {
    let wrong = case.only_ours().map_or(&[][..], Seen::wrong);
    let is_transports = matches!(wrong, [ChecksumOf::Tcp | ChecksumOf::Udp]);
    is_transports && case.sent().iter().any(|send| send.defect == Some(Defect::TransportChecksum))
}

fn after_refusal(case: &Case<'_>) -> bool {
    let until_then: Vec<_> = case.sent_until_then().map(|send| (send.from, send.what)).collect();
    let [(Role::Client, What::Tcp { flags: TcpFlags::SYN, .. }), (Role::Server, refusal), .., _] =
        &until_then[..]
    else {
        return false;
    };
    let refused = matches!(refusal, What::Tcp { flags, .. } if flags.contains(TcpFlags::RST));
    let goes_on = tcp(case.only_ours()).is_some_and(|tcp| !tcp.flags.contains(TcpFlags::SYN));
    refused && goes_on && until_then.len() > 2
}

fn reset_out_of_window(case: &Case<'_>) -> bool {
    let is_far = |send: &Send| match send.what {
        What::Tcp { flags, seq, .. } if flags.contains(TcpFlags::RST) => {
            let ahead = seq.wrapping_sub(next_of(case, send.from));
            ahead.min(ahead.wrapping_neg()) > LARGEST_WINDOW
        }
        _ => false,
    };
    let is_reset = tcp(case.only_ours()).is_some_and(|tcp| tcp.flags.contains(TcpFlags::RST));
    is_reset && case.sent().iter().any(is_far)
}

/// The sequence number that an end is at before the discrepancy's round.
fn next_of(case: &Case<'_>, end: Role) -> u32 {
    let before = case.rounds().iter().take(case.discrepancy.round).flatten();
    let mut numbers = before.filter(|send| send.from == end).filter_map(|send| match send.what {
        What::Tcp { flags, seq, length, .. } => {
            let opens = u32::from(flags.contains(TcpFlags::SYN));
            let data = u32::try_from(length).expect("a packet's length");
            Some(seq.wrapping_add(data + opens))
        }
        _ => None,
    });
    numbers.next_back().unwrap_or(0)
}

fn syn_in_connection(case: &Case<'_>) -> bool {
    let before: Vec<_> = case.rounds().iter().take(case.discrepancy.round).flatten().collect();
    let handshake = [TcpFlags::SYN, TcpFlags::SYN | TcpFlags::ACK, TcpFlags::ACK];
    let is_open =
        before.len() >= 3 && before.iter().zip(handshake).all(|(send, flags)| has_flags(send, flags));
    let is_syn = |send: &Send| match (send.from, send.what) {
        (from, What::Tcp { flags, .. }) if flags.contains(TcpFlags::SYN) => {
            flags.contains(TcpFlags::ACK) == (from == Role::Client)
        }
        _ => false,
    };
    let passes = tcp(case.only_ours()).is_some_and(|tcp| tcp.flags.contains(TcpFlags::SYN));
    passes && is_open && case.sent().iter().any(is_syn)
}

fn source_quench(case: &Case<'_>) -> bool {
    let Some(Seen::Packet { ip, .. }) = case.only_theirs() else { return false };
    let sent = |send: &Send| matches!(send.what, What::Error { kind: (SOURCE_QUENCH, _), .. });
    matches!(&ip.transport, Transport::Icmp(icmp) if icmp.kind == SOURCE_QUENCH)
        && case.sent().iter().any(sent)
}

fn short_quote(case: &Case<'_>) -> bool {
    let Some((ours, theirs)) = case.both() else { return false };
    let (Transport::Icmp(own), Transport::Icmp(other)) = (&ours.transport, &theirs.transport) else {
        return false;
    };
    let same_quote = match (&own.body, &other.body) {
        (IcmpBody::Error { rest, quoted }, IcmpBody::Error { rest: other_rest, quoted: other_quoted }) => {
            let header = |ip: &Ipv4| (ip.src, ip.dst, ip.id, ip.ttl, ip.total_length, ip.protocol);
            rest == other_rest && header(quoted) == header(other_quoted)
        }
        _ => false,
    };
    let header = |ip: &Ipv4| (ip.dst, ip.tos, ip.ttl);
    let is_last_hop = case.sent().iter().any(|send| send.ttl <= 1);
    same_quote
        && header(ours) == header(theirs)
        && (own.kind, own.code) == (other.kind, other.code)
        && (ours.total_length == SHORT_ERROR && theirs.total_length >= SHORT_ERROR)
        && is_last_hop
}

fn incomplete_datagram(case: &Case<'_>) -> bool {
    let is_part = |ip: &Ipv4| ip.more_fragments || ip.fragment_offset > 0;
    let never_whole = |send: &Send| send.cut.is_some_and(Cut::is_incomplete);
    case.only_ours().and_then(Seen::ip).is_some_and(is_part) && case.sent().iter().any(never_whole)
}

fn prohibited(case: &Case<'_>) -> bool {
    let Some(ours) = case.only_ours().and_then(Seen::ip) else { return false };
    let forbidden =
        |send: &Send| matches!(send.target, Target::Forbidden(Forbidden::OtherBackend | Forbidden::NoPeer));
    let Transport::Icmp(icmp) = &ours.transport else { return false };
    let is_told = match &icmp.body {
        IcmpBody::Error { quoted, .. } => quoted.src == ours.dst && quoted.dst != ours.src,
        _ => false,
    };
    is_told
        && (icmp.kind, icmp.code) == PROHIBITED
        && ours.total_length == SHORT_ERROR
        && case.sent().iter().any(forbidden)
}

/// The segment, if it is one.
fn tcp(seen: Option<&Seen>) -> Option<&Tcp> {
    match &seen?.ip()?.transport {
        Transport::Tcp(tcp) => Some(tcp),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
