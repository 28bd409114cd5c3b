//! What stands in the tables that the daemon fills.

use gateway_common::abi::{
    Addr, AllowKey, Backend, DestinationKey, HairpinKey, Interface, Listener, ListenerKey, OwnedAddress,
    Pool, Settings, TenantSettings,
};

/// A key of a longest-prefix table: how many leading bits count, and the bits. As in the kernel's
/// `struct bpf_lpm_trie_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Prefix<K> {
    /// Bits that must match.
    pub bits: u32,
    /// The key; what lies beyond `bits` is zero.
    pub key: K,
}

// SAFETY: each is 32 bits followed by a plain type of four-byte words, so there is no padding.
unsafe impl aya::Pod for Prefix<AllowKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Prefix<Addr> {}
// SAFETY: as above.
unsafe impl aya::Pod for Prefix<DestinationKey> {}

const _: () = assert!(size_of::<Prefix<AllowKey>>() == 4 + size_of::<AllowKey>());
const _: () = assert!(size_of::<Prefix<Addr>>() == 4 + size_of::<Addr>());
const _: () = assert!(size_of::<Prefix<DestinationKey>>() == 4 + size_of::<DestinationKey>());

/// Slots of the Maglev table, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The first one.
    pub first: u32,
    /// The backends in them.
    pub backends: Vec<u32>,
}

/// Contents of all these tables, in no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Node-wide settings.
    pub settings: Settings,
    /// Local addresses.
    pub addresses: Vec<(Addr, OwnedAddress)>,
    /// Listeners and egress mappings.
    pub listeners: Vec<(ListenerKey, Listener)>,
    /// Allow-lists.
    pub allow_lists: Vec<(Prefix<AllowKey>, u32)>,
    /// What holds for one tenant alone, by its number.
    pub tenants: Vec<(u32, TenantSettings)>,
    /// Source prefixes.
    pub sources: Vec<(Prefix<Addr>, u32)>,
    /// Destinations.
    pub destinations: Vec<(Prefix<DestinationKey>, u32)>,
    /// Pairs of tenants of which the first may call the second.
    pub hairpins: Vec<(HairpinKey, u32)>,
    /// Pools.
    pub pools: Vec<(u32, Pool)>,
    /// The slots that the pools refer to. Left out when read from the kernel: there may be millions.
    pub slots: Vec<Slots>,
    /// Backends.
    pub backends: Vec<(u32, Backend)>,
    /// Interfaces.
    pub interfaces: Vec<(u32, Interface)>,
}
