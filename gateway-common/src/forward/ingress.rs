//! Policy for new flows from NPCI's side.

use super::{
    Decision, Flow,
    open::{self, Source},
};
use crate::{
    abi::{AddressKind, AllowKey, EntryFlags, ListenerFlags, ListenerKey, Side},
    drop_reason::DropReason,
    tables::Tables,
    wire::transport::Transport,
};

/// What becomes of a packet from the external side that belongs to no tracked flow.
#[inline(never)]
pub fn decide<T: Tables>(tables: &T, transport: &Transport, flow: &mut Flow) -> Decision {
    try_decide(tables, transport, flow).into()
}

#[inline(always)]
fn try_decide<T: Tables>(tables: &T, transport: &Transport, flow: &mut Flow) -> Result<Decision, DropReason> {
    let dst = transport.key.dst;
    let Some(address) = tables.address(dst) else {
        let Some(tenant) = tables.tenant_of(dst) else {
            return Ok(Decision::Pass);
        };
        flow.tenant = tenant;
        return Err(DropReason::DirectToTenant);
    };
    flow.tenant = address.tenant;
    let is_echo_request = transport.segment.is_echo_request();
    match address.kind() {
        Some(AddressKind::IngressVip | AddressKind::EgressVip) if is_echo_request => Ok(Decision::Answer),
        Some(AddressKind::IngressVip) => to_listener(tables, transport, flow),
        Some(AddressKind::EgressVip) => Err(DropReason::NoFlow),
        Some(AddressKind::TenantNatIp) => Err(DropReason::WrongSide),
        Some(AddressKind::Host) | None => Ok(Decision::Pass),
    }
}

#[inline(always)]
fn to_listener<T: Tables>(
    tables: &T,
    transport: &Transport,
    flow: &mut Flow,
) -> Result<Decision, DropReason> {
    let key = &transport.key;
    if transport.segment.is_echo_reply() {
        return Err(DropReason::NoFlow);
    }
    let protocol = key.protocol().ok_or(DropReason::ProtocolNotSupported)?;
    let listener =
        tables.listener(&ListenerKey::new(key.dst, protocol, key.dst_port)).ok_or(DropReason::NoListener)?;
    flow.tenant = listener.tenant;
    if !tables.allows(&AllowKey::new(listener.allow_list, key.src)) {
        return Err(DropReason::SourceNotAllowed);
    }
    if !transport.segment.opens() {
        return Err(DropReason::NoFlow);
    }
    if listener.flags.contains(ListenerFlags::DRAINING) {
        return Err(DropReason::RefusedDraining);
    }
    let seed = open::settings(tables)?.hash_seed;
    let backend = open::choose_backend(tables, flow.tenant, seed, listener.pool, key)?;
    let source = if listener.flags.contains(ListenerFlags::PRESERVE_SOURCE) {
        Source::Preserve
    } else {
        Source::Nat(listener.nat)
    };
    flow.direction = EntryFlags::INGRESS;
    flow.goes_to((backend.address, backend.port), key, protocol, source, Side::Internal);
    Ok(Decision::Open)
}
