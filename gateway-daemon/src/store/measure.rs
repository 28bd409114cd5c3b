//! Figures, printed: `cargo test --lib store::measure -- --ignored --nocapture --test-threads=1`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::etcd::server::Server;
use super::suite::{change, many, tenant};
use super::{Snapshot, TenantStore, Version, embedded, etcd};
use crate::tenancy::spec::TenantSpec;

/// Backends of each tenant.
const BACKENDS: usize = 10;

/// Commits that are timed.
const COMMITS: u8 = 200;

/// Resident memory of this process.
fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

async fn first(store: &impl TenantStore, tenants: usize) {
    let start = Instant::now();
    store.commit(change(&Snapshot::default(), many(tenants, BACKENDS))).await.unwrap();
    println!("{} {tenants}: first commit of all {:?}", store.kind(), start.elapsed());
}

async fn commits(store: &impl TenantStore, tenants: usize) {
    let mut snapshot = store.load().await.unwrap();
    let mut took: Vec<Duration> = Vec::new();
    for n in 0..COMMITS {
        let mut after = snapshot.tenancy.clone();
        let spec = TenantSpec { nat_ip: format!("10.1.1.{n}"), ..tenant("changed") };
        after.tenants.insert("changed".into(), Arc::new(spec));
        let commit = change(&snapshot, after.clone());
        let start = Instant::now();
        let version = store.commit(commit).await.unwrap();
        took.push(start.elapsed());
        snapshot = Snapshot { version, tenancy: after };
    }
    took.sort();
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("{} {tenants}: commit of one p50 {p50:?} p99 {p99:?}", store.kind());
    assert_eq!(snapshot.version, Version(1 + u64::from(COMMITS)));
}

async fn load(store: &impl TenantStore, tenants: usize, before: f64) {
    let start = Instant::now();
    let snapshot = store.load().await.unwrap();
    let took = start.elapsed();
    println!("{} {tenants}: load {took:?}, RSS {before:.1} -> {:.1} MiB", store.kind(), rss_mib());
    assert!(snapshot.tenancy.tenants.len() > tenants);
}

/// Measures reading in a process of its own: what was freed before would hide in the figures.
fn load_afresh(role: &str, place: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["store::measure::reader", "--exact", "--ignored", "--nocapture"])
        .env("MEASURE_READER", format!("{role} {place}"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    text.lines().filter(|line| line.contains("RSS")).for_each(|line| println!("{line}"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the measurements"]
async fn reader() {
    let role = std::env::var("MEASURE_READER").expect("started by the measurements");
    let (role, place) = role.split_once(' ').unwrap();
    let before = rss_mib();
    let start = Instant::now();
    if role == "embedded" {
        let store = embedded::open(place.as_ref(), 100).unwrap();
        println!("open {:?}, RSS {:.1} MiB", start.elapsed(), rss_mib());
        load(&store, 1, before).await;
    } else {
        let dir = TempDir::new().unwrap();
        let config = etcd::EtcdConfig {
            endpoints: vec![place.to_owned()],
            prefix: "/gateway/".into(),
            tls: None,
            state_dir: dir.path().to_owned(),
            kept: 100,
        };
        let store = etcd::connect(config).await.unwrap();
        load(&store, 1, before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn embedded_figures() {
    for tenants in [220, 10_000] {
        let dir = TempDir::new().unwrap();
        let store = embedded::open(dir.path(), 100).unwrap();
        first(&store, tenants).await;
        commits(&store, tenants).await;
        drop(store);
        println!("file {} KiB", dir.path().join("tenants.redb").metadata().unwrap().len() / 1024);
        load_afresh("embedded", dir.path().to_str().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn etcd_figures() {
    for tenants in [220, 10_000] {
        let server = Server::start().await;
        let store = etcd::connect(server.config("a")).await.unwrap();
        first(&store, tenants).await;
        commits(&store, tenants).await;
        load_afresh("etcd", &server.config("a").endpoints[0]);
    }
}
