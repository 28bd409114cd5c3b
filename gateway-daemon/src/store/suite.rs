//! What every store must do, as functions that the tests of each store call.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::{Author, Commit, Snapshot, StoreError, TenantStore, Version};
use crate::tenancy::Tenancy;
use crate::tenancy::spec::{BackendSpec, ListenerSpec, PoolSpec, TenantSpec};

/// How many versions the stores under test keep.
pub(super) const KEPT: usize = 5;

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A tenant with one backend.
pub(super) fn tenant(name: &str) -> TenantSpec {
    TenantSpec { name: name.into(), nat_ip: "10.0.0.1".into(), ..TenantSpec::default() }
}

/// Tenants of these names.
pub(super) fn tenancy<'a>(names: impl IntoIterator<Item = &'a str>) -> Tenancy {
    let tenants = names.into_iter().map(|name| (name.to_owned(), Arc::new(tenant(name)))).collect();
    Tenancy { tenants, ..Tenancy::default() }
}

/// Many tenants, as large as real ones are: `backends` servers each, a pool, a listener.
pub(super) fn many(tenants: usize, backends: usize) -> Tenancy {
    let one = |index: usize| {
        let name = format!("tenant-{index:05}");
        let host = |n: usize| format!("10.{}.{}.{}", index / 250, index % 250, n + 1);
        let spec = TenantSpec {
            name: name.clone(),
            nat_ip: format!("172.16.{}.{}", index / 250, index % 250),
            sources: vec![format!("10.{}.{}.0/24", index / 250, index % 250)],
            pool: vec![PoolSpec {
                name: "web".into(),
                backend: (0..backends)
                    .map(|n| BackendSpec { address: host(n), port: 8080, ..BackendSpec::default() })
                    .collect(),
                ..PoolSpec::default()
            }],
            listener: vec![ListenerSpec {
                name: "upi".into(),
                protocol: "tcp".into(),
                port: u16::try_from(1024 + index).expect("few enough tenants"),
                pool: "web".into(),
                allow: vec!["0.0.0.0/0".into()],
                ..ListenerSpec::default()
            }],
            ..TenantSpec::default()
        };
        (name, Arc::new(spec))
    };
    Tenancy { tenants: (0..tenants).map(one).collect(), ..Tenancy::default() }
}

/// A change on top of a version.
pub(super) fn change(from: &Snapshot, after: Tenancy) -> Commit {
    Commit {
        from: from.version,
        before: from.tenancy.clone(),
        after,
        author: Author { who: "root (uid 0)".into(), why: format!("after {}", from.version) },
        at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + from.version.0),
    }
}

/// What the nth version of the tests holds: tenants come, change and go.
fn nth(n: u64) -> Tenancy {
    let mut tenancy = tenancy(["always"]);
    for i in n.saturating_sub(3)..n {
        let nat_ip = format!("10.0.{}.{i}", n % 2);
        let spec = TenantSpec { nat_ip, ..tenant(&format!("t{i}")) };
        tenancy.tenants.insert(spec.name.clone(), Arc::new(spec));
    }
    tenancy
}

/// Commits `n` versions on top of what is there; answers with all of them, the first one included.
pub(super) async fn grow(store: &impl TenantStore, n: u64) -> Vec<Snapshot> {
    let mut all = vec![store.load().await.unwrap()];
    for _ in 0..n {
        let last = all.last().unwrap();
        let after = nth(last.version.0 + 1);
        let version = store.commit(change(last, after.clone())).await.unwrap();
        assert_eq!(version, Version(last.version.0 + 1));
        all.push(Snapshot { version, tenancy: after });
    }
    all
}

/// A change that was made from another version is refused and changes nothing.
pub(super) async fn refuses_what_crossed(store: &impl TenantStore) {
    let all = grow(store, 2).await;
    let stale = change(&all[1], tenancy(["stale"]));
    let error = store.commit(stale).await.unwrap_err();
    let StoreError::Conflict { from, current } = error else { panic!("{error}") };
    assert_eq!((from, current), (all[1].version, all[2].version));
    let future = Snapshot { version: Version(all[2].version.0 + 1), tenancy: Tenancy::default() };
    let error = store.commit(change(&future, tenancy(["early"]))).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(store.load().await.unwrap(), all[2]);
    assert_eq!(store.history(1, None).await.unwrap()[0].version, all[2].version);
}

