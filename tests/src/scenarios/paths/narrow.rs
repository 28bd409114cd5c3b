//! Which link of the way is too small for what the hosts believe in.

use super::Stage;
use crate::netns::Namespace;

/// Of that link: what NPCI's circuits have.
pub const MTU: u32 = 1300;

/// One of the links that neither host has an interface on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    /// Between NPCI's routers: one of them complains to the gateway.
    BeyondNpci,
    /// Between NPCI and the gateway: the gateway complains to tenants itself.
    External,
    /// Between the gateway and the tenant: the gateway complains to NPCI itself.
    Internal,
    /// Between the tenant's routers.
    BeyondTenant,
}

impl Narrow {
    /// From NPCI to the tenant.
    pub const ALL: [Self; 4] = [Self::BeyondNpci, Self::External, Self::Internal, Self::BeyondTenant];

    /// Has the gateway an interface on it?
    pub fn is_the_gateways(self) -> bool {
        matches!(self, Self::External | Self::Internal)
    }

    /// Makes it small, runs `work`, and makes it as large as before. The hosts forget what they have learned before and after.
    #[track_caller]
    pub(super) fn during<T>(self, stage: &Stage<'_>, work: impl FnOnce() -> T) -> T {
        self.resize(stage, MTU);
        let result = work();
        self.resize(stage, stage.lab.mtu);
        result
    }

    #[track_caller]
    fn resize(self, stage: &Stage<'_>, mtu: u32) {
        for (namespace, device) in self.ends(stage) {
            namespace.ip(&["link", "set", "dev", device, "mtu", &mtu.to_string()]);
        }
        stage.forget();
    }

    fn ends<'a>(self, stage: &'a Stage<'_>) -> [(&'a Namespace, &'a str); 2] {
        let (lab, tenant) = (stage.lab, stage.lab.tenant(1));
        match self {
            Self::BeyondNpci => stage.npci.first_link(&lab.npci),
            Self::External => [(&lab.npci, &lab.external.far), (&lab.gateway, &lab.external.near)],
            Self::Internal => [(&lab.gateway, &tenant.link.near), (&tenant.namespace, &tenant.link.far)],
            Self::BeyondTenant => stage.bank.first_link(&tenant.namespace),
        }
    }
}
