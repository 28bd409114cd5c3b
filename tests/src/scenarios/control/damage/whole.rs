//! Is everything there that the lab's tenants need? Judged by what the kernel holds, not by what the daemon says.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    net::{Ipv4Addr, SocketAddrV4},
};

use gateway_common::abi::{Addr, ListenerKey, Port, Protocol};
use gateway_daemon::datapath::{contents::Contents, link::inspect, tables::Tables};

use super::super::stage::Stage;
use crate::{
    lab::Lab,
    scenarios::routes::{TO, routers},
    world::{web_backends, web_listener},
};

/// The key of a tenant's listener.
pub(super) fn listener_key(lab: &Lab, number: usize) -> ListenerKey {
    ListenerKey::new(lab.plan.ingress_vip.into(), Protocol::Tcp, Port::new(web_listener(number)))
}

/// What is missing, if something is.
pub(super) fn check(lab: &Lab, stage: &Stage<'_>) -> Result<(), String> {
    let tables = Tables::open(&stage.gateway.pins()).map_err(|error| format!("{error:#}"))?;
    let contents = tables.contents().map_err(|error| format!("{error:#}"))?;
    check_addresses(lab, &contents)?;
    (1..=lab.tenants.len()).try_for_each(|number| check_listener(lab, &tables, &contents, number))?;
    check_links(lab, stage)?;
    check_forwarding(lab)?;
    check_neighbours(lab)?;
    check_route(lab)
}

fn check_addresses(lab: &Lab, contents: &Contents) -> Result<(), String> {
    let known: HashSet<Addr> = contents.addresses.iter().map(|(address, _)| *address).collect();
    let nat_ips = lab.tenants.iter().map(|tenant| tenant.plan.nat_ip);
    let mut wanted = nat_ips.chain([lab.plan.ingress_vip, lab.plan.egress_vip]);
    wanted
        .find(|address| !known.contains(&Addr::from(*address)))
        .map_or(Ok(()), |address| Err(format!("{address} is not in the table of addresses")))
}

/// From the listener to the backends, as a packet would go.
fn check_listener(lab: &Lab, tables: &Tables, contents: &Contents, number: usize) -> Result<(), String> {
    let key = listener_key(lab, number);
    let listener = contents.listeners.iter().find(|(known, _)| *known == key).map(|(_, listener)| listener);
    let listener = listener.ok_or_else(|| format!("no listener of tenant {number}"))?;
    let is_allowed = contents.allow_lists.iter().any(|(prefix, _)| prefix.key.list() == listener.allow_list);
    if !is_allowed {
        return Err(format!("nobody may call tenant {number}"));
    }
    let pool = contents.pools.iter().find(|(pool, _)| *pool == listener.pool).map(|(_, pool)| pool);
    let pool = pool.ok_or_else(|| format!("no pool of tenant {number}"))?;
    let slots: HashSet<u32> = tables.slots(pool).map_err(|error| format!("{error:#}"))?.into_iter().collect();
    let backends: HashMap<u32, SocketAddrV4> = contents
        .backends
        .iter()
        .map(|(id, row)| (*id, SocketAddrV4::new(Ipv4Addr::from(row.address), row.port.number())))
        .collect();
    let reached: BTreeSet<Option<SocketAddrV4>> = slots.iter().map(|id| backends.get(id).copied()).collect();
    let wanted: BTreeSet<Option<SocketAddrV4>> =
        web_backends(lab.tenant(number)).into_iter().map(Some).collect();
    if reached == wanted { Ok(()) } else { Err(format!("tenant {number} is led to {reached:?}")) }
}

fn check_links(lab: &Lab, stage: &Stage<'_>) -> Result<(), String> {
    let pins = stage.gateway.pins();
    let names = pins.link_names().map_err(|error| format!("{error:#}"))?;
    for (_, link) in lab.links() {
        let pinned = names.iter().find(|name| name.interface == link.near);
        let pinned = pinned.ok_or_else(|| format!("no link of {} is pinned", link.near))?;
        let info = inspect(&pins, pinned).map_err(|error| error.to_string())?;
        if info.is_none_or(|info| info.ifindex != pinned.ifindex) {
            return Err(format!("{} is detached: {info:?}", link.near));
        }
    }
    Ok(())
}

fn check_forwarding(lab: &Lab) -> Result<(), String> {
    for (_, link) in lab.links() {
        let path = format!("/proc/sys/net/ipv4/conf/{}/forwarding", link.near);
        let value =
            lab.gateway.enter(|| fs::read_to_string(&path)).map_err(|error| format!("{path}: {error}"))?;
        if value.trim() != "1" {
            return Err(format!("forwarding of {} is {}", link.near, value.trim()));
        }
    }
    Ok(())
}

fn check_neighbours(lab: &Lab) -> Result<(), String> {
    let backend = |tenant: &crate::topology::Tenant| {
        let known = lab.gateway.knows_neighbour(&tenant.link.near, tenant.plan.backend());
        if known { Ok(()) } else { Err(format!("{} is no known neighbour", tenant.plan.backend())) }
    };
    lab.tenants.iter().try_for_each(backend)
}

/// The first one is the one that the kernel takes.
fn check_route(lab: &Lab) -> Result<(), String> {
    let [router, _] = routers(lab);
    let shown = lab.gateway.ip(&["route", "show", "exact", TO[0]]);
    if shown.starts_with(&format!("{} via {router} ", TO[0])) {
        Ok(())
    } else {
        Err(format!("not by {router}: {shown:?}"))
    }
}
