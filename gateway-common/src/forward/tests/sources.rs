//! Nobody uses a tenant's address but from where the tenant is.

use super::{
    fragments::parts,
    frame::{ACK, Frame, RST, SYN, SYN_ACK, end},
    quoted::error,
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, forward, send},
};
use crate::{
    abi::{EntryFlags, Side, TenantFlags, TenantId},
    drop_reason::DropReason,
    memory::{BytesPacket, MemoryTables},
    tables::{FlowSlot as _, FlowTable, Route, Tables as _},
    verdict::Verdict,
};
use std::vec;

const CALLER: &str = "198.18.1.9:50000";
const NPCI: &str = "203.0.113.1:443";
/// Where another tenant is.
const ELSEWHERE: u32 = INTERNAL_IF + 7;
const SPOOFED: Verdict = Verdict::Drop(DropReason::SourceSpoofed);

fn call(tables: &MemoryTables, flags: u8, ifindex: u32) -> Verdict {
    send(tables, &mut Frame::tcp(flags, CALLER, NPCI).packet(ifindex), Side::Internal, NOW)
}

/// The caller, and so its whole link, is reached by another interface from now on.
fn move_caller(tables: &mut MemoryTables, to: u32) {
    let mut interface = tables.interfaces[&INTERNAL_IF];
    interface.transmit_ifindex = to;
    tables.interfaces.insert(to, interface);
    if let Some(Route::Forward { ifindex, .. }) = tables.routes.get_mut(&end(CALLER).0) {
        *ifindex = to;
    }
}

fn trust(tables: &mut MemoryTables) {
    tables.tenant_settings.get_mut(&TenantId(1)).unwrap().flags = TenantFlags::LOOSE_SOURCE;
}

#[test]
fn a_flow_is_opened_only_from_where_the_tenant_is() {
    let mut tables = Plan::three_tenants().tables();
    assert_eq!(call(&tables, SYN, ELSEWHERE), SPOOFED);
    assert!(tables.half_open.entries().is_empty());
    trust(&mut tables);
    assert!(matches!(call(&tables, SYN, ELSEWHERE), Verdict::Redirect { .. }));
}

/// Who knows the ports and numbers of another's connection still cannot speak in it.
#[test]
fn a_known_flow_is_spoken_in_only_from_where_the_tenant_is() {
    let mut tables = Plan::three_tenants().tables();
    assert!(matches!(call(&tables, SYN, INTERNAL_IF), Verdict::Redirect { .. }));
    let before = tables.half_open.entries();
    assert_eq!(call(&tables, ACK, ELSEWHERE), SPOOFED);
    assert_eq!(call(&tables, SYN, ELSEWHERE), SPOOFED);
    assert_eq!(tables.half_open.entries(), before, "nothing is noted of it");
    trust(&mut tables);
    assert!(matches!(call(&tables, ACK, ELSEWHERE), Verdict::Redirect { .. }));
}

/// Else the end that was pretended to be would never be told.
#[test]
fn who_is_elsewhere_is_not_told_of_the_end_of_a_flow() {
    let tables = Plan::three_tenants().tables();
    assert!(matches!(call(&tables, SYN, INTERNAL_IF), Verdict::Redirect { .. }));
    for entry in tables.half_open.entries() {
        let slot = tables.flow(FlowTable::HalfOpen, &entry.key).unwrap();
        slot.end(&entry.key, EntryFlags::RESET, NOW);
    }
    let ended = tables.half_open.entries();
    for flags in [ACK, RST] {
        assert_eq!(call(&tables, flags, ELSEWHERE), SPOOFED);
        assert_eq!(tables.half_open.entries(), ended);
    }
    assert_eq!(call(&tables, ACK, INTERNAL_IF), Verdict::Reply);
}

/// Nor does anybody who is elsewhere report errors about it, with whatever address.
#[test]
fn an_error_comes_from_where_the_packet_went() {
    let tables = Plan::three_tenants().tables();
    let (_, sent) = forward(&tables, Frame::udp(CALLER, NPCI).packet(INTERNAL_IF), Side::Internal, NOW);
    let answer = Frame { src: sent.dst, dst: sent.src, ..Frame::udp(NPCI, NPCI) };
    let mut answered = answer.packet(EXTERNAL_IF);
    assert!(matches!(send(&tables, &mut answered, Side::External, NOW), Verdict::Redirect { .. }));
    for reporter in [CALLER, "198.18.77.1:1", "10.9.9.9:1"] {
        let bytes = error([3, 3], end(reporter).0, end(NPCI).0, &answered.bytes[14..]);
        let report = |ingress_ifindex| {
            let mut packet = BytesPacket { bytes: bytes.clone(), ingress_ifindex };
            send(&tables, &mut packet, Side::Internal, NOW)
        };
        assert_eq!(report(ELSEWHERE), SPOOFED, "{reporter}");
        assert!(matches!(report(INTERNAL_IF), Verdict::Redirect { .. }), "{reporter}");
    }
}

