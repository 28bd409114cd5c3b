//! What of a changed configuration can be put into force while the daemon runs.

use super::model::{Config, Limits};
use super::store::StoreKind;
use crate::tenancy::diff::diff;

/// What differs between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadPlan {
    /// What can be put into force, by name: `timeouts.udp_secs`, `tenant[bank-a].pool[web]`.
    pub changed: Vec<String>,
    /// What takes a restart, by name: `daemon.socket`.
    pub needs_restart: Vec<String>,
}

/// Compares the configuration in force with one that was read anew.
///
/// Tenants and peer groups count if both are kept in the file; otherwise the file has none, and they are the store's.
pub fn compare(old: &Config, new: &Config) -> ReloadPlan {
    let mut plan = ReloadPlan::default();
    for ((name, old), (_, new)) in settings(old).into_iter().zip(settings(new)) {
        if old != new {
            plan.add(name);
        }
    }
    if old.store.kind == StoreKind::File && new.store.kind == StoreKind::File {
        let changes = diff(&old.tenancy(), &new.tenancy());
        plan.changed.extend(changes.into_iter().map(|change| change.path));
    }
    plan
}

impl ReloadPlan {
    fn add(&mut self, name: &str) {
        let list = if is_reloadable(name) { &mut self.changed } else { &mut self.needs_restart };
        list.push(name.to_owned());
    }

    /// The new configuration where it can be reloaded, the old one elsewhere: what is in force afterwards.
    #[must_use]
    pub fn in_force(old: &Config, new: &Config) -> Config {
        let from_file = old.store.kind == StoreKind::File && new.store.kind == StoreKind::File;
        let objects = if from_file { new } else { old };
        let mut api = old.api.clone();
        api.admins.clone_from(&new.api.admins);
        api.operators.clone_from(&new.api.operators);
        api.viewers.clone_from(&new.api.viewers);
        Config {
            limits: Limits { challenge_above: new.limits.challenge_above, ..old.limits },
            timeouts: new.timeouts,
            reconcile: new.reconcile,
            routes: new.routes.clone(),
            api,
            peer_groups: objects.peer_groups.clone(),
            tenants: objects.tenants.clone(),
            ..old.clone()
        }
    }
}

/// Can a setting be changed without a restart? Sections stand for all their fields.
pub(super) fn is_reloadable(name: &str) -> bool {
    let section = name.split('.').next().unwrap_or(name);
    matches!(section, "timeouts" | "reconcile" | "route" | "tenant" | "peer_group")
        || matches!(name, "api.admins" | "api.operators" | "api.viewers" | "limits.challenge_above")
}

/// Every setting with its value in a form that can be compared.
///
/// The structs are taken apart field by field, so that one that is added later is not forgotten.
fn settings(config: &Config) -> Vec<(&'static str, String)> {
    let Config {
        gateway,
        node,
        daemon,
        limits,
        timeouts,
        interfaces,
        routes,
        store,
        api,
        reconcile,
        peer_groups: _,
        tenants: _,
    } = config;
    let mut all = Vec::new();
    all.extend(identity(*gateway, node));
    all.extend(places(daemon));
    all.extend(sizes(*limits, *timeouts));
    all.push(("interface", format!("{interfaces:?}")));
    all.push(("route", format!("{routes:?}")));
    all.extend(store_settings(store));
    all.extend(api_settings(api));
    all.push(("reconcile.interval_ms", format!("{:?}", reconcile.interval)));
    all
}

