//! The harms.

use std::{
    fs::{self, File},
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, FromRawFd as _},
    path::{Path, PathBuf},
};

use gateway_common::{abi::ListenerKey, names};
use gateway_daemon::datapath::{
    changes::Changes,
    contents::{Contents, Slots},
    tables::Tables,
};
use nix::libc;

use super::{super::stage::Stage, whole};
use crate::{
    lab::Lab,
    scenarios::routes::{TO, routers},
};

/// `BPF_OBJ_GET` and `BPF_LINK_DETACH` of `enum bpf_cmd`.
const OBJ_GET: libc::c_long = 7;
const LINK_DETACH: libc::c_long = 34;

/// What is done to the first tenant, or to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// The listener's entry is deleted.
    Listener,
    /// A backend's entry is deleted.
    Backend,
    /// The pool's entry is deleted.
    Pool,
    /// The allow-list's entry is deleted.
    AllowList,
    /// The slots of the pool are overwritten.
    Slots,
    /// The ingress VIP is deleted from the table of addresses.
    Vip,
    /// The tenant NAT IP is deleted from the table of addresses.
    NatIp,
    /// The file of a pinned link is deleted.
    LinkRemoved,
    /// A link is detached by force.
    LinkDetached,
    /// The pin of a map is deleted.
    MapPin,
    /// Forwarding is switched off.
    Forwarding,
    /// A neighbour is deleted.
    Neighbour,
    /// A route is deleted.
    RouteRemoved,
    /// The external interface goes down, with all routes that lead out of it, and up.
    InterfaceBounced,
    /// A route is replaced by one that leads elsewhere, which stays behind the one that is put back.
    RouteReplaced,
}

