//! The etcd store against a real etcd.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::server::Server;
use super::*;
use crate::store::suite::{self, KEPT, PATIENCE, change, many, tenancy};
use crate::tenancy::Tenancy;

/// A change must be refused within this time when etcd is down: the deadline of one request and some.
const SOON: Duration = Duration::from_millis(4500);

async fn node(server: &Server, name: &str) -> Etcd {
    connect(server.config(name)).await.unwrap()
}

/// Polls until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn sees(node: &Etcd, version: Version) {
    let mut watch = node.watch();
    let seen = watch.wait_for(|seen| *seen == version);
    tokio::time::timeout(PATIENCE, seen).await.expect("the version is not seen").unwrap();
}

#[tokio::test]
async fn refuses_what_crossed() {
    let server = Server::start().await;
    suite::refuses_what_crossed(&node(&server, "a").await).await;
}

#[tokio::test]
async fn remembers() {
    let server = Server::start().await;
    suite::remembers(&node(&server, "a").await).await;
    let keys = server.keys().await;
    let history = keys.iter().filter(|key| key.starts_with("history/")).count();
    assert_eq!(history, KEPT, "{keys:?}");
}

#[tokio::test]
async fn wakes_watchers_on_every_node() {
    let server = Server::start().await;
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    suite::wakes_watchers(&a).await;
    sees(&b, *a.watch().borrow()).await;
    suite::wakes_watchers(&b).await;
    sees(&a, *b.watch().borrow()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wins_each_version_on_three_nodes() {
    let server = Server::start().await;
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(Arc::new(node(&server, name).await));
    }
    suite::one_wins_each_version(&nodes, 10).await;
}

#[tokio::test]
async fn an_empty_store_is_version_0() {
    let server = Server::start().await;
    let node = node(&server, "a").await;
    assert_eq!(node.load().await.unwrap(), Snapshot::default());
    assert_eq!(node.at(Version(0)).await.unwrap(), Snapshot::default());
    assert_eq!(node.history(10, None).await.unwrap(), []);
    assert_eq!(node.trouble(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_change_is_seen_whole_or_not_at_all() {
    let server = Server::start().await;
    let (a, b) = (node(&server, "a").await, Arc::new(node(&server, "b").await));
    let empty = a.load().await.unwrap();
    let small = tenancy(["first"]);
    a.commit(change(&empty, small.clone())).await.unwrap();
    let first = a.load().await.unwrap();
    let large = many(10_000, 2);
    let allowed = [first.clone(), Snapshot { version: Version(2), tenancy: large.clone() }];

    let reader = b.clone();
    let seen = tokio::spawn(async move {
        let mut newest = 0;
        let mut reads = 0;
        while newest < 2 {
            let snapshot = reader.load().await.unwrap();
            assert!(allowed.contains(&snapshot), "version {} is torn", snapshot.version);
            newest = snapshot.version.0;
            reads += 1;
        }
        reads
    });
    assert_eq!(a.commit(change(&first, large.clone())).await.unwrap(), Version(2));
    assert!(seen.await.unwrap() > 0);

    // On top of it while it may still be staged, and back again.
    let second = b.load().await.unwrap();
    let mut third = large.clone();
    third.tenants.retain(|name, _| !name.ends_with('7'));
    b.commit(change(&second, third.clone())).await.unwrap();
    assert_eq!(a.load().await.unwrap().tenancy, third);
    assert_eq!(a.at(Version(2)).await.unwrap().tenancy, large);
    assert_eq!(a.at(Version(1)).await.unwrap(), first);
    assert_eq!(a.history(1, Some(Version(3))).await.unwrap()[0].changes.len(), 10_001);

    let left = a.load().await.unwrap();
    a.commit(change(&left, Tenancy::default())).await.unwrap();
    let empty = b.load().await.unwrap();
    assert_eq!(empty.tenancy, Tenancy::default());
    suite::grow(&*b, KEPT as u64).await;
    let staged = server.keys().await.into_iter().find(|key| key.starts_with("staged/"));
    assert_eq!(staged, None, "parts that the history does not need any more are left");
}

#[tokio::test]
async fn a_fold_that_was_left_undone_is_done_by_the_next_change() {
    let server = Server::start().await;
    let node = node(&server, "a").await;
    let large = many(300, 2);
    let commit = change(&Snapshot::default(), large.clone());
    // As a node that dies right after the change was accepted.
    let done = change::commit(&node.shared.wire, &commit, None, 5).await.unwrap();
    assert!(done.head.staged.is_some());
    let objects = |keys: &[String]| keys.iter().filter(|key| key.starts_with("objects/")).count();
    assert_eq!(objects(&server.keys().await), 0);
    let there = node.load().await.unwrap();
    assert_eq!(there.tenancy, large);

    let mut after = large.clone();
    after.tenants.remove("tenant-00007");
    node.commit(change(&there, after.clone())).await.unwrap();
    assert_eq!(objects(&server.keys().await), 299);
    assert_eq!(node.load().await.unwrap().tenancy, after);
}

#[tokio::test]
async fn a_large_change_that_crossed_leaves_nothing_behind() {
    let server = Server::start().await;
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    let commits = [many(300, 2), many(301, 2)].map(|after| change(&Snapshot::default(), after));
    let [one, two] = commits;
    let (one, two) = tokio::join!(a.commit(one), b.commit(two));
    assert!(one.is_ok() ^ two.is_ok(), "{one:?} {two:?}");
    let ids: std::collections::BTreeSet<String> = server
        .keys()
        .await
        .iter()
        .filter_map(|key| Some(key.strip_prefix("staged/")?.split('/').next()?.to_owned()))
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test]
async fn an_object_that_is_too_large_is_refused_with_its_name() {
    let server = Server::start().await;
    let node = node(&server, "a").await;
    let error = node.commit(change(&Snapshot::default(), many(1, 20_000))).await.unwrap_err();
    let StoreError::Unavailable { message, .. } = error else { panic!("{error}") };
    assert!(message.contains("tenant/tenant-00000"), "{message}");
    assert_eq!(node.load().await.unwrap(), Snapshot::default());
}

#[tokio::test]
async fn when_etcd_dies_changes_are_refused_soon_and_work_again_when_it_is_back() {
    let mut server = Server::start().await;
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    suite::grow(&a, 2).await;
    let before = a.load().await.unwrap();
    server.kill();

    let start = Instant::now();
    let error = a.commit(change(&before, tenancy(["x"]))).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(matches!(a.load().await, Err(StoreError::Unavailable { .. })));
    assert!(start.elapsed() < 2 * SOON, "{:?}", start.elapsed());
    until("both say so", || a.trouble().is_some() && b.trouble().is_some()).await;

    server.run().await;
    until("both are well", || a.trouble().is_none() && b.trouble().is_none()).await;
    assert_eq!(a.load().await.unwrap(), before);
    let version = a.commit(change(&before, tenancy(["x"]))).await.unwrap();
    sees(&b, version).await;
    assert_eq!(b.load().await.unwrap().tenancy, tenancy(["x"]));
}

#[tokio::test]
async fn an_etcd_that_hangs_is_noticed() {
    let server = Server::start().await;
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    server.freeze();
    let start = Instant::now();
    let error = a.commit(change(&Snapshot::default(), tenancy(["x"]))).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    until("the watcher says so", || b.trouble().is_some()).await;
    server.thaw();
    until("both are well", || a.trouble().is_none() && b.trouble().is_none()).await;
    a.load().await.unwrap();
}

#[tokio::test]
async fn a_node_starts_with_the_last_known_tenants_while_etcd_is_down() {
    let mut server = Server::start().await;
    let config = server.config("a");
    let a = connect(config.clone()).await.unwrap();
    let known = suite::grow(&a, 3).await.pop().unwrap();
    until("it is kept", || a.shared.keeper.read().is_some_and(|kept| kept.snapshot == known)).await;
    drop(a);
    server.kill();

    let error = connect(server.config("new")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");

    let a = connect(config).await.unwrap();
    assert!(a.trouble().is_some());
    assert_eq!(*a.watch().borrow(), known.version);
    assert_eq!(a.load().await.unwrap(), known);
    let error = a.commit(change(&known, tenancy(["x"]))).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");

    server.run().await;
    until("it is well", || a.trouble().is_none()).await;
    let b = node(&server, "b").await;
    let version = b.commit(change(&known, tenancy(["y"]))).await.unwrap();
    sees(&a, version).await;
    assert_eq!(a.load().await.unwrap().tenancy, tenancy(["y"]));
}

#[tokio::test]
async fn etcd_that_is_killed_again_and_again_loses_no_acknowledged_change() {
    let mut server = Server::start().await;
    let node = node(&server, "a").await;
    let mut last = node.load().await.unwrap();
    for round in 0..4 {
        last = suite::grow(&node, 5).await.pop().unwrap();
        server.kill();
        server.run().await;
        until("it is well", || node.trouble().is_none()).await;
        let again = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Ok(snapshot) = node.load().await {
                    return snapshot;
                }
            }
        });
        assert_eq!(again.await.unwrap(), last, "round {round}");
    }
    assert_eq!(last.version, Version(20));
}

/// What another node makes of the versions that a restored cluster lost: as many as there were.
async fn grow_otherwise(server: &Server, versions: u64) -> Snapshot {
    let b = node(server, "b").await;
    let mut last = b.load().await.unwrap();
    for n in 0..versions {
        let tenancy = tenancy([format!("other-{n}").as_str()]);
        let version = b.commit(change(&last, tenancy.clone())).await.unwrap();
        last = Snapshot { version, tenancy };
    }
    last
}

#[tokio::test]
async fn another_version_of_the_same_number_is_noticed() {
    let mut server = Server::start().await;
    let a = node(&server, "a").await;
    let lost = suite::grow(&a, 3).await.pop().unwrap();
    assert!(a.is_newest(lost.version));
    let mut watch = a.watch();
    watch.mark_unchanged();
    server.kill();
    until("it is noticed", || a.trouble().is_some()).await;
    server.run_empty().await;
    let other = grow_otherwise(&server, 3).await;
    assert_eq!(other.version, lost.version);
    // Whatever this node has seen meanwhile, in the end it knows that it has to read.
    let has_to_read = || {
        let newest = *a.watch().borrow();
        newest == other.version && !a.is_newest(newest)
    };
    until("this node has to read", has_to_read).await;
    assert!(watch.has_changed().unwrap());
    let error = a.commit(change(&lost, tenancy(["x"]))).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(a.load().await.unwrap(), other);
    assert!(a.is_newest(other.version));
    a.commit(change(&other, tenancy(["x"]))).await.unwrap();
    assert!(a.is_newest(Version(other.version.0 + 1)));
}

#[tokio::test]
async fn a_node_that_started_with_the_last_known_tenants_notices_it_too() {
    let mut server = Server::start().await;
    let config = server.config("a");
    let a = connect(config.clone()).await.unwrap();
    let known = suite::grow(&a, 2).await.pop().unwrap();
    until("it is kept", || a.shared.keeper.read().is_some_and(|kept| kept.snapshot == known)).await;
    drop(a);
    server.kill();
    let a = connect(config).await.unwrap();
    assert_eq!(a.load().await.unwrap(), known);
    assert!(a.is_newest(known.version), "nothing newer is known");
    server.run_empty().await;
    let other = grow_otherwise(&server, 2).await;
    until("this node has to read", || !a.is_newest(known.version)).await;
    sees(&a, other.version).await;
    assert_eq!(a.load().await.unwrap(), other);
    assert!(a.is_newest(other.version));
}

#[tokio::test]
async fn folding_makes_no_other_version() {
    let server = Server::start().await;
    let (a, b) = (node(&server, "a").await, node(&server, "b").await);
    a.commit(change(&Snapshot::default(), many(300, 2))).await.unwrap();
    sees(&b, Version(1)).await;
    b.load().await.unwrap();
    change::fold(&a.shared.wire).await.unwrap();
    let revision = a.shared.wire.head().await.unwrap().mod_revision;
    until("the fold is seen", || b.shared.state().revision >= revision).await;
    assert!(a.is_newest(Version(1)) && b.is_newest(Version(1)));
}

#[tokio::test]
async fn a_newer_format_and_strange_values_are_refused() {
    let server = Server::start().await;
    let node = node(&server, "a").await;
    server.put("objects/tenant/x", "{\"nam").await;
    let error = node.load().await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { message, .. } if message.contains("objects/tenant/x")
        || message.contains("tenant/x")));
    server.put("meta/version", "{\"format\": 7, \"surprise\": true}").await;
    let error = node.commit(change(&Snapshot::default(), tenancy(["x"]))).await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { message, .. } if message.contains("format 7")));
    let error = connect(server.config("b")).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn settings_that_can_not_be_used_are_explained() {
    let server_less = EtcdConfig {
        endpoints: vec!["https://127.0.0.1:1".into()],
        prefix: "/gateway/".into(),
        tls: Some(EtcdTls { ca: "/nowhere/ca.pem".into(), cert: None, key: None }),
        state_dir: "/nowhere".into(),
        kept: 1,
    };
    let error = connect(server_less.clone()).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    let half = EtcdTls { cert: Some("/nowhere/cert.pem".into()), ca: "/dev/null".into(), key: None };
    let error = connect(EtcdConfig { tls: Some(half), ..server_less.clone() }).await.unwrap_err();
    assert!(error.to_string().contains("without a key"), "{error}");
    let error = connect(EtcdConfig { endpoints: vec![], tls: None, ..server_less }).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn with_tls_both_sides_show_a_certificate() {
    let dir = TempDir::new().unwrap();
    let [server, client] = ["server", "client"].map(|name| certificate(dir.path(), name));
    let server = Server::start_tls(dir, server).await;
    let tls = |tls: EtcdTls| EtcdConfig { tls: Some(tls), ..server.config("a") };
    let node = connect(tls(client.clone())).await.unwrap();
    suite::grow(&node, 2).await;
    let stranger = EtcdTls { cert: None, key: None, ..client };
    let error = connect(EtcdConfig { state_dir: server.dir().join("b"), ..tls(stranger) }).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

/// A certificate for 127.0.0.1, signed by an authority that is made when it is first needed.
fn certificate(dir: &Path, name: &str) -> EtcdTls {
    let script = r#"
        set -e; cd "$1"; name=$2
        new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch"
        [ -e ca.pem ] || $new -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
        $new -subj "/CN=$name" -keyout $name.key -out $name.csr
        printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' > $name.ext
        openssl x509 -req -days 2 -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile $name.ext -out $name.pem
    "#;
    let made = Command::new("sh").args(["-c", script, "sh"]).arg(dir).arg(name).output().unwrap();
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    EtcdTls {
        ca: dir.join("ca.pem"),
        cert: Some(dir.join(format!("{name}.pem"))),
        key: Some(dir.join(format!("{name}.key"))),
    }
}
