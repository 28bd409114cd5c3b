//! Expiry of idle flows: a scan finds candidates, a program in the kernel re-checks each and deletes both entries.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::MapData,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use gateway_common::{abi::FlowKey, limits::EXPIRE_BATCH, names, tables::FlowTable};

use super::{flows, monotonic_ns, tables::Tables};

/// Bytes before the keys; the first one says which table.
const HEADER_LEN: usize = 16;

/// Flows deleted by one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// From the table of established flows.
    pub established: u64,
    /// From the table of half-open flows.
    pub half_open: u64,
}

/// Expires what is idle in both tables.
pub fn run(ebpf: &Ebpf, tables: &Tables) -> Result<Expired> {
    let [established, half_open] = tables.flow_maps();
    Ok(Expired {
        established: expire(ebpf, tables, established, FlowTable::Established)?,
        half_open: expire(ebpf, tables, half_open, FlowTable::HalfOpen)?,
    })
}

fn expire(ebpf: &Ebpf, tables: &Tables, map: &MapData, table: FlowTable) -> Result<u64> {
    let program: &Xdp = ebpf.program(names::EXPIRE).context("no expiry program")?.try_into()?;
    let candidates =
        flows::idle(map, table, &tables.settings()?.timeouts, monotonic_ns()).context("cannot scan flows")?;
    let mut expired = 0;
    for keys in candidates.chunks(EXPIRE_BATCH) {
        let packet = request(table, keys);
        let options = TestRunOptions { data_in: Some(&packet), ..TestRunOptions::new() };
        let result = program.test_run(options).context("cannot run the expiry program")?;
        expired += u64::from(result.return_value);
    }
    Ok(expired)
}

/// The "packet" that the expiry program reads.
fn request(table: FlowTable, keys: &[FlowKey]) -> Vec<u8> {
    let mut packet = vec![0; HEADER_LEN];
    packet[0] = match table {
        FlowTable::Established => 0,
        FlowTable::HalfOpen => 1,
    };
    packet.extend_from_slice(bytemuck::cast_slice(keys));
    packet
}
