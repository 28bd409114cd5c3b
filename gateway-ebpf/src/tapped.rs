//! The programs that take the place of others while somebody watches: the same engine, and they tell.
//!
//! Loaded when the first watcher comes and unloaded after the last, see [`crate::tap`]. Those of the stages stand in
//! [`crate::stages`].

use crate::{tc_gateway, xdp_gateway};
use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use gateway_common::abi::Side;

/// In the place of `xdp_external`.
#[xdp]
pub fn tapped_xdp_external(ctx: XdpContext) -> u32 {
    xdp_gateway::<true>(&ctx, Side::External)
}

/// In the place of `xdp_internal`.
#[xdp]
pub fn tapped_xdp_internal(ctx: XdpContext) -> u32 {
    xdp_gateway::<true>(&ctx, Side::Internal)
}

/// In the place of `tc_external`.
#[classifier]
pub fn tapped_tc_external(ctx: TcContext) -> i32 {
    tc_gateway::<true>(&ctx, Side::External)
}

/// In the place of `tc_internal`.
#[classifier]
pub fn tapped_tc_internal(ctx: TcContext) -> i32 {
    tc_gateway::<true>(&ctx, Side::Internal)
}
