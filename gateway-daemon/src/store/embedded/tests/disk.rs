//! A disk in memory that records what is done to it, and fails when it is told to.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// One thing that was done to the disk.
#[derive(Clone, Debug)]
pub enum Op {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
    Sync,
}

/// When the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Never.
    None,
    /// After this many more operations, for one operation.
    Once(usize),
    /// After this many more operations, until told otherwise.
    From(usize),
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    done: Vec<Op>,
    fault: Fault,
    kind: ErrorKind,
    failed: usize,
}

/// A disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub fn new(bytes: Vec<u8>) -> Self {
        let state = State { bytes, done: Vec::new(), fault: Fault::None, kind: ErrorKind::Other, failed: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// Everything that was done so far.
    pub fn done(&self) -> Vec<Op> {
        self.state().done.clone()
    }

    /// How much was done so far.
    pub fn count(&self) -> usize {
        self.state().done.len()
    }

    pub fn fail(&self, fault: Fault, kind: ErrorKind) {
        let mut state = self.state();
        (state.fault, state.kind, state.failed) = (fault, kind, 0);
    }

    /// How many operations failed since the last [`Self::fail`].
    pub fn failed(&self) -> usize {
        self.state().failed
    }

    fn apply(&self, op: Op) -> io::Result<()> {
        let mut state = self.state();
        state.meet_fault(&op)?;
        apply(&mut state.bytes, &op);
        state.done.push(op);
        Ok(())
    }
}

impl State {
    fn meet_fault(&mut self, op: &Op) -> io::Result<()> {
        // A full disk still syncs what it has.
        if self.kind == ErrorKind::StorageFull && matches!(op, Op::Sync) {
            return Ok(());
        }
        let (fails, next) = match self.fault {
            Fault::None => (false, Fault::None),
            Fault::Once(0) => (true, Fault::None),
            Fault::Once(n) => (false, Fault::Once(n - 1)),
            Fault::From(0) => (true, Fault::From(0)),
            Fault::From(n) => (false, Fault::From(n - 1)),
        };
        self.fault = next;
        self.failed += usize::from(fails);
        if fails { Err(self.kind.into()) } else { Ok(()) }
    }
}

/// Does to an image what was done to the disk.
pub fn apply(image: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write { at, bytes } => {
            let end = at + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*at..end].copy_from_slice(bytes);
        }
        Op::Length(length) => image.resize(*length, 0),
        Op::Sync => {}
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let from = state.bytes.get(index(offset)..index(offset) + out.len());
        out.copy_from_slice(from.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.apply(Op::Length(index(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.apply(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.apply(Op::Write { at: index(offset), bytes: data.to_vec() })
    }
}