impl Harm {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::Listener,
        Self::Backend,
        Self::Pool,
        Self::AllowList,
        Self::Slots,
        Self::Vip,
        Self::NatIp,
        Self::LinkRemoved,
        Self::LinkDetached,
        Self::MapPin,
        Self::Forwarding,
        Self::Neighbour,
        Self::RouteRemoved,
        Self::InterfaceBounced,
        Self::RouteReplaced,
    ];

    /// As in identifiers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Backend => "backend",
            Self::Pool => "pool",
            Self::AllowList => "allow-list",
            Self::Slots => "slots",
            Self::Vip => "vip",
            Self::NatIp => "nat-ip",
            Self::LinkRemoved => "link-removed",
            Self::LinkDetached => "link-detached",
            Self::MapPin => "map-pin",
            Self::Forwarding => "forwarding",
            Self::Neighbour => "neighbour",
            Self::RouteRemoved => "route-removed",
            Self::InterfaceBounced => "interface-bounced",
            Self::RouteReplaced => "route-replaced",
        }
    }

    /// The word by which its repair is counted.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Listener | Self::Backend | Self::Pool | Self::AllowList | Self::Slots => "map_entry",
            Self::Vip | Self::NatIp => "address",
            Self::LinkRemoved | Self::LinkDetached => "link",
            Self::MapPin => "pin",
            Self::Forwarding => "forwarding",
            Self::Neighbour => "neighbour",
            Self::RouteRemoved | Self::InterfaceBounced | Self::RouteReplaced => "route",
        }
    }

    #[track_caller]
    pub(super) fn inflict(self, lab: &Lab, stage: &Stage<'_>) {
        match self {
            Self::LinkRemoved => remove(&link(lab, stage)),
            Self::LinkDetached => detach(&link(lab, stage)),
            Self::MapPin => remove(&stage.gateway.pins().map(names::LISTENERS)),
            Self::Forwarding => {
                let interface = &lab.tenant(1).link.near;
                lab.gateway.sysctl(&format!("net/ipv4/conf/{interface}/forwarding"), "0");
            }
            Self::Neighbour => {
                let tenant = lab.tenant(1);
                let address = tenant.plan.backend().to_string();
                lab.gateway.ip(&["neigh", "del", &address, "dev", &tenant.link.near]);
            }
            Self::RouteRemoved => _ = lab.gateway.ip(&["route", "del", TO[0]]),
            Self::InterfaceBounced => {
                let interface = &lab.external.near;
                lab.gateway.ip_batch(&format!("link set {interface} down\nlink set {interface} up\n"));
            }
            Self::RouteReplaced => {
                let [_, elsewhere] = routers(lab);
                lab.gateway.ip(&["route", "replace", TO[0], "via", &elsewhere]);
            }
            _ => self.damage_tables(lab, stage),
        }
    }

    #[track_caller]
    fn damage_tables(self, lab: &Lab, stage: &Stage<'_>) {
        let mut tables = stage.gateway.tables();
        let contents = tables.contents().unwrap_or_else(|error| panic!("read the tables: {error:#}"));
        let changes = self.changes(lab, &tables, &contents);
        assert!(!changes.is_empty(), "nothing to damage for {self:?}");
        tables.apply(&changes).unwrap_or_else(|error| panic!("damage the tables: {error:#}"));
    }

    fn changes(self, lab: &Lab, tables: &Tables, contents: &Contents) -> Changes {
        let mut changes = Changes::default();
        let key: ListenerKey = whole::listener_key(lab, 1);
        let listener = contents.listeners.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
        let listener = listener.expect("the first tenant's listener is in the table");
        let pool = contents.pools.iter().find(|(number, _)| *number == listener.pool);
        let (_, pool) = pool.expect("its pool is in the table");
        let members = tables.slots(pool).unwrap_or_else(|error| panic!("read slots: {error:#}"));
        match self {
            Self::Listener => changes.listeners.remove.push(key),
            Self::Backend => changes.backends.remove.push(members[0]),
            Self::Pool => changes.pools.remove.push(listener.pool),
            Self::AllowList => {
                let of_it = contents.allow_lists.iter().map(|(prefix, _)| *prefix);
                changes.allow_lists.remove =
                    of_it.filter(|prefix| prefix.key.list() == listener.allow_list).collect();
            }
            Self::Slots => {
                let backends = vec![members[0]; members.len()];
                changes.slots.push(Slots { first: pool.maglev_offset, backends });
            }
            Self::Vip => changes.addresses.remove.push(lab.plan.ingress_vip.into()),
            Self::NatIp => changes.addresses.remove.push(lab.tenant(1).plan.nat_ip.into()),
            Self::LinkRemoved
            | Self::LinkDetached
            | Self::MapPin
            | Self::Forwarding
            | Self::Neighbour
            | Self::RouteRemoved
            | Self::InterfaceBounced
            | Self::RouteReplaced => {}
        }
        changes
    }
}

/// The pinned link of the first tenant's interface.
#[track_caller]
fn link(lab: &Lab, stage: &Stage<'_>) -> PathBuf {
    let pins = stage.gateway.pins();
    let names = pins.link_names().unwrap_or_else(|error| panic!("list links: {error:#}"));
    let of_it = names.into_iter().find(|name| name.interface == lab.tenant(1).link.near);
    pins.link(&of_it.expect("the first tenant's interface is attached"))
}

#[track_caller]
fn remove(path: &Path) {
    fs::remove_file(path).unwrap_or_else(|error| panic!("remove {}: {error}", path.display()));
}

/// What `bpftool link detach` does.
#[track_caller]
fn detach(path: &Path) {
    let detached = open_pinned(path).and_then(|link| {
        let fd = [link.as_raw_fd()];
        bpf(LINK_DETACH, fd.as_ptr().cast(), size_of_val(&fd)).map(drop)
    });
    detached.unwrap_or_else(|error| panic!("detach {}: {error}", path.display()));
}

/// `pathname` of `union bpf_attr` is a pointer, then come numbers that are zero.
fn open_pinned(path: &Path) -> io::Result<File> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let attributes = [path.as_ptr() as u64, 0];
    let fd = bpf(OBJ_GET, attributes.as_ptr().cast(), size_of::<[u64; 2]>())?;
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn bpf(command: libc::c_long, attributes: *const libc::c_void, length: usize) -> io::Result<libc::c_long> {
    // SAFETY: both callers hand over so many bytes that live until after the call, and what they point to does too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
