//! What a conversation is: who says what to whom, without addresses of either gateway's choice.

mod what;

pub use what::{Cut, Order, Quote, Quoted, What};

use std::fmt;

use crate::packet::Defect;

use super::stream::StreamScript;

/// A conversation, made from the run's seed and its number alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its number in the run.
    pub index: u64,
    /// What it is about.
    pub topic: Topic,
    /// The way that its first packet takes.
    pub path: Path,
    /// What is said.
    pub talk: Talk,
}

/// What a conversation is about, for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Two real TCP stacks.
    TcpStream,
    /// A TCP connection from its first to its last segment.
    TcpOrderly,
    /// Segments that no sane stack sends.
    TcpOdd,
    /// Resets in and out of the window, and what follows them.
    TcpReset,
    /// Both ends send a SYN.
    TcpSimultaneous,
    /// A new connection on the tuple of one that ended.
    TcpReopened,
    /// Segments sent twice.
    TcpRepeated,
    /// Begins without a SYN.
    TcpMidstream,
    /// Datagrams both ways.
    Udp,
    /// Two clients with one port.
    SamePort,
    /// A client that calls from a system port.
    SystemPort,
    /// Pings through the gateway.
    Echo,
    /// Pings of the gateway's own addresses.
    EchoToGateway,
    /// Errors about packets of a flow.
    IcmpError,
    /// Errors about packets that nobody sent, or that quote too little.
    IcmpStray,
    /// Fragments, in order and not.
    Fragments,
    /// Packets that are wrong in themselves.
    BadPacket,
    /// A time to live that ends at the gateway.
    LastHop,
    /// What policy forbids.
    Forbidden,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padded like any text: the derived name is the name.
        f.pad(&format!("{self:?}"))
    }
}

/// The way of a conversation's first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// NPCI calls the ingress VIP.
    Ingress,
    /// A tenant calls NPCI's endpoint.
    Egress,
    /// A tenant calls its own NAT IP, which stands for NPCI's endpoint.
    Addressed,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Talk {
    /// Packets of a script; what arrived of one round is known before the next begins.
    Script(Vec<Round>),
    /// Real stacks.
    Stream(StreamScript),
}

/// Packets that are sent without waiting in between.
pub type Round = Vec<Send>;

/// One packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Who sends it.
    pub from: Role,
    /// Of which flow it is, or pretends to be.
    pub flow: Flow,
    /// Whereto.
    pub target: Target,
    /// What.
    pub what: What,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// `Don't fragment`; never set on fragments.
    pub dont_fragment: bool,
    /// Four bytes of IP options that mean nothing.
    pub options: bool,
    /// One thing that is wrong.
    pub defect: Option<Defect>,
    /// How it is cut.
    pub cut: Option<Cut>,
}

impl Send {
    /// An ordinary packet of the first flow.
    pub fn new(from: Role, what: What) -> Self {
        Self {
            from,
            flow: Flow::FIRST,
            target: Target::Usual,
            what,
            ttl: 64,
            tos: 0,
            dont_fragment: true,
            options: false,
            defect: None,
            cut: None,
        }
    }

    /// Of another flow.
    #[must_use]
    pub fn of(mut self, flow: Flow) -> Self {
        self.flow = flow;
        self
    }
}

impl fmt::Display for Send {
    /// What is not ordinary, after what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.from, self.what)?;
        let ordinary = Self::new(self.from, self.what);
        if self.flow != ordinary.flow {
            write!(f, ", {:?}", self.flow)?;
        }
        if self.target != ordinary.target {
            write!(f, ", to {:?}", self.target)?;
        }
        if (self.ttl, self.tos) != (ordinary.ttl, ordinary.tos) {
            write!(f, ", ttl {} tos {:#x}", self.ttl, self.tos)?;
        }
        if !self.dont_fragment {
            write!(f, ", may be cut")?;
        }
        if self.options {
            write!(f, ", with IP options")?;
        }
        self.defect.iter().try_for_each(|defect| write!(f, ", wrong: {defect:?}"))?;
        self.cut.iter().try_for_each(|cut| write!(f, ", {cut:?}"))
    }
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Who speaks first.
    Client,
    /// Who is called.
    Server,
    /// A router on the client's side, which only reports errors.
    ClientRouter,
    /// A router on the server's side.
    ServerRouter,
}

impl Role {
    /// Is it on the client's side of the gateway?
    pub fn is_near(self) -> bool {
        matches!(self, Self::Client | Self::ClientRouter)
    }
}

/// One of the client's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Which client address.
    pub client: ClientAddress,
    /// Which of the conversation's ports.
    pub port: u16,
}

impl Flow {
    /// Where most conversations have their only flow.
    pub const FIRST: Self = Self { client: ClientAddress::First, port: 0 };
}

/// Which address a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientAddress {
    /// The usual one.
    First,
    /// Another one that is allowed, too.
    Second,
    /// One that calls from a system port.
    System,
}

/// Whereto a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A client's to the service, a server's to the client as the server sees it.
    Usual,
    /// The gateway's own address that the client knows: the ingress VIP, or the tenant's NAT IP.
    Gateway,
    /// Where policy does not let it.
    Forbidden(Forbidden),
}

/// What policy forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forbidden {
    /// A port of the ingress VIP without listener.
    NoListener,
    /// A client that is in no allow-list.
    SourceNotAllowed,
    /// NPCI's packet to the egress VIP, of no flow.
    EgressVip,
    /// NPCI's packet to a tenant NAT IP.
    NatIpFromOutside,
    /// NPCI's packet straight to a backend.
    BackendFromOutside,
    /// A tenant's packet to the ingress VIP.
    VipFromInside,
    /// A tenant's packet to another tenant's NAT IP.
    OtherNatIp,
    /// A tenant's packet to another tenant's backend.
    OtherBackend,
    /// A tenant's packet to an address that is in no peer group.
    NoPeer,
    /// A tenant's packet from an address of another tenant.
    SpoofedTenant,
    /// A tenant's packet from its own NAT IP, which is the gateway's.
    SpoofedNatIp,
    /// A port of the tenant's NAT IP that leads nowhere.
    NoMapping,
}

impl Forbidden {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoListener,
        Self::SourceNotAllowed,
        Self::EgressVip,
        Self::NatIpFromOutside,
        Self::BackendFromOutside,
        Self::VipFromInside,
        Self::OtherNatIp,
        Self::OtherBackend,
        Self::NoPeer,
        Self::SpoofedTenant,
        Self::SpoofedNatIp,
        Self::NoMapping,
    ];

    /// Does NPCI's side send it?
    pub fn is_from_outside(self) -> bool {
        matches!(
            self,
            Self::NoListener
                | Self::SourceNotAllowed
                | Self::EgressVip
                | Self::NatIpFromOutside
                | Self::BackendFromOutside
        )
    }
}
