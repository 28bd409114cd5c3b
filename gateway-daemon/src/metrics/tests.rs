//! The pages as a scraper sees them.

mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::HeaderMap;
use gateway_common::drop_reason::DropReason;
use gateway_common::tables::FlowTable;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::labels::{ApiRole, CheckResult, CodeClass, Kind, Outcome, StoreFault};
use super::pools::PoolHealth;
use super::ports::{PortUse, TenantPorts};
use super::probes::{Check, Readiness};
use super::{Metrics, Reading, classic, server};
use crate::api::fake::{self, FakeSource};
use crate::cli::golden::assert_golden;
use crate::store::{StoreError, Version};

fn reading() -> Reading {
    Reading { status: fake::status(), drops: fake::drops() }
}

/// A daemon that has been at work: every family has a sample.
fn busy() -> Metrics {
    let metrics = Metrics::default();
    metrics.desired_version(Version(12));
    metrics.applied_version(Version(11));
    metrics.full_sync_done(Duration::from_millis(250));
    metrics.flow_round_done(Duration::from_millis(1_500));
    metrics.pools(vec![PoolHealth {
        tenant: "bank-a".parse().unwrap(),
        pool: "web".parse().unwrap(),
        up: 3,
        rising: 2,
        down: 1,
        unchecked: 0,
    }]);
    let ports = |busiest| PortUse {
        busiest,
        capacity: 64_512,
        tenants: BTreeMap::from([(
            "bank-a".to_owned(),
            TenantPorts { busiest, quota: 2_048, inside: 1_024, inside_quota: 2_048 },
        )]),
    };
    assert_eq!(metrics.ports(ports(1_741), |_| true).len(), 1);
    assert_eq!(metrics.ports(ports(700), |_| true), []);
    metrics.tenant_flows_compared((9, 2));
    metrics.tenant_flows_compared((3, 1));
    metrics
}

fn has_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
}

/// One line a family: kind, name of its samples, their labels, unit, help.
fn families_of(text: &str) -> String {
    let mut families: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        let mut words = line.splitn(3, ' ');
        if let (Some(what), Some(name), Some(value)) = (words.next(), words.next(), words.next()) {
            families.entry(name).or_default().insert(what, value);
        }
    }
    let mut samples: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let names = labels.split(',').filter_map(|label| label.split_once('='));
        let names: Vec<_> = names.map(|(name, _)| name).collect();
        let names = if names.is_empty() { String::new() } else { format!("{{{}}}", names.join(",")) };
        samples.entry(name.to_owned()).or_default().insert(names);
    }
    let mut lines = String::new();
    for (name, family) in &families {
        let kind = family["TYPE"];
        let sample = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => (*name).to_owned(),
        };
        let labels = samples.remove(&sample).unwrap_or_else(|| panic!("{sample} has no sample"));
        assert_eq!(labels.len(), 1, "{sample}: its samples differ in their labels");
        let labels = labels.first().unwrap();
        lines.extend([kind, " ", &sample, labels, ": ", family["HELP"], "\n"]);
    }
    assert!(samples.is_empty(), "samples without a family: {samples:?}");
    lines
}

#[test]
fn the_list_of_metrics_is_the_committed_one() {
    assert_golden("metrics.txt", &families_of(&busy().render(Some(reading()))));
}

#[test]
fn numbers_arrive_under_the_right_name() {
    let metrics = Metrics::default();
    metrics.expired_flows(FlowTable::Established).inc_by(5);
    metrics.clone().expired_flows(FlowTable::HalfOpen).inc_by(6);
    metrics.neighbour_refreshes().inc_by(7);
    let text = metrics.render(Some(reading()));
    for line in [
        "gateway_up 1",
        "gateway_config_generation 3",
        "gateway_warnings 1",
        "gateway_uptime_seconds 7384",
        "gateway_interface_attached{interface=\"ext0\",side=\"external\",hook=\"xdp\"} 1",
        "gateway_table_entries{table=\"flows\"} 123456",
        "gateway_table_capacity{table=\"flows\"} 524288",
        "gateway_packets_total{result=\"passed\"} 1111",
        "gateway_packets_total{result=\"translated\"} 2222",
        "gateway_packets_total{result=\"arp_answered\"} 3333",
        "gateway_packets_total{result=\"echo_answered\"} 4444",
        "gateway_flows_opened_total 5555",
        "gateway_flows_established_total 6666",
        "gateway_flow_races_adopted_total 7777",
        "gateway_port_retries_total 8888",
        "gateway_drops_total{reason=\"ports_exhausted\"} 3400",
        "gateway_drops_total{reason=\"no_lease\"} 0",
        "gateway_expired_flows_total{table=\"flows\"} 5",
        "gateway_expired_flows_total{table=\"half_open\"} 6",
        "gateway_neighbour_refreshes_total 7",
        "gateway_tenant_packets_total{tenant=\"bank-a\",direction=\"from_external\"} 30000",
        "gateway_tenant_packets_total{tenant=\"bank-a\",direction=\"to_external\"} 60000",
        "gateway_tenant_bytes_total{tenant=\"bank-b\",direction=\"from_external\"} 31000000",
        "gateway_tenant_bytes_total{tenant=\"bank-b\",direction=\"to_external\"} 93000000",
        "gateway_tenant_flows{tenant=\"bank-a\"} 3000",
        "gateway_tenant_half_open_flows{tenant=\"bank-a\"} 30",
        "gateway_tenant_flows_opened_total{tenant=\"bank-a\"} 15000",
        "gateway_tenant_dropped_packets_total{tenant=\"bank-b\"} 1",
        "# EOF",
    ] {
        has_line(&text, line);
    }
    let reasons = text.lines().filter(|line| line.starts_with("gateway_drops_total{")).count();
    assert_eq!(reasons, DropReason::ALL.len());
}

