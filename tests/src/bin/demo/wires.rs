//! A recording, boiled down to who opened connections to whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use gateway_tests::{
    capture::Recording,
    lab::Lab,
    packet::{Frame, IcmpBody, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP},
    topology::TenantPlan,
};

/// Meaning of a pair that should not be there.
const UNEXPECTED: &str = "UNEXPECTED";

/// What one wire carried, ARP and broadcasts aside.
pub struct Wire {
    /// Whose: `NPCI` or a tenant's name.
    pub owner: String,
    /// The pairs, in order of their addresses.
    pub rows: Vec<Row>,
    /// Every address in any packet.
    pub addresses: BTreeSet<Ipv4Addr>,
}

/// One pair of addresses.
pub struct Row {
    /// Opened the connections.
    pub from: Ipv4Addr,
    /// Answered them.
    pub to: Ipv4Addr,
    meaning: String,
    counts: Counts,
}

/// Connections by protocol, and the packets of all of them, both ways. A UDP exchange and a ping count as connections.
#[derive(Default)]
struct Counts {
    tcp: usize,
    udp: usize,
    icmp: usize,
    other: usize,
    packets: usize,
}

impl Wire {
    /// NPCI's.
    pub fn of_npci(lab: &Lab, recording: &Recording) -> Self {
        let plan = &lab.plan;
        Self::read("NPCI", recording, |from, to| {
            let is_npci = |address| plan.npci_endpoints.contains(&address);
            if to == plan.ingress_vip && is_npci(from) {
                "NPCI calls the ingress VIP".to_owned()
            } else if from == plan.egress_vip && is_npci(to) {
                "the egress VIP calls NPCI".to_owned()
            } else {
                UNEXPECTED.to_owned()
            }
        })
    }

    /// A tenant's.
    pub fn of_tenant(lab: &Lab, tenant: &TenantPlan, recording: &Recording) -> Self {
        Self::read(&tenant.name, recording, |from, to| {
            let is_inside = |address| tenant.backends.contains(&address);
            match (is_inside(from), is_inside(to)) {
                (false, true) if from == tenant.nat_ip => "its NAT IP calls its server".to_owned(),
                (true, false) if to == tenant.nat_ip => "it calls NPCI by its NAT IP".to_owned(),
                (true, false) if to == lab.plan.npci() => "it calls NPCI by NPCI's address".to_owned(),
                _ => UNEXPECTED.to_owned(),
            }
        })
    }

    /// Is every pair one that should be there?
    pub fn is_understood(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.meaning != UNEXPECTED)
    }

    fn read(owner: &str, recording: &Recording, meaning: impl Fn(Ipv4Addr, Ipv4Addr) -> String) -> Self {
        let mut openers = BTreeMap::new();
        let mut pairs: BTreeMap<(Ipv4Addr, Ipv4Addr), Counts> = BTreeMap::new();
        for frame in recording.frames() {
            let Some((connection, pair)) = connection(&frame) else { continue };
            let is_new = !openers.contains_key(&connection);
            let opener = *openers.entry(connection).or_insert(pair);
            pairs.entry(opener).or_default().add(connection.0, is_new);
        }
        let rows = pairs.into_iter().map(|((from, to), counts)| Row {
            from,
            to,
            meaning: meaning(from, to),
            counts,
        });
        Self { owner: owner.to_owned(), rows: rows.collect(), addresses: recording.addresses() }
    }
}

impl Counts {
    fn add(&mut self, protocol: u8, is_new: bool) {
        self.packets += 1;
        let kind = match protocol {
            PROTOCOL_TCP => &mut self.tcp,
            PROTOCOL_UDP => &mut self.udp,
            PROTOCOL_ICMP => &mut self.icmp,
            _ => &mut self.other,
        };
        *kind += usize::from(is_new);
    }
}

/// Protocol and both ends, the same in both directions.
type Connection = (u8, SocketAddrV4, SocketAddrV4);

/// The connection that an IPv4 packet belongs to, and the packet's source and destination.
fn connection(frame: &Frame) -> Option<(Connection, (Ipv4Addr, Ipv4Addr))> {
    let ip = frame.ipv4()?;
    let id = match frame.icmp().map(|icmp| &icmp.body) {
        Some(IcmpBody::Echo { id, .. }) => *id,
        _ => 0,
    };
    let portless = (SocketAddrV4::new(ip.src, id), SocketAddrV4::new(ip.dst, id));
    let (src, dst) = frame.endpoints().unwrap_or(portless);
    Some(((ip.protocol, src.min(dst), src.max(dst)), (ip.src, ip.dst)))
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [tcp, udp, ping, packets] = ["TCP", "UDP", "ping", "packets"];
        let title = format!("on {}'s wire, from", self.owner);
        writeln!(f, "  {title:<22} {:<16} {tcp:>4} {udp:>4} {ping:>4} {packets:>8}", "to")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { tcp, udp, icmp, other, packets } = self.counts;
        let (from, to) = (self.from.to_string(), self.to.to_string());
        write!(f, "  {from:<22} {to:<16} {tcp:>4} {udp:>4} {icmp:>4} {packets:>8}   {}", self.meaning)?;
        if other > 0 { write!(f, " ({other} of other protocols)") } else { Ok(()) }
    }
}
