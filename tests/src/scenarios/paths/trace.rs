//! `traceroute` and `tracepath` in both directions: who shows himself, and to whom.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{
    MTU, Narrow, Stage,
    stage::{self, FIRST_TRACED_PORT},
};
use crate::{
    capture::Captured,
    clients::{PathReport, Probe},
    packet::{BadChecksum, Body, ChecksumOf, Frame, IcmpBody, Ipv4, Transport},
    raw::Direction,
    scenarios::wires,
    topology::Mode,
};

/// From one host to the other: two routers, the gateway, two routers, the host.
const HOPS: u32 = 6;

/// What was seen.
#[derive(Debug)]
pub struct Traces {
    /// One a call of `traceroute`.
    pub routes: Vec<Route>,
    /// One a call of `tracepath`.
    pub paths: Vec<Path>,
    /// Addresses in what reached NPCI, also in what errors quote, that are neither a VIP nor NPCI's own.
    pub shown_to_npci: BTreeSet<Ipv4Addr>,
    /// ICMP errors that reached NPCI.
    pub errors_to_npci: usize,
    /// Wrong checksums in what reached NPCI, also in what errors quote.
    pub bad_checksums: Vec<BadChecksum>,
}

/// What `traceroute` said.
#[derive(Debug)]
pub struct Route {
    /// Who asked whom, and how.
    pub name: &'static str,
    /// Who answered at each hop.
    pub seen: Vec<Option<Ipv4Addr>>,
    /// Who should have.
    pub wanted: Vec<Ipv4Addr>,
}

/// What `tracepath` said.
#[derive(Debug)]
pub struct Path {
    /// Who asked.
    pub from: &'static str,
    /// Where the small link was.
    pub narrow: Narrow,
    /// The tool's words.
    pub report: PathReport,
    /// Who should have told of the small link.
    pub teller: Ipv4Addr,
    /// Datagrams that the gateway found too large by itself.
    pub refused_by_gateway: u64,
    /// Whether it had to.
    pub is_the_gateways: bool,
}

impl Traces {
    /// What the tools said that is not so.
    pub fn mistakes(&self) -> Vec<String> {
        let routes = self.routes.iter().filter(|route| !route.is_right()).map(|route| format!("{route:?}"));
        let paths = self.paths.iter().filter(|path| !path.is_right()).map(|path| format!("{path:?}"));
        routes.chain(paths).collect()
    }
}

impl Path {
    /// The right number, from the one who knows it?
    fn is_right(&self) -> bool {
        let wanted = PathReport { pmtu: Some(MTU), hops: Some(HOPS), told: vec![(self.teller, MTU)] };
        self.report == wanted && (self.refused_by_gateway > 0) == self.is_the_gateways
    }
}

impl Route {
    /// The destination answered, and everybody on the way before it by the right name?
    fn is_right(&self) -> bool {
        self.seen == self.wanted.iter().copied().map(Some).collect::<Vec<_>>()
    }
}

/// All of it in one lab.
#[track_caller]
pub fn run(mode: Mode) -> Traces {
    let lab = stage::lab(mode);
    let stage = Stage::start(&lab, |_| ());
    let wire = lab.capture_npci();
    let routes = routes(&stage);
    let paths =
        Narrow::ALL.into_iter().flat_map(|narrow| narrow.during(&stage, || paths(&stage, narrow))).collect();
    let wire = wire.stop().going(Direction::In);
    let reached = wire.frames();
    Traces {
        routes,
        paths,
        shown_to_npci: shown(&reached).filter(|address| !is_npcis(&stage, *address)).collect(),
        errors_to_npci: reached.iter().filter(|frame| quoted(frame).is_some()).count(),
        bad_checksums: wire.packets.iter().flat_map(|packet| bad_checksums(packet, mode)).collect(),
    }
}

