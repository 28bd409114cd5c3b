//! What a change did to one object: the unit in which stores write, undo and describe changes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Commit, HistoryEntry, StoreError, Version};
use crate::tenancy::Tenancy;
use crate::tenancy::diff::{FieldChange, diff};
use crate::tenancy::spec::{PeerGroupSpec, TenantSpec};

/// Where peer groups are kept, as the first part of an object's key.
const PEER_GROUP: &str = "peer_group/";

/// Where tenants are kept.
const TENANT: &str = "tenant/";

/// One object and what the change did to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Touch {
    PeerGroup(Turn<PeerGroupSpec>),
    Tenant(Turn<TenantSpec>),
}

/// What became of an object. Absent before: it is new. Absent after: it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: DeserializeOwned"))]
pub(super) struct Turn<T> {
    name: String,
    #[serde(default, with = "shared", skip_serializing_if = "Option::is_none")]
    before: Option<Arc<T>>,
    #[serde(default, with = "shared", skip_serializing_if = "Option::is_none")]
    after: Option<Arc<T>>,
}

/// An optional shared object is written as the object itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub fn serialize<T: Serialize, S: Serializer>(object: &Option<Arc<T>>, to: S) -> Result<S::Ok, S::Error> {
        object.as_deref().serialize(to)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<T>>, D::Error> {
        Ok(Option::deserialize(from)?.map(Arc::new))
    }
}

impl<T> Turn<T> {
    fn undo(&self, objects: &mut BTreeMap<String, Arc<T>>) {
        put(objects, &self.name, self.before.as_ref());
    }

    fn redo(&self, objects: &mut BTreeMap<String, Arc<T>>) {
        put(objects, &self.name, self.after.as_ref());
    }
}

fn put<T>(objects: &mut BTreeMap<String, Arc<T>>, name: &str, object: Option<&Arc<T>>) {
    match object {
        Some(object) => drop(objects.insert(name.to_owned(), object.clone())),
        None => drop(objects.remove(name)),
    }
}

impl Touch {
    /// Where stores keep the object.
    pub fn key(&self) -> String {
        match self {
            Self::PeerGroup(turn) => format!("{PEER_GROUP}{}", turn.name),
            Self::Tenant(turn) => format!("{TENANT}{}", turn.name),
        }
    }

    /// The object as it is to be kept now; none when it is gone.
    pub fn after(&self) -> Option<Vec<u8>> {
        match self {
            Self::PeerGroup(turn) => turn.after.as_deref().map(json),
            Self::Tenant(turn) => turn.after.as_deref().map(json),
        }
    }

    /// Takes the change back.
    pub fn undo(&self, tenancy: &mut Tenancy) {
        match self {
            Self::PeerGroup(turn) => turn.undo(&mut tenancy.peer_groups),
            Self::Tenant(turn) => turn.undo(&mut tenancy.tenants),
        }
    }

    /// Makes the change.
    pub fn redo(&self, tenancy: &mut Tenancy) {
        match self {
            Self::PeerGroup(turn) => turn.redo(&mut tenancy.peer_groups),
            Self::Tenant(turn) => turn.redo(&mut tenancy.tenants),
        }
    }
}

/// The objects that a change touches, one at a time: a large change is never in memory twice.
pub(super) fn touches<'a>(before: &'a Tenancy, after: &'a Tenancy) -> impl Iterator<Item = Touch> + 'a {
    let groups = turns(&before.peer_groups, &after.peer_groups).map(Touch::PeerGroup);
    groups.chain(turns(&before.tenants, &after.tenants).map(Touch::Tenant))
}

/// Walks both sides in the order of names. What both share is the same object in memory, so that it costs next to
/// nothing to pass over the thousands that did not change.
fn turns<'a, T: Eq>(
    before: &'a BTreeMap<String, Arc<T>>,
    after: &'a BTreeMap<String, Arc<T>>,
) -> impl Iterator<Item = Turn<T>> + 'a {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let gone = if order.is_le() { old.next() } else { None };
            let come = if order.is_ge() { new.next() } else { None };
            let (name, _) = gone.or(come)?;
            let (before, after) = (gone.map(|(_, object)| object), come.map(|(_, object)| object));
            if before != after {
                return Some(Turn { name: name.clone(), before: before.cloned(), after: after.cloned() });
            }
        }
    })
}

