//! Policy for new flows from the tenants' side.

use super::{
    Decision, Flow,
    open::{self, Source},
};
use crate::{
    abi::{
        Addr, AddressKind, DestinationKey, HairpinKey, ListenerFlags, ListenerKey, Port, Protocol, Side,
        TenantId, TenantSource,
    },
    drop_reason::DropReason,
    tables::Tables,
    wire::transport::Transport,
};

/// What becomes of a packet from the internal side that belongs to no tracked flow.
#[inline(never)]
pub fn decide<T: Tables>(tables: &T, transport: &Transport, flow: &mut Flow) -> Decision {
    try_decide(tables, transport, flow).into()
}

#[inline(always)]
fn try_decide<T: Tables>(tables: &T, transport: &Transport, flow: &mut Flow) -> Result<Decision, DropReason> {
    let key = &transport.key;
    let source = tables.source(key.src).unwrap_or_default();
    flow.tenant = source.tenant();
    if is_ours(tables, key.src) {
        return Err(DropReason::SourceNotTenant);
    }
    let is_tenant = flow.tenant != TenantId::NONE;
    let Some(address) = tables.address(key.dst) else {
        if !is_tenant || key.dst.is_multicast_or_broadcast() {
            return Ok(Decision::Pass);
        }
        let target = (key.dst, key.dst_port);
        return to_destination(tables, transport, flow, source, target);
    };
    match address.kind() {
        Some(AddressKind::Host) | None => Ok(Decision::Pass),
        Some(AddressKind::IngressVip) if is_tenant => to_listener(tables, transport, flow, source),
        Some(AddressKind::IngressVip | AddressKind::EgressVip) => Err(DropReason::WrongSide),
        Some(AddressKind::TenantNatIp) if is_tenant && flow.tenant == address.tenant => {
            to_nat_ip(tables, transport, flow, source)
        }
        Some(AddressKind::TenantNatIp) => Err(DropReason::SourceNotTenant),
    }
}

/// Is this one of the gateway's own addresses? Nobody else may send from it: the answers would go nowhere.
#[inline(always)]
fn is_ours<T: Tables>(tables: &T, source: Addr) -> bool {
    match tables.address(source) {
        Some(address) => !matches!(address.kind(), Some(AddressKind::Host)),
        None => false,
    }
}

/// Addressed egress: the tenant calls its own NAT IP and port, which stand for an endpoint of NPCI's.
#[inline(always)]
fn to_nat_ip<T: Tables>(
    tables: &T,
    transport: &Transport,
    flow: &mut Flow,
    source: TenantSource,
) -> Result<Decision, DropReason> {
    if transport.segment.is_echo_request() {
        return Ok(Decision::Answer);
    }
    if transport.segment.is_echo_reply() {
        return Err(DropReason::NoFlow);
    }
    let key = &transport.key;
    let protocol = key.protocol().ok_or(DropReason::ProtocolNotSupported)?;
    let mapping =
        tables.listener(&ListenerKey::new(key.dst, protocol, key.dst_port)).ok_or(DropReason::NoListener)?;
    if !transport.segment.opens() {
        return Err(DropReason::NoFlow);
    }
    let seed = open::settings(tables)?.hash_seed;
    let endpoint = open::choose_backend(tables, flow.tenant, seed, mapping.pool, key)?;
    to_destination(tables, transport, flow, source, (endpoint.address, endpoint.port))
}

/// Allows a flow to NPCI from the egress VIP, if the tenant's peer groups contain the target.
#[inline(always)]
fn to_destination<T: Tables>(
    tables: &T,
    transport: &Transport,
    flow: &mut Flow,
    source: TenantSource,
    target: (Addr, Port),
) -> Result<Decision, DropReason> {
    let protocol = transport.key.protocol().ok_or(DropReason::ProtocolNotSupported)?;
    if !may_call(tables, flow.tenant, protocol, target) {
        return Err(DropReason::DestinationNotAllowed);
    }
    if !transport.segment.opens() {
        return Err(DropReason::NoFlow);
    }
    if source.is_draining() {
        return Err(DropReason::RefusedDraining);
    }
    let egress_vip = open::settings(tables)?.egress_vip;
    flow.goes_to(target, &transport.key, protocol, Source::Nat(egress_vip), Side::External);
    Ok(Decision::Open)
}

/// Hairpinning (RFC 4787 REQ-9): the tenant calls a listener from inside. It may if a rule for this very pair of tenants
/// says so, and is seen with the egress VIP then, like by everybody else.
#[inline(always)]
fn to_listener<T: Tables>(
    tables: &T,
    transport: &Transport,
    flow: &mut Flow,
    source: TenantSource,
) -> Result<Decision, DropReason> {
    let key = &transport.key;
    let protocol = key.protocol().ok_or(DropReason::ProtocolNotSupported)?;
    let listener =
        tables.listener(&ListenerKey::new(key.dst, protocol, key.dst_port)).ok_or(DropReason::WrongSide)?;
    if !tables.allows_hairpin(&HairpinKey { from: flow.tenant, to: listener.tenant }) {
        return Err(DropReason::WrongSide);
    }
    if !transport.segment.opens() {
        return Err(DropReason::NoFlow);
    }
    if source.is_draining() || listener.flags.contains(ListenerFlags::DRAINING) {
        return Err(DropReason::RefusedDraining);
    }
    let settings = open::settings(tables)?;
    let backend = open::choose_backend(tables, listener.tenant, settings.hash_seed, listener.pool, key)?;
    let target = (backend.address, backend.port);
    flow.goes_to(target, key, protocol, Source::Nat(settings.egress_vip), Side::Internal);
    Ok(Decision::Open)
}

/// Is the target an endpoint of the tenant's peer groups, on this port or on any?
#[inline(always)]
fn may_call<T: Tables>(
    tables: &T,
    tenant: TenantId,
    protocol: Protocol,
    (address, port): (Addr, Port),
) -> bool {
    tables.reaches(&DestinationKey::new(tenant, protocol, port, address))
        || tables.reaches(&DestinationKey::new(tenant, protocol, Port::NONE, address))
}
