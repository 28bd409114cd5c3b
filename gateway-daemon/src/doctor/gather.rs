//! Asks the kernel for the [`Facts`]. Changes nothing, and needs no rights: what it may not see it does not know.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::sys::statvfs::{Statvfs, statvfs};
use nix::unistd::{AccessFlags, access};

use super::facts::{Bpffs, Facts, Interface, Kernel, Link, OtherDaemon, Process, StateDirectory, Xdp};
use crate::config::{Config, Daemon, HookChoice, XdpMode};
use crate::datapath::pins::Pins;
use crate::datapath::sysctl;

/// Everything about this host that matters to a daemon with these settings.
pub async fn facts(config: &Config) -> Facts {
    Facts {
        kernel: kernel(),
        process: process(),
        bpffs: bpffs(&config.daemon.bpffs),
        state: state_directory(&config.daemon.state_dir),
        daemon: other_daemon(&config.daemon),
        interfaces: interfaces(config).await,
        clock_is_synchronised: clock_is_synchronised(),
    }
}

/// A number in a file of /proc or /sys.
fn number(path: &str) -> Option<u8> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn kernel() -> Kernel {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Kernel {
        release: release.trim().to_owned(),
        has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        jit: number("/proc/sys/net/core/bpf_jit_enable"),
        unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
    }
}

fn process() -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    Process { capabilities: effective_capabilities(&status), memlock_bytes: memlock_bytes(&limits) }
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The soft limit, which is the one that counts.
fn memlock_bytes(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        bytes => bytes.parse().ok(),
    }
}

/// The part of a path that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

fn is_writable(path: &Path) -> bool {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

fn bpffs(path: &Path) -> Bpffs {
    let existing = existing(path);
    let is_mounted = statfs(existing).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC);
    Bpffs { path: path.to_owned(), is_mounted, is_writable: is_writable(existing) }
}

fn state_directory(path: &Path) -> StateDirectory {
    let existing = existing(path);
    let free = |stat: Statvfs| stat.blocks_available().saturating_mul(stat.fragment_size());
    StateDirectory {
        path: path.to_owned(),
        exists: path.is_dir(),
        is_writable: existing.is_dir() && is_writable(existing),
        free_bytes: statvfs(existing).ok().map(free),
    }
}

fn other_daemon(daemon: &Daemon) -> OtherDaemon {
    let pins = Pins::new(&daemon.bpffs);
    OtherDaemon {
        // Tried for a moment only. The error without a source is the one of a lock that is held; the others say that
        // this process may not look.
        holds_pins: pins.exist() && pins.lock().is_err_and(|error| error.source().is_none()),
        answers: UnixStream::connect(&daemon.socket).is_ok(),
        metrics_taken: daemon.metrics.filter(is_taken),
    }
}

