//! The lab network of the parity suite, and what is known about it without asking the kernel's routing table.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use gateway_common::abi::{Addr, LinkAddresses, Mac, Side};
use gateway_common::tables::Route;
use gateway_daemon::config::{Config, Interfaces};
use gateway_daemon::datapath::contents::Contents;
use gateway_daemon::datapath::host::{Host, HostLink};
use gateway_daemon::datapath::plan::{TenantIds, contents};
use gateway_tests::topology::{Link, Mode, Topology};
use gateway_tests::{Lab, packet};
use nix::net::if_::if_nametoindex;

use crate::places::{NPCI, Wire, backend, second_backend};

/// Generation of the configuration, which every tracked flow carries. An even one: its Maglev bank is the first.
pub const GENERATION: u32 = 42;
/// Number of the node in `gateway.toml`, the owner of every flow.
pub const NODE: u8 = 7;
const TENANTS: usize = 4;
/// The tenant with the small MTU.
const NARROW_TENANT: usize = 3;
const NARROW_MTU: usize = 600;
/// The tenant on whose interface the kernel does not forward.
const BLOCKED_TENANT: usize = 4;
const WIDE_MTU: usize = 1500;

/// Makes the namespaces. Everything else happens inside the gateway's.
pub fn lab() -> Lab {
    Lab::with(Topology::builder().mode(Mode::XdpNative).tenants(TENANTS))
}

/// Interfaces and routes of the gateway's namespace.
#[derive(Debug)]
pub struct World {
    /// NPCI's side.
    pub external: Wire,
    tenants: Vec<Wire>,
    host: Host,
    config: Config,
}

impl World {
    /// Prepares the gateway's namespace; the calling thread is in it.
    pub fn prepare(lab: &Lab) -> Self {
        let text = include_str!("gateway.toml");
        let config =
            Config::parse("gateway.toml", text, &Interfaces::Unchecked).unwrap_or_else(|e| panic!("{e}"));
        let external = wire(&lab.external, Side::External);
        let mut tenants: Vec<Wire> =
            lab.tenants.iter().map(|tenant| wire(&tenant.link, Side::Internal)).collect();
        tenants[NARROW_TENANT - 1].mtu = NARROW_MTU;
        tenants[BLOCKED_TENANT - 1].forwards = false;
        let world = Self { external, tenants, host: host(lab), config };
        lab.gateway.ip_batch(&world.network_commands());
        lab.gateway.sysctl(&format!("net/ipv4/conf/int.{BLOCKED_TENANT}/forwarding"), "0");
        world
    }

    /// The side of a tenant, from 1.
    pub fn tenant(&self, number: u8) -> Wire {
        self.tenants[usize::from(number) - 1]
    }

    /// Every interface.
    pub fn wires(&self) -> impl Iterator<Item = Wire> {
        std::iter::once(self.external).chain(self.tenants.iter().copied())
    }

    /// What the tables shall hold.
    pub fn desired(&self) -> Contents {
        let names = self.config.tenants.iter().map(|tenant| tenant.name.as_str().to_owned());
        let ids: TenantIds = names.zip((1..).map(gateway_common::abi::TenantId)).collect();
        contents(&self.config, &self.host, &ids, GENERATION).expect("the configuration fits")
    }

    /// Neighbours that never change, a small link, and routes that a tenant's backend should not have.
    fn network_commands(&self) -> String {
        let mut lines = format!("link set int.{NARROW_TENANT} mtu {NARROW_MTU}\n");
        lines.push_str("route add 198.18.0.0/24 via 192.0.2.100 dev ext0\n");
        lines.push_str("route add 203.0.113.64/28 via 192.0.2.100 dev ext0\n");
        let mut neighbour = |address: Ipv4Addr, mac: packet::Mac, device: &str| {
            writeln!(lines, "neigh replace {address} lladdr {mac} dev {device} nud permanent")
                .expect("writes");
        };
        external_hosts().for_each(|address| neighbour(address, self.external.far, "ext0"));
        for (number, wire) in (1..).zip(&self.tenants) {
            neighbour(backend(number), wire.far, &format!("int.{number}"));
            neighbour(second_backend(number), wire.far, &format!("int.{number}"));
        }
        lines
    }

