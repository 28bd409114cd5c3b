//! Programs that the others go on in by tail calls. Their tables are pinned, so they outlive the daemon like the links do.
//! A program that is attached finds its stages in place: they are loaded with it, and only for the hooks that are used.

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Map, MapData, ProgramArray},
    programs::ProgramFd,
};
use gateway_common::names;

use super::{load_tc, load_xdp};
use crate::datapath::element;

/// The stages of one kind of hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    /// Behind XDP programs.
    Xdp,
    /// Behind TC programs.
    Tc,
}

impl Stages {
    const ALL: [Self; 2] = [Self::Xdp, Self::Tc];

    const fn map(self) -> &'static str {
        match self {
            Self::Xdp => names::STAGES_XDP,
            Self::Tc => names::STAGES_TC,
        }
    }

    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Xdp => &names::STAGE_PROGRAMS_XDP,
            Self::Tc => &names::STAGE_PROGRAMS_TC,
        }
    }

    fn are_loaded(self, ebpf: &Ebpf) -> bool {
        self.programs().iter().all(|name| ebpf.program(name).is_some_and(|program| program.fd().is_ok()))
    }
}

/// Loads the programs of these stages and puts them in their places, unless that is done. What another daemon has put there
/// is replaced in one step.
///
/// # Errors
///
/// When the kernel refuses one.
pub fn load(ebpf: &mut Ebpf, stages: Stages) -> Result<()> {
    if stages.are_loaded(ebpf) {
        return Ok(());
    }
    for name in stages.programs() {
        match stages {
            Stages::Xdp => drop(load_xdp(ebpf, name)?),
            Stages::Tc => drop(load_tc(ebpf, name)?),
        }
    }
    fill_one(ebpf, stages)
}

/// Puts the loaded programs in their places, whatever stands there.
///
/// # Errors
///
/// What the kernel says.
pub fn fill(ebpf: &mut Ebpf) -> Result<()> {
    for stages in Stages::ALL {
        if stages.are_loaded(ebpf) {
            fill_one(ebpf, stages)?;
        }
    }
    Ok(())
}

/// Names of the loaded programs that are not in their places.
///
/// # Errors
///
/// What the kernel says.
pub fn missing(ebpf: &Ebpf) -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for stages in Stages::ALL.into_iter().filter(|stages| stages.are_loaded(ebpf)) {
        let Some(Map::ProgramArray(places)) = ebpf.map(stages.map()) else {
            bail!("the eBPF object has no map {}", stages.map());
        };
        for (index, name) in (0_u32..).zip(stages.programs()) {
            let wanted = ebpf.program(name).context("no such program")?.info()?.id();
            if element::lookup(places, &index)? != Some(wanted) {
                missing.push(*name);
            }
        }
    }
    Ok(missing)
}

fn fill_one(ebpf: &mut Ebpf, stages: Stages) -> Result<()> {
    let map = stages.map();
    let fds = stages.programs().iter().map(|name| fd(ebpf, name)).collect::<Result<Vec<_>>>()?;
    let places = ebpf.map_mut(map).with_context(|| format!("the eBPF object has no map {map}"))?;
    let mut places: ProgramArray<&mut MapData> = places.try_into()?;
    for ((index, name), fd) in (0..).zip(stages.programs()).zip(&fds) {
        places.set(index, fd, 0).with_context(|| format!("cannot put {name} in its place"))?;
    }
    Ok(())
}

fn fd(ebpf: &Ebpf, name: &str) -> Result<ProgramFd> {
    let program = ebpf.program(name).with_context(|| format!("the eBPF object has no program {name}"))?;
    Ok(program.fd()?.try_clone()?)
}