#[test]
fn what_the_tasks_note_arrives_under_the_right_name() {
    let metrics = busy();
    metrics.reconcile_runs(Outcome::Done).inc_by(40);
    metrics.reconcile_changes(Kind::MapEntry).inc_by(41);
    metrics.repairs(Kind::Link).inc_by(42);
    metrics.store_errors(StoreFault::from(&StoreError::NoSuchVersion { version: Version(3) })).inc_by(43);
    metrics.api_requests(ApiRole::Operator, CodeClass::Client).inc_by(44);
    metrics.health_checks(CheckResult::TimedOut).inc_by(45);
    metrics.health_check_overruns().inc_by(46);
    metrics.store_trouble(true);
    metrics.config_stale(true);
    metrics.config_reloaded(Outcome::Failed);
    let text = metrics.render(None);
    for line in [
        "gateway_reconcile_runs_total{outcome=\"done\"} 40",
        "gateway_reconcile_runs_total{outcome=\"failed\"} 0",
        "gateway_reconcile_changes_total{kind=\"map_entry\"} 41",
        "gateway_repairs_total{kind=\"link\"} 42",
        "gateway_repairs_total{kind=\"address\"} 0",
        "gateway_full_sync_duration_seconds 0.25",
        "gateway_flow_round_duration_seconds 1.5",
        "gateway_store_version 12",
        "gateway_applied_version 11",
        "gateway_store_errors_total{error=\"refused\"} 43",
        "gateway_store_trouble 1",
        "gateway_config_reloads_total{outcome=\"failed\"} 1",
        "gateway_config_last_reload_successful 0",
        "gateway_config_stale 1",
        "gateway_api_requests_total{code=\"4xx\",role=\"operator\"} 44",
        "gateway_health_checks_total{result=\"timed_out\"} 45",
        "gateway_health_check_overruns_total 46",
        "gateway_pool_backends{tenant=\"bank-a\",pool=\"web\",state=\"up\"} 3",
        "gateway_pool_backends{tenant=\"bank-a\",pool=\"web\",state=\"rising\"} 2",
        "gateway_pool_backends{tenant=\"bank-a\",pool=\"web\",state=\"down\"} 1",
        "gateway_egress_ports 700",
        "gateway_egress_ports_capacity 64512",
        "gateway_tenant_egress_ports{tenant=\"bank-a\"} 700",
        "gateway_tenant_egress_ports_quota{tenant=\"bank-a\"} 2048",
        "gateway_tenant_egress_ports_high_water{tenant=\"bank-a\"} 1741",
        "gateway_tenant_ports_used_ratio{tenant=\"bank-a\"} 0.5",
        "gateway_tenant_ports_levels_reached_total{percent=\"85\"} 1",
        "gateway_tenant_ports_levels_reached_total{percent=\"70\"} 0",
        "gateway_tenant_flows_drift 3",
        "gateway_tenant_flows_corrections_total 3",
    ] {
        has_line(&text, line);
    }
    assert!(!text.lines().any(|line| line == "gateway_reconcile_lag_seconds 0.0"), "behind by one version");
    metrics.applied_version(Version(12));
    metrics.config_reloaded(Outcome::Done);
    let text = metrics.render(None);
    has_line(&text, "gateway_reconcile_lag_seconds 0.0");
    has_line(&text, "gateway_config_last_reload_successful 1");
}

