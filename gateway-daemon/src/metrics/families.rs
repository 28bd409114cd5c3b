//! Every family of metrics: name, kind, unit, labels, help. The only place where they are named; the committed list
//! is `tests/golden/metrics.txt`.
//!
//! The text format appends to `name` the unit and, to counters, `_total`.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, u64>> = None;

/// A family of counters or gauges with `N` labels.
pub(super) struct Family<const N: usize> {
    name: &'static str,
    unit: Option<&'static str>,
    kind: Kind,
    labels: [&'static str; N],
    help: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// The value of a sample.
#[derive(Clone, Copy)]
pub(super) enum Number {
    /// A count.
    Whole(u64),
    /// Seconds and their parts.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
        }
    }

    fn write(self, encoder: &mut MetricEncoder<'_>, number: Number) -> fmt::Result {
        match (self, number) {
            (Self::Counter, Number::Whole(number)) => encoder.encode_counter(&number, NO_EXEMPLAR),
            (Self::Counter, Number::Real(number)) => encoder.encode_counter(&number, NO_EXEMPLAR),
            (Self::Gauge, Number::Whole(number)) => encoder.encode_gauge(&number),
            (Self::Gauge, Number::Real(number)) => encoder.encode_gauge(&number),
        }
    }
}

const fn counter<const N: usize>(
    name: &'static str,
    labels: [&'static str; N],
    help: &'static str,
) -> Family<N> {
    Family { name, unit: None, kind: Kind::Counter, labels, help }
}

const fn gauge<const N: usize>(
    name: &'static str,
    labels: [&'static str; N],
    help: &'static str,
) -> Family<N> {
    Family { name, unit: None, kind: Kind::Gauge, labels, help }
}

impl<const N: usize> Family<N> {
    const fn in_unit(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Writes the family with one line for each of the label values.
    pub(super) fn write<'a, V: Into<Number>>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = ([&'a str; N], V)>,
    ) -> fmt::Result {
        let unit = self.unit.map(|unit| Unit::Other(unit.to_owned()));
        let mut family =
            encoder.encode_descriptor(self.name, self.help, unit.as_ref(), self.kind.metric_type())?;
        for (values, number) in samples {
            let number = number.into();
            let labels: [(&str, &str); N] = std::array::from_fn(|i| (self.labels[i], values[i]));
            // An empty label set would show as `{}`.
            if N == 0 {
                self.kind.write(&mut family, number)?;
            } else {
                self.kind.write(&mut family.encode_family(&labels)?, number)?;
            }
        }
        Ok(())
    }
}

/// Writes the one family that is neither counter nor gauge.
pub(super) fn write_build_info(encoder: &mut DescriptorEncoder<'_>, version: &str, abi: &str) -> fmt::Result {
    encoder
        .encode_descriptor(
            "gateway_build",
            "Version of the daemon and of its map layout",
            None,
            MetricType::Info,
        )?
        .encode_info(&[("version", version), ("abi_version", abi)])
}

pub(super) const UP: Family<0> = gauge("gateway_up", [], "Whether the daemon can read its data path: 1 or 0");
pub(super) const CONFIG_GENERATION: Family<0> =
    gauge("gateway_config_generation", [], "Generation of the configuration in force");
pub(super) const UPTIME: Family<0> =
    gauge("gateway_uptime", [], "Time since the daemon started; the data path may be older")
        .in_unit("seconds");
pub(super) const WARNINGS: Family<0> =
    gauge("gateway_warnings", [], "Warnings that the status shows now; alarm above 0");

pub(super) const INTERFACE_ATTACHED: Family<3> = gauge(
    "gateway_interface_attached",
    ["interface", "side", "hook"],
    "Whether packets of a configured interface reach the gateway: 1 or 0; alarm at 0",
);

pub(super) const TABLE_ENTRIES: Family<1> =
    gauge("gateway_table_entries", ["table"], "Entries in use of a table of the data path");
pub(super) const TABLE_CAPACITY: Family<1> = gauge(
    "gateway_table_capacity",
    ["table"],
    "Entries that a table of the data path has room for; alarm when 85 percent are in use",
);

pub(super) const PACKETS: Family<1> =
    counter("gateway", ["result"], "Packets seen and not dropped, by what was done with them")
        .in_unit("packets");
pub(super) const DROPS: Family<1> =
    counter("gateway_drops", ["reason"], "Packets dropped, by the one reason why");
pub(super) const FLOWS_OPENED: Family<0> = counter("gateway_flows_opened", [], "Flows opened");
pub(super) const FLOWS_ESTABLISHED: Family<0> =
    counter("gateway_flows_established", [], "Flows promoted from half-open to established");
