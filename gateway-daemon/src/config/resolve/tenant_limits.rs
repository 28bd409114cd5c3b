//! The limits of one tenant.

use std::time::Duration;

use super::mismatch::Mismatch;
use super::settings::small;
use crate::config::bounded::{Bounds, OrNone};
use crate::config::file;
use crate::config::limits::{TcpEstablishedSecs, TenantIdleSecs, UdpSecs};
use crate::config::problem::{Located, Problems};
use crate::config::tenant_limits::{NewFlows, TenantLimits, TenantPorts, TenantTimeouts};

pub(super) fn resolve(section: &file::Tenant, problems: &mut Problems) -> TenantLimits {
    TenantLimits {
        max_flows: section.max_flows.value.get(),
        new_flows: new_flows(section, problems),
        ports: ports(section, problems),
        mss_clamp: section.mss_clamp.value.get().map(small),
        loose_source: section.loose_source.value,
        timeouts: timeouts(&section.timeouts, problems),
    }
}

fn new_flows(section: &file::Tenant, problems: &mut Problems) -> Option<NewFlows> {
    let burst = section.new_flows_burst.value.get();
    let new_flows = section.new_flows_per_second.value.get().map(|per_second| NewFlows { per_second, burst });
    if burst.is_some() && new_flows.is_none() {
        problems.add(&section.new_flows_burst.at, &Mismatch::BurstOfNothing);
    }
    new_flows
}

fn ports(section: &file::Tenant, problems: &mut Problems) -> TenantPorts {
    match (section.reserved_ports.value.get(), section.ports_per_destination.value.get()) {
        (Some(_), Some(_)) => {
            problems.add(&section.ports_per_destination.at, &Mismatch::ReservedAndShared);
            TenantPorts::Shared
        }
        (Some(ports), None) => TenantPorts::Reserved(ports),
        (None, Some(ports)) => TenantPorts::PerDestination(ports),
        (None, None) => TenantPorts::Shared,
    }
}

fn timeouts(section: &file::TenantTimeouts, problems: &mut Problems) -> TenantTimeouts {
    let allow_short = section.allow_short_timeouts.value;
    let mut long_enough = |field: &Located<OrNone<TenantIdleSecs>>, min: u32, rfc: &'static str| {
        let secs = field.value.get()?;
        if secs < min && !allow_short {
            problems.add(&field.at, &Mismatch::ShortTimeout { secs, min, rfc });
        }
        Some(Duration::from_secs(secs.into()))
    };
    TenantTimeouts {
        tcp_established: long_enough(
            &section.tcp_established_secs,
            TcpEstablishedSecs::MIN,
            "RFC 5382 REQ-5",
        ),
        udp: long_enough(&section.udp_secs, UdpSecs::MIN, "RFC 4787 REQ-5"),
        allow_short,
    }
}
