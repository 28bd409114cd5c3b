//! Watching the data path: what it is to tell, the programs that tell it, and the ring buffer with what they told.
//!
//! While nobody watches, those programs are not even loaded. None of this is pinned: when the daemon ends, however it
//! does, the kernel empties the tables of programs, and the data path goes on as if nobody had ever watched.

pub mod headers;

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Array, Map, MapData, PerCpuArray, ProgramArray, RingBuf},
    programs::{Program, ProgramFd},
};
use gateway_common::{
    abi::{self, TapCounts, TapFlow, TapFrame, TapHead, TapKind},
    names,
};

use super::{
    hook::Hook,
    programs::{load_tc, load_xdp},
};

/// The maps of the tap.
pub struct Tap {
    settings: Array<MapData, abi::Tap>,
    counts: PerCpuArray<MapData, TapCounts>,
    places_xdp: ProgramArray<MapData>,
    places_tc: ProgramArray<MapData>,
    ring: MapData,
}

/// The two kinds of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// XDP, native and generic.
    Xdp,
    /// TC.
    Tc,
}

impl From<Hook> for Kind {
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::XdpNative | Hook::XdpGeneric => Self::Xdp,
            Hook::Tc | Hook::TcFilter => Self::Tc,
        }
    }
}

impl Kind {
    /// The names of the programs that tell, in the order of their places.
    pub fn programs(self) -> Vec<String> {
        let (entries, stages) = match self {
            Self::Xdp => ([names::XDP_EXTERNAL, names::XDP_INTERNAL], names::STAGE_PROGRAMS_XDP),
            Self::Tc => ([names::TC_EXTERNAL, names::TC_INTERNAL], names::STAGE_PROGRAMS_TC),
        };
        entries.iter().chain(&stages).map(|name| format!("{}{name}", names::TAPPED)).collect()
    }

    /// Loads one of them.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn load(self, ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd> {
        let fd = match self {
            Self::Xdp => load_xdp(ebpf, name)?.fd()?.try_clone()?,
            Self::Tc => load_tc(ebpf, name)?.fd()?.try_clone()?,
        };
        Ok(fd)
    }
}

/// Unloads a program, so that the kernel's memory for it is free; one that is not loaded is left alone.
pub fn unload(ebpf: &mut Ebpf, name: &str) {
    // The only error is that it is not loaded.
    let _done = match ebpf.program_mut(name) {
        Some(Program::Xdp(program)) => program.unload(),
        Some(Program::SchedClassifier(program)) => program.unload(),
        _ => Ok(()),
    };
}

impl Tap {
    /// Takes the maps from the loaded object.
    ///
    /// # Errors
    ///
    /// When one is missing.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let Map::RingBuf(ring) = take(ebpf, names::TAP_RING)? else {
            bail!("{} is no ring buffer", names::TAP_RING)
        };
        Ok(Self {
            settings: take(ebpf, names::TAP)?.try_into()?,
            counts: take(ebpf, names::TAP_COUNTS)?.try_into()?,
            places_xdp: take(ebpf, names::TAPS_XDP)?.try_into()?,
            places_tc: take(ebpf, names::TAPS_TC)?.try_into()?,
            ring,
        })
    }

    /// The ring buffer with the records, for the one who reads it: two at a time would read everything twice. While it is
    /// open it counts twice its size as the daemon's memory, so nobody keeps it who does not read.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open_ring(&self) -> Result<RingBuf<MapData>> {
        let open = || -> Result<_> {
            let ring = self.ring.fd().as_fd().try_clone_to_owned()?;
            Ok(Map::RingBuf(MapData::from_fd(ring)?).try_into()?)
        };
        open().context("cannot read what the data path tells")
    }

    /// Says what is to be told.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set(&mut self, what: abi::Tap) -> Result<()> {
        self.settings.set(0, what, 0).context("cannot write what is watched")
    }

    /// Puts a loaded program in its place.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn put(&mut self, kind: Kind, index: u32, program: &ProgramFd) -> Result<()> {
        self.places(kind).set(index, program, 0).context("cannot put a program that watches in its place")
    }

    /// Empties all places; those that are empty are left alone.
    pub fn clear(&mut self, kind: Kind) {
        for index in 0..gateway_common::forward::Stage::TAP_INDICES {
            let _was_empty = self.places(kind).clear_index(&index);
        }
    }

    const fn places(&mut self, kind: Kind) -> &mut ProgramArray<MapData> {
        match kind {
            Kind::Xdp => &mut self.places_xdp,
            Kind::Tc => &mut self.places_tc,
        }
    }

    /// What was left out and lost since the start, over all CPUs.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn missed(&self) -> Result<Missed> {
        let counts = self.counts.get(&0, 0).context("cannot read what was left out")?;
        Ok(counts.iter().fold(Missed::default(), Missed::plus))
    }
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    match ebpf.take_map(name) {
        Some(map) => Ok(map),
        None => bail!("the eBPF object has no map {name}"),
    }
}

