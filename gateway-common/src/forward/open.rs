//! Opening a flow: choose the outside port and enter both keys, or neither.

use super::{Flow, admit, known};
use crate::{
    abi::{
        Addr, Backend, Counter, CtEntry, EntryFlags, FlowKey, PoolFlags, Port, Protocol, Settings, Side,
        TenantId,
    },
    drop_reason::DropReason,
    hash::{flow_hash, reduce},
    limits::PORT_TRIES_MAX,
    maglev,
    port_slice::PortShare,
    tables::{FlowChange, FlowTable, Insertion, Tables},
    wire::transport::Transport,
};

/// How the flow's source is shown to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// As this address, with a port of our choice.
    Nat(Addr),
    /// As it is.
    Preserve,
}

impl Flow {
    /// Policy allows it towards `target` on the side `leaves_by`; `original` is the key of its first packet.
    #[inline(always)]
    pub const fn goes_to(
        &mut self,
        target: (Addr, Port),
        original: &FlowKey,
        protocol: Protocol,
        source: Source,
        leaves_by: Side,
    ) {
        let near = match source {
            Source::Nat(address) => (address, Port::NONE),
            Source::Preserve => (original.src, original.src_port),
        };
        self.chooses_port = matches!(source, Source::Nat(_));
        self.pair = FlowKey::v4(leaves_by, protocol, target, near);
    }
}

/// Settings, once the daemon has filled them.
#[inline(always)]
pub fn settings<T: Tables>(tables: &T) -> Result<&Settings, DropReason> {
    match tables.settings() {
        Some(settings) if settings.node != 0 => Ok(settings),
        _ => Err(DropReason::NotConfigured),
    }
}

/// The backend that a new flow of a pool goes to.
#[inline(always)]
pub fn choose_backend<T: Tables>(
    tables: &T,
    tenant: TenantId,
    seed: u64,
    pool: u32,
    key: &FlowKey,
) -> Result<Backend, DropReason> {
    let pool = tables.pool(pool).ok_or(DropReason::NotConfigured)?;
    if pool.maglev_len == 0 {
        return Err(if pool.flags.contains(PoolFlags::REFUSE) {
            DropReason::RefusedNoBackend
        } else {
            DropReason::NoBackend
        });
    }
    let slot = pool.maglev_offset + maglev::slot(flow_hash(seed, key), pool.maglev_len);
    let backend = tables.maglev(slot).ok_or(DropReason::NotConfigured)?;
    // Whatever state the tables are in, a flow never goes to another tenant's backend.
    match tables.backend(backend) {
        Some(backend) if backend.tenant == tenant => Ok(backend),
        _ => Err(DropReason::NotConfigured),
    }
}

/// Enters the flow, or adopts the entries of another CPU that opened it at the same time; `flow.pair` is its reply key
/// then.
///
/// The reply's key goes in first, with "must not exist": it decides who gets the port. A flow that is being promoted
/// is in the established table before it leaves the half-open one, so after a key was entered here, one look there
/// tells whether it was already in use.
#[inline(never)]
pub fn enter<T: Tables>(
    tables: &T,
    flow: &mut Flow,
    transport: &Transport,
    now_ns: u64,
) -> Result<Opened, DropReason> {
    let settings = settings(tables)?;
    if now_ns >= settings.lease_until_ns {
        return Err(DropReason::NoLease);
    }
    admit::admit(tables, flow.tenant, now_ns)?;
    let opened = try_enter(tables, settings, flow, transport, now_ns);
    if opened != Ok(Opened::New) {
        admit::release(tables, flow.tenant);
    }
    opened
}

/// How a flow came to be in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It was entered.
    New,
    /// Another CPU has entered it, and its entries were adopted.
    Adopted,
}

#[inline(always)]
fn try_enter<T: Tables>(
    tables: &T,
    settings: &Settings,
    flow: &mut Flow,
    transport: &Transport,
    now_ns: u64,
) -> Result<Opened, DropReason> {
    let mut entry = tables.scratch().ok_or(DropReason::NotConfigured)?;
    *entry = CtEntry::open(flow.pair, transport.key, flow.tenant, flow.direction, now_ns);
    entry.epoch = settings.epoch;
    entry.owner = settings.node;
    (_, entry.arrival) = flow.arrivals;
    let share = if flow.chooses_port { Some(share(tables, flow)?) } else { None };
    let attempt = match claim_reply(tables, settings, share, &mut entry)? {
        Claim::Ours { attempt } => attempt,
        Claim::SameFlow => {
            tables.count(Counter::RacesAdopted, 1);
            return Ok(Opened::Adopted);
        }
    };
    (flow.pair, entry.pair) = (entry.key, entry.key);
    entry.key = transport.key;
    entry.seen = transport.segment.seen();
    (entry.arrival, _) = flow.arrivals;
    entry.flags = EntryFlags(flow.direction.0 | EntryFlags::ORIGINAL.0);
    match claim(tables, &entry) {
        Insertion::Inserted => {
            tables.count(Counter::FlowsOpened, 1);
            tables.count(Counter::ports_found(attempt), 1);
            tables.count_opened(flow.tenant);
            tables.flow_changed(FlowChange::Opened, flow.tenant, [&transport.key, &flow.pair]);
            Ok(Opened::New)
        }
        Insertion::Exists => {
            tables.remove(FlowTable::HalfOpen, &flow.pair);
            adopt(tables, &transport.key, flow).map(|()| Opened::Adopted)
        }
        Insertion::Full => {
            tables.remove(FlowTable::HalfOpen, &flow.pair);
            Err(DropReason::HalfOpenTableFull)
        }
    }
}

