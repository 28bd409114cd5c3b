//! Loading the programs, and attaching them to interfaces by links that outlive the daemon.
//!
//! Where the kernel has no links for TC, filters do the same ([`filter`]).
//!
//! A link that is pinned from an earlier run is adopted: its program is replaced in one atomic step, so no packet
//! passes without one. A link of another interface or hook is removed after its successor is in place.

pub mod stages;

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        tc::{SchedClassifierLink, TcAttachOptions},
        xdp::XdpLink,
    },
};
use gateway_common::{abi::Side, names};
use tracing::{info, warn};

use self::stages::Stages;
use super::{
    filter,
    hook::{Choice, Hook},
    link,
    pins::{LinkName, Pins},
    shape::{self, Shapes},
};
use crate::memory;

/// The object that `build.rs` made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gateway-ebpf.o"));

/// Sizes of the flow tables, in entries: two for each flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSizes {
    /// Established flows.
    pub established: u32,
    /// Half-open flows.
    pub half_open: u32,
}

/// What the programs want the maps to be; the flow tables with their room by default.
pub fn shapes() -> Result<Shapes> {
    shape::declared(OBJECT)
}

/// Loads the object; maps that are pinned already are used as they are.
///
/// # Errors
///
/// When the kernel refuses a program or a map. Nothing is attached then.
pub fn load(pins: Option<&Pins>, sizes: TableSizes) -> Result<Ebpf> {
    if OBJECT.is_empty() {
        bail!(
            "this gateway-daemon was built without its eBPF program (GATEWAY_EBPF_SKIP=1): build it again without"
        );
    }
    let mut loader = EbpfLoader::new();
    loader.map_max_entries(names::FLOWS, sizes.established);
    loader.map_max_entries(names::HALF_OPEN, sizes.half_open);
    let directory = pins.map(Pins::maps);
    match &directory {
        Some(directory) => loader.default_map_pin_directory(directory),
        None => &mut loader,
    };
    let ebpf = loader
        .load(OBJECT)
        .context("the kernel refused the eBPF object (kernel 6.1 or later is needed, and root)")?;
    memory::put_aside(OBJECT);
    Ok(ebpf)
}

/// Where one interface is attached, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The pinned link.
    pub link: LinkName,
    /// The side that the interface is on.
    pub side: Side,
    /// Why this hook.
    pub why: String,
    /// Was the link adopted from an earlier run?
    pub adopted: bool,
    /// The program in the link.
    pub program_id: Option<u32>,
}

/// An interface that is to be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Its side.
    pub side: Side,
    /// The hook.
    pub choice: Choice,
}

/// Loads the programs that the targets want first: whatever the kernel has against one, it says before any link is
/// touched.
///
/// # Errors
///
/// When the kernel refuses one.
pub fn load_for(ebpf: &mut Ebpf, targets: &[Target]) -> Result<()> {
    for target in targets {
        match target.choice.hook {
            Hook::Tc | Hook::TcFilter => drop(tc_program(ebpf, target.side)?),
            Hook::XdpNative | Hook::XdpGeneric => drop(xdp_program(ebpf, target.side)?),
        }
    }
    Ok(())
}

/// Attaches every target, then removes the links that no target wants any more.
///
/// # Errors
///
/// When an interface cannot be attached. Links that were made in this call are removed again; adopted ones stay.
pub fn attach(ebpf: &mut Ebpf, pins: &Pins, targets: &[Target]) -> Result<Vec<Attachment>> {
    let mut attachments: Vec<Attachment> = Vec::new();
    for target in targets {
        match attach_one(ebpf, pins, target) {
            Ok(attachment) => attachments.push(attachment),
            Err(error) => {
                detach_new(pins, &attachments);
                return Err(error);
            }
        }
    }
    for old in pins.link_names()? {
        if !attachments.iter().any(|attachment| attachment.link == old) {
            info!(interface = old.interface, hook = %old.hook, "detached: no longer wanted");
            link::detach(pins, &old)?;
        }
    }
    Ok(attachments)
}

fn detach_new(pins: &Pins, attachments: &[Attachment]) {
    for attachment in attachments.iter().filter(|attachment| !attachment.adopted) {
        if let Err(error) = link::detach(pins, &attachment.link) {
            warn!("{error:#}");
        }
    }
}