/// What was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Drops left out, since there were too many in their second.
    pub drops: u64,
    /// Flows left out.
    pub flows: u64,
    /// Reports that the ring buffer had no room for.
    pub events: u64,
    /// Captured packets that it had no room for.
    pub frames: u64,
}

impl Missed {
    fn plus(self, one: &TapCounts) -> Self {
        Self {
            drops: self.drops + one.drops_left_out,
            flows: self.flows + one.flows_left_out,
            events: self.events + one.events_lost,
            frames: self.frames + one.frames_lost,
        }
    }

    /// What was missed since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            drops: self.drops.wrapping_sub(before.drops),
            flows: self.flows.wrapping_sub(before.flows),
            events: self.events.wrapping_sub(before.events),
            frames: self.frames.wrapping_sub(before.frames),
        }
    }
}

/// A record of the ring buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A flow began or ended.
    Flow(TapFlow),
    /// A packet: its head, and the frame as far as it was copied.
    Packet(TapHead, Vec<u8>),
}

impl Record {
    /// From its bytes; `None` when they are none of this version.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: TapHead = bytemuck::try_pod_read_unaligned(bytes.get(..size_of::<TapHead>())?).ok()?;
        match head.kind()? {
            TapKind::Opened | TapKind::Ended => {
                let flow = bytes.get(..size_of::<TapFlow>())?;
                Some(Self::Flow(bytemuck::try_pod_read_unaligned(flow).ok()?))
            }
            TapKind::Dropped | TapKind::Before | TapKind::After => {
                let frame = bytes.get(std::mem::offset_of!(TapFrame, bytes)..)?;
                let frame = &frame[..frame.len().min(usize::from(head.captured))];
                Some(Self::Packet(head, headers::with_tag(frame, head.vlan_tag)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_common::abi::{Side, TapFate};

    use super::*;

    #[test]
    fn a_record_is_as_long_as_its_frame_and_no_longer() {
        let mut head = TapHead::new(7, Side::Internal).about(TapKind::Before, TapFate::Sent);
        head.captured = 3;
        // The ring buffer rounds records up: what lies behind is somebody else's.
        let bytes = [bytemuck::bytes_of(&head), &[1, 2, 3, 9, 9]].concat();
        assert_eq!(Record::read(&bytes), Some(Record::Packet(head, vec![1, 2, 3])));
        assert_eq!(Record::read(&bytes[..34]), Some(Record::Packet(head, vec![1, 2])));
    }

    #[test]
    fn what_is_no_record_is_none() {
        let mut head = TapHead::new(7, Side::Internal);
        assert_eq!(Record::read(bytemuck::bytes_of(&head)), None, "of no kind");
        head = head.about(TapKind::Opened, TapFate::Sent);
        assert_eq!(Record::read(bytemuck::bytes_of(&head)), None, "a flow without its keys");
        assert_eq!(Record::read(&[0; 31]), None, "no head");
    }

    #[test]
    fn every_place_has_a_program() {
        for kind in [Kind::Xdp, Kind::Tc] {
            let programs = kind.programs();
            assert_eq!(programs.len(), gateway_common::forward::Stage::TAP_INDICES as usize);
            assert!(programs.iter().all(|name| name.starts_with("tapped_")), "{programs:?}");
        }
    }
}