/// The outcome of entering a reply's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It is ours, at this attempt; 0 is the first.
    Ours { attempt: u32 },
    /// With a preserved source: another CPU has entered it for this very flow.
    SameFlow,
}

/// The ports that the flow may take: all of the tenant NAT IP, which is the tenant's alone, or the tenant's of the egress
/// VIP.
#[inline(always)]
fn share<T: Tables>(tables: &T, flow: &Flow) -> Result<PortShare, DropReason> {
    if flow.direction.contains(EntryFlags::INGRESS) {
        return Ok(PortShare::ALL);
    }
    tables.tenant(flow.tenant).map(|tenant| tenant.ports).ok_or(DropReason::NotConfigured)
}

/// Enters the reply's key under a free port of the share, if one is to be chosen: the client's own if it lies in it and
/// this node owns it, else one of a walk over all that do, from a start that nobody outside can guess (RFC 6056 section
/// 3.3.3). On success `entry.key` is what was entered.
#[inline(always)]
fn claim_reply<T: Tables>(
    tables: &T,
    settings: &Settings,
    share: Option<PortShare>,
    entry: &mut CtEntry,
) -> Result<Claim, DropReason> {
    let Some(share) = share else {
        return match claim(tables, entry) {
            Insertion::Inserted => Ok(Claim::Ours { attempt: 0 }),
            Insertion::Exists => same_flow(tables, entry),
            Insertion::Full => Err(DropReason::HalfOpenTableFull),
        };
    };
    let own_port = entry.pair.src_port;
    let keeps_port = settings.slices.owns(own_port) && share.contains(own_port);
    let [seed, _] = settings.cookie_key;
    let start = reduce(flow_hash(seed, &entry.pair), settings.slices.ports_of(share));
    for attempt in 0..PORT_TRIES_MAX {
        entry.key.dst_port = if attempt == 0 && keeps_port {
            own_port
        } else {
            settings.slices.candidate(share, start, attempt).ok_or(DropReason::PortsExhausted)?
        };
        match claim(tables, entry) {
            Insertion::Inserted => return Ok(Claim::Ours { attempt }),
            Insertion::Exists => tables.count(Counter::PortRetries, 1),
            Insertion::Full => return Err(DropReason::HalfOpenTableFull),
        }
    }
    Err(DropReason::PortsExhausted)
}

/// Enters a key that must be in neither table.
#[inline(always)]
fn claim<T: Tables>(tables: &T, entry: &CtEntry) -> Insertion {
    match tables.insert(FlowTable::HalfOpen, entry) {
        Insertion::Inserted if is_anothers(tables, entry) => {
            tables.remove(FlowTable::HalfOpen, &entry.key);
            Insertion::Exists
        }
        insertion => insertion,
    }
}

/// Is there an established flow with this key? It may be this very one, answered and promoted since its original's entry
/// was made: its pair is then the reply that only we have entered.
#[inline(always)]
fn is_anothers<T: Tables>(tables: &T, entry: &CtEntry) -> bool {
    match known::find_in(tables, FlowTable::Established, &entry.key) {
        Some(hit) => !entry.flags.contains(EntryFlags::ORIGINAL) || hit.entry.pair != entry.pair,
        None => false,
    }
}

/// The reply's key is in use: by another CPU that opens this very flow, or by another flow?
#[inline(always)]
fn same_flow<T: Tables>(tables: &T, reply: &CtEntry) -> Result<Claim, DropReason> {
    let mut original = reply.key;
    if known::find_pair(tables, &reply.key, &mut original) && original == reply.pair {
        return Ok(Claim::SameFlow);
    }
    Err(DropReason::TupleInUse)
}

/// Another CPU has opened this flow: its reply key is the one that counts.
#[inline(always)]
fn adopt<T: Tables>(tables: &T, original: &FlowKey, flow: &mut Flow) -> Result<(), DropReason> {
    if !known::find_pair(tables, original, &mut flow.pair) {
        return Err(DropReason::NoFlow);
    }
    tables.count(Counter::RacesAdopted, 1);
    Ok(())
}
