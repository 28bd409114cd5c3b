//! Making the topology.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::plan::{AddressPlan, TenantPlan};
use super::{Link, Mode, Tenant, Topology};
use crate::netns::Namespace;
use crate::packet::Mac;
use crate::session::Session;

/// What to build.
#[derive(Debug, Clone)]
pub struct Builder {
    mode: Mode,
    tenants: usize,
    mtu: u32,
    external_mtu: Option<u32>,
    queues: u32,
    npci_route_to_tenants: bool,
    forwarding: bool,
    plan: AddressPlan,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            mode: Mode::Tc,
            tenants: 3,
            mtu: 1500,
            external_mtu: None,
            queues: 1,
            npci_route_to_tenants: false,
            forwarding: true,
            plan: AddressPlan::default(),
        }
    }
}

impl Builder {
    /// How the gateway will be attached.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// How many tenants, at most [`super::MOST_TENANTS`].
    #[must_use]
    pub fn tenants(mut self, count: usize) -> Self {
        self.tenants = count;
        self
    }

    /// MTU of all links. Native XDP on veth refuses more than about 3,500 bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Another MTU on the link to NPCI, to make "fragmentation needed" happen.
    #[must_use]
    pub fn external_mtu(mut self, mtu: u32) -> Self {
        self.external_mtu = Some(mtu);
        self
    }

    /// Queues of each veth, one by default. The kernel's default is one a CPU, which lets two CPUs work on
    /// one link at once (for benchmarks and tests of races), but then frames can overtake a fence, and
    /// captures are exact no more.
    #[must_use]
    pub fn queues(mut self, count: u32) -> Self {
        self.queues = count;
        self
    }

    /// Gives NPCI a route to the tenants' subnets through the gateway. Without it, an answer from NPCI proves
    /// NAT.
    #[must_use]
    pub fn npci_route_to_tenants(mut self) -> Self {
        self.npci_route_to_tenants = true;
        self
    }

    /// Whether the gateway's kernel forwards (on by default: `bpf_fib_lookup` refuses without). It then also
    /// forwards whatever a program passes, so that a packet which escapes NAT is seen at the far end instead
    /// of vanishing.
    #[must_use]
    pub fn forwarding(mut self, on: bool) -> Self {
        self.forwarding = on;
        self
    }

    /// Other addresses on the external side.
    #[must_use]
    pub fn plan(mut self, plan: AddressPlan) -> Self {
        self.plan = plan;
        self
    }

    /// Builds it in a session of its own.
    pub fn build(self) -> Topology {
        self.build_in(&Session::start())
    }

    /// Builds it in a given session.
    pub fn build_in(self, session: &Arc<Session>) -> Topology {
        let npci = Namespace::create(session, "npci");
        let gateway = Namespace::create(session, "gateway");
        gateway.sysctl("net/ipv4/ip_forward", if self.forwarding { "1" } else { "0" });
        let external = self.connect_npci(&npci, &gateway);
        let tenants = (1..=self.tenants).map(|number| self.add_tenant(session, &gateway, number)).collect();
        let topology = Topology {
            mode: self.mode,
            mtu: self.mtu,
            plan: self.plan.clone(),
            npci,
            gateway,
            external,
            tenants,
            session: Arc::clone(session),
        };
        self.route_npci(&topology);
        topology
    }

    fn connect_npci(&self, npci: &Namespace, gateway: &Namespace) -> Link {
        let link = link("npci0", "ext0", 0);
        let prefix = self.plan.external_subnet.prefix_len();
        let near = [self.plan.gateway_external];
        self.connect(&link, (npci, &self.plan.npci_endpoints), (gateway, &near), prefix);
        link
    }

    fn add_tenant(&self, session: &Arc<Session>, gateway: &Namespace, number: usize) -> Tenant {
        let plan = TenantPlan::numbered(number);
        let namespace = Namespace::create(session, &format!("tenant{number}"));
        // With a dot, as VLAN devices are called: it must not get into names where the kernel takes none.
        let link = link("eth0", &format!("int.{number}"), number);
        let near = [plan.gateway];
        self.connect(&link, (&namespace, &plan.backends), (gateway, &near), plan.subnet.prefix_len());
        namespace.ip(&["route", "add", "default", "via", &plan.gateway.to_string()]);
        Tenant { plan, namespace, link }
    }

    /// Makes the veth from inside the far namespace, so that it never shows up in the host's.
    fn connect(
        &self,
        link: &Link,
        far: (&Namespace, &[Ipv4Addr]),
        near: (&Namespace, &[Ipv4Addr]),
        prefix: u8,
    ) {
        let mtu = self.external_mtu.filter(|_| link.near == "ext0").unwrap_or(self.mtu);
        let queues = format!("numtxqueues {0} numrxqueues {0}", self.queues);
        let Link { near: near_device, near_mac, far: far_device, far_mac } = link;
        far.0.ip_batch(&format!(
            "link add {far_device} address {far_mac} mtu {mtu} {queues} type veth \
             peer name {near_device} address {near_mac} mtu {mtu} {queues} netns {}\n",
            near.0.name()
        ));
        self.set_offloads(far.0, far_device);
        far.0.ip_batch(&interface_commands(far_device, far.1, prefix));
        near.0.ip_batch(&interface_commands(near_device, near.1, prefix));
    }

    fn set_offloads(&self, far: &Namespace, device: &str) {
        if self.mode.is_xdp() {
            far.offloads(device, &["tx", "off", "gro", "on"]);
        }
    }

    fn route_npci(&self, topology: &Topology) {
        if self.npci_route_to_tenants {
            let route = |subnet: Ipv4Net| format!("route add {subnet} via {}\n", self.plan.gateway_external);
            let routes: String = topology.tenants.iter().map(|tenant| route(tenant.plan.subnet)).collect();
            topology.npci.ip_batch(&routes);
        }
    }
}

/// Link-layer addresses tell in a capture who is who: `02:00:00:00:01:<link>` near, `02:00:00:00:02:<link>`
/// far.
fn link(far: &str, near: &str, number: usize) -> Link {
    let number = u32::try_from(number).expect("few links");
    Link {
        near: near.to_owned(),
        near_mac: Mac::local(0x0100 + number),
        far: far.to_owned(),
        far_mac: Mac::local(0x0200 + number),
    }
}

fn interface_commands(device: &str, addresses: &[Ipv4Addr], prefix: u8) -> String {
    addresses.iter().fold(format!("link set {device} up\n"), |mut lines, address| {
        writeln!(lines, "addr add {address}/{prefix} dev {device}").expect("writes to memory");
        lines
    })
}
