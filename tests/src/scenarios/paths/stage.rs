//! The gateway with a host beyond each of its ends, and what these serve.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use crate::{
    gateway::{Endpoint, Gateway, GatewayConfig, Route},
    lab::Lab,
    netns::Namespace,
    servers::Nginx,
    tool,
    topology::{Beyond, Mode, Topology},
    world::MAPPED_PORT,
};

/// Of every link that nothing else is said of, in bytes.
pub const BELIEVED_MTU: usize = 1500;
/// Port of the ingress VIP that leads to the bank's HTTP server.
const WEB_LISTENER: u16 = 8441;
/// Port of the bank's HTTP server.
const WEB_PORT: u16 = 8080;
/// First of the UDP ports that nobody serves and everybody may ask.
pub const FIRST_TRACED_PORT: u16 = 33_400;
/// `tracepath` takes the next one for each datagram and begins anew after so many.
const TRACED_PORTS: u16 = 64;

/// Documentation addresses that the lab's plan leaves to tenants 16 to 30, who are not there.
fn ranges() -> [Ipv4Net; 2] {
    [0, 32].map(|host| Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, host), 28))
}

/// One tenant, and all of it running.
#[derive(Debug)]
pub struct Stage<'lab> {
    /// Dropped first, so its programs are gone before the servers are.
    pub gateway: Gateway<'lab>,
    /// NPCI's HTTP server.
    pub npci_web: Nginx,
    /// The bank's HTTP server.
    pub bank_web: Nginx,
    /// Behind NPCI's end.
    pub npci: Beyond,
    /// Behind the tenant's end.
    pub bank: Beyond,
    pub lab: &'lab Lab,
}

/// What a stage is made in.
pub fn lab(mode: Mode) -> Lab {
    Lab::with(Topology::builder().mode(mode).tenants(1))
}

impl<'lab> Stage<'lab> {
    /// Starts servers and gateway; `adjust` changes the configuration before.
    #[track_caller]
    pub fn start(lab: &'lab Lab, adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let ends = [&lab.npci, &lab.tenant(1).namespace];
        let [npci, bank] = [0, 1].map(|side| Beyond::connect(ends[side], ranges()[side]));
        let npci_web = Nginx::start(&npci.host, "npci", &[npci_web(lab, &npci)]);
        let bank_web = Nginx::start(&bank.host, "bank", &[bank_web(&bank)]);
        lab.warm_neighbours();
        carry_no_more_than_fits(lab);
        let gateway = Gateway::start(lab, |config| {
            configure(config, lab, &npci, &bank);
            adjust(config);
        });
        Self { gateway, npci_web, bank_web, npci, bank, lab }
    }

    /// Where NPCI's host reaches the bank's server.
    pub fn web(&self) -> SocketAddrV4 {
        self.lab.plan.ingress(WEB_LISTENER)
    }

    /// Where the bank's host reaches NPCI's server.
    pub fn npci_endpoint(&self) -> SocketAddrV4 {
        npci_web(self.lab, &self.npci)
    }

    /// The same by the tenant NAT IP.
    pub fn mapped(&self) -> SocketAddrV4 {
        self.lab.tenant(1).plan.nat(MAPPED_PORT)
    }

    /// Lets both hosts forget what they have learned of the way, so that the next call learns it anew.
    #[track_caller]
    pub fn forget(&self) {
        for host in [&self.npci.host, &self.bank.host] {
            host.ip(&["route", "flush", "cache"]);
        }
    }

    /// Packets that were too large for an interface of the gateway's, so that it said so itself.
    #[track_caller]
    pub fn refused_for_size(&self) -> u64 {
        self.gateway.drops().get("mtu_exceeded").copied().unwrap_or(0)
    }

    /// Frames that the gateway sent and its links lost.
    #[track_caller]
    pub fn lost(&self) -> u64 {
        [&self.lab.external, &self.lab.tenant(1).link]
            .map(|link| lost(&self.lab.gateway, &link.near))
            .iter()
            .sum()
    }
}

/// A veth takes packets that stand for many frames (GSO) whatever its MTU is. A wire does not: these interfaces cut such
/// packets as a network card would, and lose the frames that are too large.
fn carry_no_more_than_fits(lab: &Lab) {
    if !lab.mode.is_xdp() {
        for link in [&lab.external, &lab.tenant(1).link] {
            lab.gateway.offloads(&link.near, &["tx", "off", "tso", "off", "gso", "off"]);
        }
    }
}

fn npci_web(lab: &Lab, npci: &Beyond) -> SocketAddrV4 {
    SocketAddrV4::new(npci.plan.host(), lab.plan.npci_port)
}

fn bank_web(bank: &Beyond) -> SocketAddrV4 {
    SocketAddrV4::new(bank.plan.host(), WEB_PORT)
}

fn configure(config: &mut GatewayConfig, lab: &Lab, npci: &Beyond, bank: &Beyond) {
    let route = |to: &Beyond, via: Ipv4Addr| Route::new(&to.plan.range.to_string(), &via.to_string());
    config.route = vec![route(npci, lab.plan.npci()), route(bank, lab.tenant(1).plan.backend())];
    let any_port = |protocol| Endpoint { address: format!("{}/32", npci.plan.host()), protocol, port: None };
    config.peer_group[0].endpoint.extend(["tcp", "udp", "icmp"].map(any_port));
    let tenant = config.tenant(1);
    tenant.sources.push(bank.plan.range.to_string());
    let nobody = SocketAddrV4::new(bank.plan.host(), FIRST_TRACED_PORT);
    tenant.add_pool("web", &[bank_web(bank)]).add_pool("nobody", &[nobody]);
    tenant.add_listener("tcp", WEB_LISTENER, "web").add_egress("tcp", MAPPED_PORT, npci_web(lab, npci));
    for port in (FIRST_TRACED_PORT..).take(usize::from(TRACED_PORTS)) {
        tenant.add_listener("udp", port, "nobody");
    }
    for listener in &mut tenant.listener {
        listener.allow = vec![npci.plan.range.to_string()];
    }
}

#[track_caller]
fn lost(namespace: &Namespace, device: &str) -> u64 {
    let mut command = tool::ip(["-n", namespace.name(), "-json", "-statistics", "link", "show", "dev"]);
    command.arg(device);
    let shown: serde_json::Value = serde_json::from_str(&tool::run(command)).expect("`ip -json` prints JSON");
    shown[0]["stats64"]["tx"]["dropped"].as_u64().expect("a veth counts what it drops")
}
