//! What the doctor found on this host. `None` means that it could not be found out.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel.
    pub kernel: Kernel,
    /// What this process may do.
    pub process: Process,
    /// Where maps and links are to be pinned.
    pub bpffs: Bpffs,
    /// Where the daemon keeps what it must not forget.
    pub state: StateDirectory,
    /// Another daemon.
    pub daemon: OtherDaemon,
    /// The configured interfaces.
    pub interfaces: Vec<Interface>,
    /// Is the clock kept right by somebody?
    pub clock_is_synchronised: Option<bool>,
}

/// The kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` has it.
    pub release: String,
    /// Does it describe its own types?
    pub has_btf: bool,
    /// `net.core.bpf_jit_enable`.
    pub jit: Option<u8>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u8>,
}

/// This process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its effective capabilities, as bits.
    pub capabilities: Option<u64>,
    /// Its limit of locked memory in bytes; `u64::MAX` for none.
    pub memlock_bytes: Option<u64>,
}

/// A directory in a BPF file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bpffs {
    /// Its path.
    pub path: PathBuf,
    /// Is it, or the part of it that exists, in a BPF file system?
    pub is_mounted: bool,
    /// May this process write there?
    pub is_writable: bool,
}

/// The state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirectory {
    /// Its path.
    pub path: PathBuf,
    /// Is it there?
    pub exists: bool,
    /// May this process write there, or make it?
    pub is_writable: bool,
    /// Room in its file system.
    pub free_bytes: Option<u64>,
}

/// Signs of a daemon that runs already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherDaemon {
    /// Does somebody hold the pins?
    pub holds_pins: bool,
    /// Does somebody listen on the API's socket?
    pub answers: bool,
    /// The address of the metrics, if there is one and it is taken.
    pub metrics_taken: Option<SocketAddr>,
}

/// A configured interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is wanted with XDP in its driver.
    pub wants_native_xdp: bool,
    /// What the kernel says of it; nothing when it does not exist.
    pub link: Option<Link>,
}

/// What the kernel says of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its driver, such as `mlx5_core`; its kind, such as `veth`, for what is not hardware.
    pub driver: Option<String>,
    /// Is it up?
    pub is_up: bool,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// The XDP program that is attached now.
    pub xdp: Xdp,
    /// May this process switch forwarding?
    pub forwarding_is_writable: bool,
    /// Does the card join received segments (LRO)? Those can't be forwarded.
    pub has_lro: Option<bool>,
}

/// Whose XDP program an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xdp {
    /// None.
    Free,
    /// The gateway's.
    Ours,
    /// Somebody else's, with its number.
    Foreign(u32),
}
