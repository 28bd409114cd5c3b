//! What the three engines have in common.

use gateway_daemon::datapath::contents::Contents;

use crate::counts::Counts;
use crate::flows::Flows;
use crate::places::Wire;

/// What happens to a packet, as far as a hook can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Left to the kernel.
    Pass,
    /// Dropped.
    Drop,
    /// Sent back. Both hooks say "redirect" for it, to the interface that it came from.
    Reply,
    /// Sent out of another interface. The hooks do not tell which: the link addresses do.
    Redirect,
}

/// A way to run the packet engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On a byte slice with tables in memory.
    Memory,
    /// The loaded XDP programs.
    Xdp,
    /// The loaded TC programs.
    Tc,
}

impl Kind {
    /// How this engine shows an action.
    pub fn shown(self, action: Action) -> Action {
        match (self, action) {
            (Self::Xdp | Self::Tc, Action::Reply) => Action::Redirect,
            (_, action) => action,
        }
    }
}

/// One packet's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What happens to it.
    pub action: Action,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// Counters of tenants 0 to this are compared after each packet: those of the configuration, none, and one more.
pub const LAST_TENANT: u16 = 5;

/// One of the three, with tables of its own.
pub trait Engine {
    /// Which one.
    fn kind(&self) -> Kind;

    /// Fills the tables anew and forgets every flow. Counts go on.
    fn reset(&mut self, desired: &Contents);

    /// Brings the tables to another configuration. Flows and counts go on.
    fn configure(&mut self, desired: &Contents);

    /// Ends every TCP flow, as the daemon does; see [`gateway_daemon::datapath::reset`].
    fn end_flows(&mut self);

    /// Runs one packet. `None` when it cannot be run here at all: the kernel refuses to run a program on a frame that
    /// ends within its Ethernet header, and TC on one that ends within an announced IP header.
    fn run(&mut self, wire: &Wire, frame: &[u8]) -> Option<Ran>;

    /// Everything counted so far.
    fn counts(&mut self) -> Counts;

    /// Both flow tables.
    fn flows(&self) -> Flows;

    /// Tenants that are in no configuration here and were counted for all the same.
    fn other_tenants(&self) -> Vec<u16>;
}
