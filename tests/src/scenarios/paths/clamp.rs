//! Segments that fit from the first on, since the gateway lowers what the ends' SYNs offer.

use super::{
    Narrow, Stage, stage,
    transfers::{self, Transfer},
};
use crate::{
    capture::{Capture, Recording},
    gateway::GatewayConfig,
    packet::{Frame, Tcp, TcpFlags},
    raw::Direction,
    topology::Mode,
};

/// What a link with an MTU of 1,300 has room for.
pub const CLAMP: u16 = 1260;

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clamp {
    /// The external interface's, where that itself is the small link.
    Interface,
    /// The tenant's, where the small link lies between NPCI's routers.
    Tenant,
}

/// What was seen.
#[derive(Debug)]
pub struct Clamped {
    /// What became of the transfers.
    pub transfers: Vec<Transfer>,
    /// What SYNs and SYN-ACKs offered that left the gateway, on either wire.
    pub offered: Vec<Option<u16>>,
    /// Errors on either wire that ask for smaller packets.
    pub complaints: usize,
    /// Packets that the gateway dropped for whatever reason.
    pub dropped: u64,
}

impl Clamp {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Interface, Self::Tenant];

    fn narrow(self) -> Narrow {
        match self {
            Self::Interface => Narrow::External,
            Self::Tenant => Narrow::BeyondNpci,
        }
    }

    fn set(self, config: &mut GatewayConfig) {
        match self {
            Self::Interface => config.interface[0].mss_clamp = Some(CLAMP),
            Self::Tenant => config.tenant(1).limits.mss_clamp = Some(CLAMP),
        }
    }
}

/// Four transfers over one small link.
#[track_caller]
pub fn run(mode: Mode, clamp: Clamp) -> Clamped {
    let lab = stage::lab(mode);
    let stage = Stage::start(&lab, |config| clamp.set(config));
    let wires = [lab.capture_npci(), lab.capture_tenant(1)];
    let transfers = clamp.narrow().during(&stage, || transfers::all(&stage));
    let wires = wires.map(Capture::stop);
    Clamped {
        transfers,
        offered: wires.iter().flat_map(offers).collect(),
        complaints: wires.iter().flat_map(Recording::frames).filter(asks_for_less).count(),
        dropped: stage.gateway.drops().values().sum(),
    }
}

/// In the order in which they came.
fn offers(wire: &Recording) -> Vec<Option<u16>> {
    let arrived = wire.going(Direction::In).frames();
    let segments = arrived.iter().filter_map(Frame::tcp);
    segments.filter(|tcp| tcp.flags.contains(TcpFlags::SYN)).map(Tcp::segment_size).collect()
}

/// "Fragmentation needed" (RFC 792: type 3, code 4).
fn asks_for_less(frame: &Frame) -> bool {
    frame.icmp().is_some_and(|icmp| (icmp.kind, icmp.code) == (3, 4))
}
