//! The kernel's routing table.

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH,
        BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibParameters,
    },
    helpers::generated::bpf_fib_lookup,
};
use core::{ffi::c_void, mem::MaybeUninit};
use gateway_common::{
    abi::{Addr, LinkAddresses, Mac},
    tables::{Route, RouteQuery},
};

/// `AF_INET`.
const FAMILY_IPV4: u8 = 2;

/// Asks for the way of a packet.
#[inline(always)]
pub fn route(ctx: *mut c_void, query: &RouteQuery) -> Route {
    let mut answer =
        Answer { ifindex: 0, next_hop: Addr::UNSPECIFIED, link: LinkAddresses::NONE, mtu: 0, pad: 0 };
    match lookup(ctx, query, &mut answer) {
        BPF_FIB_LKUP_RET_SUCCESS => Route::Forward { ifindex: answer.ifindex, link: answer.link },
        BPF_FIB_LKUP_RET_NO_NEIGH => Route::Unresolved { ifindex: answer.ifindex, next_hop: answer.next_hop },
        BPF_FIB_LKUP_RET_FRAG_NEEDED => Route::TooLarge { ifindex: answer.ifindex, mtu: answer.mtu },
        BPF_FIB_LKUP_RET_FWD_DISABLED => Route::Disabled,
        _ => Route::None,
    }
}

/// Words of 64 bits in the kernel's structure.
const WORDS: usize = core::mem::size_of::<FibParameters>() / 8;
const _: () = assert!(WORDS * 8 == core::mem::size_of::<FibParameters>());

/// What the kernel wrote; which fields mean something depends on its code.
struct Answer {
    ifindex: u32,
    next_hop: Addr,
    link: LinkAddresses,
    mtu: u16,
    pad: u16,
}

/// Asks the kernel and returns its code. Not inlined, so that its parameters share the stack with other slow paths;
/// such a function must return a number and write every field of what it is lent.
#[inline(never)]
fn lookup(ctx: *mut c_void, query: &RouteQuery, answer: &mut Answer) -> u32 {
    let mut room = MaybeUninit::<[u64; WORDS]>::uninit();
    // Word by word: where the compiler sees that all of it is cleared it calls `memset`, which takes a frame of its own.
    for word in 0..WORDS {
        // SAFETY: within the room.
        unsafe { room.as_mut_ptr().cast::<u64>().add(word).write_volatile(0) };
    }
    // SAFETY: the room is as large and at least as aligned; all fields are integers, for which zero is valid.
    let fib = unsafe { &mut *room.as_mut_ptr().cast::<FibParameters>() };
    fib.family = FAMILY_IPV4;
    fib.l4_protocol = query.protocol;
    fib.__bindgen_anon_1.tot_len = query.total_len;
    fib.ifindex = query.ingress_ifindex;
    fib.__bindgen_anon_2.tos = query.tos;
    fib.__bindgen_anon_3.ipv4_src = query.src.to_be();
    fib.__bindgen_anon_4.ipv4_dst = query.dst.to_be();
    let size = core::mem::size_of::<FibParameters>() as i32;
    // SAFETY: the context is the one of this run, the parameters are initialised and `size` long.
    let result = unsafe { bpf_fib_lookup(ctx, fib, size, 0) };
    answer.ifindex = fib.ifindex;
    // SAFETY: an integer; the kernel replaces the destination by the next hop's address.
    answer.next_hop = Addr::from_be(unsafe { fib.__bindgen_anon_4.ipv4_dst });
    answer.link = link_addresses(fib);
    // SAFETY: an integer; the kernel writes the MTU in place of the length since 5.12 (commit e1850ea9bd9e).
    answer.mtu = unsafe { fib.__bindgen_anon_1.mtu_result };
    answer.pad = 0;
    // Negative codes (bad parameters) become numbers that mean nothing, so "no route".
    result as u32
}

/// Both link addresses.
#[inline(always)]
fn link_addresses(fib: &FibParameters) -> LinkAddresses {
    LinkAddresses::new(mac(&fib.dmac), mac(&fib.smac))
}

#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "both addresses lie at even offsets of the kernel's structure")]
fn mac(octets: &[u8; 6]) -> Mac {
    let at = octets.as_ptr().cast::<u16>();
    // SAFETY: an address of six bytes is three half-words, and it is aligned for them.
    Mac::from_half_words(unsafe { [at.read(), at.add(1).read(), at.add(2).read()] })
}
