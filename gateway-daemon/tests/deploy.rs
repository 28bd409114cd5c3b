//! What `deploy/` says, as far as it can be checked without Kubernetes and systemd (`cargo xtask check-deploy` asks
//! their own tools).

use std::fs;
use std::path::Path;

use gateway_daemon::cli::Exit;
use gateway_daemon::config::{Config, Interfaces};

fn text_of(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines of `one` that `other` lacks, comments left out.
fn lines_only_in(one: &str, other: &str) -> Vec<String> {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    };
    let mut others = lines(other);
    let mut left = lines(one);
    left.retain(|line| match others.iter().position(|other| other == line) {
        Some(found) => {
            others.swap_remove(found);
            false
        }
        None => true,
    });
    left
}

#[test]
fn the_privileged_variant_differs_only_where_it_must() {
    let (least, privileged) = (text_of("daemonset.yaml"), text_of("daemonset-privileged.yaml"));
    assert_eq!(
        lines_only_in(&privileged, &least),
        [
            "type: Unconfined",
            "privileged: true",
            "mountPropagation: Bidirectional",
            "type: DirectoryOrCreate"
        ]
    );
    let dropped = lines_only_in(&least, &privileged);
    for line in ["privileged: false", "drop: [\"ALL\"]", "- BPF", "- NET_ADMIN", "- PERFMON", "- NET_RAW"] {
        assert!(dropped.iter().any(|dropped| dropped == line), "{line:?} is not among {dropped:?}");
    }
}

/// The settings inside the `ConfigMap`, without their indentation.
fn settings_in(manifest: &str) -> String {
    let lines = manifest.lines().skip_while(|line| !line.contains("config.toml: |")).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.flat_map(|line| [line.trim_start(), "\n"]).collect()
}

#[test]
fn the_settings_in_the_manifests_are_valid_and_fit_the_mounts_and_probes() {
    for file in ["daemonset.yaml", "daemonset-privileged.yaml"] {
        let manifest = text_of(file);
        let config = Config::parse(file, &settings_in(&manifest), &Interfaces::Unchecked).unwrap();
        let metrics = config.daemon.metrics.expect("probes need the metrics address");
        assert!(metrics.ip().is_loopback());
        let probe = format!("httpGet: {{host: {}, port: {}, path: ", metrics.ip(), metrics.port());
        assert_eq!(manifest.matches(&probe).count(), 3, "{file}: {probe}");
        for path in [config.daemon.socket.parent().unwrap(), Path::new("/var/lib/two-ip-gateway")] {
            let mount = format!("mountPath: {}\n", path.display());
            assert_eq!(manifest.matches(&mount).count(), 1, "{file}: {mount}");
        }
        assert!(config.daemon.bpffs.starts_with("/sys/fs/bpf"));
        assert_eq!(manifest.matches("mountPath: /sys/fs/bpf\n").count(), 1, "{file}");
    }
}

/// What no restart mends is not tried again, and the manual has the unit's modes.
#[test]
fn the_unit_does_what_the_manual_says() {
    let unit = text_of("gateway.service");
    let prevented = format!("RestartPreventExitStatus={}", Exit::Refused as u8);
    assert!(unit.lines().any(|line| line == prevented), "{prevented}");
    let manual = text_of("../docs/operations.md");
    let mode = unit.lines().find_map(|line| line.strip_prefix("RuntimeDirectoryMode=")).unwrap();
    let said = format!("The unit gives `/run/two-ip-gateway` the mode {mode}:");
    assert!(manual.contains(&said), "{said}");
}

/// The capabilities that were measured as needed, and no other.
#[test]
fn unit_and_pod_have_the_same_four_capabilities() {
    let (unit, pod) = (text_of("gateway.service"), text_of("daemonset.yaml"));
    let line = |key: &str| {
        let found = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        found.split(' ').map(|name| name.trim_start_matches("CAP_").to_owned()).collect::<Vec<_>>()
    };
    let bounding = line("CapabilityBoundingSet=");
    assert_eq!(bounding, ["BPF", "NET_ADMIN", "PERFMON", "NET_RAW"]);
    assert_eq!(line("AmbientCapabilities="), bounding);
    let added = pod.lines().skip_while(|line| line.trim() != "add:").skip(1);
    let added = added.map_while(|line| line.trim().strip_prefix("- ")?.split(' ').next());
    assert_eq!(added.collect::<Vec<_>>(), bounding);
}
