//! Packets by chance: valid ones of all kinds, answers to what has just left, damaged ones, and noise.

use std::net::Ipv4Addr;

use gateway_common::abi::Side;
use gateway_tests::packet::{Frame, IcmpBody, Packet, TcpFlags, Transport};
use gateway_tests::seed::Random;

use crate::engine::Action;
use crate::places::{
    EGRESS_VIP, HOST, INGRESS_VIP, NPCI, ROUTED, STRANGER, Wire, backend, client, nat_ip, second_backend,
};
use crate::rig::Rig;
use crate::rules;
use crate::talk::{ACK, DATA, End, FIN_ACK, RST, SYN, SYN_ACK};

/// Entries after which the tables are emptied, well below their size.
const ENTRIES_MAX: usize = 400;
/// Packets that left lately, which may be answered.
const RECENT: usize = 32;

/// The generator and what it remembers.
pub struct RandomPackets {
    random: Random,
    /// Where packets left, and what.
    left: Vec<(Wire, Vec<u8>)>,
    /// Translated, answered, passed, dropped.
    outcomes: [u32; 4],
}

impl RandomPackets {
    /// From a seed that is printed on failure.
    pub fn new(random: Random) -> Self {
        Self { random, left: Vec::new(), outcomes: [0; 4] }
    }

    /// Runs so many packets, and wants each outcome to have occurred.
    pub fn run(mut self, rig: &mut Rig, count: usize) {
        let desired = rig.world.desired();
        rig.reset(&desired);
        for number in 0..count {
            let (wire, frame) = self.next(rig);
            let observed = rig.agree(&format!("random packet {number}"), wire, &frame);
            let ran = observed.ran.as_ref().expect("memory runs everything");
            rules::check(wire, &frame, ran);
            self.remember(rig, wire, ran.action, &ran.frame);
            // TC has opened a flow that XDP had to refuse.
            if observed.counted("drop no_neighbour") || rig.entries() > ENTRIES_MAX {
                rig.reset(&desired);
            }
        }
        let often = u32::try_from(count / 1_000).expect("not that many");
        assert!(self.outcomes.iter().all(|outcome| *outcome > often), "one-sided: {:?}", self.outcomes);
    }

    fn remember(&mut self, rig: &Rig, wire: Wire, action: Action, frame: &[u8]) {
        let outcome = match action {
            Action::Redirect => 0,
            Action::Reply => 1,
            Action::Pass => 2,
            Action::Drop => 3,
        };
        self.outcomes[outcome] += 1;
        if action != Action::Redirect {
            return;
        }
        let out = match wire.side {
            Side::Internal => rig.world.external,
            Side::External => {
                rig.world.wires().find(|wire| frame[6..12] == wire.near.0).expect("left by a wire")
            }
        };
        if self.left.len() == RECENT {
            self.left.remove(0);
        }
        self.left.push((out, frame.to_vec()));
    }

    fn next(&mut self, rig: &Rig) -> (Wire, Vec<u8>) {
        let (wire, packet) = match self.random.below(8) {
            0 => return self.noise(rig),
            1 if self.one_in(2) => return self.framed_complaint(rig),
            1..=3 => self.answer().unwrap_or_else(|| self.opener(rig)),
            _ => self.opener(rig),
        };
        let mut frame = self.decorated(packet).macs(wire.far, wire.near).build();
        if self.one_in(3) {
            self.damage(&mut frame);
        }
        (wire, frame)
    }

    /// Nothing is put behind it, else it would quote something else; it may be damaged.
    fn framed_complaint(&mut self, rig: &Rig) -> (Wire, Vec<u8>) {
        let (wire, packet) = self.complaint().unwrap_or_else(|| self.opener(rig));
        let mut frame = packet.macs(wire.far, wire.near).build();
        if self.one_in(3) {
            self.damage(&mut frame);
        }
        (wire, frame)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.random.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let count = u64::try_from(choices.len()).expect("a short list");
        choices[usize::try_from(self.random.below(count)).expect("below a length")]
    }

    fn wire(&mut self, rig: &Rig) -> Wire {
        match self.random.below(8) {
            0..4 => rig.world.external,
            tenant => rig.world.tenant(u8::try_from(tenant - 3).expect("1 to 4")),
        }
    }

    /// Anything from anybody to anybody who plays a part.
    fn opener(&mut self, rig: &Rig) -> (Wire, Packet) {
        let wire = self.wire(rig);
        let outside = [NPCI, client(101), client(102), client(5), ROUTED, STRANGER];
        let tenants = [backend(1), second_backend(1), backend(2), backend(3), backend(4), nat_ip(1)];
        let gateways = [INGRESS_VIP, INGRESS_VIP, EGRESS_VIP, nat_ip(1), nat_ip(2), HOST];
        let src = if (wire.side == Side::External) ^ self.one_in(16) { outside } else { tenants };
        let dst = match self.random.below(8) {
            0 => self.pick(&tenants),
            1..4 => self.pick(&outside),
            _ => self.pick(&gateways),
        };
        let source_port = self.pick(&[40_000, 40_001, 1024, 1023, 443, 8080]);
        let port =
            self.pick(&[8443, 8443, 8444, 8445, 8446, 8543, 8544, 8643, 8743, 5353, 53, 443, 9001, 9053, 80]);
        let from = self.pick(&src);
        (wire, self.packet((from, source_port), (dst, port)))
    }

