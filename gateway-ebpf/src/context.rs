//! Packets as XDP and TC hand them over: the only raw packet pointers in the project.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, xdp_md},
    helpers::generated::{
        bpf_l4_csum_replace, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_vlan_pop,
        bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_load_bytes,
    },
    programs::{TcContext, XdpContext},
};
use core::{arch::asm, ffi::c_void, marker::PhantomData, mem::offset_of};
use gateway_common::{
    abi::{HeldFrame, Protocol, Side},
    limits::HELD_FRAME_MAX,
    packet::{Packet, Refused, Window, WindowMut},
    wire::{
        checksum::Difference,
        ethernet::{HEADER_LEN, TAG_LEN, link_len},
        ipv4::Ipv4,
        transport::{TCP_HEADER_LEN, UDP_HEADER_LEN, tcp_header_len},
    },
};

use crate::{bounds::size_within, maps::HELD};

/// The headers that the gateway looks at, at their longest: tagged Ethernet, IPv4 with options, TCP without.
pub const HEADERS_MAX: u32 = 18 + 60 + 20;

/// The same of an ICMP error: tagged Ethernet, IPv4 with options, ICMP, the quoted IPv4 with options, TCP without.
pub const QUOTED_HEADERS_MAX: u32 = 18 + 60 + 8 + 60 + 20;

/// All offsets are below this: the verifier loses sight of that when the compiler keeps one on the stack.
const OFFSET_MASK: usize = 0xff;
const _: () = assert!(QUOTED_HEADERS_MAX as usize <= OFFSET_MASK);

/// `N` bytes of a packet that the verifier has seen to lie before its end.
///
/// Fields are read and written by single instructions at constant offsets. A plain Rust access would have to assume
/// that the address is odd, and take it apart into bytes.
pub struct Bytes<'a, const N: usize> {
    start: usize,
    packet: PhantomData<&'a ()>,
}

impl<const N: usize> Bytes<'_, N> {
    /// The window at `offset` of a packet that spans `data..end`.
    #[inline(always)]
    fn new(data: usize, end: usize, offset: usize) -> Option<Self> {
        let mut start = data;
        // Not a plain addition: from the lengths that it has read, the compiler may find that the packet must be long
        // enough, and leave out the comparison that the verifier wants to see.
        // SAFETY: an addition.
        unsafe {
            asm!(
                "{start} += {offset}",
                start = inlateout(reg) start,
                offset = in(reg) offset & OFFSET_MASK,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        if start + N > end {
            return None;
        }
        Some(Self { start, packet: PhantomData })
    }
}

/// Reads `$len` bytes at `$at` of a window of `$n`.
macro_rules! read {
    ($size:literal, $window:expr, $at:ident, $n:ident) => {{
        const { assert!($at + $size / 8 <= $n, "the field ends behind the window") }
        let value: u64;
        // SAFETY: the field lies within the window, which lies within the packet; the verifier checks it again.
        unsafe {
            asm!(
                concat!("{value} = *(u", $size, " *)({start} + {at})"),
                value = lateout(reg) value,
                start = in(reg) $window.start,
                at = const $at,
                options(readonly, pure, nostack, preserves_flags),
            );
        }
        value
    }};
}

/// Writes `$len` bytes at `$at` of a window of `$n`.
macro_rules! write {
    ($size:literal, $window:expr, $at:ident, $n:ident, $value:expr) => {{
        const { assert!($at + $size / 8 <= $n, "the field ends behind the window") }
        // SAFETY: as in `read`.
        unsafe {
            asm!(
                concat!("*(u", $size, " *)({start} + {at}) = {value}"),
                value = in(reg) u64::from($value),
                start = in(reg) $window.start,
                at = const $at,
                options(nostack, preserves_flags),
            );
        }
    }};
}

impl<const N: usize> Window for Bytes<'_, N> {
    #[inline(always)]
    fn u8<const AT: usize>(&self) -> u8 {
        read!(8, self, AT, N) as u8
    }

    #[inline(always)]
    fn u16<const AT: usize>(&self) -> u16 {
        read!(16, self, AT, N) as u16
    }

    #[inline(always)]
    fn u32<const AT: usize>(&self) -> u32 {
        read!(32, self, AT, N) as u32
    }
}

