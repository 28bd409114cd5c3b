//! What differs, and nothing else.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tenancy::arbitrary;
use crate::tenancy::edit::{Edit, apply};
use crate::tenancy::spec::{BackendSpec, Document, ListenerSpec, PoolSpec, TenantSpec};

fn backend(host: u8) -> BackendSpec {
    BackendSpec { address: format!("10.0.0.{host}"), port: 80, ..BackendSpec::default() }
}

fn tenancy() -> Tenancy {
    let pool =
        PoolSpec { name: "web".to_owned(), backend: vec![backend(1), backend(2)], ..PoolSpec::default() };
    let tenant = TenantSpec { name: "bank-a".to_owned(), pool: vec![pool], ..TenantSpec::default() };
    Tenancy::from(&Document { tenant: vec![tenant], ..Document::default() })
}

fn changed(change: impl FnOnce(&mut TenantSpec)) -> Vec<FieldChange> {
    let before = tenancy();
    let mut after = before.clone();
    change(Arc::make_mut(after.tenants.get_mut("bank-a").unwrap()));
    diff(&before, &after)
}

fn only(changes: Vec<FieldChange>) -> (String, Option<Value>, Option<Value>) {
    let [change] = <[FieldChange; 1]>::try_from(changes).unwrap();
    let value = |text: Option<JsonText>| text.map(|text| serde_json::to_value(text).unwrap());
    (change.path, value(change.before), value(change.after))
}

#[test]
fn a_field_is_named_by_its_path() {
    let path = "tenant[bank-a].pool[web].backend[10.0.0.2:80].weight".to_owned();
    let change = changed(|tenant| tenant.pool[0].backend[1].weight = Some(7));
    assert_eq!(only(change), (path, None, Some(json!(7))));
    let change = changed(|tenant| tenant.sources.push("10.0.0.0/8".to_owned()));
    assert_eq!(
        only(change),
        ("tenant[bank-a].sources".to_owned(), Some(json!([])), Some(json!(["10.0.0.0/8"])))
    );
}

#[test]
fn a_new_or_removed_object_is_one_change() {
    let (path, before, after) = only(changed(|tenant| tenant.pool[0].backend.push(backend(3))));
    assert_eq!(path, "tenant[bank-a].pool[web].backend[10.0.0.3:80]");
    assert_eq!((before, after), (None, Some(json!({ "address": "10.0.0.3", "port": 80 }))));

    let (path, before, after) = only(changed(|tenant| drop(tenant.pool.remove(0))));
    assert_eq!((path.as_str(), after), ("tenant[bank-a].pool[web]", None));
    assert!(before.is_some());

    let (path, _, after) = only(diff(&tenancy(), &Tenancy::default()));
    assert_eq!((path.as_str(), after), ("tenant[bank-a]", None));
}

#[test]
fn a_listener_that_moves_to_another_pool_differs() {
    let listener = |pool: &str| ListenerSpec {
        name: "upi".to_owned(),
        pool: pool.to_owned(),
        ..ListenerSpec::default()
    };
    let with = |pool: &str| {
        let mut tenancy = tenancy();
        Arc::make_mut(tenancy.tenants.get_mut("bank-a").unwrap()).listener = vec![listener(pool)];
        tenancy
    };
    let path = "tenant[bank-a].listener[upi].pool".to_owned();
    assert_eq!(only(diff(&with("web"), &with("app"))), (path, Some(json!("web")), Some(json!("app"))));
}

#[test]
fn another_order_is_one_change_of_the_list() {
    let (path, before, after) = only(changed(|tenant| tenant.pool[0].backend.reverse()));
    assert_eq!(path, "tenant[bank-a].pool[web].backend");
    assert_eq!(before, Some(json!(["10.0.0.1:80", "10.0.0.2:80"])));
    assert_eq!(after, Some(json!(["10.0.0.2:80", "10.0.0.1:80"])));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn there_is_a_difference_exactly_between_different_versions(
        before in arbitrary::tenancy(),
        after in arbitrary::tenancy(),
        edits in prop::collection::vec(arbitrary::edit(), 0..3),
    ) {
        prop_assert_eq!(diff(&before, &after).is_empty(), before == after);
        let copy = Tenancy::from(&before.document());
        prop_assert_eq!(diff(&before, &copy), []);
        if let Ok(edited) = apply(&before, &edits) {
            prop_assert_eq!(diff(&before, &edited).is_empty(), before == edited);
        }
    }

    /// What a diff says is undone by what the diff of the opposite direction says.
    #[test]
    fn the_opposite_direction_has_the_same_paths(a in arbitrary::tenancy(), b in arbitrary::tenancy()) {
        let sorted = |changes: Vec<FieldChange>, swap: bool| {
            let mut all: Vec<_> = changes
                .into_iter()
                .map(|FieldChange { path, before, after }| {
                    let (before, after) = if swap { (after, before) } else { (before, after) };
                    (path, before.map(|v| v.to_string()), after.map(|v| v.to_string()))
                })
                .collect();
            all.sort();
            all
        };
        prop_assert_eq!(sorted(diff(&a, &b), false), sorted(diff(&b, &a), true));
    }

    #[test]
    fn the_document_is_the_whole(tenancy in arbitrary::tenancy()) {
        let apply_all = Edit::Apply { document: tenancy.document(), prune: true };
        prop_assert_eq!(apply(&Tenancy::default(), &[apply_all]).unwrap(), tenancy);
    }
}