    fn packet(&mut self, src: End, dst: End) -> Packet {
        match self.random.below(8) {
            0 => Packet::echo_request(src.0, dst.0, src.1, 1),
            1 => Packet::echo_reply(src.0, dst.0, dst.1, 1),
            2 | 3 => Packet::udp(src, dst),
            _ => self.tcp(src, dst),
        }
    }

    fn tcp(&mut self, src: End, dst: End) -> Packet {
        let flags = [SYN, SYN, SYN, SYN_ACK, ACK, DATA, FIN_ACK, RST, TcpFlags(0)];
        Packet::tcp(src, dst).flags(self.pick(&flags))
    }

    /// What the receiver of a packet could send back.
    fn answer(&mut self) -> Option<(Wire, Packet)> {
        let count = u64::try_from(self.left.len()).ok().filter(|count| *count > 0)?;
        let (wire, frame) = self.left[usize::try_from(self.random.below(count)).ok()?].clone();
        let frame = Frame::parse(&frame).ok()?;
        let ip = frame.ipv4()?;
        let packet = match &ip.transport {
            Transport::Tcp(tcp) => self.tcp((ip.dst, tcp.dst_port), (ip.src, tcp.src_port)),
            Transport::Udp(udp) => Packet::udp((ip.dst, udp.dst_port), (ip.src, udp.src_port)),
            Transport::Icmp(icmp) => match icmp.body {
                IcmpBody::Echo { id, sequence, .. } => Packet::echo_reply(ip.dst, ip.src, id, sequence),
                _ => return None,
            },
            Transport::Fragment(_) | Transport::Other(_) => return None,
        };
        Some((wire, packet))
    }

    /// An ICMP error about a packet that has just left.
    fn complaint(&mut self) -> Option<(Wire, Packet)> {
        let count = u64::try_from(self.left.len()).ok().filter(|count| *count > 0)?;
        let (wire, frame) = self.left[usize::try_from(self.random.below(count)).ok()?].clone();
        let seen = Frame::parse(&frame).ok()?;
        let ip = seen.ipv4()?;
        let quoted = &frame[if seen.ethernet.vlan.is_some() { 18 } else { 14 }..];
        let length = 28 + usize::try_from(self.random.below(60)).ok()?;
        let kind = self.pick(&[(3, 0), (3, 1), (3, 3), (3, 4), (11, 0), (11, 1), (12, 0), (5, 0)]);
        let router = self.pick(&[ip.dst, ip.dst, ROUTED, second_backend(1), EGRESS_VIP]);
        let error = Packet::icmp(router, ip.src, kind, [0, 0, 5, 0]);
        Some((wire, error.payload(&quoted[..length.min(quoted.len())])))
    }

    fn decorated(&mut self, packet: Packet) -> Packet {
        let length = self.random.below(64);
        let mut packet = packet.payload(&self.random.bytes(usize::try_from(length).expect("short")));
        if self.one_in(8) {
            let length = usize::try_from(self.random.below(41)).expect("short");
            packet = packet.ip_options(&self.random.bytes(length));
        }
        if self.one_in(8) {
            packet = packet.vlan(self.pick(&[0, 1, 100, 0xe001, 0xffff]));
        }
        if self.one_in(16) {
            packet = packet.ttl(self.pick(&[0, 1, 2, 255]));
        }
        if self.one_in(16) {
            let more = self.one_in(2);
            packet = packet.fragment(self.pick(&[0, 8, 1480]), more);
        }
        if self.one_in(8) {
            packet = packet.padding(self.pick(&[1, 2, 18, 46]));
        }
        packet
    }

    /// Other bits, fewer bytes, or other bytes in a field that matters.
    fn damage(&mut self, frame: &mut Vec<u8>) {
        let headers = u64::try_from(frame.len().min(80)).expect("short");
        match self.random.below(4) {
            0 => frame.truncate(usize::try_from(self.random.below(headers)).expect("short")),
            1 => {
                let at = usize::try_from(self.random.below(headers)).expect("short");
                frame[at] = self.pick(&[0, 1, 0x7f, 0xff]);
            }
            _ => {
                for _ in 0..=self.random.below(3) {
                    let at = usize::try_from(self.random.below(headers)).expect("short");
                    frame[at] ^= 1 << self.random.below(8);
                }
            }
        }
    }

    /// Bytes; half of them behind headers that say IPv4 to an address of ours.
    fn noise(&mut self, rig: &Rig) -> (Wire, Vec<u8>) {
        let wire = self.wire(rig);
        let length = usize::try_from(self.random.below(120)).expect("short");
        let mut frame = self.random.bytes(length);
        if self.one_in(2) && length >= 34 {
            frame[12..15].copy_from_slice(&[8, 0, 0x45]);
            let total = u16::try_from(length - 14).expect("short");
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            let dst: Ipv4Addr = self.pick(&[INGRESS_VIP, EGRESS_VIP, nat_ip(1), backend(1)]);
            frame[30..34].copy_from_slice(&dst.octets());
        }
        (wire, frame)
    }
}
