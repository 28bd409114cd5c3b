//! Whatever a document can say of an object, a verb can.

use serde::Serialize;
use serde_json::Value;

use super::change::Served;
use crate::api::controller::Controller as _;
use crate::tenancy::spec::{
    AdminState, BackendSpec, EgressSpec, EndpointSpec, HealthSpec, ListenerSpec, PeerGroupSpec, PoolSpec,
    TenantSpec, TimeoutsSpec,
};

fn text(text: &str) -> String {
    text.to_owned()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

// In each of these every field stands, and none as it is when nothing is said: a field that is new does not compile,
// or is seen by `is_filled`, until a verb sets it.

fn group() -> PeerGroupSpec {
    let endpoint = EndpointSpec { address: text("203.0.113.0/24"), protocol: text("tcp"), port: Some(443) };
    PeerGroupSpec { name: text("npci"), endpoint: vec![endpoint] }
}

/// No daemon would take it: fields of different checks exclude each other.
fn health() -> HealthSpec {
    HealthSpec {
        check: text("script"),
        interval_ms: Some(1_500),
        timeout_ms: Some(300),
        rise: Some(4),
        fall: Some(5),
        jitter_percent: Some(25),
        assume_up: Some(true),
        passive: Some(true),
        port: Some(8_081),
        path: Some(text("/live")),
        host: Some(text("web.example")),
        expect_status: Some(text("200-204")),
        send_hex: Some(text("000c")),
        expect_hex: Some(text("00..")),
    }
}

fn backend() -> BackendSpec {
    BackendSpec {
        address: text("10.1.0.5"),
        port: 8_080,
        weight: Some(3),
        state: AdminState::Draining,
        drain_until: Some(1),
    }
}

fn pool(name: &str) -> PoolSpec {
    PoolSpec {
        name: text(name),
        when_all_down: Some(text("drop")),
        on_backend_down: Some(text("reset")),
        slow_start_secs: Some(30),
        health: Some(Box::new(health())),
        backend: vec![backend()],
    }
}

fn listener() -> ListenerSpec {
    ListenerSpec {
        name: text("upi"),
        protocol: text("udp"),
        port: 443,
        pool: text("web"),
        source: Some(text("preserve")),
        allow: texts(&["192.0.2.0/24", "203.0.113.0/24"]),
    }
}

fn egress() -> EgressSpec {
    EgressSpec { protocol: text("udp"), port: 9_001, to: text("203.0.113.7:53") }
}

fn timeouts() -> TimeoutsSpec {
    TimeoutsSpec { tcp_established_secs: Some(600), udp_secs: Some(60), allow_short_timeouts: Some(true) }
}

/// No daemon would take it either.
fn tenant() -> TenantSpec {
    TenantSpec {
        name: text("bank-a"),
        nat_ip: text("198.51.100.30"),
        sources: texts(&["10.1.0.0/24"]),
        peer_groups: texts(&["npci"]),
        state: AdminState::Draining,
        drain_until: Some(1),
        hairpin_to: texts(&["bank-b"]),
        max_flows: Some(5_000),
        new_flows_per_second: Some(200),
        new_flows_burst: Some(400),
        reserved_ports: Some(630),
        ports_per_destination: Some(126),
        mss_clamp: Some(1_260),
        loose_source: Some(true),
        timeouts: Some(timeouts()),
        pool: vec![pool("web"), pool("app")],
        listener: vec![listener()],
        egress: vec![egress()],
    }
}

/// Every field, and there are as many as `fields`, differs from what it is when nothing is said.
fn is_filled<T: Serialize + Default>(filled: &T) {
    let (filled, empty) =
        (serde_json::to_value(filled).unwrap(), serde_json::to_value(T::default()).unwrap());
    for (name, value) in filled.as_object().unwrap() {
        assert_ne!(Some(value), empty.get(name), "`{name}` says nothing");
        assert_ne!(value, &Value::Null, "`{name}` says nothing");
    }
    for name in empty.as_object().unwrap().keys() {
        assert!(filled.get(name).is_some(), "`{name}` is not there");
    }
}

/// Deadlines are times from now on: only that there is one can be compared.
fn without_times(mut tenant: TenantSpec) -> TenantSpec {
    let backends = tenant.pool.iter_mut().flat_map(|pool| &mut pool.backend);
    let deadlines = backends.map(|backend| &mut backend.drain_until).chain([&mut tenant.drain_until]);
    for deadline in deadlines {
        *deadline = deadline.map(|_| 1);
    }
    tenant
}

const LIMITS: &str = "--hairpin-to bank-b --max-flows 5000 --new-flows-per-second 200 --new-flows-burst 400 \
    --reserved-ports 630 --ports-per-destination 126 --mss-clamp 1260 --loose-source --tcp-established-secs 600 --udp-secs 60 \
    --allow-short-timeouts";

const POOL_FIELDS: &str = "--when-all-down drop --on-backend-down reset --slow-start 30 --check script \
    --check-interval 1500 --check-timeout 300 --check-rise 4 --check-fall 5 --check-jitter 25 \
    --check-assume-up true --check-passive true --check-port 8081 --check-path /live --check-host web.example \
    --check-status 200-204 --check-send 000c --check-expect 00..";

#[test]
fn every_field_of_a_document_is_set_by_a_verb() {
    let served = Served::start();
    served.done("peer-group add npci --endpoint tcp:203.0.113.0/24:443");
    served.done(&format!(
        "tenant add bank-a --nat-ip 198.51.100.30 --source 10.1.0.0/24 --peer-group npci {LIMITS}"
    ));
    served.done(&format!("pool add bank-a web --backend 10.1.0.5:8080=3 {POOL_FIELDS}"));
    served.done("pool add bank-a app --backend 10.1.0.5:8080=3");
    served.done(&format!("pool set bank-a app {POOL_FIELDS}"));
    served.done(
        "listener add bank-a upi --protocol udp --port 443 --pool web --source preserve --allow 192.0.2.0/24 \
         --allow 203.0.113.0/24",
    );
    served.done("egress add bank-a udp:9001 --to 203.0.113.7:53");
    served.done("backend drain bank-a web 10.1.0.5:8080 --deadline 15m");
    served.done("backend drain bank-a app 10.1.0.5:8080 --deadline 15m");
    served.done("tenant drain bank-a --deadline 15m");

    let mut made = without_times(served.bank_a());
    // Where one that was changed stands is the controller's affair.
    made.pool.sort_by(|a, b| b.name.cmp(&a.name));
    assert_eq!(made, tenant());
    let made = served.running().controller.tenancy();
    assert_eq!(*made.tenancy.peer_groups["npci"], group());
}

#[test]
fn limits_are_set_and_taken_away_one_by_one() {
    let served = Served::start();
    served.done("tenant add bank-a --nat-ip 198.51.100.30 --source 10.1.0.0/24 --max-flows 7");
    served.done(&format!("tenant set bank-a {LIMITS}"));
    let expected = TenantSpec { pool: Vec::new(), ..tenant() };
    let made = served.bank_a();
    assert_eq!((made.max_flows, made.timeouts.as_ref()), (expected.max_flows, expected.timeouts.as_ref()));
    assert_eq!((made.hairpin_to, made.mss_clamp), (expected.hairpin_to, expected.mss_clamp));
    served.done("tenant set bank-a --max-flows 0 --udp-secs 0 --no-hairpin");
    let made = served.bank_a();
    assert_eq!((made.max_flows, made.hairpin_to), (None, Vec::new()));
    assert_eq!(made.timeouts, Some(TimeoutsSpec { udp_secs: None, ..timeouts() }));
    assert_eq!(made.new_flows_burst, Some(400), "what is not named stays");
    served.done("tenant set bank-a --tcp-established-secs 0 --allow-short-timeouts=false");
    assert_eq!(served.bank_a().timeouts, None);
}

#[test]
fn the_documents_of_this_test_leave_nothing_out() {
    is_filled(&tenant());
    is_filled(&timeouts());
    is_filled(&pool("web"));
    is_filled(&health());
    is_filled(&backend());
    is_filled(&listener());
    is_filled(&egress());
    is_filled(&group());
    is_filled(&group().endpoint[0]);
}
