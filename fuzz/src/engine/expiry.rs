//! Flows that are looked at for expiry: one goes only when nothing has come for as long as its timeouts want it kept, and
//! then whole; and an established one is in quarantine first.

use gateway_common::{
    abi::{CtEntry, EntryFlags, FlowKey, Protocol, State},
    forward::{Expiry, expire},
    tables::FlowTable,
};

use super::{
    act::{SECOND_NS, key_from},
    oracle::books::Books,
    world::World,
};

/// Looks at a flow by one of its keys, in one of the tables.
pub fn act(world: &mut World, index: u8, how: u8) {
    let Some(flow) = world.flow(index) else { return };
    let key = key_from(flow, how & 1 == 0);
    let table = if how & 2 == 0 { FlowTable::Established } else { FlowTable::HalfOpen };
    let before = Books::of(&world.tables);
    let outcome = expire(&world.tables, table, &key, world.now_ns);
    let after = Books::of(&world.tables);
    after.assert_whole();
    if matches!(outcome, Expiry::Kept | Expiry::Missing) {
        after.assert_same_flows(&before);
        return;
    }
    let entry = *before.entry(&key).expect("only what is there expires");
    after.assert_same_flows_but(&before, &[key, entry.pair]);
    match outcome {
        Expiry::Quarantined => check_quarantined(world, &after, table, &entry),
        _ => check_gone(world, &after, table, &entry),
    }
}

fn check_quarantined(world: &mut World, after: &Books, table: FlowTable, entry: &CtEntry) {
    assert!(world.plan.rights.quarantine_secs != 0, "{:?}: quarantine is switched off", entry.key);
    assert!(is_for_quarantine(table, entry), "{:?} is none for quarantine", entry.key);
    assert_idle(world, table, entry);
    for key in [entry.key, entry.pair] {
        let is_marked = after.entry(&key).is_some_and(|entry| entry.flags.contains(EntryFlags::EXPIRED));
        assert!(is_marked, "{key:?} is not marked as its other half is");
        world.quarantined.insert(key, world.now_ns);
    }
}

fn check_gone(world: &mut World, after: &Books, table: FlowTable, entry: &CtEntry) {
    let key = entry.key;
    assert!(after.entry(&key).is_none() && after.entry(&entry.pair).is_none(), "{key:?}: half of it is left");
    if entry.flags.contains(EntryFlags::EXPIRED) {
        let since = world.quarantined.get(&key).copied().expect("it was put in quarantine");
        let least = u64::from(world.plan.rights.quarantine_secs) * SECOND_NS;
        assert!(world.now_ns - since >= least, "{key:?} was let out of quarantine early");
        return;
    }
    let skipped = world.plan.rights.quarantine_secs != 0 && is_for_quarantine(table, entry);
    assert!(!skipped, "{key:?} went without quarantine");
    assert_idle(world, table, entry);
}

/// Has it idled out, as opposed to: was it closed, reset, ended or never answered?
fn is_for_quarantine(table: FlowTable, entry: &CtEntry) -> bool {
    table == FlowTable::Established
        && matches!(entry.state(), State::Established | State::HalfClosed)
        && !entry.flags.is_ended()
}

fn assert_idle(world: &World, table: FlowTable, entry: &CtEntry) {
    let idle = idle_ns(world, &[entry.key, entry.pair], entry.birth_ns);
    let least = least_idle_secs(world, table, entry) * SECOND_NS;
    assert!(idle >= least, "{:?} ({}) ended after {idle} ns", entry.key, entry.state().name());
}

fn idle_ns(world: &World, keys: &[FlowKey], birth_ns: u64) -> u64 {
    let last = keys.iter().filter_map(|key| world.last_sent.get(key).copied()).max();
    // The engine writes the time of a packet down once a second at most.
    (world.now_ns - last.unwrap_or_default().max(birth_ns)) + SECOND_NS
}

/// RFC 5382 REQ-5, RFC 4787 REQ-5 and RFC 5508 REQ-1, or what the tenant has instead; for an unfinished handshake, the
/// configuration's default.
fn least_idle_secs(world: &World, table: FlowTable, entry: &CtEntry) -> u64 {
    let tenant = u8::try_from(entry.tenant.0).expect("two tenants");
    let (tcp_secs, udp_secs) = world.plan.rights.timeouts(tenant).unwrap_or((7_440, 120));
    match (table, entry.protocol(), entry.state()) {
        (FlowTable::HalfOpen, Some(Protocol::Tcp), _) => 30,
        (FlowTable::Established, Some(Protocol::Tcp), State::Established | State::HalfClosed) => {
            tcp_secs.into()
        }
        (FlowTable::Established, Some(Protocol::Tcp), _) => 240,
        (_, Some(Protocol::Udp), _) => udp_secs.into(),
        (_, Some(Protocol::Icmp) | None, _) => 60,
    }
}
