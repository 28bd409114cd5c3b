//! IO errors at every operation of a commit.

use std::io::ErrorKind;

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
    for n in 0.. {
        let (disk, store, before) = prepared();
        // Large enough for the file to grow.
        let commit = change(&before, many(300, 10));
        disk.fail(fault(n), kind);
        let result = store.core.commit(&commit);
        if disk.failed() == 0 {
            result.unwrap();
            return n;
        }
        recovers(&disk, &store, &commit, &result, definite);
    }
    unreachable!("a commit has an end")
}

/// After a fault: nothing is half done, the answer was true, and changes work again.
fn recovers(
    disk: &Disk,
    store: &Embedded,
    commit: &Commit,
    result: &Result<Version, StoreError>,
    definite: bool,
) {
    if let Err(error) = result {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(store.trouble().is_some(), "trouble is not told");
    }
    disk.fail(Fault::None, ErrorKind::Other);
    let now = store.core.load().unwrap();
    let stored = now.version == touch::next(commit.from);
    assert_eq!(now.tenancy, if stored { commit.after.clone() } else { commit.before.clone() });
    match result {
        Ok(version) => assert_eq!(now.version, *version),
        // The disk works again at once: the store looks, and knows.
        Err(_) if definite => assert_eq!(now.version, commit.from),
        Err(_) => assert!(stored || now.version == commit.from),
    }
    store.core.commit(&change(&now, tenancy(["later"]))).unwrap();
    assert_eq!(store.trouble(), None);
    assert_eq!(store.core.handle.with(|database| tables::at(database, now.version)).unwrap(), now);
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
