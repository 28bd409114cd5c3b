//! Is this node ready? Asked every few seconds by probes: reads no table of flows.

use anyhow::{Context as _, Result, anyhow};
use aya::Ebpf;
use gateway_common::{abi::Side, names};

use super::{Gateway, State};
use crate::{
    datapath::{hook::Hook, link, pins::Pins, programs::Attachment},
    metrics::probes::{Check, Readiness},
};

impl Readiness for Gateway {
    fn checks(&self) -> Vec<Check> {
        let state = self.state();
        vec![
            Check::from_result("programs", as_text(self.check_programs(&state))),
            Check::from_result("tables", as_text(check_tables(&state))),
            Check::passed("config", format!("generation {} is in force", state.generation)),
            // A store that takes no changes is an alarm and no reason to call a node unready: it forwards.
            Check::passed("store", self.trouble.load().as_deref().unwrap_or("takes changes")),
        ]
    }
}

fn as_text(found: Result<String>) -> Result<String, String> {
    found.map_err(|error| format!("{error:#}"))
}

impl Gateway {
    /// Every configured interface has a link in the kernel, and it runs the program of this very daemon.
    fn check_programs(&self, state: &State) -> Result<String> {
        let pins = self.pins();
        let config = self.config();
        for configured in config.interfaces.iter() {
            let name = configured.name.as_str();
            let attachment = state.attachments.iter().find(|attachment| attachment.link.interface == name);
            let attachment = attachment.ok_or_else(|| anyhow!("{name} is not attached"))?;
            check_link(&state.ebpf, &pins, attachment)?;
        }
        Ok(format!("attached to {} interfaces", config.interfaces.len()))
    }
}

/// The program is known by its number: the daemon that loaded it holds it, so no other can have got the number.
fn check_link(ebpf: &Ebpf, pins: &Pins, attachment: &Attachment) -> Result<()> {
    let place = &attachment.link;
    let found = link::inspect(pins, place).context("cannot read the link")?;
    let attached = found.with_context(|| format!("the link of {} is gone", place.interface))?.program_id;
    let name = program_name(place.hook, attachment.side);
    let program = ebpf.program(name).with_context(|| format!("the eBPF object has no program {name}"))?;
    let wanted = program.info().with_context(|| format!("cannot read the program {name}"))?.id();
    if attached == wanted {
        return Ok(());
    }
    Err(anyhow!("{} runs program {attached}, not {wanted} ({name}) of this daemon", place.interface))
}

const fn program_name(hook: Hook, side: Side) -> &'static str {
    match (hook, side) {
        (Hook::Tc | Hook::TcFilter, Side::External) => names::TC_EXTERNAL,
        (Hook::Tc | Hook::TcFilter, Side::Internal) => names::TC_INTERNAL,
        (Hook::XdpNative | Hook::XdpGeneric, Side::External) => names::XDP_EXTERNAL,
        (Hook::XdpNative | Hook::XdpGeneric, Side::Internal) => names::XDP_INTERNAL,
    }
}

/// The kernel answers for the tables that the daemon has open.
fn check_tables(state: &State) -> Result<String> {
    let settings = state.tables.settings()?;
    if settings.generation != state.generation {
        return Err(anyhow!("they hold generation {}, not {}", settings.generation, state.generation));
    }
    Ok("open and filled".to_owned())
}