    /// Where packets to each destination go, by the same plan.
    pub fn routes(&self) -> Routes {
        let outside = external_hosts()
            .chain((0..=255).map(|host| Ipv4Addr::new(198, 18, 0, host)))
            .chain((64..80).map(|host| Ipv4Addr::new(203, 0, 113, host)));
        let mut hops: HashMap<Addr, (Wire, Route)> =
            outside.map(|address| (address.into(), (self.external, forward(&self.external)))).collect();
        for (number, wire) in (1..).zip(&self.tenants) {
            for address in inside_hosts(number) {
                let known = [backend(number), second_backend(number)].contains(&address);
                hops.insert(
                    address.into(),
                    (*wire, if known { forward(wire) } else { unresolved(wire, address) }),
                );
            }
        }
        let blocked = self.wires().filter(|wire| !wire.forwards).map(|wire| wire.ifindex).collect();
        Routes { hops, blocked }
    }
}

/// The answers of the kernel's routing table, foretold.
#[derive(Debug)]
pub struct Routes {
    hops: HashMap<Addr, (Wire, Route)>,
    /// Interfaces from which the kernel forwards nothing.
    pub blocked: HashSet<u32>,
}

impl Routes {
    /// For a packet of so many bytes (its IP part).
    pub fn answers(&self, length: usize) -> HashMap<Addr, Route> {
        let answer = |wire: &Wire, route: Route| match route {
            _ if length > wire.mtu => {
                Route::TooLarge { ifindex: wire.ifindex, mtu: u16::try_from(wire.mtu).expect("a small MTU") }
            }
            route => route,
        };
        self.hops.iter().map(|(address, (wire, route))| (*address, answer(wire, *route))).collect()
    }

    /// Would another packet get other answers than a short one?
    pub const fn are_plain(length: usize) -> bool {
        length <= NARROW_MTU
    }
}

/// All hosts of the external subnet but the gateway itself.
fn external_hosts() -> impl Iterator<Item = Ipv4Addr> {
    let [a, b, c, _] = NPCI.octets();
    (2..=254).map(move |host| Ipv4Addr::new(a, b, c, host))
}

/// All hosts of a tenant's subnet but the gateway itself; to the kernel the lowest address is one as well.
fn inside_hosts(tenant: u8) -> impl Iterator<Item = Ipv4Addr> {
    let [a, b, c, first] = backend(tenant).octets();
    std::iter::once(first - 2).chain(first..first + 13).map(move |host| Ipv4Addr::new(a, b, c, host))
}

fn unresolved(wire: &Wire, next_hop: Ipv4Addr) -> Route {
    Route::Unresolved { ifindex: wire.ifindex, next_hop: next_hop.into() }
}

fn forward(wire: &Wire) -> Route {
    Route::Forward {
        ifindex: wire.ifindex,
        link: LinkAddresses::new(Mac::new(wire.far.0), Mac::new(wire.near.0)),
    }
}

fn wire(link: &Link, side: Side) -> Wire {
    let (near, far) = (link.near_mac, link.far_mac);
    Wire { ifindex: ifindex(link), side, near, far, mtu: WIDE_MTU, forwards: true }
}

fn ifindex(link: &Link) -> u32 {
    if_nametoindex(link.near.as_str()).unwrap_or_else(|error| panic!("index of {}: {error}", link.near))
}

/// What the daemon would read from the kernel.
fn host(lab: &Lab) -> Host {
    let links = lab.links().map(|(_, link)| HostLink {
        index: ifindex(link),
        name: link.near.clone(),
        mac: Mac::new(link.near_mac.0),
        kind: Some("veth".to_owned()),
        vlan: None,
    });
    let gateways = lab.tenants.iter().map(|tenant| tenant.plan.gateway);
    let addresses = gateways.chain([lab.plan.gateway_external]).collect();
    Host { links: links.collect(), addresses }
}
