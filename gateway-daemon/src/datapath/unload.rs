//! Removing everything that the gateway put into the kernel.

use anyhow::Result;
use gateway_common::{abi::Interface, names};

use super::{host, link, pins::Pins, routes, table::Table};
use crate::config::Config;

/// Detaches the programs, switches forwarding back, removes all maps and routes, and returns what was done, a line each.
///
/// Ends every flow. Safe to repeat, and on a host where nothing was loaded.
///
/// # Errors
///
/// The first thing that could not be removed; what was removed before stays removed.
pub fn unload(config: &Config) -> Result<Vec<String>> {
    let pins = Pins::new(&config.daemon.bpffs);
    if !pins.exist() {
        return Ok(routes::kernel::remove_all()?);
    }
    let _lock = pins.lock()?;
    pins.clear_discarded()?;
    let mut done = Vec::new();
    for pins in pins.earlier_version()?.into_iter().chain([pins]) {
        done.extend(unload_version(&pins)?);
    }
    done.extend(routes::kernel::remove_all()?);
    Ok(done)
}

/// The same for one layout of the maps: an earlier one is still there when no daemon of this version has run yet.
fn unload_version(pins: &Pins) -> Result<Vec<String>> {
    // Forwarding goes off before the programs do: in between nothing may pass untranslated.
    let mut done = switch_forwarding_back(pins);
    for name in pins.link_names()? {
        link::detach(pins, &name)?;
        done.push(format!("detached {} from {}", name.hook, name.interface));
    }
    let maps = pins.remove_maps()?;
    if maps > 0 {
        done.push(format!("removed {maps} maps (layout version {})", pins.version()));
    }
    pins.remove_directories()?;
    Ok(done)
}

/// Switches forwarding off where the daemon switched it on; nothing when the table cannot be read.
fn switch_forwarding_back(pins: &Pins) -> Vec<String> {
    let table = Table::<u32, Interface>::open(pins, names::INTERFACES);
    let interfaces = table.and_then(|table| table.all()).unwrap_or_default();
    let switched_on = interfaces.iter().filter(|(_, interface)| interface.forwarding_switched_on());
    let names = switched_on.filter_map(|(index, _)| host::name_of(*index));
    let switched_back = names.filter(|name| host::set_forwarding(name, false).is_ok());
    switched_back.map(|name| format!("switched IPv4 forwarding off again on {name}")).collect()
}
