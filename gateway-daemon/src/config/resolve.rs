//! The values of the file against each other: what must be unique is, what is referred to exists, and no
//! tenant can get at another one's addresses.

mod addresses;
mod conflict;
mod health;
mod mismatch;
mod objects;
mod peers;
mod routes;
mod service;
mod settings;
mod tenant_limits;
mod tenants;
mod totals;
mod unique;

pub(super) use self::objects::{
    Objects, PeerGroupPiece, Piece, Resolved, TenantPiece, resolve as resolve_objects,
};

use self::conflict::Conflict;
use self::unique::Unique;
use super::choice::Side;
use super::file::{self, File};
use super::interfaces::Interfaces;
use super::model::{Config, Interface};
use super::problem::{At, Problems, Reported};
use super::reader::Section;

/// Resolves the file.
pub(super) fn resolve(
    file: &File,
    interfaces: &Interfaces,
    problems: &mut Problems,
) -> Result<Config, Reported> {
    totals::check_interfaces(&file.interface, problems);
    totals::check_routes(&file.route, problems);
    let objects = Objects::read(file);
    totals::check(&objects, problems);
    problems.none_reported()?;
    check_vips(&file.gateway, problems);
    let interfaces = resolve_interfaces(file, interfaces, problems);
    let routes = routes::resolve(file, problems);
    let timeouts = settings::timeouts(&file.timeouts, problems);
    let store = service::store(file, problems);
    let api = service::api(&file.api, problems);
    let (peer_groups, tenants) = objects::resolve_counted(&objects, problems);
    problems.none_reported()?;
    Ok(Config {
        gateway: settings::gateway(&file.gateway),
        node: settings::node(&file.node),
        daemon: settings::daemon(&file.daemon),
        limits: settings::limits(&file.limits),
        timeouts,
        interfaces: interfaces.into(),
        routes: routes.into(),
        store: store?,
        api: api?,
        reconcile: settings::reconcile(&file.reconcile),
        peer_groups: peer_groups.into(),
        tenants: tenants.into(),
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
        names.claim(&section.name.value, &section.name.at, problems);
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
        mss_clamp: section.mss_clamp.value.get().map(settings::small),
    }
}
