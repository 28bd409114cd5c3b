//! What the programs tell that take the place of others while somebody watches. They do the same, and tell the truth about it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::replace;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use gateway_common::abi::{self, TapKind, TenantId};
use gateway_common::drop_reason::DropReason;
use gateway_common::limits::TAP_FRAME_MAX;
use gateway_daemon::datapath::tap::{self, Record, Tap};

/// Whose packets are captured.
const CAPTURED: TenantId = TenantId(1);
/// Different reasons that drops are told with: those of every stage that the cases come to.
const REASONS_AT_LEAST: usize = 10;

/// Somebody who watches everything that can be watched at once.
pub struct Watcher {
    ring: RingBuf<MapData>,
    /// The kernel empties the tables of programs when nobody holds them.
    tap: Tap,
    frames: usize,
    drops: usize,
    flows: usize,
    /// Reasons that were told.
    reasons: BTreeSet<u8>,
    /// Drops that the data path has counted.
    counted: BTreeMap<DropReason, u64>,
    /// Drops that it has left out.
    left_out: u64,
}

impl Watcher {
    /// Loads the programs that tell, and puts them in their places.
    pub fn new(ebpf: &mut Ebpf, kind: tap::Kind) -> Self {
        let mut tap = Tap::take(ebpf).expect("the object has its maps");
        let snap_len = u32::try_from(TAP_FRAME_MAX).expect("a frame's length");
        let capture_until_ns = u64::MAX;
        tap.set(abi::Tap { capture_until_ns, snap_len, capture_tenant: CAPTURED, events: 1, pad: 0 })
            .expect("the map is writable");
        for (index, name) in (0..).zip(kind.programs()) {
            let program = kind.load(ebpf, &name).expect("the kernel accepts it");
            tap.put(kind, index, &program).expect("there is a place for it");
        }
        let ring = tap.open_ring().expect("nobody else reads it");
        let (reasons, counted) = (BTreeSet::new(), BTreeMap::new());
        Self { ring, tap, frames: 0, drops: 0, flows: 0, reasons, counted, left_out: 0 }
    }

    /// Reads what was told of a packet: nothing but the truth. `counted` are all drops so far.
    pub fn check(&mut self, before: &[u8], after: &[u8], counted: Vec<(DropReason, u64)>) {
        let mut told = Vec::new();
        while let Some(record) = self.ring.next() {
            match Record::read(&record).expect("a record of this version") {
                Record::Flow(_) => self.flows += 1,
                Record::Packet(head, bytes) => match head.kind() {
                    Some(TapKind::Dropped) => {
                        assert!(before.starts_with(&bytes), "{head:?}");
                        told.push(head.why);
                    }
                    kind => {
                        assert_eq!(bytes, if kind == Some(TapKind::After) { after } else { before });
                        assert_eq!(head.tenant, CAPTURED);
                        self.frames += 1;
                    }
                },
            }
        }
        self.check_drops(&told, counted);
    }

    /// Every drop that was counted is told with its reason, or counted as left out.
    fn check_drops(&mut self, told: &[u8], counted: Vec<(DropReason, u64)>) {
        let before = replace(&mut self.counted, counted.into_iter().collect());
        let is_new = |(reason, packets): &(&DropReason, &u64)| before.get(reason) != Some(packets);
        let dropped: Vec<u8> = self.counted.iter().filter(is_new).map(|(reason, _)| *reason as u8).collect();
        let left_out = self.tap.missed().expect("the map is readable").drops;
        let is_left_out = replace(&mut self.left_out, left_out) != left_out;
        assert!(told == dropped || (told.is_empty() && is_left_out), "{dropped:?} counted, {told:?} told");
        self.drops += told.len();
        self.reasons.extend(told);
    }
}

impl Drop for Watcher {
    /// Programs that are never run would agree about everything.
    fn drop(&mut self) {
        let told = [self.frames, self.drops, self.flows];
        if !std::thread::panicking() {
            println!("{told:?} frames, drops and flows told, for {} reasons", self.reasons.len());
            assert!(told.iter().all(|records| *records >= 100), "frames, drops and flows: {told:?}");
            assert!(self.reasons.len() >= REASONS_AT_LEAST, "{:?}", self.reasons);
        }
    }
}