/// Adds an object as it was kept under a key.
///
/// # Errors
///
/// When the key is of no known kind, or the bytes are not such an object.
pub(super) fn insert(tenancy: &mut Tenancy, key: &str, bytes: &[u8]) -> Result<(), Unreadable> {
    if let Some(name) = key.strip_prefix(PEER_GROUP) {
        tenancy.peer_groups.insert(name.to_owned(), Arc::new(parse(key, bytes)?));
    } else if let Some(name) = key.strip_prefix(TENANT) {
        tenancy.tenants.insert(name.to_owned(), Arc::new(slim(parse(key, bytes)?)));
    } else {
        return Err(Unreadable { key: key.to_owned(), why: "objects of this kind are not known".to_owned() });
    }
    Ok(())
}

/// Gives back the room that lists took while they grew: it is half of the memory of 10,000 tenants.
pub(super) fn slim(mut tenant: TenantSpec) -> TenantSpec {
    tenant.sources.shrink_to_fit();
    tenant.peer_groups.shrink_to_fit();
    tenant.hairpin_to.shrink_to_fit();
    tenant.egress.shrink_to_fit();
    for pool in &mut tenant.pool {
        pool.backend.shrink_to_fit();
    }
    tenant.pool.shrink_to_fit();
    for listener in &mut tenant.listener {
        listener.allow.shrink_to_fit();
    }
    tenant.listener.shrink_to_fit();
    tenant
}

/// Something stored that can't be understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// Where it is.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

/// Reads what [`json`] wrote under a key.
pub(super) fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(bytes).map_err(|error| Unreadable { key: key.to_owned(), why: error.to_string() })
}

/// As JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("what the store keeps has string keys only and no fallible parts")
}

/// Who made a version, when and why: an entry of the history without its touched objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Signature {
    pub at_unix_ms: u64,
    #[serde(flatten)]
    pub author: super::Author,
}

impl Signature {
    pub fn of(commit: &Commit) -> Self {
        let since_epoch = commit.at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            at_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
            author: commit.author.clone(),
        }
    }

    /// The entry of the history. What changed is worked out from the objects, not kept a second time.
    pub fn entry(self, version: Version, touches: &[Touch]) -> HistoryEntry {
        let changes = changes(touches);
        HistoryEntry { version, at_unix_ms: self.at_unix_ms, author: self.author, changes }
    }
}

/// What touched objects mean, for people: field by field.
fn changes(touches: &[Touch]) -> Vec<FieldChange> {
    let (mut before, mut after) = (Tenancy::default(), Tenancy::default());
    for touch in touches {
        touch.undo(&mut before);
        touch.redo(&mut after);
    }
    diff(&before, &after)
}

/// The version after one.
pub(super) fn next(version: Version) -> Version {
    Version(version.0 + 1)
}

/// Refuses a change that was not made from the version in force.
pub(super) fn same(from: Version, current: Version) -> Result<(), StoreError> {
    if from == current { Ok(()) } else { Err(StoreError::Conflict { from, current }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::{tenancy, tenant};

    #[test]
    fn only_what_differs_is_touched_and_can_be_taken_back() {
        let before = tenancy(["a", "b", "c"]);
        let mut after = before.clone();
        after.tenants.remove("a");
        after.tenants.insert("b".into(), Arc::new(TenantSpec { nat_ip: "10.9.9.9".into(), ..tenant("b") }));
        after.tenants.insert("d".into(), Arc::new(tenant("d")));
        after.peer_groups.insert("npci".into(), Arc::new(PeerGroupSpec::default()));

        let touches: Vec<Touch> = touches(&before, &after).collect();
        let keys: Vec<String> = touches.iter().map(Touch::key).collect();
        assert_eq!(keys, ["peer_group/npci", "tenant/a", "tenant/b", "tenant/d"]);

        let mut there = before.clone();
        for touch in &touches {
            touch.redo(&mut there);
        }
        assert_eq!(there, after);
        for touch in &touches {
            touch.undo(&mut there);
        }
        assert_eq!(there, before);
    }

    #[test]
    fn a_touch_survives_json() {
        let (before, after) = (tenancy(["a"]), tenancy(["b"]));
        for touch in touches(&before, &after) {
            assert_eq!(parse::<Touch>("x", &json(&touch)).unwrap(), touch);
        }
    }

    #[test]
    fn strange_keys_and_bytes_are_named() {
        let mut tenancy = Tenancy::default();
        let error = insert(&mut tenancy, "tenant/a", b"{").unwrap_err();
        assert_eq!(error.key, "tenant/a");
        let error = insert(&mut tenancy, "route/a", b"{}").unwrap_err();
        assert_eq!(error.key, "route/a");
        assert_eq!(tenancy, Tenancy::default());
    }
}
