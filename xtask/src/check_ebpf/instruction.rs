//! One BPF instruction: which registers it reads and writes, and where the program goes from it.
//!
//! Decoded from the bytes, not from the text beside them. Numbers: Linux `Documentation/bpf/standardization/
//! instruction-set.rst` (RFC 9669).

use std::ops::RangeInclusive;

/// The frame pointer.
pub const FRAME_POINTER: u8 = 10;

/// What a call may take arguments in.
pub const ARGUMENTS: RangeInclusive<u8> = 1..=5;

/// What a call leaves undefined, but for its result in r0.
const CLOBBERED: RangeInclusive<u8> = 0..=5;

/// The first eight bytes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    opcode: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register; of a call and a wide load its kind.
    pub src: u8,
    /// Of a jump in instructions, of an access in bytes.
    pub offset: i16,
    /// The constant.
    pub imm: i32,
}

/// The instruction's class: the lowest three bits of the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    LoadWide,
    Load,
    StoreConstant,
    Store,
    Arithmetic,
    Jump,
    Jump32,
}

/// What a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    /// A helper of the kernel's, by number.
    Helper(i32),
    /// A function of the object, relative to the next instruction unless a relocation says otherwise.
    Function(i32),
}

/// A read-modify-write operation on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Atomic {
    /// The register that gets the old value, if it is fetched.
    pub result: Option<u8>,
}

const IMMEDIATE_FETCHES: i32 = 0x01;
const IMMEDIATE_EXCHANGE: i32 = 0xe1;
const IMMEDIATE_COMPARE: i32 = 0xf1;

