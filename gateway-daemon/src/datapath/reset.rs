//! Ending flows from outside, so that both ends learn of it at once instead of after their timeouts.
//!
//! | step | by | does |
//! |---|---|---|
//! | mark | [`reset`] | sets [`EntryFlags::RESET`] on both entries: from here on nothing of the flow is translated |
//! | probe | [`reset`] | makes both ends speak, also idle ones, by segments from their peers' addresses |
//! | tell | the data path | turns whatever an end sends into a reset with the number that it expects |
//! | finish | [`finish`] | deletes the flows whose both ends were told |
//!
//! An end that does not answer the probes (it is dead, or a firewall keeps them from it) is told when it speaks: its
//! flow stays marked until it expires like one that was reset, after `tcp_transitory_secs`. So `finish` may be called as
//! often as one likes, or never. A SYN on the same tuple opens a flow of its own at any time.
//!
//! Entries are read and replaced as a whole while packets write single fields of them. What a packet writes in between is
//! lost: the time of that packet, and which segments it was, neither of which matters to a flow that ends here. A flow
//! that is promoted in that moment may take its entries along unmarked; [`finish`] notices and marks them again.

mod injector;
mod pace;
mod probe;

pub use injector::Injector;

use std::{collections::HashMap, io};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use gateway_common::abi::{Addr, CtEntry, EntryFlags, FlowKey, Port, Protocol, Seen, State, TenantId};

use super::{batch, element, monotonic_ns, tables::Tables};

/// A flow that was marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    original: FlowKey,
    reply: FlowKey,
    /// Tells it from a later flow of the same tuple.
    birth_ns: u64,
    tenant: TenantId,
}

/// Flows that were deleted from here, by tenant: the data path does not count these itself.
#[derive(Debug, Default)]
struct Deleted(HashMap<TenantId, i64>);

impl Deleted {
    /// Has the data path count them.
    fn give_back(self, tables: &Tables) -> Result<()> {
        self.0.into_iter().try_for_each(|(tenant, flows)| tables.correct_use(tenant, -flows))
    }
}

impl Ended {
    fn new(original: &CtEntry) -> Self {
        Self {
            original: original.key,
            reply: original.pair,
            birth_ns: original.birth_ns,
            tenant: original.tenant,
        }
    }

    const fn keys(&self) -> [FlowKey; 2] {
        [self.original, self.reply]
    }

    fn is_still(&self, entry: &CtEntry) -> bool {
        entry.birth_ns == self.birth_ns
    }
}

/// What was ended, and what is left to do.
#[derive(Debug, Default)]
pub struct ResetReport {
    /// TCP flows that were marked.
    pub marked: u64,
    /// UDP and ICMP flows that were deleted at once: there is nothing to reset.
    pub deleted: u64,
    /// TCP flows that were over already (both ends had closed, or one had reset) and were left to expire.
    pub over: u64,
    /// Probes that the kernel did not send: it has no route, or a neighbour does not answer.
    pub unsent: u64,
    waiting: Vec<Ended>,
}

impl ResetReport {
    /// Flows with an end that has not been told yet, as of the last [`finish`].
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// Selects flows that lead to this backend, or come from there.
pub fn with_backend(address: Addr, port: Port) -> impl Fn(&CtEntry) -> bool {
    move |original| {
        original.flags.contains(EntryFlags::INGRESS)
            && (original.pair.src, original.pair.src_port) == (address, port)
    }
}

/// Selects the flows of a tenant.
pub fn of_tenant(tenant: TenantId) -> impl Fn(&CtEntry) -> bool {
    move |original| original.tenant == tenant
}

/// Ends the flows that `which` accepts (it is asked with the entry of the original direction) and makes their ends ask
/// for their reset. New flows are not its business: who wants none must change the tables before.
///
/// Blocks while it sends, at most 50,000 probes a second together with others that use the injector: call it where that
/// is allowed.
///
/// # Errors
///
/// When the tables cannot be read or written. Flows that were marked by then stay marked.
pub fn reset(tables: &Tables, injector: &Injector, which: impl Fn(&CtEntry) -> bool) -> Result<ResetReport> {
    reset_while(tables, injector, which, || true)
}

/// As [`reset`], and makes no more ends speak when `go_on` says no: all flows are marked by then.
///
/// # Errors
///
/// As [`reset`].
pub fn reset_while(
    tables: &Tables,
    injector: &Injector,
    which: impl Fn(&CtEntry) -> bool,
    go_on: impl Fn() -> bool,
) -> Result<ResetReport> {
    let mut report = mark(tables, which)?;
    for key in report.waiting.iter().flat_map(Ended::keys).take_while(|_| go_on()) {
        report.unsent += ask(injector, [&key]);
    }
    Ok(report)
}

/// Makes the ends of these flows speak, so that the data path can tell them that it has given them up. Returns how many
/// probes the kernel did not send. Blocks while it sends, as [`reset`].
pub fn ask<'k>(injector: &Injector, keys: impl IntoIterator<Item = &'k FlowKey>) -> u64 {
    let mut unsent = 0;
    for key in keys {
        for probe in probe::probes(key) {
            std::thread::sleep(injector.wait());
            unsent += u64::from(injector.send(&probe, key.src).is_err());
        }
    }
    unsent
}

