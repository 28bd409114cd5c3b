//! One scrape: what the source said, in the families' words.

mod own;

use std::fmt;

use gateway_common::abi::{self, Counter};
use gateway_common::drop_reason::DropReason;
use gateway_common::limits::ABI_VERSION;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::families::{self as f, Family};
use super::{Metrics, Reading};
use crate::api::types::{Drops, Hook, InterfaceStatus, Status, TableStatus, TenantStatus};

/// Label values of a tenant's two directions: from NPCI's side, and to it.
const DIRECTIONS: [&str; 2] = ["from_external", "to_external"];

pub(super) fn render(metrics: Metrics, reading: Option<Reading>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { metrics, reading }));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

#[derive(Debug)]
struct Scrape {
    metrics: Metrics,
    reading: Option<Reading>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        f::UP.write(encoder, [([], u64::from(self.reading.is_some()))])?;
        f::write_build_info(encoder, env!("CARGO_PKG_VERSION"), &ABI_VERSION.to_string())?;
        own::write(encoder, &self.metrics)?;
        let Some(Reading { status, drops }) = &self.reading else {
            return Ok(());
        };
        write_node(encoder, status)?;
        write_interfaces(encoder, &status.interfaces)?;
        write_tables(encoder, &status.tables)?;
        write_counters(encoder, status)?;
        write_drops(encoder, drops)?;
        write_tenants(encoder, &status.tenants)
    }
}

fn write_node(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    f::CONFIG_GENERATION.write(encoder, [([], u64::from(status.config.generation))])?;
    f::UPTIME.write(encoder, [([], status.node.uptime_secs)])?;
    f::WARNINGS.write(encoder, [([], status.warnings.len() as u64)])
}

fn write_interfaces(encoder: &mut DescriptorEncoder<'_>, interfaces: &[InterfaceStatus]) -> fmt::Result {
    let samples = interfaces.iter().map(|interface| {
        let hook = interface.hook.map_or("none", Hook::as_str);
        ([interface.name.as_str(), interface.side.as_str(), hook], u64::from(interface.is_attached()))
    });
    f::INTERFACE_ATTACHED.write(encoder, samples)
}

fn write_tables(encoder: &mut DescriptorEncoder<'_>, tables: &[TableStatus]) -> fmt::Result {
    f::TABLE_ENTRIES.write(encoder, tables.iter().map(|table| ([table.name.as_str()], table.entries)))?;
    f::TABLE_CAPACITY.write(encoder, tables.iter().map(|table| ([table.name.as_str()], table.capacity)))
}

/// Where a counter of the data path is shown.
enum Place {
    /// As a result of `gateway_packets`, under its own name.
    Result,
    /// As a family of its own.
    Own(Family<0>),
    /// As a bucket of `gateway_port_searches`, up to so many tries.
    Searches(&'static str),
}

/// A new counter does not compile until it has a place here.
const fn place_of(counter: Counter) -> Place {
    match counter {
        Counter::Passed | Counter::Translated | Counter::ArpAnswered | Counter::EchoAnswered => Place::Result,
        Counter::FlowsOpened => Place::Own(f::FLOWS_OPENED),
        Counter::FlowsEstablished => Place::Own(f::FLOWS_ESTABLISHED),
        Counter::RacesAdopted => Place::Own(f::RACES_ADOPTED),
        Counter::PortRetries => Place::Own(f::PORT_RETRIES),
        Counter::IcmpErrorsTranslated => Place::Own(f::ICMP_ERRORS_TRANSLATED),
        Counter::FragmentsHeld => Place::Own(f::FRAGMENTS_HELD),
        Counter::RefusalsSent => Place::Own(f::REFUSALS_SENT),
        Counter::PortsFoundIn1 => Place::Searches("1"),
        Counter::PortsFoundIn4 => Place::Searches("4"),
        Counter::PortsFoundIn16 => Place::Searches("16"),
        Counter::PortsFoundIn32 => Place::Searches("32"),
        Counter::HalfOpenEvicted => Place::Own(f::HALF_OPEN_EVICTED),
        Counter::ChallengesSent => Place::Own(f::CHALLENGES_SENT),
        Counter::ResetsNotBelieved => Place::Own(f::RESETS_NOT_BELIEVED),
        Counter::ErrorsLimited => Place::Own(f::ICMP_ERRORS_LIMITED),
    }
}

fn write_counters(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let count = |counter: Counter| status.counters.get(counter.name()).copied().unwrap_or(0);
    let all = abi::Counter::ALL.iter().copied();
    let results = all.clone().filter(|counter| matches!(place_of(*counter), Place::Result));
    f::PACKETS.write(encoder, results.map(|counter| ([counter.name()], count(counter))))?;
    let searches = all.clone().filter_map(|counter| match place_of(counter) {
        Place::Searches(tries) => Some(([tries], count(counter))),
        Place::Result | Place::Own(_) => None,
    });
    f::PORT_SEARCHES.write(encoder, searches)?;
    for counter in all {
        if let Place::Own(family) = place_of(counter) {
            family.write(encoder, [([], count(counter))])?;
        }
    }
    Ok(())
}

/// Every reason, also those at 0: an alarm on a rate needs the value before the first drop.
fn write_drops(encoder: &mut DescriptorEncoder<'_>, drops: &Drops) -> fmt::Result {
    let count = |reason: &DropReason| {
        let found = drops.reasons.iter().find(|counted| counted.reason == reason.name());
        found.map_or(0, |counted| counted.packets)
    };
    f::DROPS.write(encoder, DropReason::ALL.iter().map(|reason| ([reason.name()], count(reason))))
}

fn write_tenants(encoder: &mut DescriptorEncoder<'_>, tenants: &[TenantStatus]) -> fmt::Result {
    let both = |counts: fn(&TenantStatus) -> [u64; 2]| {
        tenants.iter().flat_map(move |tenant| {
            let labels = DIRECTIONS.map(|direction| [tenant.name.as_str(), direction]);
            labels.into_iter().zip(counts(tenant))
        })
    };
    let one = |count: fn(&TenantStatus) -> u64| {
        tenants.iter().map(move |tenant| ([tenant.name.as_str()], count(tenant)))
    };
    f::TENANT_PACKETS
        .write(encoder, both(|tenant| [tenant.from_external_packets, tenant.to_external_packets]))?;
    f::TENANT_BYTES.write(encoder, both(|tenant| [tenant.from_external_bytes, tenant.to_external_bytes]))?;
    f::TENANT_FLOWS.write(encoder, one(|tenant| tenant.flows))?;
    let limits =
        tenants.iter().filter_map(|tenant| Some(([tenant.name.as_str()], u64::from(tenant.max_flows?))));
    f::TENANT_FLOWS_LIMIT.write(encoder, limits)?;
    f::TENANT_HALF_OPEN_FLOWS.write(encoder, one(|tenant| tenant.half_open_flows))?;
    f::TENANT_FLOWS_OPENED.write(encoder, one(|tenant| tenant.flows_opened))?;
    f::TENANT_DROPPED_PACKETS.write(encoder, one(|tenant| tenant.dropped_packets))
}
