//! The scripted ends of a lab: packet sockets on all its wires.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    conversation::{Conversation, Round, Talk},
    frame::Map,
    script::{BATCH, Running, owner},
    sight::{Place, Sight},
};
use crate::{
    fence::{self, Fence},
    netns::Namespace,
    packet::{ETHERTYPE_IPV4, Mac},
    raw::{Direction, RawSocket},
    topology::{Link, Topology},
};

/// Larger than any frame of the lab.
const BUFFER: usize = 66_000;

/// A wire's far end.
#[derive(Debug)]
struct End {
    place: Place,
    socket: RawSocket,
    macs: (Mac, Mac),
    towards_gateway: Fence,
    from_gateway: Fence,
}

/// Frames that are sent before the labs are let settle: far fewer than the kernel's backlog of each CPU holds (1,000 by
/// default, `net.core.netdev_max_backlog`), which both labs share and which drops silently when it is full.
const BURST: usize = 200;

/// How long a gateway may keep parts of datagrams: longer than ours does.
const PATIENCE: Duration = Duration::from_secs(3);

/// All wires of a lab.
#[derive(Debug)]
pub struct Ends<'lab> {
    topology: &'lab Topology,
    ends: Vec<End>,
}

impl<'lab> Ends<'lab> {
    /// Opens the sockets. The lab has two tenants.
    pub fn open(topology: &'lab Topology) -> Self {
        let ends = Place::ALL.into_iter().zip(topology.links());
        Self {
            topology,
            ends: ends.map(|(place, (far, link))| End::open(topology, place, far, link)).collect(),
        }
    }

    /// Runs scripts side by side, round by round, and returns what each of them saw.
    ///
    /// A round ends with fences that follow its packets through the gateway: what has not arrived by then was dropped.
    pub fn converse(&self, map: &Map, scripts: &[(&Conversation, &[Round])]) -> Vec<Vec<Sight>> {
        let mut running: Vec<_> =
            scripts.iter().map(|(told, rounds)| Running::new(map, told, rounds)).collect();
        let slots = slots(scripts);
        let longest = scripts.iter().map(|(_, rounds)| rounds.len()).max().unwrap_or(0);
        self.discard();
        for round in 0..longest {
            let mut under_way = 0;
            for conversation in &mut running {
                let frames = conversation.round(round, |place| self.end(place).macs);
                under_way += frames.len();
                for (place, frame) in frames {
                    self.end(place).socket.send(&frame);
                }
                if under_way >= BURST {
                    self.settle();
                    under_way = 0;
                }
            }
            self.settle();
            self.deliver(round, &slots, &mut running);
            self.await_parts(round, &slots, &mut running);
        }
        running.into_iter().map(Running::sights).collect()
    }

    /// A gateway may keep parts that came before the first one, and send them on a moment later: where the first part of
    /// a whole datagram has arrived, the others follow.
    fn await_parts(&self, round: usize, slots: &[Option<usize>], running: &mut [Running<'_>]) {
        let deadline = Instant::now() + PATIENCE;
        while running.iter().any(|conversation| conversation.lacks_parts(round)) && Instant::now() < deadline
        {
            thread::yield_now();
            self.deliver(round, slots, running);
        }
    }

    fn end(&self, place: Place) -> &End {
        self.ends.iter().find(|end| end.place == place).expect("there is one of each")
    }

    /// Returns when all that was sent has passed the gateway and arrived, or was dropped.
    fn settle(&self) {
        self.ends.iter().for_each(|end| end.towards_gateway.cross());
        self.ends.iter().for_each(|end| end.from_gateway.cross());
    }

    /// What came before belongs to others.
    fn discard(&self) {
        self.settle();
        for end in &self.ends {
            while end.socket.try_receive().is_some() {}
        }
    }

    fn deliver(&self, round: usize, slots: &[Option<usize>], running: &mut [Running<'_>]) {
        let mut buffer = vec![0; BUFFER];
        for end in &self.ends {
            while let Some(received) = end.socket.try_receive_into(&mut buffer) {
                if received.direction != Direction::In || !self.is_scripted(&received.bytes) {
                    continue;
                }
                let owner = owner(&received.bytes).and_then(|slot| slots.get(slot).copied().flatten());
                if let Some(at) = owner {
                    running[at].arrived(round, end.place, received.bytes);
                }
            }
            assert_eq!(
                end.socket.dropped(),
                0,
                "frames were lost at {:?}: the buffer is too small",
                end.place
            );
        }
    }

    /// Is it unicast, and not for one of the kernels?
    fn is_scripted(&self, frame: &[u8]) -> bool {
        let Some(to) = super::frame::address(frame, 14 + 16) else { return !fence::is_marker(frame) };
        let tenants = self.topology.tenants.iter().flat_map(|tenant| tenant.plan.backends);
        let mut kernels = tenants.chain(self.topology.plan.npci_endpoints.iter().copied());
        !to.is_multicast() && !to.is_broadcast() && !kernels.any(|kernel| kernel == to)
    }
}

impl End {
    fn open(topology: &Topology, place: Place, far: &Namespace, link: &Link) -> Self {
        let near = (&topology.gateway, link.near.as_str());
        Self {
            place,
            socket: RawSocket::open_for(far, &link.far, ETHERTYPE_IPV4),
            macs: (link.far_mac, link.near_mac),
            towards_gateway: Fence::between((far, &link.far), near),
            from_gateway: Fence::between(near, (far, &link.far)),
        }
    }
}

/// By place in the batch: which of the scripts it is.
fn slots(scripts: &[(&Conversation, &[Round])]) -> Vec<Option<usize>> {
    let size = usize::try_from(BATCH).expect("a batch fits memory");
    let mut slots = vec![None; size];
    for (at, (conversation, _)) in scripts.iter().enumerate() {
        let slot = usize::try_from(conversation.index % BATCH).expect("less than a batch");
        assert!(slots[slot].replace(at).is_none(), "two conversations of a batch have one place");
    }
    slots
}

/// The scripted ones of some conversations.
pub fn scripts<'a>(conversations: &'a [Conversation]) -> Vec<(&'a Conversation, &'a [Round])> {
    let script = |told: &'a Conversation| match &told.talk {
        Talk::Script(rounds) => Some((told, rounds.as_slice())),
        Talk::Stream(_) => None,
    };
    conversations.iter().filter_map(script).collect()
}
