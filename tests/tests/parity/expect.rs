//! What a case says must happen to a packet: written by hand, derived from nothing that is under test.

use std::net::Ipv4Addr;

use gateway_common::abi::{Side, State};
use gateway_common::drop_reason::DropReason;
use gateway_common::tables::FlowTable;
use gateway_tests::packet::{IcmpError, Packet};

use crate::counts::Counts;
use crate::engine::Action;
use crate::flows::Tracked;
use crate::places::{Wire, nat_ip};

/// Time to live of a packet that came in with the builder's default of 64.
const TTL_AFTER: u8 = 63;

/// What the gateway was free to choose for a packet, as it left.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// The source port, or the identifier of an echo request.
    pub port: u16,
    /// The destination.
    pub destination: Ipv4Addr,
}

/// A packet that depends on the gateway's choice, which it may also judge.
type ByChoice<'a> = Box<dyn Fn(Chosen) -> Packet + 'a>;

/// The outcome.
pub enum Outcome<'a> {
    /// Untouched.
    Pass,
    /// Untouched and gone.
    Drop(DropReason),
    /// Untouched, and handed to the daemon to be sent on later.
    Held,
    /// Leaves by this wire as this packet, with these link addresses.
    Translated(Wire, ByChoice<'a>),
    /// Leaves as this packet; the kernel will write the link addresses.
    Unresolved(ByChoice<'a>),
    /// Goes back as this frame.
    Answer(Vec<u8>),
}

/// The outcome, and what must have been counted and remembered.
pub struct Expect<'a> {
    /// What happens to the packet.
    pub outcome: Outcome<'a>,
    /// Whose packet it is.
    pub tenant: Option<u16>,
    /// Where the flow stands afterwards.
    pub tracked: Option<Tracked>,
    /// TC differs, in this way.
    pub in_tc: Option<Box<Expect<'a>>>,
    /// Flow entries may change although the packet is dropped.
    pub changes_flows: bool,
    /// The packet came with lengths or checksums that are wrong, and keeps them.
    pub is_defective: bool,
    extra: Counts,
}

impl<'a> Expect<'a> {
    fn new(outcome: Outcome<'a>) -> Self {
        Self {
            outcome,
            tenant: None,
            tracked: None,
            in_tc: None,
            changes_flows: false,
            is_defective: false,
            extra: Counts::default(),
        }
    }

    /// Of this tenant.
    pub fn of(mut self, tenant: u8) -> Self {
        self.tenant = Some(u16::from(tenant));
        self
    }

    /// It opens a flow, which is half-open then.
    pub fn opens(self) -> Self {
        self.opens_after(0)
    }

    /// The same, after so many ports that were taken.
    pub fn opens_after(self, retries: u64) -> Self {
        let tries = match retries {
            0 => "ports_found_in_1",
            1..=3 => "ports_found_in_4",
            4..=15 => "ports_found_in_16",
            _ => "ports_found_in_32",
        };
        let expect = if retries == 0 { self } else { self.counting("port_retries", retries) };
        expect
            .counting("flows_opened", 1)
            .counting(tries, 1)
            .counting_of_tenant("flows_opened")
            .half_open(State::HalfOpen)
    }

    /// The flow stands in the half-open table.
    pub fn half_open(mut self, state: State) -> Self {
        self.tracked = Some(Tracked { table: FlowTable::HalfOpen, state });
        self
    }

    /// The flow stands in the table of established flows.
    pub fn established(mut self, state: State) -> Self {
        self.tracked = Some(Tracked { table: FlowTable::Established, state });
        self
    }

    /// The packet moves the flow to the table of established flows.
    pub fn establishes(self) -> Self {
        self.counting("flows_established", 1).established(State::Established)
    }

    /// One more thing that is counted.
    pub fn counting(mut self, name: &str, by: u64) -> Self {
        self.extra.add(name, by);
        self
    }

    fn counting_of_tenant(self, name: &str) -> Self {
        let tenant = self.tenant.expect("the tenant is said first");
        self.counting(&format!("tenant {tenant} {name}"), 1)
    }

    /// In TC another outcome is right.
    pub fn in_tc(mut self, other: Self) -> Self {
        self.in_tc = Some(Box::new(other));
        self
    }

    /// Lengths or checksums are wrong before and after.
    pub fn defective(mut self) -> Self {
        self.is_defective = true;
        self
    }

    /// The packet is dropped, the flow remembers it all the same.
    pub fn though_noted(mut self) -> Self {
        self.changes_flows = true;
        self
    }

