//! From the typed objects back to what people write. What has its default is left out.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::Ipv4Net;

use super::choice::{OnBackendDown, SourceMode, WhenAllDown};
use super::health::{CheckKind, DEFAULT_PATH, DEFAULT_STATUSES, DEFAULT_TIMEOUT, HealthCheck};
use super::hex::{hex, hex_pattern};
use super::model::{Backend, Config, Egress, Endpoint, Listener, PeerGroup, Pool, Tenant};
use super::port::Port;
use super::tenant_limits::{TenantLimits, TenantPorts, TenantTimeouts};
use crate::tenancy::Tenancy;
use crate::tenancy::spec::{
    BackendSpec, EgressSpec, EndpointSpec, HealthSpec, ListenerSpec, PeerGroupSpec, PoolSpec, TenantSpec,
    TimeoutsSpec,
};

impl Config {
    /// The tenants and peer groups as people write them: the inverse of [`Config::with_tenancy`].
    pub fn tenancy(&self) -> Tenancy {
        let groups = self.peer_groups.iter().map(|group| peer_group(group));
        let tenants = self.tenants.iter().map(|tenant| self.tenant_spec(tenant));
        Tenancy {
            peer_groups: groups.map(|group| (group.name.clone(), Arc::new(group))).collect(),
            tenants: tenants.map(|tenant| (tenant.name.clone(), Arc::new(tenant))).collect(),
        }
    }

    fn tenant_spec(&self, tenant: &Tenant) -> TenantSpec {
        let group_name = |index| self.peer_group(index).name.to_string();
        TenantSpec {
            name: tenant.name.to_string(),
            nat_ip: tenant.nat_ip.to_string(),
            sources: prefixes(&tenant.sources),
            peer_groups: tenant.peer_groups.iter().copied().map(group_name).collect(),
            state: tenant.state,
            drain_until: unix_secs(tenant.drain_until),
            hairpin_to: tenant.hairpin_to.iter().map(ToString::to_string).collect(),
            pool: tenant.pools.iter().map(pool).collect(),
            listener: tenant.listeners.iter().map(|one| listener(tenant, one)).collect(),
            egress: tenant.egress.iter().copied().map(egress).collect(),
            ..limits(&tenant.limits)
        }
    }
}

/// A tenant with these limits, and nothing else.
fn limits(limits: &TenantLimits) -> TenantSpec {
    let (reserved_ports, ports_per_destination) = match limits.ports {
        TenantPorts::Shared => (None, None),
        TenantPorts::Reserved(ports) => (Some(ports), None),
        TenantPorts::PerDestination(ports) => (None, Some(ports)),
    };
    TenantSpec {
        max_flows: limits.max_flows,
        new_flows_per_second: limits.new_flows.map(|new| new.per_second),
        new_flows_burst: limits.new_flows.and_then(|new| new.burst),
        reserved_ports,
        ports_per_destination,
        mss_clamp: limits.mss_clamp.map(u32::from),
        loose_source: unless(limits.loose_source, &false),
        timeouts: timeouts(&limits.timeouts),
        ..TenantSpec::default()
    }
}

fn timeouts(timeouts: &TenantTimeouts) -> Option<TimeoutsSpec> {
    let secs = |timeout: Duration| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
    let spec = TimeoutsSpec {
        tcp_established_secs: timeouts.tcp_established.map(secs),
        udp_secs: timeouts.udp.map(secs),
        allow_short_timeouts: unless(timeouts.allow_short, &false),
    };
    unless(spec, &TimeoutsSpec::default())
}

fn peer_group(group: &PeerGroup) -> PeerGroupSpec {
    let endpoint = |endpoint: &Endpoint| EndpointSpec {
        address: prefix(endpoint.address),
        protocol: endpoint.protocol.to_string(),
        port: endpoint.port.map(Port::get),
    };
    PeerGroupSpec { name: group.name.to_string(), endpoint: group.endpoints.iter().map(endpoint).collect() }
}

fn pool(pool: &Pool) -> PoolSpec {
    let slow_start = u32::try_from(pool.slow_start.as_secs()).unwrap_or(u32::MAX);
    PoolSpec {
        name: pool.name.to_string(),
        when_all_down: unless(pool.when_all_down, &WhenAllDown::Refuse).map(|word| word.to_string()),
        on_backend_down: unless(pool.on_backend_down, &OnBackendDown::Keep).map(|word| word.to_string()),
        slow_start_secs: unless(slow_start, &0),
        health: pool.health.as_deref().map(|check| Box::new(health(check))),
        backend: pool.backends.iter().map(backend).collect(),
    }
}

fn health(check: &HealthCheck) -> HealthSpec {
    let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    HealthSpec {
        interval_ms: unless(ms(check.interval), &2_000),
        timeout_ms: unless(ms(check.timeout), &ms(DEFAULT_TIMEOUT.min(check.interval))),
        rise: unless(u32::from(check.rise), &2),
        fall: unless(u32::from(check.fall), &3),
        jitter_percent: unless(u32::from(check.jitter_percent), &10),
        assume_up: unless(check.assume_up, &false),
        passive: unless(check.passive, &true),
        port: check.port.map(Port::get),
        ..kind(&check.kind)
    }
}

/// The fields that depend on what the check does.
fn kind(kind: &CheckKind) -> HealthSpec {
    let of = |check: &str| HealthSpec { check: check.to_owned(), ..HealthSpec::default() };
    match kind {
        CheckKind::Tcp => of("tcp"),
        CheckKind::Tls { host } => HealthSpec { host: host.clone(), ..of("tls") },
        CheckKind::Http { tls, path, host, expect } => HealthSpec {
            path: unless(path.as_str(), &DEFAULT_PATH).map(str::to_owned),
            host: host.clone(),
            expect_status: unless(expect.to_string().as_str(), &DEFAULT_STATUSES).map(str::to_owned),
            ..of(if *tls { "https" } else { "http" })
        },
        CheckKind::Script { send, expect } => HealthSpec {
            send_hex: unless(hex(send), &String::new()),
            expect_hex: Some(hex_pattern(expect.iter().copied())),
            ..of("script")
        },
    }
}

fn backend(backend: &Backend) -> BackendSpec {
    BackendSpec {
        address: backend.address.to_string(),
        port: backend.port.get(),
        weight: unless(backend.weight.get(), &1),
        state: backend.state,
        drain_until: unix_secs(backend.drain_until),
    }
}

fn listener(tenant: &Tenant, listener: &Listener) -> ListenerSpec {
    ListenerSpec {
        name: listener.name.to_string(),
        protocol: listener.protocol.to_string(),
        port: listener.port.get(),
        pool: tenant.pool(listener.pool).name.to_string(),
        source: unless(listener.source, &SourceMode::Nat).map(|word| word.to_string()),
        allow: prefixes(&listener.allow),
    }
}

fn egress(egress: Egress) -> EgressSpec {
    EgressSpec { protocol: egress.protocol.to_string(), port: egress.port.get(), to: egress.to.to_string() }
}

fn unless<T: PartialEq>(value: T, default: &T) -> Option<T> {
    (value != *default).then_some(value)
}

fn unix_secs(time: Option<SystemTime>) -> Option<u64> {
    time.map(|time| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn prefixes(prefixes: &[Ipv4Net]) -> Vec<String> {
    prefixes.iter().copied().map(prefix).collect()
}

/// One host without its length.
fn prefix(prefix: Ipv4Net) -> String {
    if prefix.prefix_len() == 32 { prefix.addr().to_string() } else { prefix.to_string() }
}