/// Attaches one target, whatever becomes of the others.
///
/// # Errors
///
/// What the kernel says.
pub fn attach_one(ebpf: &mut Ebpf, pins: &Pins, target: &Target) -> Result<Attachment> {
    let name = |hook| LinkName { interface: target.interface.clone(), ifindex: target.ifindex, hook };
    let attachment = |hook, why: &str, adopted| Attachment {
        link: name(hook),
        side: target.side,
        why: hook.explained(why),
        adopted,
        program_id: link::inspect(pins, &name(hook)).ok().flatten().map(|info| info.program_id),
    };
    let first = on_this_kernel(target);
    let refused = match attach_hook(ebpf, pins, target.side, &name(first.hook)) {
        Ok(adopted) => return Ok(attachment(first.hook, &first.why, adopted)),
        Err(error) => error,
    };
    let Some(fallback) = first.fallback else {
        return Err(refused);
    };
    let why = format!("auto: the driver refused {} ({:#})", first.hook, refused.root_cause());
    warn!(interface = target.interface, "{why}");
    let adopted = attach_hook(ebpf, pins, target.side, &name(fallback))?;
    Ok(attachment(fallback, &why, adopted))
}

fn on_this_kernel(target: &Target) -> Choice {
    let choice = target.choice.clone();
    if filter::is_needed(&target.interface) { choice.without_tcx() } else { choice }
}

/// Attaches one hook; returns whether what is there from an earlier run was adopted.
fn attach_hook(ebpf: &mut Ebpf, pins: &Pins, side: Side, name: &LinkName) -> Result<bool> {
    if name.hook == Hook::TcFilter {
        return attach_filter(ebpf, pins, side, name);
    }
    let path = pins.link(name);
    if path.exists() {
        match PinnedLink::from_pin(&path).map_err(Into::into).and_then(|link| adopt(ebpf, side, name, link)) {
            Ok(()) => {
                info!(interface = name.interface, hook = %name.hook, "adopted: program replaced in place");
                return Ok(true);
            }
            Err(error) => {
                warn!(interface = name.interface, "the pinned link is of no use ({error:#}), attaching anew");
                // An interface takes one XDP program, and several in TC: there the new one comes first.
                if !matches!(name.hook, Hook::Tc) {
                    pins.remove_link(name)?;
                }
            }
        }
    }
    replace_other_xdp_mode(ebpf, pins, side, name)?;
    let link = create(ebpf, side, name)
        .with_context(|| format!("cannot attach {} to {}", name.hook, name.interface))?;
    if path.exists() {
        pins.remove_link(name)?;
    }
    link.pin(&path).with_context(|| format!("cannot pin the link at {}", path.display()))?;
    info!(interface = name.interface, hook = %name.hook, side = side.name(), "attached");
    Ok(false)
}

fn attach_filter(ebpf: &mut Ebpf, pins: &Pins, side: Side, name: &LinkName) -> Result<bool> {
    let adopted = filter::put(tc_program(ebpf, side)?, pins, name)
        .with_context(|| format!("cannot attach {} to {}", name.hook, name.interface))?;
    let how = if adopted { "adopted: program replaced in place" } else { "attached" };
    info!(interface = name.interface, hook = %name.hook, side = side.name(), "{how}");
    Ok(adopted)
}

/// An interface takes one XDP mode at a time, so a link of the other mode has to go first. A TC program covers the
/// interface until the new one is in place, and stays if that fails: nothing passes untranslated. It is pinned, so that
/// it is there even if the daemon dies now; [`attach`] removes it at the end like every link that nobody wants.
fn replace_other_xdp_mode(ebpf: &mut Ebpf, pins: &Pins, side: Side, name: &LinkName) -> Result<()> {
    let other = match name.hook {
        Hook::XdpNative => Hook::XdpGeneric,
        Hook::XdpGeneric => Hook::XdpNative,
        Hook::Tc | Hook::TcFilter => return Ok(()),
    };
    let other = LinkName { hook: other, ..name.clone() };
    if !pins.link(&other).exists() {
        return Ok(());
    }
    let tc = if filter::is_needed(&name.interface) { Hook::TcFilter } else { Hook::Tc };
    let bridge = LinkName { hook: tc, ..name.clone() };
    if tc == Hook::TcFilter {
        attach_filter(ebpf, pins, side, &bridge)?;
    } else if !pins.link(&bridge).exists() {
        let link = create(ebpf, side, &bridge)?;
        link.pin(pins.link(&bridge)).context("cannot pin the link that covers the change of the XDP mode")?;
    }
    pins.remove_link(&other)
}