pub(super) const RACES_ADOPTED: Family<0> = counter(
    "gateway_flow_races_adopted",
    [],
    "Races of two CPUs that opened the same flow and ended with one entry adopted",
);
pub(super) const PORT_RETRIES: Family<0> = counter(
    "gateway_port_retries",
    [],
    "Ports tried beyond the first for new flows; a rising rate announces ports_exhausted",
);
pub(super) const REFUSALS_SENT: Family<0> = counter(
    "gateway_refusals_sent",
    [],
    "Dropped packets that were answered with a TCP reset or an ICMP error",
);
pub(super) const ICMP_ERRORS_TRANSLATED: Family<0> = counter(
    "gateway_icmp_errors_translated",
    [],
    "ICMP errors about packets of tracked flows that were translated and sent on",
);
pub(super) const PORT_SEARCHES: Family<1> = counter(
    "gateway_port_searches",
    ["tries"],
    "New flows that found a free port, by the tries that it took: 1, up to 4, up to 16, up to 32",
);
pub(super) const HALF_OPEN_EVICTED: Family<0> = counter(
    "gateway_half_open_evicted",
    [],
    "Half-open flows that made way for another one of the same listener or tenant",
);
pub(super) const CHALLENGES_SENT: Family<0> = counter(
    "gateway_challenges_sent",
    [],
    "Clients asked to show that they are where they say, since a listener had too many half-open flows",
);
pub(super) const RESETS_NOT_BELIEVED: Family<0> = counter(
    "gateway_resets_not_believed",
    [],
    "TCP resets outside their receiver's window: forwarded, but their flow is kept as long as before",
);
pub(super) const ICMP_ERRORS_LIMITED: Family<0> = counter(
    "gateway_icmp_errors_limited",
    [],
    "ICMP errors of the gateway's own that were not sent because their receiver had got many",
);
pub(super) const FRAGMENTS_HELD: Family<0> = counter(
    "gateway_fragments_held",
    [],
    "Parts of datagrams that came before the first part and were kept for a moment",
);
pub(super) const HELD_PARTS: Family<1> = counter(
    "gateway_held_fragments",
    ["fate"],
    "Parts of datagrams that came before the first part and wait no longer, by what became of them",
);
pub(super) const EXPIRED_FLOWS: Family<1> =
    counter("gateway_expired_flows", ["table"], "Flows deleted because they were idle too long");
pub(super) const NEIGHBOUR_REFRESHES: Family<0> =
    counter("gateway_neighbour_refreshes", [], "Next hops that the kernel was asked to resolve");

pub(super) const TENANT_PACKETS: Family<2> =
    counter("gateway_tenant", ["tenant", "direction"], "Packets of a tenant translated, by direction")
        .in_unit("packets");
pub(super) const TENANT_BYTES: Family<2> =
    counter("gateway_tenant", ["tenant", "direction"], "Bytes of a tenant's translated frames, by direction")
        .in_unit("bytes");
pub(super) const TENANT_FLOWS: Family<1> =
    gauge("gateway_tenant_flows", ["tenant"], "Flows of a tenant now tracked, half-open ones excluded");
pub(super) const TENANT_FLOWS_LIMIT: Family<1> = gauge(
    "gateway_tenant_flows_limit",
    ["tenant"],
    "Flows that a tenant may have at a time, half-open ones included; absent for any number",
);
pub(super) const TENANT_FLOWS_DRIFT: Family<0> = gauge(
    "gateway_tenant_flows_drift",
    [],
    "By how much the data path's numbers of tenants' flows differ from the tables, in all; some is normal under load",
);
pub(super) const TENANT_FLOWS_CORRECTIONS: Family<0> = counter(
    "gateway_tenant_flows_corrections",
    [],
    "Numbers of a tenant's flows that were wrong for certain, and corrected",
);
pub(super) const TENANT_HALF_OPEN_FLOWS: Family<1> =
    gauge("gateway_tenant_half_open_flows", ["tenant"], "Half-open flows of a tenant now tracked");
pub(super) const TENANT_FLOWS_OPENED: Family<1> =
    counter("gateway_tenant_flows_opened", ["tenant"], "Flows of a tenant opened, in both directions");
pub(super) const TENANT_DROPPED_PACKETS: Family<1> =
    counter("gateway_tenant_dropped", ["tenant"], "Packets dropped that were known to be a tenant's")
        .in_unit("packets");

