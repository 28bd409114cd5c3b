//! The routes that the daemon looks after.

use std::collections::HashMap;

use ipnet::Ipv4Net;

use super::conflict::Conflict;
use crate::config::file::{self, File};
use crate::config::model::Route;
use crate::config::name::InterfaceName;
use crate::config::problem::{At, Located, Problems};

/// Resolves all of them; what is wrong with any is reported.
pub(super) fn resolve(file: &File, problems: &mut Problems) -> Vec<Route> {
    let mut known: HashMap<Ipv4Net, &At> = HashMap::new();
    for section in &file.route {
        let (to, at) = (section.to.value.0, &section.to.at);
        match known.get(&to) {
            Some(first) => problems.add_with(at, &Conflict::RouteTwice { to }, "the first one", first),
            None => _ = known.insert(to, at),
        }
        refuse_vips(section, &file.gateway, problems);
        refuse_inside(section, problems);
        if let Some(interface) = &section.interface {
            refuse_foreign(interface, &file.interface, problems);
        }
    }
    file.route.iter().map(route).collect()
}

fn route(section: &file::Route) -> Route {
    Route {
        to: section.to.value.0,
        via: section.via.value,
        interface: section.interface.as_ref().map(|interface| interface.value.clone()),
    }
}

fn refuse_vips(section: &file::Route, gateway: &file::Gateway, problems: &mut Problems) {
    let (to, via) = (section.to.value.0, section.via.value);
    for vip in [&gateway.ingress_vip, &gateway.egress_vip] {
        if to == Ipv4Net::from(vip.value.get()) {
            problems.add_with(&section.to.at, &Conflict::RouteToVip { to }, "the VIP", &vip.at);
        }
        if via.get() == vip.value.get() {
            problems.add_with(&section.via.at, &Conflict::RouterIsVip { via }, "the VIP", &vip.at);
        }
    }
}

/// A router within the prefix can be reached if an interface has a narrower one: only the operator knows.
fn refuse_inside(section: &file::Route, problems: &mut Problems) {
    let (to, via) = (section.to.value.0, section.via.value);
    let may_be = to.prefix_len() == 0 || (to.prefix_len() < 32 && section.interface.is_some());
    if to.contains(&via.get()) && !may_be {
        problems.add_with(&section.via.at, &Conflict::RouterInside { via, to }, "the prefix", &section.to.at);
    }
}

fn refuse_foreign(name: &Located<InterfaceName>, interfaces: &[file::Interface], problems: &mut Problems) {
    let known: Vec<InterfaceName> = interfaces.iter().map(|section| section.name.value.clone()).collect();
    if !known.contains(&name.value) {
        problems.add(&name.at, &Conflict::ForeignInterface { name: name.value.clone(), known });
    }
}
