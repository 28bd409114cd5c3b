//! Commits: small ones in one transaction, large ones staged, made visible by one transaction, and folded later.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, DeleteOptions, PutOptions, Txn, TxnOp};
use tracing::debug;

use super::keys::{Entry, Head, Keys, Staged, Touched};
use super::wire::{Seen, Wire};
use crate::store::touch::{self, Signature, Touch};
use crate::store::{Commit, StoreError, Version};

/// Objects that a transaction may write. etcd's own limit is 128 operations (`--max-txn-ops`); `meta/version`, the
/// history and what is forgotten need some, too.
const SMALL_OBJECTS: usize = 100;

/// Bytes of objects in a transaction. etcd's own limit is 1.5 MiB for a request (`--max-request-bytes`), and a commit
/// writes an object up to three times: itself, and before and after in the history.
pub(super) const SMALL_BYTES: usize = 256 << 10;

/// Bytes of a staged part, if it has more than one object.
const PART_BYTES: usize = 768 << 10;

/// The largest object: with what it was before it must fit into a staged part. Some 10,000 backends.
pub(super) const LARGEST_OBJECT: usize = 512 << 10;

/// Staged parts of a change: the transaction takes each off its lease, which is an operation.
const MOST_PARTS: usize = 100;

/// What was staged by a process that died is gone after this time. Longer than any commit takes.
const STAGED_FOR: Duration = Duration::from_secs(600);

/// How often a commit begins again because another node folded meanwhile. Each time is progress of that node.
const ATTEMPTS: usize = 10;

/// An accepted change.
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// If it says that objects are staged, they are still to be folded.
    pub head: Head,
    pub revision: i64,
}

/// Stores a change, if the version that it was made from is in force: by its number, and by its id as far as that is
/// known.
pub(super) async fn commit(
    wire: &Wire,
    commit: &Commit,
    made_from: Option<&str>,
    kept: u64,
) -> Result<Done, StoreError> {
    let id = format!("{:016x}", fastrand::u64(..));
    let mut parts = Parts::default();
    for touch in touch::touches(&commit.before, &commit.after) {
        parts.add(touch)?;
    }
    if parts.is_small() {
        let touched = Touched::Here(parts.into_touches());
        let write = Write { wire, commit, made_from, kept, id, touched };
        return write.flip().await;
    }
    // Before megabytes are staged for nothing.
    same(commit.from, made_from, &wire.head().await?.head)?;
    let staged = Staged { version: touch::next(commit.from), id: id.clone(), parts: parts.count()? };
    let lease = wire.lease(STAGED_FOR).await?;
    let done = match stage(wire, lease, &staged, parts).await {
        Ok(()) => {
            let touched = Touched::Staged(staged);
            Write { wire, commit, made_from, kept, id, touched }.flip().await
        }
        Err(error) => Err(error),
    };
    // Nothing depends on it after the change was accepted; otherwise this removes what was staged. Should etcd not
    // answer now, the lease ends by itself.
    if let Err(error) = wire.end_lease(lease).await {
        debug!(%error, "the lease of a staged change is left to expire");
    }
    done
}

/// Is it still the version that a change was made from?
fn same(from: Version, id: Option<&str>, head: &Head) -> Result<(), StoreError> {
    touch::same(from, head.version)?;
    match id {
        Some(id) if id != head.id => Err(StoreError::Conflict { from, current: head.version }),
        _ => Ok(()),
    }
}

/// The touched objects, cut into parts that etcd takes.
#[derive(Debug, Default)]
struct Parts {
    parts: Vec<Vec<Touch>>,
    /// Bytes in the last part.
    last_bytes: usize,
}

impl Parts {
    fn add(&mut self, touch: Touch) -> Result<(), StoreError> {
        let object = touch.after().map_or(0, |object| object.len());
        if object > LARGEST_OBJECT {
            return Err(too_large(&format!(
                "`{}` has {object} bytes, of {LARGEST_OBJECT} allowed",
                touch.key()
            )));
        }
        let bytes = touch::json(&touch).len();
        match self.parts.last_mut() {
            Some(last) if self.last_bytes + bytes <= PART_BYTES => {
                last.push(touch);
                self.last_bytes += bytes;
            }
            _ => {
                self.parts.push(vec![touch]);
                self.last_bytes = bytes;
            }
        }
        Ok(())
    }

    fn is_small(&self) -> bool {
        let objects: usize = self.parts.iter().map(Vec::len).sum();
        objects <= SMALL_OBJECTS && self.parts.len() <= 1 && self.last_bytes <= SMALL_BYTES
    }

    fn count(&self) -> Result<usize, StoreError> {
        match self.parts.len() {
            count if count <= MOST_PARTS => Ok(count),
            count => Err(too_large(&format!("the change has {count} parts, of {MOST_PARTS} allowed"))),
        }
    }

    fn into_touches(self) -> Vec<Touch> {
        self.parts.into_iter().flatten().collect()
    }
}

fn too_large(what: &str) -> StoreError {
    StoreError::Unavailable {
        message: format!("the change is too large for etcd: {what}"),
        remedy: "make the change in several steps; give a tenant with very many backends two pools"
            .to_owned(),
        source: None,
    }
}

/// Puts the parts where nobody looks yet. Each is freed as soon as it is there.
async fn stage(wire: &Wire, lease: i64, staged: &Staged, parts: Parts) -> Result<(), StoreError> {
    for (n, part) in parts.parts.into_iter().enumerate() {
        let options = PutOptions::new().with_lease(lease);
        let put = TxnOp::put(wire.keys.part(staged, n), touch::json(&part), Some(options));
        wire.txn(Txn::new().and_then([put])).await?;
    }
    Ok(())
}