impl<const N: usize> WindowMut for Bytes<'_, N> {
    #[inline(always)]
    fn set_u8<const AT: usize>(&mut self, value: u8) {
        write!(8, self, AT, N, value);
    }

    #[inline(always)]
    fn set_u16<const AT: usize>(&mut self, value: u16) {
        write!(16, self, AT, N, value);
    }

    #[inline(always)]
    fn set_u32<const AT: usize>(&mut self, value: u32) {
        write!(32, self, AT, N, value);
    }
}

/// A packet in XDP.
pub struct XdpPacket<'a>(pub &'a XdpContext);

impl XdpPacket<'_> {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<Bytes<'_, N>> {
        let data = xdp_field::<{ offset_of!(xdp_md, data) }>(self.0);
        let end = xdp_field::<{ offset_of!(xdp_md, data_end) }>(self.0);
        Bytes::new(data, end, offset)
    }
}

#[inline(always)]
fn xdp_field<const AT: usize>(ctx: &XdpContext) -> usize {
    pointer_field::<AT>(ctx.ctx.cast())
}

#[inline(always)]
fn tc_field<const AT: usize>(ctx: &TcContext) -> usize {
    pointer_field::<AT>(ctx.skb.skb.cast())
}

/// A field of a context that the kernel declares as 32 bits and makes a pointer of. A plain load would let the compiler
/// hand 32 bits on to a function that is not inlined, and half a pointer is none for the verifier.
#[inline(always)]
fn pointer_field<const AT: usize>(ctx: *mut c_void) -> usize {
    let value: usize;
    // SAFETY: reads a context field, which the verifier checks.
    unsafe {
        asm!(
            "{value} = *(u32 *)({ctx} + {at})",
            value = lateout(reg) value,
            ctx = in(reg) ctx,
            at = const AT,
            options(readonly, pure, nostack, preserves_flags),
        );
    }
    value
}

impl Packet for XdpPacket<'_> {
    type Window<'a, const N: usize>
        = Bytes<'a, N>
    where
        Self: 'a;
    type WindowMut<'a, const N: usize>
        = Bytes<'a, N>
    where
        Self: 'a;

    const TAGS_IN_FRAME: bool = true;
    const RESOLVES_NEIGHBOURS: bool = false;

    #[inline(always)]
    fn len(&self) -> usize {
        let mut len = xdp_field::<{ offset_of!(xdp_md, data_end) }>(self.0);
        // Not a plain subtraction: where 32 bits of it are enough the compiler would subtract no more, and the verifier
        // allows no half pointers.
        // SAFETY: a subtraction.
        unsafe {
            asm!(
                "{end} -= {start}",
                end = inlateout(reg) len,
                start = in(reg) xdp_field::<{ offset_of!(xdp_md, data) }>(self.0),
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        len
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn window<const N: usize>(&self, offset: usize) -> Option<Bytes<'_, N>> {
        self.bytes(offset)
    }

    #[inline(always)]
    fn window_mut<const N: usize>(&mut self, offset: usize) -> Result<Bytes<'_, N>, Refused> {
        self.bytes(offset).ok_or(Refused)
    }

    #[inline(always)]
    fn retag(&mut self, tagged: bool, wanted: bool) -> Result<usize, Refused> {
        let delta = match (tagged, wanted) {
            (true, false) => TAG_LEN as i32,
            (false, true) => -(TAG_LEN as i32),
            _ => return Ok(link_len(wanted)),
        };
        // SAFETY: the context is the one that the kernel handed to this run of the program.
        if unsafe { bpf_xdp_adjust_head(self.0.ctx, delta) } != 0 {
            return Err(Refused);
        }
        Ok(link_len(wanted))
    }

    #[inline(always)]
    fn hold(&self, side: Side) -> bool {
        let ctx = self.0.ctx;
        // SAFETY: the context is the one of this run; `load` is called with a buffer of at least `len` bytes.
        hold(self.len(), self.ingress_ifindex(), side, |bytes, len| unsafe {
            bpf_xdp_load_bytes(ctx, 0, bytes, len)
        })
    }

    /// There is always room in front (`XDP_PACKET_HEADROOM`), while veth leaves none behind a short frame.
    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        let growth = len as i32 - self.len() as i32;
        // SAFETY: as in `retag`.
        let result = unsafe {
            if growth > 0 {
                bpf_xdp_adjust_head(self.0.ctx, -growth)
            } else {
                bpf_xdp_adjust_tail(self.0.ctx, growth)
            }
        };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }
}

