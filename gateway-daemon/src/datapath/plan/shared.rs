//! What belongs to no tenant: settings, interfaces, the VIPs, the host's own addresses.

use std::{
    collections::{BTreeMap, HashSet},
    net::Ipv4Addr,
};

use gateway_common::{
    abi::{Addr, AddressKind, Interface, OwnedAddress, Settings, SettingsFlags, Side, Timeouts},
    port_slice::PortSlices,
};

use super::{PlanError, placed::seconds};
use crate::{
    config::{self, Config},
    datapath::host::{Host, HostLink},
};

/// Seed of the flow hash: any constant that all nodes share.
const HASH_SEED: u64 = 0x7477_6f2d_6970_2d67;

/// The node-wide settings.
pub fn settings(config: &Config, generation: u32, cookie_key: [u64; 2]) -> Settings {
    let timeouts = &config.timeouts;
    Settings {
        // One node: it always owns the addresses.
        lease_until_ns: u64::MAX,
        hash_seed: HASH_SEED,
        slices: PortSlices::from_mask(config.node.port_slices.bits()),
        timeouts: Timeouts {
            tcp_established_secs: seconds(timeouts.tcp_established),
            tcp_transitory_secs: seconds(timeouts.tcp_transitory),
            tcp_half_open_secs: seconds(timeouts.tcp_half_open),
            udp_secs: seconds(timeouts.udp),
            icmp_secs: seconds(timeouts.icmp),
            quarantine_secs: seconds(timeouts.quarantine),
        },
        ingress_vip: config.gateway.ingress_vip.get().into(),
        egress_vip: config.gateway.egress_vip.get().into(),
        epoch: 0,
        generation,
        node: config.node.id.get(),
        flags: flags(config),
        challenge_above: config.limits.challenge_above,
        pad: [0; 4],
        cookie_key,
    }
}

fn flags(config: &Config) -> SettingsFlags {
    let clamps_mss = config.interfaces.iter().any(|interface| interface.mss_clamp.is_some())
        || config.tenants.iter().any(|tenant| tenant.limits.mss_clamp.is_some());
    [(config.timeouts.reset_on_expiry, SettingsFlags::RESET_EXPIRED), (clamps_mss, SettingsFlags::CLAMPS_MSS)]
        .into_iter()
        .filter(|(is_set, _)| *is_set)
        .fold(SettingsFlags::default(), |flags, (_, flag)| flags.with(flag))
}

/// The VIPs and the host's own addresses, without those that are a tenant's NAT IP: where one of ours stands on an
/// interface as well, it is ours.
pub fn addresses(config: &Config, host: &Host) -> Vec<(Addr, OwnedAddress)> {
    let nat_ips: HashSet<Ipv4Addr> = config.tenants.iter().map(|tenant| tenant.nat_ip.get()).collect();
    let mut addresses: BTreeMap<Addr, OwnedAddress> = host
        .addresses
        .iter()
        .filter(|address| !nat_ips.contains(address))
        .map(|address| (Addr::from(*address), OwnedAddress::shared(AddressKind::Host)))
        .collect();
    let gateway = &config.gateway;
    addresses.insert(gateway.ingress_vip.get().into(), OwnedAddress::shared(AddressKind::IngressVip));
    addresses.insert(gateway.egress_vip.get().into(), OwnedAddress::shared(AddressKind::EgressVip));
    addresses.into_iter().collect()
}

/// The configured interfaces that exist and the VLAN devices on them. A frame for a VLAN device is transmitted on the
/// device below, with the tag.
pub fn interfaces(config: &Config, host: &Host) -> Result<Vec<(u32, Interface)>, PlanError> {
    let mut interfaces = BTreeMap::new();
    for configured in config.interfaces.iter() {
        let Some(link) = host.link(configured.name.as_str()) else { continue };
        let side = side_of(configured.side);
        refuse_other_side_below(config, host, configured, link)?;
        let entry = |link: &HostLink| {
            let (transmit, vlan_id) = link.vlan.unwrap_or((link.index, 0));
            let mut interface = Interface::new(side, transmit, vlan_id, link.mac);
            interface.mss = configured.mss_clamp.unwrap_or(0);
            interface
        };
        interfaces.insert(link.index, entry(link));
        for (vlan, _) in host.vlans_on(link.index) {
            interfaces.entry(vlan.index).or_insert(entry(vlan));
        }
    }
    Ok(interfaces.into_iter().collect())
}

/// Refuses interfaces that do not exist.
pub fn check_interfaces(config: &Config, host: &Host) -> Result<(), PlanError> {
    let missing = config.interfaces.iter().find(|configured| host.link(configured.name.as_str()).is_none());
    match missing {
        Some(configured) => Err(PlanError::NoInterface(configured.name.as_str().to_owned())),
        None => interfaces(config, host).map(drop),
    }
}

fn refuse_other_side_below(
    config: &Config,
    host: &Host,
    configured: &config::Interface,
    link: &HostLink,
) -> Result<(), PlanError> {
    let below = |other: &&config::Interface| {
        host.link(other.name.as_str())
            .is_some_and(|other| link.vlan.is_some_and(|(parent, _)| parent == other.index))
    };
    match config.interfaces.iter().find(below) {
        Some(parent) if parent.side != configured.side => {
            Err(PlanError::AcrossSides { vlan: link.name.clone(), parent: parent.name.as_str().to_owned() })
        }
        _ => Ok(()),
    }
}

fn side_of(side: config::Side) -> Side {
    match side {
        config::Side::External => Side::External,
        config::Side::Internal => Side::Internal,
    }
}