fn routes(stage: &Stage<'_>) -> Vec<Route> {
    let Stage { npci, bank, lab, .. } = stage;
    let (plan, nat) = (&lab.plan, lab.tenant(1).plan.nat_ip);
    let (web, vip) = (stage.web().port(), plan.ingress_vip);
    let (endpoint, mapped) = (stage.npci_endpoint(), stage.mapped());
    // What tenants call by its address they may know the way to; what stands for it hides the way.
    let out = vec![bank.plan.far(), bank.plan.end(), nat, plan.npci(), npci.plan.near(), npci.plan.host()];
    let hidden = vec![bank.plan.far(), bank.plan.end(), nat, nat, nat, nat];
    let inside = vec![npci.plan.far(), npci.plan.end(), vip, vip, vip, vip];
    let from_bank = |name, target, probe, wanted: &[Ipv4Addr]| Route {
        name,
        seen: bank.host.traceroute(target, probe),
        wanted: wanted.to_vec(),
    };
    let from_npci = |name, probe, wanted: &[Ipv4Addr]| Route {
        name,
        seen: npci.host.traceroute(vip, probe),
        wanted: wanted.to_vec(),
    };
    vec![
        from_bank("bank to NPCI, UDP", *endpoint.ip(), Probe::Udp(FIRST_TRACED_PORT), &out),
        from_bank("bank to NPCI, TCP", *endpoint.ip(), Probe::Tcp(endpoint.port()), &out),
        from_bank("bank to NPCI, echo", *endpoint.ip(), Probe::Echo, &out),
        from_bank("bank to its NAT IP, TCP", *mapped.ip(), Probe::Tcp(mapped.port()), &hidden),
        from_npci("NPCI to the ingress VIP, UDP", Probe::Udp(FIRST_TRACED_PORT), &inside),
        from_npci("NPCI to the ingress VIP, TCP", Probe::Tcp(web), &inside),
        // Echo ends at the gateway, which answers for its VIPs.
        from_npci("NPCI to the ingress VIP, echo", Probe::Echo, &inside[..3]),
    ]
}

/// One call from each host.
fn paths(stage: &Stage<'_>, narrow: Narrow) -> [Path; 2] {
    let Stage { npci, bank, lab, .. } = stage;
    let (vip, nat) = (lab.plan.ingress_vip, lab.tenant(1).plan.nat_ip);
    // By whom stands before the small link, with the address that it has towards who asks.
    let told_to_bank = match narrow {
        Narrow::BeyondNpci => lab.plan.npci(),
        Narrow::External => nat,
        Narrow::Internal => bank.plan.end(),
        Narrow::BeyondTenant => bank.plan.far(),
    };
    let told_to_npci = match narrow {
        Narrow::BeyondNpci => npci.plan.far(),
        Narrow::External => npci.plan.end(),
        Narrow::Internal | Narrow::BeyondTenant => vip,
    };
    [
        ("bank", &bank.host, npci.plan.host(), told_to_bank, narrow == Narrow::External),
        ("NPCI", &npci.host, vip, told_to_npci, narrow == Narrow::Internal),
    ]
    .map(|(from, host, target, teller, is_the_gateways)| {
        let before = stage.refused_for_size();
        let report = host.tracepath(target, FIRST_TRACED_PORT);
        let refused_by_gateway = stage.refused_for_size() - before;
        Path { from, narrow, report, teller, refused_by_gateway, is_the_gateways }
    })
}

fn is_npcis(stage: &Stage<'_>, address: Ipv4Addr) -> bool {
    let plan = &stage.lab.plan;
    plan.is_vip(address) || plan.npci_endpoints.contains(&address) || stage.npci.plan.range.contains(&address)
}

/// Every address in these packets, and in those that they quote.
fn shown(frames: &[Frame]) -> impl Iterator<Item = Ipv4Addr> {
    let packets = frames.iter().flat_map(|frame| frame.ipv4().into_iter().chain(quoted(frame)));
    packets.flat_map(|ip| [ip.src, ip.dst])
}

fn quoted(frame: &Frame) -> Option<&Ipv4> {
    let Body::Ipv4(Ipv4 { transport: Transport::Icmp(icmp), .. }) = &frame.body else { return None };
    match &icmp.body {
        IcmpBody::Error { quoted, .. } => Some(quoted),
        IcmpBody::Echo { .. } | IcmpBody::Other(_) => None,
    }
}

/// Who complains quotes what he got. Where senders leave checksums to others to finish (TC), that is half-done.
fn bad_checksums(packet: &Captured, mode: Mode) -> impl Iterator<Item = BadChecksum> {
    let is_quoted = |bad: &BadChecksum| matches!(bad.of, ChecksumOf::QuotedTcp | ChecksumOf::QuotedUdp);
    wires::wrong(packet).filter(move |bad| mode.is_xdp() || !is_quoted(bad))
}
