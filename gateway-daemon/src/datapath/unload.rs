//! Removing everything that the gateway put into the kernel.

use anyhow::Result;
use gateway_common::limits::ABI_VERSION;

use super::{host, pins::Pins, tables::Tables};
use crate::config::Config;

/// Detaches the programs, switches forwarding back, removes all maps, and returns what was done, a line each.
///
/// Ends every flow. Safe to repeat, and on a host where nothing was loaded.
///
/// # Errors
///
/// The first thing that could not be removed; what was removed before stays removed.
pub fn unload(config: &Config) -> Result<Vec<String>> {
    let pins = Pins::new(&config.daemon.bpffs);
    let mut done = Vec::new();
    let switched_on = forwarding_switched_on(&pins);
    for link in pins.link_names()? {
        pins.remove_link(&link)?;
        done.push(format!("detached {} from {}", link.hook, link.interface));
        if switched_on.contains(&link.ifindex) && host::set_forwarding(&link.interface, false).is_ok() {
            done.push(format!("switched IPv4 forwarding off again on {}", link.interface));
        }
    }
    let maps = pins.map_names()?;
    for name in &maps {
        pins.remove_map(name)?;
    }
    if !maps.is_empty() {
        done.push(format!("removed {} maps (layout version {ABI_VERSION})", maps.len()));
    }
    pins.remove_directories()?;
    Ok(done)
}

/// Indexes of interfaces where the daemon switched forwarding on; none when the table cannot be read.
fn forwarding_switched_on(pins: &Pins) -> Vec<u32> {
    let interfaces = Tables::open(pins).and_then(|tables| tables.interfaces()).unwrap_or_default();
    interfaces
        .into_iter()
        .filter(|(_, interface)| interface.forwarding_switched_on())
        .map(|(index, _)| index)
        .collect()
}
