//! TC filters: how programs are attached where the kernel has no TCX links (before 6.6).
//!
//! A filter belongs to its interface and needs no pin to outlive the daemon. What a pinned link tells the next daemon, an
//! empty directory of the same kind of name tells of a filter, and one in it that the `clsact` below is ours as well: a
//! BPF file system takes nothing else but BPF objects. Directories are made first and removed last, so a daemon that is
//! killed on the way leaves nothing that the next one does not know of.
//!
//! Priority and handle are fixed, so there is at most one of ours, and the kernel replaces its program in one step.
//! Whether what stands there is ours, its name tells: what is not is never changed or removed.

mod netlink;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};
use gateway_common::names;
use nix::libc::{EEXIST, EINVAL, ENOENT};
use tracing::info;

use super::{
    link::LinkInfo,
    pins::{LinkName, Pins},
};
use netlink::{Filter, Hook};

/// The first that a packet meets: nothing may pass before it is translated.
const PRIORITY: u16 = 1;

/// Any number does that other software is unlikely to use; the kernel's own begin at 1.
const HANDLE: TcHandle = TcHandle::new(0, 0x2197);

/// Must programs be attached this way? The kernel is asked whether it has TCX: by its version one would not know, since
/// distributions carry features back and leave them out.
pub fn is_needed(interface: &str) -> bool {
    match SchedClassifier::query_tcx(interface, TcAttachType::Ingress) {
        Err(ProgramError::SyscallError(refused)) => refused.io_error.raw_os_error() == Some(EINVAL),
        _ => false,
    }
}

/// Attaches a loaded program; returns whether it took the place of one of ours, in one step.
///
/// # Errors
///
/// When the place is another's, or the kernel refuses.
pub fn put(program: &mut SchedClassifier, pins: &Pins, name: &LinkName) -> Result<bool> {
    let filters = list(name, Hook::Ingress)?;
    if let Some(other) = filters.iter().find(|filter| is_in_the_way(filter)) {
        bail!(
            "a TC filter of priority {PRIORITY} on the ingress of {} is another's ({other}): the gateway's has to be there, \
             so give that one a higher number",
            name.interface
        );
    }
    let replaces = filters.iter().any(is_ours);
    make_directory(&pins.link(name))?;
    let link = if replaces { replace(program, name)? } else { create(program, pins, name)? };
    // Dropped, it would detach the program.
    std::mem::forget(link);
    Ok(replaces)
}

fn replace(program: &mut SchedClassifier, name: &LinkName) -> Result<SchedClassifierLink> {
    let link = SchedClassifierLink::attached(&name.interface, TcAttachType::Ingress, PRIORITY, HANDLE, None)?;
    let id = program.attach_to_link(link)?;
    Ok(program.take_link(id)?)
}

fn create(program: &mut SchedClassifier, pins: &Pins, name: &LinkName) -> Result<SchedClassifierLink> {
    add_clsact(pins, name)?;
    let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle: HANDLE, classid: None });
    let id = program.attach_with_options(&name.interface, TcAttachType::Ingress, options)?;
    Ok(program.take_link(id)?)
}

/// The `clsact` that filters need, and a note that it is ours; where there is one (or an `ingress`), that one does.
fn add_clsact(pins: &Pins, name: &LinkName) -> Result<()> {
    let note = note_of_clsact(pins, name);
    let was_noted = note.exists();
    make_directory(&note)?;
    match tc::qdisc_add_clsact(&name.interface) {
        Ok(()) => Ok(()),
        Err(TcError::NetlinkError(refused)) if refused.raw_os_error() == Some(EEXIST) => {
            if was_noted {
                Ok(())
            } else {
                remove_directory(&note)
            }
        }
        Err(error) => Err(error).with_context(|| format!("cannot add a clsact qdisc to {}", name.interface)),
    }
}

/// Looks at ours; none when it is gone, or nobody would know of it.
///
/// # Errors
///
/// What the kernel says.
pub fn inspect(pins: &Pins, name: &LinkName) -> io::Result<Option<LinkInfo>> {
    if !pins.link(name).exists() {
        return Ok(None);
    }
    let filters = netlink::filters(name.ifindex, Hook::Ingress)?;
    let ours = filters.iter().find(|filter| is_ours(filter)).and_then(|filter| filter.program_id);
    Ok(ours.map(|program_id| LinkInfo { program_id, ifindex: name.ifindex }))
}

