//! The kernel's switches for IPv4 forwarding.
//!
//! The kernel answers questions about routes only for interfaces that forward. The daemon switches it on where it is
//! off, notes that in the table of interfaces before it does, and switches it off again when the interface leaves the
//! configuration or the gateway is unloaded.

use anyhow::{Context as _, Result};
use gateway_common::abi::Interface;
use tracing::info;

use crate::{
    config::Config,
    datapath::{
        host::{self, Host, HostLink},
        tables::Tables,
    },
};

/// Interfaces where forwarding is the daemon's to switch: it is off, or an earlier daemon has switched it on. This is
/// noted in the table before the switch is touched, so that `unload` finds it whenever the daemon dies.
pub fn ours_to_switch(tables: &Tables, config: &Config, host: &Host) -> Result<Vec<u32>> {
    let known = tables.interfaces()?;
    let mut ours = Vec::new();
    for link in links(config, host) {
        let earlier =
            known.iter().any(|(index, entry)| *index == link.index && entry.forwarding_switched_on());
        if earlier || !is_on(&link.name)? {
            ours.push(link.index);
        }
    }
    Ok(ours)
}

/// Interfaces that leave the configuration forward no more before their program goes.
pub fn switch_off_removed(tables: &Tables, wanted: &[(u32, Interface)]) -> Result<()> {
    for (index, interface) in tables.interfaces()? {
        let stays = wanted.iter().any(|(wanted, _)| *wanted == index);
        if stays || !interface.forwarding_switched_on() {
            continue;
        }
        let Some(name) = host::name_of(index) else { continue };
        host::set_forwarding(&name, false)
            .with_context(|| format!("cannot switch IPv4 forwarding off again on {name}"))?;
        info!(interface = name, "switched IPv4 forwarding off again");
    }
    Ok(())
}

/// Switches it on wherever it is off; returns where. Comes last: until the programs are attached nothing may be
/// forwarded, and until forwarding is on they drop.
pub fn switch_on(config: &Config, host: &Host) -> Result<Vec<String>> {
    let mut switched = Vec::new();
    for link in links(config, host) {
        if is_on(&link.name)? {
            continue;
        }
        let name = &link.name;
        host::set_forwarding(name, true).with_context(|| {
            format!("cannot switch IPv4 forwarding on: `sysctl net.ipv4.conf.{name}.forwarding=1`")
        })?;
        info!(interface = name, "switched IPv4 forwarding on");
        switched.push(name.clone());
    }
    Ok(switched)
}

/// The configured interfaces and the VLAN devices on them.
fn links<'a>(config: &'a Config, host: &'a Host) -> impl Iterator<Item = &'a HostLink> {
    config.interfaces.iter().filter_map(|configured| host.link(configured.name.as_str())).flat_map(|link| {
        let vlans = host.vlans_on(link.index).map(|(vlan, _)| vlan);
        std::iter::once(link).chain(vlans)
    })
}

fn is_on(interface: &str) -> Result<bool> {
    host::forwarding(interface).with_context(|| format!("cannot read the forwarding switch of {interface}"))
}