/// What the one transaction needs.
struct Write<'a> {
    wire: &'a Wire,
    commit: &'a Commit,
    made_from: Option<&'a str>,
    kept: u64,
    id: String,
    touched: Touched,
}

impl Write<'_> {
    /// Makes the change visible, as soon as nothing is left to be folded.
    async fn flip(&self) -> Result<Done, StoreError> {
        for _ in 0..ATTEMPTS {
            let seen = self.wire.head().await?;
            same(self.commit.from, self.made_from, &seen.head)?;
            if seen.head.staged.is_some() {
                fold_seen(self.wire, &seen).await?;
                continue;
            }
            if let Some(revision) = self.try_flip(seen.mod_revision).await? {
                return Ok(Done { head: self.head(), revision });
            }
        }
        Err(StoreError::Unavailable {
            message: "other nodes kept the tenants in etcd busy".to_owned(),
            remedy: "try again".to_owned(),
            source: None,
        })
    }

    /// The revision of the new version; none when somebody else was faster.
    async fn try_flip(&self, on_top_of: i64) -> Result<Option<i64>, StoreError> {
        let unchanged = Compare::mod_revision(self.wire.keys.version(), CompareOp::Equal, on_top_of);
        match self.wire.txn(Txn::new().when([unchanged]).and_then(self.operations())).await {
            Ok(answer) => {
                let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
                Ok(answer.succeeded().then_some(revision))
            }
            Err(error) => self.was_accepted(error).await.map(Some),
        }
    }

    /// No answer is no refusal: whether it was accepted stands in `meta/version`.
    async fn was_accepted(&self, error: StoreError) -> Result<i64, StoreError> {
        match self.wire.head().await {
            Ok(seen) if seen.head.id == self.id => Ok(seen.mod_revision),
            _ => Err(error),
        }
    }

    fn head(&self) -> Head {
        let staged = match &self.touched {
            Touched::Here(_) => None,
            Touched::Staged(staged) => Some(staged.clone()),
        };
        Head { version: touch::next(self.commit.from), id: self.id.clone(), staged, ..Head::default() }
    }

    fn operations(&self) -> Vec<TxnOp> {
        let keys = &self.wire.keys;
        let (head, version) = (self.head(), touch::next(self.commit.from));
        let entry = Entry { signature: Signature::of(self.commit), touched: self.touched.clone() };
        let mut operations = vec![
            TxnOp::put(keys.version(), touch::json(&head), None),
            TxnOp::put(keys.history(version), touch::json(&entry), None),
        ];
        operations.extend(forget(keys, version.0.saturating_sub(self.kept)));
        match &self.touched {
            Touched::Here(touches) => operations.extend(touches.iter().map(|touch| write(keys, touch))),
            Touched::Staged(staged) => operations.extend((0..staged.parts).map(|n| adopt(keys, staged, n))),
        }
        operations
    }
}

/// Forgets the history up to a version.
fn forget(keys: &Keys, upto: u64) -> [TxnOp; 2] {
    let end = Version(upto + 1);
    let range = |from: String, end: String| TxnOp::delete(from, Some(DeleteOptions::new().with_range(end)));
    [
        range(keys.history(Version(0)), keys.history(end)),
        range(keys.staged_from(Version(0)), keys.staged_from(end)),
    ]
}

/// Writes an object as it is after a change.
fn write(keys: &Keys, touch: &Touch) -> TxnOp {
    let key = keys.object(&touch.key());
    match touch.after() {
        Some(object) => TxnOp::put(key, object, None),
        None => TxnOp::delete(key, None),
    }
}

/// Takes a part off its lease: it keeps its value, and etcd refuses the transaction if it is gone.
fn adopt(keys: &Keys, staged: &Staged, n: usize) -> TxnOp {
    TxnOp::put(keys.part(staged, n), Vec::new(), Some(PutOptions::new().with_ignore_value()))
}

/// Folds what is staged, if anything is.
pub(super) async fn fold(wire: &Wire) -> Result<(), StoreError> {
    fold_seen(wire, &wire.head().await?).await
}

/// Moves what is staged into `objects/`. Ends early when `meta/version` changes meanwhile: then somebody else folded.
async fn fold_seen(wire: &Wire, seen: &Seen) -> Result<(), StoreError> {
    let Some(staged) = &seen.head.staged else { return Ok(()) };
    for n in 0..staged.parts {
        let part = wire.part(staged, n, seen.revision).await?;
        for some in part.chunks(SMALL_OBJECTS) {
            let operations: Vec<TxnOp> = some.iter().map(|touch| write(&wire.keys, touch)).collect();
            if !while_unchanged(wire, seen, operations).await? {
                return Ok(());
            }
        }
    }
    let folded = touch::json(&Head { staged: None, ..seen.head.clone() });
    while_unchanged(wire, seen, vec![TxnOp::put(wire.keys.version(), folded, None)]).await.map(drop)
}

/// Does something only if `meta/version` is still what was seen; answers whether it was.
async fn while_unchanged(wire: &Wire, seen: &Seen, operations: Vec<TxnOp>) -> Result<bool, StoreError> {
    let unchanged = Compare::mod_revision(wire.keys.version(), CompareOp::Equal, seen.mod_revision);
    Ok(wire.txn(Txn::new().when([unchanged]).and_then(operations)).await?.succeeded())
}
