use super::{
    frame::{Frame, SYN},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, SECOND, send},
};
use crate::{
    abi::{Side, TenantId, TenantSettings},
    drop_reason::DropReason,
    forward::expire,
    memory::{BytesPacket, MemoryTables},
    tables::{FlowTable, Pace},
    verdict::Verdict,
};
use proptest::prelude::*;
use std::{format, vec::Vec};

fn tables(change: impl FnOnce(&mut TenantSettings)) -> MemoryTables {
    let mut tables = Plan::three_tenants().tables();
    change(tables.tenant_settings.get_mut(&TenantId(1)).unwrap());
    tables
}

fn ingress(tenant: u8, port: u16) -> BytesPacket {
    let vip = format!("192.0.2.10:{}", 8440 + u16::from(tenant));
    Frame::tcp(SYN, &format!("203.0.113.7:{port}"), &vip).packet(EXTERNAL_IF)
}

fn egress(port: u16) -> BytesPacket {
    Frame::udp(&format!("198.18.1.9:{port}"), "203.0.113.1:443").packet(INTERNAL_IF)
}

fn flows(tables: &MemoryTables, tenant: u16) -> i64 {
    tables.tenant_use.borrow().get(&TenantId(tenant)).map_or(0, |used| used.flows)
}

#[test]
fn a_tenant_has_no_more_flows_than_it_may() {
    let tables = tables(|tenant| tenant.flows_max = 5);
    for port in 0..3 {
        assert!(matches!(
            send(&tables, &mut ingress(1, 1000 + port), Side::External, NOW),
            Verdict::Redirect { .. }
        ));
        assert!(matches!(
            send(&tables, &mut ingress(2, 1000 + port), Side::External, NOW),
            Verdict::Redirect { .. }
        ));
    }
    for port in 0..2 {
        assert!(matches!(
            send(&tables, &mut egress(2000 + port), Side::Internal, NOW),
            Verdict::Redirect { .. }
        ));
    }
    let refused = Verdict::Drop(DropReason::TenantFlowsExceeded);
    assert_eq!(send(&tables, &mut ingress(1, 3000), Side::External, NOW), refused);
    assert_eq!(send(&tables, &mut egress(3000), Side::Internal, NOW), refused);
    assert_eq!(flows(&tables, 1), 5);
    // Packets of its flows go on, and so do the others' new ones.
    assert!(matches!(send(&tables, &mut ingress(1, 1000), Side::External, NOW), Verdict::Redirect { .. }));
    assert!(matches!(send(&tables, &mut ingress(2, 3000), Side::External, NOW), Verdict::Redirect { .. }));
}

#[test]
fn a_flow_that_ends_makes_room_once() {
    let tables = tables(|tenant| tenant.flows_max = 1);
    assert!(matches!(send(&tables, &mut ingress(1, 1000), Side::External, NOW), Verdict::Redirect { .. }));
    let keys: Vec<_> = tables.half_open.entries().iter().map(|entry| entry.key).collect();
    for key in keys.iter().chain(&keys) {
        let _outcome = expire(&tables, FlowTable::HalfOpen, key, NOW + 31 * SECOND);
    }
    assert_eq!(flows(&tables, 1), 0);
    assert!(matches!(send(&tables, &mut ingress(1, 1001), Side::External, NOW), Verdict::Redirect { .. }));
}

#[test]
fn a_flow_that_cannot_be_opened_is_not_counted() {
    let mut tables = tables(|_| {});
    tables.half_open.capacity = 1;
    for port in 0..9 {
        let verdict = send(&tables, &mut ingress(1, 1000 + port), Side::External, NOW);
        assert_eq!(verdict, Verdict::Drop(DropReason::HalfOpenTableFull));
    }
    assert_eq!(flows(&tables, 1), 0);
}

#[test]
fn a_tenant_opens_flows_no_faster_than_it_may() {
    let per_second = 100;
    let mut tables = tables(|tenant| {
        tenant.new_flow_interval_ns = SECOND / per_second;
        tenant.new_flow_credit_ns = 10 * SECOND / per_second;
    });
    tables.half_open.capacity = 10_000;
    let mut admitted = 0;
    for tick in 0..2_000_u16 {
        let now = NOW + u64::from(tick) * SECOND / 1_000;
        match send(&tables, &mut ingress(1, 1024 + tick), Side::External, now) {
            Verdict::Redirect { .. } => admitted += 1,
            verdict => assert_eq!(verdict, Verdict::Drop(DropReason::TenantRateExceeded)),
        }
        assert!(matches!(
            send(&tables, &mut ingress(2, 1024 + tick), Side::External, now),
            Verdict::Redirect { .. }
        ));
    }
    // Two seconds' worth, and the burst.
    assert_eq!(admitted, 2 * per_second + 10 - 1);
}

proptest! {
    /// Over any stretch of time: no more than the pace allows, and no fewer than it while somebody asks.
    #[test]
    fn the_pace_is_exact(
        interval in 1_u64..1_000_000, burst in 1_u64..50, gaps in prop::collection::vec(0_u64..2_000_000, 1..200),
    ) {
        let (mut full_at, mut now, mut admitted) = (0, NOW, Vec::new());
        for gap in gaps {
            now += gap;
            let pace = Pace { interval_ns: interval, credit_ns: burst * interval, now_ns: now };
            let tokens = (burst * interval).saturating_sub(full_at.max(now) - now) / interval;
            let next = pace.after_one_more(full_at);
            prop_assert_eq!(next.is_some(), tokens > 0);
            if let Some(next) = next {
                full_at = next;
                admitted.push(now);
            }
        }
        for (index, first) in admitted.iter().enumerate() {
            for (count, last) in (1..).zip(&admitted[index..]) {
                prop_assert!(count <= burst + (last - first).div_ceil(interval), "{count} in {} ns", last - first);
            }
        }
    }
}
