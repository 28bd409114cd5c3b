//! A TCP connection as a script: keeps the sequence numbers of both ends.

use crate::{
    differential::conversation::{Flow, Role, Round, Send, What},
    packet::TcpFlags,
};

pub const SYN: TcpFlags = TcpFlags::SYN;
pub const ACK: TcpFlags = TcpFlags::ACK;
pub const FIN: TcpFlags = TcpFlags::FIN;
pub const RST: TcpFlags = TcpFlags::RST;
pub const PSH: TcpFlags = TcpFlags::PSH;

/// Both ends' next sequence numbers, and what was said.
pub struct Dialogue {
    pub rounds: Vec<Round>,
    flow: Flow,
    client: u32,
    server: u32,
}

impl Dialogue {
    /// Nothing was said yet.
    pub fn new(flow: Flow, (client, server): (u32, u32)) -> Self {
        Self { rounds: Vec::new(), flow, client, server }
    }

    /// What was said stays, but numbers begin anew.
    #[must_use]
    pub fn renumbered(mut self, (client, server): (u32, u32)) -> Self {
        (self.client, self.server) = (client, server);
        self
    }

    /// The three packets that open a connection.
    #[must_use]
    pub fn opened(mut self) -> Self {
        self.say(Role::Client, SYN, 0);
        self.say(Role::Server, SYN | ACK, 0);
        self.say(Role::Client, ACK, 0);
        self
    }

    /// The next segment of an end, and its numbers go on.
    pub fn say(&mut self, from: Role, flags: TcpFlags, length: usize) {
        let segment = self.segment(from, flags, 0, length);
        let taken = u32::try_from(length).expect("a packet's length")
            + u32::from(flags.contains(SYN))
            + u32::from(flags.contains(FIN));
        let own = if from == Role::Client { &mut self.client } else { &mut self.server };
        *own = own.wrapping_add(taken);
        self.rounds.push(vec![segment]);
    }

    /// A segment whose sequence number is off by so much, and that changes nothing about the dialogue's own.
    pub fn interject(&mut self, from: Role, flags: TcpFlags, offset: u32, length: usize) {
        let segment = self.segment(from, flags, offset, length);
        self.rounds.push(vec![segment]);
    }

    /// What was said last, once more.
    pub fn repeat(&mut self) {
        let last = self.rounds.last().expect("something was said").clone();
        self.rounds.push(last);
    }

    /// Both ends close, in turn.
    pub fn close(&mut self, first: Role, second: Role) {
        self.say(first, FIN | ACK, 0);
        self.say(second, FIN | ACK, 0);
        self.say(first, ACK, 0);
    }

    /// The next segment of an end, which is not yet said.
    pub fn segment(&self, from: Role, flags: TcpFlags, offset: u32, length: usize) -> Send {
        let (own, other) = match from {
            Role::Client => (self.client, self.server),
            _ => (self.server, self.client),
        };
        let ack = if flags.contains(ACK) { other } else { 0 };
        let what = What::Tcp { flags, seq: own.wrapping_add(offset), ack, length };
        Send::new(from, what).of(self.flow)
    }
}
