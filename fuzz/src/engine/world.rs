//! The tables, the clock, and what the oracles remember of earlier packets.

use std::{collections::HashMap, mem};

use gateway_common::{
    abi::{Addr, Counter, EntryFlags, FlowKey, Side},
    forward::process,
    memory::{BytesPacket, MemoryTables},
    verdict::Verdict,
};

use super::{
    frame::{self, Damage},
    oracle::{self, Passage, books::Books, clients::Clients, openings::Openings},
    plan::Plan,
};

/// A moment long after the start of the machine.
const START_NS: u64 = 1_000_000_000_000;

/// Changes to one packet: a handful reaches every field, more is noise.
const MAX_DAMAGES: usize = 6;

/// A flow: the keys of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub original: FlowKey,
    pub reply: FlowKey,
}

/// Which datagram a fragment is of, as it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    pub side: Side,
    pub src: Addr,
    pub dst: Addr,
    pub protocol: u8,
    pub id: u16,
}

/// How the fragments of a datagram have left so far.
#[derive(Clone, Debug)]
pub struct Train {
    pub src: Addr,
    pub dst: Addr,
    /// Did the first one come in where nobody is reached?
    pub elsewhere: bool,
    /// Bytes of the datagram's segment that have left.
    pub sent: Vec<std::ops::Range<usize>>,
}

/// A gateway in use.
#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub tables: MemoryTables,
    pub now_ns: u64,
    /// Flows in the order in which they were opened, also those that are gone.
    pub flows: Vec<Flow>,
    /// When a packet of a key last went through.
    pub last_sent: HashMap<FlowKey, u64>,
    /// Whether the packets of a tenant's key last came in where nobody is reached.
    pub came_elsewhere: HashMap<FlowKey, bool>,
    pub trains: HashMap<Datagram, Train>,
    /// What the next packet suffers.
    pub damages: Vec<Damage>,
    /// Does the next packet come in where nobody is reached?
    pub elsewhere: bool,
    /// When keys were put in quarantine.
    pub quarantined: HashMap<FlowKey, u64>,
    pub openings: Openings,
    pub clients: Clients,
    /// Packets that went through, for tests of the generators.
    pub translated: usize,
}

impl World {
    pub fn new(header: [u8; 8]) -> Self {
        Self::of(Plan::new(header))
    }

    pub fn of(plan: Plan) -> Self {
        Self {
            plan,
            tables: plan.tables(),
            now_ns: START_NS,
            flows: Vec::new(),
            last_sent: HashMap::new(),
            came_elsewhere: HashMap::new(),
            trains: HashMap::new(),
            damages: Vec::new(),
            elsewhere: false,
            quarantined: HashMap::new(),
            openings: Openings::default(),
            clients: Clients::default(),
            translated: 0,
        }
    }

    /// The n-th flow, counted round.
    pub fn flow(&self, index: u8) -> Option<Flow> {
        let index = usize::from(index).checked_rem(self.flows.len())?;
        self.flows.get(index).copied()
    }

    pub fn damage(&mut self, damage: Damage) {
        if self.damages.len() < MAX_DAMAGES {
            self.damages.push(damage);
        }
    }

    /// Sends an IPv4 packet from a neighbour of that side.
    pub fn send(&mut self, side: Side, packet: &[u8]) -> Verdict {
        let frame = frame::frame(self.tag(side), packet);
        self.send_frame(side, frame)
    }

    /// The tag of frames on that side.
    pub fn tag(&self, side: Side) -> Option<u16> {
        let vlan = self.plan.vlans[side as usize];
        (vlan != 0).then_some((vlan | 0x6000) ^ u16::from(self.elsewhere))
    }

    /// Sends a frame, damaged as asked, through the engine and before the oracles.
    pub fn send_frame(&mut self, side: Side, mut frame: Vec<u8>) -> Verdict {
        let elsewhere = mem::take(&mut self.elsewhere);
        for damage in self.damages.drain(..) {
            damage.apply(&mut frame);
        }
        let books = Books::of(&self.tables);
        let mut packet =
            BytesPacket { bytes: frame.clone(), ingress_ifindex: self.plan.arrival(side, elsewhere) };
        let verdict = process(&mut packet, &self.tables, side, self.now_ns);
        let after = &packet.bytes;
        let passage = Passage { side, elsewhere, before: &frame, after, verdict, books: &books };
        oracle::check(self, &passage);
        self.remember(&books);
        verdict
    }

    /// Flows that were opened so far, as the engine counts them.
    pub fn flows_opened(&self) -> u64 {
        self.tables.counter(Counter::FlowsOpened)
    }

    /// Notes flows that have come.
    fn remember(&mut self, before: &Books) {
        let now = Books::of(&self.tables);
        for entry in now.entries().filter(|entry| entry.flags.contains(EntryFlags::ORIGINAL)) {
            let flow = Flow { original: entry.key, reply: entry.pair };
            if before.entry(&entry.key).is_none() && !self.flows.contains(&flow) {
                self.flows.push(flow);
            }
        }
    }
}