pub(super) const EGRESS_PORTS: Family<0> = gauge(
    "gateway_egress_ports",
    [],
    "Ports of the egress VIP held by all tenants to the destination where most are held",
);
pub(super) const EGRESS_PORTS_CAPACITY: Family<0> = gauge(
    "gateway_egress_ports_capacity",
    [],
    "Ports of the egress VIP that this node may hold to one destination; alarm when 85 percent are held",
);
pub(super) const TENANT_EGRESS_PORTS: Family<1> = gauge(
    "gateway_tenant_egress_ports",
    ["tenant"],
    "Ports of the egress VIP that a tenant holds to the destination where it holds most",
);
pub(super) const TENANT_EGRESS_PORTS_QUOTA: Family<1> = gauge(
    "gateway_tenant_egress_ports_quota",
    ["tenant"],
    "Ports of the egress VIP that a tenant may hold to one destination; alarm when 85 percent are held",
);
pub(super) const TENANT_PORTS_USED_RATIO: Family<1> = gauge(
    "gateway_tenant_ports_used_ratio",
    ["tenant"],
    "How much of the ports that it may hold a tenant holds, 0 to 1, where it is most: to NPCI or to a server of its own",
);
pub(super) const TENANT_PORTS_LEVELS: Family<1> = counter(
    "gateway_tenant_ports_levels_reached",
    ["percent"],
    "How often a tenant's use of ports has risen to this level",
);
pub(super) const TENANT_EGRESS_PORTS_HIGH_WATER: Family<1> = gauge(
    "gateway_tenant_egress_ports_high_water",
    ["tenant"],
    "Most ports that a tenant held to one destination since the daemon started",
);

pub(super) const POOL_BACKENDS: Family<3> = gauge(
    "gateway_pool_backends",
    ["tenant", "pool", "state"],
    "Backends of a pool by health; alarm when none is up, rising or unchecked",
);
pub(super) const HEALTH_CHECKS: Family<1> =
    counter("gateway_health_checks", ["result"], "Health checks made, by result");
pub(super) const HEALTH_CHECK_OVERRUNS: Family<0> = counter(
    "gateway_health_check_overruns",
    [],
    "Health checks that began later than their interval says, because others were not done",
);

pub(super) const RECONCILE_RUNS: Family<1> =
    counter("gateway_reconcile_runs", ["outcome"], "Runs of the reconciler, by outcome");
pub(super) const RECONCILE_CHANGES: Family<1> = counter(
    "gateway_reconcile_changes",
    ["kind"],
    "Things that the reconciler wrote or removed because what is wanted has changed",
);
pub(super) const REPAIRS: Family<1> = counter(
    "gateway_repairs",
    ["kind"],
    "Things that the reconciler put back after somebody else had changed them",
);
pub(super) const RECONCILE_LAG: Family<0> = gauge(
    "gateway_reconcile_lag",
    [],
    "For how long the tables have been behind the newest version of the store; 0 when they are not",
)
.in_unit("seconds");
pub(super) const FLOW_ROUND_DURATION: Family<0> = gauge(
    "gateway_flow_round_duration",
    [],
    "Time that the last look at all flows took, for those that are idle",
)
.in_unit("seconds");
pub(super) const FULL_SYNC_DURATION: Family<0> =
    gauge("gateway_full_sync_duration", [], "Time that the last complete comparison with the kernel took")
        .in_unit("seconds");
pub(super) const FULL_SYNC_TIMESTAMP: Family<0> = gauge(
    "gateway_full_sync_timestamp",
    [],
    "When the last complete comparison with the kernel was done, in Unix time",
)
.in_unit("seconds");

pub(super) const STORE_VERSION: Family<0> =
    gauge("gateway_store_version", [], "Newest version of the tenant store that the daemon knows");
pub(super) const APPLIED_VERSION: Family<0> =
    gauge("gateway_applied_version", [], "Version of the tenant store that the kernel's tables hold");
pub(super) const STORE_ERRORS: Family<1> =
    counter("gateway_store_errors", ["error"], "What the tenant store could not do, by what was wrong");
pub(super) const STORE_TROUBLE: Family<0> = gauge(
    "gateway_store_trouble",
    [],
    "Whether the tenant store takes no changes now: 1 or 0; traffic goes on",
);

pub(super) const CONFIG_RELOADS: Family<1> =
    counter("gateway_config_reloads", ["outcome"], "Reloads of the daemon's settings, by outcome");
pub(super) const CONFIG_LAST_RELOAD_SUCCESSFUL: Family<0> = gauge(
    "gateway_config_last_reload_successful",
    [],
    "Whether the last reload, or the start, took the settings: 1 or 0",
);
pub(super) const CONFIG_STALE: Family<0> = gauge(
    "gateway_config_stale",
    [],
    "Whether settings in the file wait for a restart to come into force: 1 or 0",
);

pub(super) const API_REQUESTS: Family<2> =
    counter("gateway_api_requests", ["code", "role"], "Requests to the API, by class of status and by role");