/// History: newest first, pages, bounded; every version that can be reached by undoing is what it was.
pub(super) async fn remembers(store: &impl TenantStore) {
    let all = grow(store, 2 * KEPT as u64).await;
    let newest = all.last().unwrap().version;
    let history = store.history(100, None).await.unwrap();
    let versions: Vec<u64> = history.iter().map(|entry| entry.version.0).collect();
    let kept: Vec<u64> = (newest.0 - KEPT as u64 + 1..=newest.0).rev().collect();
    assert_eq!(versions, kept);
    let page = store.history(2, Some(Version(newest.0 - 1))).await.unwrap();
    assert_eq!(page, history[2..4]);

    let last = &history[0];
    assert_eq!(last.author.why, format!("after {}", newest.0 - 1));
    assert_eq!(last.at_unix_ms, 1_700_000_000_000 + newest.0 - 1);
    let paths: BTreeSet<&str> =
        last.changes.iter().filter_map(|change| change.path.split(']').next()).collect();
    assert!(paths.contains(format!("tenant[t{}", newest.0 - 1).as_str()), "{paths:?}");
    assert!(!paths.contains("tenant[always"), "{paths:?}");

    let oldest = newest.0 - KEPT as u64;
    for snapshot in all.iter().filter(|snapshot| snapshot.version.0 >= oldest) {
        assert_eq!(&store.at(snapshot.version).await.unwrap(), snapshot);
    }
    for version in [Version(oldest - 1), Version(newest.0 + 1)] {
        let error = store.at(version).await.unwrap_err();
        assert!(matches!(error, StoreError::NoSuchVersion { version: named } if named == version), "{error}");
    }
}

/// Whoever watches sees every change that is made here.
pub(super) async fn wakes_watchers(store: &impl TenantStore) {
    let mut watch = store.watch();
    let before = store.load().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), before.version);
    let version = store.commit(change(&before, tenancy(["w"]))).await.unwrap();
    tokio::time::timeout(PATIENCE, watch.wait_for(|seen| *seen == version)).await.unwrap().unwrap();
}

/// Many that commit at once: each version has one author, and nothing that was acknowledged is lost.
pub(super) async fn one_wins_each_version<S: TenantStore>(stores: &[Arc<S>], each: usize) {
    let start = stores[0].load().await.unwrap().version;
    let mut tasks = tokio::task::JoinSet::new();
    for (index, store) in stores.iter().enumerate() {
        tasks.spawn(keep_adding(store.clone(), index, each));
    }
    let accepted: Vec<(Version, String)> = tasks.join_all().await.into_iter().flatten().collect();
    let versions: BTreeSet<Version> = accepted.iter().map(|(version, _)| *version).collect();
    assert_eq!(versions.len(), accepted.len(), "a version was given to two");
    assert_eq!(accepted.len(), stores.len() * each);
    let last = stores[0].load().await.unwrap();
    assert_eq!(last.version.0, start.0 + accepted.len() as u64);
    for (_, name) in &accepted {
        assert!(last.tenancy.tenants.contains_key(name), "{name} was acknowledged and is lost");
    }
}

async fn keep_adding<S: TenantStore>(store: Arc<S>, index: usize, each: usize) -> Vec<(Version, String)> {
    let mut accepted = Vec::new();
    while accepted.len() < each {
        let name = format!("by-{index}-{}", accepted.len());
        let before = store.load().await.unwrap();
        let mut after = before.tenancy.clone();
        after.tenants.insert(name.clone(), Arc::new(tenant(&name)));
        match store.commit(change(&before, after)).await {
            Ok(version) => accepted.push((version, name)),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    accepted
}
