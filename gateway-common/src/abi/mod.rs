//! Types of the BPF maps, shared by the kernel side and the daemon.
//!
//! Every type is `#[repr(C)]` without implicit padding (the `bytemuck` derives prove it at compile time) and its size
//! is asserted. Addresses and ports are kept as they stand on the wire; all other fields are in the machine's byte
//! order. A change here needs a new [`crate::limits::ABI_VERSION`], and its number in [`crate::layout`].

mod address;
mod conntrack;
mod datagram;
mod event;
mod flow;
mod half_open;
mod interface;
mod listener;
mod policy;
mod pool;
mod settings;
mod stats;
mod tap;
mod tenant;

pub use address::{Addr, AddressKind, LinkAddresses, Mac, OwnedAddress, Port};
pub use conntrack::{Acked, CtEntry, EntryFlags, EntryView, Seen, State};
pub use datagram::{DATAGRAMS_PER_SOURCE, Datagram, DatagramHead, DatagramKey, HeldFrame, RECEIVED_WORDS};
pub use event::{Event, EventKind};
pub use flow::{Family, FlowKey, Protocol, Side};
pub use half_open::{ClientKey, HalfOpenRing, Place, RingKey};
pub use interface::{Arrival, Interface};
pub use listener::{Listener, ListenerFlags, ListenerKey};
pub use policy::{
    ALLOW_KEY_BITS, AllowKey, DESTINATION_KEY_BITS, DestinationKey, TenantId, TenantLabel, TenantSource,
};
pub use pool::{Backend, Pool, PoolFlags};
pub use settings::{Settings, SettingsFlags, Timeouts};
pub use stats::{Counter, TenantStats};
pub use tap::{FlowEnd, Tap, TapCounts, TapFate, TapFlow, TapFrame, TapHead, TapKind};
pub use tenant::{HairpinKey, TenantFlags, TenantSettings, TenantUse};

/// Declares that a type may cross the kernel border: plain bytes, the stated size, and (in user space) `aya::Pod`.
///
/// The `aya::Pod` impl is only as unsafe as `bytemuck::Pod`, which is derived and therefore checked.
macro_rules! abi {
    ($($kind:ty: $size:literal),+ $(,)?) => {
        $(
            const _: () = assert!(core::mem::size_of::<$kind>() == $size);
            // SAFETY: `bytemuck::Pod` (asserted by the bound below) means any bytes are valid and none is padding.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $kind where $kind: bytemuck::Pod {}
        )+
    };
}

abi! {
    Addr: 4,
    Port: 2,
    OwnedAddress: 4,
    FlowKey: 16,
    CtEntry: 64,
    Event: 16,
    Interface: 16,
    ListenerKey: 8,
    Listener: 16,
    AllowKey: 8,
    DestinationKey: 12,
    TenantId: 2,
    TenantSource: 4,
    TenantLabel: 64,
    TenantSettings: 40,
    TenantUse: 16,
    HairpinKey: 4,
    RingKey: 8,
    HalfOpenRing: 3856,
    ClientKey: 8,
    DatagramKey: 8,
    DatagramHead: 32,
    Datagram: 1072,
    HeldFrame: 2048,
    Pool: 12,
    Backend: 8,
    Settings: 160,
    TenantStats: 48,
    Tap: 16,
    TapHead: 32,
    TapFlow: 64,
    TapFrame: 4096,
    TapCounts: 48,
}
