//! Packets of flows that are already tracked.

use bytemuck::Zeroable as _;

use super::{Break, Flow, Frame, Stage, admit, hop};
use crate::{
    abi::{Acked, Counter, CtEntry, EntryFlags, EntryView, FlowEnd, FlowKey, Seen, Side, State},
    conntrack::{self, Segment},
    drop_reason::DropReason,
    limits::LAST_SEEN_GRANULARITY_NS,
    packet::Packet,
    tables::{FlowChange, FlowSlot, FlowTable, Insertion, Tables},
    wire::transport::Transport,
};

/// A tracked flow's entry: a copy to decide by, and the place to update.
#[derive(Clone, Copy, Debug)]
pub struct Hit<S> {
    pub table: FlowTable,
    pub slot: S,
    pub entry: EntryView,
}

impl<S> Hit<S> {
    /// Does this packet start the connection anew? Then policy is asked as for any new flow.
    #[inline(always)]
    pub const fn reopens(&self, segment: Segment) -> bool {
        let flags = self.entry.flags;
        let idled_out = flags.contains(EntryFlags::EXPIRED) && segment.opens();
        flags.contains(EntryFlags::ORIGINAL) && (idled_out || conntrack::reopens(self.entry.state, segment))
    }
}

/// Looks a key up, among established flows first.
///
/// A flow that is promoted meanwhile is missed in both tables by turns, so the first is asked once more. Only packets
/// of no known flow pay for that.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, key: &FlowKey) -> Option<Hit<T::Slot>> {
    match find_in(tables, FlowTable::Established, key) {
        None => match find_in(tables, FlowTable::HalfOpen, key) {
            None => find_in(tables, FlowTable::Established, key),
            hit => hit,
        },
        hit => hit,
    }
}

/// Finds the flow that a packet belongs to, and notes it in `flow`; else tells which stage the packet is for.
#[inline(always)]
pub fn find_live<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    transport: &Transport,
    flow: &mut Flow,
) -> Result<Hit<T::Slot>, Break> {
    let hit = match find(tables, &transport.key) {
        Some(hit) if !hit.reopens(transport.segment) => hit,
        _ => return Err(Break::Stage(Stage::Open)),
    };
    (flow.tenant, flow.pair) = (hit.entry.tenant, hit.entry.pair);
    // First: who is told of the end of a flow is one of its ends.
    if is_elsewhere(packet, frame, &hit.entry) {
        return Err(Break::Stage(Stage::Source));
    }
    if hit.is_ended() {
        return Err(Break::Stage(Stage::Tell));
    }
    Ok(hit)
}

/// Did a tenant's packet come in elsewhere than those of its flow do?
#[inline(always)]
pub fn is_elsewhere<P: Packet>(packet: &P, frame: &Frame, entry: &EntryView) -> bool {
    matches!(frame.side, Side::Internal) && entry.arrival != hop::arrival(packet, frame)
}

/// Finds the key of the other direction of a known flow; false when the flow is not known.
#[inline(never)]
pub fn find_pair<T: Tables>(tables: &T, key: &FlowKey, pair: &mut FlowKey) -> bool {
    find_pair_in(tables, FlowTable::Established, key, pair)
        || find_pair_in(tables, FlowTable::HalfOpen, key, pair)
        || find_pair_in(tables, FlowTable::Established, key, pair)
}

#[inline(always)]
fn find_pair_in<T: Tables>(tables: &T, table: FlowTable, key: &FlowKey, pair: &mut FlowKey) -> bool {
    match tables.flow(table, key) {
        Some(slot) => slot.copy_pair_to(key, pair),
        None => false,
    }
}

/// Deletes a flow, which ends by that.
#[inline(always)]
pub fn forget<T: Tables>(tables: &T, table: FlowTable, key: &FlowKey, entry: &EntryView, end: FlowEnd) {
    let is_original = entry.flags.contains(EntryFlags::ORIGINAL);
    let (original, reply) = if is_original { (key, &entry.pair) } else { (&entry.pair, key) };
    // Whoever deletes the original's entry counts: two may forget a flow at the same time.
    if tables.remove(table, original) {
        admit::release(tables, entry.tenant);
        tell_end(tables, key, entry, end);
    }
    tables.remove(table, reply);
}