#[test]
fn an_interface_that_is_gone_shows_as_not_attached() {
    let mut reading = reading();
    fake::delete(&mut reading.status.interfaces[1]);
    let text = Metrics::default().render(Some(reading));
    has_line(&text, "gateway_interface_attached{interface=\"int0\",side=\"internal\",hook=\"none\"} 0");
}

#[test]
fn without_a_reading_the_gateway_is_down_and_its_own_counters_stay() {
    let text = Metrics::default().render(None);
    has_line(&text, "gateway_up 0");
    has_line(&text, "gateway_neighbour_refreshes_total 0");
    assert!(!text.contains("gateway_tenant_flows{"), "{text}");
}

/// Checks that a test may change; none of them is a defect.
#[derive(Default)]
struct FakeReadiness(Mutex<Vec<Check>>);

impl Readiness for FakeReadiness {
    fn checks(&self) -> Vec<Check> {
        let checks = self.0.lock().unwrap().clone();
        assert!(!checks.is_empty(), "the fake was told to panic");
        checks
    }
}

/// The pages behind a port of the loopback.
struct Pages {
    address: std::net::SocketAddr,
    source: Arc<FakeSource>,
    readiness: Arc<FakeReadiness>,
    metrics: Metrics,
    _trigger: crate::drain::Trigger,
}

impl Pages {
    async fn serve() -> Self {
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let source = FakeSource::new();
        let readiness = Arc::new(FakeReadiness(Mutex::new(vec![Check::passed("programs", "all there")])));
        let metrics = Metrics::default();
        let (trigger, shutdown) = crate::drain::channel();
        let pages =
            server::Pages { source: source.clone(), readiness: readiness.clone(), metrics: metrics.clone() };
        tokio::spawn(server::serve(listener, pages, shutdown.requested()));
        Self { address, source, readiness, metrics, _trigger: trigger }
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        self.get_accepting(path, "*/*").await
    }

    async fn get_accepting(&self, path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "test").header("accept", accept);
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn a_scrape_gets_openmetrics() {
    let pages = Pages::serve().await;
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let (status, headers, body) = pages.get_accepting("/metrics", accept).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(body, Metrics::default().render(Some(reading())));

    pages.source.broken.store(true, Ordering::Relaxed);
    let (status, _, body) = pages.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    has_line(&body, "gateway_up 0");
}

#[tokio::test]
async fn whoever_does_not_ask_for_openmetrics_gets_the_older_format() {
    let pages = Pages::serve().await;
    let (_, headers, body) = pages.get("/metrics").await;
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(body, classic::from_openmetrics(&Metrics::default().render(Some(reading()))));
    has_line(&body, "# TYPE gateway_drops_total counter");
}

#[tokio::test]
async fn the_node_is_ready_while_every_check_passes() {
    let pages = Pages::serve().await;
    assert_eq!(pages.get("/readyz").await.0, StatusCode::OK);
    let (status, _, body) = pages.get("/readyz?verbose").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "[+]programs ok: all there\nreadyz check passed\n"));

    pages.readiness.0.lock().unwrap().push(Check::failed("store", "no answer"));
    let (status, _, body) = pages.get("/readyz").await;
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "store: no answer\n"));
    let (status, _, body) = pages.get("/readyz?verbose=1").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.ends_with("[-]store failed: no answer\nreadyz check failed\n"), "{body}");

    pages.readiness.0.lock().unwrap().clear();
    let (status, _, body) = pages.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "readiness: the daemon met a defect of its own\n");
}

#[tokio::test]
async fn the_daemon_is_alive_whatever_is_wrong_around_it() {
    let pages = Pages::serve().await;
    pages.source.defect.store(true, Ordering::Relaxed);
    pages.readiness.0.lock().unwrap().clear();
    assert_eq!(pages.get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(pages.get("/livez").await.0, StatusCode::OK);
    assert_eq!(pages.get("/nowhere").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn probes_do_not_wait_for_a_scrape() {
    let pages = Pages::serve().await;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (tell, held) = tokio::sync::oneshot::channel();
    let source = pages.source.clone();
    let holder = std::thread::spawn(move || {
        let _held = source.status.lock().unwrap();
        tell.send(()).unwrap();
        released.recv().unwrap();
    });
    held.await.unwrap();
    let scrape = pages.get("/metrics");
    tokio::pin!(scrape);
    tokio::select! {
        biased;
        _ = &mut scrape => panic!("the scrape can't be done: its source is held"),
        (status, ..) = pages.get("/readyz") => assert_eq!(status, StatusCode::OK),
    }
    release.send(()).unwrap();
    holder.join().unwrap();
    assert_eq!(scrape.await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = server::bind(address).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
