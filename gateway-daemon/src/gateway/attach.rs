//! The interfaces that are to be attached, and how.

use crate::{
    config::{self, Config},
    datapath::{hook, host::Host, programs::Target},
};
use gateway_common::abi::Side;

/// The configured interfaces that exist on this host.
pub fn targets(config: &Config, host: &Host) -> Vec<Target> {
    let present = || {
        config
            .interfaces
            .iter()
            .filter_map(|configured| host.link(configured.name.as_str()).map(|link| (configured, link)))
    };
    let virtual_kinds: Vec<(String, String)> =
        present().filter_map(|(_, link)| link.kind.clone().map(|kind| (link.name.clone(), kind))).collect();
    let target = |(configured, link): (&config::Interface, &crate::datapath::host::HostLink)| Target {
        interface: link.name.clone(),
        ifindex: link.index,
        side: match configured.side {
            config::Side::External => Side::External,
            config::Side::Internal => Side::Internal,
        },
        choice: hook::choose(configured.hook, configured.xdp_mode, &virtual_kinds),
    };
    present().map(target).collect()
}
