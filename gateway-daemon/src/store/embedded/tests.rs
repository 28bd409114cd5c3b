//! The embedded store on a real file system.

mod disk;
mod faults;
mod torn;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::store::crash_check;
use crate::store::suite::{self, KEPT, tenancy};

fn store() -> (TempDir, Embedded) {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), KEPT).unwrap();
    (dir, store)
}

#[tokio::test]
async fn refuses_what_crossed() {
    suite::refuses_what_crossed(&store().1).await;
}

#[tokio::test]
async fn remembers() {
    suite::remembers(&store().1).await;
}

#[tokio::test]
async fn wakes_watchers() {
    suite::wakes_watchers(&store().1).await;
}

#[tokio::test]
async fn one_wins_each_version() {
    let (_dir, store) = store();
    let store = Arc::new(store);
    suite::one_wins_each_version(&[store.clone(), store.clone(), store.clone(), store], 10).await;
}

#[tokio::test]
async fn a_restart_finds_everything() {
    let (dir, store) = store();
    let all = suite::grow(&store, 4).await;
    let history = store.history(10, None).await.unwrap();
    drop(store);
    let store = open(dir.path(), KEPT).unwrap();
    assert_eq!(*store.watch().borrow(), Version(4));
    assert_eq!(store.load().await.unwrap(), all[4]);
    assert_eq!(store.history(10, None).await.unwrap(), history);
    for snapshot in &all {
        assert_eq!(&store.at(snapshot.version).await.unwrap(), snapshot);
    }
}

#[tokio::test]
async fn a_smaller_bound_forgets_at_the_next_change() {
    let (dir, store) = store();
    suite::grow(&store, 4).await;
    drop(store);
    let store = open(dir.path(), 2).unwrap();
    suite::grow(&store, 1).await;
    assert_eq!(store.history(10, None).await.unwrap().len(), 2);
}

#[test]
fn others_can_not_read_the_file() {
    let outer = TempDir::new().unwrap();
    let dir = outer.path().join("state");
    let _store = open(&dir, KEPT).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(database::FILE)), 0o600);
    let files: Vec<_> = dir.read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, [database::FILE]);
}

#[test]
fn a_second_daemon_is_told_who_has_it() {
    let (dir, _store) = store();
    let error = open(dir.path(), KEPT).unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { remedy, .. } if remedy.contains("stop the other")));
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

#[test]
fn a_file_cut_off_while_it_was_made_is_made_again() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("tenants.redb.new"), [0; 5000]).unwrap();
    let store = open(dir.path(), KEPT).unwrap();
    assert_eq!(store.core.load().unwrap(), Snapshot::default());
}

#[test]
fn a_newer_format_is_refused() {
    let (dir, store) = store();
    store.core.handle.with(|database| tables::write_format(database, 7)).unwrap();
    drop(store);
    let error = open(dir.path(), KEPT).unwrap_err();
    let StoreError::Corrupt { message, remedy } = error else { panic!("{error}") };
    assert!(message.contains("has format 7"), "{message}");
    assert!(remedy.contains("newer"), "{remedy}");
}

#[tokio::test]
async fn damage_is_found_at_start_wherever_it_is() {
    let (dir, store) = store();
    suite::grow(&store, 4).await;
    drop(store);
    let path = dir.path().join(database::FILE);
    let sound = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for page in 0..sound.len() / 4096 {
        let mut damaged = sound.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xa5);
        std::fs::write(&path, damaged).unwrap();
        refused += u32::from(refused_or_intact(dir.path(), page));
    }
    assert!(refused >= 4, "only {refused} pages mattered");
    std::fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    assert!(refused_or_intact(dir.path(), usize::MAX), "half a file was accepted");
}

/// Damage is refused with a remedy, or it hit a page that holds nothing.
fn refused_or_intact(dir: &Path, page: usize) -> bool {
    match open(dir, KEPT) {
        Ok(store) => {
            assert_eq!(store.core.load().unwrap().version, Version(4), "page {page}");
            false
        }
        Err(StoreError::Corrupt { message, remedy }) => {
            assert!(message.contains("tenants.redb"), "{message}");
            assert!(remedy.contains("apply -f"), "{remedy}");
            true
        }
        Err(error) => panic!("page {page}: {error:?}"),
    }
}

#[test]
fn a_file_that_is_something_else_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(database::FILE);
    std::fs::write(&path, "notes of the operator").unwrap();
    let error = open(dir.path(), KEPT).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"notes of the operator");
}

#[tokio::test]
async fn an_object_that_is_not_understood_is_named() {
    let (_dir, store) = store();
    suite::grow(&store, 1).await;
    store.core.handle.with(|database| tables::write_object(database, "tenant/x", b"{\"nam")).unwrap();
    let error = store.load().await.unwrap_err();
    let StoreError::Corrupt { message, .. } = error else { panic!("{error}") };
    assert!(message.contains("`tenant/x`"), "{message}");
    assert!(store.trouble().is_some());
}

/// Kills `kills` processes that run the test of this name, which calls this.
fn kill_and_check(test: &str, kills: u32) {
    crash_check::victim_if_asked();
    let dir = TempDir::new().unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let test = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let victim = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test.as_str(), "--exact", "--nocapture", "--include-ignored"]);
        command
    };
    let report = crash_check::run(victim, dir.path(), kills, seed).unwrap();
    println!("{report:?}");
    assert_eq!(report.kills, kills);
    assert!(report.versions > u64::from(kills), "the victims hardly got to commit: {report:?}");
}

#[test]
fn killed_20_times_it_loses_nothing() {
    kill_and_check("killed_20_times_it_loses_nothing", 20);
}

#[test]
#[ignore = "takes a minute; the suite of proofs runs it"]
fn killed_200_times_it_loses_nothing() {
    kill_and_check("killed_200_times_it_loses_nothing", 200);
}

#[tokio::test]
async fn an_empty_store_is_version_0() {
    let (_dir, store) = store();
    assert_eq!(store.load().await.unwrap(), Snapshot::default());
    assert_eq!(store.history(10, None).await.unwrap(), []);
    assert_eq!(store.at(Version(0)).await.unwrap(), Snapshot::default());
    assert_eq!(store.trouble(), None);
    let version = store.commit(suite::change(&Snapshot::default(), tenancy(["a"]))).await.unwrap();
    assert_eq!(store.at(Version(0)).await.unwrap(), Snapshot::default());
    assert_eq!(store.at(version).await.unwrap().tenancy, tenancy(["a"]));
}
