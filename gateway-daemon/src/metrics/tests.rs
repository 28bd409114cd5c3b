//! The pages as a scraper sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::HeaderMap;
use gateway_common::drop_reason::DropReason;
use gateway_common::tables::FlowTable;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Metrics, Reading, server};
use crate::api::fake::{self, FakeSource};
use crate::cli::golden::assert_golden;

fn reading() -> Reading {
    Reading { status: fake::status(), drops: fake::drops() }
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
    assert_golden("metrics.txt", &families_of(&Metrics::default().render(Some(reading()))));
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
    assert!(!text.contains("gateway_tenant"), "{text}");
}

/// The pages behind a port of the loopback.
struct Pages {
    address: std::net::SocketAddr,
    source: Arc<FakeSource>,
    _trigger: crate::drain::Trigger,
}

impl Pages {
    async fn serve() -> Self {
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let source = FakeSource::new();
        let (trigger, shutdown) = crate::drain::channel();
        let served = server::serve(listener, source.clone(), Metrics::default(), shutdown.requested());
        tokio::spawn(served);
        Self { address, source, _trigger: trigger }
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "test").body(Empty::<Bytes>::new()).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn a_scrape_gets_openmetrics() {
    let pages = Pages::serve().await;
    let (status, headers, body) = pages.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(body, Metrics::default().render(Some(reading())));

    pages.source.broken.store(true, Ordering::Relaxed);
    let (status, _, body) = pages.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    has_line(&body, "gateway_up 0");
}

#[tokio::test]
async fn the_node_is_ready_while_the_source_answers_and_all_interfaces_are_there() {
    let pages = Pages::serve().await;
    assert_eq!(pages.get("/readyz").await.0, StatusCode::OK);

    fake::delete(&mut pages.source.status.lock().unwrap().interfaces[0]);
    let (status, _, body) = pages.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "interface ext0 is not attached: there is no such interface\n");

    pages.source.broken.store(true, Ordering::Relaxed);
    let (status, _, body) = pages.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "cannot read the flow table: no such map\n");

    pages.source.defect.store(true, Ordering::Relaxed);
    assert_eq!(pages.get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(pages.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(pages.get("/nowhere").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = server::bind(address).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
