//! Packets of flows that are already tracked.

use crate::{
    abi::{Counter, CtEntry, EntryFlags, EntryView, FlowKey},
    conntrack,
    drop_reason::DropReason,
    limits::LAST_SEEN_GRANULARITY_NS,
    tables::{FlowSlot, FlowTable, Insertion, Tables},
    wire::transport::Transport,
};

/// A tracked flow's entry: a copy to decide by, and the place to update.
#[derive(Clone, Copy, Debug)]
pub struct Hit<S> {
    pub table: FlowTable,
    pub slot: S,
    pub entry: EntryView,
}

/// Looks a key up, among established flows first.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, key: &FlowKey) -> Option<Hit<T::Slot>> {
    match find_in(tables, FlowTable::Established, key) {
        None => find_in(tables, FlowTable::HalfOpen, key),
        hit => hit,
    }
}

/// Looks a key up in one table.
#[inline(always)]
pub fn find_in<T: Tables>(tables: &T, table: FlowTable, key: &FlowKey) -> Option<Hit<T::Slot>> {
    let slot = tables.flow(table, key)?;
    let entry = slot.view(key)?;
    Some(Hit { table, slot, entry })
}

/// Notes a packet of a tracked flow.
///
/// One that changes nothing about an established flow costs no lookup and no write (one write a second). All others
/// read both entries and write what the state machine says.
#[inline(always)]
pub fn advance<T: Tables>(
    tables: &T,
    hit: &Hit<T::Slot>,
    transport: &Transport,
    now_ns: u64,
) -> Result<(), DropReason> {
    let entry = &hit.entry;
    let steady = matches!(hit.table, FlowTable::Established)
        && conntrack::is_steady(entry.state, entry.seen, transport.segment);
    if !steady {
        progress(tables, hit.table, transport, now_ns)?;
    }
    if now_ns.saturating_sub(entry.last_seen_ns) >= LAST_SEEN_GRANULARITY_NS {
        hit.slot.set_last_seen(now_ns);
    }
    Ok(())
}

/// Runs the state machine and writes both records; promotes the flow when it has become established.
#[inline(never)]
fn progress<T: Tables>(
    tables: &T,
    table: FlowTable,
    transport: &Transport,
    now_ns: u64,
) -> Result<(), DropReason> {
    let Some(own) = find_in(tables, table, &transport.key) else {
        return promoted_meanwhile(tables, table, &transport.key);
    };
    let pair_key = own.entry.pair;
    let Some(pair) = find_in(tables, table, &pair_key) else {
        return promoted_meanwhile(tables, table, &pair_key);
    };
    let step = conntrack::step(
        own.entry.seen,
        pair.entry.seen,
        own.entry.flags.contains(EntryFlags::ORIGINAL),
        transport.segment,
    );
    own.slot.set_progress(step.own, step.state);
    pair.slot.set_progress(step.pair, step.state);
    if matches!(table, FlowTable::Established) || !conntrack::is_promoted(step.state) {
        return Ok(());
    }
    own.slot.set_last_seen(now_ns);
    promote(tables, &transport.key, &pair_key)
}

/// An entry left the half-open table: fine when another CPU has just promoted the flow.
#[inline(always)]
fn promoted_meanwhile<T: Tables>(tables: &T, table: FlowTable, key: &FlowKey) -> Result<(), DropReason> {
    match table {
        FlowTable::HalfOpen if tables.flow(FlowTable::Established, key).is_some() => Ok(()),
        FlowTable::HalfOpen | FlowTable::Established => Err(DropReason::NoFlow),
    }
}

/// Moves a flow from the half-open to the established table.
///
/// It is in at least one of them at every moment: inserted there before it is removed here. Whoever opens flows
/// relies on that order (`open::claim`). When the table is full both entries stay where they were.
#[inline(always)]
fn promote<T: Tables>(tables: &T, own: &FlowKey, pair: &FlowKey) -> Result<(), DropReason> {
    let first = copy_to_established(tables, pair);
    if matches!(first, Insertion::Full) {
        return Err(DropReason::FlowTableFull);
    }
    let second = copy_to_established(tables, own);
    if matches!(second, Insertion::Full) {
        if matches!(first, Insertion::Inserted) {
            tables.remove(FlowTable::Established, pair);
        }
        return Err(DropReason::FlowTableFull);
    }
    tables.remove(FlowTable::HalfOpen, own);
    tables.remove(FlowTable::HalfOpen, pair);
    if matches!(second, Insertion::Inserted) {
        tables.count(Counter::FlowsEstablished, 1);
    }
    Ok(())
}

/// "Exists" means that another CPU was faster: the entry is gone from here, or still here and also there.
#[inline(never)]
fn copy_to_established<T: Tables>(tables: &T, key: &FlowKey) -> Insertion {
    let mut entry: CtEntry = bytemuck::Zeroable::zeroed();
    match tables.flow(FlowTable::HalfOpen, key) {
        Some(slot) if slot.copy_to(key, &mut entry) => tables.insert(FlowTable::Established, &entry),
        _ => Insertion::Exists,
    }
}
