//! From facts to findings. Pure: every number that decides is here.

use super::Finding;
use super::facts::{Bpffs, Facts, Interface, Kernel, Link, OtherDaemon, Process, StateDirectory, Xdp};

/// TCX links (kernel commit e420bed02507). Before, filters stand in for them.
const TCX_KERNEL: (u32, u32) = (6, 6);

/// The oldest that the tests run on: whether earlier verifiers take the programs is not known.
const TESTED_KERNEL: (u32, u32) = (6, 1);

/// Then `bpf_fib_lookup` tells the MTU (kernel commit e1850ea9bd9e), and 5.11 has the clock of the programs
/// (d05512618056).
const OLDEST_KERNEL: (u32, u32) = (5, 12);

/// Since then maps count against the memory cgroup, no longer against `RLIMIT_MEMLOCK` (kernel commit 97306be45fbe).
const MEMCG_KERNEL: (u32, u32) = (5, 11);

/// The tables of the default limits need about 100 MiB of locked memory where that is still counted.
const MEMLOCK_NEEDED_BYTES: u64 = 128 << 20;

/// The tenant store of 10,000 tenants with its history takes about 100 MiB; below this it may soon refuse changes.
const FREE_WANTED_BYTES: u64 = 512 << 20;

/// Below this the store can't even be compacted.
const FREE_NEEDED_BYTES: u64 = 32 << 20;

/// XDP in a driver needs a packet in one page: most drivers refuse an MTU above this.
const XDP_MTU: u32 = 3_498;

/// Drivers with XDP of their own, redirects included, in kernel 6.6.
const NATIVE_XDP_DRIVERS: &[&str] = &[
    "atlantic",
    "bnxt_en",
    "dpaa2-eth",
    "ena",
    "fsl_dpaa2_eth",
    "fsl_enetc",
    "gve",
    "hv_netvsc",
    "i40e",
    "iavf",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "nfp",
    "qede",
    "rvu_nicpf",
    "sfc",
    "stmmac",
    "tun",
    "veth",
    "virtio_net",
    "vmxnet3",
];

/// Numbers of capabilities (`linux/capability.h`), their names, and what the gateway needs them for.
const CAPABILITIES: [(u32, &str, Need); 4] = [
    (39, "CAP_BPF", Need::Must),
    (12, "CAP_NET_ADMIN", Need::Must),
    (38, "CAP_PERFMON", Need::Must),
    (
        13,
        "CAP_NET_RAW",
        Need::Should(
            "flows of drained or failed backends can't be ended: their ends learn of it by their timeouts",
        ),
    ),
];

/// What `CAP_SYS_ADMIN` includes: before kernel 5.8 these two did not exist.
const SYS_ADMIN: u32 = 21;
const IN_SYS_ADMIN: [u32; 2] = [38, 39];

#[derive(Clone, Copy)]
enum Need {
    Must,
    Should(&'static str),
}

/// Everything that is to be said about this host, in the order of the facts.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = kernel(&facts.kernel);
    findings.push(capabilities(&facts.process));
    findings.push(memlock(&facts.process, &facts.kernel));
    findings.push(bpffs(&facts.bpffs, facts.process.capabilities));
    findings.push(state_directory(&facts.state));
    findings.push(other_daemon(&facts.daemon));
    findings.push(clock(facts.clock_is_synchronised));
    findings.extend(facts.interfaces.iter().flat_map(interface));
    findings
}

/// The first two numbers of a release such as `6.6.13+deb12-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn kernel(kernel: &Kernel) -> Vec<Finding> {
    vec![kernel_version(&kernel.release), btf(kernel.has_btf), jit(kernel.jit), unprivileged_bpf(kernel)]
}

fn kernel_version(release: &str) -> Finding {
    match version(release) {
        Some(version) if version >= TCX_KERNEL => Finding::ok("kernel", release),
        Some(version) if version >= TESTED_KERNEL => {
            Finding::ok("kernel", format!("{release}, without TCX links: TC filters stand in for them"))
        }
        Some(version) if version >= OLDEST_KERNEL => Finding::warn(
            "kernel",
            format!("{release} is older than what the gateway is tested on"),
            "use kernel 6.1 or later: this one may refuse the programs",
        ),
        Some(_) => Finding::fail("kernel", format!("{release} is too old"), "install kernel 6.1 or later"),
        None => Finding::warn("kernel", format!("cannot understand `{release}`"), "6.1 or later is needed"),
    }
}