impl Instruction {
    /// Takes eight bytes apart as a little endian machine has them.
    pub const fn decode(bytes: [u8; 8]) -> Self {
        Self {
            opcode: bytes[0],
            dst: bytes[1] & 0x0f,
            src: bytes[1] >> 4,
            offset: i16::from_le_bytes([bytes[2], bytes[3]]),
            imm: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }

    const fn class(self) -> Class {
        match self.opcode & 0x07 {
            0 => Class::LoadWide,
            1 => Class::Load,
            2 => Class::StoreConstant,
            3 => Class::Store,
            5 => Class::Jump,
            6 => Class::Jump32,
            _ => Class::Arithmetic,
        }
    }

    const fn operation(self) -> u8 {
        self.opcode & 0xf0
    }

    const fn takes_register(self) -> bool {
        self.opcode & 0x08 != 0
    }

    /// How many places of eight bytes it takes: a 64-bit constant needs a second one.
    pub const fn width(self) -> usize {
        if self.opcode == 0x18 { 2 } else { 1 }
    }

    /// The call, if it is one.
    pub fn callee(self) -> Option<Callee> {
        let is_call = self.class() == Class::Jump && self.operation() == 0x80;
        is_call.then_some(if self.src == 0 { Callee::Helper(self.imm) } else { Callee::Function(self.imm) })
    }

    /// Does it load a function's address, to be called back?
    pub const fn loads_function(self) -> bool {
        self.opcode == 0x18 && self.src == 4
    }

    /// The operation on memory, if it is an atomic one.
    pub fn atomic(self) -> Option<Atomic> {
        let is_atomic = self.class() == Class::Store && self.opcode & 0xe0 == 0xc0;
        is_atomic.then_some(Atomic {
            result: match self.imm {
                IMMEDIATE_COMPARE => Some(0),
                IMMEDIATE_EXCHANGE => Some(self.src),
                imm if imm & IMMEDIATE_FETCHES != 0 => Some(self.src),
                _ => None,
            },
        })
    }

    /// Does it read `register`? What calls read is not known here.
    pub fn reads(self, register: u8) -> bool {
        let (dst, src) = (self.dst == register, self.src == register);
        let operand = self.takes_register() && src;
        match self.class() {
            Class::LoadWide => false,
            Class::Load => src,
            Class::StoreConstant => dst,
            Class::Store => dst || src || self.imm == IMMEDIATE_COMPARE && self.is_atomic() && register == 0,
            Class::Arithmetic if self.operation() == 0xb0 => operand,
            Class::Arithmetic if matches!(self.operation(), 0x80 | 0xd0) => dst,
            Class::Arithmetic => dst || operand,
            Class::Jump | Class::Jump32 => match self.operation() {
                0x00 | 0x80 => false,
                0x90 => register == 0,
                _ => dst || operand,
            },
        }
    }

    fn is_atomic(self) -> bool {
        self.atomic().is_some()
    }

    /// Does `register` hold something else after it?
    pub fn writes(self, register: u8) -> bool {
        match self.class() {
            Class::LoadWide | Class::Load | Class::Arithmetic => self.dst == register,
            Class::StoreConstant | Class::Jump32 => false,
            Class::Store => self.atomic().and_then(|atomic| atomic.result) == Some(register),
            Class::Jump => self.callee().is_some() && CLOBBERED.contains(&register),
        }
    }

    /// Where the program may go from it, standing at `index`.
    pub fn successors(self, index: usize) -> Vec<usize> {
        let next = index + self.width();
        if !matches!(self.class(), Class::Jump | Class::Jump32) || self.callee().is_some() {
            return vec![next];
        }
        let target =
            |distance: i64| next.checked_add_signed(isize::try_from(distance).unwrap_or(0)).unwrap_or(next);
        match (self.class(), self.operation()) {
            (_, 0x90) => vec![],
            (Class::Jump32, 0x00) => vec![target(self.imm.into())],
            (_, 0x00) => vec![target(self.offset.into())],
            _ => vec![next, target(self.offset.into())],
        }
    }

    /// The register and offset that memory is accessed by.
    pub fn accesses(self) -> Option<(u8, i16)> {
        match self.class() {
            Class::Load => Some((self.src, self.offset)),
            Class::StoreConstant | Class::Store => Some((self.dst, self.offset)),
            _ => None,
        }
    }

    /// `dst = src`, all 64 bits.
    pub const fn is_copy(self) -> bool {
        self.opcode == 0xbf && self.offset == 0
    }

    /// What a 64-bit addition or subtraction of a constant adds.
    pub fn adds(self) -> Option<i64> {
        match self.opcode {
            0x07 => Some(self.imm.into()),
            0x17 => Some(-i64::from(self.imm)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `0xdb01…`, most significant byte first, as in the listing.
    fn decoded(bytes: u64) -> Instruction {
        Instruction::decode(bytes.to_be_bytes())
    }

    fn touched(of: impl Fn(u8) -> bool) -> Vec<u8> {
        (0..=FRAME_POINTER).filter(|register| of(*register)).collect()
    }

    #[test]
    fn registers_of_each_class() {
        for (text, bytes, reads, writes) in [
            ("r6 = r4", 0xbf46_0000_0000_0000, vec![4], vec![6]),
            ("w7 = 1", 0xb407_0000_0100_0000, vec![], vec![7]),
            ("r8 += -0x40", 0x0708_0000_c0ff_ffff, vec![8], vec![8]),
            ("w1 |= w2", 0x4c21_0000_0000_0000, vec![1, 2], vec![1]),
            ("r1 = be16 r1", 0xdc01_0000_1000_0000, vec![1], vec![1]),
            ("w1 = *(u8 *)(r9 + 0xe)", 0x7191_0e00_0000_0000, vec![9], vec![1]),
            ("*(u64 *)(r10 - 0x48) = r1", 0x7b1a_b8ff_0000_0000, vec![1, 10], vec![]),
            ("r8 = 0xffff00000000 ll", 0x1808_0000_0000_0000, vec![], vec![8]),
            ("if w0 > 0x8 goto +0x4", 0x2600_0400_0800_0000, vec![0], vec![]),
            ("if r1 == r2 goto +0x4", 0x1d21_0400_0000_0000, vec![1, 2], vec![]),
            ("goto +0x4", 0x0500_0400_0000_0000, vec![], vec![]),
            ("call 0x45", 0x8500_0000_4500_0000, vec![], vec![0, 1, 2, 3, 4, 5]),
            ("exit", 0x9500_0000_0000_0000, vec![0], vec![]),
            ("lock *(u64 *)(r1 + 0x0) += r3", 0xdb31_0000_0000_0000, vec![1, 3], vec![]),
            ("r3 = atomic_fetch_or((u64 *)(r1 + 0x0), r3)", 0xdb31_0000_4100_0000, vec![1, 3], vec![3]),
            ("r0 = cmpxchg_64(r1 + 0x0, r0, r3)", 0xdb31_0000_f100_0000, vec![0, 1, 3], vec![0]),
        ] {
            let instruction = decoded(bytes);
            assert_eq!(touched(|register| instruction.reads(register)), reads, "{text} reads");
            assert_eq!(touched(|register| instruction.writes(register)), writes, "{text} writes");
        }
    }

    #[test]
    fn where_it_goes() {
        assert_eq!(decoded(0xbf46_0000_0000_0000).successors(7), [8]);
        assert_eq!(decoded(0x1808_0000_0000_0000).successors(7), [9], "a wide load takes two places");
        assert_eq!(decoded(0x2600_0400_0800_0000).successors(7), [8, 12]);
        assert_eq!(decoded(0x0500_feff_0000_0000).successors(7), [6], "backwards");
        assert_eq!(decoded(0x0600_0000_0400_0000).successors(7), [12], "far");
        assert_eq!(decoded(0x8500_0000_4500_0000).successors(7), [8]);
        assert_eq!(decoded(0x9500_0000_0000_0000).successors(7), [0; 0]);
    }

    #[test]
    fn calls_and_atomics() {
        assert_eq!(decoded(0x8500_0000_4500_0000).callee(), Some(Callee::Helper(0x45)));
        assert_eq!(decoded(0x8510_0000_caff_ffff).callee(), Some(Callee::Function(-0x36)));
        assert_eq!(decoded(0x9500_0000_0000_0000).callee(), None);
        assert_eq!(decoded(0xdb31_0000_0000_0000).atomic(), Some(Atomic { result: None }));
        assert_eq!(decoded(0xc331_0000_0100_0000).atomic(), Some(Atomic { result: Some(3) }));
        assert_eq!(decoded(0xdb31_0000_e100_0000).atomic(), Some(Atomic { result: Some(3) }));
        assert_eq!(decoded(0x7b1a_b8ff_0000_0000).atomic(), None, "a plain store");
    }
}
