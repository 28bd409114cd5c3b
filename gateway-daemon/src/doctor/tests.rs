//! Every finding in its good and its bad form.

use super::checks::findings;
use super::facts::{Bpffs, Facts, Interface, Kernel, Link, OtherDaemon, Process, StateDirectory, Xdp};
use super::{Finding, Verdict, worst};

const ALL_CAPABILITIES: u64 = (1 << 39) | (1 << 38) | (1 << 12) | (1 << 13);

/// A host on which all is well.
pub(crate) fn healthy() -> Facts {
    Facts {
        kernel: Kernel {
            release: "6.6.13+deb12-amd64".to_owned(),
            has_btf: true,
            jit: Some(1),
            unprivileged_bpf_disabled: Some(2),
        },
        process: Process { capabilities: Some(ALL_CAPABILITIES), memlock_bytes: Some(8 << 20) },
        bpffs: Bpffs { path: "/sys/fs/bpf/two-ip-gateway".into(), is_mounted: true, is_writable: true },
        state: StateDirectory {
            path: "/var/lib/two-ip-gateway".into(),
            exists: true,
            is_writable: true,
            free_bytes: Some(4 << 30),
        },
        daemon: OtherDaemon::default(),
        interfaces: vec![Interface { name: "ext0".to_owned(), wants_native_xdp: true, link: Some(link()) }],
        clock_is_synchronised: Some(true),
    }
}

fn link() -> Link {
    Link {
        driver: Some("mlx5_core".to_owned()),
        is_up: true,
        mtu: 1_500,
        xdp: Xdp::Ours,
        forwarding_is_writable: true,
        has_lro: Some(false),
    }
}

/// The findings that are not good, after something was done to a healthy host.
fn troubles(damage: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = healthy();
    damage(&mut facts);
    findings(&facts).into_iter().filter(|finding| finding.verdict != Verdict::Ok).collect()
}

/// Exactly one thing is not good.
#[track_caller]
fn one(name: &str, verdict: Verdict, words: &str, damage: impl FnOnce(&mut Facts)) {
    let troubles = troubles(damage);
    let [trouble] = troubles.as_slice() else { panic!("not one: {troubles:#?}") };
    assert_eq!((trouble.name.as_str(), trouble.verdict), (name, verdict), "{trouble:#?}");
    assert!(trouble.detail.contains(words), "{trouble:#?}");
    assert!(trouble.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty()), "{trouble:#?}");
}

#[test]
fn a_healthy_host_has_nothing_but_good_findings() {
    let findings = findings(&healthy());
    assert_eq!(worst(&findings), Verdict::Ok, "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.remedy.is_none()));
    assert_eq!(worst(&[]), Verdict::Ok);
}

#[test]
fn the_kernel_is_judged_by_its_number() {
    for (release, verdict) in
        [("6.0.9", Verdict::Warn), ("5.12.3-rc1", Verdict::Warn), ("5.11.99", Verdict::Fail)]
    {
        one("kernel", verdict, release, |facts| facts.kernel.release = release.to_owned());
    }
    one("kernel", Verdict::Warn, "understand", |facts| facts.kernel.release = "vendor".to_owned());
    for release in ["6.1.0-56-amd64", "6.5.0", "6.6", "6.10.1", "7.0.0"] {
        assert_eq!(troubles(|facts| facts.kernel.release = release.to_owned()), []);
    }
}

#[test]
fn switches_of_the_kernel_are_looked_at() {
    one("btf", Verdict::Warn, "btf", |facts| facts.kernel.has_btf = false);
    one("jit", Verdict::Fail, "interpreted", |facts| facts.kernel.jit = Some(0));
    one("unprivileged bpf", Verdict::Warn, "every user", |facts| {
        facts.kernel.unprivileged_bpf_disabled = Some(0);
    });
}

#[test]
fn capabilities_are_named() {
    one("capabilities", Verdict::Fail, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON", |facts| {
        facts.process.capabilities = Some(0);
    });
    one("capabilities", Verdict::Warn, "CAP_NET_RAW", |facts| {
        facts.process.capabilities = Some(ALL_CAPABILITIES & !(1 << 13));
    });
    one("capabilities", Verdict::Fail, "missing: CAP_NET_ADMIN", |facts| {
        facts.process.capabilities = Some(1 << 21);
    });
    let old_kernel = (1 << 21) | (1 << 12) | (1 << 13);
    assert_eq!(troubles(|facts| facts.process.capabilities = Some(old_kernel)), []);
}

