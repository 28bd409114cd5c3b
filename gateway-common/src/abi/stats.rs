//! Counters that the data path keeps, one copy a CPU.

use bytemuck::{Pod, Zeroable};

/// Counters of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct TenantStats {
    /// Packets translated from NPCI's side to the tenant.
    pub from_external_packets: u64,
    /// Bytes of these frames.
    pub from_external_bytes: u64,
    /// Packets translated from the tenant to NPCI's side.
    pub to_external_packets: u64,
    /// Bytes of these frames.
    pub to_external_bytes: u64,
    /// Flows opened, in both directions.
    pub flows_opened: u64,
    /// Packets dropped that were known to be this tenant's.
    pub dropped_packets: u64,
}

impl TenantStats {
    /// Adds another CPU's copy.
    pub const fn add(&mut self, other: &Self) {
        self.from_external_packets += other.from_external_packets;
        self.from_external_bytes += other.from_external_bytes;
        self.to_external_packets += other.to_external_packets;
        self.to_external_bytes += other.to_external_bytes;
        self.flows_opened += other.flows_opened;
        self.dropped_packets += other.dropped_packets;
    }

    /// Counts a translated packet.
    #[inline(always)]
    pub const fn add_packet(&mut self, to_external: bool, bytes: u64) {
        if to_external {
            self.to_external_packets += 1;
            self.to_external_bytes += bytes;
        } else {
            self.from_external_packets += 1;
            self.from_external_bytes += bytes;
        }
    }
}

/// Node-wide counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Packets left alone because they are not the gateway's.
    Passed = 0,
    /// Packets translated and sent on.
    Translated = 1,
    /// ARP requests answered.
    ArpAnswered = 2,
    /// ICMP echo requests answered.
    EchoAnswered = 3,
    /// Flows opened.
    FlowsOpened = 4,
    /// Flows promoted from half-open to established.
    FlowsEstablished = 5,
    /// Races between two CPUs opening one flow that ended with the winner's entry adopted.
    RacesAdopted = 6,
    /// Ports tried beyond the first, over all new flows.
    PortRetries = 7,
    /// Refused packets that were turned round into a TCP reset or an ICMP error. Each is counted as dropped, too.
    RefusalsSent = 8,
    /// ICMP errors about packets of tracked flows that were translated and sent on. Each is counted as translated, too.
    IcmpErrorsTranslated = 9,
    /// Later parts of datagrams that came before the first one, handed to the daemon to be sent on after it.
    FragmentsHeld = 10,
    /// New flows whose first candidate for a port was free.
    PortsFoundIn1 = 11,
    /// New flows that took 2 to 4 tries.
    PortsFoundIn4 = 12,
    /// New flows that took 5 to 16 tries.
    PortsFoundIn16 = 13,
    /// New flows that took more.
    PortsFoundIn32 = 14,
    /// Half-open flows that made way for another of the same listener or tenant.
    HalfOpenEvicted = 15,
    /// Challenges sent to clients of a listener with many half-open flows. Each is counted as dropped, too.
    ChallengesSent = 16,
    /// Resets outside the window of whom they were sent to: forwarded, since that one judges by itself, and otherwise ignored.
    ResetsNotBelieved = 17,
    /// ICMP errors that were not sent because their receiver had got many. What they were about is counted as dropped.
    ErrorsLimited = 18,
}

impl Counter {
    /// Every counter, in order of its number.
    pub const ALL: &'static [Self] = &[
        Self::Passed,
        Self::Translated,
        Self::ArpAnswered,
        Self::EchoAnswered,
        Self::FlowsOpened,
        Self::FlowsEstablished,
        Self::RacesAdopted,
        Self::PortRetries,
        Self::RefusalsSent,
        Self::IcmpErrorsTranslated,
        Self::FragmentsHeld,
        Self::PortsFoundIn1,
        Self::PortsFoundIn4,
        Self::PortsFoundIn16,
        Self::PortsFoundIn32,
        Self::HalfOpenEvicted,
        Self::ChallengesSent,
        Self::ResetsNotBelieved,
        Self::ErrorsLimited,
    ];

    /// Size of the kernel's counter array.
    pub const COUNT: u32 = 19;

    /// The name used in metrics and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Translated => "translated",
            Self::ArpAnswered => "arp_answered",
            Self::EchoAnswered => "echo_answered",
            Self::FlowsOpened => "flows_opened",
            Self::FlowsEstablished => "flows_established",
            Self::RacesAdopted => "races_adopted",
            Self::PortRetries => "port_retries",
            Self::RefusalsSent => "refusals_sent",
            Self::IcmpErrorsTranslated => "icmp_errors_translated",
            Self::FragmentsHeld => "fragments_held",
            Self::PortsFoundIn1 => "ports_found_in_1",
            Self::PortsFoundIn4 => "ports_found_in_4",
            Self::PortsFoundIn16 => "ports_found_in_16",
            Self::PortsFoundIn32 => "ports_found_in_32",
            Self::HalfOpenEvicted => "half_open_evicted",
            Self::ChallengesSent => "challenges_sent",
            Self::ResetsNotBelieved => "resets_not_believed",
            Self::ErrorsLimited => "errors_limited",
        }
    }

    /// The counter of new flows that found their port at this attempt; 0 is the first.
    #[inline(always)]
    pub const fn ports_found(attempt: u32) -> Self {
        match attempt {
            0 => Self::PortsFoundIn1,
            1..=3 => Self::PortsFoundIn4,
            4..=15 => Self::PortsFoundIn16,
            _ => Self::PortsFoundIn32,
        }
    }
}

const _: () = assert!(Counter::ALL.len() == Counter::COUNT as usize);