type Settings<const N: usize> = [(&'static str, String); N];

fn identity(gateway: super::Gateway, node: &super::Node) -> Settings<5> {
    let super::Gateway { ingress_vip, egress_vip } = gateway;
    let super::Node { name, id, port_slices } = node;
    [
        ("gateway.ingress_vip", ingress_vip.to_string()),
        ("gateway.egress_vip", egress_vip.to_string()),
        ("node.name", name.to_string()),
        ("node.id", id.to_string()),
        ("node.port_slices", port_slices.to_string()),
    ]
}

fn places(daemon: &super::Daemon) -> Settings<4> {
    let super::Daemon { socket, bpffs, state_dir, metrics } = daemon;
    [
        ("daemon.socket", socket.display().to_string()),
        ("daemon.bpffs", bpffs.display().to_string()),
        ("daemon.state_dir", state_dir.display().to_string()),
        ("daemon.metrics", format!("{metrics:?}")),
    ]
}

fn sizes(limits: Limits, timeouts: super::Timeouts) -> Settings<10> {
    let Limits { flows, half_open_flows, challenge_above } = limits;
    let super::Timeouts {
        tcp_established,
        tcp_transitory,
        tcp_half_open,
        udp,
        icmp,
        quarantine,
        reset_on_expiry,
    } = timeouts;
    [
        ("limits.flows", flows.to_string()),
        ("limits.half_open_flows", half_open_flows.to_string()),
        ("limits.challenge_above", challenge_above.to_string()),
        ("timeouts.tcp_established_secs", format!("{tcp_established:?}")),
        ("timeouts.tcp_transitory_secs", format!("{tcp_transitory:?}")),
        ("timeouts.tcp_half_open_secs", format!("{tcp_half_open:?}")),
        ("timeouts.udp_secs", format!("{udp:?}")),
        ("timeouts.icmp_secs", format!("{icmp:?}")),
        ("timeouts.quarantine_secs", format!("{quarantine:?}")),
        ("timeouts.reset_on_expiry", reset_on_expiry.to_string()),
    ]
}

fn store_settings(store: &super::StoreConfig) -> Settings<7> {
    let super::StoreConfig { kind, history } = store;
    let etcd = match kind {
        StoreKind::Etcd(etcd) => Some(etcd),
        StoreKind::Embedded | StoreKind::File => None,
    };
    let word = match kind {
        StoreKind::Embedded => "embedded",
        StoreKind::File => "file",
        StoreKind::Etcd(_) => "etcd",
    };
    let identity = etcd.and_then(|etcd| etcd.identity.as_ref());
    [
        ("store.kind", word.to_owned()),
        ("store.history", history.to_string()),
        ("store.endpoints", format!("{:?}", etcd.map(|etcd| &etcd.endpoints))),
        ("store.prefix", format!("{:?}", etcd.map(|etcd| &etcd.prefix))),
        ("store.ca_file", format!("{:?}", etcd.map(|etcd| &etcd.ca_file))),
        ("store.cert_file", format!("{:?}", identity.map(|identity| &identity.cert_file))),
        ("store.key_file", format!("{:?}", identity.map(|identity| &identity.key_file))),
    ]
}

fn api_settings(api: &super::ApiConfig) -> Settings<7> {
    let super::ApiConfig { admins, operators, viewers, remote } = api;
    let remote = remote.as_ref();
    [
        ("api.admins", format!("{admins:?}")),
        ("api.operators", format!("{operators:?}")),
        ("api.viewers", format!("{viewers:?}")),
        ("api.listen", format!("{:?}", remote.map(|remote| remote.address))),
        ("api.tls_cert_file", format!("{:?}", remote.map(|remote| &remote.identity.cert_file))),
        ("api.tls_key_file", format!("{:?}", remote.map(|remote| &remote.identity.key_file))),
        ("api.tls_client_ca_file", format!("{:?}", remote.map(|remote| &remote.client_ca_file))),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::overrides::settings as schema_settings;
    use crate::config::{Interfaces, Overrides, example};

    fn config(text: &str) -> Config {
        Config::parse("test", text, &Interfaces::Unchecked).unwrap()
    }

    const HEAD: &str = "
        interface = [{ name = 'ext0', side = 'external' }, { name = 'int0', side = 'internal' }]
    ";

    /// Two configurations that differ in every setting.
    fn opposites() -> [Config; 2] {
        let one = "
            gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
            store = { kind = 'etcd', endpoints = ['http://a:1'], ca_file = '/a', cert_file = '/b', key_file = '/c' }
            [api]
            listen = '127.0.0.1:1'
            tls_cert_file = '/a'
            tls_key_file = '/b'
            tls_client_ca_file = '/c'
        ";
        let other = "
            gateway = { ingress_vip = '192.0.2.11', egress_vip = '192.0.2.21' }
            node = { name = 'n', id = 2, port_slices = '1' }
            daemon = { socket = '/s', bpffs = '/b', state_dir = '/d', metrics = '' }
            limits = { flows = 2048, half_open_flows = 2048, challenge_above = 1 }
            route = [{ to = '203.0.113.0/24', via = '192.0.2.1' }]
            reconcile = { interval_ms = 100 }
            api = { admins = ['a'], operators = ['b'], viewers = ['c'] }
            store = { kind = 'embedded', history = 10 }
            [timeouts]
            tcp_established_secs = 7441
            tcp_transitory_secs = 241
            tcp_half_open_secs = 31
            udp_secs = 301
            icmp_secs = 61
            quarantine_secs = 7
            reset_on_expiry = true
        ";
        [config(&format!("{HEAD}{one}")), config(&format!("{}{other}", HEAD.replace("int0", "int1")))]
    }

    #[test]
    fn every_setting_of_the_file_is_compared() {
        let [one, other] = opposites();
        let plan = compare(&one, &other);
        let found: BTreeSet<String> = plan.changed.iter().chain(&plan.needs_restart).cloned().collect();
        let all = schema_settings().map(|(section, field)| format!("{section}.{}", field.name));
        assert_eq!(found, all.chain(["interface", "route"].map(str::to_owned)).collect());
        assert!(plan.changed.iter().all(|name| is_reloadable(name)), "{plan:?}");
        assert!(!plan.needs_restart.iter().any(|name| is_reloadable(name)), "{plan:?}");
    }

    #[test]
    fn what_is_in_force_afterwards_needs_nothing_but_restarts() {
        let [one, other] = opposites();
        let plan = compare(&one, &other);
        let now = ReloadPlan::in_force(&one, &other);
        let done = compare(&one, &now);
        assert_eq!((done.changed, done.needs_restart), (plan.changed, Vec::new()));
        let left = compare(&now, &other);
        assert_eq!((left.changed, left.needs_restart), (Vec::new(), plan.needs_restart));
    }

    #[test]
    fn equal_configurations_have_nothing_to_do() {
        assert_eq!(compare(&config(&example()), &config(&example())), ReloadPlan::default());
    }

    #[test]
    fn tenants_of_the_file_are_reloaded_by_their_paths() {
        let old = config(&example());
        let new = config(&example().replace("#weight = 1", "weight = 2"));
        let plan = compare(&old, &new);
        assert_eq!(plan.changed, ["tenant[bank-a].pool[web].backend[198.51.100.18:8080].weight"]);
        assert_eq!(plan.needs_restart, [""; 0]);
        assert_eq!(ReloadPlan::in_force(&old, &new), new);
    }

    #[test]
    fn tenants_of_a_store_are_left_to_it() {
        let text = "
            gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
        ";
        let empty = config(&format!("{HEAD}{text}"));
        let filled = empty.with_tenancy(&config(&example()).tenancy(), None).unwrap();
        assert_eq!(compare(&filled, &empty), ReloadPlan::default());
        assert_eq!(ReloadPlan::in_force(&filled, &empty), filled);
    }

    #[test]
    fn settings_from_elsewhere_are_compared_as_well() {
        let old = config(&example());
        let overrides = Overrides::default().and(&["node.name=x".parse().unwrap()]);
        let new = Config::parse_with("test", &example(), &Interfaces::Unchecked, &overrides).unwrap();
        assert_eq!(compare(&old, &new).needs_restart, ["node.name"]);
    }
}
