//! Bytes to instructions.

/// One instruction as it stands in an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record(pub [u8; 8]);

/// What an instruction is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The first packet of a flow that is allowed.
    Open,
    /// A packet of a flow that was opened, from either end.
    Follow,
    /// A packet between any two ends that mean something.
    Stray,
    /// What the next packet suffers.
    Damage,
    /// Time goes on.
    Wait,
    /// One flow is looked at for expiry.
    Expire,
    /// The daemon ends a flow.
    End,
    /// The configuration, or the routing table, changes.
    Policy,
    /// A question for a link address.
    Arp,
    /// An ICMP error that quotes a flow.
    IcmpError,
    /// A datagram of a flow in fragments.
    Train,
    /// What a client's stack says to a challenge.
    Answer,
    /// Many first packets at once.
    Flood,
}

impl Op {
    /// Each once.
    pub const ALL: [Self; 13] = [
        Self::Open,
        Self::Follow,
        Self::Stray,
        Self::Damage,
        Self::Wait,
        Self::Expire,
        Self::End,
        Self::Policy,
        Self::Arp,
        Self::IcmpError,
        Self::Train,
        Self::Answer,
        Self::Flood,
    ];
}

/// What the target `icmp_quote` is made of.
pub const ICMP_QUOTE: [Op; 10] = [
    Op::Open,
    Op::Follow,
    Op::IcmpError,
    Op::IcmpError,
    Op::IcmpError,
    Op::IcmpError,
    Op::Damage,
    Op::Damage,
    Op::Wait,
    Op::Policy,
];

/// What the target `fragments` is made of.
pub const FRAGMENTS: [Op; 10] = [
    Op::Open,
    Op::Follow,
    Op::Train,
    Op::Train,
    Op::Train,
    Op::Train,
    Op::Damage,
    Op::Wait,
    Op::Wait,
    Op::Policy,
];

/// An instruction with its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    pub op: Op,
    pub arguments: [u8; 7],
}

impl Instruction {
    pub fn decode(Record([op, arguments @ ..]): Record, palette: &[Op]) -> Self {
        Self { op: palette[usize::from(op) % palette.len()], arguments }
    }
}

impl Record {
    /// The instruction of this kind in a target's language; arguments that are not given are zero.
    pub fn new(palette: &[Op], op: Op, arguments: &[u8]) -> Self {
        let number = palette.iter().position(|other| *other == op).expect("the target has this instruction");
        let mut record = [0; 8];
        record[0] = u8::try_from(number).expect("few instructions");
        record[1..=arguments.len()].copy_from_slice(arguments);
        Self(record)
    }
}
