//! One scripted conversation while it runs: what is known of the other end, and what arrived.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddrV4,
};

use super::{
    conversation::{Conversation, Cut, Flow, Role, Round, Send},
    frame::{self, Known, Map, Parties},
    sight::{Names, Place, Sight},
};
use crate::packet::{Frame, Mac, PROTOCOL_ICMP, ParseError, reassemble};

/// Packets of a conversation, at most: the IP identification has room for their numbers and for those of the conversations
/// of a batch.
pub const NUMBERS: u16 = 32;
/// Conversations that run side by side, each with identifications of its own.
pub const BATCH: u64 = SLOTS as u64;
const SLOTS: u16 = 1000;
/// Kernels write zero into packets that must not be fragmented.
const FIRST_ID: u16 = 1024;
/// Packets of which a fragment is missing have identifications above those of all others. Gateways wait for the missing one
/// for half a minute: if another packet had the same identification meanwhile, they would take its fragments for that.
const FIRST_INCOMPLETE_ID: u16 = FIRST_ID + SLOTS * NUMBERS;
/// So many conversations later they are used again; a multiple of the batch, so that they tell the place in it.
const INCOMPLETE_IDS: u64 = 32 * BATCH;
/// In records, what identifies such a packet.
const INCOMPLETE: u16 = NUMBERS;
/// More-fragments bit and offset, and the offset alone (RFC 791 section 3.1).
const FRAGMENT: u16 = 0x3fff;
const OFFSET: u16 = 0x1fff;
/// Length of an Ethernet header; the lab has no tags.
const ETHERNET: usize = 14;

/// A conversation's first identification.
pub fn first_id(index: u64) -> u16 {
    FIRST_ID + u16::try_from(index % BATCH).expect("less than a batch") * NUMBERS
}

/// The identification of a conversation's packet of which a fragment is missing; there is one at most.
pub fn incomplete_id(index: u64) -> u16 {
    FIRST_INCOMPLETE_ID + u16::try_from(index % INCOMPLETE_IDS).expect("less than there are")
}

/// The place in its batch of the conversation that has an identification.
fn slot(id: u16) -> Option<usize> {
    match id.checked_sub(FIRST_INCOMPLETE_ID) {
        Some(number) => usize::try_from(u64::from(number) % BATCH).ok(),
        None => Some(usize::from(id.checked_sub(FIRST_ID)? / NUMBERS)),
    }
}

/// The place in its batch of the conversation that a frame belongs to.
///
/// Errors are known by the packet that they quote, pings by their data, and all else by its identification: gateways give
/// packets that they write themselves any identification.
pub fn owner(frame: &[u8]) -> Option<usize> {
    let ip = frame.get(ETHERNET..)?;
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let word = |at: usize| Some(u16::from_be_bytes(*ip.get(at..)?.first_chunk()?));
    if ip.get(9) != Some(&PROTOCOL_ICMP) || is_fragment(frame) {
        return slot(word(4)?);
    }
    match ip.get(header)? {
        3 | 4 | 5 | 11 | 12 => slot(word(header + 8 + 4)?),
        0 | 8 => {
            let index = u32::from_be_bytes(*ip.get(header + 8..)?.first_chunk()?);
            usize::try_from(u64::from(index) % BATCH).ok()
        }
        _ => slot(word(4)?),
    }
}

/// A conversation on its way through one of the labs.
#[derive(Debug)]
pub struct Running<'a> {
    parties: Parties<'a>,
    rounds: &'a [Round],
    index: u64,
    /// What was sent by now: identification, who sent it, and of which flow it is.
    sent: Vec<(u16, Role, Flow)>,
    /// Clients as the server sees them.
    clients: HashMap<Flow, SocketAddrV4>,
    /// The IP packets that arrived last.
    latest: HashMap<(Place, Flow), Vec<u8>>,
    arrived: BTreeMap<(usize, Place), Vec<Vec<u8>>>,
    names: Names,
}

impl<'a> Running<'a> {
    /// Nothing was sent yet.
    pub fn new(map: &'a Map, conversation: &'a Conversation, rounds: &'a [Round]) -> Self {
        let parties = Parties::of(map, conversation);
        let index = conversation.index;
        Self {
            parties,
            rounds,
            index,
            sent: Vec::new(),
            clients: HashMap::new(),
            latest: HashMap::new(),
            arrived: BTreeMap::new(),
            names: Names::new(first_id(index), (incomplete_id(index), INCOMPLETE)),
        }
    }

    /// The frames of a round in the order in which they are sent, each with its wire.
    pub fn round(&mut self, number: usize, macs: impl Fn(Place) -> (Mac, Mac)) -> Vec<(Place, Vec<u8>)> {
        let mut all = Vec::new();
        for send in self.rounds.get(number).map_or(&[][..], Vec::as_slice) {
            let id = self.next_id(send);
            self.sent.push((id, send.from, send.flow));
            let place = self.parties.origin(send);
            let known = Known {
                client: self.clients.get(&send.flow).copied(),
                arrived: self.latest.get(&(place, send.flow)).map(Vec::as_slice),
            };
            let frames = frame::frames(&self.parties, send, id, known, macs(place));
            all.extend(frames.into_iter().map(|frame| (place, frame)));
        }
        all
    }

