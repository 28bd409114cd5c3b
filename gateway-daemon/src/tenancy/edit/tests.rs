//! Each edit does what it says, and nothing else.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::tenancy::{Tenancy, arbitrary};

fn backend(host: u8) -> BackendSpec {
    BackendSpec { address: format!("10.0.0.{host}"), port: 80, ..BackendSpec::default() }
}

fn pool(name: &str) -> PoolSpec {
    PoolSpec { name: name.to_owned(), backend: vec![backend(1), backend(2)], ..PoolSpec::default() }
}

fn listener(name: &str, port: u16) -> ListenerSpec {
    ListenerSpec { name: name.to_owned(), port, pool: "web".to_owned(), ..ListenerSpec::default() }
}

fn tenant(name: &str) -> TenantSpec {
    TenantSpec {
        name: name.to_owned(),
        pool: vec![pool("web")],
        listener: vec![listener("upi", 443)],
        ..TenantSpec::default()
    }
}

fn group(name: &str) -> PeerGroupSpec {
    PeerGroupSpec { name: name.to_owned(), ..PeerGroupSpec::default() }
}

fn before() -> Tenancy {
    let document = Document { peer_group: vec![group("npci")], tenant: vec![tenant("a"), tenant("b")] };
    Tenancy::from(&document)
}

fn applied(edit: Edit) -> Result<Tenancy, EditError> {
    let before = before();
    let kept = before.clone();
    let result = apply(&before, &[edit]);
    assert_eq!(before, kept, "the original stays as it was");
    result
}

/// Tenant `a` after the edit; tenant `b` is not even copied.
fn a_after(edit: Edit) -> TenantSpec {
    let before = before();
    let after = apply(&before, &[edit]).unwrap();
    assert!(Arc::ptr_eq(&before.tenants["b"], &after.tenants["b"]));
    TenantSpec::clone(&after.tenants["a"])
}

fn a() -> String {
    "a".to_owned()
}

fn web() -> String {
    "web".to_owned()
}