/// Puts our program into an existing link.
fn adopt(ebpf: &mut Ebpf, side: Side, name: &LinkName, pinned: PinnedLink) -> Result<()> {
    let link = FdLink::from(pinned);
    // The pin keeps the link alive: what the program owns here can be forgotten.
    match name.hook {
        Hook::Tc => {
            let program = tc_program(ebpf, side)?;
            let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
            drop(program.take_link(id)?);
        }
        Hook::XdpNative | Hook::XdpGeneric => {
            let program = xdp_program(ebpf, side)?;
            let id = program.attach_to_link(XdpLink::try_from(link)?)?;
            drop(program.take_link(id)?);
        }
        Hook::TcFilter => bail!("a filter has no link"),
    }
    Ok(())
}

fn create(ebpf: &mut Ebpf, side: Side, name: &LinkName) -> Result<FdLink> {
    match name.hook {
        Hook::Tc => {
            let program = tc_program(ebpf, side)?;
            let options = TcAttachOptions::TcxOrder(LinkOrder::first());
            let id = program.attach_with_options(&name.interface, TcAttachType::Ingress, options)?;
            Ok(program.take_link(id)?.try_into()?)
        }
        Hook::XdpNative => create_xdp(ebpf, side, name, XdpMode::Driver),
        Hook::XdpGeneric => create_xdp(ebpf, side, name, XdpMode::Skb),
        Hook::TcFilter => bail!("a filter has no link"),
    }
}

/// aya falls back to netlink where the kernel has no links; such an attachment could not be pinned, so it is refused
/// (and undone, since it is dropped here).
fn create_xdp(ebpf: &mut Ebpf, side: Side, name: &LinkName, mode: XdpMode) -> Result<FdLink> {
    let program = xdp_program(ebpf, side)?;
    let id = program.attach_to_if_index(name.ifindex, mode)?;
    program.take_link(id)?.try_into().context("the kernel has no BPF links for XDP (5.9 or later is needed)")
}

fn tc_program(ebpf: &mut Ebpf, side: Side) -> Result<&mut SchedClassifier> {
    let name = match side {
        Side::External => names::TC_EXTERNAL,
        Side::Internal => names::TC_INTERNAL,
    };
    stages::load(ebpf, Stages::Tc)?;
    load_tc(ebpf, name)
}

fn xdp_program(ebpf: &mut Ebpf, side: Side) -> Result<&mut Xdp> {
    let name = match side {
        Side::External => names::XDP_EXTERNAL,
        Side::Internal => names::XDP_INTERNAL,
    };
    stages::load(ebpf, Stages::Xdp)?;
    load_xdp(ebpf, name)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::programs::Program> {
    ebpf.program_mut(name).with_context(|| format!("the eBPF object has no program {name}"))
}

/// Loads the programs that the daemon runs itself: expiry, and those that send on what was kept.
pub fn load_own(ebpf: &mut Ebpf) -> Result<()> {
    load_xdp(ebpf, names::EXPIRE)?;
    load_tc(ebpf, names::RESUME_EXTERNAL)?;
    load_tc(ebpf, names::RESUME_INTERNAL)?;
    Ok(())
}

pub(super) fn load_tc<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let program: &mut SchedClassifier = program(ebpf, name)?.try_into()?;
    load_once(program.load(), name)?;
    Ok(program)
}

pub(super) fn load_xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program: &mut Xdp = program(ebpf, name)?.try_into()?;
    load_once(program.load(), name)?;
    Ok(program)
}

fn load_once(result: Result<(), ProgramError>, name: &str) -> Result<()> {
    match result {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("the kernel refused the program {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::OBJECT;

    fn has_section(name: &str) -> bool {
        OBJECT.windows(name.len()).any(|bytes| bytes == name.as_bytes())
    }

    #[test]
    fn the_object_has_btf_and_nothing_for_debuggers() {
        assert!([".BTF", ".BTF.ext", ".symtab"].into_iter().all(has_section));
        assert!(![".debug_info", ".debug_line", ".rel.debug_info"].into_iter().any(has_section));
    }
}