#[test]
fn locked_memory_matters_only_on_old_kernels() {
    let damaged = troubles(|facts| facts.kernel.release = "5.10.0".to_owned());
    let names: Vec<_> = damaged.iter().map(|finding| finding.name.as_str()).collect();
    assert_eq!(names, ["kernel", "locked memory"]);
}

#[test]
fn places_must_be_writable() {
    one("bpffs", Verdict::Fail, "not in a BPF file system", |facts| facts.bpffs.is_mounted = false);
    one("bpffs", Verdict::Warn, "will mount one", |facts| {
        facts.bpffs.is_mounted = false;
        facts.process.capabilities = Some(ALL_CAPABILITIES | (1 << 21));
    });
    one("bpffs", Verdict::Fail, "no right", |facts| facts.bpffs.is_writable = false);
    one("state directory", Verdict::Fail, "can't be written", |facts| facts.state.is_writable = false);
    one("state directory", Verdict::Fail, "can't be made", |facts| {
        facts.state.exists = false;
        facts.state.is_writable = false;
    });
    one("state directory", Verdict::Warn, "100 MiB", |facts| facts.state.free_bytes = Some(100 << 20));
    one("state directory", Verdict::Fail, "1 MiB", |facts| facts.state.free_bytes = Some(1 << 20));
}

#[test]
fn a_taken_address_is_a_fault_unless_it_is_our_daemon() {
    let taken = Some("127.0.0.1:9464".parse().unwrap());
    one("daemon", Verdict::Fail, "127.0.0.1:9464", |facts| facts.daemon.metrics_taken = taken);
    for daemon in [
        OtherDaemon { holds_pins: true, answers: false, metrics_taken: taken },
        OtherDaemon { holds_pins: false, answers: true, metrics_taken: taken },
    ] {
        assert_eq!(troubles(|facts| facts.daemon = daemon), []);
    }
}

#[test]
fn a_clock_that_runs_free_is_told() {
    one("clock", Verdict::Warn, "nobody", |facts| facts.clock_is_synchronised = Some(false));
}

#[test]
fn each_fault_of_an_interface_is_told() {
    let damaged =
        |damage: fn(&mut Link)| move |facts: &mut Facts| damage(facts.interfaces[0].link.as_mut().unwrap());
    let name = "interface ext0";
    one(name, Verdict::Fail, "does not exist", |facts| facts.interfaces[0].link = None);
    one(name, Verdict::Warn, "is down", damaged(|link| link.is_up = false));
    one(name, Verdict::Fail, "number 77", damaged(|link| link.xdp = Xdp::Foreign(77)));
    one(name, Verdict::Fail, "forwarding", damaged(|link| link.forwarding_is_writable = false));
    one(name, Verdict::Warn, "e1000e", damaged(|link| link.driver = Some("e1000e".to_owned())));
    one(name, Verdict::Warn, "MTU 9000", damaged(|link| link.mtu = 9_000));
    one(name, Verdict::Warn, "LRO", damaged(|link| link.has_lro = Some(true)));
}

#[test]
fn with_tc_neither_driver_nor_mtu_matter() {
    let tc = |facts: &mut Facts| {
        facts.interfaces[0].wants_native_xdp = false;
        let link = facts.interfaces[0].link.as_mut().unwrap();
        link.driver = Some("bonding".to_owned());
        link.mtu = 9_000;
    };
    assert_eq!(troubles(tc), []);
}
