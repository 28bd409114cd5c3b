//! References for the benchmark, never attached: an empty program, and one that parses, asks the routing table and
//! redirects, which is the least that any router in this place must do.

use crate::{
    context::{HEADERS_MAX, TcPacket, XdpPacket},
    redirect,
    route::route,
};
use aya_ebpf::{
    bindings::{TC_ACT_OK, TC_ACT_SHOT, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use core::ffi::c_void;
use gateway_common::{
    abi::Side,
    packet::{Packet, WindowMut as _},
    tables::{Route, RouteQuery},
    wire::{ethernet::Link, ipv4::Ipv4, transport::Transport},
};

/// Does nothing.
#[xdp]
pub fn bench_empty_xdp(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Does nothing.
#[classifier]
pub fn bench_empty_tc(_ctx: TcContext) -> i32 {
    TC_ACT_OK
}

/// Parses, looks up the FIB, writes the link addresses and redirects.
#[xdp]
pub fn bench_forward_xdp(ctx: XdpContext) -> u32 {
    match forward(&mut XdpPacket(&ctx), ctx.ctx.cast()) {
        Some(ifindex) => redirect(ifindex) as u32,
        None => xdp_action::XDP_DROP,
    }
}

/// Parses, looks up the FIB, writes the link addresses and redirects.
#[classifier]
pub fn bench_forward_tc(ctx: TcContext) -> i32 {
    let Some(mut packet) = <TcPacket<'_>>::new(&ctx, HEADERS_MAX) else {
        return TC_ACT_SHOT;
    };
    match forward(&mut packet, ctx.skb.skb.cast()) {
        Some(ifindex) => redirect(ifindex) as i32,
        None => TC_ACT_SHOT,
    }
}

#[inline(always)]
fn forward<P: Packet>(packet: &mut P, ctx: *mut c_void) -> Option<u32> {
    let link = Link::parse(packet)?;
    let ip = Ipv4::parse(packet, link.header_len()).ok()?;
    Transport::parse(packet, &ip, Side::External).ok()?;
    let query = RouteQuery {
        src: ip.src,
        dst: ip.dst,
        protocol: ip.protocol,
        tos: ip.tos,
        total_len: ip.total_len,
        ingress_ifindex: packet.ingress_ifindex(),
    };
    let Route::Forward { ifindex, link } = route(ctx, &query) else {
        return None;
    };
    let mut header = packet.window_mut::<12>(0).ok()?;
    let [w0, w1, w2] = link.words();
    header.set_u32::<0>(w0);
    header.set_u32::<4>(w1);
    header.set_u32::<8>(w2);
    Some(ifindex)
}
