//! What the daemon writes into the tables: leases, empty pools, configurations that change under living flows.

use gateway_common::abi::{PoolFlags, TenantId};
use gateway_common::drop_reason::DropReason;
use gateway_daemon::datapath::contents::Contents;

use crate::expect::{Expect, dropped, echo_answered, passed};
use crate::places::{EGRESS_VIP, INGRESS_VIP, NPCI, backend, nat_ip};
use crate::rig::{Case, Rig};
use crate::talk::{SYN, Talk, ping, pong, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::with("state: no lease", without_lease, nothing_opens),
    Case::new("state: the lease ends under a flow", lease_ends),
    Case::with("state: silent pools without servers", without_servers, no_servers),
    Case::with("state: settings not written yet", |desired| desired.settings.node = 0, not_configured),
    Case::with("state: no interfaces", |desired| desired.interfaces.clear(), no_interfaces),
    Case::with("state: pools not written yet", |desired| desired.pools.clear(), no_pools),
    Case::with("state: backends not written yet", |desired| desired.backends.clear(), no_pools),
    Case::new("state: a tenant is removed under a flow", tenant_removed),
    Case::with("state: nothing but interfaces", clear, only_interfaces),
];

fn without_lease(desired: &mut Contents) {
    desired.settings.lease_until_ns = 0;
}

fn without_servers(desired: &mut Contents) {
    for (_, pool) in &mut desired.pools {
        (pool.maglev_len, pool.flags) = (0, PoolFlags::default());
    }
}

fn clear(desired: &mut Contents) {
    desired.addresses.clear();
    desired.sources.clear();
    desired.listeners.clear();
}

/// What opens a flow when all is well, of each kind.
fn openers(rig: &Rig) -> [Talk; 4] {
    [
        Talk::upi(rig, (NPCI, 40_000)),
        Talk::ingress(rig, 1, (NPCI, 40_000), 8445, (backend(1), 8080)).seen_from((NPCI, 40_000)),
        Talk::egress(rig, 1, (backend(1), 50_000), (NPCI, 443)),
        Talk {
            near: ((backend(1), 50_001), (nat_ip(1), 9001)),
            ..Talk::egress(rig, 1, (backend(1), 50_001), (NPCI, 443))
        },
    ]
}

#[track_caller]
fn all_refused(rig: &mut Rig, reason: DropReason) {
    for talk in openers(rig) {
        rig.step("SYN", talk.opener, &tcp(SYN)(talk.near.0, talk.near.1), &dropped(reason).of(1));
    }
}

fn nothing_opens(rig: &mut Rig) {
    all_refused(rig, DropReason::NoLease);
    let wire = rig.world.external;
    let echo = ping(b"alive")((NPCI, 1), (INGRESS_VIP, 0));
    rig.step("echo", wire, &echo, &echo_answered(wire, &pong(b"alive")((INGRESS_VIP, 0), (NPCI, 1))));
}

fn lease_ends(rig: &mut Rig) {
    let known = Talk::upi(rig, (NPCI, 40_100));
    let half_open = Talk::upi(rig, (NPCI, 40_101));
    known.handshake(rig);
    half_open.forth(rig, "SYN", tcp(SYN), Expect::opens);
    rig.reconfigure(without_lease);
    all_refused(rig, DropReason::NoLease);
    known.data(rig);
    half_open.forth(rig, "SYN again", tcp(SYN), |expect| expect);
    rig.reconfigure(|_| {});
    Talk::upi(rig, (NPCI, 40_102)).handshake(rig);
}

fn no_servers(rig: &mut Rig) {
    let [upi, preserved, transparent, addressed] = openers(rig);
    for talk in [upi, preserved, addressed] {
        let syn = tcp(SYN)(talk.near.0, talk.near.1);
        rig.step("SYN", talk.opener, &syn, &dropped(DropReason::NoBackend).of(1));
    }
    transparent.forth(rig, "SYN", tcp(SYN), Expect::opens);
}

fn not_configured(rig: &mut Rig) {
    all_refused(rig, DropReason::NotConfigured);
}

fn no_interfaces(rig: &mut Rig) {
    all_refused(rig, DropReason::WrongInterface);
}

fn no_pools(rig: &mut Rig) {
    let [upi, preserved, transparent, addressed] = openers(rig);
    for talk in [upi, preserved, addressed] {
        let syn = tcp(SYN)(talk.near.0, talk.near.1);
        rig.step("SYN", talk.opener, &syn, &dropped(DropReason::NotConfigured).of(1));
    }
    transparent.forth(rig, "SYN", tcp(SYN), Expect::opens);
}

/// Tracked flows need no configuration but the interfaces.
fn tenant_removed(rig: &mut Rig) {
    let (inward, outward) =
        (Talk::upi(rig, (NPCI, 40_200)), Talk::egress(rig, 1, (backend(1), 50_200), (NPCI, 443)));
    inward.handshake(rig);
    outward.handshake(rig);
    rig.reconfigure(|desired| {
        desired.listeners.retain(|(_, listener)| listener.tenant != TenantId(1));
        desired.sources.retain(|(_, tenant)| *tenant != 1);
        desired.addresses.retain(|(_, address)| address.tenant != TenantId(1));
    });
    inward.data(rig);
    outward.data(rig);
    let syn = tcp(SYN)((NPCI, 40_201), (INGRESS_VIP, 8443));
    rig.step("no new flow", rig.world.external, &syn, &dropped(DropReason::NoListener));
    let syn = tcp(SYN)((backend(1), 50_201), (NPCI, 443));
    rig.step("nobody's packet", rig.world.tenant(1), &syn, &dropped(DropReason::CrossesSides));
}

/// Nothing is the gateway's then, and nothing goes from one side to the other.
fn only_interfaces(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let crosses = || dropped(DropReason::CrossesSides);
    for (address, is_outside) in
        [(INGRESS_VIP, true), (EGRESS_VIP, true), (nat_ip(1), false), (backend(1), false)]
    {
        let (from_outside, from_inside) =
            if is_outside { (passed(), crosses()) } else { (crosses(), passed()) };
        rig.step("from outside", outside, &tcp(SYN)((NPCI, 1), (address, 8443)), &from_outside);
        rig.step("from inside", inside, &udp(b"")((backend(1), 1), (address, 53)), &from_inside);
    }
}