/// With forwarding on, the kernel would take them from one tenant's link to another's.
#[test]
fn nobodys_host_reaches_no_tenant_around_the_gateway() {
    let tables = Plan::three_tenants().tables();
    for frame in [
        Frame::udp("10.9.9.9:1", "198.18.1.9:8080"),
        Frame::tcp(SYN, "203.0.113.7:40000", "198.18.1.9:8080"),
        Frame::tcp(ACK, "203.0.113.7:40000", "198.18.1.9:8080"),
    ] {
        let direct = Verdict::Drop(DropReason::DirectToTenant);
        assert_eq!(send(&tables, &mut frame.packet(ELSEWHERE), Side::Internal, NOW), direct);
        for part in parts(&frame.build(), 8, 7) {
            let mut packet = BytesPacket { bytes: part, ingress_ifindex: ELSEWHERE };
            assert!(matches!(send(&tables, &mut packet, Side::Internal, NOW), Verdict::Drop(_)));
        }
    }
    let other = Frame::udp("10.9.9.9:1", "10.9.9.8:8080");
    assert_eq!(send(&tables, &mut other.packet(INTERNAL_IF), Side::Internal, NOW), Verdict::Pass);
}

#[test]
fn who_answers_a_call_answers_from_where_it_was_delivered() {
    let tables = Plan::three_tenants().tables();
    let call = Frame::tcp(SYN, "203.0.113.7:40000", "192.0.2.10:8441");
    let (_, called) = forward(&tables, call.packet(EXTERNAL_IF), Side::External, NOW);
    let answer = Frame { src: called.dst, dst: called.src, ..Frame::tcp(SYN_ACK, CALLER, NPCI) };
    assert_eq!(send(&tables, &mut answer.packet(ELSEWHERE), Side::Internal, NOW), SPOOFED);
    forward(&tables, answer.packet(INTERNAL_IF), Side::Internal, NOW);
}

/// A flow follows the route: the first packet by the new way asks for it, the others do not.
#[test]
fn a_flow_moves_with_its_route() {
    let mut tables = Plan::three_tenants().tables();
    assert!(matches!(call(&tables, SYN, INTERNAL_IF), Verdict::Redirect { .. }));
    move_caller(&mut tables, ELSEWHERE);
    assert!(matches!(call(&tables, SYN, ELSEWHERE), Verdict::Redirect { .. }));
    assert_eq!(call(&tables, SYN, INTERNAL_IF), SPOOFED, "the old way is nobody's now");
    tables.routes.remove(&end(CALLER).0);
    assert!(matches!(call(&tables, SYN, ELSEWHERE), Verdict::Redirect { .. }), "the way is known by now");
}

/// In XDP a VLAN is a tag on its parent's frames: the interface alone does not tell two tenants apart.
#[test]
fn another_vlan_of_the_same_interface_is_elsewhere() {
    let mut tables = Plan::three_tenants().tables();
    let device = 0x1234;
    let mut interface = tables.interfaces[&INTERNAL_IF];
    interface.vlan_id = 100;
    move_caller(&mut tables, device);
    tables.interfaces.insert(device, interface);
    let call = |vlan: u16| {
        let frame = Frame { tag: Some(vlan), ..Frame::tcp(SYN, CALLER, NPCI) };
        send(&tables, &mut frame.packet(INTERNAL_IF), Side::Internal, NOW)
    };
    assert!(matches!(call(100), Verdict::Redirect { .. }));
    assert_eq!(call(101), SPOOFED);
    assert!(matches!(call(0xa000 | 0x64), Verdict::Redirect { .. }), "a priority is no VLAN");
}

#[test]
fn later_parts_come_from_where_the_first_one_came() {
    let mut tables = Plan::three_tenants().tables();
    let datagram = Frame { payload: vec![7; 60], ..Frame::udp(CALLER, NPCI) };
    let cut = parts(&datagram.build(), 16, 7);
    let packet = |number: usize, ingress_ifindex| BytesPacket { bytes: cut[number].clone(), ingress_ifindex };
    assert_eq!(send(&tables, &mut packet(0, ELSEWHERE), Side::Internal, NOW), SPOOFED);
    assert_eq!(send(&tables, &mut packet(1, ELSEWHERE), Side::Internal, NOW), SPOOFED, "nor is it kept");
    assert_eq!(send(&tables, &mut packet(1, INTERNAL_IF), Side::Internal, NOW), Verdict::Held);
    let Verdict::Redirect { .. } = send(&tables, &mut packet(0, INTERNAL_IF), Side::Internal, NOW) else {
        panic!("the first part")
    };
    assert_eq!(send(&tables, &mut packet(1, ELSEWHERE), Side::Internal, NOW), SPOOFED);
    assert!(matches!(
        send(&tables, &mut packet(1, INTERNAL_IF), Side::Internal, NOW),
        Verdict::Redirect { .. }
    ));
    trust(&mut tables);
    assert!(matches!(
        send(&tables, &mut packet(2, ELSEWHERE), Side::Internal, NOW),
        Verdict::Redirect { .. }
    ));
}