fn btf(has_btf: bool) -> Finding {
    if has_btf {
        return Finding::ok("btf", "the kernel describes its types");
    }
    Finding::warn(
        "btf",
        "no /sys/kernel/btf/vmlinux",
        "the gateway does without; `bpftool` and bug reports show less. Kernels with CONFIG_DEBUG_INFO_BTF have it",
    )
}

fn jit(setting: Option<u8>) -> Finding {
    match setting {
        Some(0) => Finding::fail(
            "jit",
            "BPF programs are interpreted: several times slower",
            "`sysctl -w net.core.bpf_jit_enable=1`",
        ),
        Some(_) => Finding::ok("jit", "BPF programs are compiled"),
        None => Finding::ok("jit", "no switch: compiled always, or only root may see it"),
    }
}

fn unprivileged_bpf(kernel: &Kernel) -> Finding {
    match kernel.unprivileged_bpf_disabled {
        Some(0) => Finding::warn(
            "unprivileged bpf",
            "every user of this host may load BPF programs",
            "`sysctl -w kernel.unprivileged_bpf_disabled=2`: the gateway does not need it",
        ),
        Some(_) => Finding::ok("unprivileged bpf", "off"),
        None => Finding::ok("unprivileged bpf", "this kernel has no such switch"),
    }
}

fn capabilities(process: &Process) -> Finding {
    const NAME: &str = "capabilities";
    let Some(effective) = process.capabilities else {
        return Finding::warn(NAME, "cannot read them", "is /proc mounted?");
    };
    let has = |bit: u32| effective & (1 << bit) != 0;
    let missing =
        CAPABILITIES.iter().filter(|(bit, ..)| !(has(*bit) || has(SYS_ADMIN) && IN_SYS_ADMIN.contains(bit)));
    let (must, should): (Vec<_>, Vec<_>) = missing.partition(|(.., need)| matches!(need, Need::Must));
    if !must.is_empty() {
        let names: Vec<_> = must.iter().map(|(_, name, _)| *name).collect();
        let remedy =
            "run as root, or grant them: AmbientCapabilities= of the unit, securityContext of the pod";
        return Finding::fail(NAME, format!("missing: {}", names.join(", ")), remedy);
    }
    match should.first() {
        Some((_, name, Need::Should(loss))) => {
            Finding::warn(NAME, format!("missing: {name}"), format!("grant it: without, {loss}"))
        }
        _ => Finding::ok(NAME, "all that are needed"),
    }
}

fn memlock(process: &Process, kernel: &Kernel) -> Finding {
    const NAME: &str = "locked memory";
    if version(&kernel.release).is_none_or(|version| version >= MEMCG_KERNEL) {
        return Finding::ok(NAME, "counts against the memory limit, not against RLIMIT_MEMLOCK");
    }
    match process.memlock_bytes {
        Some(bytes) if bytes < MEMLOCK_NEEDED_BYTES => Finding::fail(
            NAME,
            format!("limited to {bytes} bytes"),
            "`LimitMEMLOCK=infinity` in the unit, `ulimit -l unlimited` in a shell",
        ),
        _ => Finding::ok(NAME, "enough"),
    }
}

fn bpffs(bpffs: &Bpffs, capabilities: Option<u64>) -> Finding {
    let path = bpffs.path.display();
    let may_mount = capabilities.is_some_and(|bits| bits & (1 << SYS_ADMIN) != 0);
    if !bpffs.is_mounted && may_mount {
        return Finding::warn(
            "bpffs",
            format!("{path} is not in a BPF file system: the daemon will mount one there"),
            "`mount -t bpf bpf /sys/fs/bpf` at boot, so that the state is where others look for it",
        );
    }
    if !bpffs.is_mounted {
        return Finding::fail(
            "bpffs",
            format!("{path} is not in a BPF file system"),
            "`mount -t bpf bpf /sys/fs/bpf`; systemd does so at boot, a pod needs it as hostPath",
        );
    }
    if !bpffs.is_writable {
        return Finding::fail(
            "bpffs",
            format!("no right to write to {path}"),
            "run as root, or ReadWritePaths=/sys/fs/bpf in the unit",
        );
    }
    Finding::ok("bpffs", format!("{path} can be written"))
}

