//! IO errors at every operation of a commit.

use std::io::ErrorKind;

use redb::Database;

use super::database::Failure;
use super::disk::{Disk, Fault};
use super::*;
use crate::store::suite::{change, many};
use crate::tenancy::Tenancy;

fn on(disk: &Disk) -> Embedded {
    let disk = disk.clone();
    let opener = move || database::builder().create_with_backend(disk.clone());
    with_opener("a disk".to_owned(), Box::new(opener), KEPT).unwrap()
}

/// A store with two versions, on a disk that works so far.
fn prepared() -> (Disk, Embedded, Snapshot) {
    let disk = Disk::new(Vec::new());
    let store = on(&disk);
    store.core.commit(&change(&Snapshot::default(), tenancy(["a", "b"]))).unwrap();
    let before = store.core.load().unwrap();
    store.core.commit(&change(&before, tenancy(["b", "c"]))).unwrap();
    let before = store.core.load().unwrap();
    (disk, store, before)
}

/// Breaks operation after operation of the same commit until none is left to break; answers with how many there were.
fn break_each(kind: ErrorKind, fault: impl Fn(usize) -> Fault, definite: bool) -> usize {
    let mut in_doubt = 0;
    for n in 0.. {
        let (disk, store, before) = prepared();
        // Large enough for the file to grow.
        let commit = change(&before, many(300, 10));
        disk.fail(fault(n), kind);
        let result = store.core.commit(&commit);
        if disk.failed() == 0 {
            result.unwrap();
            println!("{in_doubt} of {n} points leave it open");
            return n;
        }
        in_doubt += usize::from(recovers(&disk, &store, &commit, &result, definite));
    }
    unreachable!("a commit has an end")
}

/// After a fault: nothing is half done, the answer was true, and changes work again. Returns whether the change was
/// stored although its caller heard of a failure.
fn recovers(
    disk: &Disk,
    store: &Embedded,
    commit: &Commit,
    result: &Result<Version, StoreError>,
    definite: bool,
) -> bool {
    if let Err(error) = result {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(store.trouble().is_some(), "trouble is not told");
    }
    disk.fail(Fault::None, ErrorKind::Other);
    let before = Snapshot { version: commit.from, tenancy: commit.before.clone() };
    let after = Snapshot { version: touch::next(commit.from), tenancy: commit.after.clone() };
    // Nobody reads the store unless it tells of a version: the next change is made from what is in force.
    let in_force = if result.is_ok() { &after } else { &before };
    let next = store.core.commit(&change(in_force, tenancy(["later"])));
    assert_eq!(*store.watch().borrow(), read(store, tables::version), "what it holds is not told");
    let in_doubt = match next {
        Ok(_) => false,
        Err(StoreError::Conflict { current, .. }) if result.is_err() && !definite => {
            assert_eq!(current, after.version);
            assert_eq!(read(store, tables::load), after);
            store.core.commit(&change(&after, tenancy(["later"]))).unwrap();
            true
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(store.trouble(), None);
    let kept = if in_doubt { &after } else { in_force };
    assert_eq!(&read(store, |database| tables::at(database, kept.version)), kept);
    in_doubt
}

/// What the database holds, behind the store's back.
fn read<T>(store: &Embedded, work: impl FnOnce(&Database) -> Result<T, Failure>) -> T {
    store.core.handle.with(work).unwrap()
}

/// A store that failed to store a change on top of a version, although it is stored; the disk works again.
async fn in_doubt() -> (Embedded, Snapshot) {
    for n in 0.. {
        let (disk, store, before) = prepared();
        disk.fail(Fault::From(n), ErrorKind::Other);
        let result = store.commit(change(&before, tenancy(["x"]))).await;
        assert!(disk.failed() > 0, "there is no operation that leaves it open");
        disk.fail(Fault::None, ErrorKind::Other);
        if result.is_err() && read(&on(&Disk::new(disk.bytes())), tables::version) > before.version {
            return (store, before);
        }
    }
    unreachable!("a commit has an end")
}

#[tokio::test(start_paused = true)]
async fn whoever_meets_a_version_that_nobody_heard_of_makes_it_known() {
    let (store, before) = in_doubt().await;
    assert_eq!(*store.watch().borrow(), before.version);
    let error = store.core.commit(&change(&before, tenancy(["y"]))).unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(*store.watch().borrow(), touch::next(before.version));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_failed_and_is_stored_becomes_known_without_another() {
    let (store, before) = in_doubt().await;
    let mut newest = store.watch();
    let seen = newest.wait_for(|seen| *seen > before.version);
    tokio::time::timeout(suite::PATIENCE, seen).await.expect("nobody is told").unwrap();
    assert_eq!(store.load().await.unwrap().tenancy, tenancy(["x"]));
}

#[test]
fn a_disk_that_fills_up_at_any_write_changes_nothing() {
    let points = break_each(ErrorKind::StorageFull, Fault::From, false);
    println!("{points} points");
    assert!(points > 10, "only {points} operations in a commit");
}

#[test]
fn one_failed_operation_anywhere_leaves_no_doubt() {
    let points = break_each(ErrorKind::Other, Fault::Once, true);
    println!("{points} points");
    assert!(points > 10, "only {points} operations in a commit");
}

#[test]
fn a_disk_that_dies_at_any_operation_tears_nothing() {
    let points = break_each(ErrorKind::Other, Fault::From, false);
    println!("{points} points");
    assert!(points > 10, "only {points} operations in a commit");
}

#[test]
fn while_the_disk_is_full_every_change_is_refused_and_says_so() {
    let (disk, store, before) = prepared();
    disk.fail(Fault::From(0), ErrorKind::StorageFull);
    for _ in 0..3 {
        let error = store.core.commit(&change(&before, many(300, 10))).unwrap_err();
        let StoreError::Unavailable { remedy, .. } = error else { panic!("{error}") };
        assert!(remedy.contains("make room"), "{remedy}");
    }
    disk.fail(Fault::None, ErrorKind::Other);
    assert_eq!(store.core.load().unwrap(), before);
    store.core.commit(&change(&before, many(300, 10))).unwrap();
}

#[test]
fn a_stale_change_is_refused_even_if_the_database_had_to_be_opened_again() {
    let (disk, store, before) = prepared();
    disk.fail(Fault::From(0), ErrorKind::Other);
    store.core.commit(&change(&before, tenancy(["x"]))).unwrap_err();
    disk.fail(Fault::None, ErrorKind::Other);
    let stale = Snapshot { version: Version(before.version.0 - 1), tenancy: Tenancy::default() };
    let error = store.core.commit(&change(&stale, tenancy(["y"]))).unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
}
