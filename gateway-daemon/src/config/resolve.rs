//! The values of the file against each other: what must be unique is, what is referred to exists, and no
//! tenant can get at another one's addresses.

mod addresses;
mod conflict;
mod peers;
mod tenants;
mod totals;
mod unique;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::addresses::AddressPlan;
use self::conflict::Conflict;
use self::unique::Unique;
use super::bounded::Bounded;
use super::choice::Side;
use super::file::{self, File};
use super::interfaces::Interfaces;
use super::model::{Config, Daemon, Gateway, Interface, Limits, Node, Timeouts};
use super::problem::{At, Located, Problems, Reported};
use super::reader::Section;
use super::service::{ApiConfig, Principal, Reconcile, StoreConfig, StoreKind};

/// Resolves the file.
pub(super) fn resolve(
    file: &File,
    interfaces: &Interfaces,
    problems: &mut Problems,
) -> Result<Config, Reported> {
    totals::check(file, problems)?;
    check_vips(&file.gateway, problems);
    let plan = AddressPlan::new(file, problems);
    let interfaces = resolve_interfaces(file, interfaces, problems);
    let peer_groups = peers::resolve(&file.peer_group, &plan, problems);
    let tenants = tenants::resolve(&file.tenant, &plan, &peer_groups, problems);
    problems.none_reported()?;
    Ok(Config {
        gateway: gateway(&file.gateway),
        node: node(&file.node),
        daemon: daemon(&file.daemon),
        limits: limits(&file.limits),
        timeouts: timeouts(&file.timeouts),
        interfaces: interfaces.into(),
        store: StoreConfig { kind: StoreKind::File, history: 1_000 },
        api: ApiConfig {
            admins: vec![Principal::User("root".to_owned())],
            operators: Vec::new(),
            viewers: Vec::new(),
            remote: None,
        },
        reconcile: Reconcile { interval: Duration::from_secs(1) },
        peer_groups: peer_groups.into_groups().into_iter().map(Arc::new).collect(),
        tenants: tenants.into_iter().map(Arc::new).collect(),
    })
}

fn check_vips(gateway: &file::Gateway, problems: &mut Problems) {
    let (ingress, egress) = (&gateway.ingress_vip, &gateway.egress_vip);
    if ingress.value == egress.value {
        let conflict = Conflict::SameVips { address: egress.value };
        problems.add_with(&egress.at, &conflict, "the ingress VIP", &ingress.at);
    }
}

fn resolve_interfaces(file: &File, present: &Interfaces, problems: &mut Problems) -> Vec<Interface> {
    let mut names = Unique::new("interface");
    for section in &file.interface {
        names.claim(&section.name, problems);
        if let Interfaces::Present(present) = present
            && !present.contains(section.name.value.as_str())
        {
            let conflict =
                Conflict::UnknownInterface { name: section.name.value.clone(), present: present.clone() };
            problems.add(&section.name.at, &conflict);
        }
    }
    for side in [Side::External, Side::Internal] {
        if !file.interface.iter().any(|section| section.side.value == side) {
            let last = file.interface.last().map(|last| last.side.at.span.clone());
            let at = At { span: last.unwrap_or_default(), path: file.at().path.key("interface") };
            problems.add(&at, &Conflict::NoInterface { side });
        }
    }
    file.interface.iter().map(interface).collect()
}

fn interface(section: &file::Interface) -> Interface {
    Interface {
        name: section.name.value.clone(),
        side: section.side.value,
        hook: section.hook.value,
        xdp_mode: section.xdp_mode.value,
    }
}

fn gateway(section: &file::Gateway) -> Gateway {
    Gateway { ingress_vip: section.ingress_vip.value, egress_vip: section.egress_vip.value }
}

fn node(section: &file::Node) -> Node {
    Node { name: section.name.value.clone(), id: section.id.value, port_slices: section.port_slices.value }
}

fn daemon(section: &file::Daemon) -> Daemon {
    Daemon {
        socket: section.socket.value.0.clone(),
        bpffs: section.bpffs.value.0.clone(),
        state_dir: PathBuf::from("/var/lib/two-ip-gateway"),
        metrics: section.metrics.value.0,
    }
}

fn limits(section: &file::Limits) -> Limits {
    Limits { flows: section.flows.value.get(), half_open_flows: section.half_open_flows.value.get() }
}

fn timeouts(section: &file::Timeouts) -> Timeouts {
    fn seconds<B>(field: &Located<Bounded<B>>) -> Duration {
        Duration::from_secs(field.value.get().into())
    }
    Timeouts {
        tcp_established: seconds(&section.tcp_established_secs),
        tcp_transitory: seconds(&section.tcp_transitory_secs),
        tcp_half_open: seconds(&section.tcp_half_open_secs),
        udp: seconds(&section.udp_secs),
        icmp: seconds(&section.icmp_secs),
    }
}