/// The first step alone: nothing of these flows is translated any more, whoever speaks is told.
///
/// # Errors
///
/// As [`reset`].
pub fn mark(tables: &Tables, which: impl Fn(&CtEntry) -> bool) -> Result<ResetReport> {
    let (mut report, mut deleted) = (ResetReport::default(), Deleted::default());
    // Half-open flows first: one that is promoted meanwhile is found in the other table.
    for map in tables.flow_maps().into_iter().rev() {
        for flow in select(map, |entry| !entry.flags.contains(EntryFlags::RESET) && which(entry))? {
            end(map, &flow, (&mut report, &mut deleted)).context("cannot end a flow")?;
        }
    }
    deleted.give_back(tables)?;
    Ok(report)
}

fn end(map: &MapData, flow: &CtEntry, (report, deleted): (&mut ResetReport, &mut Deleted)) -> io::Result<()> {
    let ended = Ended::new(flow);
    match (flow.protocol(), flow.state()) {
        (Some(Protocol::Tcp), State::Closing | State::Reset) => report.over += 1,
        (Some(Protocol::Tcp), _) => {
            for key in ended.keys() {
                mark_entry(map, &key, &ended)?;
            }
            report.marked += 1;
            report.waiting.push(ended);
        }
        _ => {
            remove(map, &ended, deleted)?;
            report.deleted += 1;
        }
    }
    Ok(())
}

fn mark_entry(map: &MapData, key: &FlowKey, ended: &Ended) -> io::Result<()> {
    match element::lookup::<_, CtEntry>(map, key)? {
        Some(entry) if ended.is_still(&entry) => {
            element::replace(map, key, &entry.ended(monotonic_ns())).map(drop)
        }
        _ => Ok(()),
    }
}

/// Deletes the flows of a report whose both ends were told, and forgets those that are gone. Returns how many still wait.
///
/// # Errors
///
/// As [`reset`].
pub fn finish(tables: &Tables, report: &mut ResetReport) -> Result<usize> {
    let (mut waiting, mut deleted) = (Vec::new(), Deleted::default());
    for ended in std::mem::take(&mut report.waiting) {
        if !is_over(tables, &ended, &mut deleted).context("cannot finish a flow that was ended")? {
            waiting.push(ended);
        }
    }
    report.waiting = waiting;
    deleted.give_back(tables)?;
    Ok(report.waiting.len())
}

/// Is nothing left of the flow? It is deleted if its ends were told, and marked again if it has escaped.
fn is_over(tables: &Tables, ended: &Ended, deleted: &mut Deleted) -> io::Result<bool> {
    let mut is_over = true;
    for map in tables.flow_maps().into_iter().rev() {
        let mut told = true;
        let mut found = false;
        for key in ended.keys() {
            let Some(entry) = element::lookup::<_, CtEntry>(map, &key)?.filter(|entry| ended.is_still(entry))
            else {
                continue;
            };
            found = true;
            told &= entry.seen.contains(Seen::RST);
            if !entry.flags.contains(EntryFlags::RESET) {
                mark_entry(map, &key, ended)?;
            }
        }
        if found && told {
            remove(map, ended, deleted)?;
        }
        is_over &= !found || told;
    }
    Ok(is_over)
}

/// Deletes the flows that `which` accepts, without a word to their ends. Returns how many.
///
/// Their next packets are those of unknown flows: TCP without SYN is dropped, a datagram may open a flow anew.
///
/// # Errors
///
/// As [`reset`].
pub fn forget(tables: &Tables, which: impl Fn(&CtEntry) -> bool) -> Result<u64> {
    let (mut forgotten, mut deleted) = (0, Deleted::default());
    for map in tables.flow_maps().into_iter().rev() {
        for flow in select(map, &which)? {
            remove(map, &Ended::new(&flow), &mut deleted).context("cannot delete a flow")?;
            forgotten += 1;
        }
    }
    deleted.give_back(tables)?;
    Ok(forgotten)
}

/// Entries of the original direction.
fn select(map: &MapData, which: impl Fn(&CtEntry) -> bool) -> Result<Vec<CtEntry>> {
    let mut flows = Vec::new();
    batch::for_each::<FlowKey, CtEntry>(map, |_, entry| {
        if entry.flags.contains(EntryFlags::ORIGINAL) && which(entry) {
            flows.push(*entry);
        }
    })
    .context("cannot read flows")?;
    Ok(flows)
}

/// Deletes both entries if they are still this flow's. In the moment between the look and the deletion a SYN may have
/// opened the tuple anew; then its sender's next SYN opens it once more.
fn remove(map: &MapData, ended: &Ended, deleted: &mut Deleted) -> io::Result<()> {
    for key in ended.keys() {
        let entry: Option<CtEntry> = element::lookup(map, &key)?;
        if entry.is_some_and(|entry| ended.is_still(&entry)) {
            let was_there = element::remove::<_, CtEntry>(map, &key)?;
            // Whoever deletes the original's entry counts, as in the data path.
            if was_there && key == ended.original {
                *deleted.0.entry(ended.tenant).or_default() += 1;
            }
        }
    }
    Ok(())
}
