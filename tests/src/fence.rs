//! Proof that everything sent over a veth before now has arrived, without waiting "long enough".
//!
//! A veth hands frames over in a per-CPU backlog or, with GRO or XDP, in one ring a queue (the lab's veths
//! have one, see [`crate::topology::Builder::queues`]); both are first in, first out. So one marker frame
//! sent from each CPU arrives after all that was sent before it. Markers have `EtherType` 0x88b5 (IEEE local
//! experimental); the gateway's programs must pass what is not IPv4 or ARP, else [`Fence::cross`] panics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::netns::Namespace;
use crate::packet::Mac;
use crate::raw::{Direction, RawSocket};

/// IEEE 802 local experimental `EtherType` 1.
const MARKER_ETHERTYPE: u16 = 0x88b5;
/// Begins the payload of a marker.
const MAGIC: &[u8; 8] = b"gwlfence";
/// A marker takes microseconds; a busy machine may take its time to schedule.
const LIMIT: Duration = Duration::from_secs(10);

/// Numbers the crossings, so that no marker is taken for another's.
static NEXT_CROSSING: AtomicU64 = AtomicU64::new(0);

/// The two ends of one direction of a veth.
#[derive(Debug)]
pub struct Fence {
    sender: RawSocket,
    receiver: RawSocket,
}

impl Fence {
    /// From one end to the other; each is a namespace and the veth's name in it.
    pub fn between(from: (&Namespace, &str), to: (&Namespace, &str)) -> Self {
        Self {
            sender: RawSocket::open_for(from.0, from.1, MARKER_ETHERTYPE),
            receiver: RawSocket::open_for(to.0, to.1, MARKER_ETHERTYPE),
        }
    }

    /// Returns when all that was sent in this direction has been received. Panics when the markers do not
    /// arrive.
    #[track_caller]
    pub fn cross(&self) {
        self.cross_within(LIMIT);
    }

    /// The same with another limit.
    #[track_caller]
    pub fn cross_within(&self, limit: Duration) {
        let crossing = NEXT_CROSSING.fetch_add(1, Ordering::Relaxed);
        let mut missing = usable_cpus();
        self.send_from_each(&missing, crossing);
        let deadline = Instant::now() + limit;
        while !missing.is_empty() {
            assert!(
                self.receiver.wait_readable(deadline),
                "markers from CPUs {missing:?} did not cross the veth: is a frame with EtherType 0x88b5 dropped on the way?"
            );
            if let Some((_, cpu)) = self.received_marker().filter(|(number, _)| *number == crossing) {
                missing.retain(|waiting| *waiting != cpu);
            }
        }
    }

    /// Threads pinned to each CPU: a thread runs there only when the network work that CPU had begun is done.
    fn send_from_each(&self, cpus: &[usize], crossing: u64) {
        thread::scope(|scope| {
            for &cpu in cpus {
                scope.spawn(move || {
                    pin_this_thread(cpu);
                    self.sender.send(&marker(crossing, cpu));
                });
            }
        });
    }

    fn received_marker(&self) -> Option<(u64, usize)> {
        let received = self.receiver.try_receive()?;
        (received.direction == Direction::In).then_some(())?;
        let numbers = received.bytes.get(14..)?.strip_prefix(MAGIC)?;
        let (crossing, cpu) = (numbers.first_chunk::<8>()?, numbers.get(8..16)?.first_chunk::<8>()?);
        Some((u64::from_be_bytes(*crossing), usize::from_be_bytes(*cpu)))
    }
}

/// True for the frames that fences send, which are not part of any test.
pub fn is_marker(frame: &[u8]) -> bool {
    frame.get(12..22).is_some_and(|rest| rest[..2] == MARKER_ETHERTYPE.to_be_bytes() && &rest[2..] == MAGIC)
}

/// Padded to Ethernet's least length of 60 bytes.
fn marker(crossing: u64, cpu: usize) -> Vec<u8> {
    let mut frame = [Mac::BROADCAST.0, Mac::local(0).0].concat();
    frame.extend(MARKER_ETHERTYPE.to_be_bytes());
    frame.extend(MAGIC);
    frame.extend(crossing.to_be_bytes());
    frame.extend(cpu.to_be_bytes());
    frame.resize(60, 0);
    frame
}

fn usable_cpus() -> Vec<usize> {
    let usable = sched_getaffinity(Pid::from_raw(0)).expect("own affinity is readable");
    (0..CpuSet::count()).filter(|cpu| usable.is_set(*cpu).unwrap_or(false)).collect()
}

fn pin_this_thread(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu).expect("the number came from a set");
    sched_setaffinity(Pid::from_raw(0), &only).unwrap_or_else(|error| panic!("pin to CPU {cpu}: {error}"));
}
