//! Programs that the others go on in by tail calls. Their tables are pinned, so they outlive the daemon like the links do.

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Map, MapData, ProgramArray},
    programs::ProgramFd,
};
use gateway_common::names;

use super::{load_tc, load_xdp};
use crate::datapath::element;

/// Loads the programs of all stages and puts them in their places. One that is there already is replaced in one step.
///
/// # Errors
///
/// When the kernel refuses one.
pub fn load(ebpf: &mut Ebpf) -> Result<()> {
    for name in names::STAGE_PROGRAMS_XDP {
        load_xdp(ebpf, name)?;
    }
    for name in names::STAGE_PROGRAMS_TC {
        load_tc(ebpf, name)?;
    }
    fill(ebpf)
}

/// Puts the loaded programs in their places, whatever stands there.
///
/// # Errors
///
/// What the kernel says.
pub fn fill(ebpf: &mut Ebpf) -> Result<()> {
    fill_one(ebpf, names::STAGES_XDP, &names::STAGE_PROGRAMS_XDP)?;
    fill_one(ebpf, names::STAGES_TC, &names::STAGE_PROGRAMS_TC)
}

/// Names of the programs that are not in their places.
///
/// # Errors
///
/// What the kernel says.
pub fn missing(ebpf: &Ebpf) -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    let tables =
        [(names::STAGES_XDP, &names::STAGE_PROGRAMS_XDP), (names::STAGES_TC, &names::STAGE_PROGRAMS_TC)];
    for (map, programs) in tables {
        let Some(Map::ProgramArray(places)) = ebpf.map(map) else {
            bail!("the eBPF object has no map {map}");
        };
        for (index, name) in (0_u32..).zip(programs) {
            let wanted = ebpf.program(name).context("no such program")?.info()?.id();
            if element::lookup(places, &index)? != Some(wanted) {
                missing.push(*name);
            }
        }
    }
    Ok(missing)
}

fn fill_one(ebpf: &mut Ebpf, map: &str, programs: &[&str]) -> Result<()> {
    let fds = programs.iter().map(|name| fd(ebpf, name)).collect::<Result<Vec<_>>>()?;
    let places = ebpf.map_mut(map).with_context(|| format!("the eBPF object has no map {map}"))?;
    let mut places: ProgramArray<&mut MapData> = places.try_into()?;
    for ((index, name), fd) in (0..).zip(programs).zip(&fds) {
        places.set(index, fd, 0).with_context(|| format!("cannot put {name} in its place"))?;
    }
    Ok(())
}

fn fd(ebpf: &Ebpf, name: &str) -> Result<ProgramFd> {
    let program = ebpf.program(name).with_context(|| format!("the eBPF object has no program {name}"))?;
    Ok(program.fd()?.try_clone()?)
}