fn is_taken(address: &SocketAddr) -> bool {
    TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// `adjtimex` only reads when it is told to change nothing.
fn clock_is_synchronised() -> Option<bool> {
    // SAFETY: all-zero bytes are a valid `timex`: integers only.
    let mut nothing: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timex` of ours.
    let state = unsafe { libc::adjtimex(&raw mut nothing) };
    (state >= 0).then_some(state != libc::TIME_ERROR)
}

async fn interfaces(config: &Config) -> Vec<Interface> {
    let links = links().await.unwrap_or_default();
    let pins = Pins::new(&config.daemon.bpffs);
    let interface = |configured: &crate::config::Interface| {
        let name = configured.name.as_str();
        let message = links.iter().find(|message| name_of(message) == Some(name));
        Interface {
            name: name.to_owned(),
            wants_native_xdp: configured.hook == HookChoice::Xdp && configured.xdp_mode == XdpMode::Native,
            link: message.map(|message| link(name, message, &pins)),
        }
    };
    config.interfaces.iter().map(interface).collect()
}

async fn links() -> Result<Vec<LinkMessage>, rtnetlink::Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|_| rtnetlink::Error::RequestFailed)?;
    tokio::spawn(connection);
    handle.link().get().execute().try_collect().await
}

fn name_of(message: &LinkMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn link(name: &str, message: &LinkMessage, pins: &Pins) -> Link {
    let mtu = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    let forwarding = sysctl::net().join("ipv4/conf").join(name).join("forwarding");
    Link {
        driver: driver(name).or_else(|| kind(message)),
        is_up: message.header.flags.contains(LinkFlags::Up),
        mtu: mtu.unwrap_or(0),
        xdp: xdp(message, pins),
        forwarding_is_writable: access(&forwarding, AccessFlags::W_OK).is_ok(),
        has_lro: has_lro(name),
    }
}

fn driver(interface: &str) -> Option<String> {
    let link = fs::read_link(Path::new("/sys/class/net").join(interface).join("device/driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

fn kind(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Kind(kind) => Some(kind.to_string()),
            _ => None,
        }),
        _ => None,
    })
}

/// Ours is what has a link of an XDP hook among the pins: programs can't be told by their numbers without
/// `CAP_SYS_ADMIN`.
fn xdp(message: &LinkMessage, pins: &Pins) -> Xdp {
    let attached = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(attributes) => attributes.iter().find_map(|attribute| match attribute {
            LinkXdp::ProgId(number) => Some(*number),
            _ => None,
        }),
        _ => None,
    });
    let Some(number) = attached else { return Xdp::Free };
    let pinned = pins.link_names().unwrap_or_default();
    let ours = pinned.iter().any(|link| link.ifindex == message.header.index && link.hook.is_xdp());
    if ours { Xdp::Ours } else { Xdp::Foreign(number) }
}

/// `ETHTOOL_GFLAGS` and `ETH_FLAG_LRO` of `linux/ethtool.h`.
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

fn has_lro(interface: &str) -> Option<bool> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let name =
        CString::new(interface).ok().filter(|name| name.as_bytes_with_nul().len() <= libc::IFNAMSIZ)?;
    let mut value = EthtoolValue { command: ETHTOOL_GFLAGS, data: 0 };
    // SAFETY: all-zero bytes are a valid `ifreq`: integers and unused pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes_with_nul()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL takes an `ifreq` whose data points to the value of its command; both outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    (done == 0).then_some(value.data & ETH_FLAG_LRO != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status() {
        let status = "Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000000c000003000\n";
        assert_eq!(effective_capabilities(status), Some((1 << 39) | (1 << 38) | (1 << 13) | (1 << 12)));
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn the_limit_of_locked_memory_is_the_soft_one() {
        let limits = |soft| format!("Max open files  1  2  files\nMax locked memory  {soft}  9  bytes\n");
        assert_eq!(memlock_bytes(&limits("8388608")), Some(8_388_608));
        assert_eq!(memlock_bytes(&limits("unlimited")), Some(u64::MAX));
        assert_eq!(memlock_bytes(""), None);
    }

    #[test]
    fn the_kernel_and_this_process_answer() {
        assert!(kernel().release.contains('.'));
        assert!(process().capabilities.is_some());
        assert!(process().memlock_bytes.is_some());
    }

    #[test]
    fn a_state_directory_may_be_made_below_one_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let state = state_directory(&directory.path().join("a/b"));
        assert!(
            !state.exists && state.is_writable && state.free_bytes.is_some_and(|free| free > 0),
            "{state:?}"
        );
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(!state_directory(&file.join("below")).is_writable);
    }

    #[test]
    fn an_ordinary_directory_is_no_bpffs() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!bpffs(directory.path()).is_mounted);
    }

    #[test]
    fn a_taken_port_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(is_taken(&address));
        drop(listener);
        assert!(!is_taken(&address));
    }

    #[tokio::test]
    async fn the_loopback_is_found_and_has_no_driver() {
        let links = links().await.unwrap();
        let loopback = links.iter().find(|message| name_of(message) == Some("lo")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let found = link("lo", loopback, &Pins::new(directory.path()));
        assert_eq!((found.driver, found.xdp), (None, Xdp::Free));
        assert!(found.mtu > 0);
    }
}