/// A packet in TC. It may be a GSO packet of up to 64 KiB, and its checksum may be left to the network card.
pub struct TcPacket<'a, const RESOLVES: bool = true>(&'a TcContext);

/// A packet that a program of the daemon's is run on: no `bpf_redirect_neigh` follows that could resolve its next hop.
pub type KeptPacket<'a> = TcPacket<'a, false>;

impl<'a, const RESOLVES: bool> TcPacket<'a, RESOLVES> {
    /// Makes the headers, which are `headers_max` bytes at most, contiguous; `None` when the kernel can not.
    #[inline(always)]
    pub fn new(ctx: &'a TcContext, headers_max: u32) -> Option<Self> {
        let wanted = core::cmp::min(ctx.len(), headers_max);
        if ctx.data_end() - ctx.data() < wanted as usize {
            // SAFETY: the context is the one that the kernel handed to this run of the program.
            let result = unsafe { bpf_skb_pull_data(ctx.skb.skb, wanted) };
            if result != 0 {
                return None;
            }
        }
        Some(Self(ctx))
    }

    /// The interface that the packet came in by.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: reads a context field, which the verifier checks.
        unsafe { (*self.0.skb.skb).ifindex }
    }
}

impl<const RESOLVES: bool> TcPacket<'_, RESOLVES> {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<Bytes<'_, N>> {
        let data = tc_field::<{ offset_of!(__sk_buff, data) }>(self.0);
        let end = tc_field::<{ offset_of!(__sk_buff, data_end) }>(self.0);
        Bytes::new(data, end, offset)
    }
}

impl<const RESOLVES: bool> Packet for TcPacket<'_, RESOLVES> {
    type Window<'a, const N: usize>
        = Bytes<'a, N>
    where
        Self: 'a;
    type WindowMut<'a, const N: usize>
        = Bytes<'a, N>
    where
        Self: 'a;

    const TAGS_IN_FRAME: bool = false;
    const RESOLVES_NEIGHBOURS: bool = RESOLVES;

    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len() as usize
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        self.ifindex()
    }

    #[inline(always)]
    fn window<const N: usize>(&self, offset: usize) -> Option<Bytes<'_, N>> {
        self.bytes(offset)
    }

    #[inline(always)]
    fn window_mut<const N: usize>(&mut self, offset: usize) -> Result<Bytes<'_, N>, Refused> {
        self.bytes(offset).ok_or(Refused)
    }

    /// The kernel cuts GSO packets into such of `gso_size` bytes of payload, each with all headers.
    #[inline(always)]
    fn longest_len(&self, ip: &Ipv4) -> u16 {
        let skb = self.0.skb.skb;
        // SAFETY: reads a context field, which the verifier checks.
        if unsafe { (*skb).gso_size } == 0 {
            return ip.total_len;
        }
        let transport_len = if ip.protocol == Protocol::Tcp as u8 {
            tcp_header_len_at(skb.cast(), ip.payload_offset() as u32)
        } else {
            UDP_HEADER_LEN as u32
        };
        // SAFETY: as above.
        let len = ip.header_len as u32 + transport_len + unsafe { (*skb).gso_size };
        core::cmp::min(len, u32::from(u16::MAX)) as u16
    }

    #[inline(always)]
    fn tag_beside(&self) -> Option<u16> {
        // SAFETY: reads context fields of this run.
        unsafe {
            let skb = self.0.skb.skb;
            if (*skb).vlan_present != 0 { Some((*skb).vlan_tci as u16) } else { None }
        }
    }

    /// Takes the tag off, in the frame or beside it. The VLAN device that the packet is redirected to adds its own.
    #[inline(always)]
    fn retag(&mut self, tagged: bool, _wanted: bool) -> Result<usize, Refused> {
        // SAFETY: reads a context field, then calls a helper with the context of this run.
        let popped = unsafe {
            let skb = self.0.skb.skb;
            match (tagged, (*skb).vlan_present != 0) {
                (false, false) => 0,
                // Two tags: taking the outer one off would let the sender choose the VLAN that the inner one names.
                (true, true) => return Err(Refused),
                _ => bpf_skb_vlan_pop(skb),
            }
        };
        if popped == 0 { Ok(HEADER_LEN) } else { Err(Refused) }
    }

    #[inline(always)]
    fn hold(&self, side: Side) -> bool {
        let skb = self.0.skb.skb;
        // SAFETY: as in `XdpPacket`.
        hold(self.len(), self.ifindex(), side, |bytes, len| unsafe {
            bpf_skb_load_bytes(skb.cast(), 0, bytes, len)
        })
    }

    /// Makes the whole packet contiguous, too, and no GSO packet any more.
    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        // SAFETY: the context is the one that the kernel handed to this run of the program.
        if unsafe { bpf_skb_change_tail(self.0.skb.skb, len as u32, 0) } == 0 { Ok(()) } else { Err(Refused) }
    }

    /// The kernel's helper leaves such a field as it is (`inet_proto_csum_replace4`). Packets that GRO has put together are of
    /// this kind on every card (`tcp_gro_complete`).
    #[inline(always)]
    fn leaves_checksum(&mut self, offset: usize) -> Result<bool, Refused> {
        let before = self.window::<2>(offset).ok_or(Refused)?.u16::<0>();
        self.replace_checksum(offset, Difference::NONE.word(0, 1), 0)?;
        if self.window::<2>(offset).ok_or(Refused)?.u16::<0>() == before {
            return Ok(true);
        }
        self.window_mut::<2>(offset)?.set_u16::<0>(before);
        Ok(false)
    }

    /// By the kernel's helper, which knows whether the checksum is complete, absent, or left to the network card. An
    /// own incremental update would be wrong for the last kind.
    #[inline(always)]
    fn update_transport_checksum(
        &mut self,
        offset: usize,
        protocol: Protocol,
        addresses: Difference,
        ports: Difference,
    ) -> Result<(), Refused> {
        let udp = match protocol {
            Protocol::Udp => u64::from(BPF_F_MARK_MANGLED_0),
            Protocol::Tcp | Protocol::Icmp => 0,
        };
        if !matches!(protocol, Protocol::Icmp) {
            self.replace_checksum(offset, addresses, udp | u64::from(BPF_F_PSEUDO_HDR))?;
        }
        self.replace_checksum(offset, ports, udp)
    }
}

