use super::{
    frame::{ACK, Frame, SYN, SYN_ACK},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, SECOND, forward, send},
};
use crate::{
    abi::{FlowKey, SettingsFlags, Side},
    drop_reason::DropReason,
    forward::{Expiry, expire},
    memory::MemoryTables,
    tables::FlowTable,
    verdict::Verdict,
};

const CLIENT: &str = "198.18.1.9:4000";
const SERVER: &str = "203.0.113.1:443";
const LATER: u64 = NOW + 8_000 * SECOND;

/// Tables with one TCP connection of tenant 1 to NPCI that idled out, and the address that NPCI saw.
fn idled_out(flags: SettingsFlags) -> (MemoryTables, std::string::String) {
    let mut tables = Plan::three_tenants().tables();
    let settings = tables.settings.as_mut().unwrap();
    settings.timeouts.quarantine_secs = 120;
    settings.flags = flags;
    let (_, sent) =
        forward(&tables, Frame::tcp(SYN, CLIENT, SERVER).packet(INTERNAL_IF), Side::Internal, NOW);
    let vip = std::format!("{}:{}", sent.src.0, sent.src.1);
    forward(&tables, Frame::tcp(SYN_ACK, SERVER, &vip).packet(EXTERNAL_IF), Side::External, NOW);
    forward(&tables, Frame::tcp(ACK, CLIENT, SERVER).packet(INTERNAL_IF), Side::Internal, NOW);
    assert_eq!(expire(&tables, FlowTable::Established, &key(&tables), LATER), Expiry::Quarantined);
    (tables, vip)
}

fn key(tables: &MemoryTables) -> FlowKey {
    tables.established.entries()[0].key
}

fn from_server(tables: &MemoryTables, vip: &str) -> Verdict {
    send(tables, &mut Frame::tcp(ACK, SERVER, vip).packet(EXTERNAL_IF), Side::External, LATER + SECOND)
}

#[test]
fn nothing_of_it_gets_through_and_its_port_is_not_used_again() {
    let (tables, vip) = idled_out(SettingsFlags::default());
    assert_eq!(from_server(&tables, &vip), Verdict::Drop(DropReason::FlowExpired));
    let (_, sent) = forward(
        &tables,
        Frame::tcp(SYN, "198.18.1.10:4000", SERVER).packet(INTERNAL_IF),
        Side::Internal,
        LATER + SECOND,
    );
    assert_ne!(std::format!("{}:{}", sent.src.0, sent.src.1), vip, "another client");
    assert_eq!(tables.established.entries().len(), 2, "both entries stay");
}

#[test]
fn both_ends_are_reset_if_the_settings_say_so() {
    let (tables, vip) = idled_out(SettingsFlags::RESET_EXPIRED);
    assert_eq!(from_server(&tables, &vip), Verdict::Reply);
    let mut packet = Frame::tcp(ACK, CLIENT, SERVER).packet(INTERNAL_IF);
    assert_eq!(send(&tables, &mut packet, Side::Internal, LATER + SECOND), Verdict::Reply);
    assert_eq!(tables.drops.borrow()[&DropReason::FlowExpired], 2);
}

#[test]
fn its_client_opens_it_anew() {
    let (tables, vip) = idled_out(SettingsFlags::default());
    forward(&tables, Frame::tcp(SYN, CLIENT, SERVER).packet(INTERNAL_IF), Side::Internal, LATER + SECOND);
    forward(&tables, Frame::tcp(SYN_ACK, SERVER, &vip).packet(EXTERNAL_IF), Side::External, LATER + SECOND);
    assert!(tables.half_open.entries().len() == 2 && tables.established.entries().is_empty());
}

#[test]
fn it_ends_on_time_and_only_then() {
    let (tables, vip) = idled_out(SettingsFlags::default());
    let at = |now_ns| expire(&tables, FlowTable::Established, &key(&tables), now_ns);
    assert_eq!(at(LATER + 120 * SECOND), Expiry::Kept);
    let _dropped = from_server(&tables, &vip);
    assert_eq!(at(LATER + 120 * SECOND + 1), Expiry::Released, "what comes meanwhile prolongs nothing");
    assert!(tables.established.entries().is_empty());
    assert_eq!(tables.tenant_use.borrow()[&crate::abi::TenantId(1)].flows, 0);
}
