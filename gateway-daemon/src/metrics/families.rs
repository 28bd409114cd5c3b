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

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
        }
    }

    fn write(self, encoder: &mut MetricEncoder<'_>, number: u64) -> fmt::Result {
        match self {
            Self::Counter => encoder.encode_counter(&number, NO_EXEMPLAR),
            Self::Gauge => encoder.encode_gauge(&number),
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
    pub(super) fn write<'a>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = ([&'a str; N], u64)>,
    ) -> fmt::Result {
        let unit = self.unit.map(|unit| Unit::Other(unit.to_owned()));
        let mut family =
            encoder.encode_descriptor(self.name, self.help, unit.as_ref(), self.kind.metric_type())?;
        for (values, number) in samples {
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
pub(super) const TENANT_HALF_OPEN_FLOWS: Family<1> =
    gauge("gateway_tenant_half_open_flows", ["tenant"], "Half-open flows of a tenant now tracked");
pub(super) const TENANT_FLOWS_OPENED: Family<1> =
    counter("gateway_tenant_flows_opened", ["tenant"], "Flows of a tenant opened, in both directions");
pub(super) const TENANT_DROPPED_PACKETS: Family<1> =
    counter("gateway_tenant_dropped", ["tenant"], "Packets dropped that were known to be a tenant's")
        .in_unit("packets");
