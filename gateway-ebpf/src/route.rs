//! The kernel's routing table.

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH,
        BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibParameters,
    },
    helpers::generated::bpf_fib_lookup,
};
use core::ffi::c_void;
use gateway_common::{
    abi::{Addr, LinkAddresses},
    tables::{Route, RouteQuery},
};

/// `AF_INET`.
const FAMILY_IPV4: u8 = 2;

/// How a hook asks the routing table.
pub trait Hook {
    /// The length that the kernel shall compare with the MTU; 0 for the packet's own.
    fn checked_len(query: &RouteQuery) -> u16;

    /// Asks for the way of a packet.
    #[inline(always)]
    fn route(ctx: *mut c_void, query: &RouteQuery) -> Route {
        route(ctx, query, Self::checked_len(query))
    }
}

/// XDP: the kernel does not know the packet's length.
pub struct Xdp;

impl Hook for Xdp {
    #[inline(always)]
    fn checked_len(query: &RouteQuery) -> u16 {
        query.total_len
    }
}

/// TC: the kernel takes the packet's own length, with GSO taken into account.
pub struct Tc;

impl Hook for Tc {
    #[inline(always)]
    fn checked_len(_query: &RouteQuery) -> u16 {
        0
    }
}

#[inline(never)]
fn route(ctx: *mut c_void, query: &RouteQuery, total_len: u16) -> Route {
    // SAFETY: all fields are integers, for which zero is valid.
    let mut fib: FibParameters = unsafe { core::mem::zeroed() };
    fib.family = FAMILY_IPV4;
    fib.l4_protocol = query.protocol as u8;
    fib.__bindgen_anon_1.tot_len = total_len;
    fib.ifindex = query.ingress_ifindex;
    fib.__bindgen_anon_2.tos = query.tos;
    fib.__bindgen_anon_3.ipv4_src = query.src.to_be();
    fib.__bindgen_anon_4.ipv4_dst = query.dst.to_be();
    let size = core::mem::size_of::<FibParameters>() as i32;
    // SAFETY: the context is the one of this run, the parameters are initialised and `size` long.
    let result = unsafe { bpf_fib_lookup(ctx, &raw mut fib, size, 0) };
    let ifindex = fib.ifindex;
    match result as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => Route::Forward { ifindex, link: LinkAddresses::new(fib.dmac, fib.smac) },
        BPF_FIB_LKUP_RET_NO_NEIGH => {
            // SAFETY: the kernel has replaced the destination by the next hop's address.
            let next_hop = Addr::from_be(unsafe { fib.__bindgen_anon_4.ipv4_dst });
            Route::Unresolved { ifindex, next_hop }
        }
        BPF_FIB_LKUP_RET_FRAG_NEEDED => Route::TooLarge,
        BPF_FIB_LKUP_RET_FWD_DISABLED => Route::Disabled,
        _ => Route::None,
    }
}