/// Tells of the end of a flow, unless that was done when it went into quarantine.
#[inline(always)]
pub fn tell_end<T: Tables>(tables: &T, key: &FlowKey, entry: &EntryView, end: FlowEnd) {
    if entry.flags.contains(EntryFlags::EXPIRED) {
        return;
    }
    let is_original = entry.flags.contains(EntryFlags::ORIGINAL);
    let keys = if is_original { [key, &entry.pair] } else { [&entry.pair, key] };
    tables.flow_changed(FlowChange::Ended(end), entry.tenant, keys);
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
/// One that changes nothing about an established flow costs no lookup, and writes what it acknowledges and (once a second)
/// when it came, into the one entry that it met. All others read both entries and write what the state machine says.
#[inline(always)]
pub fn advance<T: Tables>(
    tables: &T,
    hit: &Hit<T::Slot>,
    transport: &Transport,
    now_ns: u64,
) -> Result<(), DropReason> {
    let entry = &hit.entry;
    if transport.acked.is_known() && transport.acked != entry.acked {
        hit.slot.set_acked(transport.acked);
    }
    let steady = matches!(hit.table, FlowTable::Established)
        && conntrack::is_steady(entry.state, entry.seen, transport.segment);
    if !steady {
        match progress(tables, hit.table, transport) {
            Progress::Noted => {}
            Progress::NotBelieved => {
                tables.count(Counter::ResetsNotBelieved, 1);
                return Ok(());
            }
            Progress::Established => promote(tables, &transport.key, now_ns)?,
            Progress::Gone => return Err(DropReason::NoFlow),
        }
    }
    // Resets that follow a reset keep nothing alive: RFC 7857 section 7.1.
    let is_repeated_reset =
        matches!(entry.state, State::Reset) && transport.segment.seen().contains(Seen::RST);
    if now_ns.saturating_sub(entry.last_seen_ns) >= LAST_SEEN_GRANULARITY_NS && !is_repeated_reset {
        hit.slot.set_last_seen(now_ns);
    }
    Ok(())
}

/// What noting a packet led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing more to do.
    Noted,
    /// It is a reset that its receiver will not believe.
    NotBelieved,
    /// The flow has become established and is still in the half-open table.
    Established,
    /// The flow is not there any more.
    Gone,
}

/// Runs the state machine and writes both records.
#[inline(never)]
fn progress<T: Tables>(tables: &T, table: FlowTable, transport: &Transport) -> Progress {
    let Some(own) = find_in(tables, table, &transport.key) else {
        return moved(tables, &transport.key);
    };
    let pair_key = own.entry.pair;
    let Some(pair) = find_in(tables, table, &pair_key) else {
        return moved(tables, &pair_key);
    };
    if transport.segment.opens() {
        // Whoever sends a SYN believes whatever resets it: what a closed port sends has the sequence number 0 (RFC 9293
        // section 3.10.7.1).
        own.slot.set_acked(Acked::UNKNOWN);
    }
    if own.reopens(transport.segment) {
        pair.slot.set_acked(Acked::UNKNOWN);
    }
    let Some(segment) = conntrack::believed(transport.segment, transport.sequence_number, pair.entry.acked)
    else {
        return Progress::NotBelieved;
    };
    let is_original = own.entry.flags.contains(EntryFlags::ORIGINAL);
    let step = conntrack::step_outlined(own.entry.seen, pair.entry.seen, is_original, segment);
    own.slot.set_progress(&transport.key, step.own, step.state);
    pair.slot.set_progress(&pair_key, step.pair, step.state);
    if matches!(table, FlowTable::HalfOpen) && conntrack::is_promoted(step.state) {
        return Progress::Established;
    }
    Progress::Noted
}

