//! From a line of a script to frames on the wire.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{
    conversation::{
        ClientAddress, Conversation, Cut, Flow, Forbidden, Order, Path, Quoted, Role, Send, Target, What,
    },
    places::{self, Inside, Service},
    sight::Place,
};
use crate::{
    packet::{Mac, Packet, fragments},
    topology::{AddressPlan, TenantPlan},
};

/// No operation, three times, and the end (RFC 791 section 3.1).
const OPTIONS: [u8; 4] = [1, 1, 1, 0];
/// Of the packets that stray errors pretend to quote: no conversation has it.
const STRAY_PORT: u16 = 7;

/// Everything about the network that both labs share.
#[derive(Debug, Clone)]
pub struct Map {
    /// NPCI's side and the VIPs.
    pub plan: AddressPlan,
    /// Whose conversations they are.
    pub tenant: TenantPlan,
    /// Whom they must not reach.
    pub other: TenantPlan,
}

impl Map {
    /// The lab's usual addresses.
    pub fn usual() -> Self {
        Self { plan: AddressPlan::default(), tenant: TenantPlan::numbered(1), other: TenantPlan::numbered(2) }
    }

    /// The services of a conversation's group.
    pub fn service(&self, index: u64) -> Service {
        Service::of(&self.plan, &self.tenant, places::group(index))
    }

    /// Is it an address of the gateway's?
    pub fn is_gateways(&self, address: Ipv4Addr) -> bool {
        let own = [self.plan.gateway_external, self.tenant.gateway, self.other.gateway];
        let nat = [self.tenant.nat_ip, self.other.nat_ip];
        self.plan.is_vip(address) || own.contains(&address) || nat.contains(&address)
    }
}

/// The addresses of one conversation.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    map: &'a Map,
    conversation: &'a Conversation,
}

impl<'a> Parties<'a> {
    /// Of a conversation.
    pub fn of(map: &'a Map, conversation: &'a Conversation) -> Self {
        Self { map, conversation }
    }

    /// Where somebody's packets come from and arrive.
    pub fn place(&self, role: Role) -> Place {
        let is_outside = (self.conversation.path == Path::Ingress) == role.is_near();
        if is_outside { Place::Npci } else { Place::Tenant }
    }

    /// The client's socket.
    pub fn client(&self, flow: Flow) -> SocketAddrV4 {
        let index = self.conversation.index;
        let hosts = match self.place(Role::Client) {
            Place::Npci => places::NPCI_HOSTS,
            Place::Tenant | Place::OtherTenant => Inside::of(&self.map.tenant).hosts,
        };
        let host = match flow.client {
            ClientAddress::First => hosts[0],
            ClientAddress::Second => hosts[1],
            ClientAddress::System => return places::system_client(index),
        };
        SocketAddrV4::new(host, places::client_port(index, flow.port))
    }

    /// The socket that the client calls.
    pub fn called(&self) -> SocketAddrV4 {
        let service = self.map.service(self.conversation.index);
        match self.conversation.path {
            Path::Ingress => service.listener,
            Path::Egress => service.npci,
            Path::Addressed => service.mapped,
        }
    }

    /// The server's own socket.
    pub fn server(&self) -> SocketAddrV4 {
        let service = self.map.service(self.conversation.index);
        if self.conversation.path == Path::Ingress { service.backend } else { service.npci }
    }

    /// The client as the server should see it, if the gateway keeps the port.
    pub fn client_seen(&self, flow: Flow) -> SocketAddrV4 {
        let address = match self.conversation.path {
            Path::Ingress => self.map.tenant.nat_ip,
            Path::Egress | Path::Addressed => self.map.plan.egress_vip,
        };
        SocketAddrV4::new(address, self.client(flow).port())
    }

    fn router(&self, role: Role) -> Ipv4Addr {
        match self.place(role) {
            Place::Npci => places::NPCI_ROUTER,
            Place::Tenant | Place::OtherTenant => Inside::of(&self.map.tenant).router,
        }
    }

    /// The gateway's address that the client knows.
    fn gateway(&self) -> Ipv4Addr {
        match self.conversation.path {
            Path::Ingress => self.map.plan.ingress_vip,
            Path::Egress | Path::Addressed => self.map.tenant.nat_ip,
        }
    }

    fn forbidden(&self, what: Forbidden) -> (SocketAddrV4, SocketAddrV4) {
        let Map { plan, tenant, other } = self.map;
        let service = self.map.service(self.conversation.index);
        let port = places::client_port(self.conversation.index, 0);
        let at = SocketAddrV4::new;
        let outside = at(places::NPCI_HOSTS[0], port);
        let inside = at(Inside::of(tenant).hosts[0], port);
        match what {
            Forbidden::NoListener => (outside, plan.ingress(1)),
            Forbidden::SourceNotAllowed => (at(places::NPCI_STRANGER, port), service.listener),
            Forbidden::EgressVip => (outside, at(plan.egress_vip, port)),
            Forbidden::NatIpFromOutside => (outside, service.mapped),
            Forbidden::BackendFromOutside => (outside, service.backend),
            Forbidden::VipFromInside => (inside, service.listener),
            Forbidden::OtherNatIp => (inside, other.nat(service.mapped.port())),
            Forbidden::OtherBackend => (inside, at(Inside::of(other).hosts[0], service.backend.port())),
            Forbidden::NoPeer => (inside, at(places::NPCI_NO_PEER, service.npci.port())),
            Forbidden::SpoofedTenant => (at(Inside::of(other).hosts[0], port), service.npci),
            Forbidden::SpoofedNatIp => (at(tenant.nat_ip, port), service.npci),
            Forbidden::NoMapping => (inside, tenant.nat(1)),
        }
    }

