//! Half-open flows of one listener, or of one tenant's calls: never more than there are places in its ring, and while a
//! listener has many, new clients have to show that they are where they say.

use super::{Flow, known};
use crate::{
    abi::{ClientKey, Counter, EntryFlags, FlowEnd, FlowKey, Place, Port, RingKey, Side},
    limits::{CHALLENGE_LINGER_NS, HALF_OPEN_PLACES},
    tables::{FlowTable, RingSlot as _, Tables},
};

/// Must the client of a new connection to a listener show where it is before it may open it?
///
/// When the listener has more half-open flows than the settings allow, one answer counts for all connections of a client.
/// When they become so many still that somebody forges even such clients, each connection has to answer for itself.
#[inline(never)]
pub fn is_challenged<T: Tables>(tables: &T, key: &FlowKey, flow: &Flow, now_ns: u64) -> bool {
    let Some(settings) = tables.settings() else {
        return false;
    };
    let above = u32::from(settings.challenge_above);
    if above == 0 {
        return false;
    }
    let Some(ring) = tables.ring(&RingKey::of(key, flow.tenant, EntryFlags::INGRESS)) else {
        return false;
    };
    if is_crowded(tables, &ring, key, above) {
        ring.challenge_until(now_ns + CHALLENGE_LINGER_NS);
    } else if now_ns >= ring.challenging_until_ns() {
        return false;
    }
    if !has_answered(tables, key, Port::NONE, now_ns) {
        return true;
    }
    is_crowded(tables, &ring, key, severe(above)) && !has_answered(tables, key, key.src_port, now_ns)
}

/// Half-open flows above which every connection is challenged: in the middle between the first threshold and the bound.
#[inline(always)]
const fn severe(above: u32) -> u32 {
    u32::midpoint(above, HALF_OPEN_PLACES)
}

/// Are there more half-open flows than that? There are if the one that was opened so many flows ago still is.
#[inline(always)]
fn is_crowded<T: Tables>(tables: &T, ring: &T::Ring, sibling: &FlowKey, above: u32) -> bool {
    match ring.recent(above) {
        Some(place) => tables.flow(FlowTable::HalfOpen, &place.key(*sibling)).is_some(),
        None => false,
    }
}

#[inline(always)]
fn has_answered<T: Tables>(tables: &T, key: &FlowKey, port: Port, now_ns: u64) -> bool {
    match tables.client(&ClientKey::new(key.src, port)) {
        Some(until_ns) => now_ns < until_ns,
        None => false,
    }
}

/// Takes a place for a flow that was opened. The flow that had it goes, if it is still half-open. (A client that always
/// calls from the same port may find that it had the place itself: then nobody goes.)
#[inline(never)]
pub fn take_place<T: Tables>(tables: &T, original: &FlowKey, flow: &Flow) {
    let external = match original.side() {
        Side::External => original,
        Side::Internal => &flow.pair,
    };
    let Some(ring) = tables.ring(&RingKey::of(external, flow.tenant, flow.direction)) else {
        return;
    };
    let place = Place::of(external);
    match ring.take(place) {
        Some(oldest) if oldest.0 != place.0 => evict(tables, &oldest.key(*external)),
        _ => {}
    }
}

#[inline(always)]
fn evict<T: Tables>(tables: &T, key: &FlowKey) {
    if let Some(hit) = known::find_in(tables, FlowTable::HalfOpen, key) {
        known::forget(tables, FlowTable::HalfOpen, key, &hit.entry, FlowEnd::Evicted);
        tables.count(Counter::HalfOpenEvicted, 1);
    }
}