/// Length of the TCP header at an offset of a packet in TC. Not inlined for the stack's sake: few packets need it.
#[inline(never)]
fn tcp_header_len_at(skb: *mut c_void, offset: u32) -> u32 {
    let mut data_offset = (TCP_HEADER_LEN as u8) << 2;
    // SAFETY: the context is the one of this run; one byte is loaded into one byte. It was found there before.
    unsafe { bpf_skb_load_bytes(skb, offset + 12, (&raw mut data_offset).cast(), 1) };
    tcp_header_len(data_offset) as u32
}

/// Copies a frame into the ring buffer of kept frames by `load(bytes, len)`; false when it does not fit.
#[inline(always)]
fn hold(len: usize, ifindex: u32, side: Side, load: impl FnOnce(*mut c_void, u32) -> i64) -> bool {
    let Some(len) = size_within(len, HELD_FRAME_MAX) else {
        return false;
    };
    let Some(mut record) = HELD.reserve::<HeldFrame>(0) else {
        return false;
    };
    let frame = record.as_mut_ptr();
    // SAFETY: the record is as large as the frame that is written into it; every field but the unused bytes is set.
    let loaded = unsafe {
        (&raw mut (*frame).ifindex).write(ifindex);
        (&raw mut (*frame).len).write(len as u16);
        (&raw mut (*frame).side).write(side as u8);
        load((&raw mut (*frame).bytes).cast(), len)
    };
    if loaded == 0 {
        record.submit(0);
    } else {
        record.discard(0);
    }
    loaded == 0
}

impl<const RESOLVES: bool> TcPacket<'_, RESOLVES> {
    #[inline(always)]
    fn replace_checksum(&self, offset: usize, change: Difference, flags: u64) -> Result<(), Refused> {
        // SAFETY: the context is the one of this run; `from` 0 and size 0 mean that `to` is a difference.
        let result =
            unsafe { bpf_l4_csum_replace(self.0.skb.skb, offset as u32, 0, u64::from(change.raw()), flags) };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }
}
