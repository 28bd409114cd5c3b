//! A flow that was opened: was it allowed?

use gateway_common::{
    abi::{Addr, CtEntry, EntryFlags, FlowKey, ListenerFlags, ListenerKey, Side, TenantId},
    tables::Route,
};

use super::Passage;
use crate::engine::{
    plan::{self, INGRESS_VIP},
    read::{Ip, TCP},
    world::World,
};

/// TCP flags that a first segment has: SYN, and none of ACK, FIN, RST.
const OPENING: (u8, u8) = (0x17, 0x02);

/// Panics unless the plan, as it is now, allows the flow that `entry` is the original half of.
pub fn check_opening(world: &World, passage: &Passage<'_>, tenant: u8, entry: &CtEntry, came: &Ip<'_>) {
    let key = &entry.key;
    assert!(entry.flags.contains(EntryFlags::ORIGINAL), "{key:?} was opened by an answer");
    if came.protocol() == TCP {
        assert_eq!(came.payload[13] & OPENING.0, OPENING.1, "{key:?} was opened without a bare SYN");
    }
    let settings = world.tables.settings.as_ref().expect("no flow without settings");
    assert!(world.now_ns < settings.lease_until_ns, "{key:?} was opened without the lease");
    match key.side() {
        Side::External => check_inwards(world, tenant, key, entry),
        Side::Internal => {
            let may = may_come_from_here(world, passage, key.src);
            assert!(may, "{key:?} was opened from where {} is not", key.src);
            check_outwards(world, tenant, key, entry);
        }
    }
}

fn check_inwards(world: &World, tenant: u8, key: &FlowKey, entry: &CtEntry) {
    let protocol = key.protocol().expect("a key of ours");
    let listener = world.tables.listeners.get(&ListenerKey::new(INGRESS_VIP, protocol, key.dst_port));
    let listener = listener.expect("a listener");
    assert!(!listener.flags.contains(ListenerFlags::DRAINING), "{key:?}: its listener is draining");
    assert!(plan::may_be_called_by(tenant, key.src), "{key:?} is not on the allow-list");
    let (target, shown) = ((entry.pair.src, entry.pair.src_port), entry.pair.dst);
    assert!(plan::is_backend(tenant, target), "{target:?} is no backend of tenant {tenant}");
    if world.plan.preserves(tenant) {
        assert_eq!((shown, entry.pair.dst_port), (key.src, key.src_port), "the client's own end");
    } else {
        assert_eq!(shown, plan::nat(tenant), "the tenant's NAT IP");
        assert!(world.plan.owns(entry.pair.dst_port), "{} is not this node's", entry.pair.dst_port);
    }
}

/// A packet of a flow that is known, or an error about what was sent to where `key` comes from, came in where the packets
/// of this key did, or where their sender is.
pub fn check_source(world: &World, passage: &Passage<'_>, key: &FlowKey) {
    let before = world.came_elsewhere.get(key).copied().unwrap_or(false);
    if passage.side == Side::Internal && before != passage.elsewhere {
        let may = may_come_from_here(world, passage, key.src);
        assert!(may, "{key:?} goes on from where {} is not", key.src);
    }
}

/// A tenant's address counts only where the tenant is reached (RFC 3704 section 2.2), unless it may come from anywhere.
pub fn may_come_from_here(world: &World, passage: &Passage<'_>, src: Addr) -> bool {
    let way_back = match world.tables.routes.get(&src).copied().unwrap_or(Route::None) {
        // The kernel says so of the interface that a packet came in by, whose way on is refused as well. Here each
        // address has a route of its own.
        Route::Disabled => return true,
        Route::Forward { ifindex, .. }
        | Route::Unresolved { ifindex, .. }
        | Route::TooLarge { ifindex, .. } => Some(ifindex),
        Route::None => None,
    };
    let is_right = !passage.elsewhere && way_back == Some(plan::device(Side::Internal));
    is_right || plan::owner(src).is_some_and(|tenant| world.plan.rights.is_loose(tenant))
}

fn check_outwards(world: &World, tenant: u8, key: &FlowKey, entry: &CtEntry) {
    let protocol = key.protocol().expect("a key of ours");
    let draining = |source: &gateway_common::abi::TenantSource| {
        source.tenant() == TenantId(tenant.into()) && source.is_draining()
    };
    let drains = world.tables.sources.iter().any(|(_, _, source)| draining(source));
    assert!(!drains, "{key:?}: its tenant is draining");
    let target = (entry.pair.src, entry.pair.src_port);
    if key.dst == INGRESS_VIP {
        return check_hairpin(world, tenant, key);
    }
    assert!(world.plan.may_call(tenant, protocol, target), "tenant {tenant} may not call {target:?}");
    if key.dst == plan::nat(tenant) {
        assert_eq!(
            (key.dst_port, target),
            (plan::mapping(tenant), plan::mapped(tenant)),
            "its addressed egress"
        );
    } else {
        assert_eq!((key.dst, key.dst_port), target, "a call goes where it was meant to go");
    }
}

/// A tenant calls a listener from inside. (Whose, and who may, is asked of every packet.)
fn check_hairpin(world: &World, tenant: u8, key: &FlowKey) {
    let protocol = key.protocol().expect("a key of ours");
    let listener = world.tables.listeners.get(&ListenerKey::new(INGRESS_VIP, protocol, key.dst_port));
    let listener = listener.expect("a listener");
    assert!(!listener.flags.contains(ListenerFlags::DRAINING), "{tenant}: {key:?}: its listener is draining");
}
