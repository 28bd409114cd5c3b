//! NPCI, one gateway and its tenants, with real servers on both sides: what the end-to-end tests, the proof and the
//! demonstration run against.
//!
//! | who | serves |
//! |---|---|
//! | tenant *n* | HTTP on both backends, UDP echo on the first; behind ingress VIP port 8440+*n* (TCP) and 5300+*n* (UDP) |
//! | NPCI | HTTP and UDP echo on its endpoint; a tenant reaches it by its address, or by its NAT IP and port 9001 |

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::{
    gateway::{Gateway, GatewayConfig},
    lab::Lab,
    servers::{Nginx, UdpEcho},
    topology::{Tenant, Topology},
};

/// Port of the backends' HTTP servers.
const WEB_PORT: u16 = 8080;
/// Port of the backends' UDP echo.
const ECHO_PORT: u16 = 5353;
/// Port of a tenant NAT IP that stands for NPCI's endpoint.
pub const MAPPED_PORT: u16 = 9001;
/// What NPCI's servers call themselves.
pub const NPCI: &str = "npci";

/// All of it, running.
#[derive(Debug)]
pub struct World<'lab> {
    /// The gateway. Dropped first, so its programs are gone before the servers are.
    pub gateway: Gateway<'lab>,
    /// NPCI's HTTP server.
    pub npci: Nginx,
    /// The tenants' HTTP servers, by number - 1.
    pub tenants: Vec<Nginx>,
    lab: &'lab Lab,
    _echoes: Vec<UdpEcho>,
}

impl<'lab> World<'lab> {
    /// Starts servers and gateway.
    #[track_caller]
    pub fn start(lab: &'lab Lab) -> Self {
        Self::start_with(lab, |_| ())
    }

    /// The same; `adjust` changes the configuration before the gateway starts.
    #[track_caller]
    pub fn start_with(lab: &'lab Lab, adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let npci_endpoint = lab.plan.npci_endpoint();
        let npci = Nginx::start(&lab.npci, NPCI, &[npci_endpoint]);
        let tenants = lab.tenants.iter().map(start_web).collect();
        let mut echoes = vec![UdpEcho::start(&lab.npci, NPCI, npci_endpoint)];
        echoes.extend(lab.tenants.iter().map(start_echo));
        let gateway = Gateway::start(lab, |config| {
            configure(config, lab);
            adjust(config);
        });
        Self { gateway, npci, tenants, lab, _echoes: echoes }
    }

    /// Where NPCI reaches a tenant by HTTP.
    pub fn web(&self, tenant: usize) -> SocketAddrV4 {
        self.lab.plan.ingress(web_listener(tenant))
    }

    /// Where NPCI reaches a tenant by UDP.
    pub fn echo(&self, tenant: usize) -> SocketAddrV4 {
        self.lab.plan.ingress(echo_listener(tenant))
    }

    /// Where a tenant reaches NPCI by the address of its own NAT IP.
    pub fn mapped(&self, tenant: usize) -> SocketAddrV4 {
        self.lab.tenant(tenant).plan.nat(MAPPED_PORT)
    }
}

/// The port of the ingress VIP that leads to a tenant's HTTP servers.
pub fn web_listener(tenant: usize) -> u16 {
    8440 + u16::try_from(tenant).expect("few tenants")
}

/// The port of the ingress VIP that leads to a tenant's UDP echo.
pub fn echo_listener(tenant: usize) -> u16 {
    5300 + u16::try_from(tenant).expect("few tenants")
}

/// Where a tenant's HTTP server listens: on both its backends.
pub fn web_backends(tenant: &Tenant) -> Vec<SocketAddrV4> {
    tenant.plan.backends.iter().map(|address| SocketAddrV4::new(*address, WEB_PORT)).collect()
}

fn start_web(tenant: &Tenant) -> Nginx {
    Nginx::start(&tenant.namespace, &tenant.plan.name, &web_backends(tenant))
}

fn start_echo(tenant: &Tenant) -> UdpEcho {
    UdpEcho::start(&tenant.namespace, &tenant.plan.name, echo_backend(tenant.plan.backend()))
}

fn echo_backend(address: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(address, ECHO_PORT)
}

/// Adds every tenant's pools, listeners and mapped port.
pub fn configure(config: &mut GatewayConfig, topology: &Topology) {
    let npci = topology.plan.npci_endpoint();
    for (number, tenant) in (1..).zip(&topology.tenants) {
        config
            .tenant(number)
            .add_pool("web", &web_backends(tenant))
            .add_pool("echo", &[echo_backend(tenant.plan.backend())])
            .add_listener("tcp", web_listener(number), "web")
            .add_listener("udp", echo_listener(number), "echo")
            .add_egress("tcp", MAPPED_PORT, npci)
            .add_egress("udp", MAPPED_PORT, npci);
    }
}