fn state_directory(state: &StateDirectory) -> Finding {
    const NAME: &str = "state directory";
    let path = state.path.display();
    if !state.is_writable {
        let what = if state.exists { "can't be written" } else { "is not there and can't be made" };
        return Finding::fail(
            NAME,
            format!("{path} {what}"),
            "StateDirectory=two-ip-gateway in the unit, a hostPath in the pod",
        );
    }
    let free = state.free_bytes.unwrap_or(u64::MAX);
    let detail = format!("{path}: {} MiB free", free >> 20);
    match free {
        ..FREE_NEEDED_BYTES => {
            Finding::fail(NAME, detail, "make room: tenants can't be changed on a full disk")
        }
        FREE_NEEDED_BYTES..FREE_WANTED_BYTES => {
            Finding::warn(NAME, detail, "make room: 512 MiB are enough for 10,000 tenants")
        }
        _ if state.free_bytes.is_none() => Finding::ok(NAME, format!("{path} can be written")),
        _ => Finding::ok(NAME, detail),
    }
}

fn other_daemon(daemon: &OtherDaemon) -> Finding {
    const NAME: &str = "daemon";
    match (daemon.holds_pins || daemon.answers, daemon.metrics_taken) {
        (true, _) => Finding::ok(NAME, "one is running here; a second one would refuse to start"),
        (false, Some(address)) => Finding::fail(
            NAME,
            format!("none is running, and {address} is taken by another program"),
            "choose another address with `daemon.metrics`, or end that program",
        ),
        (false, None) => Finding::ok(NAME, "none is running; its address is free"),
    }
}

fn clock(is_synchronised: Option<bool>) -> Finding {
    match is_synchronised {
        Some(false) => Finding::warn(
            "clock",
            "nobody keeps it right",
            "run chrony or systemd-timesyncd: history, logs and certificates depend on it; packets do not",
        ),
        Some(true) => Finding::ok("clock", "synchronised"),
        None => Finding::ok("clock", "not known"),
    }
}

fn interface(interface: &Interface) -> Vec<Finding> {
    let name = format!("interface {}", interface.name);
    let Some(link) = &interface.link else {
        let remedy = "`ip link` shows those that exist; `[[interface]]` of the configuration names them";
        return vec![Finding::fail(name, "does not exist", remedy)];
    };
    let troubles: Vec<_> = [
        is_down(&name, link),
        foreign_program(&name, link),
        forwarding(&name, link),
        native_xdp(&name, interface, link),
        mtu(&name, interface, link),
        lro(&name, link),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !troubles.is_empty() {
        return troubles;
    }
    let driver = link.driver.as_deref().unwrap_or("unknown");
    vec![Finding::ok(name, format!("up, driver {driver}, MTU {}", link.mtu))]
}

fn is_down(name: &str, link: &Link) -> Option<Finding> {
    (!link.is_up).then(|| Finding::warn(name, "is down", "`ip link set NAME up`"))
}

fn foreign_program(name: &str, link: &Link) -> Option<Finding> {
    let Xdp::Foreign(number) = link.xdp else { return None };
    Some(Finding::fail(
        name,
        format!("another XDP program is attached (number {number})"),
        format!("`bpftool prog show id {number}` says whose it is; end its owner, or use `hook = \"tc\"`"),
    ))
}

fn forwarding(name: &str, link: &Link) -> Option<Finding> {
    (!link.forwarding_is_writable).then(|| {
        Finding::fail(
            name,
            "no right to switch IPv4 forwarding",
            "ReadWritePaths=/proc/sys/net in the unit; mount /proc/sys/net of the host into the pod",
        )
    })
}

fn native_xdp(name: &str, interface: &Interface, link: &Link) -> Option<Finding> {
    let driver = link.driver.as_deref()?;
    (interface.wants_native_xdp && !NATIVE_XDP_DRIVERS.contains(&driver)).then(|| {
        Finding::warn(
            name,
            format!("the driver {driver} is not known to have XDP of its own"),
            "`hook = \"tc\"`, or `xdp_mode = \"generic\"`; `hook = \"auto\"` tries and falls back",
        )
    })
}

fn mtu(name: &str, interface: &Interface, link: &Link) -> Option<Finding> {
    (interface.wants_native_xdp && link.mtu > XDP_MTU).then(|| {
        Finding::warn(
            name,
            format!("MTU {} is more than most drivers take with XDP ({XDP_MTU})", link.mtu),
            "lower the MTU, or `hook = \"tc\"`",
        )
    })
}

fn lro(name: &str, link: &Link) -> Option<Finding> {
    (link.has_lro == Some(true)).then(|| {
        Finding::warn(
            name,
            "the card joins received segments (LRO), those are too large to forward",
            "`ethtool -K NAME lro off`; GRO may stay on",
        )
    })
}
