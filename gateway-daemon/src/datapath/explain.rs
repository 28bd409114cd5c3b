//! The way that a packet would take, step by step.
//!
//! The packet engine itself runs, in user space, on a packet in memory and on the tables that the kernel uses. It reads
//! them through [`Look`], which cannot write; what the engine writes goes into an overlay that is thrown away. So the
//! port that a new flow would get is one that is free in the kernel's tables now.
//!
//! | module | holds |
//! |---|---|
//! | [`frame`] | the packet: made of a 5-tuple, or given; as XDP or as TC would see it |
//! | `recorder` | tables for the engine: reads, overlay and record |
//! | [`routes`] | the kernel's routing table and neighbours, asked by netlink |
//! | `words` | what was asked and found, as people read it |

pub mod frame;
mod recorder;
pub mod routes;
mod words;

#[cfg(test)]
mod tests;

use anyhow::Result;
use gateway_common::{
    abi::{
        Addr, AllowKey, Backend, CtEntry, DestinationKey, FlowKey, HairpinKey, Interface, Listener,
        ListenerKey, OwnedAddress, Pool, Settings, Side, TenantId, TenantSettings, TenantSource, TenantUse,
    },
    drop_reason::DropReason,
    forward,
    tables::{FlowTable, Route, RouteQuery},
    verdict::Verdict,
};

use super::hook::Hook;
use frame::{TcPacket, key_of};
use gateway_common::memory::BytesPacket;
use recorder::Recorder;
pub use words::Names;

/// Reads single entries of the tables, and nothing else.
pub trait Look {
    /// Node-wide settings.
    fn settings(&self) -> Result<Settings>;
    /// What a local address is.
    fn address(&self, address: Addr) -> Result<Option<OwnedAddress>>;
    /// The listener on an address, protocol and port.
    fn listener(&self, key: &ListenerKey) -> Result<Option<Listener>>;
    /// Does an allow-list contain the source?
    fn allows(&self, key: &AllowKey) -> Result<bool>;
    /// Whose a source address is.
    fn source(&self, source: Addr) -> Result<Option<TenantSource>>;
    /// May the tenant call this destination?
    fn reaches(&self, key: &DestinationKey) -> Result<bool>;
    /// May a tenant call another's listeners?
    fn allows_hairpin(&self, key: &HairpinKey) -> Result<bool>;
    /// What a tenant uses now.
    fn tenant_use(&self, tenant: TenantId) -> Result<TenantUse>;
    /// What holds for a tenant alone.
    fn tenant(&self, tenant: TenantId) -> Result<Option<TenantSettings>>;
    /// A pool.
    fn pool(&self, pool: u32) -> Result<Option<Pool>>;
    /// The backend number in a slot of the Maglev tables.
    fn maglev(&self, slot: u32) -> Result<Option<u32>>;
    /// A backend.
    fn backend(&self, backend: u32) -> Result<Option<Backend>>;
    /// An interface of the gateway.
    fn interface(&self, ifindex: u32) -> Result<Option<Interface>>;
    /// An entry of a flow table.
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Result<Option<CtEntry>>;
    /// Does one more entry fit?
    fn has_room(&self, table: FlowTable) -> Result<bool>;
}

/// Answers for the kernel's routing table.
pub trait Routes {
    /// The way of a packet.
    fn route(&self, query: &RouteQuery) -> Result<Route>;
}

/// A packet and where it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The frame.
    pub bytes: Vec<u8>,
    /// The interface that it comes in by.
    pub ifindex: u32,
    /// The side that the interface is on.
    pub side: Side,
    /// The hook that the interface has: XDP and TC differ in what they can do with a packet.
    pub hook: Hook,
}

/// What the engine did to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It read.
    Look,
    /// It would add an entry.
    Insert,
    /// It would remove an entry.
    Remove,
    /// It would add to a counter.
    Count,
    /// It would tell the daemon.
    Report,
}

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was done.
    pub action: Action,
    /// To which table.
    pub table: &'static str,
    /// With which key, in words.
    pub key: String,
    /// What was found, or what came of it; `None` where nothing was found.
    pub found: Option<String>,
}

/// The way of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Every table that the packet met, in order.
    pub steps: Vec<Step>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why it is refused, silently or with an answer.
    pub drop_reason: Option<DropReason>,
    /// Whose it is, as far as that was known.
    pub tenant: Option<TenantId>,
    /// Its 5-tuple; `None` if it has none.
    pub original: Option<FlowKey>,
    /// The 5-tuple of what leaves: the translated packet, or the answer.
    pub leaving: Option<FlowKey>,
}

/// Runs the packet through the engine. Nothing is changed by it.
///
/// # Errors
///
/// When a table cannot be read, or the kernel does not answer.
pub fn explain(
    packet: &Inbound,
    look: &impl Look,
    routes: &impl Routes,
    names: &Names,
    now_ns: u64,
) -> Result<Explanation> {
    let recorder = Recorder::new(look, routes, names)?;
    let mut bytes = BytesPacket { bytes: packet.bytes.clone(), ingress_ifindex: packet.ifindex };
    let original = key_of(&bytes, packet.side);
    let verdict = match packet.hook {
        Hook::Tc | Hook::TcFilter => {
            let mut packet_of_tc = TcPacket(bytes);
            let verdict = forward::process(&mut packet_of_tc, &recorder, packet.side, now_ns);
            bytes = packet_of_tc.0;
            verdict
        }
        Hook::XdpNative | Hook::XdpGeneric => forward::process(&mut bytes, &recorder, packet.side, now_ns),
    };
    let leaving = leaving_side(verdict, packet.side).and_then(|side| key_of(&bytes, side));
    let record = recorder.finish()?;
    let (steps, drop_reason, tenant) = (record.steps, record.drop_reason, record.tenant);
    Ok(Explanation { steps, verdict, drop_reason, tenant, original, leaving })
}

/// The side that something leaves by, if anything of the gateway's does.
fn leaving_side(verdict: Verdict, side: Side) -> Option<Side> {
    match verdict {
        Verdict::Pass | Verdict::Drop(_) | Verdict::Held => None,
        Verdict::Reply => Some(side),
        Verdict::Redirect { .. } | Verdict::RedirectNeighbour { .. } => Some(side.opposite()),
    }
}
