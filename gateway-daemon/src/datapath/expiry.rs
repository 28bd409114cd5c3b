//! Expiry of idle flows: a scan finds candidates, a program in the kernel re-checks each and deletes both entries, or puts
//! them in quarantine.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::MapData,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use gateway_common::{
    abi::{CtEntry, EntryFlags, FlowKey, Protocol, State},
    limits::EXPIRE_BATCH,
    names,
    tables::FlowTable,
};

use super::element;

/// Bytes before the keys; the first one says which table.
const HEADER_LEN: usize = 16;

/// Flows that were ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Of the table of established flows.
    pub established: u64,
    /// Of the table of half-open flows.
    pub half_open: u64,
}

/// An entry that looks idle for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its table.
    pub table: FlowTable,
    /// Its key.
    pub key: FlowKey,
    /// Had it been in quarantine before?
    pub was_expired: bool,
}

impl Candidate {
    /// An entry as it was read.
    pub fn new(table: FlowTable, key: &FlowKey, entry: &CtEntry) -> Self {
        Self { table, key: *key, was_expired: entry.flags.contains(EntryFlags::EXPIRED) }
    }
}

/// Expires what is still idle.
///
/// # Errors
///
/// When the program cannot be run.
pub fn run(ebpf: &Ebpf, candidates: &[Candidate]) -> Result<Expired> {
    let of = |table| -> Vec<FlowKey> {
        candidates.iter().filter(|one| one.table == table).map(|one| one.key).collect()
    };
    Ok(Expired {
        established: expire(ebpf, FlowTable::Established, &of(FlowTable::Established))?,
        half_open: expire(ebpf, FlowTable::HalfOpen, &of(FlowTable::HalfOpen))?,
    })
}

fn expire(ebpf: &Ebpf, table: FlowTable, keys: &[FlowKey]) -> Result<u64> {
    let program: &Xdp = ebpf.program(names::EXPIRE).context("no expiry program")?.try_into()?;
    let mut expired = 0;
    for keys in keys.chunks(EXPIRE_BATCH) {
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

/// The connections among the candidates that are in quarantine since they were expired: their ends do not know of it.
///
/// # Errors
///
/// When the table cannot be read.
pub fn in_the_dark(established: &MapData, candidates: &[Candidate]) -> Result<Vec<[FlowKey; 2]>> {
    let mut flows = Vec::new();
    let mut seen = HashSet::new();
    for candidate in candidates.iter().filter(|one| one.table == FlowTable::Established && !one.was_expired) {
        let entry: Option<CtEntry> =
            element::lookup(established, &candidate.key).context("cannot read a flow that was expired")?;
        if let Some(ends) = entry.as_ref().and_then(ends_to_tell)
            && seen.insert(ends)
        {
            flows.push(ends);
        }
    }
    Ok(flows)
}

/// The keys of a connection that idled out, the original first.
fn ends_to_tell(entry: &CtEntry) -> Option<[FlowKey; 2]> {
    let has_ends = entry.protocol() == Some(Protocol::Tcp)
        && matches!(entry.state(), State::Established | State::HalfClosed)
        && entry.flags.contains(EntryFlags::EXPIRED);
    let keys = if entry.flags.contains(EntryFlags::ORIGINAL) {
        [entry.key, entry.pair]
    } else {
        [entry.pair, entry.key]
    };
    has_ends.then_some(keys)
}

#[cfg(test)]
mod tests {
    use gateway_common::abi::{Addr, Port, Side, TenantId};

    use super::*;

    fn key(protocol: Protocol, last: u8) -> FlowKey {
        let end = |last| (Addr::new([192, 0, 2, last]), Port::new(443));
        FlowKey::v4(Side::External, protocol, end(last), end(1))
    }

    fn entry(protocol: Protocol, flags: EntryFlags, state: State) -> CtEntry {
        let mut entry = CtEntry::open(key(protocol, 7), key(protocol, 8), TenantId(1), flags, 0);
        entry.set_state(state);
        entry
    }

    #[test]
    fn connections_in_quarantine_are_told_about_once() {
        let expired = EntryFlags::EXPIRED;
        let tcp = |flags, state| ends_to_tell(&entry(Protocol::Tcp, flags, state));
        let [original, reply] = [7, 8].map(|last| key(Protocol::Tcp, last));
        let flags = expired.with(EntryFlags::ORIGINAL);
        assert_eq!(tcp(flags, State::Established), Some([original, reply]));
        assert_eq!(tcp(expired, State::HalfClosed), Some([reply, original]), "the same from either side");
        assert_eq!(tcp(EntryFlags::ORIGINAL, State::Established), None, "it lives");
        assert_eq!(tcp(flags, State::Reset), None, "it has been told");
        assert_eq!(ends_to_tell(&entry(Protocol::Udp, flags, State::Established)), None, "nothing to reset");
    }

    #[test]
    fn the_program_reads_the_table_and_the_keys() {
        let packet = request(FlowTable::HalfOpen, &[key(Protocol::Tcp, 7)]);
        assert_eq!((packet.len(), packet[0]), (HEADER_LEN + size_of::<FlowKey>(), 1));
        assert_eq!(request(FlowTable::Established, &[])[0], 0);
    }
}