    /// What the hook must say.
    pub fn action(&self) -> Action {
        match self.outcome {
            Outcome::Pass => Action::Pass,
            Outcome::Drop(_) | Outcome::Held => Action::Drop,
            Outcome::Translated(..) | Outcome::Unresolved(_) => Action::Redirect,
            Outcome::Answer(_) => Action::Reply,
        }
    }

    /// Everything that must have been counted for a frame of this length; all else must stand still.
    pub fn counts(&self, side: Side, length: usize) -> Counts {
        let mut counts = self.extra.clone();
        match &self.outcome {
            Outcome::Pass => counts.add("passed", 1),
            Outcome::Held => counts.add("fragments_held", 1),
            Outcome::Drop(reason) => {
                counts.add_drop(reason.name(), 1);
                if let Some(tenant) = self.tenant {
                    counts.add(format!("tenant {tenant} dropped_packets"), 1);
                }
            }
            Outcome::Translated(..) | Outcome::Unresolved(_) => {
                self.count_translated(side, length, &mut counts);
            }
            Outcome::Answer(_) => {}
        }
        counts
    }

    fn count_translated(&self, side: Side, length: usize, counts: &mut Counts) {
        let tenant = self.tenant.expect("a translated packet is some tenant's");
        let direction = match side {
            Side::External => "from_external",
            Side::Internal => "to_external",
        };
        counts.add("translated", 1);
        counts.add(format!("tenant {tenant} {direction}_packets"), 1);
        counts.add(format!("tenant {tenant} {direction}_bytes"), length as u64);
    }
}

/// Not the gateway's.
pub fn passed<'a>() -> Expect<'a> {
    Expect::new(Outcome::Pass)
}

/// Dropped for this reason.
pub fn dropped<'a>(reason: DropReason) -> Expect<'a> {
    Expect::new(Outcome::Drop(reason))
}

/// Kept for a moment.
pub fn held<'a>() -> Expect<'a> {
    Expect::new(Outcome::Held)
}

/// Leaves as this packet, the time to live one less than 64.
pub fn translated<'a>(wire: Wire, packet: Packet) -> Expect<'a> {
    translated_with(wire, move |_| packet.clone())
}

/// The same, with what the gateway chose.
pub fn translated_with<'a>(wire: Wire, packet: impl Fn(Chosen) -> Packet + 'a) -> Expect<'a> {
    Expect::new(Outcome::Translated(wire, Box::new(move |chosen| packet(chosen).ttl(TTL_AFTER))))
}

/// The same, with the time to live that the packet says.
pub fn translated_exactly<'a>(wire: Wire, packet: Packet) -> Expect<'a> {
    Expect::new(Outcome::Translated(wire, Box::new(move |_| packet.clone())))
}

/// Leaves translated with the link addresses that it came with, for the kernel to replace.
pub fn unresolved<'a>(packet: Packet) -> Expect<'a> {
    Expect::new(Outcome::Unresolved(Box::new(move |_| packet.clone().ttl(TTL_AFTER))))
}

/// Goes back as this echo reply.
pub fn echo_answered<'a>(wire: Wire, packet: &Packet) -> Expect<'a> {
    let frame = packet.clone().macs(wire.near, wire.far).build();
    Expect::new(Outcome::Answer(frame)).counting("echo_answered", 1)
}

/// Dropped for this reason, and what goes back is this refusal.
pub fn refused<'a>(reason: DropReason, tenant: u8, wire: Wire, answer: &Packet) -> Expect<'a> {
    let frame = answer.clone().macs(wire.near, wire.far).build();
    let mut expect = Expect::new(Outcome::Answer(frame)).of(tenant).counting("refusals_sent", 1);
    expect.extra.add_drop(reason.name(), 1);
    expect.counting_of_tenant("dropped_packets")
}

/// A tenant's packet to whom it may not call: what goes back comes from its NAT IP.
pub fn prohibited<'a>(tenant: u8, wire: Wire, packet: &Packet) -> Expect<'a> {
    let frame = packet.build();
    let sender = <[u8; 4]>::try_from(&frame[26..30]).expect("four bytes");
    let error = IcmpError::AdministrativelyProhibited;
    let answer = Packet::icmp_error(nat_ip(tenant), sender.into(), error, &frame);
    let answer = answer.payload(&frame[14..14 + 28]).id(0).ttl(64).tos(0xc0);
    refused(DropReason::DestinationNotAllowed, tenant, wire, &answer)
}

/// Goes back as this ARP reply.
pub fn arp_answered<'a>(frame: Vec<u8>) -> Expect<'a> {
    Expect::new(Outcome::Answer(frame)).counting("arp_answered", 1)
}
