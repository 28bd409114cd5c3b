//! NPCI, gateway and tenants as namespaces joined by veths.
//!
//! ```text
//!   npci namespace                gateway namespace                    tenant<i> namespace
//!   npci0  192.0.2.100, .101,     ext0   192.0.2.1    int<i> .16i+1    eth0  198.51.100.(16i+2), (16i+3)
//!          .102 (endpoints) <---> VIPs   192.0.2.10, .20       <---->  default route via .16i+1
//!   no route to the tenants       NAT IP 198.51.100.(16i+14)
//! ```
//!
//! There is no VLAN interface: the kernels these tests run on may lack `CONFIG_VLAN_8021Q`. Tagged frames are
//! injected by hand ([`crate::packet::Packet::vlan`], [`crate::raw::RawSocket`]) and captured with their
//! tags.
//!
//! Tenants 16 to 30 are in 203.0.113.0/24, laid out in the same way.
//!
//! The VIPs and the tenant NAT IPs are on-link for their neighbours and configured nowhere: the gateway
//! answers ARP for them.

mod beyond;
mod builder;
mod plan;

pub use beyond::{Beyond, BeyondPlan};
pub use builder::Builder;
pub use plan::{AddressPlan, MOST_TENANTS, TenantPlan};

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::{Capture, Keep};
use crate::fence::Fence;
use crate::netns::Namespace;
use crate::packet::Mac;
use crate::poll::poll_until;
use crate::session::Session;

/// How the gateway's programs will be attached, which decides the offloads of the far ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// TC: offloads stay on, so that GSO packets and half-done checksums occur as between pods of one node.
    Tc,
    /// XDP in the veth driver: needs `tx off` (checksums) and `gro on` (NAPI, for redirects) at the far ends.
    XdpNative,
    /// XDP on socket buffers: the same settings.
    XdpGeneric,
}

impl Mode {
    /// All three, for tests that run in each.
    pub const ALL: [Self; 3] = [Self::Tc, Self::XdpNative, Self::XdpGeneric];

    /// True for both XDP modes.
    pub fn is_xdp(self) -> bool {
        !matches!(self, Self::Tc)
    }
}

/// A veth between the gateway ("near") and somebody else ("far").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The gateway's end; programs are attached here.
    pub near: String,
    /// Its link-layer address.
    pub near_mac: Mac,
    /// The other end.
    pub far: String,
    /// Its link-layer address.
    pub far_mac: Mac,
}

/// A tenant with its addresses, namespace and link.
#[derive(Debug)]
pub struct Tenant {
    /// Addresses.
    pub plan: TenantPlan,
    /// Where its backends run.
    pub namespace: Namespace,
    /// To the gateway.
    pub link: Link,
}

/// The whole lab network. Drop removes it.
#[derive(Debug)]
pub struct Topology {
    /// Attachment mode that the offloads are set for.
    pub mode: Mode,
    /// Of every link, in bytes.
    pub mtu: u32,
    /// All addresses.
    pub plan: AddressPlan,
    /// NPCI's side.
    pub npci: Namespace,
    /// Where the daemon runs.
    pub gateway: Namespace,
    /// Between NPCI and the gateway.
    pub external: Link,
    /// In order of their numbers, which begin at 1.
    pub tenants: Vec<Tenant>,
    session: Arc<Session>,
}

impl Topology {
    /// A builder with three tenants, MTU 1500 and TC mode.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The lab that it belongs to.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// A tenant by its number, from 1.
    pub fn tenant(&self, number: usize) -> &Tenant {
        &self.tenants[number - 1]
    }

    /// Every namespace.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        [&self.npci, &self.gateway].into_iter().chain(self.tenants.iter().map(|tenant| &tenant.namespace))
    }

    /// Every link with the namespace of its far end.
    pub fn links(&self) -> impl Iterator<Item = (&Namespace, &Link)> {
        let tenants = self.tenants.iter().map(|tenant| (&tenant.namespace, &tenant.link));
        std::iter::once((&self.npci, &self.external)).chain(tenants)
    }

    /// Captures what NPCI sees.
    pub fn capture_npci(&self) -> Capture {
        self.capture_far_end(&self.npci, &self.external, Keep::Whole)
    }

    /// Captures what a tenant sees; its number begins at 1.
    pub fn capture_tenant(&self, number: usize) -> Capture {
        let tenant = self.tenant(number);
        self.capture_far_end(&tenant.namespace, &tenant.link, Keep::Whole)
    }

    /// Captures at the far end of a link, exactly up to `stop`.
    pub fn capture_far_end(&self, far: &Namespace, link: &Link, keep: Keep) -> Capture {
        Capture::start_fenced(far, &link.far, (&self.gateway, &link.near), keep)
    }

    /// Returns when every packet sent by NPCI or a tenant before this call has passed the gateway and
    /// arrived, or was dropped.
    ///
    /// First all far ends are fenced towards the gateway, which then has processed what they sent, then the
    /// other way.
    #[track_caller]
    pub fn settle(&self) {
        for (far, link) in self.links() {
            Fence::between((far, &link.far), (&self.gateway, &link.near)).cross();
        }
        for (far, link) in self.links() {
            Fence::between((&self.gateway, &link.near), (far, &link.far)).cross();
        }
    }

    /// Fills the neighbour tables of both ends of every link, so that no first packet waits for ARP.
    pub fn warm_neighbours(&self) {
        let endpoints = self.plan.npci_endpoints.iter();
        endpoints.for_each(|address| warm(&self.gateway, &self.external.near, *address));
        warm(&self.npci, &self.external.far, self.plan.gateway_external);
        for tenant in &self.tenants {
            let backends = tenant.plan.backends.iter();
            backends.for_each(|address| warm(&self.gateway, &tenant.link.near, *address));
            warm(&tenant.namespace, &tenant.link.far, tenant.plan.gateway);
        }
    }

    /// The state of every namespace, for the evidence of a failed test.
    pub fn describe(&self) -> String {
        self.namespaces().map(Namespace::describe).collect()
    }
}

/// Pings until the neighbour answers ARP: a lone datagram would do, but ping is there.
fn warm(namespace: &Namespace, interface: &str, address: Ipv4Addr) {
    poll_until(Duration::from_secs(10), &format!("{} to resolve {address}", namespace.role()), || {
        namespace.knows_neighbour(interface, address).then_some(()).or_else(|| {
            namespace.ping(address, 1);
            None
        })
    });
}