    /// Where a packet is put on the wire.
    pub fn origin(&self, send: &Send) -> Place {
        match send.target {
            Target::Forbidden(what) if what.is_from_outside() => Place::Npci,
            Target::Forbidden(_) => Place::Tenant,
            Target::Usual | Target::Gateway => self.place(send.from),
        }
    }

    /// Source and destination of a packet. `seen` is what the server knows as the flow's client.
    fn sockets(&self, send: &Send, seen: Option<SocketAddrV4>) -> (SocketAddrV4, SocketAddrV4) {
        let client = self.client(send.flow);
        match (send.target, send.from.is_near()) {
            (Target::Forbidden(what), _) => self.forbidden(what),
            (Target::Gateway, _) => (client, SocketAddrV4::new(self.gateway(), 0)),
            (Target::Usual, true) => (client, self.called()),
            (Target::Usual, false) => (self.server(), seen.unwrap_or_else(|| self.client_seen(send.flow))),
        }
    }
}

/// What was learned from the packets that arrived.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The client of the flow, as the server saw it.
    pub client: Option<SocketAddrV4>,
    /// The IP packet of the flow that arrived last where this one comes from.
    pub arrived: Option<&'a [u8]>,
}

/// The frames of a packet: one, or its fragments in the order in which they are sent.
pub fn frames(
    parties: &Parties<'_>,
    send: &Send,
    id: u16,
    known: Known<'_>,
    macs: (Mac, Mac),
) -> Vec<Vec<u8>> {
    let packet = packet(parties, send, id, known).id(id).ttl(send.ttl).tos(send.tos).macs(macs.0, macs.1);
    let packet = packet.dont_fragment(send.dont_fragment);
    let packet = if send.options { packet.ip_options(&OPTIONS) } else { packet };
    let packet = send.defect.iter().fold(packet, |packet, defect| packet.defect(*defect));
    let frame = packet.build();
    send.cut.map_or_else(|| vec![frame.clone()], |cut| pieces(&frame, cut))
}

fn packet(parties: &Parties<'_>, send: &Send, id: u16, known: Known<'_>) -> Packet {
    let (src, dst) = parties.sockets(send, known.client);
    let index = parties.conversation.index;
    match send.what {
        What::Tcp { flags, seq, ack, length } => {
            Packet::tcp(src, dst).flags(flags).numbers(seq, ack).payload(&data(index, length))
        }
        What::Udp { length } => Packet::udp(src, dst).payload(&data(index, length)),
        What::EchoRequest { sequence, length } => {
            Packet::echo_request(*src.ip(), *dst.ip(), src.port(), sequence).payload(&data(index, length))
        }
        What::EchoReply { sequence, length } => {
            Packet::echo_reply(*src.ip(), *dst.ip(), dst.port(), sequence).payload(&data(index, length))
        }
        What::Icmp { kind } => Packet::icmp(*src.ip(), *dst.ip(), kind, [0; 4]).payload(&data(index, 12)),
        What::Protocol { number } => Packet::raw(*src.ip(), *dst.ip(), number).payload(&data(index, 40)),
        What::Error { kind, rest, quote } => {
            let quoted = quoted(parties, send, id, quote.of, known);
            let reporter = match send.from {
                Role::Client | Role::Server => *src.ip(),
                router => parties.router(router),
            };
            let to = address(&quoted, 12).unwrap_or(*dst.ip());
            let header = usize::from(quoted[0] & 0x0f) * 4;
            let cut = quoted.len().min(header + quote.bytes);
            Packet::icmp(reporter, to, kind, rest).payload(&quoted[..cut])
        }
    }
}

/// An IP packet that could have arrived, or did.
fn quoted(parties: &Parties<'_>, send: &Send, id: u16, of: Quoted, known: Known<'_>) -> Vec<u8> {
    if let (Quoted::Arrived, Some(arrived)) = (of, known.arrived) {
        return arrived.to_vec();
    }
    let (src, dst) = parties.sockets(send, known.client);
    let stray = SocketAddrV4::new(*src.ip(), STRAY_PORT);
    let frame = match of {
        Quoted::Arrived => Packet::udp(dst, src),
        Quoted::StrayUdp => Packet::udp(dst, stray),
        Quoted::StrayTcp => Packet::tcp(dst, stray),
    };
    frame.id(id).ttl(63).payload(&data(parties.conversation.index, 64)).build().split_off(14)
}

/// The number of the conversation, then bytes that tell where they belong.
pub fn data(index: u64, length: usize) -> Vec<u8> {
    let marker = u32::try_from(index).expect("runs are shorter").to_be_bytes();
    let filler = (0_u8..=250).cycle();
    marker.into_iter().chain(filler).take(length).collect()
}

/// The address at an offset of an IP packet.
pub fn address(packet: &[u8], at: usize) -> Option<Ipv4Addr> {
    packet.get(at..)?.first_chunk::<4>().copied().map(Ipv4Addr::from)
}

fn pieces(frame: &[u8], cut: Cut) -> Vec<Vec<u8>> {
    let mut pieces = fragments(frame, cut.size);
    match cut.order {
        Order::Straight => {}
        Order::Reversed => pieces.reverse(),
        Order::FirstLast => pieces.rotate_left(1),
        Order::LastMissing => pieces.truncate(pieces.len() - 1),
        Order::FirstMissing => drop(pieces.remove(0)),
        Order::Doubled => pieces.insert(1, pieces[0].clone()),
    }
    pieces
}
