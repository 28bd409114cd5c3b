//! Power that fails at every moment of many commits: what was written since the last sync is there, or not, or in
//! part, in any order.

use super::disk::{Disk, Op, apply};
use super::*;
use crate::store::suite::change;

/// The smallest unit that a disk writes whole.
const SECTOR: usize = 512;

/// Images of the disk that are tried for each moment, besides the one that has everything.
const SHUFFLES: usize = 3;

fn open_image(bytes: Vec<u8>) -> Result<Embedded, StoreError> {
    let disk = Disk::new(bytes);
    let opener = move || database::builder().create_with_backend(disk.clone());
    with_opener("an image".to_owned(), Box::new(opener), KEPT)
}

/// What was done to a disk, and which version was acknowledged when how much was done.
struct Recording {
    /// The disk before.
    base: Vec<u8>,
    done: Vec<Op>,
    acknowledged: Vec<(usize, Snapshot)>,
}

fn record(commits: u64) -> Recording {
    // The real file has its name only once it is complete: see `database::create`.
    let disk = Disk::new(Vec::new());
    let same = disk.clone();
    drop(with_opener(
        "x".into(),
        Box::new(move || database::builder().create_with_backend(same.clone())),
        KEPT,
    ));
    let disk = Disk::new(disk.bytes());
    let base = disk.bytes();
    let same = disk.clone();
    let store = with_opener(
        "x".into(),
        Box::new(move || database::builder().create_with_backend(same.clone())),
        KEPT,
    )
    .unwrap();
    let mut acknowledged = vec![(0, Snapshot::default())];
    for n in 1..=commits {
        let names: Vec<String> = (n..n + 5).map(|i| format!("t{}", i % 7)).collect();
        let after = tenancy(names.iter().map(String::as_str));
        let version = store.core.commit(&change(&acknowledged.last().unwrap().1, after.clone())).unwrap();
        acknowledged.push((disk.count(), Snapshot { version, tenancy: after }));
    }
    drop(store);
    Recording { base, done: disk.done(), acknowledged }
}

impl Recording {
    /// The disk if power fails after `cut` operations and everything until then got through; the next one in part.
    fn in_order(&self, cut: usize) -> Vec<u8> {
        let mut image = self.base.clone();
        self.done[..cut].iter().for_each(|op| apply(&mut image, op));
        if let Some(Op::Write { at, bytes }) = self.done.get(cut) {
            apply(&mut image, &Op::Write { at: *at, bytes: bytes[..bytes.len() / 2].to_vec() });
        }
        image
    }

    /// The disk if power fails after `cut` operations and of those since the last sync only some sectors got through.
    fn shuffled(&self, cut: usize, rng: &mut fastrand::Rng) -> Vec<u8> {
        let synced = self.done[..cut].iter().rposition(|op| matches!(op, Op::Sync)).unwrap_or(0);
        let mut image = self.base.clone();
        self.done[..synced].iter().for_each(|op| apply(&mut image, op));
        let mut floating: Vec<Op> = self.done[synced..cut].iter().flat_map(sectors).collect();
        floating.retain(|op| matches!(op, Op::Length(_)) || rng.bool());
        for op in &floating {
            apply(&mut image, op);
        }
        image
    }

    fn last_acknowledged(&self, cut: usize) -> usize {
        self.acknowledged.iter().rposition(|(count, _)| *count <= cut).unwrap()
    }

    fn check(&self, cut: usize, image: Vec<u8>) {
        let store = open_image(image).unwrap_or_else(|error| panic!("cut at {cut}: {error:?}"));
        let stored = store.core.load().unwrap();
        let last = self.last_acknowledged(cut);
        let allowed = &self.acknowledged[last..self.acknowledged.len().min(last + 2)];
        assert!(
            allowed.iter().any(|(_, snapshot)| *snapshot == stored),
            "cut at {cut}: version {} was acknowledged, {stored:?} is stored",
            allowed[0].1.version,
        );
        for (_, earlier) in &self.acknowledged[last.saturating_sub(KEPT - 1)..last] {
            let rebuilt = store.core.handle.with(|database| tables::at(database, earlier.version));
            assert_eq!(&rebuilt.unwrap(), earlier, "cut at {cut}");
        }
    }
}

fn sectors(op: &Op) -> Vec<Op> {
    match op {
        Op::Write { at, bytes } => bytes
            .chunks(SECTOR)
            .enumerate()
            .map(|(n, part)| Op::Write { at: at + n * SECTOR, bytes: part.to_vec() })
            .collect(),
        other => vec![other.clone()],
    }
}

#[test]
fn power_that_fails_at_any_moment_tears_nothing_and_loses_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let recording = record(2 * KEPT as u64);
    println!("{} moments", recording.done.len());
    assert!(recording.done.len() > 50, "hardly anything was written");
    for cut in 0..=recording.done.len() {
        recording.check(cut, recording.in_order(cut));
        for _ in 0..SHUFFLES {
            recording.check(cut, recording.shuffled(cut, &mut rng));
        }
    }
}