    fn next_id(&self, send: &Send) -> u16 {
        if send.cut.is_some_and(Cut::is_incomplete) {
            return incomplete_id(self.index);
        }
        first_id(self.index) + u16::try_from(self.sent.len()).expect("scripts are short")
    }

    /// A frame of this conversation arrived.
    pub fn arrived(&mut self, round: usize, place: Place, frame: Vec<u8>) {
        self.learn(place, &frame);
        self.arrived.entry((round, place)).or_default().push(frame);
    }

    /// Has a first part arrived in this round whose others, which were all sent, have not?
    pub fn lacks_parts(&self, round: usize) -> bool {
        self.arrived.iter().filter(|((arrived, _), _)| *arrived == round).any(|(_, frames)| {
            whole(frames)
                .iter()
                .flatten()
                .filter_map(Frame::ipv4)
                .any(|ip| ip.more_fragments && ip.fragment_offset == 0 && ip.id != incomplete_id(self.index))
        })
    }

    /// Which socket the server answers, and what an error may be about.
    fn learn(&mut self, place: Place, frame: &[u8]) -> Option<()> {
        let ip = frame.get(ETHERNET..)?;
        let id = u16::from_be_bytes(*ip.get(4..)?.first_chunk()?);
        let (_, role, flow) = *self.sent.iter().find(|(sent, ..)| *sent == id)?;
        let header = usize::from(ip.first()? & 0x0f) * 4;
        let offset = u16::from_be_bytes(*ip.get(6..)?.first_chunk()?) & OFFSET;
        let kind = (ip.get(9) == Some(&PROTOCOL_ICMP)).then(|| ip.get(header)).flatten();
        if offset != 0 || kind.is_some_and(|kind| !matches!(kind, 0 | 8)) {
            return None;
        }
        // A ping's identifier stands where no port does.
        let at = header + if kind.is_some() { 4 } else { 0 };
        let port = u16::from_be_bytes(*ip.get(at..)?.first_chunk()?);
        if role == Role::Client && place == self.parties.place(Role::Server) {
            let shown = SocketAddrV4::new(frame::address(ip, 12)?, port);
            if self.clients.insert(flow, shown).is_none() {
                self.names.bind(shown, self.parties.client(flow).port());
            }
        }
        self.latest.insert((place, flow), ip.to_vec());
        Some(())
    }

    /// All that was seen, in order.
    pub fn sights(self) -> Vec<Sight> {
        let mut sights = Vec::new();
        for ((round, place), frames) in self.arrived {
            for frame in whole(&frames) {
                let seen = self.names.frame(&frame);
                sights.extend(seen.map(|seen| Sight { round, place, seen }));
            }
        }
        sights
    }
}

/// Puts fragments together where all of a packet arrived; the packet takes the place of its first fragment. One that came
/// twice counts once, as for every end (RFC 791 section 3.2).
fn whole(frames: &[Vec<u8>]) -> Vec<Result<Frame, ParseError>> {
    let is_again = |at: usize| is_fragment(&frames[at]) && frames[..at].contains(&frames[at]);
    let once = (0..frames.len()).filter(|at| !is_again(*at));
    let mut parsed: Vec<_> = once.map(|at| Frame::parse(&frames[at])).collect();
    while let Some(group) = complete_group(&parsed) {
        let fragments: Vec<Frame> = group.iter().filter_map(|at| parsed[*at].clone().ok()).collect();
        parsed[group[0]] = reassemble(&fragments);
        for at in group[1..].iter().rev() {
            drop(parsed.remove(*at));
        }
    }
    parsed
}

fn is_fragment(frame: &[u8]) -> bool {
    let word = frame.get(ETHERNET + 6..).and_then(|rest| rest.first_chunk());
    word.is_some_and(|word| u16::from_be_bytes(*word) & FRAGMENT != 0)
}

/// Where the fragments of the first packet lie that is complete.
fn complete_group(frames: &[Result<Frame, ParseError>]) -> Option<Vec<usize>> {
    let key = |at: usize| {
        let ip = frames[at].as_ref().ok()?.ipv4()?;
        let is_fragment = ip.more_fragments || ip.fragment_offset != 0;
        is_fragment.then_some((ip.src, ip.dst, ip.protocol, ip.id))
    };
    (0..frames.len()).filter(|at| key(*at).is_some()).find_map(|first| {
        let group: Vec<usize> = (first..frames.len()).filter(|at| key(*at) == key(first)).collect();
        is_complete(&group, frames).then_some(group)
    })
}

/// One fragment behind the other without hole or overlap, up to the last.
fn is_complete(group: &[usize], frames: &[Result<Frame, ParseError>]) -> bool {
    let mut pieces: Vec<(usize, usize, bool)> = group.iter().filter_map(|at| piece(&frames[*at])).collect();
    pieces.sort_unstable();
    let end = pieces.iter().try_fold(0, |end, (offset, length, _)| (*offset == end).then_some(end + length));
    end.is_some() && pieces.last().is_some_and(|(.., more)| !more)
}

fn piece(frame: &Result<Frame, ParseError>) -> Option<(usize, usize, bool)> {
    let ip = frame.as_ref().ok()?.ipv4()?;
    let length = usize::from(ip.total_length) - 20 - ip.options.len();
    Some((usize::from(ip.fragment_offset), length, ip.more_fragments))
}

#[cfg(test)]
mod tests;