/// Detaches ours, and removes the `clsact` if we made it and nobody else uses it.
///
/// # Errors
///
/// What the kernel says; nothing is wrong with a filter or an interface that is gone.
pub fn remove(pins: &Pins, name: &LinkName) -> Result<()> {
    if list(name, Hook::Ingress)?.iter().any(is_ours) {
        let deleted = netlink::delete_filter(name.ifindex, PRIORITY, HANDLE.into());
        unless_gone(deleted).with_context(|| format!("cannot remove the TC filter of {}", name.interface))?;
    }
    if note_of_clsact(pins, name).exists() {
        remove_clsact(name)?;
        remove_directory(&note_of_clsact(pins, name))?;
    }
    remove_directory(&pins.link(name))
}

fn remove_clsact(name: &LinkName) -> Result<()> {
    if !list(name, Hook::Ingress)?.is_empty() || !list(name, Hook::Egress)?.is_empty() {
        info!(interface = name.interface, "the clsact qdisc stays: filters of others use it");
        return Ok(());
    }
    let deleted = netlink::delete_clsact(name.ifindex);
    unless_gone(deleted).with_context(|| format!("cannot remove the clsact qdisc of {}", name.interface))
}

/// Somebody was faster, or the interface is gone: the kernel says `EINVAL` where the qdisc is not there any more.
fn unless_gone(deleted: io::Result<()>) -> io::Result<()> {
    match deleted {
        Err(error) if matches!(error.raw_os_error(), Some(ENOENT | EINVAL | nix::libc::ENODEV)) => Ok(()),
        other => other,
    }
}

fn list(name: &LinkName, hook: Hook) -> Result<Vec<Filter>> {
    netlink::filters(name.ifindex, hook)
        .with_context(|| format!("cannot list the TC filters of {}", name.interface))
}

fn is_ours(filter: &Filter) -> bool {
    let names = [names::TC_EXTERNAL, names::TC_INTERNAL];
    is_in_place(filter) && filter.name.as_deref().is_some_and(|name| names.contains(&name))
}

fn is_in_place(filter: &Filter) -> bool {
    filter.priority == PRIORITY && filter.handle == u32::from(HANDLE)
}

/// Filters of one priority are all of one kind and one protocol, and have different handles.
fn is_in_the_way(filter: &Filter) -> bool {
    let fits = filter.kind == "bpf" && filter.is_for_all_protocols;
    filter.priority == PRIORITY && (!fits || (is_in_place(filter) && !is_ours(filter)))
}

fn note_of_clsact(pins: &Pins, name: &LinkName) -> PathBuf {
    pins.link(name).join("clsact")
}

fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn remove_directory(path: &Path) -> Result<()> {
    fs::remove_dir(path).with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(name: Option<&str>) -> Filter {
        Filter {
            priority: PRIORITY,
            handle: HANDLE.into(),
            is_for_all_protocols: true,
            kind: "bpf".to_owned(),
            name: name.map(str::to_owned),
            program_id: Some(7),
        }
    }

    #[test]
    fn ours_is_what_has_our_place_and_our_name() {
        for name in [names::TC_EXTERNAL, names::TC_INTERNAL] {
            let ours = filter(Some(name));
            assert!(is_ours(&ours) && !is_in_the_way(&ours));
            assert!(!is_ours(&Filter { handle: 1, ..ours.clone() }));
            assert!(!is_ours(&Filter { priority: 2, ..ours }));
        }
        assert!(!is_ours(&filter(Some("cil_from_netdev"))) && !is_ours(&filter(None)));
    }

    #[test]
    fn others_are_in_the_way_only_where_both_cannot_be() {
        let other = filter(Some("cil_from_netdev"));
        assert!(is_in_the_way(&other), "our handle");
        let beside = Filter { handle: 1, ..other.clone() };
        assert!(!is_in_the_way(&beside), "the kernel takes several programs of one priority");
        assert!(is_in_the_way(&Filter { kind: "flower".to_owned(), ..beside.clone() }));
        assert!(is_in_the_way(&Filter { is_for_all_protocols: false, ..beside.clone() }));
        assert!(!is_in_the_way(&Filter { priority: 2, kind: "flower".to_owned(), ..beside }));
    }
}