/// An entry is not where it was: fine when another CPU is promoting the flow.
#[inline(always)]
fn moved<T: Tables>(tables: &T, key: &FlowKey) -> Progress {
    if find_pair(tables, key, &mut FlowKey::zeroed()) { Progress::Noted } else { Progress::Gone }
}

/// Moves a flow from the half-open to the established table.
///
/// The original's key decides who does it: the one CPU that enters that key also enters the reply's and clears the
/// half-open table. The flow is in at least one table at every moment, since it is entered there before it is removed
/// here; whoever opens flows relies on that order (`open::claim`). When the table is full everything stays as it was.
#[inline(never)]
fn promote<T: Tables>(tables: &T, key: &FlowKey, now_ns: u64) -> Result<(), DropReason> {
    let Some(mut entry) = tables.scratch() else {
        return Err(DropReason::NotConfigured);
    };
    if !copy_half_open(tables, key, &mut entry) {
        return still_known(tables, key);
    }
    if !entry.flags.contains(EntryFlags::ORIGINAL) {
        let original = entry.pair;
        if !copy_half_open(tables, &original, &mut entry) {
            return still_known(tables, key);
        }
    }
    let (original, reply) = (entry.key, entry.pair);
    entry.last_seen_ns = now_ns;
    match tables.insert(FlowTable::Established, &entry) {
        Insertion::Inserted => {}
        Insertion::Exists => return Ok(()),
        Insertion::Full => return Err(DropReason::FlowTableFull),
    }
    let entered = copy_half_open(tables, &reply, &mut entry) && entry.pair == original;
    let refused = if entered { enter_reply(tables, &entry) } else { Some(DropReason::NoFlow) };
    if let Some(reason) = refused {
        tables.remove(FlowTable::Established, &original);
        return Err(reason);
    }
    if !tables.remove(FlowTable::HalfOpen, &original) {
        // Whoever removed it a moment ago took it for a flow that ends, and has counted that.
        tables.add_flow(entry.tenant);
    }
    tables.remove(FlowTable::HalfOpen, &reply);
    tables.count(Counter::FlowsEstablished, 1);
    Ok(())
}

/// Enters the reply's entry of a flow that is being promoted; tells why that failed.
#[inline(always)]
fn enter_reply<T: Tables>(tables: &T, reply: &CtEntry) -> Option<DropReason> {
    match tables.insert(FlowTable::Established, reply) {
        Insertion::Inserted => {}
        Insertion::Exists => return Some(DropReason::TupleInUse),
        Insertion::Full => return Some(DropReason::FlowTableFull),
    }
    // If the flow expired after it was copied, its port may be another's by now: the entry made from the copy is
    // undone. From here on nobody can take the port, since whoever tries looks into the established table.
    if is_half_open(tables, &reply.key, &reply.pair) {
        return None;
    }
    tables.remove(FlowTable::Established, &reply.key);
    Some(DropReason::NoFlow)
}

#[inline(always)]
fn copy_half_open<T: Tables>(tables: &T, key: &FlowKey, copy: &mut CtEntry) -> bool {
    match tables.flow(FlowTable::HalfOpen, key) {
        Some(slot) => slot.copy_to(key, copy),
        None => false,
    }
}

#[inline(always)]
fn is_half_open<T: Tables>(tables: &T, key: &FlowKey, pair: &FlowKey) -> bool {
    match find_in(tables, FlowTable::HalfOpen, key) {
        Some(hit) => hit.entry.pair == *pair,
        None => false,
    }
}

/// The flow left the half-open table meanwhile: another CPU has promoted it, or it has expired.
#[inline(always)]
fn still_known<T: Tables>(tables: &T, key: &FlowKey) -> Result<(), DropReason> {
    match tables.flow(FlowTable::Established, key) {
        Some(_) => Ok(()),
        None => Err(DropReason::NoFlow),
    }
}