fn missing(edit: Edit) -> String {
    match applied(edit) {
        Err(error @ EditError::Missing { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tenants_are_put_and_removed() {
    let replaced = TenantSpec { nat_ip: "1.2.3.4".to_owned(), ..tenant("a") };
    assert_eq!(a_after(Edit::PutTenant { tenant: replaced.clone(), only_new: false }), replaced);
    let exists = applied(Edit::PutTenant { tenant: replaced, only_new: true }).unwrap_err();
    assert_eq!(exists.to_string(), "there is a tenant `a` already");
    let added = applied(Edit::PutTenant { tenant: tenant("c"), only_new: true }).unwrap();
    assert_eq!(added.tenants.len(), 3);

    let removed = applied(Edit::RemoveTenant { tenant: a() }).unwrap();
    assert_eq!(removed.tenants.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(missing(Edit::RemoveTenant { tenant: "x".to_owned() }), "there is no tenant `x`");
}

#[test]
fn the_same_tenant_put_again_is_not_copied() {
    let before = before();
    let edit = Edit::PutTenant { tenant: tenant("a"), only_new: false };
    let after = apply(&before, &[edit]).unwrap();
    assert!(Arc::ptr_eq(&before.tenants["a"], &after.tenants["a"]));
}

#[test]
fn tenants_are_drained_and_resumed() {
    let drain = |tenant: &str, state, drain_until| Edit::SetTenantState {
        tenant: tenant.to_owned(),
        state,
        drain_until,
    };
    let after = a_after(drain("a", AdminState::Draining, Some(9)));
    assert_eq!((after.state, after.drain_until), (AdminState::Draining, Some(9)));
    let both = [drain("a", AdminState::Draining, Some(9)), drain("a", AdminState::Active, None)];
    assert_eq!(apply(&before(), &both).unwrap(), before());
    assert_eq!(missing(drain("x", AdminState::Draining, None)), "there is no tenant `x`");
}

#[test]
fn listeners_are_put_and_removed() {
    let put = |port, name: &str| Edit::PutListener { tenant: a(), listener: listener(name, port) };
    assert_eq!(a_after(put(444, "upi")).listener, [listener("upi", 444)]);
    assert_eq!(a_after(put(444, "new")).listener, [listener("upi", 443), listener("new", 444)]);
    let remove = |name: &str| Edit::RemoveListener { tenant: a(), listener: name.to_owned() };
    assert_eq!(a_after(remove("upi")).listener, []);
    assert_eq!(missing(remove("x")), "there is no listener of tenant `a` `x`");
    let foreign = Edit::PutListener { tenant: "x".to_owned(), listener: listener("l", 1) };
    assert_eq!(missing(foreign), "there is no tenant `x`");
}

#[test]
fn pools_are_put_and_removed() {
    let smaller = PoolSpec { backend: vec![backend(9)], ..pool("web") };
    assert_eq!(a_after(Edit::PutPool { tenant: a(), pool: smaller.clone() }).pool, [smaller]);
    assert_eq!(a_after(Edit::PutPool { tenant: a(), pool: pool("app") }).pool, [pool("web"), pool("app")]);
    assert_eq!(a_after(Edit::RemovePool { tenant: a(), pool: web() }).pool, []);
    let other = Edit::RemovePool { tenant: a(), pool: "x".to_owned() };
    assert_eq!(missing(other), "there is no pool of tenant `a` `x`");
}

fn egress(protocol: &str, port: u16) -> EgressSpec {
    EgressSpec { protocol: protocol.to_owned(), port, to: "192.0.2.100:443".to_owned() }
}

#[test]
fn addressed_egress_is_put_and_removed() {
    let put = |egress: &EgressSpec| Edit::PutEgress { tenant: a(), egress: egress.clone() };
    let remove = |name: &str| Edit::RemoveEgress { tenant: a(), egress: name.to_owned() };
    let after = |edits: &[Edit]| apply(&before(), edits).unwrap().tenants["a"].egress.clone();
    let (tcp, udp) = (egress("tcp", 9_001), egress("udp", 9_001));
    assert_eq!(after(&[put(&tcp), put(&udp)]), [tcp.clone(), udp.clone()]);
    let elsewhere = EgressSpec { to: "192.0.2.101:443".to_owned(), ..tcp.clone() };
    assert_eq!(after(&[put(&tcp), put(&udp), put(&elsewhere)]), [elsewhere, udp.clone()]);
    assert_eq!(after(&[put(&tcp), put(&udp), remove("tcp:9001")]), [udp]);
    for name in ["tcp:9001", "tcp", "sctp:1", ""] {
        let expected = format!("there is no addressed egress of tenant `a` `{name}`");
        assert_eq!(missing(remove(name)), expected);
    }
    let foreign = Edit::PutEgress { tenant: "x".to_owned(), egress: tcp };
    assert_eq!(missing(foreign), "there is no tenant `x`");
}

#[test]
fn backends_are_put_and_removed() {
    let put = |backend| Edit::PutBackend { tenant: a(), pool: web(), backend };
    let heavier = BackendSpec { weight: Some(7), ..backend(2) };
    assert_eq!(a_after(put(heavier.clone())).pool[0].backend, [backend(1), heavier]);
    assert_eq!(a_after(put(backend(3))).pool[0].backend, [backend(1), backend(2), backend(3)]);
    let remove = |name: &str| Edit::RemoveBackend { tenant: a(), pool: web(), backend: name.to_owned() };
    assert_eq!(a_after(remove("10.0.0.1:80")).pool[0].backend, [backend(2)]);
    for name in ["10.0.0.1:81", "10.0.0.3:80", "nonsense", ""] {
        let expected = format!("there is no backend of pool `web` of tenant `a` `{name}`");
        assert_eq!(missing(remove(name)), expected);
    }
    let foreign = Edit::PutBackend { tenant: a(), pool: "x".to_owned(), backend: backend(1) };
    assert_eq!(missing(foreign), "there is no pool of tenant `a` `x`");
}

#[test]
fn backends_get_a_weight_and_a_state() {
    let weigh = |backend: &str| Edit::SetBackendWeight {
        tenant: a(),
        pool: web(),
        backend: backend.to_owned(),
        weight: 5,
    };
    let weighed = BackendSpec { weight: Some(5), ..backend(1) };
    assert_eq!(a_after(weigh("10.0.0.1:80")).pool[0].backend, [weighed, backend(2)]);
    assert!(missing(weigh("10.0.0.1:8")).contains("no backend"));

    let drain = |backend: &str| Edit::SetBackendState {
        tenant: a(),
        pool: web(),
        backend: backend.to_owned(),
        state: AdminState::Draining,
        drain_until: Some(9),
    };
    let drained = BackendSpec { state: AdminState::Draining, drain_until: Some(9), ..backend(2) };
    assert_eq!(a_after(drain("10.0.0.2:80")).pool[0].backend, [backend(1), drained]);
    assert!(missing(drain("x")).contains("no backend"));
}

#[test]
fn peer_groups_are_put_and_removed() {
    let put = |name: &str, only_new| Edit::PutPeerGroup { peer_group: group(name), only_new };
    assert_eq!(applied(put("card", true)).unwrap().peer_groups.len(), 2);
    assert_eq!(applied(put("npci", false)).unwrap(), before());
    let error = applied(put("npci", true)).unwrap_err();
    assert_eq!(error.to_string(), "there is a peer group `npci` already");
    let remove = |name: &str| Edit::RemovePeerGroup { peer_group: name.to_owned() };
    assert!(applied(remove("npci")).unwrap().peer_groups.is_empty());
    assert_eq!(missing(remove("x")), "there is no peer group `x`");
}

#[test]
fn documents_add_replace_and_prune() {
    let document = Document { peer_group: vec![group("card")], tenant: vec![tenant("b"), tenant("c")] };
    let apply = |prune| applied(Edit::Apply { document: document.clone(), prune }).unwrap();
    let names = |tenancy: &Tenancy| {
        let keys = tenancy.peer_groups.keys().chain(tenancy.tenants.keys());
        keys.cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&apply(false)), "card npci a b c");
    assert_eq!(names(&apply(true)), "card b c");

    let twice = Document { tenant: vec![tenant("c"), tenant("c")], ..Document::default() };
    let error = applied(Edit::Apply { document: twice, prune: false }).unwrap_err();
    assert_eq!(error.to_string(), "the document has two tenants `c`");
    let twice = Document { peer_group: vec![group("g"), group("g")], ..Document::default() };
    let error = applied(Edit::Apply { document: twice, prune: true }).unwrap_err();
    assert_eq!(error.to_string(), "the document has two peer groups `g`");
}

#[test]
fn edits_build_on_each_other_and_all_are_made_or_none() {
    let add = Edit::PutTenant { tenant: tenant("c"), only_new: true };
    let remove = Edit::RemoveTenant { tenant: "c".to_owned() };
    assert_eq!(apply(&before(), &[add.clone(), remove.clone()]).unwrap(), before());
    assert!(apply(&before(), &[remove, add.clone()]).is_err());
    assert!(apply(&before(), &[add.clone(), add]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// What was added and is removed again leaves no trace, in its tenant or elsewhere.
    #[test]
    fn addressed_egress_comes_and_goes_alone(
        tenant in arbitrary::tenant(),
        others in arbitrary::tenancy(),
        egress in arbitrary::egress(),
    ) {
        let name = tenant.name.clone();
        let put_tenant = Edit::PutTenant { tenant: tenant.clone(), only_new: false };
        let put = Edit::PutEgress { tenant: name.clone(), egress: egress.clone() };
        let remove =
            Edit::RemoveEgress { tenant: name.clone(), egress: format!("{}:{}", egress.protocol, egress.port) };
        let with = apply(&others, &[put_tenant]).unwrap();
        let put_once = apply(&with, std::slice::from_ref(&put)).unwrap();
        prop_assert_eq!(&apply(&put_once, &[put]).unwrap(), &put_once);
        prop_assert!(put_once.tenants[&name].egress.contains(&egress));
        let same = |one: &EgressSpec| (&one.protocol, one.port) == (&egress.protocol, egress.port);
        if !tenant.egress.iter().any(same) {
            prop_assert_eq!(apply(&put_once, &[remove]).unwrap(), with);
        }
    }
}
