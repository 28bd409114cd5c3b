//! Half-open flows of one listener or tenant, and the clients that have shown where they are.

use super::{Addr, EntryFlags, FlowKey, Port, TenantId};
use crate::limits::HALF_OPEN_PLACES;
use bytemuck::{Pod, Zeroable};

/// Whose half-open flows are counted together: those of a listener, the calls of a tenant to NPCI, or those to listeners
/// (hairpins).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct RingKey {
    /// The tenant that the flows belong to.
    pub tenant: TenantId,
    /// The listener's port; none for a tenant's own calls.
    pub port: Port,
    protocol: u8,
    direction: u8,
    pad: [u8; 2],
}

impl RingKey {
    /// The ring of a flow with this key on the external side. A hairpin's lies on the internal side, and a [`Place`] does not
    /// say which: each side has a ring of its own.
    #[inline(always)]
    pub const fn of(external: &FlowKey, tenant: TenantId, direction: EntryFlags) -> Self {
        let is_ingress = direction.contains(EntryFlags::INGRESS);
        let port = if is_ingress { external.dst_port } else { Port::NONE };
        let direction = is_ingress as u8 | (external.side() as u8) << 1;
        Self { tenant, port, protocol: external.protocol_number(), direction, pad: [0; 2] }
    }
}

/// The latest flows that were opened, as a ring: who opens one takes the next place, and the flow that had it goes if it
/// is still half-open. So no listener and no tenant has more half-open flows than there are places, and none needs to be
/// counted.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct HalfOpenRing {
    /// Places taken since the ring was made.
    pub taken: u64,
    /// New clients are challenged until then; `CLOCK_MONOTONIC` nanoseconds.
    pub challenging_until_ns: u64,
    /// Flows, see [`Place`]; 0 where none was yet.
    pub places: [u64; HALF_OPEN_PLACES as usize],
}

impl HalfOpenRing {
    /// The index of the place with this number, counted over all that were ever taken.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is small")]
    pub const fn index(number: u64) -> usize {
        (number % HALF_OPEN_PLACES as u64) as usize
    }

    /// Takes the next place for a flow, and returns which flow had it.
    pub fn take(&mut self, place: Place) -> Option<Place> {
        let index = Self::index(self.taken);
        self.taken += 1;
        Place::taken(core::mem::replace(&mut self.places[index], place.0))
    }

    /// The flow that took its place `back` places ago; 1 is the last one.
    pub fn recent(&self, back: u32) -> Option<Place> {
        let number = self.taken.checked_sub(u64::from(back))?;
        Place::taken(self.places[Self::index(number)])
    }
}

/// A half-open flow's external key in one word, so that it can be exchanged at once: the peer's address and port, and our
/// port. The rest of the key is the same for all flows of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub u64);

impl Place {
    /// From the word in a ring.
    #[inline(always)]
    pub const fn taken(word: u64) -> Option<Self> {
        if word == 0 { None } else { Some(Self(word)) }
    }

    /// Of the flow with this key on the external side.
    #[inline(always)]
    pub const fn of(external: &FlowKey) -> Self {
        let ports = (external.src_port.to_be() as u64) << 16 | external.dst_port.to_be() as u64;
        Self((external.src.to_be() as u64) << 32 | ports)
    }

    /// The key of the flow that took this place in the ring of `sibling`, which is such a key itself.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "three values are taken out of one word")]
    pub const fn key(self, mut sibling: FlowKey) -> FlowKey {
        sibling.src = Addr::from_be((self.0 >> 32) as u32);
        sibling.src_port = Port::from_be((self.0 >> 16) as u16);
        sibling.dst_port = Port::from_be(self.0 as u16);
        sibling
    }
}

/// Key of the table of clients that have answered a challenge. The value is until when that holds; `CLOCK_MONOTONIC`
/// nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ClientKey {
    /// Where it is.
    pub address: Addr,
    /// The port that it answered from; none in the entry that stands for all its connections.
    pub port: Port,
    pad: [u8; 2],
}

impl ClientKey {
    /// The client as a whole, or (with a port) one connection of it.
    #[inline(always)]
    pub const fn new(address: Addr, port: Port) -> Self {
        Self { address, port, pad: [0; 2] }
    }
}
